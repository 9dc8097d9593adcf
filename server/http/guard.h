/* server/http/guard.h - which requests are answered at all: framing, header block, body rules. Pure functions on collected headers.
 *
 * Debian's libmicrohttpd 0.9.75 takes ambiguous framing (Content-Length with Transfer-Encoding, repeated or huge lengths, unknown transfer
 * codings), joins folded header lines wrongly, cuts values and paths at NUL, drops nameless header lines and accepts bare LF. None of this
 * may reach a route, or a proxy in front and Quern would disagree about where a request ends.
 * The parser works in place: method, target, version, names and values are pointers into one block of bytes whose length it tells
 * (MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE). So qn_guard_layout() can walk the block and see every byte that the parser skipped, joined or
 * cut: what is not exactly "method SP target SP version CRLF *(name ":" OWS value CRLF) CRLF" is refused. Verified against 0.9.75; other
 * versions of the library are served without the walk (qn_http_start() logs it), the newer ones refuse folding themselves.
 * Source:  RFC 9110 and 9112.
 * Threads: pure functions. */
#ifndef QUERN_SERVER_GUARD_H
#define QUERN_SERVER_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QN_HTTP_MAX_FIELDS       64
#define QN_HTTP_MAX_TARGET       8192
#define QN_HTTP_MAX_HEADER_BYTES 16384

typedef struct qn_http_field {
    const char *name, *value;
    size_t name_len, value_len;
} qn_http_field;

/* A request's head, borrowed from the parser. */
typedef struct qn_http_head {
    const char *method, *version; /* terminated */
    const char *target;           /* terminated before the query was cut off; only its first path_len bytes are still as sent */
    size_t target_len;            /* of the whole target with its query, as sent */
    bool target_clean;            /* qn_guard_target_clean() on the whole target, before anything changed it */
    size_t block_bytes;           /* from the first byte of the method to the end of the empty line; 0: not known, no layout check */
    int32_t n_fields;
    bool too_many_fields; /* there were more than QN_HTTP_MAX_FIELDS */
    qn_http_field fields[QN_HTTP_MAX_FIELDS];
} qn_http_head;

/* What the framing of an accepted head says. */
typedef struct qn_framing {
    bool has_length, chunked; /* never both; neither: no body */
    uint64_t length;          /* when has_length */
    bool expects_continue;
} qn_framing;

/* An answer of the guard: the connection is closed after it when `close` is set. */
typedef struct qn_refusal {
    int status;
    bool close;
    char message[160];
} qn_refusal;

/* Media types a route takes; a body without Content-Type, or with curl -d's application/x-www-form-urlencoded, counts as JSON. */
enum { QN_MEDIA_JSON = 1, QN_MEDIA_OCTETS = 2, QN_MEDIA_ANY = 4 };

/* No byte but visible ASCII: controls, spaces, '#' and bytes from 0x7f on must be percent-encoded. */
bool qn_guard_target_clean(const char *target, size_t *len);

/* Each returns true, or false with *no filled. */
bool qn_guard_layout(const qn_http_head *head, qn_refusal *no);
bool qn_guard_framing(const qn_http_head *head, qn_framing *out, qn_refusal *no);
bool qn_guard_body(const qn_http_head *head, const qn_framing *framing, uint64_t max_body, unsigned media, qn_refusal *no);

/* The path (no query) of the target: starts with '/', or is "*" for OPTIONS. Takes the absolute form "http://host/path" apart.
 * path and len point into the target. Every percent escape must be two hex digits and not %00. */
bool qn_guard_path(const qn_http_head *head, const char **path, size_t *len, qn_refusal *no);

/* Percent-decode n bytes into out (room for n + 1, terminated). False for a bad escape, a NUL, or one that does not fit. */
bool qn_percent_decode(const char *s, size_t n, char *out, size_t cap, size_t *len);

/* The only field of that name (any case), or NULL; *count tells how many there were. */
const qn_http_field *qn_http_find(const qn_http_head *head, const char *name, int *count);

/* A whole field as an unsigned decimal number: digits only, no overflow. */
bool qn_http_number(const qn_http_field *field, uint64_t *out);

/* Any-case comparison of a field's value with a word. */
bool qn_http_value_is(const qn_http_field *field, const char *word);

/* The words for a status code, "Not Found". */
const char *qn_http_reason(int status);

#endif
