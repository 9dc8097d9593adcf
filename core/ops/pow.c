/* core/ops/pow.c - Pow: x to the power of y.
 * Spec   ONNX Pow 1 on; from 12 the exponent has a dtype of its own and the result that of x.
 * Value  reals: pow() in f64, rounded once to x's dtype; exponents 2, 0.5, -1 and 1 take the exact shortcut (the same value: each
 *        is one correctly rounded operation). Integers to integer powers wrap; a negative power of an integer is 1 / x^|y| cut to an
 *        integer, 0^-1 fails with QN_ERR_RANGE; an integer to a real power is computed in f64, cut and saturated.
 * Grad   dx = dy y x^(y-1),  dy' = dy x^y log x;  each summed over the axes along which it was stretched. */
#include "core/graph/grad.h"
#include "core/ops/elem.h"

#include <math.h>
#include <stdatomic.h>

typedef struct power {
    qn_dtype x, y;
    atomic_int failed;
} power;

static inline float pow_f32(float x, double y)
{
    if (y == 2.0) return x * x;
    if (y == 0.5) return x == -INFINITY ? INFINITY : sqrtf(x + 0.0f); /* x + 0: the root of -0 is -0, its power is 0 */
    if (y == -1.0) return 1.0f / x;
    if (y == 1.0) return x;
    if (y == 3.0) return (float)((double)x * x * x);
    return (float)pow((double)x, y);
}

static uint64_t pow_u64(uint64_t x, uint64_t y)
{
    uint64_t r = 1;

    for (; y; y >>= 1, x *= x)
        if (y & 1) r *= x;
    return r;
}

static int64_t pow_i64(power *p, int64_t x, int64_t y)
{
    if (y >= 0) return (int64_t)pow_u64((uint64_t)x, (uint64_t)y);
    if (x == 0) atomic_store_explicit(&p->failed, 1, memory_order_relaxed);
    if (x == -1) return y & 1 ? -1 : 1;
    return x == 1;
}

static int64_t cut_s64(double d)
{
    if (d != d) return 0;
    if (d >= 0x1p63) return INT64_MAX;
    if (d < -0x1p63) return INT64_MIN;
    return (int64_t)d;
}

static uint64_t cut_u64(double d)
{
    if (!(d > 0)) return 0;
    return d >= 0x1p64 ? UINT64_MAX : (uint64_t)d;
}

/* Saturated to the width of the dtype. */
static int64_t cut_to(qn_dtype dtype, double d)
{
    switch (dtype) {
    case QN_I8: return d > 127 ? 127 : d < -128 ? -128 : cut_s64(d);
    case QN_I16: return d > 32767 ? 32767 : d < -32768 ? -32768 : cut_s64(d);
    case QN_I32: return d > 2147483647.0 ? INT32_MAX : d < -2147483648.0 ? INT32_MIN : cut_s64(d);
    case QN_U8: return d > 255 ? 255 : (int64_t)cut_u64(d);
    case QN_U16: return d > 65535 ? 65535 : (int64_t)cut_u64(d);
    case QN_U32: return d > 4294967295.0 ? UINT32_MAX : (int64_t)cut_u64(d);
    case QN_U64: return (int64_t)cut_u64(d);
    default: return cut_s64(d);
    }
}

static double as_double(qn_elem_class cls, const void *x, int64_t i)
{
    switch (cls) {
    case QN_ELEM_F32: return (double)((const float *)x)[i];
    case QN_ELEM_F64: return ((const double *)x)[i];
    case QN_ELEM_I64: return (double)((const int64_t *)x)[i];
    default: return (double)((const uint64_t *)x)[i];
    }
}

static void pow_chunk(power *p, const void *x, const void *y, void *out, int64_t n)
{
    const qn_elem_class cx = qn_elem_class_of(p->x), cy = qn_elem_class_of(p->y);
    const bool whole = cy == QN_ELEM_I64 || cy == QN_ELEM_U64;

    for (int64_t i = 0; i < n; i++) {
        if (cx == QN_ELEM_F32) {
            ((float *)out)[i] = pow_f32(((const float *)x)[i], as_double(cy, y, i));
        } else if (cx == QN_ELEM_F64) {
            ((double *)out)[i] = pow(((const double *)x)[i], as_double(cy, y, i));
        } else if (!whole) {
            ((int64_t *)out)[i] = cut_to(p->x, pow(as_double(cx, x, i), as_double(cy, y, i)));
        } else if (cy == QN_ELEM_U64 || (cx == QN_ELEM_U64 && ((const int64_t *)y)[i] >= 0)) {
            ((uint64_t *)out)[i] = pow_u64(((const uint64_t *)x)[i], ((const uint64_t *)y)[i]);
        } else {
            ((int64_t *)out)[i] = pow_i64(p, ((const int64_t *)x)[i], ((const int64_t *)y)[i]);
        }
    }
}

