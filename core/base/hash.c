/* core/base/hash.c - SipHash-1-3. */
#include "core/base/hash.h"

#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

uint64_t qn_hash_seed(void)
{
    uint64_t seed = 0;
    const unsigned char *start;

    /* A sandbox may forbid the call, and it must not block early in boot: then the kernel's 16 bytes from exec are used. */
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed) {
        start = (const unsigned char *)(uintptr_t)getauxval(AT_RANDOM);
        if (start) seed = qn_hash_bytes(0, start, 16);
    }
    return seed;
}

static inline uint64_t rotl(uint64_t x, int n) { return x << n | x >> (64 - n); }

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] = rotl(v[2], 32);
}

uint64_t qn_hash_bytes(uint64_t seed, const void *data, size_t n)
{
    const unsigned char *p = data;
    const uint64_t k0 = seed, k1 = rotl(seed, 32) ^ 0x9e3779b97f4a7c15u; /* 64 bits of key are enough for a table */
    uint64_t v[4] = { k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u, k1 ^ 0x7465646279746573u };
    uint64_t word, last = (uint64_t)n << 56;
    size_t left;

    for (left = n; left >= 8; left -= 8, p += 8) {
        memcpy(&word, p, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    while (left > 0) {
        left--;
        last |= (uint64_t)p[left] << (8 * left);
    }
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
