/* core/ops/qlinear_binary.c - com.microsoft QLinearAdd and QLinearMul.
 * Spec   ONNX Runtime contrib ops 1: A, A_scale, A_zp?, B, B_scale, B_zp?, C_scale, C_zp? -> C; u8 or s8 all; A and B broadcast.
 * Value  Add: rne((k + a * (sa / sc)) + b * (sb / sc)) with k = zc - (za * (sa / sc) + zb * (sb / sc)).
 *        Mul: rne((a - za) * (b - zb) * (sa * sb / sc) + zc). Saturated. Every step is rounded to f32, as ONNX Runtime does it, so that the
 *        zero point takes part in the rounding of halves. */
#include "core/ops/elem.h"
#include "core/ops/qlinear.h"
#include "core/tensor/broadcast.h"

#include <string.h>

enum { IN_A, IN_A_SCALE, IN_A_ZERO, IN_B, IN_B_SCALE, IN_B_ZERO, IN_C_SCALE, IN_C_ZERO };

static qn_status infer(qn_infer *c, qn_error *err)
{
    const qn_dtype like = c->in[IN_A].dtype;
    qn_status st = qn_linear_need(c, 2, err);

    for (int32_t i = IN_A_SCALE; i <= IN_C_SCALE && st == QN_OK; i++) {
        if (i != IN_A_ZERO && i != IN_B_ZERO && !qn_infer_has(c, i))
            st = qn_error_set(err, QN_ERR_INVALID, "input %d is left out, expected a tensor", (int)i);
    }
    if (st == QN_OK) st = qn_qlinear_infer(c, IN_A, IN_A_SCALE, IN_A_ZERO, like, err);
    if (st == QN_OK) st = qn_qlinear_infer(c, IN_B, IN_B_SCALE, IN_B_ZERO, like, err);
    if (st == QN_OK) st = qn_qlinear_infer(c, -1, IN_C_SCALE, IN_C_ZERO, like, err);
    if (st != QN_OK) return st;
    qn_elem_like(c, IN_A, 0, like);
    return qn_infer_broadcast(c, &c->out[0], &c->in[IN_B], &c->out[0], err);
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

typedef struct job {
    float a[256]; /* by byte of A: its share of the sum, or a - za */
    float b[256]; /* by byte of B */
    float scale, zero, lo, hi;
    bool is_mul;
} job;

/* To the nearest integer, halves to even, for |v| < 2^22: adding 1.5 * 2^23 leaves no room for a fraction. */
static inline float nearest(float v) { return (v + 12582912.0f) - 12582912.0f; }

static void span(void *ctx, const void *const *x, const int64_t *step, void *y, int64_t n)
{
    const job *j = ctx;
    const uint8_t *a = x[0], *b = x[1];
    uint8_t *out = y;

    for (int64_t i = 0; i < n; i++) {
        const float u = j->a[a[i * step[0]]], w = j->b[b[i * step[1]]];
        float v = j->is_mul ? u * w * j->scale + j->zero : u + w;

        v = v > j->lo ? v : j->lo; /* NaN too */
        v = v < j->hi ? v : j->hi;
        out[i] = (uint8_t)(int32_t)nearest(v);
    }
}

static void fill_tables(const qn_qlinear *a, const qn_qlinear *b, const qn_qlinear *c, job *j)
{
    const float ra = a->scale / c->scale, rb = b->scale / c->scale;
    const float k = (float)c->zero - (ra * (float)a->zero + rb * (float)b->zero);

    for (int i = 0; i < 256; i++) {
        const float v = (float)(a->is_signed ? (int8_t)i : i);

        j->a[i] = j->is_mul ? v - (float)a->zero : k + v * ra;
        j->b[i] = j->is_mul ? v - (float)b->zero : v * rb;
    }
    j->scale = a->scale * b->scale / c->scale;
    j->zero = (float)c->zero;
    j->lo = c->is_signed ? -128.0f : 0.0f;
    j->hi = j->lo + 255.0f;
}

static qn_status run(qn_run *r, qn_error *err)
{
    const qn_tensor *x[2] = { &r->in[IN_A], &r->in[IN_B] };
    const qn_dtype dtype = x[0]->dtype;
    job j = { .is_mul = strcmp(r->node->op_type, "QLinearMul") == 0 };
    int64_t dims[QN_MAX_RANK] = { 0 };
    int32_t rank;
    qn_qlinear a, b, c;
    qn_status st = qn_qlinear_read(r, IN_A_SCALE, IN_A_ZERO, dtype, &a, err);

    if (st == QN_OK) st = qn_qlinear_read(r, IN_B_SCALE, IN_B_ZERO, dtype, &b, err);
    if (st == QN_OK) st = qn_qlinear_read(r, IN_C_SCALE, IN_C_ZERO, dtype, &c, err);
    if (st == QN_OK) st = qn_broadcast_tensors(x, 2, &rank, dims, err);
    if (st == QN_OK) st = qn_move_output(r, 0, dtype, rank, dims, err);
    if (st != QN_OK) return st;
    fill_tables(&a, &b, &c, &j);
    qn_elem_walk(r->team, 2, x, &r->out[0], span, &j);
    return QN_OK;
}

#define BINARY(id, op_name)                                                                                                                \
    const qn_op qn_op_ms_##id = {                                                                                                          \
        .domain = "com.microsoft",                                                                                                         \
        .name = op_name,                                                                                                                   \
        .since = 1,                                                                                                                        \
        .min_in = 7,                                                                                                                       \
        .max_in = 8,                                                                                                                       \
        .min_out = 1,                                                                                                                      \
        .max_out = 1,                                                                                                                      \
        .infer = infer,                                                                                                                    \
        .rows = qn_rows_elementwise,                                                                                                       \
        .run = run,                                                                                                                        \
    }

BINARY(qlinear_add, "QLinearAdd");
BINARY(qlinear_mul, "QLinearMul");
