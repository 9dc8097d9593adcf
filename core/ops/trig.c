/* core/ops/trig.c - Sin, Cos, Tan, Asin, Acos, Atan, Sinh, Cosh, Asinh, Acosh, Atanh: y_i = f(x_i).
 * Spec   ONNX 7 on (the hyperbolic ones 9 on), reals.
 * Value  by libm in f64 and rounded once to f32, f16 or bf16: rare ops, for which a correctly rounded answer is worth more than speed,
 *        and f64 results that differ in the last place between libm's variants for different CPUs round to the same f32.
 * Grad   Sin: dy cos x.  Cos: -dy sin x.  Tan: dy (1 + y^2).  Asin: dy / sqrt(1 - x^2).  Acos: -dy / sqrt(1 - x^2).  Atan: dy / (1 + x^2).
 *        Sinh: dy cosh x.  Cosh: dy sinh x.  Asinh: dy / sqrt(x^2 + 1).  Acosh: dy / sqrt(x^2 - 1).  Atanh: dy / (1 - x^2). */
#include "core/graph/grad.h"
#include "core/ops/elem.h"

#include <math.h>

static void sin_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", dy, qn_grad_op1(b, "Cos", x)));
}

static void cos_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(b, 0, qn_grad_op1(b, "Neg", qn_grad_op2(b, "Mul", dy, qn_grad_op1(b, "Sin", x))));
}

static void tan_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id y = qn_grad_out(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", dy, qn_grad_op2(b, "Add", qn_grad_op2(b, "Mul", y, y), qn_grad_number(b, 1, y))));
}

static void asin_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(
        b, 0,
        qn_grad_op2(b, "Div", dy, qn_grad_op1(b, "Sqrt", qn_grad_op2(b, "Sub", qn_grad_number(b, 1, x), qn_grad_op2(b, "Mul", x, x)))));
}

static void acos_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(
        b, 0,
        qn_grad_op1(b, "Neg",
                    qn_grad_op2(b, "Div", dy,
                                qn_grad_op1(b, "Sqrt", qn_grad_op2(b, "Sub", qn_grad_number(b, 1, x), qn_grad_op2(b, "Mul", x, x))))));
}

static void atan_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Div", dy, qn_grad_op2(b, "Add", qn_grad_op2(b, "Mul", x, x), qn_grad_number(b, 1, x))));
}

static void sinh_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", dy, qn_grad_op1(b, "Cosh", x)));
}

static void cosh_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", dy, qn_grad_op1(b, "Sinh", x)));
}

static void asinh_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(
        b, 0,
        qn_grad_op2(b, "Div", dy, qn_grad_op1(b, "Sqrt", qn_grad_op2(b, "Add", qn_grad_op2(b, "Mul", x, x), qn_grad_number(b, 1, x)))));
}

static void acosh_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(
        b, 0,
        qn_grad_op2(b, "Div", dy, qn_grad_op1(b, "Sqrt", qn_grad_op2(b, "Sub", qn_grad_op2(b, "Mul", x, x), qn_grad_number(b, 1, x)))));
}

static void atanh_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);
    const qn_value_id x = qn_grad_in(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Div", dy, qn_grad_op2(b, "Sub", qn_grad_number(b, 1, x), qn_grad_op2(b, "Mul", x, x))));
}

#define TRIG(id, NAME, SINCE)                                                                                                              \
    QN_ELEM_FN1(id##_f32, float, float, id((double)u))                                                                                     \
    QN_ELEM_FN1(id##_f64, double, double, id(u))                                                                                           \
    static const qn_elem_op id##_op = { .n_in = 1, .fn = { id##_f32, id##_f64, NULL, NULL } };                                             \
    static qn_status id##_infer(qn_infer *c, qn_error *err) { return qn_elem_infer(c, 1, QN_SET_FLOAT, QN_DTYPE_NONE, err); }              \
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
        .run = id##_run,                                                                                                                   \
        .grad = id##_grad,                                                                                                                 \
    };

TRIG(sin, "Sin", 7)
TRIG(cos, "Cos", 7)
TRIG(tan, "Tan", 7)
TRIG(asin, "Asin", 7)
TRIG(acos, "Acos", 7)
TRIG(atan, "Atan", 7)
TRIG(sinh, "Sinh", 9)
TRIG(cosh, "Cosh", 9)
TRIG(asinh, "Asinh", 9)
TRIG(acosh, "Acosh", 9)
TRIG(atanh, "Atanh", 9)
