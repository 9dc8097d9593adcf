/* core/onnx/proto.c - see proto.h */
#include "core/onnx/proto.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

qn_status qn_proto_init(qn_proto *p, qn_source *src, uint64_t size, int32_t max_depth, qn_error *err)
{
    *p = (qn_proto){ .src = src, .size = size, .max_depth = max_depth, .err = err };
    if (max_depth < 1) return p->status = qn_error_set(err, QN_ERR_INVALID, "message depth %" PRId32 ", expected at least 1", max_depth);
    p->window = malloc(QN_PROTO_WINDOW);
    p->ends = calloc((size_t)max_depth, sizeof *p->ends);
    p->backs = calloc((size_t)max_depth, sizeof *p->backs);
    if (!p->window || !p->ends || !p->backs) return p->status = qn_error_set(err, QN_ERR_NOMEM, "protobuf reader");
    qn_proto_open(p, 0, size);
    return QN_OK;
}

void qn_proto_release(qn_proto *p)
{
    free(p->window);
    free(p->ends);
    free(p->backs);
    p->window = NULL;
    p->ends = p->backs = NULL;
}

bool qn_proto_fail(qn_proto *p, qn_status status, const char *fmt, ...)
{
    char text[sizeof p->err->message];
    va_list ap;

    if (p->status) return false;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    p->status = qn_error_set(p->err, status, "%s", text);
    return false;
}

/* Where the innermost message ends; there always is one, the whole source. */
static uint64_t limit(const qn_proto *p) { return p->ends[p->depth - 1]; }

/* Copy [pos, pos + n) and move on; the caller has checked it against limit(). */
static bool take(qn_proto *p, void *dst, size_t n)
{
    char *to = dst;

    while (n > 0) {
        size_t at, part;

        if (p->pos < p->window_at || p->pos - p->window_at >= p->window_len) {
            size_t len = p->size - p->pos < QN_PROTO_WINDOW ? (size_t)(p->size - p->pos) : QN_PROTO_WINDOW;

            p->window_len = 0;
            p->status = p->src->read(p->src, p->pos, p->window, len, p->err);
            if (p->status) return false;
            p->window_at = p->pos;
            p->window_len = len;
        }
        at = (size_t)(p->pos - p->window_at);
        part = p->window_len - at < n ? p->window_len - at : n;
        memcpy(to, p->window + at, part);
        to += part;
        p->pos += part;
        n -= part;
    }
    return true;
}

static bool fixed(qn_proto *p, void *dst, size_t n)
{
    if (p->status) return false;
    if (limit(p) - p->pos < n) return qn_proto_fail(p, QN_ERR_FORMAT, "number of %zu bytes is cut off at byte %" PRIu64, n, p->pos);
    return take(p, dst, n);
}

/* One byte; most are in the window, and lists of varints are millions of them. */
static inline bool take_byte(qn_proto *p, uint8_t *b)
{
    if (p->pos >= p->window_at && p->pos - p->window_at < p->window_len) {
        *b = p->window[p->pos++ - p->window_at];
        return true;
    }
    return take(p, b, 1);
}

bool qn_proto_varint(qn_proto *p, uint64_t *v)
{
    uint64_t start = p->pos, end = limit(p), r = 0;

    if (p->status) return false;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t b;

        if (p->pos >= end) return qn_proto_fail(p, QN_ERR_FORMAT, "varint is cut off at byte %" PRIu64, p->pos);
        if (!take_byte(p, &b)) return false;
        if (shift == 63 && b > 1) break; /* an eleventh byte, or bits beyond 64 */
        r |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *v = r;
            return true;
        }
    }
    return qn_proto_fail(p, QN_ERR_FORMAT, "varint at byte %" PRIu64 " has more than 64 bits", start);
}

