/* core/base/random.h - random numbers without state: a number is a function of (seed, name, step, element).
 * So nothing has to be saved, any thread may draw any element in any order, and a draw does not depend on how much was drawn before.
 * Every function is integer arithmetic, or IEEE double with + - * / sqrt alone: the same bits on every machine.
 * Source:  Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3, SC 2011 (Philox 4x32, 10 rounds);
 *          Box, Muller: A note on the generation of random normal deviates, 1958. */
#ifndef QUERN_BASE_RANDOM_H
#define QUERN_BASE_RANDOM_H

#include <stdint.h>

/* Four words of the block that counter names under key. */
void qn_random_block(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

typedef struct qn_random {
    uint32_t key[2];
    uint32_t step[2];
} qn_random;

/* A stream of numbers. `name` says who draws (two names are two independent streams of one seed), `step` which time. */
qn_random qn_random_init(uint64_t seed, const char *name, uint64_t step);

/* Element i: 64 random bits. */
uint64_t qn_random_bits(const qn_random *r, uint64_t i);
/* Element i, uniform in [0, 1): a multiple of 2^-bits, 1 <= bits <= 53, all equally likely. A type with `bits` significant bits holds
 * it unrounded. The same element with fewer bits is the same number cut. */
double qn_random_uniform(const qn_random *r, uint64_t i, int bits);
/* Element i, normal with mean 0 and variance 1; |value| < 8.7. */
double qn_random_normal(const qn_random *r, uint64_t i);

#endif
