/* core/onnx/tensor.c - TensorProto: first where its bytes are and whether they can be what dims say, then the bytes.
 * A tensor is scanned before anything is allocated for it: raw_data must have exactly the bytes of dims * dtype, a list of numbers at
 * least one byte for each, external data must lie inside its file. So a few bytes that claim to be a large tensor cost nothing.
 * Two 4-bit integers share a byte in the file, the first in its low half; an int32 of a list holds such a byte too. */
#include "core/onnx/read.h"

#include "core/base/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Fields of TensorProto. */
enum {
    DIMS = 1,
    DATA_TYPE = 2,
    SEGMENT = 3,
    FLOAT_DATA = 4,
    INT32_DATA = 5,
    STRING_DATA = 6,
    INT64_DATA = 7,
    NAME = 8,
    RAW_DATA = 9,
    DOUBLE_DATA = 10,
    UINT64_DATA = 11,
    EXTERNAL_DATA = 13,
    DATA_LOCATION = 14,
};

/* What a scan gathers before it judges. */
typedef struct scan {
    qn_onnx_span raw, first; /* first: a list's first chunk, if packed */
    uint32_t list;           /* the list field that has elements; 0: none */
    uint64_t list_max;       /* elements it can have at most */
    uint64_t n_chunks, blob_bytes;
    uint64_t data_type, location;
    int32_t rank;
    qn_onnx_location where;
    bool has_where;
} scan;

static uint32_t list_of(qn_dtype dtype)
{
    switch (dtype) {
    case QN_F32: return FLOAT_DATA;
    case QN_F64: return DOUBLE_DATA;
    case QN_I64: return INT64_DATA;
    case QN_U32:
    case QN_U64: return UINT64_DATA;
    case QN_STRING: return STRING_DATA;
    default: return INT32_DATA;
    }
}

static bool is_nibble(qn_dtype dtype) { return dtype == QN_I4 || dtype == QN_U4; }

/* Numbers that a list holds for so many elements; for 4-bit integers the bytes of raw data too. */
static size_t n_stored(const qn_onnx_tensor *t) { return is_nibble(t->dtype) ? t->count / 2 + t->count % 2 : t->count; }

static size_t stored_bytes(const qn_onnx_tensor *t) { return is_nibble(t->dtype) ? n_stored(t) : t->bytes; }

/* How one element of a list looks when it is not packed. */
static qn_wire list_wire(uint32_t field)
{
    return field == FLOAT_DATA    ? QN_WIRE_FIXED32
           : field == DOUBLE_DATA ? QN_WIRE_FIXED64
           : field == STRING_DATA ? QN_WIRE_BYTES
                                  : QN_WIRE_VARINT;
}

/* Bytes one element takes at least. */
static uint64_t list_least(uint32_t field) { return field == FLOAT_DATA ? 4 : field == DOUBLE_DATA ? 8 : 1; }

static qn_status scan_list(qn_onnx_reader *r, scan *s)
{
    qn_proto *p = &r->proto;
    uint64_t len = p->end - p->begin, least = list_least(p->field);

    if (p->field != STRING_DATA && p->wire == QN_WIRE_BYTES) {
        if (len == 0) return QN_OK;
        if (len % least)
            return qn_error_set(r->err, QN_ERR_FORMAT, "packed list of %" PRIu64 " bytes, expected a multiple of %" PRIu64, len, least);
        len /= least;
    } else {
        if (!qn_proto_expect(p, list_wire(p->field))) return p->status;
        s->blob_bytes += len; /* a sum of disjoint parts of one file */
        len = 1;
    }
    if (s->list && s->list != p->field)
        return qn_error_set(r->err, QN_ERR_FORMAT, "data in both field %" PRIu32 " and field %" PRIu32, s->list, p->field);
    s->list = p->field;
    if (s->n_chunks == 0 && p->wire == QN_WIRE_BYTES) s->first = (qn_onnx_span){ p->begin, p->end, true };
    s->n_chunks++;
    s->list_max += len;
    return QN_OK;
}

static qn_status add_dim(qn_onnx_reader *r, scan *s, qn_onnx_tensor *t, uint64_t v)
{
    if (s->rank == QN_MAX_RANK) return qn_error_set(r->err, QN_ERR_UNSUPPORTED, "more than %d dimensions", QN_MAX_RANK);
    if ((int64_t)v < 0)
        return qn_error_set(r->err, QN_ERR_FORMAT, "dimension %" PRId32 " is %" PRId64 ", expected 0 or more", s->rank, (int64_t)v);
    t->dims[s->rank++] = (int64_t)v;
    return QN_OK;
}

