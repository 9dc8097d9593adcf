/* core/base/random.c - Philox 4x32-10; elements 2b and 2b + 1 share block b. */
#include "core/base/random.h"

#include "core/base/hash.h"

#include <math.h>
#include <string.h>

void qn_random_block(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];

    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xd2511f53u * c0, p1 = (uint64_t)0xcd9e8d57u * c2;

        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9e3779b9u; /* Weyl sequences: golden ratio, sqrt(3) - 1 */
        k1 += 0xbb67ae85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

qn_random qn_random_init(uint64_t seed, const char *name, uint64_t step)
{
    const uint64_t key = qn_hash_bytes(seed, name, strlen(name));

    return (qn_random){ { (uint32_t)key, (uint32_t)(key >> 32) }, { (uint32_t)step, (uint32_t)(step >> 32) } };
}

static void block_of(const qn_random *r, uint64_t block, uint64_t out[2])
{
    const uint32_t counter[4] = { (uint32_t)block, (uint32_t)(block >> 32), r->step[0], r->step[1] };
    uint32_t w[4];

    qn_random_block(r->key, counter, w);
    out[0] = (uint64_t)w[1] << 32 | w[0];
    out[1] = (uint64_t)w[3] << 32 | w[2];
}

uint64_t qn_random_bits(const qn_random *r, uint64_t i)
{
    uint64_t w[2];

    block_of(r, i >> 1, w);
    return w[i & 1];
}

static double unit(uint64_t bits, int n) { return ldexp((double)(bits >> (64 - n)), -n); }

double qn_random_uniform(const qn_random *r, uint64_t i, int bits) { return unit(qn_random_bits(r, i), bits); }

/* -- normal --------------------------------------------------------------------------------------------------------------- */

/* log of a positive normal number. x = 2^e m, m in [sqrt(1/2), sqrt(2)); log m = 2 artanh(f) = 2 (f + f^3/3 + f^5/5 + ...) with
 * f = (m - 1) / (m + 1), |f| <= 0.172: the term after the last is below 1e-17 of the sum. */
static double log_of(double x)
{
    const double ln2 = 0.69314718055994530942;
    double f, z, p = 1.0 / 21;
    int e;

    x = frexp(x, &e);
    if (x < 0.70710678118654752440) {
        x *= 2;
        e--;
    }
    f = (x - 1) / (x + 1);
    z = f * f;
    for (int k = 19; k >= 1; k -= 2) p = p * z + 1.0 / k;
    return 2 * f * p + e * ln2;
}

/* cos and sin of 2 pi u, 0 <= u < 1: a quarter turn is exact, the rest |x| <= pi / 4 by Taylor's series (next term below 1e-17). */
static void turn(double u, double *c, double *s)
{
    const double v = 4 * u, quarter = floor(v + 0.5), x = (v - quarter) * 1.57079632679489661923, z = x * x;
    double cx = 1, sx = 1;

    for (int k = 16; k >= 2; k -= 2) cx = 1 - cx * z / (k * (k - 1));
    for (int k = 17; k >= 3; k -= 2) sx = 1 - sx * z / (k * (k - 1));
    sx *= x;
    switch ((int)quarter & 3) {
    case 0: *c = cx, *s = sx; break;
    case 1: *c = -sx, *s = cx; break;
    case 2: *c = -cx, *s = -sx; break;
    default: *c = sx, *s = -cx; break;
    }
}

double qn_random_normal(const qn_random *r, uint64_t i)
{
    uint64_t w[2];
    double radius, c, s;

    block_of(r, i >> 1, w);
    radius = sqrt(-2 * log_of(1 - unit(w[0], 53))); /* (0, 1]: log sees no zero */
    turn(unit(w[1], 53), &c, &s);
    return radius * (i & 1 ? s : c);
}
