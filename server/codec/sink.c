/* server/codec/sink.c - JSON scalars into typed bytes. */
#include "server/codec/sink.h"

#include "quern/number.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void qn_sink_init(qn_sink *s, qn_dtype dtype, uint64_t *budget)
{
    memset(s, 0, sizeof *s);
    s->dtype = dtype;
    s->budget = budget;
    s->leaf_depth = -1;
    for (int32_t d = 0; d < QN_JSON_MAX_DEPTH; d++) s->lengths[d] = -1;
}

void qn_sink_release(qn_sink *s)
{
    free(s->data);
    free(s->ends);
    s->data = NULL;
    s->ends = NULL;
    s->len = s->cap = s->ends_cap = 0;
}

qn_status qn_sink_reserve(qn_sink *s, size_t bytes, qn_error *err)
{
    size_t cap = s->cap ? s->cap : 256;
    char *grown;

    if (bytes <= s->cap - s->len) return QN_OK;
    if (bytes > *s->budget) return qn_error_set(err, QN_ERR_LIMIT, "the inputs of one request are larger than the limit of tensor bytes");
    while (cap - s->len < bytes) {
        if (cap > SIZE_MAX / 2) return qn_error_set(err, QN_ERR_LIMIT, "an input of more than %zu bytes", cap);
        cap *= 2;
    }
    if (s->len == 0 && bytes > 256) cap = bytes; /* the size is known: exactly that */
    if (cap - s->cap > *s->budget) cap = s->len + bytes;
    if (cap - s->cap > *s->budget)
        return qn_error_set(err, QN_ERR_LIMIT, "the inputs of one request are larger than the limit of tensor bytes");
    grown = realloc(s->data, cap);
    if (!grown) return qn_error_set(err, QN_ERR_NOMEM, "%zu bytes for an input", cap);
    *s->budget -= cap - s->cap;
    s->data = grown;
    s->cap = cap;
    return QN_OK;
}

static qn_status put(qn_sink *s, const void *v, size_t n, qn_error *err)
{
    if (n > s->cap - s->len) {
        qn_status st = qn_sink_reserve(s, n, err);

        if (st != QN_OK) return st;
    }
    memcpy(s->data + s->len, v, n);
    s->len += n;
    s->count++;
    return QN_OK;
}

qn_status qn_sink_string(qn_sink *s, const char *text, size_t n, qn_error *err)
{
    qn_status st = QN_OK;

    if ((size_t)s->count == s->ends_cap) {
        size_t cap = s->ends_cap ? 2 * s->ends_cap : 16;
        uint64_t *grown;

        if (cap * sizeof *grown > *s->budget) return qn_error_set(err, QN_ERR_LIMIT, "more strings than the limit of tensor bytes allows");
        grown = realloc(s->ends, cap * sizeof *grown);
        if (!grown) return qn_error_set(err, QN_ERR_NOMEM, "%zu strings", cap);
        *s->budget -= (cap - s->ends_cap) * sizeof *grown;
        s->ends = grown;
        s->ends_cap = cap;
    }
    st = qn_sink_reserve(s, n, err);
    if (st != QN_OK) return st;
    if (n) memcpy(s->data + s->len, text, n);
    s->len += n;
    s->ends[s->count++] = s->len;
    return QN_OK;
}

/* -- scalars --------------------------------------------------------------------------------------------------------------------- */

static qn_status out_of_range(const qn_sink *s, const char *text, size_t n, qn_error *err)
{
    return qn_error_set(err, QN_ERR_RANGE, "element %" PRId64 " is %.*s, which %s cannot hold", s->count, (int)(n < 40 ? n : 40), text,
                        qn_dtype_oip_name(s->dtype));
}

