/* server/codec/encode.c - tensors -> JSON text and raw bytes. */
#include "server/codec/classify.h"
#include "server/codec/codec.h"

#include "quern/half.h"
#include "quern/number.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How not-finite numbers are written: v2 as strings, so that the text is JSON; TensorFlow Serving bare, as it always did. */
typedef enum qn_special { SPECIAL_QUOTED, SPECIAL_BARE } qn_special;

static bool put_special(qn_buf *b, double v, qn_special how)
{
    const char *word = isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity";

    if (how == SPECIAL_BARE) return qn_buf_puts(b, word);
    return qn_buf_append(b, "\"", 1) && qn_buf_puts(b, word) && qn_buf_append(b, "\"", 1);
}

/* Length of the valid UTF-8 character at s (1..4), or 0. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    uint32_t code;
    size_t len;

    if (s[0] < 0x80) return 1;
    len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || len > n) return 0;
    code = s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    if ((len == 3 && (code < 0x800 || (code >= 0xd800 && code <= 0xdfff))) || (len == 4 && (code < 0x10000 || code > 0x10ffff))) return 0;
    return len;
}

bool qn_json_put_string(qn_buf *b, const char *s, size_t n)
{
    size_t plain = 0; /* bytes before i that need nothing */

    if (!qn_buf_append(b, "\"", 1)) return false;
    for (size_t i = 0; i < n;) {
        const unsigned char *p = (const unsigned char *)s + i;
        size_t len = utf8_length(p, n - i);
        char esc[8];
        const char *put = esc;

        if (len > 1 || (len == 1 && *p >= 0x20 && *p != '"' && *p != '\\')) {
            i += len;
            plain += len;
            continue;
        }
        if (len == 0) {
            put = "\xef\xbf\xbd"; /* U+FFFD */
        } else if (*p == '"' || *p == '\\') {
            esc[0] = '\\';
            esc[1] = (char)*p;
            esc[2] = 0;
        } else {
            static const char hex[] = "0123456789abcdef";

            memcpy(esc, "\\u00", 4);
            esc[4] = hex[*p >> 4];
            esc[5] = hex[*p & 15];
            esc[6] = 0;
        }
        if (!qn_buf_append(b, s + i - plain, plain) || !qn_buf_puts(b, put)) return false;
        plain = 0;
        i++;
    }
    return qn_buf_append(b, s + n - plain, plain) && qn_buf_append(b, "\"", 1);
}

static bool put_float(qn_buf *b, double v, bool is_f64, qn_special how)
{
    char text[QN_NUMBER_CHARS];

    if (!isfinite(v)) return put_special(b, v, how);
    return qn_buf_append(b, text, is_f64 ? qn_number_from_f64(v, text) : qn_number_from_f32((float)v, text));
}

static bool put_element(qn_buf *b, const qn_tensor *t, int64_t i, qn_special how)
{
    char text[QN_NUMBER_CHARS];
    const char *p = (const char *)t->data + (size_t)i * qn_dtype_size(t->dtype);
    int64_t v;

    switch (t->dtype) {
    case QN_F32: return put_float(b, (double)((const float *)t->data)[i], false, how);
    case QN_F64: return put_float(b, ((const double *)t->data)[i], true, how);
    case QN_F16: return put_float(b, (double)qn_f16_to_f32(((const uint16_t *)t->data)[i]), false, how);
    case QN_BF16: return put_float(b, (double)qn_bf16_to_f32(((const uint16_t *)t->data)[i]), false, how);
    case QN_BOOL: return qn_buf_puts(b, *p ? "true" : "false");
    case QN_STRING: {
        const uint64_t *off = t->data;
        const char *blob = (const char *)t->data + 8 * ((size_t)qn_tensor_count(t) + 1);

        return qn_json_put_string(b, blob + off[i], (size_t)(off[i + 1] - off[i]));
    }
    case QN_U64: return qn_buf_append(b, text, qn_number_from_u64(((const uint64_t *)t->data)[i], text));
    case QN_I4:
    case QN_I8: v = ((const int8_t *)t->data)[i]; break;
    case QN_I16: v = ((const int16_t *)t->data)[i]; break;
    case QN_I32: v = ((const int32_t *)t->data)[i]; break;
    case QN_U4:
    case QN_U8: v = ((const uint8_t *)t->data)[i]; break;
    case QN_U16: v = ((const uint16_t *)t->data)[i]; break;
    case QN_U32: v = ((const uint32_t *)t->data)[i]; break;
    default: v = ((const int64_t *)t->data)[i]; break;
    }
    return qn_buf_append(b, text, qn_number_from_i64(v, text));
}

