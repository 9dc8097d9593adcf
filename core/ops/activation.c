/* core/ops/activation.c - Relu, LeakyRelu, ThresholdedRelu, Elu, Selu, Celu, Sigmoid, HardSigmoid, Tanh, HardSwish, Mish, Gelu, Softplus,
 * Softsign, Shrink: y_i = f(x_i) with constants from attributes.
 * Spec   ONNX 1, 6, 9, 10, 12, 14, 18, 20: the versions differ in dtypes only (and Elu, Selu, HardSigmoid 1 in spelling defaults: Selu 1
 *        has alpha 1.6732, gamma 1.0507). Relu takes signed integers, Shrink every number.
 * Value  beside each row; f32 by kernels/eltwise and kernels/vmath, f16 and bf16 through f32, f64 by libm.
 * Grad   Relu: dy [x > 0].  LeakyRelu: dy (x < 0 ? alpha : 1).  ThresholdedRelu: dy [x > alpha].  Elu: dy (x < 0 ? y + alpha : 1).
 *        Selu: dy (x > 0 ? gamma : y + gamma alpha).  Celu: dy (x < 0 ? exp(x / alpha) : 1).  Sigmoid: dy y (1 - y).
 *        HardSigmoid: dy alpha [0 < y < 1].  Tanh: dy (1 - y^2).  HardSwish: dy ([x > 3] + [-3 < x <= 3] (2x + 3) / 6).
 *        Mish: dy (t + x s (1 - t^2)), t = tanh(softplus x), s = sigmoid x.  Gelu: dy (Phi(x) + x phi(x)).  Softplus: dy sigmoid(x).
 *        Softsign: dy / (1 + |x|)^2.  Shrink: dy [|x| > lambd]. */
#include "core/graph/grad.h"
#include "core/ops/elem.h"

#include <math.h>
#include <string.h>

/* env->a and env->b are the two constants of the op; a and b are their f64. */
#define A ((double)env->a)
#define B ((double)env->b)

static inline double clip01(double v) { return v < 0.0 ? 0.0 : v > 1.0 ? 1.0 : v; }
static inline double softplus(double u) { return (u > 0.0 ? u : 0.0) + log1p(exp(-fabs(u))); }

static inline double shrink(double u, double lambd, double bias) { return u < -lambd ? u + bias : u > lambd ? u - bias : 0.0; }

static inline double gelu_tanh(double u) { return 0.5 * u * (1.0 + tanh(0.79788456080286535588 * (u + 0.044715 * u * u * u))); }

QN_ELEM_FN1(relu_f64, double, double, u < 0.0 ? 0.0 : u)
QN_ELEM_FN1(relu_i64, int64_t, int64_t, u < 0 ? 0 : u)
QN_ELEM_FN1(leaky_relu_f64, double, double, u < 0.0 ? A * u : u)
QN_ELEM_FN1(thresholded_relu_f64, double, double, u > A ? u : 0.0)
QN_ELEM_FN1(elu_f64, double, double, u < 0.0 ? A * expm1(u) : u)
QN_ELEM_FN1(selu_f64, double, double, (u > 0.0 ? u : A * expm1(u)) * B)
QN_ELEM_FN1(celu_f64, double, double, u < 0.0 ? A * expm1(u / A) : u)
QN_ELEM_FN1(sigmoid_f64, double, double, u < 0.0 ? exp(u) / (1.0 + exp(u)) : 1.0 / (1.0 + exp(-u)))
QN_ELEM_FN1(hard_sigmoid_f64, double, double, clip01(B + A * u))
QN_ELEM_FN1(tanh_f64, double, double, tanh(u))
QN_ELEM_FN1(hard_swish_f64, double, double, clip01(u / 6.0 + 0.5) * u)
QN_ELEM_FN1(mish_f64, double, double, u == -(double)INFINITY ? -0.0 : u * tanh(softplus(u)))
QN_ELEM_FN1(gelu_f64, double, double, 0.5 * u * (1.0 + erf(u * 0.70710678118654752440)))
QN_ELEM_FN1(gelu_tanh_f64, double, double, gelu_tanh(u))
QN_ELEM_FN1(softplus_f64, double, double, softplus(u))
QN_ELEM_FN1(softsign_f64, double, double, u / (1.0 + fabs(u)))
QN_ELEM_FN1(shrink_f64, double, double, shrink(u, A, B))
QN_ELEM_FN1(shrink_i64, int64_t, int64_t, shrink((double)u, A, B))
QN_ELEM_FN1(shrink_u64, uint64_t, int64_t, shrink((double)u, A, B))

#undef A
#undef B

/* An attribute, or its default; "" is no attribute at all. */
static float constant(const qn_node *node, const char *name, float fallback)
{
    return name[0] ? qn_node_float(node, name, fallback) : fallback;
}

