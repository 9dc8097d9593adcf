/* core/onnx/text.c - strings out of messages: names are checked, bytes are taken as they are. */
#include "core/onnx/read.h"

#include <inttypes.h>
#include <string.h>

/* Length of the well-formed UTF-8 character at s, n > 0 bytes left; 0 if there is none (overlong, surrogate, beyond U+10FFFF, cut). */
static size_t char_bytes(const unsigned char *s, size_t n)
{
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

    if (len == 0 || len > n) return 0;
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
    }
    if (s[0] == 0xe0 && s[1] < 0xa0) return 0;
    if (s[0] == 0xed && s[1] > 0x9f) return 0;
    if (s[0] == 0xf0 && s[1] < 0x90) return 0;
    if (s[0] == 0xf4 && s[1] > 0x8f) return 0;
    return len;
}

static bool is_text(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;

    for (size_t i = 0; i < n;) {
        size_t len = char_bytes(u + i, n - i);

        if (len == 0 || u[i] == 0) return false;
        i += len;
    }
    return true;
}

const char *qn_onnx_short(const char *name, char buf[QN_ONNX_SHORT])
{
    size_t n = strlen(name), keep = QN_ONNX_SHORT - 4;

    if (n < QN_ONNX_SHORT) {
        memcpy(buf, name, n + 1);
        return buf;
    }
    while (keep > 0 && ((unsigned char)name[keep] & 0xc0) == 0x80) keep--; /* not inside a character */
    memcpy(buf, name, keep);
    memcpy(buf + keep, "...", 4);
    return buf;
}

/* The payload, terminated; *n its length. */
static qn_status payload(qn_onnx_reader *r, qn_arena *a, char **out, size_t *n)
{
    qn_proto *p = &r->proto;
    qn_status st;
    char *s;

    if (!qn_proto_expect(p, QN_WIRE_BYTES)) return p->status;
    *n = (size_t)(p->end - p->begin);
    st = qn_onnx_spend(r, 1, (p->end - p->begin) + 16);
    if (st) return st;
    s = qn_arena_alloc(a, *n + 1); /* cannot wrap: what was spent is bounded */
    if (!s) return qn_error_set(r->err, QN_ERR_NOMEM, "string of %zu bytes", *n);
    if (!qn_proto_copy(p, s, *n)) return p->status;
    *out = s;
    return QN_OK;
}

qn_status qn_onnx_bytes(qn_onnx_reader *r, qn_arena *a, const char **out, size_t *n)
{
    char *s;
    qn_status st = payload(r, a, &s, n);

    if (!st) *out = s;
    return st;
}

qn_status qn_onnx_name(qn_onnx_reader *r, qn_arena *a, const char *what, const char **out)
{
    qn_proto *p = &r->proto;
    qn_status st;
    size_t n;
    char *s;

    if (!qn_proto_expect(p, QN_WIRE_BYTES)) return p->status;
    if (p->end - p->begin > QN_ONNX_NAME_MAX)
        return qn_error_set(r->err, QN_ERR_LIMIT, "%s at byte %" PRIu64 " has %" PRIu64 " bytes, at most %" PRIu64 " allowed", what,
                            p->begin, p->end - p->begin, QN_ONNX_NAME_MAX);
    st = payload(r, a, &s, &n);
    if (st) return st;
    if (!is_text(s, n)) return qn_error_set(r->err, QN_ERR_FORMAT, "%s at byte %" PRIu64 " is not UTF-8 without NUL", what, p->begin);
    *out = s;
    return QN_OK;
}

qn_status qn_onnx_entry(qn_onnx_reader *r, qn_arena *a, const char *what, const char **key, const char **value)
{
    qn_proto *p = &r->proto;
    qn_status st = QN_OK;
    const char *s;
    size_t n;

    *key = *value = "";
    if (!qn_proto_enter(p)) return p->status;
    while (!st && qn_proto_next(p)) {
        if (p->field == 1) {
            st = qn_onnx_name(r, a, what, key);
        } else if (p->field == 2) { /* a value may be longer than a name: tokenizers and class lists live in metadata */
            st = qn_onnx_bytes(r, a, &s, &n);
            if (!st && !is_text(s, n))
                st = qn_error_set(r->err, QN_ERR_FORMAT, "%s '%.40s': its value is not UTF-8 without NUL", what, *key);
            if (!st) *value = s;
        }
    }
    if (!st) st = p->status;
    if (!st) qn_proto_leave(p);
    return st;
}

qn_status qn_onnx_span_take(qn_onnx_reader *r, qn_onnx_span *span, const char *what)
{
    qn_proto *p = &r->proto;

    if (!qn_proto_expect(p, QN_WIRE_BYTES)) return p->status;
    if (span->given) return qn_error_set(r->err, QN_ERR_FORMAT, "%s is given twice, again at byte %" PRIu64, what, p->begin);
    *span = (qn_onnx_span){ p->begin, p->end, true };
    return QN_OK;
}
