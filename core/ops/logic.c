/* core/ops/logic.c - And, Or, Xor, Not on bool; BitwiseAnd, BitwiseOr, BitwiseXor, BitwiseNot, BitShift on integers.
 * Spec   ONNX And, Or, Xor, Not 1 on (before 7 with `broadcast` and `axis`); Bitwise* 18 on; BitShift 11 on, unsigned integers, attribute
 *        direction LEFT or RIGHT.
 * Value  a shift by the width of the dtype or more gives 0. A bool that is not 0 counts as 1.
 * Grad   none. */
#include "core/ops/elem.h"

#include <string.h>

QN_ELEM_FN2(and_u64, uint64_t, uint64_t, (u)&v)
QN_ELEM_FN2(or_u64, uint64_t, uint64_t, u | v)
QN_ELEM_FN2(xor_u64, uint64_t, uint64_t, u ^ v)
QN_ELEM_FN2(shift_left, uint64_t, uint64_t, v < 64 ? u << v : 0)
QN_ELEM_FN2(shift_right, uint64_t, uint64_t, v < 64 ? u >> v : 0)
QN_ELEM_FN1(not_bool, uint64_t, uint64_t, u ^ 1)
QN_ELEM_FN1(not_u64, uint64_t, uint64_t, ~u)

static bool and_number(int64_t a, int64_t b, int64_t *out)
{
    *out = a & b;
    return true;
}

static bool or_number(int64_t a, int64_t b, int64_t *out)
{
    *out = a | b;
    return true;
}

static bool xor_number(int64_t a, int64_t b, int64_t *out)
{
    *out = a ^ b;
    return true;
}

static bool not_number(int64_t a, int64_t b, int64_t *out)
{
    (void)b;
    *out = a == 0;
    return true;
}

static const qn_elem_known and_known = { and_number, NULL }, or_known = { or_number, NULL };
static const qn_elem_known xor_known = { xor_number, NULL }, not_known = { not_number, NULL };

static const qn_elem_op and_op = { .n_in = 2, .fn = { NULL, NULL, and_u64, and_u64 } };
static const qn_elem_op or_op = { .n_in = 2, .fn = { NULL, NULL, or_u64, or_u64 } };
static const qn_elem_op xor_op = { .n_in = 2, .fn = { NULL, NULL, xor_u64, xor_u64 } };
static const qn_elem_op not_op = { .n_in = 1, .fn = { NULL, NULL, NULL, not_bool } };
static const qn_elem_op bitwise_not_op = { .n_in = 1, .fn = { NULL, NULL, not_u64, not_u64 } };
static const qn_elem_op left_op = { .n_in = 2, .fn = { NULL, NULL, NULL, shift_left } };
static const qn_elem_op right_op = { .n_in = 2, .fn = { NULL, NULL, NULL, shift_right } };

/* known: NULL where small integers do not go through. */
static qn_status infer(qn_infer *c, int32_t n_in, uint32_t set, const qn_elem_known *known, qn_error *err)
{
    const qn_status st = qn_elem_infer(c, n_in, set, QN_DTYPE_NONE, err);

    if (st == QN_OK && known) qn_elem_set_known(c, n_in, known);
    return st;
}

#define LOGIC(id, NAME, N_IN, SINCE, SET, OP, KNOWN)                                                                                       \
    static qn_status id##_infer(qn_infer *c, qn_error *err) { return infer(c, N_IN, SET, KNOWN, err); }                                    \
    static qn_status id##_run(qn_run *r, qn_error *err) { return qn_elem_run(r, &OP, 0, 0, err); }                                         \
    const qn_op qn_op_##id = {                                                                                                             \
        .name = NAME,                                                                                                                      \
        .domain = "",                                                                                                                      \
        .since = SINCE,                                                                                                                    \
        .min_in = N_IN,                                                                                                                    \
        .max_in = N_IN,                                                                                                                    \
        .min_out = 1,                                                                                                                      \
        .max_out = 1,                                                                                                                      \
        .flags = QN_OP_INPLACE,                                                                                                            \
        .infer = id##_infer,                                                                                                               \
        .rows = qn_rows_elementwise,                                                                                                       \
        .run = id##_run,                                                                                                                   \
    };

LOGIC(and, "And", 2, 1, QN_SET_BOOL, and_op, &and_known)
LOGIC(or, "Or", 2, 1, QN_SET_BOOL, or_op, &or_known)
LOGIC(xor, "Xor", 2, 1, QN_SET_BOOL, xor_op, &xor_known)
LOGIC(not, "Not", 1, 1, QN_SET_BOOL, not_op, &not_known)
LOGIC(bitwise_and, "BitwiseAnd", 2, 18, QN_SET_INT, and_op, NULL)
LOGIC(bitwise_or, "BitwiseOr", 2, 18, QN_SET_INT, or_op, NULL)
LOGIC(bitwise_xor, "BitwiseXor", 2, 18, QN_SET_INT, xor_op, NULL)
LOGIC(bitwise_not, "BitwiseNot", 1, 18, QN_SET_INT, bitwise_not_op, NULL)

static qn_status bit_shift_infer(qn_infer *c, qn_error *err)
{
    const char *dir = qn_node_str(c->node, "direction", "");

    if (strcmp(dir, "LEFT") != 0 && strcmp(dir, "RIGHT") != 0)
        return qn_error_set(err, QN_ERR_INVALID, "direction is \"%.20s\", expected LEFT or RIGHT", dir);
    return qn_elem_infer(c, 2, QN_SET_UNSIGNED, QN_DTYPE_NONE, err);
}

static qn_status bit_shift_run(qn_run *r, qn_error *err)
{
    return qn_elem_run(r, strcmp(qn_node_str(r->node, "direction", ""), "LEFT") == 0 ? &left_op : &right_op, 0, 0, err);
}

const qn_op qn_op_bit_shift = {
    .name = "BitShift",
    .domain = "",
    .since = 11,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = bit_shift_infer,
    .rows = qn_rows_elementwise,
    .run = bit_shift_run,
};
