/* core/ops/qlinear.c - see qlinear.h. */
#include "core/ops/qlinear.h"

#include "core/kernels/quant/quant.h"

#include <math.h>
#include <string.h>

qn_status qn_qlinear_infer(const qn_infer *c, int32_t x, int32_t scale, int32_t zero, qn_dtype like, qn_error *err)
{
    qn_status st = x >= 0 ? qn_linear_dtype(c, x, QN_LINEAR_BYTES, err) : QN_OK;

    if (st == QN_OK && x >= 0 && c->in[x].dtype != like)
        st = qn_error_set(err, QN_ERR_DTYPE, "input %d is %s, expected %s", (int)x, qn_dtype_name(c->in[x].dtype), qn_dtype_name(like));
    if (st == QN_OK) st = qn_linear_dtype(c, scale, 1u << QN_F32, err);
    if (st == QN_OK && qn_infer_has(c, zero)) st = qn_linear_dtype(c, zero, 1u << like, err);
    if (st == QN_OK) st = qn_linear_scale(c, scale, false, QN_DIM_UNKNOWN, err);
    return st == QN_OK ? qn_linear_scale(c, zero, false, QN_DIM_UNKNOWN, err) : st;
}

qn_status qn_qlinear_read(const qn_run *r, int32_t scale, int32_t zero, qn_dtype dtype, qn_qlinear *q, qn_error *err)
{
    const bool has_zero = zero < r->node->n_in && r->node->in[zero] != QN_NONE;
    qn_status st = qn_linear_check(r, scale, false, 1, err);

    if (st == QN_OK && has_zero) st = qn_linear_check(r, zero, false, 1, err);
    if (st != QN_OK) return st;
    q->scale = *(const float *)r->in[scale].data;
    q->zero = has_zero ? qn_linear_zero(&r->in[zero]) : 0;
    q->is_signed = dtype == QN_I8;
    return QN_OK;
}

void qn_qlinear_table(unsigned cpu, const qn_qlinear *from, const qn_qlinear *to, qn_qlinear_fn *f, const void *ctx, uint8_t table[256])
{
    const qn_quant_kernel *k = qn_quant_pick(cpu);
    float real[256];
    uint8_t all[256];

    for (int i = 0; i < 256; i++) all[i] = (uint8_t)i;
    k->dequantize[from->is_signed ? QN_QUANT_S8 : QN_QUANT_U8](all, real, 256, &from->scale, &from->zero, 0);
    if (f) f(ctx, real, real, 256);
    k->quantize[to->is_signed ? QN_QUANT_S8 : QN_QUANT_U8](real, table, 256, &to->scale, &to->zero, 0);
}

uint8_t qn_qlinear_round(float v, const qn_qlinear *to)
{
    const float lo = to->is_signed ? -128.0f : 0.0f, hi = lo + 255.0f;

    v += (float)to->zero;
    v = v > lo ? v : lo; /* NaN too */
    return (uint8_t)(int32_t)rintf(v < hi ? v : hi);
}

bool qn_qlinear_channels_last(const qn_node *n)
{
    return strcmp(n->domain, "com.microsoft") == 0 && qn_node_int(n, "channels_last", 0) != 0;
}

void qn_qlinear_planar_dims(int64_t *dims, int32_t rank)
{
    const int64_t c = dims[rank - 1];

    for (int32_t d = rank - 1; d > 1; d--) dims[d] = dims[d - 1];
    dims[1] = c;
}

void qn_qlinear_last_dims(qn_dim *dims, int32_t rank)
{
    const qn_dim c = dims[1];

    for (int32_t d = 1; d < rank - 1; d++) dims[d] = dims[d + 1];
    dims[rank - 1] = c;
}