/* `repeated int64 dims`, packed or not: the current field. */
static qn_status scan_dims(qn_onnx_reader *r, scan *s, qn_onnx_tensor *t)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;
    uint64_t v;

    if (p->wire != QN_WIRE_BYTES) return qn_proto_expect(p, QN_WIRE_VARINT) ? add_dim(r, s, t, p->value) : p->status;
    if (!qn_proto_enter(p)) return p->status;
    while (!st && !qn_proto_at_end(p)) st = qn_proto_varint(p, &v) ? add_dim(r, s, t, v) : p->status;
    if (!st) st = p->status;
    if (!st) qn_proto_leave(p);
    return st;
}

static qn_status scan_field(qn_onnx_reader *r, scan *s, qn_onnx_tensor *t)
{
    qn_proto *p = &r->proto;

    switch (p->field) {
    case DIMS: return scan_dims(r, s, t);
    case DATA_TYPE:
        if (qn_proto_expect(p, QN_WIRE_VARINT)) s->data_type = p->value;
        return p->status;
    case SEGMENT: return qn_error_set(r->err, QN_ERR_UNSUPPORTED, "tensor stored in segments");
    case FLOAT_DATA:
    case INT32_DATA:
    case STRING_DATA:
    case INT64_DATA:
    case DOUBLE_DATA:
    case UINT64_DATA: return scan_list(r, s);
    case NAME: return qn_onnx_name(r, &r->tmp, "tensor name", &t->name);
    case RAW_DATA: return qn_onnx_span_take(r, &s->raw, "raw_data");
    case EXTERNAL_DATA: s->has_where = true; return qn_onnx_location_entry(r, &s->where);
    case DATA_LOCATION:
        if (qn_proto_expect(p, QN_WIRE_VARINT)) s->location = p->value;
        return p->status;
    default: return QN_OK;
    }
}

/* dims * dtype, and the limit, before anybody allocates. */
static qn_status judge_size(qn_onnx_reader *r, const scan *s, qn_onnx_tensor *t)
{
    int64_t count;
    qn_status st = qn_shape_count(t->rank, t->dims, &count, r->err);
    bool fits;

    if (st) return st;
    fits = qn_i64_to_size(count, &t->count);
    if (t->dtype == QN_STRING)
        fits = fits && qn_size_add(t->count, 1, &t->bytes) && qn_size_mul(t->bytes, 8, &t->bytes) &&
               qn_size_add(t->bytes, s->blob_bytes, &t->bytes);
    else
        fits = fits && qn_size_mul(t->count, qn_dtype_size(t->dtype), &t->bytes);
    if (!fits || t->bytes > r->limits.weight_bytes)
        return qn_error_set(r->err, QN_ERR_LIMIT, "%" PRId64 " elements of %s, more than %" PRIu64 " bytes (limit weight_bytes)", count,
                            qn_dtype_name(t->dtype), r->limits.weight_bytes);
    return QN_OK;
}

static qn_status judge_list(qn_onnx_reader *r, const scan *s, qn_onnx_tensor *t)
{
    bool exact = list_wire(s->list) != QN_WIRE_VARINT;

    if (s->list != list_of(t->dtype))
        return qn_error_set(r->err, QN_ERR_FORMAT, "%s data in field %" PRIu32 ", expected field %" PRIu32 " or raw_data",
                            qn_dtype_name(t->dtype), s->list, list_of(t->dtype));
    if (s->list_max < n_stored(t) || (exact && s->list_max != t->count))
        return qn_error_set(r->err, QN_ERR_FORMAT, "%s%" PRIu64 " %s in the file, expected %zu from dims", exact ? "" : "at most ",
                            s->list_max, is_nibble(t->dtype) ? "pairs" : "elements", n_stored(t));
    t->list = s->list;
    if ((s->list == FLOAT_DATA || s->list == DOUBLE_DATA) && s->n_chunks == 1 && s->first.given) {
        t->list = 0; /* one packed chunk of little-endian numbers is what raw_data would be */
        t->from = r->src;
        t->offset = s->first.begin;
    }
    return QN_OK;
}

