/* core/kernels/vmath/lanes.h - exp, log, erf, tanh and their relatives, one lane at a time.
 *
 * Each function is straight-line: IEEE operations and fmaf, both sides of a choice computed and one selected. So a compiler can run 16
 * lanes at once, and whatever instruction set it uses, a lane gets the same operations in the same order: the same bits.
 * Include it only from kernel files; they are compiled once per instruction set.
 * Accuracy (measured by tests/unit/kernels/test_vmath.c over the whole range): exp 1 ulp, log 1 ulp, erf and tanh 2 ulp, sigmoid 2.5 ulp.
 * Coefficients: fitted for Quern by iteratively reweighted least squares on Chebyshev nodes; the interval stands beside each set. */
#ifndef QUERN_KERNELS_VMATH_LANES_H
#define QUERN_KERNELS_VMATH_LANES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* gcc keeps comparisons in branches, and loops scalar, for the sake of exception flags nobody reads; no value changes. */
#if !defined(__clang__)
#pragma GCC optimize("no-trapping-math")
#endif

/* In front of an element-wise loop: y may be x itself, and that is no dependence between elements. */
#if defined(__clang__)
#define QN_LANES _Pragma("clang loop vectorize(assume_safety)")
#else
#define QN_LANES _Pragma("GCC ivdep")
#endif

#define QN_LN2_HI 0x1.62e430p-1f   /* ln 2 rounded to f32 */
#define QN_LN2_LO -0x1.05c610p-29f /* ln 2 - QN_LN2_HI */

static inline uint32_t qn_lane_bits(float x)
{
    uint32_t b;

    memcpy(&b, &x, sizeof b);
    return b;
}

static inline float qn_lane_from_bits(uint32_t b)
{
    float x;

    memcpy(&x, &b, sizeof x);
    return x;
}

/* (exp(r) - 1 - r) / r^2 for |r| <= 0.347 */
static inline float qn_lane_exp_tail(float r)
{
    float p = 0x1.6a2318p-10f;

    p = fmaf(p, r, 0x1.123a8ep-7f);
    p = fmaf(p, r, 0x1.5558f6p-5f);
    p = fmaf(p, r, 0x1.555490p-3f);
    return fmaf(p, r, 0x1.fffffcp-2f);
}

/* exp(x) = 2^k * exp(r), k = rne(x / ln 2). 2^k is applied in two exact-then-rounded factors, so that results below the normal
 * range are rounded once and k = 128 still overflows only where it should. */
static inline float qn_lane_exp(float x)
{
    const float magic = 0x1.8p23f;       /* adding it leaves rne(v) in the low bits of the significand */
    float c = x < -104.0f ? -104.0f : x; /* exp(-104) rounds to 0, exp(89) is beyond f32 */
    float k, r, p;
    uint32_t n, half;

    c = c > 89.0f ? 89.0f : c;
    k = fmaf(c, 0x1.715476p+0f, magic);
    n = qn_lane_bits(k) - 0x4b400000u;
    k = k - magic;
    r = fmaf(k, -QN_LN2_HI, c);
    r = fmaf(k, -QN_LN2_LO, r);
    p = fmaf(qn_lane_exp_tail(r), r * r, r) + 1.0f;
    half = (uint32_t)((int32_t)n >> 1);
    p = p * qn_lane_from_bits((half + 127u) << 23);
    p = p * qn_lane_from_bits((n - half + 127u) << 23);
    return x == x ? p : x; /* NaN: what was computed for it is noise */
}

/* exp(x) - 1, accurate near 0 */
static inline float qn_lane_expm1(float x)
{
    float small = fmaf(qn_lane_exp_tail(x), x * x, x);
    float large = qn_lane_exp(x) - 1.0f;

    return fabsf(x) < 0.34f ? small : large;
}

/* (log(1 + f) - f + f^2 / 2) / f^3 for f in [sqrt(1/2) - 1, sqrt(2) - 1] */
static inline float qn_lane_log_tail(float f)
{
    float p = 0x1.146318p-4f;

    p = fmaf(p, f, -0x1.de4fa2p-4f);
    p = fmaf(p, f, 0x1.e6f604p-4f);
    p = fmaf(p, f, -0x1.fc1f6cp-4f);
    p = fmaf(p, f, 0x1.2336e2p-3f);
    p = fmaf(p, f, -0x1.555c5ap-3f);
    p = fmaf(p, f, 0x1.99a4bcp-3f);
    p = fmaf(p, f, -0x1.000006p-2f);
    return fmaf(p, f, 0x1.555548p-2f);
}

/* k ln 2 + log(1 + f), f as above */
static inline float qn_lane_log_join(float k, float f)
{
    float z = f * f;
    float y = f * z * qn_lane_log_tail(f);

    y = fmaf(k, QN_LN2_LO, y);
    y = fmaf(-0.5f, z, y);
    y = y + f;
    return fmaf(k, QN_LN2_HI, y);
}

