/* core/onnx/type.c - TypeProto: what the file declares about a value. */
#include "core/onnx/read.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void qn_onnx_no_type(qn_type *out)
{
    *out = (qn_type){ .kind = QN_KIND_TENSOR, .dtype = QN_DTYPE_NONE, .rank = -1 };
    for (int i = 0; i < QN_MAX_RANK; i++) out->dims[i] = QN_DIM_UNKNOWN;
    out->quant = (qn_quant){ .scale = QN_NONE, .zero_point = QN_NONE, .axis = -1 };
}

qn_status qn_onnx_dtype(uint64_t data_type, const char *what, qn_dtype *out, qn_error *err)
{
    static const struct {
        qn_dtype dtype;
        const char *name;
    } table[] = {
        { QN_DTYPE_NONE, "undefined" },
        { QN_F32, "float" },
        { QN_U8, "uint8" },
        { QN_I8, "int8" },
        { QN_U16, "uint16" },
        { QN_I16, "int16" },
        { QN_I32, "int32" },
        { QN_I64, "int64" },
        { QN_STRING, "string" },
        { QN_BOOL, "bool" },
        { QN_F16, "float16" },
        { QN_F64, "double" },
        { QN_U32, "uint32" },
        { QN_U64, "uint64" },
        { QN_DTYPE_NONE, "complex64" },
        { QN_DTYPE_NONE, "complex128" },
        { QN_BF16, "bfloat16" },
        { QN_DTYPE_NONE, "float8e4m3fn" },
        { QN_DTYPE_NONE, "float8e4m3fnuz" },
        { QN_DTYPE_NONE, "float8e5m2" },
        { QN_DTYPE_NONE, "float8e5m2fnuz" },
        { QN_U4, "uint4" },
        { QN_I4, "int4" },
        { QN_DTYPE_NONE, "float4e2m1" },
        { QN_DTYPE_NONE, "float8e8m0" },
        { QN_DTYPE_NONE, "uint2" },
        { QN_DTYPE_NONE, "int2" },
    };
    char shown[QN_ONNX_SHORT];

    *out = QN_DTYPE_NONE;
    if (data_type >= sizeof table / sizeof *table)
        return qn_error_set(err, QN_ERR_FORMAT, "'%s': data type %" PRId64 " is none of ONNX", qn_onnx_short(what, shown),
                            (int64_t)data_type);
    *out = table[data_type].dtype;
    if (*out == QN_DTYPE_NONE && data_type != 0)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "'%s': dtype %s", qn_onnx_short(what, shown), table[data_type].name);
    return QN_OK;
}

/* Some exporters write one of these for every dimension they know nothing about; as symbols all of them would be equal. */
static bool says_nothing(const char *param)
{
    return !*param || strcmp(param, "?") == 0 || strcmp(param, "None") == 0 || strcmp(param, "-1") == 0;
}

/* TensorShapeProto.Dimension, the current field. */
static qn_status read_dim(qn_onnx_reader *r, qn_dims *dims, const char *stem, int32_t axis, qn_dim *out)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;
    const char *param = NULL;
    int64_t value = -1;
    bool has_value = false;

    if (!qn_proto_enter(p)) return p->status;
    while (!st && qn_proto_next(p)) {
        if (p->field == 1) {
            if (qn_proto_expect(p, QN_WIRE_VARINT)) value = (int64_t)p->value;
            has_value = true;
            param = NULL; /* a oneof: the last one counts */
        } else if (p->field == 2) {
            st = qn_onnx_name(r, &r->tmp, "dim_param", &param);
            has_value = false;
        }
    }
    if (!st) st = p->status;
    if (st) return st;
    qn_proto_leave(p);
    *out = QN_DIM_UNKNOWN;
    if (has_value && value < -1)
        return qn_error_set(r->err, QN_ERR_FORMAT, "dimension %" PRId32 " is %" PRId64 ", expected 0 or more", axis, value);
    if (has_value && value >= 0) { /* -1 is how some exporters write a free dimension */
        *out = qn_dims_const(dims, value);
    } else if (param && !says_nothing(param)) {
        *out = qn_dims_symbol(dims, param);
    } else if (stem) {
        size_t cap = strlen(stem) + 16;
        char *name = qn_arena_alloc(&r->tmp, cap);

        if (!name) return qn_error_set(r->err, QN_ERR_NOMEM, "name of a dimension");
        snprintf(name, cap, "%s[%" PRId32 "]", stem, axis);
        *out = qn_dims_symbol(dims, name);
    }
    return qn_dims_status(dims, r->err);
}