static qn_status put_integer(qn_sink *s, const char *text, size_t n, qn_error *err)
{
    int64_t i = 0;
    uint64_t u = 0;
    bool ok;

    if (s->dtype == QN_U64)
        ok = qn_number_to_u64(text, n, &u);
    else
        ok = qn_number_to_i64(text, n, &i);
    switch (s->dtype) {
    case QN_I8: ok = ok && i >= INT8_MIN && i <= INT8_MAX; break;
    case QN_I16: ok = ok && i >= INT16_MIN && i <= INT16_MAX; break;
    case QN_I32: ok = ok && i >= INT32_MIN && i <= INT32_MAX; break;
    case QN_U8: ok = ok && i >= 0 && i <= UINT8_MAX; break;
    case QN_U16: ok = ok && i >= 0 && i <= UINT16_MAX; break;
    case QN_U32: ok = ok && i >= 0 && i <= UINT32_MAX; break;
    default: break;
    }
    if (!ok) return out_of_range(s, text, n, err);
    if (s->dtype == QN_U64) i = (int64_t)u;
    return put(s, &i, qn_dtype_size(s->dtype), err); /* little-endian: the low bytes come first */
}

static qn_status put_number(qn_sink *s, const char *text, size_t n, qn_error *err)
{
    float f;
    double d;

    switch (s->dtype) {
    case QN_F32:
        if (!qn_number_to_f32(text, n, &f)) return out_of_range(s, text, n, err);
        return put(s, &f, sizeof f, err);
    case QN_F64:
        if (!qn_number_to_f64(text, n, &d)) return out_of_range(s, text, n, err);
        return put(s, &d, sizeof d, err);
    case QN_F16:
    case QN_BF16: return qn_error_set(err, QN_ERR_DTYPE, "%s has no JSON form; send it as binary tensor data", qn_dtype_oip_name(s->dtype));
    case QN_BOOL: return qn_error_set(err, QN_ERR_DTYPE, "element %" PRId64 " is a number, expected true or false", s->count);
    case QN_STRING: return qn_error_set(err, QN_ERR_DTYPE, "element %" PRId64 " is a number, expected a string", s->count);
    default: return put_integer(s, text, n, err);
    }
}

/* NaN, Infinity, -Infinity where the protocol allows the bare words. */
static qn_status put_special(qn_sink *s, qn_json_token token, qn_error *err)
{
    double d = token == QN_JSON_NAN ? (double)NAN : token == QN_JSON_INF ? (double)INFINITY : -(double)INFINITY;
    float f = (float)d;

    if (s->dtype == QN_F32) return put(s, &f, sizeof f, err);
    if (s->dtype == QN_F64) return put(s, &d, sizeof d, err);
    return qn_error_set(err, QN_ERR_DTYPE, "element %" PRId64 " is not finite, which %s cannot hold", s->count,
                        qn_dtype_oip_name(s->dtype));
}

static qn_status put_scalar(qn_sink *s, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    uint8_t b = token == QN_JSON_TRUE;

    switch (token) {
    case QN_JSON_NUMBER: return put_number(s, text, n, err);
    case QN_JSON_TRUE:
    case QN_JSON_FALSE:
        if (s->dtype != QN_BOOL) break;
        return put(s, &b, 1, err);
    case QN_JSON_STRING:
        if (s->dtype != QN_STRING) break;
        return qn_sink_string(s, text, n, err);
    case QN_JSON_NAN:
    case QN_JSON_INF:
    case QN_JSON_MINUS_INF: return put_special(s, token, err);
    default: break;
    }
    return qn_error_set(err, QN_ERR_DTYPE, "element %" PRId64 " is %s, expected %s", s->count,
                        token == QN_JSON_STRING         ? "a string"
                        : token == QN_JSON_NULL         ? "null"
                        : token == QN_JSON_OBJECT_BEGIN ? "an object"
                                                        : "true or false",
                        qn_dtype_oip_name(s->dtype));
}

/* -- nesting ----------------------------------------------------------------------------------------------------------------------- */

static qn_status ragged(const qn_sink *s, qn_error *err)
{
    return qn_error_set(err, QN_ERR_SHAPE, "the arrays are ragged near element %" PRId64 ": all arrays of one level must have one length",
                        s->count);
}