static inline float qn_lane_log(float x)
{
    float s = x < 0x1p-126f ? x * 0x1p23f : x; /* subnormals become normal */
    uint32_t b = qn_lane_bits(s);
    uint32_t e = (uint32_t)((int32_t)(b - 0x3f3504f3u) >> 23); /* the exponent for a significand in [sqrt(1/2), sqrt(2)) */
    float f = qn_lane_from_bits(b - (e << 23)) - 1.0f;
    float k = (float)(int32_t)e - (x < 0x1p-126f ? 23.0f : 0.0f);
    float y = qn_lane_log_join(k, f);

    y = x < INFINITY ? y : x; /* +inf and NaN */
    y = x == 0.0f ? -INFINITY : y;
    return x < 0.0f ? NAN : y;
}

/* log(1 + t) for t in [0, 1] */
static inline float qn_lane_log1p_unit(float t)
{
    float f = t < 0.41421354f ? t : (t - 1.0f) * 0.5f; /* 1 + t = 2 (1 + (t - 1) / 2) */
    float k = t < 0.41421354f ? 0.0f : 1.0f;

    return qn_lane_log_join(k, f);
}

/* erf(x) = x + x q(x^2) below 0.925, 1 - exp(-p(|x|)) above. */
static inline float qn_lane_erf(float x)
{
    float a = fabsf(x), z = x * x;
    float t = a > 4.0f ? 4.0f : a; /* 1 - erf(4) is below half an ulp of 1 */
    float q = 0x1.5e355cp-14f, p = -0x1.9ae902p-13f, small, large;

    q = fmaf(q, z, -0x1.aaa878p-11f); /* erf(x) / x - 1 in x^2 on [0, 0.925] */
    q = fmaf(q, z, 0x1.54d3acp-8f);
    q = fmaf(q, z, -0x1.b80fc2p-6f);
    q = fmaf(q, z, 0x1.ce2e18p-4f);
    q = fmaf(q, z, -0x1.812744p-2f);
    q = fmaf(q, z, 0x1.06eba8p-3f);
    small = fmaf(q, x, x);
    p = fmaf(p, t, 0x1.8ee16ep-9f); /* -log(1 - erf(t)) on [0.92, 4] */
    p = fmaf(p, t, -0x1.6c2a76p-6f);
    p = fmaf(p, t, 0x1.a9b42ep-4f);
    p = fmaf(p, t, 0x1.463cc0p-1f);
    p = fmaf(p, t, 0x1.20af5ap+0f);
    p = fmaf(p, t, 0x1.9a5c86p-13f);
    large = copysignf(1.0f - qn_lane_exp(-p), x);
    return a > 0.925f ? large : small;
}

/* tanh(x) = x + x^3 p(x^2) below 0.625, 1 - 2 / (exp(2|x|) + 1) above. */
static inline float qn_lane_tanh(float x)
{
    float a = fabsf(x), z = x * x;
    float p = -0x1.73641ap-8f, small, large;

    p = fmaf(p, z, 0x1.519c92p-6f); /* (tanh(x) / x - 1) / x^2 in x^2 on [0, 0.63] */
    p = fmaf(p, z, -0x1.b827fep-5f);
    p = fmaf(p, z, 0x1.110692p-3f);
    p = fmaf(p, z, -0x1.555530p-2f);
    small = fmaf(p * z, x, x);
    large = copysignf(1.0f - 2.0f / (qn_lane_exp(a + a) + 1.0f), x);
    return a > 0.625f ? large : small;
}

/* 1 / (1 + exp(-x)), without overflow and with full accuracy on both sides */
static inline float qn_lane_sigmoid(float x)
{
    float e = qn_lane_exp(-fabsf(x));

    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* log(1 + exp(x)) */
static inline float qn_lane_softplus(float x)
{
    float y = (x < 0.0f ? 0.0f : x) + qn_lane_log1p_unit(qn_lane_exp(-fabsf(x)));

    return x == x ? y : x; /* which of two NaNs a sum keeps is the compiler's choice */
}

static inline float qn_lane_gelu(float x) { return 0.5f * x * (1.0f + qn_lane_erf(x * 0x1.6a09e6p-1f)); }

static inline float qn_lane_gelu_tanh(float x)
{
    float u = fmaf(0.044715f * x * x, x, x) * 0x1.988454p-1f; /* sqrt(2 / pi) (x + 0.044715 x^3) */

    return 0.5f * x * (1.0f + qn_lane_tanh(u));
}

/* x tanh(softplus(x)), with e = exp(-|x|):  (1 + 2e) / (1 + 2e + 2e^2) for x >= 0, (2e + e^2) / (2e + e^2 + 2) below */
static inline float qn_lane_mish(float x)
{
    float e = qn_lane_exp(-fabsf(x));
    float num = x < 0.0f ? e * (e + 2.0f) : 1.0f + 2.0f * e;
    float den = num + (x < 0.0f ? 2.0f : 2.0f * e * e);
    float y = x * (num / den);

    y = x == -INFINITY ? -0.0f : y; /* -inf * 0 */
    return x == x ? y : x;
}

static inline float qn_lane_silu(float x)
{
    float y = x * qn_lane_sigmoid(x);

    y = x == -INFINITY ? -0.0f : y;
    return x == x ? y : x;
}

#endif