/* The slope is 0 where it jumps. */
static void relu_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(b, 0, qn_grad_op3(b, "Where", qn_grad_op2(b, "Greater", x, qn_grad_number(b, 0, x)), dy, qn_grad_number(b, 0, x)));
}

static void sigmoid_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id y = qn_grad_out(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", dy, qn_grad_op2(b, "Mul", y, qn_grad_op2(b, "Sub", qn_grad_number(b, 1, y), y))));
}

static void tanh_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id y = qn_grad_out(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", dy, qn_grad_op2(b, "Sub", qn_grad_number(b, 1, y), qn_grad_op2(b, "Mul", y, y))));
}

static void softplus_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", dy, qn_grad_op1(b, "Sigmoid", x)));
}

static void softsign_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);
    const qn_value_id below = qn_grad_op2(b, "Add", qn_grad_op1(b, "Abs", x), qn_grad_number(b, 1, x));

    qn_grad_give(b, 0, qn_grad_op2(b, "Div", dy, qn_grad_op2(b, "Mul", below, below)));
}

static void leaky_relu_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);
    const double alpha = (double)qn_node_float(qn_grad_node(b), "alpha", 0.01f);

    qn_grad_give(b, 0,
                 qn_grad_op3(b, "Where", qn_grad_op2(b, "Less", x, qn_grad_number(b, 0, x)),
                             qn_grad_op2(b, "Mul", dy, qn_grad_number(b, alpha, x)), dy));
}

static void elu_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);
    const qn_value_id y = qn_grad_out(b, 0);
    const double alpha = (double)qn_node_float(qn_grad_node(b), "alpha", 1.0f);

    qn_grad_give(b, 0,
                 qn_grad_op3(b, "Where", qn_grad_op2(b, "Less", x, qn_grad_number(b, 0, x)),
                             qn_grad_op2(b, "Mul", dy, qn_grad_op2(b, "Add", y, qn_grad_number(b, alpha, x))), dy));
}