static qn_status judge(qn_onnx_reader *r, const scan *s, qn_onnx_tensor *t)
{
    qn_status st = qn_onnx_dtype(s->data_type, *t->name ? t->name : "tensor", &t->dtype, r->err);

    if (st) return st;
    if (t->dtype == QN_DTYPE_NONE) return qn_error_set(r->err, QN_ERR_FORMAT, "tensor without a data type");
    t->rank = s->rank;
    st = judge_size(r, s, t);
    if (st) return st;
    if ((s->raw.given || s->location == 1) && s->list)
        return qn_error_set(r->err, QN_ERR_FORMAT, "data in both field %" PRIu32 " and %s", s->list,
                            s->raw.given ? "raw_data" : "external_data");
    if (s->location > 1) return qn_error_set(r->err, QN_ERR_FORMAT, "data_location %" PRId64 ", expected 0 or 1", (int64_t)s->location);
    if (s->has_where != (s->location == 1) || (s->has_where && s->raw.given))
        return qn_error_set(r->err, QN_ERR_FORMAT, "external_data and data_location contradict each other");
    if (t->dtype == QN_STRING && (s->has_where || s->raw.given))
        return qn_error_set(r->err, QN_ERR_FORMAT, "strings in raw or external data, expected string_data");
    if (s->has_where) return qn_onnx_external_open(r, &s->where, stored_bytes(t), &t->from, &t->offset);
    if (s->list) return judge_list(r, s, t);
    t->from = r->src;
    t->offset = s->raw.begin;
    if (s->raw.end - s->raw.begin == stored_bytes(t)) return QN_OK;
    if (t->dtype == QN_STRING && t->count == 0) {
        t->list = STRING_DATA; /* no strings still have one offset */
        return QN_OK;
    }
    return qn_error_set(r->err, QN_ERR_FORMAT, "%s %" PRIu64 " bytes, expected %zu from dims and dtype",
                        s->raw.given ? "raw_data has" : "data has", s->raw.end - s->raw.begin, stored_bytes(t));
}

qn_status qn_onnx_scan_tensor(qn_onnx_reader *r, const qn_onnx_span *span, qn_onnx_tensor *t)
{
    qn_proto *p = &r->proto;
    char shown[QN_ONNX_SHORT];
    qn_status st = QN_OK;
    scan s = { 0 };

    *t = (qn_onnx_tensor){ .name = "", .span = *span };
    if (!qn_proto_open(p, span->begin, span->end)) return p->status;
    while (!st && qn_proto_next(p)) st = scan_field(r, &s, t);
    if (!st) st = p->status;
    if (!st) qn_proto_leave(p);
    if (!st) st = judge(r, &s, t);
    if (st && *t->name) qn_error_prefix(r->err, "tensor '%s'", qn_onnx_short(t->name, shown));
    return st;
}

/* -- dense bytes ---------------------------------------------------------------------------------------------------------- */

/* A bool in a file is 0 or 1: kernels count on it. */
static qn_status check_bools(const qn_onnx_reader *r, qn_dtype dtype, const uint8_t *b, size_t n)
{
    uint8_t all = 0;

    if (dtype != QN_BOOL) return QN_OK;
    for (size_t i = 0; i < n; i++) all |= b[i];
    return all > 1 ? qn_error_set(r->err, QN_ERR_FORMAT, "a bool that is neither 0 nor 1") : QN_OK;
}

/* The two elements of byte i of 4-bit integers; of the last byte of an odd count, the first. */
static void store_pair(const qn_onnx_tensor *t, uint8_t pair, uint8_t *dst, size_t i)
{
    const uint8_t flip = t->dtype == QN_I4 ? 8 : 0; /* (v ^ 8) - 8 copies the sign bit upwards */

    dst[2 * i] = (uint8_t)(((pair & 15) ^ flip) - flip);
    if (2 * i + 1 < t->count) dst[2 * i + 1] = (uint8_t)(((pair >> 4) ^ flip) - flip);
}

/* Number i of a list of varints. int32 fields carry the low 32 bits, signed or not as the dtype wants. */
static bool store_int(const qn_onnx_tensor *t, uint64_t v, void *dst, size_t i)
{
    const qn_dtype dtype = t->dtype;
    int64_t n = v <= UINT32_MAX ? (int64_t)(int32_t)(uint32_t)v : (int64_t)v; /* as an int32 field */

    switch (dtype) {
    case QN_I64: ((int64_t *)dst)[i] = (int64_t)v; return true;
    case QN_U64: ((uint64_t *)dst)[i] = v; return true;
    case QN_U32: ((uint32_t *)dst)[i] = (uint32_t)v; return v <= UINT32_MAX;
    case QN_I32: ((int32_t *)dst)[i] = (int32_t)n; return n >= INT32_MIN && n <= INT32_MAX;
    case QN_I16: ((int16_t *)dst)[i] = (int16_t)n; return n >= INT16_MIN && n <= INT16_MAX;
    case QN_I8: ((int8_t *)dst)[i] = (int8_t)n; return n >= INT8_MIN && n <= INT8_MAX;
    case QN_F16:
    case QN_BF16:
    case QN_U16: ((uint16_t *)dst)[i] = (uint16_t)n; return n >= 0 && n <= UINT16_MAX;
    case QN_I4:
    case QN_U4: store_pair(t, (uint8_t)n, dst, i); return n >= INT8_MIN && n <= UINT8_MAX;
    case QN_U8: ((uint8_t *)dst)[i] = (uint8_t)n; return n >= 0 && n <= UINT8_MAX;
    case QN_BOOL: ((uint8_t *)dst)[i] = (uint8_t)n; return n == 0 || n == 1;
    default: return false;
    }
}

