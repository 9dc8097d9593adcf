/* core/ops/arith.c - Add, Sub, Mul, Div, Mod: two inputs, broadcast.
 * Spec   ONNX 1 on; before 7 the attributes `broadcast` and `axis`. Mod from 10: fmod = 0 gives the sign of the divisor (integers only),
 *        fmod = 1 that of the dividend.
 * Value  integers wrap in their own width; a / 0 and a mod 0 of integers fail with QN_ERR_RANGE, INT_MIN / -1 wraps to INT_MIN.
 *        f16 and bf16 are computed in f32 and rounded once.
 * Grad   Add: da = dy, db = dy.  Sub: da = dy, db = -dy.  Mul: da = dy b, db = dy a.  Div: da = dy / b, db = -dy y / b.
 *        Mod with fmod: da = dy, db = -dy trunc(a / b).  Each is summed over the axes along which its operand was stretched. */
#include "core/graph/grad.h"
#include "core/ops/elem.h"

#include <math.h>

/* -- on numbers ----------------------------------------------------------------------------------------------------------- */

QN_ELEM_FN2(add_f64, double, double, u + v)
QN_ELEM_FN2(add_u64, uint64_t, uint64_t, u + v)
QN_ELEM_FN2(sub_f64, double, double, u - v)
QN_ELEM_FN2(sub_u64, uint64_t, uint64_t, u - v)
QN_ELEM_FN2(mul_f64, double, double, (u)*v)
QN_ELEM_FN2(mul_u64, uint64_t, uint64_t, (u)*v)
QN_ELEM_FN2(div_f64, double, double, u / v)
QN_ELEM_FN2(fmod_f32, float, float, fmodf(u, v))
QN_ELEM_FN2(fmod_f64, double, double, fmod(u, v))

static void fail(qn_elem_env *env) { atomic_store_explicit(&env->failed, 1, memory_order_relaxed); }

/* -b instead of a / -1: the quotient of the smallest number wraps, and the machine does not trap */
static inline int64_t div_s64(int64_t a, int64_t b) { return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b; }
static inline int64_t rem_s64(int64_t a, int64_t b) { return b == -1 ? 0 : a % b; }

static inline int64_t mod_s64(int64_t a, int64_t b)
{
    const int64_t m = rem_s64(a, b);

    return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}

/* Integer division by what may be 0. */
#define DIVIDE(name, T, expr)                                                                                                              \
    static void name(qn_elem_env *env, const void *const *x, void *y, int64_t n)                                                           \
    {                                                                                                                                      \
        const T *p = x[0], *q = x[1];                                                                                                      \
        T *out = y;                                                                                                                        \
                                                                                                                                           \
        for (int64_t i = 0; i < n; i++) {                                                                                                  \
            const T u = p[i], v = q[i];                                                                                                    \
                                                                                                                                           \
            if (v == 0) fail(env);                                                                                                         \
            out[i] = v == 0 ? 0 : (expr);                                                                                                  \
        }                                                                                                                                  \
    }

DIVIDE(div_i64, int64_t, div_s64(u, v))
DIVIDE(div_u64, uint64_t, u / v)
DIVIDE(mod_i64, int64_t, mod_s64(u, v))
DIVIDE(rem_i64, int64_t, rem_s64(u, v))
DIVIDE(mod_u64, uint64_t, u % v)

/* -- on small known integers ---------------------------------------------------------------------------------------------- */

static bool add_number(int64_t a, int64_t b, int64_t *out) { return !__builtin_add_overflow(a, b, out); }
static bool sub_number(int64_t a, int64_t b, int64_t *out) { return !__builtin_sub_overflow(a, b, out); }
static bool mul_number(int64_t a, int64_t b, int64_t *out) { return !__builtin_mul_overflow(a, b, out); }

static bool div_number(int64_t a, int64_t b, int64_t *out)
{
    if (b == 0) return false; /* the run says so, if it gets there */
    *out = div_s64(a, b);
    return true;
}

static bool mod_number(int64_t a, int64_t b, int64_t *out)
{
    if (b == 0) return false;
    *out = mod_s64(a, b);
    return true;
}

static bool rem_number(int64_t a, int64_t b, int64_t *out)
{
    if (b == 0) return false;
    *out = rem_s64(a, b);
    return true;
}

/* Division cuts towards zero, a dims table towards minus infinity: the same for sizes, which are never negative. Only a positive
 * number divides for certain. */
static qn_dim div_symbol(qn_dims *t, qn_dim a, qn_dim b)
{
    int64_t v;

    return qn_dims_value(t, b, &v) && v > 0 ? qn_dims_floordiv(t, a, b) : QN_DIM_UNKNOWN;
}

static const qn_elem_known add_known = { add_number, qn_dims_add }, sub_known = { sub_number, qn_dims_sub };
static const qn_elem_known mul_known = { mul_number, qn_dims_mul }, div_known = { div_number, div_symbol };
static const qn_elem_known mod_known = { mod_number, NULL }, rem_known = { rem_number, NULL };