/* TensorShapeProto, the current field. */
static qn_status read_shape(qn_onnx_reader *r, qn_dims *dims, const char *stem, qn_type *out)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;

    if (!qn_proto_enter(p)) return p->status;
    out->rank = 0;
    while (!st && qn_proto_next(p)) {
        if (p->field != 1) continue;
        if (out->rank == QN_MAX_RANK) return qn_error_set(r->err, QN_ERR_UNSUPPORTED, "more than %d dimensions", QN_MAX_RANK);
        st = qn_onnx_spend(r, 1, 64 + (stem ? strlen(stem) : 0));
        if (!st) st = read_dim(r, dims, stem, out->rank, &out->dims[out->rank]);
        if (!st) out->rank++;
    }
    if (!st) st = p->status;
    if (!st) qn_proto_leave(p);
    return st;
}

/* TypeProto.Tensor, the open message. */
static qn_status read_tensor_type(qn_onnx_reader *r, qn_dims *dims, const char *stem, qn_type *out)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;
    bool has_shape = false;

    while (!st && qn_proto_next(p)) {
        if (p->field == 1) {
            if (qn_proto_expect(p, QN_WIRE_VARINT)) st = qn_onnx_dtype(p->value, "element type", &out->dtype, r->err);
        } else if (p->field == 2) {
            if (has_shape) return qn_error_set(r->err, QN_ERR_FORMAT, "shape is given twice");
            has_shape = true;
            st = read_shape(r, dims, stem, out);
        }
    }
    return st ? st : p->status;
}

/* The innermost tensor of a type that is more than that. Sizes with a name say nothing there: elements of a sequence need not agree. */
static qn_status read_element_type(qn_onnx_reader *r, qn_dims *dims, qn_type *out)
{
    qn_status st = read_tensor_type(r, dims, NULL, out);
    int64_t v;

    for (int32_t d = 0; d < out->rank; d++)
        if (!qn_dims_value(dims, out->dims[d], &v)) out->dims[d] = QN_DIM_UNKNOWN;
    return st;
}

/* `kind` inside of what *out says so far, `depth` levels in. A map may hold anything: no op reads one. */
static qn_status nest(qn_onnx_reader *r, int32_t depth, qn_kind kind, qn_type *out)
{
    if (depth == 0)
        out->kind = kind;
    else if (depth == 1 && out->kind == QN_KIND_OPTIONAL && kind == QN_KIND_SEQUENCE)
        out->of = kind;
    else if (out->kind != QN_KIND_MAP)
        return qn_error_set(r->err, QN_ERR_UNSUPPORTED, "type with a sequence, optional or map inside, expected tensors");
    return QN_OK;
}

/* Goes inwards through optional(sequence(...)) with a loop; the outermost kind, what an optional holds and the innermost tensor are kept. */
static qn_status read_open_type(qn_onnx_reader *r, qn_dims *dims, const char *symbol_stem, qn_type *out)
{
    qn_proto *p = &r->proto;
    qn_status st;

    for (int32_t depth = 0; qn_proto_next(p);) {
        qn_kind kind = QN_KIND_TENSOR;
        uint32_t inside = 1; /* elem_type */

        switch (p->field) {
        case 1: /* tensor_type */
            if (!qn_proto_enter(p)) return p->status;
            return depth == 0 ? read_tensor_type(r, dims, symbol_stem, out) : read_element_type(r, dims, out);
        case 4: kind = QN_KIND_SEQUENCE; break;
        case 5:
            kind = QN_KIND_MAP;
            inside = 2; /* value_type */
            break;
        case 9: kind = QN_KIND_OPTIONAL; break;
        case 7: return qn_error_set(r->err, QN_ERR_UNSUPPORTED, "opaque type");
        case 8: return qn_error_set(r->err, QN_ERR_UNSUPPORTED, "sparse tensor type");
        default: continue;
        }
        if ((st = nest(r, depth++, kind, out)) != QN_OK) return st;
        if (!qn_proto_enter(p)) return p->status;
        do {
            if (!qn_proto_next(p)) return p->status; /* it does not say what is inside */
        } while (p->field != inside);
        if (!qn_proto_enter(p)) return p->status;
    }
    return p->status;
}

qn_status qn_onnx_read_type(qn_onnx_reader *r, qn_dims *dims, const qn_onnx_span *span, const char *symbol_stem, qn_type *out)
{
    qn_proto *p = &r->proto;
    int32_t depth = p->depth;
    qn_status st;

    qn_onnx_no_type(out);
    if (!qn_proto_open(p, span->begin, span->end)) return p->status;
    st = read_open_type(r, dims, symbol_stem, out);
    if (!st) qn_proto_leave_to(p, depth);
    return st;
}
