/* core/ops/table.c - the rows of table.def as an array. */
#include "core/ops/ops.h"

static const qn_op *const rows[] = {
#define QN_OP(id) &qn_op_##id,
#include "core/ops/table.def"
#undef QN_OP
};

const qn_op_table qn_ops = { rows, (int32_t)(sizeof rows / sizeof rows[0]) };
