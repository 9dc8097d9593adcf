/* core/base/hash.h - a keyed 64-bit hash for tables whose keys come from files and clients.
 * SipHash-1-3: without the seed nobody can choose keys that collide. Not for naming content; digest.h is.
 * Source:  Aumasson, Bernstein: SipHash: a fast short-input PRF, 2012 (c = 1, d = 3). */
#ifndef QUERN_BASE_HASH_H
#define QUERN_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* A number a file or client cannot know. */
uint64_t qn_hash_seed(void);
/* data may be NULL when n is 0. */
uint64_t qn_hash_bytes(uint64_t seed, const void *data, size_t n);

#endif