static qn_status too_large(const qn_buf *b, qn_error *err)
{
    if (b->limit && b->len >= b->limit / 2)
        return qn_error_set(err, QN_ERR_LIMIT, "the reply is larger than the limit of %zu bytes", b->limit);
    return qn_error_set(err, QN_ERR_NOMEM, "a reply of more than %zu bytes", b->len);
}

/* -- v2 --------------------------------------------------------------------------------------------------------------------------------- */

/* Bytes of an output in the binary form: strings get a u32 length each. */
static uint64_t binary_bytes(const qn_tensor *t)
{
    if (t->dtype != QN_STRING) return t->bytes;
    return t->bytes - 8 * ((uint64_t)qn_tensor_count(t) + 1) + 4 * (uint64_t)qn_tensor_count(t);
}

static bool put_binary(qn_buf *b, const qn_tensor *t)
{
    const uint64_t *off = t->data;
    int64_t count = qn_tensor_count(t);
    bool ok = true;

    if (t->dtype != QN_STRING) return t->bytes == 0 || qn_buf_append(b, t->data, t->bytes);
    for (int64_t i = 0; i < count && ok; i++) {
        uint64_t n = off[i + 1] - off[i];
        uint32_t n32 = (uint32_t)n;

        ok = n <= UINT32_MAX && qn_buf_append(b, &n32, sizeof n32) &&
             qn_buf_append(b, (const char *)t->data + 8 * ((size_t)count + 1) + off[i], (size_t)n);
    }
    return ok;
}

static bool put_v2_output(qn_buf *b, const char *name, const qn_tensor *t, bool binary)
{
    int64_t count = qn_tensor_count(t);
    bool ok = qn_buf_puts(b, "{\"name\":") && qn_json_put_string(b, name, strlen(name)) &&
              qn_buf_printf(b, ",\"datatype\":\"%s\",\"shape\":[", qn_dtype_oip_name(t->dtype));

    for (int32_t d = 0; d < t->rank && ok; d++) ok = qn_buf_printf(b, d ? ",%" PRId64 : "%" PRId64, t->dims[d]);
    if (binary) return ok && qn_buf_printf(b, "],\"parameters\":{\"binary_data_size\":%" PRIu64 "}}", binary_bytes(t));
    ok = ok && qn_buf_puts(b, "],\"data\":[");
    for (int64_t i = 0; i < count && ok; i++) ok = (i == 0 || qn_buf_append(b, ",", 1)) && put_element(b, t, i, SPECIAL_QUOTED);
    return ok && qn_buf_puts(b, "]}");
}