static qn_status store(qn_onnx_reader *r, const qn_onnx_tensor *t, void *dst, size_t i)
{
    qn_proto *p = &r->proto;
    uint64_t v;
    uint32_t word;

    if (i == n_stored(t)) return qn_error_set(r->err, QN_ERR_FORMAT, "more elements than the %zu of dims", t->count);
    if (t->dtype == QN_F32) {
        if (qn_proto_fixed32(p, &word)) ((uint32_t *)dst)[i] = word;
    } else if (t->dtype == QN_F64) {
        if (qn_proto_fixed64(p, &v)) ((uint64_t *)dst)[i] = v;
    } else if (qn_proto_varint(p, &v) && !store_int(t, v, dst, i)) {
        return qn_error_set(r->err, QN_ERR_FORMAT, "element %zu is %" PRId64 ", outside %s", i, (int64_t)v, qn_dtype_name(t->dtype));
    }
    return p->status;
}

/* The current field: one packed chunk, or one number. */
static qn_status fill_chunk(qn_onnx_reader *r, const qn_onnx_tensor *t, void *dst, size_t *i)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;

    if (p->wire == QN_WIRE_BYTES) {
        if (!qn_proto_enter(p)) return p->status;
        while (!st && !qn_proto_at_end(p)) st = store(r, t, dst, (*i)++);
        if (!st) st = p->status;
        if (!st) qn_proto_leave(p);
        return st;
    }
    if (!qn_proto_expect(p, list_wire(t->list))) return p->status;
    if (*i == n_stored(t)) return qn_error_set(r->err, QN_ERR_FORMAT, "more elements than the %zu of dims", t->count);
    if (t->dtype == QN_F32) {
        ((uint32_t *)dst)[*i] = (uint32_t)p->value;
    } else if (t->dtype == QN_F64) {
        ((uint64_t *)dst)[*i] = p->value;
    } else if (!store_int(t, p->value, dst, *i)) {
        return qn_error_set(r->err, QN_ERR_FORMAT, "element %zu is %" PRId64 ", outside %s", *i, (int64_t)p->value,
                            qn_dtype_name(t->dtype));
    }
    (*i)++;
    return QN_OK;
}

static qn_status fill_string(qn_onnx_reader *r, const qn_onnx_tensor *t, void *dst, size_t *i)
{
    qn_proto *p = &r->proto;
    uint64_t *offsets = dst;
    char *blob = (char *)dst + 8 * (t->count + 1);
    size_t n = (size_t)(p->end - p->begin), room = t->bytes - 8 * (t->count + 1);

    /* the scan has counted both, but a file can change under us */
    if (!qn_proto_expect(p, QN_WIRE_BYTES)) return p->status;
    if (*i == t->count || n > room - offsets[*i]) return qn_error_set(r->err, QN_ERR_FORMAT, "the strings changed while they were read");
    if (!qn_proto_copy(p, blob + offsets[*i], n)) return p->status;
    offsets[*i + 1] = offsets[*i] + n;
    (*i)++;
    return QN_OK;
}

static qn_status fill_dense(qn_onnx_reader *r, const qn_onnx_tensor *t, void *dst)
{
    qn_status st = t->bytes ? t->from->read(t->from, t->offset, dst, t->bytes, r->err) : QN_OK;

    return st ? st : check_bools(r, t->dtype, dst, t->bytes);
}

/* The pairs are read into the end of dst and spread from there to its beginning: pair i is read before its place is written over. */
static qn_status fill_pairs(qn_onnx_reader *r, const qn_onnx_tensor *t, uint8_t *dst)
{
    const size_t n = stored_bytes(t);
    const uint8_t *pairs = dst + (t->bytes - n);
    qn_status st = n ? t->from->read(t->from, t->offset, dst + (t->bytes - n), n, r->err) : QN_OK;

    for (size_t i = 0; !st && i < n; i++) store_pair(t, pairs[i], dst, i);
    return st;
}