#define ACTIVATION(id, NAME, SINCE, SET, FAST, KERNEL, I64, U64, NAME_A, A, NAME_B, B, FAMILY, GRAD)                                       \
    static const qn_elem_op id##_op = { .n_in = 1, .fast = FAST, .kernel = KERNEL, .fn = { NULL, id##_f64, I64, U64 } };                   \
    static qn_status id##_infer(qn_infer *c, qn_error *err) { return qn_elem_infer(c, 1, SET, QN_DTYPE_NONE, err); }                       \
    static qn_status id##_run(qn_run *r, qn_error *err)                                                                                    \
    {                                                                                                                                      \
        return qn_elem_run(r, &id##_op, constant(r->node, NAME_A, A), constant(r->node, NAME_B, B), err);                                  \
    }                                                                                                                                      \
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

/* max(x, 0) */
ACTIVATION(relu, "Relu", 1, QN_SET_FLOAT | QN_SET_SIGNED, QN_ELEM_UNARY, QN_UNARY_RELU, relu_i64, NULL, "", 0, "", 0, "eltwise", relu_grad)
/* x < 0 ? alpha x : x */
ACTIVATION(leaky_relu, "LeakyRelu", 1, QN_SET_FLOAT, QN_ELEM_UNARY, QN_UNARY_LEAKY, NULL, NULL, "alpha", 0.01f, "", 0, "eltwise",
           leaky_relu_grad)
/* x > alpha ? x : 0 */
ACTIVATION(thresholded_relu, "ThresholdedRelu", 10, QN_SET_FLOAT, QN_ELEM_UNARY, QN_UNARY_THRESHOLD, NULL, NULL, "alpha", 1.0f, "", 0,
           "eltwise", NULL)
/* x < 0 ? alpha (exp(x) - 1) : x */
ACTIVATION(elu, "Elu", 1, QN_SET_FLOAT, QN_ELEM_VMATH, QN_VMATH_ELU, NULL, NULL, "alpha", 1.0f, "", 0, "vmath", elu_grad)
/* max(x, 0) + min(0, alpha (exp(x / alpha) - 1)), alpha > 0 */
ACTIVATION(celu, "Celu", 12, QN_SET_FLOAT, QN_ELEM_VMATH, QN_VMATH_CELU, NULL, NULL, "alpha", 1.0f, "", 0, "vmath", NULL)
/* 1 / (1 + exp(-x)) */
ACTIVATION(sigmoid, "Sigmoid", 1, QN_SET_FLOAT, QN_ELEM_VMATH, QN_VMATH_SIGMOID, NULL, NULL, "", 0, "", 0, "vmath", sigmoid_grad)
/* max(0, min(1, alpha x + beta)) */
ACTIVATION(hard_sigmoid, "HardSigmoid", 1, QN_SET_FLOAT, QN_ELEM_UNARY, QN_UNARY_HARDSIGMOID, NULL, NULL, "alpha", 0.2f, "beta", 0.5f,
           "eltwise", NULL)
ACTIVATION(tanh, "Tanh", 1, QN_SET_FLOAT, QN_ELEM_VMATH, QN_VMATH_TANH, NULL, NULL, "", 0, "", 0, "vmath", tanh_grad)
/* x max(0, min(1, x / 6 + 1 / 2)) */
ACTIVATION(hard_swish, "HardSwish", 14, QN_SET_FLOAT, QN_ELEM_UNARY, QN_UNARY_HARDSWISH, NULL, NULL, "", 0, "", 0, "eltwise", NULL)
/* x tanh(log(1 + exp(x))) */
ACTIVATION(mish, "Mish", 18, QN_SET_FLOAT, QN_ELEM_VMATH, QN_VMATH_MISH, NULL, NULL, "", 0, "", 0, "vmath", NULL)
/* log(1 + exp(x)) */
ACTIVATION(softplus, "Softplus", 1, QN_SET_FLOAT, QN_ELEM_VMATH, QN_VMATH_SOFTPLUS, NULL, NULL, "", 0, "", 0, "vmath", softplus_grad)
/* x / (1 + |x|) */
ACTIVATION(softsign, "Softsign", 1, QN_SET_FLOAT, QN_ELEM_UNARY, QN_UNARY_SOFTSIGN, NULL, NULL, "", 0, "", 0, "eltwise", softsign_grad)
/* x < -lambd ? x + bias : x > lambd ? x - bias : 0 */
ACTIVATION(shrink, "Shrink", 9, QN_SET_NUMERIC, QN_ELEM_UNARY, QN_UNARY_SHRINK, shrink_i64, shrink_u64, "lambd", 0.5f, "bias", 0.0f,
           "eltwise", NULL)

/* -- two that depend on the opset or on a word ---------------------------------------------------------------------------- */

/* gamma * (x > 0 ? x : alpha (exp(x) - 1)) */
static const qn_elem_op selu_op = { .n_in = 1, .fast = QN_ELEM_VMATH, .kernel = QN_VMATH_SELU, .fn = { NULL, selu_f64, NULL, NULL } };

static qn_status reals_infer(qn_infer *c, qn_error *err) { return qn_elem_infer(c, 1, QN_SET_FLOAT, QN_DTYPE_NONE, err); }

static qn_status selu_run(qn_run *r, qn_error *err)
{
    const bool first = r->node->opset < 6;

    return qn_elem_run(r, &selu_op, qn_node_float(r->node, "alpha", first ? 1.6732f : 1.67326319217681884765625f),
                       qn_node_float(r->node, "gamma", first ? 1.0507f : 1.05070102214813232421875f), err);
}

const qn_op qn_op_selu = {
    .name = "Selu",
    .domain = "",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = reals_infer,
    .rows = qn_rows_elementwise,
    .lower = qn_elem_lower,
    .run = selu_run,
    .kernels = "vmath",
};

/* x (1 + erf(x / sqrt 2)) / 2, or approximate = "tanh": x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 */
static const qn_elem_op gelu_op = { .n_in = 1, .fast = QN_ELEM_VMATH, .kernel = QN_VMATH_GELU, .fn = { NULL, gelu_f64, NULL, NULL } };
static const qn_elem_op gelu_tanh_op = {
    .n_in = 1,
    .fast = QN_ELEM_VMATH,
    .kernel = QN_VMATH_GELU_TANH,
    .fn = { NULL, gelu_tanh_f64, NULL, NULL },
};

static qn_status gelu_infer(qn_infer *c, qn_error *err)
{
    const char *how = qn_node_str(c->node, "approximate", "none");

    if (strcmp(how, "none") != 0 && strcmp(how, "tanh") != 0)
        return qn_error_set(err, QN_ERR_INVALID, "approximate is \"%.20s\", expected none or tanh", how);
    return reals_infer(c, err);
}

static qn_status gelu_run(qn_run *r, qn_error *err)
{
    const bool approximate = strcmp(qn_node_str(r->node, "approximate", "none"), "tanh") == 0;

    return qn_elem_run(r, approximate ? &gelu_tanh_op : &gelu_op, 0, 0, err);
}

const qn_op qn_op_gelu = {
    .name = "Gelu",
    .domain = "",
    .since = 20,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = gelu_infer,
    .rows = qn_rows_elementwise,
    .lower = qn_elem_lower,
    .run = gelu_run,
    .kernels = "vmath",
};