static qn_status put_v2(const char *model_name, int64_t version, const qn_decoded *request, const qn_model *model, const qn_tensor *shown,
                        qn_buf *out, int64_t *header_bytes, qn_error *err)
{
    bool ok, any_binary = false;

    ok = qn_buf_puts(out, "{\"model_name\":") && qn_json_put_string(out, model_name, strlen(model_name)) &&
         qn_buf_printf(out, ",\"model_version\":\"%" PRId64 "\"", version);
    if (ok && request->id) ok = qn_buf_puts(out, ",\"id\":") && qn_json_put_string(out, request->id, strlen(request->id));
    ok = ok && qn_buf_puts(out, ",\"outputs\":[");
    for (int32_t i = 0; i < request->n_wanted && ok; i++) {
        const qn_wanted_output *w = &request->wanted[i];

        any_binary |= w->binary;
        ok = (i == 0 || qn_buf_append(out, ",", 1)) && put_v2_output(out, qn_model_output(model, w->index)->name, &shown[i], w->binary);
    }
    ok = ok && qn_buf_puts(out, "]}");
    *header_bytes = any_binary ? (int64_t)out->len : -1;
    for (int32_t i = 0; i < request->n_wanted && ok && any_binary; i++) {
        if (request->wanted[i].binary) ok = put_binary(out, &shown[i]);
    }
    return ok ? QN_OK : too_large(out, err);
}

qn_status qn_encode_v2(const char *model_name, int64_t version, const qn_decoded *request, const qn_model *model, const qn_tensor *outputs,
                       const char *const *labels, int32_t n_labels, qn_buf *out, int64_t *header_bytes, qn_error *err)
{
    qn_tensor few[4], *shown = request->n_wanted <= 4 ? few : calloc((size_t)request->n_wanted, sizeof *shown);
    int32_t n = 0;
    qn_status st = shown ? QN_OK : qn_error_set(err, QN_ERR_NOMEM, "%" PRId32 " outputs", request->n_wanted);

    for (; n < request->n_wanted && st == QN_OK; n++) {
        const qn_wanted_output *w = &request->wanted[n];

        shown[n] = outputs[w->index];
        if (w->classes == 0) continue;
        st = qn_classify(&outputs[w->index], w->classes, labels, n_labels, &shown[n], err);
        if (st != QN_OK) qn_error_prefix(err, "output %.64s", qn_model_output(model, w->index)->name);
    }
    if (st == QN_OK) st = put_v2(model_name, version, request, model, shown, out, header_bytes, err);
    for (int32_t i = 0; i < n; i++)
        if (request->wanted[i].classes > 0) free(shown[i].data);
    if (shown != few) free(shown);
    return st;
}

/* -- TensorFlow Serving ------------------------------------------------------------------------------------------------------------------ */

/* One string output whose name ends in "_bytes" goes out as base64. */
static bool put_base64(qn_buf *b, const unsigned char *s, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bool ok = qn_buf_puts(b, "{\"b64\":\"");

    for (size_t i = 0; i < n && ok; i += 3) {
        uint32_t v = (uint32_t)s[i] << 16 | (i + 1 < n ? (uint32_t)s[i + 1] << 8 : 0) | (i + 2 < n ? s[i + 2] : 0u);
        char q[4] = { digits[v >> 18], digits[v >> 12 & 63], i + 1 < n ? digits[v >> 6 & 63] : '=', i + 2 < n ? digits[v & 63] : '=' };

        ok = qn_buf_append(b, q, 4);
    }
    return ok && qn_buf_puts(b, "\"}");
}

static bool ends_with_bytes(const char *name)
{
    size_t n = strlen(name);

    return n >= 6 && strcmp(name + n - 6, "_bytes") == 0;
}

static bool put_tfs_element(qn_buf *b, const qn_tensor *t, int64_t i, bool base64)
{
    const uint64_t *off = t->data;

    if (!base64) return put_element(b, t, i, SPECIAL_BARE);
    return put_base64(b, (const unsigned char *)t->data + 8 * ((size_t)qn_tensor_count(t) + 1) + off[i], (size_t)(off[i + 1] - off[i]));
}

/* Elements [first, first + product of dims from axis on) as nested arrays. Brackets open where an index turns to 0 and close where the
 * next one would: no recursion. */