/* -- rows ----------------------------------------------------------------------------------------------------------------- */

static const char by_zero[] = "integer division by zero";

/* a + b: dy, dy.  a - b: dy, -dy.  a b: dy b, dy a.  a / b: dy / b, -(dy / b) y. */
static void add_grad(qn_builder *b)
{
    qn_grad_give(b, 0, qn_grad_of(b, 0));
    qn_grad_give(b, 1, qn_grad_of(b, 0));
}

static void sub_grad(qn_builder *b)
{
    qn_grad_give(b, 0, qn_grad_of(b, 0));
    if (qn_grad_wanted(b, 1)) qn_grad_give(b, 1, qn_grad_op1(b, "Neg", qn_grad_of(b, 0)));
}

static void mul_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0);

    if (qn_grad_wanted(b, 0)) qn_grad_give(b, 0, qn_grad_op2(b, "Mul", dy, qn_grad_in(b, 1)));
    if (qn_grad_wanted(b, 1)) qn_grad_give(b, 1, qn_grad_op2(b, "Mul", dy, qn_grad_in(b, 0)));
}

static void div_grad(qn_builder *b)
{
    const qn_value_id da = qn_grad_op2(b, "Div", qn_grad_of(b, 0), qn_grad_in(b, 1));

    qn_grad_give(b, 0, da);
    if (qn_grad_wanted(b, 1)) qn_grad_give(b, 1, qn_grad_op1(b, "Neg", qn_grad_op2(b, "Mul", da, qn_grad_out(b, 0))));
}

#define ARITH(id, NAME, KERNEL)                                                                                                            \
    static const qn_elem_op id##_op = {                                                                                                    \
        .n_in = 2,                                                                                                                         \
        .fast = QN_ELEM_BINARY,                                                                                                            \
        .kernel = KERNEL,                                                                                                                  \
        .fn = { NULL, id##_f64, id##_i64, id##_u64 },                                                                                      \
        .failure = by_zero,                                                                                                                \
    };                                                                                                                                     \
    static qn_status id##_infer(qn_infer *c, qn_error *err)                                                                                \
    {                                                                                                                                      \
        qn_status st = qn_elem_infer(c, 2, QN_SET_NUMERIC, QN_DTYPE_NONE, err);                                                            \
                                                                                                                                           \
        if (st == QN_OK) qn_elem_set_known(c, 2, &id##_known);                                                                             \
        return st;                                                                                                                         \
    }                                                                                                                                      \
    static qn_status id##_run(qn_run *r, qn_error *err) { return qn_elem_run(r, &id##_op, 0, 0, err); }                                    \
    const qn_op qn_op_##id = {                                                                                                             \
        .name = NAME,                                                                                                                      \
        .domain = "",                                                                                                                      \
        .since = 1,                                                                                                                        \
        .min_in = 2,                                                                                                                       \
        .max_in = 2,                                                                                                                       \
        .min_out = 1,                                                                                                                      \
        .max_out = 1,                                                                                                                      \
        .flags = QN_OP_INPLACE,                                                                                                            \
        .infer = id##_infer,                                                                                                               \
        .rows = qn_rows_elementwise,                                                                                                       \
        .lower = qn_elem_lower,                                                                                                            \
        .run = id##_run,                                                                                                                   \
        .grad = id##_grad,                                                                                                                 \
        .kernels = "eltwise",                                                                                                              \
    };

#define add_i64 add_u64 /* two's complement: the same bits */
#define sub_i64 sub_u64
#define mul_i64 mul_u64
ARITH(add, "Add", QN_BINARY_ADD)
ARITH(sub, "Sub", QN_BINARY_SUB)
ARITH(mul, "Mul", QN_BINARY_MUL)
ARITH(div, "Div", QN_BINARY_DIV)

static const qn_elem_op mod_op = { .n_in = 2, .fn = { NULL, NULL, mod_i64, mod_u64 }, .failure = by_zero };
static const qn_elem_op rem_op = { .n_in = 2, .fn = { fmod_f32, fmod_f64, rem_i64, mod_u64 }, .failure = by_zero };

static qn_status mod_infer(qn_infer *c, qn_error *err)
{
    const bool fmod_ = qn_node_int(c->node, "fmod", 0) != 0;
    const qn_status st = qn_elem_infer(c, 2, fmod_ ? QN_SET_NUMERIC : QN_SET_INT, QN_DTYPE_NONE, err);

    if (st == QN_OK) qn_elem_set_known(c, 2, fmod_ ? &rem_known : &mod_known);
    return st;
}

static qn_status mod_run(qn_run *r, qn_error *err)
{
    return qn_elem_run(r, qn_node_int(r->node, "fmod", 0) != 0 ? &rem_op : &mod_op, 0, 0, err);
}

const qn_op qn_op_mod = {
    .name = "Mod",
    .domain = "",
    .since = 10,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = mod_infer,
    .rows = qn_rows_elementwise,
    .run = mod_run,
};