qn_status qn_onnx_tensor_fill(qn_onnx_reader *r, const qn_onnx_tensor *t, void *dst)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;
    size_t i = 0;

    if (!t->list) return is_nibble(t->dtype) ? fill_pairs(r, t, dst) : fill_dense(r, t, dst);
    if (t->dtype == QN_STRING) *(uint64_t *)dst = 0;
    if (!qn_proto_open(p, t->span.begin, t->span.end)) return p->status;
    while (!st && qn_proto_next(p)) {
        if (p->field != t->list) continue;
        st = t->dtype == QN_STRING ? fill_string(r, t, dst, &i) : fill_chunk(r, t, dst, &i);
    }
    if (!st) st = p->status;
    if (st) return st;
    qn_proto_leave(p);
    if (i != n_stored(t)) return qn_error_set(r->err, QN_ERR_FORMAT, "%zu elements in the file, expected %zu from dims", i, n_stored(t));
    return QN_OK;
}

/* -- weights -------------------------------------------------------------------------------------------------------------- */

static qn_tensor view(const qn_onnx_tensor *t, void *data)
{
    qn_tensor v = { .dtype = t->dtype, .rank = t->rank, .data = data, .bytes = t->bytes };

    memcpy(v.dims, t->dims, sizeof v.dims);
    return v;
}

/* One pass over the bytes where they lie: the digest that names the weight. */
static qn_status digest_at(qn_onnx_reader *r, qn_source *src, uint64_t offset, const qn_onnx_tensor *t, qn_digest *out)
{
    qn_status st = QN_OK;
    qn_hasher h;

    qn_weight_digest_begin(&h, t->dtype, t->rank, t->dims);
    for (size_t done = 0; !st && done < t->bytes;) {
        size_t n = t->bytes - done < QN_ONNX_INLINE_BYTES ? t->bytes - done : QN_ONNX_INLINE_BYTES;

        st = src->read(src, offset + done, r->bounce, n, r->err);
        if (!st) st = check_bools(r, t->dtype, r->bounce, n);
        if (!st) qn_hasher_update(&h, r->bounce, n);
        done += n;
    }
    qn_hasher_finish(&h, out);
    return st;
}

qn_status qn_onnx_weight_at(qn_onnx_reader *r, qn_source *src, uint64_t offset, const qn_onnx_tensor *t, qn_weight **out)
{
    qn_digest digest;
    qn_status st = QN_OK;
    qn_tensor v;

    *out = NULL;
    if (t->bytes <= QN_ONNX_INLINE_BYTES) {
        if (t->bytes) st = src->read(src, offset, r->bounce, t->bytes, r->err);
        if (!st) st = check_bools(r, t->dtype, r->bounce, t->bytes);
        v = view(t, r->bounce);
        return st ? st : qn_weight_from_tensor(&v, out, r->err);
    }
    st = digest_at(r, src, offset, t, &digest);
    return st ? st : qn_weight_from_source(src, offset, t->dtype, t->rank, t->dims, &digest, out, r->err);
}

static qn_status weight_of_list(qn_onnx_reader *r, const qn_onnx_tensor *t, qn_weight **out)
{
    qn_status st;
    qn_tensor v;
    void *data = malloc(t->bytes ? t->bytes : 1);

    if (!data) return qn_error_set(r->err, QN_ERR_NOMEM, "tensor of %zu bytes", t->bytes);
    st = qn_onnx_tensor_fill(r, t, data);
    v = view(t, data);
    if (!st) st = qn_weight_from_tensor(&v, out, r->err);
    free(data);
    return st;
}

qn_status qn_onnx_tensor_weight(qn_onnx_reader *r, const qn_onnx_tensor *t, qn_weight **out)
{
    char shown[QN_ONNX_SHORT];
    qn_status st;

    *out = NULL;
    st = qn_onnx_spend_weight(r, t->bytes, t->name);
    if (st) return st;
    if (t->list || (is_nibble(t->dtype) && t->bytes <= QN_ONNX_INLINE_BYTES))
        st = weight_of_list(r, t, out);
    else if (is_nibble(t->dtype))
        st = qn_onnx_nibble_weight(r, t, out);
    else
        st = qn_onnx_weight_at(r, t->from, t->offset, t, out);
    if (st && *t->name) qn_error_prefix(r->err, "tensor '%s'", qn_onnx_short(t->name, shown));
    return st;
}
