/* core/ops/compare.c - Equal, Greater, GreaterOrEqual, Less, LessOrEqual: bool from two inputs of one dtype, broadcast.
 * Spec   ONNX Equal, Greater, Less 1 on (before 7 with `broadcast` and `axis`), GreaterOrEqual, LessOrEqual 12 on. Equal takes bool and
 *        strings too; the older versions' shorter lists of dtypes are not enforced.
 * Value  IEEE comparison: NaN equals nothing and is neither less nor greater.
 * Grad   none. */
#include "core/ops/elem.h"
#include "core/tensor/broadcast.h"
#include "core/tensor/strings.h"

#include <string.h>

#define COMPARE_FNS(id, op)                                                                                                                \
    QN_ELEM_FN2(id##_f32, float, uint8_t, u op v)                                                                                          \
    QN_ELEM_FN2(id##_f64, double, uint8_t, u op v)                                                                                         \
    QN_ELEM_FN2(id##_i64, int64_t, uint8_t, u op v)                                                                                        \
    QN_ELEM_FN2(id##_u64, uint64_t, uint8_t, u op v)                                                                                       \
    static bool id##_number(int64_t a, int64_t b, int64_t *out)                                                                            \
    {                                                                                                                                      \
        *out = a op b;                                                                                                                     \
        return true;                                                                                                                       \
    }                                                                                                                                      \
    static const qn_elem_op id##_op = { .n_in = 2, .fn = { id##_f32, id##_f64, id##_i64, id##_u64 }, .to_bool = true };

COMPARE_FNS(equal, ==)
COMPARE_FNS(greater, >)
COMPARE_FNS(greater_or_equal, >=)
COMPARE_FNS(less, <)
COMPARE_FNS(less_or_equal, <=)

/* The same expression is equal to itself whatever its symbols are; two different ones may or may not be, unless they provably differ. */
static qn_dim equal_symbol(qn_dims *t, qn_dim a, qn_dim b)
{
    if (a == b) return qn_dims_const(t, 1);
    if (qn_dims_differ(t, a, b)) return qn_dims_const(t, 0);
    return QN_DIM_UNKNOWN;
}

/* <= and >=: two that differ may still be in either order. */
static qn_dim order_symbol(qn_dims *t, qn_dim a, qn_dim b)
{
    if (a == b) return qn_dims_const(t, 1);
    return QN_DIM_UNKNOWN;
}

static qn_dim strict_symbol(qn_dims *t, qn_dim a, qn_dim b)
{
    if (a == b) return qn_dims_const(t, 0);
    return QN_DIM_UNKNOWN;
}

static bool same_string(const qn_tensor *a, int64_t i, const qn_tensor *b, int64_t j)
{
    size_t na, nb;
    const char *sa = qn_strings_get(a, i, &na), *sb = qn_strings_get(b, j, &nb);

    return na == nb && memcmp(sa, sb, na) == 0;
}

static qn_status equal_strings(qn_run *r, qn_error *err)
{
    const qn_tensor *in[2] = { &r->in[0], &r->in[1] };
    int64_t dims[QN_MAX_RANK] = { 0 }, strides[3][QN_MAX_RANK];
    int32_t rank = 0;
    qn_odometer o;
    uint8_t *y;
    qn_status st = qn_broadcast_tensors(in, 2, &rank, dims, err);

    if (st == QN_OK) st = qn_move_output(r, 0, QN_BOOL, rank, dims, err);
    if (st != QN_OK) return st;
    for (int i = 0; i < 2; i++) qn_broadcast_strides(in[i]->rank, in[i]->dims, rank, dims, strides[i]);
    qn_broadcast_strides(rank, dims, rank, dims, strides[2]);
    qn_odometer_init(&o, 3, rank, dims, strides);
    y = r->out[0].data;
    for (bool more = o.n_outer > 0; more; more = qn_odometer_next(&o))
        for (int64_t i = 0; i < o.n_inner; i++)
            y[o.at[2] + i * o.step[2]] = same_string(in[0], o.at[0] + i * o.step[0], in[1], o.at[1] + i * o.step[1]);
    return QN_OK;
}

#define COMPARE(id, NAME, SINCE, SET, SYMBOL)                                                                                              \
    static qn_status id##_infer(qn_infer *c, qn_error *err)                                                                                \
    {                                                                                                                                      \
        const qn_elem_known known = { id##_number, SYMBOL };                                                                               \
        const qn_status st = qn_elem_infer(c, 2, SET, QN_BOOL, err);                                                                       \
                                                                                                                                           \
        if (st == QN_OK) qn_elem_set_known(c, 2, &known);                                                                                  \
        return st;                                                                                                                         \
    }                                                                                                                                      \
    static qn_status id##_run(qn_run *r, qn_error *err)                                                                                    \
    {                                                                                                                                      \
        if (r->in[0].dtype == QN_STRING) return equal_strings(r, err);                                                                     \
        return qn_elem_run(r, &id##_op, 0, 0, err);                                                                                        \
    }                                                                                                                                      \
    const qn_op qn_op_##id = {                                                                                                             \
        .name = NAME,                                                                                                                      \
        .domain = "",                                                                                                                      \
        .since = SINCE,                                                                                                                    \
        .min_in = 2,                                                                                                                       \
        .max_in = 2,                                                                                                                       \
        .min_out = 1,                                                                                                                      \
        .max_out = 1,                                                                                                                      \
        .flags = QN_OP_INPLACE,                                                                                                            \
        .infer = id##_infer,                                                                                                               \
        .rows = qn_rows_elementwise,                                                                                                       \
        .run = id##_run,                                                                                                                   \
    };

COMPARE(equal, "Equal", 1, QN_SET_ALL, equal_symbol)
COMPARE(greater, "Greater", 1, QN_SET_NUMERIC, strict_symbol)
COMPARE(greater_or_equal, "GreaterOrEqual", 12, QN_SET_NUMERIC, order_symbol)
COMPARE(less, "Less", 1, QN_SET_NUMERIC, strict_symbol)
COMPARE(less_or_equal, "LessOrEqual", 12, QN_SET_NUMERIC, order_symbol)