static bool put_nested(qn_buf *b, const qn_tensor *t, int32_t axis, int64_t first, bool base64)
{
    int64_t index[QN_MAX_RANK] = { 0 }, count = 1;
    int32_t depth = t->rank - axis;
    bool ok = true;

    for (int32_t d = axis; d < t->rank; d++) count *= t->dims[d];
    if (count == 0) { /* [] for every level until the empty one */
        int32_t levels = 1;

        while (axis + levels - 1 < t->rank && t->dims[axis + levels - 1] != 0 && t->dims[axis + levels - 1] == 1) levels++;
        for (int32_t d = 0; d < levels && ok; d++) ok = qn_buf_append(b, "[", 1);
        for (int32_t d = 0; d < levels && ok; d++) ok = qn_buf_append(b, "]", 1);
        return ok;
    }
    for (int64_t i = 0; i < count && ok; i++) {
        int32_t d = depth;

        while (d > 0 && index[d - 1] == 0) d--; /* levels from d on begin here */
        if (i > 0) ok = qn_buf_append(b, ",", 1);
        for (; d < depth && ok; d++) ok = qn_buf_append(b, "[", 1);
        ok = ok && put_tfs_element(b, t, first + i, base64);
        for (d = depth - 1; d >= 0 && ok; d--) {
            if (++index[d] < t->dims[axis + d]) break;
            index[d] = 0;
            ok = qn_buf_append(b, "]", 1);
        }
    }
    return ok;
}

static qn_status predictions(const qn_decoded *request, const qn_model *model, const qn_tensor *outputs, qn_buf *out, qn_error *err)
{
    bool ok = qn_buf_puts(out, "{\"predictions\":[");

    for (int32_t i = 0; i < request->n_wanted; i++) {
        const qn_tensor *t = &outputs[request->wanted[i].index];

        if (t->rank < 1 || t->dims[0] != request->rows)
            return qn_error_set(err, QN_ERR_INVALID, "output %.64s has no row for each instance; use the column format \"inputs\"",
                                qn_model_output(model, request->wanted[i].index)->name);
    }
    for (int64_t r = 0; r < request->rows && ok; r++) {
        if (r > 0) ok = qn_buf_append(out, ",", 1);
        if (request->n_wanted != 1) ok = ok && qn_buf_append(out, "{", 1);
        for (int32_t i = 0; i < request->n_wanted && ok; i++) {
            const qn_tensor *t = &outputs[request->wanted[i].index];
            const char *name = qn_model_output(model, request->wanted[i].index)->name;
            int64_t row = qn_tensor_count(t) / (t->dims[0] ? t->dims[0] : 1);

            if (i > 0) ok = qn_buf_append(out, ",", 1);
            if (request->n_wanted != 1) ok = ok && qn_json_put_string(out, name, strlen(name)) && qn_buf_append(out, ":", 1);
            ok = ok && put_nested(out, t, 1, r * row, t->dtype == QN_STRING && ends_with_bytes(name));
        }
        if (request->n_wanted != 1) ok = ok && qn_buf_append(out, "}", 1);
    }
    ok = ok && qn_buf_puts(out, "]}");
    return ok ? QN_OK : too_large(out, err);
}

qn_status qn_encode_tfs(const qn_decoded *request, const qn_model *model, const qn_tensor *outputs, qn_buf *out, qn_error *err)
{
    bool ok;

    if (request->row_format) return predictions(request, model, outputs, out, err);
    ok = qn_buf_puts(out, request->n_wanted == 1 ? "{\"outputs\":" : "{\"outputs\":{");
    for (int32_t i = 0; i < request->n_wanted && ok; i++) {
        const qn_tensor *t = &outputs[request->wanted[i].index];
        const char *name = qn_model_output(model, request->wanted[i].index)->name;

        if (i > 0) ok = qn_buf_append(out, ",", 1);
        if (request->n_wanted != 1) ok = ok && qn_json_put_string(out, name, strlen(name)) && qn_buf_append(out, ":", 1);
        ok = ok && put_nested(out, t, 0, 0, t->dtype == QN_STRING && ends_with_bytes(name));
    }
    ok = ok && qn_buf_puts(out, request->n_wanted == 1 ? "}" : "}}");
    return ok ? QN_OK : too_large(out, err);
}

