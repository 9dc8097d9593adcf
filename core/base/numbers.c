/* core/base/numbers.c - lists of numbers, the simple ones, at the speed of their digits.
 *
 * A float: up to 2^53 as digits and a power of ten up to 22 are both exact in a double, so one operation rounds correctly to 53 bits; rounding
 * that to 24 bits is right unless it sits exactly half way between two floats (Clinger 1990, as in number.c). All that is not so simple ends
 * the list: the caller reads that one with the exact functions. */
#include "quern/number.h"

#include <float.h>
#include <string.h>

#define MOST_DIGITS 17 /* fewer than 10^17 never overflow 64 bits */
#define MOST_POWER  22

static const double pow10_double[MOST_POWER + 1] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                                     1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };

static unsigned digit_at(const char *p, const char *end) { return p < end ? (unsigned)(unsigned char)*p - '0' : 10u; }

/* Digits from p on, added to *value; returns where they end. More than MOST_DIGITS make *value meaningless: the caller counts. */
static const char *digits(const char *p, const char *end, uint64_t *value)
{
    unsigned d;

    for (; (d = digit_at(p, end)) <= 9; p++) *value = *value * 10 + d;
    return p;
}

/* Behind a number: the comma and blanks after it, or NULL if there is something else. */
static const char *next_element(const char *p, const char *end)
{
    if (p >= end || *p != ',') return NULL;
    p++;
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
    return p;
}

/* The integer part: one digit, or several of which the first is not 0. NULL: there is none. */
static const char *integer_part(const char *p, const char *end, uint64_t *value)
{
    const unsigned first = digit_at(p, end);

    if (first > 9) return NULL;
    return first == 0 ? p + 1 : digits(p, end, value);
}

/* [eE][+-]?[0-9]{1,3}, added to *power; p itself if there is none, NULL if it is malformed or longer. */
static const char *exponent_part(const char *p, const char *end, int *power)
{
    const char *from;
    bool negative = false;
    uint64_t e = 0;

    if (p >= end || (*p != 'e' && *p != 'E')) return p;
    p++;
    if (p < end && (*p == '+' || *p == '-')) negative = *p++ == '-';
    from = p;
    p = digits(p, end, &e);
    if (p == from || p - from > 3) return NULL;
    *power += negative ? -(int)e : (int)e;
    return p;
}

static bool round_to_f32(uint64_t value, int power, bool negative, float *out)
{
    double v;
    uint64_t bits;

    if (value == 0) {
        *out = negative ? -0.0f : 0.0f;
        return true;
    }
    if (value > (uint64_t)1 << 53 || power < -MOST_POWER || power > MOST_POWER) return false;
    v = power < 0 ? (double)value / pow10_double[-power] : (double)value * pow10_double[power];
    if (v < (double)FLT_MIN || v > 3.4e38) return false;
    memcpy(&bits, &v, sizeof bits);
    if ((bits & 0x1fffffffu) == 0x10000000u) return false; /* half way */
    *out = (float)(negative ? -v : v);
    return true;
}

size_t qn_numbers_f32(const char *text, size_t n, float *out, size_t cap, size_t *count)
{
    const char *const end = text + n, *done = text;
    size_t k = 0;

    for (; k < cap; k++) {
        const bool negative = done < end && *done == '-';
        const char *const from = done + negative, *p;
        uint64_t value = 0;
        int power = 0;

        p = integer_part(from, end, &value);
        if (!p) break;
        if (p < end && *p == '.') {
            const char *const fraction = p + 1;

            p = digits(fraction, end, &value);
            if (p == fraction) break;
            power = -(int)(p - fraction < MOST_DIGITS + 1 ? p - fraction : MOST_DIGITS + 1);
        }
        if (p - from > MOST_DIGITS) break;
        p = exponent_part(p, end, &power);
        if (p) p = next_element(p, end);
        if (!p || !round_to_f32(value, power, negative, &out[k])) break;
        done = p;
    }
    *count = k;
    return (size_t)(done - text);
}

size_t qn_numbers_i64(const char *text, size_t n, int64_t *out, size_t cap, size_t *count)
{
    const char *const end = text + n, *done = text;
    size_t k = 0;

    for (; k < cap; k++) {
        const bool negative = done < end && *done == '-';
        const char *const from = done + negative, *p;
        uint64_t value = 0;

        p = integer_part(from, end, &value);
        if (!p || p - from > MOST_DIGITS) break;
        p = next_element(p, end);
        if (!p) break;
        out[k] = negative ? -(int64_t)value : (int64_t)value;
        done = p;
    }
    *count = k;
    return (size_t)(done - text);
}
