/* core/onnx/proto.h - protobuf messages pulled field by field from a source, through one bounce buffer.
 *
 *   while (qn_proto_next(p)) switch (p->field) {
 *       case 3: if (qn_proto_enter(p)) { while (qn_proto_next(p)) ...; qn_proto_leave(p); } break;
 *       default: break;                          (not asked for: skipped by the next qn_proto_next())
 *   }
 *   return p->status;
 *
 * Nothing is trusted: a varint has at most ten bytes and 64 bits, a length must fit into the message around it, the depth of messages is
 * bounded, groups are refused. Skipping a field reads none of it.
 * Errors:  the first one sticks in p->status (and *err); from then on every call says false.
 * Source:  protobuf.dev/programming-guides/encoding. Threads: one at a time. */
#ifndef QUERN_ONNX_PROTO_H
#define QUERN_ONNX_PROTO_H

#include "core/graph/weight.h"

#include <stdbool.h>

#define QN_PROTO_WINDOW ((size_t)64 << 10)

typedef enum qn_wire { QN_WIRE_VARINT = 0, QN_WIRE_FIXED64 = 1, QN_WIRE_BYTES = 2, QN_WIRE_FIXED32 = 5 } qn_wire;

typedef struct qn_proto {
    /* the field that qn_proto_next() found */
    uint32_t field;
    qn_wire wire;
    uint64_t value;      /* VARINT, FIXED32, FIXED64 */
    uint64_t begin, end; /* BYTES: where the payload lies in the source */
    /* where the reader is */
    qn_status status; /* first error */
    uint64_t pos;
    uint64_t *ends;  /* [max_depth]: where each open message ends, outermost first; owned */
    uint64_t *backs; /* [max_depth]: where reading goes on when it is closed; owned */
    int32_t depth, max_depth;
    /* the source and the part of it at hand */
    qn_source *src; /* borrowed */
    uint64_t size;
    uint8_t *window; /* [QN_PROTO_WINDOW], owned */
    uint64_t window_at;
    size_t window_len;
    qn_error *err; /* borrowed */
} qn_proto;

/* Open the message that is all of src (size bytes). err stays in use until release. Fails with QN_ERR_NOMEM, QN_ERR_INVALID (max_depth < 1). */
qn_status qn_proto_init(qn_proto *p, qn_source *src, uint64_t size, int32_t max_depth, qn_error *err);
void qn_proto_release(qn_proto *p);

/* The next field of the open message; false at its end, or after an error. */
bool qn_proto_next(qn_proto *p);

/* Check that the field has this wire type. */
bool qn_proto_expect(qn_proto *p, qn_wire wire);

/* Open the message (or packed list) that the field holds; false beyond max_depth or if it is not length-delimited. */
bool qn_proto_enter(qn_proto *p);
/* Open [begin, end), a payload that was seen before; closing it goes back to where the reader is now. */
bool qn_proto_open(qn_proto *p, uint64_t begin, uint64_t end);
/* Close the innermost message; reading goes on in the one around it. */
void qn_proto_leave(qn_proto *p);
/* Close messages until p->depth is `depth` again. */
void qn_proto_leave_to(qn_proto *p, int32_t depth);

/* True at the end of the open message, or after an error: the loop condition for packed lists. */
bool qn_proto_at_end(const qn_proto *p);
/* The next element of an open packed list. */
bool qn_proto_varint(qn_proto *p, uint64_t *v);
bool qn_proto_fixed32(qn_proto *p, uint32_t *v);
bool qn_proto_fixed64(qn_proto *p, uint64_t *v);

/* Copy n <= end - begin payload bytes of a BYTES field, from its start. */
bool qn_proto_copy(qn_proto *p, void *dst, size_t n);

/* Record an error of the caller's own; returns false. */
__attribute__((format(printf, 3, 4))) bool qn_proto_fail(qn_proto *p, qn_status status, const char *fmt, ...);

#endif