/* One exponent for the whole span, f32: worth its own loops, for LayerNorm and RMS norm are spelled with it. */
static bool pow_shortcut(const power *p, const void *const *x, const int64_t *step, void *y, int64_t n)
{
    const float *in = x[0];
    float *out = y;
    double e;

    if (p->x != QN_F32 || p->y != QN_F32 || step[0] != 1 || step[1] != 0) return false;
    e = (double)*(const float *)x[1];
    if (e == 2.0) {
        for (int64_t i = 0; i < n; i++) out[i] = in[i] * in[i];
    } else if (e == 0.5) {
        for (int64_t i = 0; i < n; i++) out[i] = pow_f32(in[i], 0.5);
    } else {
        return false;
    }
    return true;
}

static void pow_span(void *ctx, const void *const *x, const int64_t *step, void *y, int64_t n)
{
    power *p = ctx;
    const int64_t sx = (int64_t)qn_dtype_size(p->x), sy = (int64_t)qn_dtype_size(p->y);
    qn_elem_buf bx, by, bo;

    if (pow_shortcut(p, x, step, y, n)) return;
    for (int64_t done = 0; done < n; done += QN_ELEM_CHUNK) {
        const int64_t k = n - done < QN_ELEM_CHUNK ? n - done : QN_ELEM_CHUNK;

        pow_chunk(p, qn_elem_load(p->x, (const char *)x[0] + done * step[0] * sx, step[0], k, &bx),
                  qn_elem_load(p->y, (const char *)x[1] + done * step[1] * sy, step[1], k, &by), &bo, k);
        qn_elem_store(p->x, (char *)y + done * sx, k, &bo);
    }
}

static bool pow_number(int64_t a, int64_t b, int64_t *out)
{
    int64_t r = 1;

    if (b < 0 || b > 64) return false;
    for (; b; b--)
        if (__builtin_mul_overflow(r, a, &r)) return false;
    *out = r;
    return true;
}

static const qn_elem_known pow_known = { pow_number, NULL };
static const qn_elem_op pow_shape = { .n_in = 2 }; /* for the shapes alone: the dtypes may differ */

static qn_status pow_infer(qn_infer *c, qn_error *err)
{
    qn_type in[2];
    qn_infer same = *c; /* the exponent's dtype does not matter to the shape */
    qn_status st = qn_move_need(c, 2, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 1, QN_SET_NUMERIC, err);
    if (st != QN_OK) return st;
    in[0] = c->in[0];
    in[1] = c->in[1];
    in[1].dtype = in[0].dtype;
    same.in = in;
    st = qn_elem_infer(&same, 2, QN_SET_NUMERIC, QN_DTYPE_NONE, err);
    if (st == QN_OK) qn_elem_set_known(c, 2, &pow_known);
    return st;
}

static qn_status pow_run(qn_run *r, qn_error *err)
{
    power p = { .x = r->in[0].dtype, .y = r->in[1].dtype };
    qn_status st = qn_elem_run_with(r, &pow_shape, pow_span, &p, err);

    if (st == QN_OK && atomic_load_explicit(&p.failed, memory_order_relaxed))
        return qn_error_set(err, QN_ERR_RANGE, "integer 0 to a negative power");
    return st;
}

/* x^y log x is 0 where x is 0, although log 0 is not. */
static void pow_grad(qn_builder *b)
{
    const qn_value_id x = qn_grad_in(b, 0), y = qn_grad_in(b, 1), dy = qn_grad_of(b, 0), zero = qn_grad_number(b, 0, x);
    const qn_value_id exponent = qn_grad_type(b, x)->dtype == qn_grad_type(b, y)->dtype ? y : qn_grad_cast(b, y, qn_grad_type(b, x)->dtype);
    qn_value_id v;

    if (qn_grad_wanted(b, 0)) {
        v = qn_grad_op2(b, "Pow", x, qn_grad_op2(b, "Sub", exponent, qn_grad_number(b, 1, x)));
        qn_grad_give(b, 0, qn_grad_op2(b, "Mul", dy, qn_grad_op2(b, "Mul", exponent, v)));
    }
    if (qn_grad_wanted(b, 1)) {
        v = qn_grad_op2(b, "Mul", qn_grad_out(b, 0), qn_grad_op1(b, "Log", x));
        v = qn_grad_op2(b, "Mul", dy, qn_grad_op3(b, "Where", qn_grad_op2(b, "Equal", x, zero), zero, v));
        qn_grad_give(b, 1, qn_grad_cast(b, v, qn_grad_type(b, y)->dtype));
    }
}

const qn_op qn_op_pow = {
    .name = "Pow",
    .domain = "",
    .since = 1,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = pow_infer,
    .rows = qn_rows_elementwise,
    .run = pow_run,
    .grad = pow_grad,
};
