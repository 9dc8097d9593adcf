/* core/base/half.c - IEEE binary16 and bfloat16, by integer arithmetic alone: no instruction set, rounding mode or
 * flush-to-zero changes a bit. A signalling NaN comes out quiet with its payload, as F16C does it. */
#include "core/base/half.h"

#include <stdbool.h>
#include <string.h>

static float f32_from_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t f32_bits(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    return u;
}

float qn_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exp = h >> 10 & 0x1fu, frac = h & 0x3ffu;

    if (exp == 0x1f) return f32_from_bits(sign | 0x7f800000u | (frac ? 0x400000u : 0) | frac << 13);
    if (exp == 0) {
        if (frac == 0) return f32_from_bits(sign);
        /* Subnormal: shift until the implicit bit appears. */
        exp = 1;
        while (!(frac & 0x400u)) {
            frac <<= 1;
            exp--;
        }
        frac &= 0x3ffu;
    }
    /* exp may have wrapped below 0; adding the difference of the biases brings it back. */
    return f32_from_bits(sign | (exp + (127 - 15)) << 23 | frac << 13);
}

/* frac >> shift, rounded to nearest even. shift 1..63. */
static uint64_t shift_round(uint64_t frac, unsigned shift)
{
    const uint64_t half = (uint64_t)1 << (shift - 1);
    uint64_t rest = frac & (half * 2 - 1), q = frac >> shift;

    return q + (rest > half || (rest == half && (q & 1)));
}

/* A finite number frac * 2^(exp - bits), frac with its implicit bit at `bits` -> binary16 without sign. A carry out of the
 * fraction runs into the exponent, which is what rounding up to the next power of two means; so does reaching infinity. */
static uint16_t pack_f16(int exp, uint64_t frac, unsigned bits)
{
    if (exp > 15) return 0x7c00u;
    if (exp >= -14) return (uint16_t)((uint64_t)(exp + 14) * 0x400u + shift_round(frac, bits - 10));
    if (exp < -25) return 0; /* below half of the smallest subnormal, 2^-24 */
    return (uint16_t)shift_round(frac, bits - 10 + (unsigned)(-14 - exp));
}

uint16_t qn_f32_to_f16(float f)
{
    const uint32_t u = f32_bits(f), frac = u & 0x7fffffu;
    const uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    const int exp = (int)(u >> 23 & 0xffu);

    if (exp == 0xff) return (uint16_t)(sign | 0x7c00u | (frac ? 0x200u | frac >> 13 : 0));
    return (uint16_t)(sign | pack_f16(exp - 127, frac | 0x800000u, 23));
}

uint16_t qn_f64_to_f16(double d)
{
    uint64_t u, frac;
    uint16_t sign;
    int exp;

    memcpy(&u, &d, sizeof u);
    frac = u & 0xfffffffffffffu;
    sign = (uint16_t)(u >> 48 & 0x8000u);
    exp = (int)(u >> 52 & 0x7ffu);
    if (exp == 0x7ff) return (uint16_t)(sign | 0x7c00u | (frac ? 0x200u | frac >> 42 : 0));
    return (uint16_t)(sign | pack_f16(exp - 1023, frac | (uint64_t)1 << 52, 52));
}

float qn_bf16_to_f32(uint16_t b) { return f32_from_bits((uint32_t)b << 16); }

uint16_t qn_f32_to_bf16(float f)
{
    const uint32_t u = f32_bits(f);

    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)shift_round(u, 16);
}

/* -- rows ----------------------------------------------------------------------------------------------------------------- */

/* Blocks of this many, without branches, so that a compiler makes vectors of them; a block with a subnormal or a NaN (in f16: or an
 * infinity) goes one by one. */
enum { BLOCK = 16 };

static bool wide_block(const uint16_t *x, float *y)
{
    uint32_t out[BLOCK];
    int32_t odd = 0;

    for (int i = 0; i < BLOCK; i++) {
        const int32_t h = x[i], m = h & 0x7fff;

        odd |= (m > 0 && m < 0x400) | (m >= 0x7c00);
        out[i] = (uint32_t)(m ? (m << 13) + ((127 - 15) << 23) : 0) | (uint32_t)(h & 0x8000) << 16;
    }
    if (odd) return false;
    memcpy(y, out, sizeof out);
    return true;
}

static bool narrow_block(const float *x, uint16_t *y)
{
    uint32_t in[BLOCK];
    int32_t odd = 0;

    memcpy(in, x, sizeof in);
    for (int i = 0; i < BLOCK; i++) {
        const int32_t u = (int32_t)(in[i] & 0x7fffffffu), zero = u == 0;
        const int32_t r =
            (int32_t)(((uint32_t)u + 0xfffu + ((uint32_t)u >> 13 & 1u)) >> 13) - ((127 - 15) << 10); /* a carry runs into the exponent */

        odd |= (u > 0 && u < 0x38800000) | (u > 0x7f800000);
        y[i] = (uint16_t)((zero ? 0 : r < 0x7c00 ? r : 0x7c00) | (int32_t)(in[i] >> 16 & 0x8000u));
    }
    return !odd;
}

void qn_f16_to_f32_row(const uint16_t *x, float *y, int64_t n)
{
    int64_t i = 0;

    while (i < n) {
        const int64_t end = n - i < BLOCK ? n : i + BLOCK;

        if (end - i < BLOCK || !wide_block(x + i, y + i))
            for (int64_t k = i; k < end; k++) y[k] = qn_f16_to_f32(x[k]);
        i = end;
    }
}

void qn_f32_to_f16_row(const float *x, uint16_t *y, int64_t n)
{
    int64_t i = 0;

    while (i < n) {
        const int64_t end = n - i < BLOCK ? n : i + BLOCK;

        if (end - i < BLOCK || !narrow_block(x + i, y + i))
            for (int64_t k = i; k < end; k++) y[k] = qn_f32_to_f16(x[k]);
        i = end;
    }
}
