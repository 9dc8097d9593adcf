/* core/ops/ops.h - the table of every op Quern runs: core/ops/table.def, one line a row. */
#ifndef QUERN_OPS_OPS_H
#define QUERN_OPS_OPS_H

#include "core/graph/op.h"

#define QN_OP(id) extern const qn_op qn_op_##id;
#include "core/ops/table.def"
#undef QN_OP

extern const qn_op_table qn_ops;

#endif
