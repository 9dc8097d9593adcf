/* core/base/number.c - see quern/number.h for the method. */
#include "quern/number.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if LDBL_MANT_DIG == 64
/* 10^0 .. 10^27: 5^27 < 2^63, so each is exact in 64 bits of mantissa. */
static const long double pow10_exact[] = {
    1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,  1e7L,  1e8L,  1e9L,  1e10L, 1e11L, 1e12L, 1e13L,
    1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L, 1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L
};
#define POW10_MAX 27
#endif

/* A decimal as +-digits * 10^exp10; exact is false when there were more than 19 significant digits or a huge exponent. */
typedef struct decimal {
    uint64_t digits;
    int exp10;
    bool negative, exact;
} decimal;

static decimal decimal_read(const char *s, size_t n)
{
    decimal d = { .exact = true };
    const char *end = s + n;
    int n_digits = 0, dropped = 0;
    bool after_point = false;

    if (s < end && *s == '-') {
        d.negative = true;
        s++;
    }
    for (; s < end && ((*s >= '0' && *s <= '9') || *s == '.'); s++) {
        if (*s == '.') {
            after_point = true;
            continue;
        }
        if (n_digits < 19) {
            d.digits = d.digits * 10 + (uint64_t)(*s - '0');
            if (d.digits) n_digits++;
            if (after_point) d.exp10--;
        } else {
            d.exact = false;
            if (!after_point && dropped < 100000) dropped++;
        }
    }
    d.exp10 += dropped;
    if (s < end) { /* e or E */
        bool neg = false;
        int e = 0;

        s++;
        if (s < end && (*s == '+' || *s == '-')) neg = *s++ == '-';
        for (; s < end; s++) {
            if (e < 100000) e = e * 10 + (*s - '0');
        }
        d.exp10 += neg ? -e : e;
    }
    return d;
}

/* digits * 10^exp10 correctly rounded to 64 bits, if one operation on exact operands can do it. */
static bool decimal_fast(const decimal *d, long double *out)
{
#if LDBL_MANT_DIG == 64
    if (!d->exact || d->exp10 < -POW10_MAX || d->exp10 > POW10_MAX) return false;
    *out = d->exp10 < 0 ? (long double)d->digits / pow10_exact[-d->exp10] : (long double)d->digits * pow10_exact[d->exp10];
    return true;
#else
    (void)d;
    (void)out;
    return false;
#endif
}

/* The 64 mantissa bits of a positive normal long double. */
static uint64_t mantissa64(long double v)
{
    uint64_t m;

    memcpy(&m, &v, sizeof m);
    return m;
}

/* strtod() reads beyond n as long as bytes look like a number, hence the copy when the text is short and the heap when it is not. */
static bool slow_read(const char *text, size_t n, double *d64, float *f32)
{
    char small[128], *copy = small;
    bool ok;

    if (n >= sizeof small) copy = malloc(n + 1);
    if (!copy) return false;
    memcpy(copy, text, n);
    copy[n] = 0;
    if (f32) {
        *f32 = strtof(copy, NULL);
        ok = isfinite(*f32);
    } else {
        *d64 = strtod(copy, NULL);
        ok = isfinite(*d64);
    }
    if (copy != small) free(copy);
    return ok;
}

bool qn_number_to_f32(const char *text, size_t n, float *out)
{
    decimal d = decimal_read(text, n);
    long double v;

    if (d.exact && d.digits == 0) {
        *out = d.negative ? -0.0f : 0.0f;
        return true;
    }
    if (decimal_fast(&d, &v) && v >= (long double)FLT_MIN && v < 3.4e38L) {
        /* Rounding twice is wrong only if the first rounding landed exactly between two floats: low 40 bits 1000... */
        if ((mantissa64(v) & 0xffffffffffu) != 0x8000000000u) {
            float f = (float)v;

            *out = d.negative ? -f : f;
            return true;
        }
    }
    return slow_read(text, n, NULL, out);
}

bool qn_number_to_f64(const char *text, size_t n, double *out)
{
    decimal d = decimal_read(text, n);
    long double v;

    if (d.exact && d.digits == 0) {
        *out = d.negative ? -0.0 : 0.0;
        return true;
    }
    if (decimal_fast(&d, &v) && (mantissa64(v) & 0x7ffu) != 0x400u) { /* between 1e-27 and 2^64 * 1e27: always normal */
        double f = (double)v;

        *out = d.negative ? -f : f;
        return true;
    }
    return slow_read(text, n, out, NULL);
}

bool qn_number_to_u64(const char *text, size_t n, uint64_t *out)
{
    uint64_t v = 0;

    if (n == 0) return false;
    if (text[0] == '-') { /* only "-0" is in range */
        if (n != 2 || text[1] != '0') return false;
        *out = 0;
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(text[i] - '0'), &v)) return false;
    }
    *out = v;
    return true;
}

