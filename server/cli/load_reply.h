/* server/cli/load_reply.h - reads one HTTP/1.1 reply out of bytes that arrive in any pieces.
 * The body is measured, not kept. The server is not trusted: whatever it sends, a reader takes sizeof(qn_reply) bytes and work in
 * proportion to the bytes. What two readers could take in two ways (a length twice, a length beside chunks) is QN_REPLY_BAD.
 * Source:  RFC 9112; interim replies (1xx but 101) are passed over.
 * Threads: one reader, one thread at a time. */
#ifndef QUERN_SERVER_CLI_LOAD_REPLY_H
#define QUERN_SERVER_CLI_LOAD_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QN_REPLY_LINE_BYTES 256   /* kept of a line; a longer one is passed over if nothing in it matters, else bad */
#define QN_REPLY_HEAD_BYTES 65536 /* of all status lines, fields and trailers of one reply */

typedef enum qn_reply_state {
    QN_REPLY_MORE, /* not complete yet */
    QN_REPLY_DONE,
    QN_REPLY_BAD, /* not HTTP, or beyond the limits; `why` says what */
} qn_reply_state;

typedef struct qn_reply {
    qn_reply_state state;
    int status;          /* of the last status line, 100..599; 0: none yet */
    bool keep_alive;     /* once DONE: the connection may carry another request */
    bool began;          /* at least one byte arrived */
    bool says_when;      /* it has Retry-After */
    uint64_t body_bytes; /* of the body, without the framing of chunks */
    const char *why;     /* QN_REPLY_BAD: a constant */
    /* private */
    int part;
    bool is_head, has_length, chunked, said_close, said_keep_alive, minor_0;
    uint64_t length; /* Content-Length */
    uint64_t left;   /* of the body or the chunk */
    uint32_t head_bytes;
    uint32_t line_len; /* of the line so far; what is beyond QN_REPLY_LINE_BYTES was dropped */
    char line[QN_REPLY_LINE_BYTES];
} qn_reply;

/** Begin a reply; is_head: to a HEAD request, so that no body follows whatever the fields say. */
void qn_reply_begin(qn_reply *r, bool is_head);

/** Take data[0..n), while r->state is QN_REPLY_MORE; returns how many bytes belong to this reply. Fewer than n: it is DONE or BAD. */
size_t qn_reply_feed(qn_reply *r, const char *data, size_t n);

/** The server closed. A body that ends with the connection is then DONE; any other reply stays MORE: it was cut short. */
void qn_reply_close(qn_reply *r);

#endif