/* The output of that name, else the only one that fits; NULL: none, or a choice that nobody made. */
static const qn_tensor *fitting(const qn_decoded *request, const qn_model *model, const qn_tensor *outputs, const char *name, bool one_each)
{
    const qn_tensor *found = NULL;
    int32_t n = 0;

    for (int32_t i = 0; i < qn_model_n_outputs(model); i++) {
        const qn_tensor *t = &outputs[i];

        if (t->dtype == QN_STRING || t->dtype == QN_BOOL || t->rank < 1 || t->dims[0] != request->rows) continue;
        if (one_each ? qn_tensor_count(t) != request->rows : t->rank > 2) continue;
        if (strcmp(qn_model_output(model, i)->name, name) == 0) return t;
        found = t;
        n++;
    }
    return n == 1 ? found : NULL;
}

/* The names that the model itself gives with its scores, or NULL. */
static const qn_tensor *class_names(const qn_model *model, const qn_tensor *outputs, int64_t count)
{
    for (int32_t i = 0; i < qn_model_n_outputs(model); i++) {
        if (outputs[i].dtype == QN_STRING && qn_tensor_count(&outputs[i]) == count &&
            strcmp(qn_model_output(model, i)->name, "classes") == 0)
            return &outputs[i];
    }
    return NULL;
}

qn_status qn_encode_tfs_classes(const qn_decoded *request, const qn_model *model, const qn_tensor *outputs, const char *const *labels,
                                int32_t n_labels, qn_buf *out, qn_error *err)
{
    const qn_tensor *scores = fitting(request, model, outputs, "scores", false);
    const qn_tensor *names = scores ? class_names(model, outputs, qn_tensor_count(scores)) : NULL;
    int64_t each;
    bool ok;

    if (!scores)
        return qn_error_set(err, QN_ERR_INVALID,
                            "classify needs an output of scores, [examples,classes]: the model has none, or several and "
                            "none is named scores");
    each = scores->dims[0] ? qn_tensor_count(scores) / scores->dims[0] : 0;
    ok = qn_buf_puts(out, "{\"results\":[");
    for (int64_t r = 0; r < request->rows && ok; r++) {
        ok = qn_buf_puts(out, r ? ",[" : "[");
        for (int64_t i = 0; i < each && ok; i++) {
            ok = qn_buf_puts(out, i ? ",[" : "[");
            if (names)
                ok = ok && put_element(out, names, r * each + i, SPECIAL_BARE);
            else
                ok = ok && qn_json_put_string(out, i < n_labels ? labels[i] : "", i < n_labels ? strlen(labels[i]) : 0);
            ok = ok && qn_buf_append(out, ",", 1) && put_element(out, scores, r * each + i, SPECIAL_BARE) && qn_buf_append(out, "]", 1);
        }
        ok = ok && qn_buf_append(out, "]", 1);
    }
    ok = ok && qn_buf_puts(out, "]}");
    return ok ? QN_OK : too_large(out, err);
}

qn_status qn_encode_tfs_values(const qn_decoded *request, const qn_model *model, const qn_tensor *outputs, qn_buf *out, qn_error *err)
{
    const qn_tensor *values = fitting(request, model, outputs, "outputs", true);
    bool ok;

    if (!values)
        return qn_error_set(err, QN_ERR_INVALID,
                            "regress needs an output with one number for each example: the model has none, or several and "
                            "none is named outputs");
    ok = qn_buf_puts(out, "{\"results\":[");
    for (int64_t r = 0; r < request->rows && ok; r++)
        ok = (r == 0 || qn_buf_append(out, ",", 1)) && put_element(out, values, r, SPECIAL_BARE);
    ok = ok && qn_buf_puts(out, "]}");
    return ok ? QN_OK : too_large(out, err);
}
