/* server/http/encoding.h - compressed replies, to clients that ask for them.
 * Source   RFC 9110 12.5.3 (Accept-Encoding), RFC 8878 (zstd), RFC 1952 (gzip), RFC 1950 ("deflate" is the zlib format).
 * Threads: pure functions. */
#ifndef QUERN_SERVER_HTTP_ENCODING_H
#define QUERN_SERVER_HTTP_ENCODING_H

#include "quern/buf.h"
#include "server/http/guard.h"

#define QN_ENCODING_LEAST 1024u /* replies below it are sent as they are: the header would outweigh the gain */

typedef enum qn_encoding { QN_ENCODING_IDENTITY, QN_ENCODING_ZSTD, QN_ENCODING_GZIP, QN_ENCODING_DEFLATE, QN_ENCODING_COUNT } qn_encoding;
extern const char *const qn_encoding_names[QN_ENCODING_COUNT];

/* What the client likes best of what there is; of equals zstd, then gzip. Without the field, or with one that makes no sense: identity. */
qn_encoding qn_encoding_choose(const qn_http_field *accept);

/* `body` compressed in place, at a level that keeps up with a fast network. False, and nothing changed: it did not get smaller, or there
 * is no memory. */
bool qn_encoding_apply(qn_encoding encoding, qn_buf *body);

#endif
