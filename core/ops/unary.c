/* core/ops/unary.c - Abs, Neg, Sign, Sqrt, Reciprocal, Floor, Ceil, Round, Exp, Log, Erf: y_i = f(x_i).
 * Spec   ONNX 1 on (Erf, Sign 9, Round 11), every numeric dtype the newest version takes (Exp, Log, Sqrt, Reciprocal, Floor, Ceil, Round:
 *        reals).
 * Value  Round takes halves to even. Sign of NaN is NaN. Abs and Neg of the smallest integer wrap to itself. Erf of an integer is cut.
 *        f32 by kernels/eltwise and kernels/vmath, f16 and bf16 through f32, f64 by libm.
 * Grad   Abs: dy sign(x).  Neg: -dy.  Sqrt: dy / (2 y).  Reciprocal: -dy y^2.  Exp: dy y.  Log: dy / x.
 *        Erf: dy 2 / sqrt(pi) exp(-x^2).  Sign, Floor, Ceil, Round: 0. */
#include "core/graph/grad.h"
#include "core/ops/elem.h"

#include <math.h>

QN_ELEM_FN1(abs_f64, double, double, fabs(u))
QN_ELEM_FN1(abs_i64, int64_t, uint64_t, u < 0 ? 0 - (uint64_t)u : (uint64_t)u)
QN_ELEM_FN1(same_u64, uint64_t, uint64_t, u)
QN_ELEM_FN1(neg_f64, double, double, -u)
QN_ELEM_FN1(neg_i64, uint64_t, uint64_t, 0 - u)
QN_ELEM_FN1(sign_f64, double, double, u > 0 ? 1.0 : u < 0 ? -1.0 : u)
QN_ELEM_FN1(sign_i64, int64_t, int64_t, (u > 0) - (u < 0))
QN_ELEM_FN1(sign_u64, uint64_t, uint64_t, u != 0)
QN_ELEM_FN1(sqrt_f64, double, double, sqrt(u))
QN_ELEM_FN1(reciprocal_f64, double, double, 1.0 / u)
QN_ELEM_FN1(floor_f64, double, double, floor(u))
QN_ELEM_FN1(ceil_f64, double, double, ceil(u))
QN_ELEM_FN1(round_f64, double, double, rint(u))
QN_ELEM_FN1(exp_f64, double, double, exp(u))
QN_ELEM_FN1(log_f64, double, double, log(u))
QN_ELEM_FN1(erf_f64, double, double, erf(u))
QN_ELEM_FN1(erf_i64, int64_t, int64_t, (int64_t)erf((double)u))
QN_ELEM_FN1(erf_u64, uint64_t, uint64_t, (uint64_t)erf((double)u))

static bool abs_number(int64_t a, int64_t b, int64_t *out)
{
    (void)b;
    if (a == INT64_MIN) return false;
    *out = a < 0 ? -a : a;
    return true;
}

static bool neg_number(int64_t a, int64_t b, int64_t *out)
{
    (void)b;
    if (a == INT64_MIN) return false;
    *out = -a;
    return true;
}

static bool sign_number(int64_t a, int64_t b, int64_t *out)
{
    (void)b;
    *out = (a > 0) - (a < 0);
    return true;
}

static qn_dim neg_symbol(qn_dims *t, qn_dim a, qn_dim b)
{
    (void)b;
    return qn_dims_sub(t, qn_dims_const(t, 0), a);
}

static const qn_elem_known abs_known = { abs_number, NULL }, neg_known = { neg_number, neg_symbol }, sign_known = { sign_number, NULL };

static qn_status infer(qn_infer *c, uint32_t set, const qn_elem_known *known, qn_error *err)
{
    const qn_status st = qn_elem_infer(c, 1, set, QN_DTYPE_NONE, err);

    if (st == QN_OK && known) qn_elem_set_known(c, 1, known);
    return st;
}

/* Each is dy times the slope, from y where that is cheaper. */
static void abs_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", dy, qn_grad_op1(b, "Sign", x)));
}

static void neg_grad(qn_builder *b) { qn_grad_give(b, 0, qn_grad_op1(b, "Neg", qn_grad_of(b, 0))); }

static void sqrt_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id y = qn_grad_out(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Div", dy, qn_grad_op2(b, "Mul", y, qn_grad_number(b, 2, y))));
}

static void reciprocal_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id y = qn_grad_out(b, 0);

    qn_grad_give(b, 0, qn_grad_op1(b, "Neg", qn_grad_op2(b, "Mul", dy, qn_grad_op2(b, "Mul", y, y))));
}

static void exp_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id y = qn_grad_out(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", dy, y));
}

static void log_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Div", dy, x));
}

static void erf_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(b, 0,
                 qn_grad_op2(b, "Mul", dy,
                             qn_grad_op2(b, "Mul", qn_grad_number(b, M_2_SQRTPI, x),
                                         qn_grad_op1(b, "Exp", qn_grad_op1(b, "Neg", qn_grad_op2(b, "Mul", x, x))))));
}