static qn_status close_array(qn_sink *s, qn_error *err)
{
    int64_t n = s->counts[s->depth - 1];

    s->depth--;
    if (n == 0 && s->leaf_depth < 0) s->leaf_depth = s->depth + 1; /* [] or [[],[]]: no element will come below */
    if (s->lengths[s->depth] >= 0 && s->lengths[s->depth] != n) return ragged(s, err);
    if (n == 0 && s->leaf_depth != s->depth + 1) return ragged(s, err);
    s->lengths[s->depth] = n;
    if (s->depth > 0) s->counts[s->depth - 1]++;
    return QN_OK;
}

qn_status qn_sink_token(qn_sink *s, qn_json_token token, const char *text, size_t n, qn_error *err)
{
    qn_status st;

    if (token == QN_JSON_ARRAY_BEGIN) {
        if (s->depth >= QN_JSON_MAX_DEPTH || (s->leaf_depth >= 0 && s->depth >= s->leaf_depth)) return ragged(s, err);
        s->counts[s->depth++] = 0;
        return QN_OK;
    }
    if (token == QN_JSON_ARRAY_END) return close_array(s, err);
    if (s->leaf_depth != s->depth) {
        if (s->leaf_depth >= 0) return ragged(s, err);
        s->leaf_depth = s->depth;
    }
    st = put_scalar(s, token, text, n, err);
    if (s->depth > 0) s->counts[s->depth - 1]++;
    return st;
}

size_t qn_sink_list(qn_sink *s, const char *text, size_t n)
{
    const size_t elem = s->dtype == QN_F32 ? sizeof(float) : sizeof(int64_t);
    size_t used = 0, k = 1;

    if ((s->dtype != QN_F32 && s->dtype != QN_I64) || s->depth == 0 || (s->leaf_depth >= 0 && s->leaf_depth != s->depth)) return 0;
    while (k > 0 && used < n) {
        char *at;

        if (s->cap - s->len < elem && qn_sink_reserve(s, elem, NULL) != QN_OK) break; /* the next token will say so */
        at = s->data + s->len;
        used += s->dtype == QN_F32 ? qn_numbers_f32(text + used, n - used, (float *)(void *)at, (s->cap - s->len) / elem, &k)
                                   : qn_numbers_i64(text + used, n - used, (int64_t *)(void *)at, (s->cap - s->len) / elem, &k);
        s->len += k * elem;
        s->count += (int64_t)k;
        s->counts[s->depth - 1] += (int64_t)k;
        if (k > 0) s->leaf_depth = s->depth;
    }
    return used;
}

void qn_sink_shape(const qn_sink *s, int32_t *rank, int64_t *dims)
{
    int32_t r = s->leaf_depth < 0 ? 0 : s->leaf_depth;

    *rank = r;
    for (int32_t d = 0; d < r && d < QN_MAX_RANK; d++) dims[d] = s->lengths[d] < 0 ? 0 : s->lengths[d];
}

qn_status qn_sink_tensor(qn_sink *s, int32_t rank, const int64_t *dims, qn_tensor *out, qn_error *err)
{
    memset(out, 0, sizeof *out);
    out->dtype = s->dtype;
    out->rank = rank;
    for (int32_t d = 0; d < rank; d++) out->dims[d] = dims[d];
    if (s->dtype == QN_STRING) {
        size_t head = ((size_t)s->count + 1) * sizeof(uint64_t);
        char *all = malloc(head + s->len);
        uint64_t *offsets = (void *)all;

        if (!all) return qn_error_set(err, QN_ERR_NOMEM, "%zu bytes of strings", head + s->len);
        offsets[0] = 0;
        for (int64_t i = 0; i < s->count; i++) offsets[i + 1] = s->ends[i];
        if (s->len) memcpy(all + head, s->data, s->len);
        free(s->data);
        s->data = all;
        s->len = s->cap = head + s->len;
    }
    out->data = s->data;
    out->bytes = s->len;
    return QN_OK;
}