bool qn_number_to_i64(const char *text, size_t n, int64_t *out)
{
    uint64_t v;
    bool negative = n > 0 && text[0] == '-';

    if (!qn_number_to_u64(text + negative, n - negative, &v)) return false;
    if (v > (uint64_t)INT64_MAX + negative) return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

size_t qn_number_from_u64(uint64_t v, char *out)
{
    char tmp[24];
    size_t n = 0;

    do tmp[n++] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    for (size_t i = 0; i < n; i++) out[i] = tmp[n - 1 - i];
    out[n] = 0;
    return n;
}

size_t qn_number_from_i64(int64_t v, char *out)
{
    if (v >= 0) return qn_number_from_u64((uint64_t)v, out);
    out[0] = '-';
    return 1 + qn_number_from_u64(0 - (uint64_t)v, out + 1);
}

/* Lay digits (no trailing zeros, n of them) with the point after position `point` from the first digit: plain between 1e-5 and 1e16,
 * else with an exponent. */
static size_t decimal_write(char *out, bool negative, const char *digits, int n, int point)
{
    char *p = out;

    if (negative) *p++ = '-';
    if (point > 0 && point <= 16) {
        for (int i = 0; i < point; i++) *p++ = i < n ? digits[i] : '0';
        if (n > point) {
            *p++ = '.';
            for (int i = point; i < n; i++) *p++ = digits[i];
        }
    } else if (point <= 0 && point > -5) {
        *p++ = '0';
        *p++ = '.';
        for (int i = point; i < 0; i++) *p++ = '0';
        for (int i = 0; i < n; i++) *p++ = digits[i];
    } else {
        int e = point - 1;

        *p++ = digits[0];
        if (n > 1) *p++ = '.';
        for (int i = 1; i < n; i++) *p++ = digits[i];
        *p++ = 'e';
        *p++ = e < 0 ? '-' : '+';
        if (e < 0) e = -e;
        p += qn_number_from_u64((uint64_t)e, p);
    }
    *p = 0;
    return (size_t)(p - out);
}

/* Digits of m without trailing zeros. */
static int digits_of(uint64_t m, char *digits)
{
    int n = (int)qn_number_from_u64(m, digits);

    while (n > 1 && digits[n - 1] == '0') n--;
    return n;
}

/* The first of precisions lo..hi whose rounding reads back to the same value. v > 0 and finite. Falls to printf when the powers of ten
 * are not exact. */
static size_t shortest(double v, bool is_f32, bool negative, char *out)
{
    int lo = is_f32 ? 6 : 15, hi = is_f32 ? 9 : 17;
    char digits[40];

#if LDBL_MANT_DIG == 64
    if (v >= 1e-9 && v < 1e17) {
        int e10 = 0; /* v in [10^(e10), 10^(e10+1)) */

        while (e10 < 17 && (long double)v >= pow10_exact[e10 + 1]) e10++;
        while ((long double)v * pow10_exact[e10 < 0 ? -e10 : 0] < 1 && e10 > -10) e10--;
        for (int p = lo; p <= hi; p++) {
            int k = p - 1 - e10;
            long double scaled = k >= 0 ? (long double)v * pow10_exact[k] : (long double)v / pow10_exact[-k];
            uint64_t m = (uint64_t)(scaled + 0.5L);
            decimal d = { .digits = m, .exp10 = -k, .exact = true };
            long double back;
            uint64_t low;
            int n;

            if (!decimal_fast(&d, &back)) break;
            low = is_f32 ? mantissa64(back) & 0xffffffffffu : mantissa64(back) & 0x7ffu;
            if (low == (is_f32 ? 0x8000000000u : 0x400u)) continue; /* half way: leave it to more digits */
            if (is_f32 ? (float)back != (float)v : (double)back != v) continue;
            n = digits_of(m, digits);
            return decimal_write(out, negative, digits, n, (int)strlen(digits) - k);
        }
    }
#endif
    for (int p = lo; p <= hi; p++) {
        char text[40];
        char *e;
        int n = 0, point;

        snprintf(text, sizeof text, "%.*e", p - 1, v);
        if (p < hi && (is_f32 ? strtof(text, NULL) != (float)v : strtod(text, NULL) != v)) continue;
        e = strchr(text, 'e');
        point = (int)strtol(e + 1, NULL, 10) + 1;
        for (const char *s = text; s < e; s++) {
            if (*s != '.') digits[n++] = *s;
        }
        while (n > 1 && digits[n - 1] == '0') n--;
        return decimal_write(out, negative, digits, n, point);
    }
    return 0; /* not reached: the last precision is always taken */
}

size_t qn_number_from_f32(float v, char *out)
{
    if (v == 0) return decimal_write(out, signbit(v), "0", 1, 1);
    return shortest(fabs((double)v), true, v < 0, out);
}

size_t qn_number_from_f64(double v, char *out)
{
    if (v == 0) return decimal_write(out, signbit(v), "0", 1, 1);
    return shortest(fabs(v), false, v < 0, out);
}