/* Protobuf is little-endian, and so is every machine Quern runs on. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fixed-width numbers are copied as they are");

bool qn_proto_fixed32(qn_proto *p, uint32_t *v) { return fixed(p, v, sizeof *v); }
bool qn_proto_fixed64(qn_proto *p, uint64_t *v) { return fixed(p, v, sizeof *v); }

bool qn_proto_at_end(const qn_proto *p) { return p->status || p->pos >= limit(p); }

static bool next_bytes(qn_proto *p, uint64_t tag_at)
{
    uint64_t len;

    if (!qn_proto_varint(p, &len)) return false;
    if (len > limit(p) - p->pos)
        return qn_proto_fail(p, QN_ERR_FORMAT, "field %" PRIu32 " at byte %" PRIu64 " is %" PRIu64 " bytes long, only %" PRIu64 " are left",
                             p->field, tag_at, len, limit(p) - p->pos);
    p->begin = p->pos;
    p->end = p->pos + len;
    p->pos = p->end;
    return true;
}

bool qn_proto_next(qn_proto *p)
{
    uint64_t tag, at = p->pos;
    uint32_t word;

    if (qn_proto_at_end(p)) return false;
    if (!qn_proto_varint(p, &tag)) return false;
    if (tag > UINT32_MAX || tag >> 3 == 0)
        return qn_proto_fail(p, QN_ERR_FORMAT, "tag %" PRIu64 " at byte %" PRIu64 " is no field of a message", tag, at);
    p->field = (uint32_t)(tag >> 3);
    p->begin = p->end = p->pos;
    switch (tag & 7) {
    case QN_WIRE_VARINT: p->wire = QN_WIRE_VARINT; return qn_proto_varint(p, &p->value);
    case QN_WIRE_FIXED64: p->wire = QN_WIRE_FIXED64; return qn_proto_fixed64(p, &p->value);
    case QN_WIRE_BYTES: p->wire = QN_WIRE_BYTES; return next_bytes(p, at);
    case QN_WIRE_FIXED32:
        p->wire = QN_WIRE_FIXED32;
        if (!qn_proto_fixed32(p, &word)) return false;
        p->value = word;
        return true;
    default:
        return qn_proto_fail(p, QN_ERR_FORMAT, "field %" PRIu32 " at byte %" PRIu64 " has wire type %u, expected 0, 1, 2 or 5", p->field,
                             at, (unsigned)(tag & 7));
    }
}

bool qn_proto_expect(qn_proto *p, qn_wire wire)
{
    if (p->status) return false;
    if (p->wire == wire) return true;
    return qn_proto_fail(p, QN_ERR_FORMAT, "field %" PRIu32 " before byte %" PRIu64 " has wire type %d, expected %d", p->field, p->pos,
                         (int)p->wire, (int)wire);
}

static bool push(qn_proto *p, uint64_t begin, uint64_t end, uint64_t back)
{
    if (p->status) return false;
    if (p->depth == p->max_depth)
        return qn_proto_fail(p, QN_ERR_LIMIT, "messages are nested more than %" PRId32 " deep (limit depth) at byte %" PRIu64, p->max_depth,
                             begin);
    p->ends[p->depth] = end;
    p->backs[p->depth++] = back;
    p->pos = begin;
    return true;
}

bool qn_proto_enter(qn_proto *p) { return qn_proto_expect(p, QN_WIRE_BYTES) && push(p, p->begin, p->end, p->end); }

bool qn_proto_open(qn_proto *p, uint64_t begin, uint64_t end) { return push(p, begin, end, p->pos); }

void qn_proto_leave(qn_proto *p)
{
    if (p->depth < 2) return; /* the whole source stays open */
    p->pos = p->backs[--p->depth];
}

void qn_proto_leave_to(qn_proto *p, int32_t depth)
{
    while (p->depth > depth && p->depth > 1) qn_proto_leave(p);
}

bool qn_proto_copy(qn_proto *p, void *dst, size_t n)
{
    uint64_t after = p->pos;

    if (!qn_proto_expect(p, QN_WIRE_BYTES)) return false;
    if (n > p->end - p->begin) return qn_proto_fail(p, QN_ERR_INTERNAL, "copy of %zu bytes from a shorter field", n);
    p->pos = p->begin;
    if (!take(p, dst, n)) return false;
    p->pos = after;
    return true;
}