#define UNARY(id, NAME, SINCE, SET, FAST, KERNEL, I64, U64, KNOWN, FAMILY, GRAD)                                                           \
    static const qn_elem_op id##_op = { .n_in = 1, .fast = FAST, .kernel = KERNEL, .fn = { NULL, id##_f64, I64, U64 } };                   \
    static qn_status id##_infer(qn_infer *c, qn_error *err) { return infer(c, SET, KNOWN, err); }                                          \
    static qn_status id##_run(qn_run *r, qn_error *err) { return qn_elem_run(r, &id##_op, 0, 0, err); }                                    \
    const qn_op qn_op_##id = {                                                                                                             \
        .name = NAME,                                                                                                                      \
        .domain = "",                                                                                                                      \
        .since = SINCE,                                                                                                                    \
        .min_in = 1,                                                                                                                       \
        .max_in = 1,                                                                                                                       \
        .min_out = 1,                                                                                                                      \
        .max_out = 1,                                                                                                                      \
        .flags = QN_OP_INPLACE,                                                                                                            \
        .infer = id##_infer,                                                                                                               \
        .rows = qn_rows_elementwise,                                                                                                       \
        .lower = qn_elem_lower,                                                                                                            \
        .run = id##_run,                                                                                                                   \
        .grad = GRAD,                                                                                                                      \
        .kernels = FAMILY,                                                                                                                 \
    };

UNARY(abs, "Abs", 1, QN_SET_NUMERIC, QN_ELEM_UNARY, QN_UNARY_ABS, abs_i64, same_u64, &abs_known, "eltwise", abs_grad)
UNARY(neg, "Neg", 1, QN_SET_FLOAT | QN_SET_SIGNED, QN_ELEM_UNARY, QN_UNARY_NEG, neg_i64, NULL, &neg_known, "eltwise", neg_grad)
UNARY(sign, "Sign", 9, QN_SET_NUMERIC, QN_ELEM_UNARY, QN_UNARY_SIGN, sign_i64, sign_u64, &sign_known, "eltwise", NULL)
UNARY(sqrt, "Sqrt", 1, QN_SET_FLOAT, QN_ELEM_UNARY, QN_UNARY_SQRT, NULL, NULL, NULL, "eltwise", sqrt_grad)
UNARY(reciprocal, "Reciprocal", 1, QN_SET_FLOAT, QN_ELEM_UNARY, QN_UNARY_RECIPROCAL, NULL, NULL, NULL, "eltwise", reciprocal_grad)
UNARY(floor, "Floor", 1, QN_SET_FLOAT, QN_ELEM_UNARY, QN_UNARY_FLOOR, NULL, NULL, NULL, "eltwise", NULL)
UNARY(ceil, "Ceil", 1, QN_SET_FLOAT, QN_ELEM_UNARY, QN_UNARY_CEIL, NULL, NULL, NULL, "eltwise", NULL)
UNARY(round, "Round", 11, QN_SET_FLOAT, QN_ELEM_UNARY, QN_UNARY_ROUND, NULL, NULL, NULL, "eltwise", NULL)
UNARY(exp, "Exp", 1, QN_SET_FLOAT, QN_ELEM_VMATH, QN_VMATH_EXP, NULL, NULL, NULL, "vmath", exp_grad)
UNARY(log, "Log", 1, QN_SET_FLOAT, QN_ELEM_VMATH, QN_VMATH_LOG, NULL, NULL, NULL, "vmath", log_grad)
UNARY(erf, "Erf", 9, QN_SET_NUMERIC, QN_ELEM_VMATH, QN_VMATH_ERF, erf_i64, erf_u64, NULL, "vmath", erf_grad)

/* -- questions about reals ------------------------------------------------------------------------------------------------ */

QN_ELEM_FN1(is_nan_f32, float, uint8_t, u != u)
QN_ELEM_FN1(is_nan_f64, double, uint8_t, u != u)

/* env->a: -inf counts; env->b: +inf counts */
QN_ELEM_FN1(is_inf_f32, float, uint8_t, (u == -INFINITY && env->a != 0.0f) || (u == INFINITY && env->b != 0.0f))
QN_ELEM_FN1(is_inf_f64, double, uint8_t, (u == -(double)INFINITY && env->a != 0.0f) || (u == (double)INFINITY && env->b != 0.0f))

static const qn_elem_op is_nan_op = { .n_in = 1, .fn = { is_nan_f32, is_nan_f64, NULL, NULL }, .to_bool = true };
static const qn_elem_op is_inf_op = { .n_in = 1, .fn = { is_inf_f32, is_inf_f64, NULL, NULL }, .to_bool = true };

static qn_status question_infer(qn_infer *c, qn_error *err) { return qn_elem_infer(c, 1, QN_SET_FLOAT, QN_BOOL, err); }
static qn_status is_nan_run(qn_run *r, qn_error *err) { return qn_elem_run(r, &is_nan_op, 0, 0, err); }

static qn_status is_inf_run(qn_run *r, qn_error *err)
{
    const float negative = qn_node_int(r->node, "detect_negative", 1) != 0, positive = qn_node_int(r->node, "detect_positive", 1) != 0;

    return qn_elem_run(r, &is_inf_op, negative, positive, err);
}

const qn_op qn_op_is_nan = {
    .name = "IsNaN",
    .domain = "",
    .since = 9,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = question_infer,
    .rows = qn_rows_elementwise,
    .run = is_nan_run,
};
const qn_op qn_op_is_inf = {
    .name = "IsInf",
    .domain = "",
    .since = 10,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = question_infer,
    .rows = qn_rows_elementwise,
    .run = is_inf_run,
};
