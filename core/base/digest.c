/* core/base/digest.c - SHA-256 by nettle, which uses the CPU's SHA instructions where there are any. */
#include "core/base/digest.h"

void qn_hasher_init(qn_hasher *h) { sha256_init(&h->ctx); }

void qn_hasher_update(qn_hasher *h, const void *data, size_t n)
{
    if (n) sha256_update(&h->ctx, n, data);
}

void qn_hasher_finish(qn_hasher *h, qn_digest *out) { sha256_digest(&h->ctx, sizeof out->bytes, out->bytes); }

void qn_digest_hex(const qn_digest *d, char out[65])
{
    static const char digits[] = "0123456789abcdef";
    size_t i;

    for (i = 0; i < sizeof d->bytes; i++) {
        out[2 * i] = digits[d->bytes[i] >> 4];
        out[2 * i + 1] = digits[d->bytes[i] & 15];
    }
    out[64] = '\0';
}
