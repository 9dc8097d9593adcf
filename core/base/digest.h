/* core/base/digest.h - SHA-256 by nettle (the library under GnuTLS): names a blob by its bytes.
 * A cryptographic digest, because two models share a blob when their digests agree, and models come from strangers. */
#ifndef QUERN_BASE_DIGEST_H
#define QUERN_BASE_DIGEST_H

#include <nettle/sha2.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qn_digest {
    uint8_t bytes[32];
} qn_digest;

typedef struct qn_hasher {
    struct sha256_ctx ctx;
} qn_hasher;

void qn_hasher_init(qn_hasher *h);
void qn_hasher_update(qn_hasher *h, const void *data, size_t n);
void qn_hasher_finish(qn_hasher *h, qn_digest *out);
/* 64 lower-case hex digits and a terminator. */
void qn_digest_hex(const qn_digest *d, char out[65]);

#endif
