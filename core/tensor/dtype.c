/* core/tensor/dtype.c - what is known of each element type. */
#include "quern/tensor.h"

#include <string.h>

static const struct dtype_row {
    const char *name, *oip_name;
    size_t size;
} rows[QN_DTYPE_COUNT] = {
    [QN_DTYPE_NONE] = { "none", "", 0 }, [QN_F32] = { "f32", "FP32", 4 },        [QN_F64] = { "f64", "FP64", 8 },
    [QN_F16] = { "f16", "FP16", 2 },     [QN_BF16] = { "bf16", "BF16", 2 },      [QN_I8] = { "i8", "INT8", 1 },
    [QN_I16] = { "i16", "INT16", 2 },    [QN_I32] = { "i32", "INT32", 4 },       [QN_I64] = { "i64", "INT64", 8 },
    [QN_U8] = { "u8", "UINT8", 1 },      [QN_U16] = { "u16", "UINT16", 2 },      [QN_U32] = { "u32", "UINT32", 4 },
    [QN_U64] = { "u64", "UINT64", 8 },   [QN_BOOL] = { "bool", "BOOL", 1 },      [QN_I4] = { "i4", "", 1 },
    [QN_U4] = { "u4", "", 1 },           [QN_STRING] = { "string", "BYTES", 0 },
};

static const struct dtype_row *row_of(qn_dtype dtype) { return &rows[(unsigned)dtype < QN_DTYPE_COUNT ? dtype : QN_DTYPE_NONE]; }

size_t qn_dtype_size(qn_dtype dtype) { return row_of(dtype)->size; }

const char *qn_dtype_name(qn_dtype dtype) { return row_of(dtype)->name; }

const char *qn_dtype_oip_name(qn_dtype dtype) { return row_of(dtype)->oip_name; }

qn_dtype qn_dtype_from_oip_name(const char *name)
{
    for (int i = QN_DTYPE_NONE + 1; i < QN_DTYPE_COUNT; i++) {
        if (*name && strcmp(rows[i].oip_name, name) == 0) return (qn_dtype)i;
    }
    return QN_DTYPE_NONE;
}
