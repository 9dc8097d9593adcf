/* All 65536 halves both ways; the way down against a search among neighbours in double. */
#include "core/base/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static uint32_t bits(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    return u;
}

static float from_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

/* The definition: (-1)^s * 2^(e - 25) * f, from integers, exact in double. */
static double f16_value(uint16_t h)
{
    const int exp = h >> 10 & 31, frac = h & 0x3ff;
    const double m = exp == 0 ? ldexp(frac, -24) : ldexp(frac + 1024, exp - 25);

    return h & 0x8000 ? -m : m;
}

static bool f16_is_nan(uint16_t h) { return (h & 0x7fff) > 0x7c00; }

static void every_f16_becomes_its_value_and_comes_back(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        const uint16_t h = (uint16_t)i;
        const float f = qn_f16_to_f32(h);

        if (f16_is_nan(h)) {
            assert_true(isnan(f));
            assert_int_equal(bits(f) >> 31, h >> 15);
            assert_int_equal(qn_f32_to_f16(f), h | 0x200); /* quiet, payload kept */
            assert_int_equal(qn_f64_to_f16((double)f), h | 0x200);
            continue;
        }
        if ((h & 0x7fff) == 0x7c00) {
            assert_int_equal(bits(f), (uint32_t)(h >> 15) << 31 | 0x7f800000u);
        } else {
            assert_true((double)f == f16_value(h));
            assert_int_equal(bits(f) >> 31, h >> 15);
        }
        assert_int_equal(qn_f32_to_f16(f), h);
        assert_int_equal(qn_f64_to_f16((double)f), h);
    }
}

/* Between neighbours a < b: below the middle a, above it b, the middle itself to the even one. */
static void rounding_is_to_nearest_even_everywhere(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x7c00; i++) {
        const double a = f16_value((uint16_t)i), b = i == 0x7bff ? 65536.0 : f16_value((uint16_t)(i + 1)), mid = (a + b) / 2;
        const uint16_t lo = (uint16_t)i, hi = (uint16_t)(i + 1), even = i & 1 ? hi : lo;
        const float below = nextafterf((float)mid, 0), above = nextafterf((float)mid, INFINITY);

        assert_true((double)(float)mid == mid);
        assert_int_equal(qn_f32_to_f16((float)mid), even);
        assert_int_equal(qn_f32_to_f16(below), lo);
        assert_int_equal(qn_f32_to_f16(above), hi);
        assert_int_equal(qn_f32_to_f16(-(float)mid), even | 0x8000);
        assert_int_equal(qn_f64_to_f16(mid), even);
        assert_int_equal(qn_f64_to_f16(nextafter(mid, 0)), lo);
        assert_int_equal(qn_f64_to_f16(nextafter(mid, INFINITY)), hi);
        assert_int_equal(qn_f64_to_f16(-nextafter(mid, INFINITY)), hi | 0x8000);
    }
}

static void f64_is_rounded_once(void **state)
{
    /* Just above the middle of 1 and the next half, by less than a float can tell: rounding through float would land on the middle
     * and then go down to the even 1. */
    const double d = 1.0 + ldexp(1, -11) + ldexp(1, -40);

    (void)state;
    assert_int_equal(qn_f64_to_f16(d), 0x3c01);
    assert_int_equal(qn_f32_to_f16((float)d), 0x3c00);
}

static void far_out_numbers_become_zero_or_infinity(void **state)
{
    (void)state;
    assert_int_equal(qn_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(qn_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(qn_f32_to_f16(1e-30f), 0);
    assert_int_equal(qn_f32_to_f16(-1e-30f), 0x8000);
    assert_int_equal(qn_f32_to_f16(from_bits(1)), 0); /* smallest subnormal float */
    assert_int_equal(qn_f64_to_f16(1e300), 0x7c00);
    assert_int_equal(qn_f64_to_f16(-1e-300), 0x8000);
    assert_int_equal(qn_f64_to_f16(5e-324), 0);
    assert_int_equal(qn_f32_to_f16(65519.99f), 0x7bff);
    assert_int_equal(qn_f32_to_f16(65520.0f), 0x7c00);
}

static void every_bf16_comes_back(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        const uint16_t b = (uint16_t)i;
        const float f = qn_bf16_to_f32(b);

        assert_int_equal(bits(f), i << 16);
        assert_int_equal(qn_f32_to_bf16(f), (b & 0x7fff) > 0x7f80 ? b | 0x40 : b);
    }
}

static void bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x7f80; i++) {
        const uint32_t base = i << 16;

        assert_int_equal(qn_f32_to_bf16(from_bits(base | 0x7fff)), i);
        assert_int_equal(qn_f32_to_bf16(from_bits(base | 0x8000)), i + (i & 1));
        assert_int_equal(qn_f32_to_bf16(from_bits(base | 0x8001)), i + 1);
        assert_int_equal(qn_f32_to_bf16(from_bits(0x80000000u | base | 0x8001)), 0x8000 + i + 1);
    }
    assert_int_equal(qn_f32_to_bf16(from_bits(0x7f800001)), 0x7fc0); /* a NaN whose payload is cut stays one */
}

/* Blocks of plain numbers, and blocks in which every kind of odd one takes its turn in every place. */
static void rows_have_the_bits_of_one_by_one(void **state)
{
    enum { N = 65536 + 5 };
    static uint16_t h[N], back[N];
    static float f[N];
    uint32_t seed = 1;

    (void)state;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < N; i++) {
            seed = seed * 1664525u + 1013904223u;
            h[i] = round < 2 ? (uint16_t)(i * 40503) : (uint16_t)(seed >> 16);
            if (round % 2 && i % 37 && ((h[i] & 0x7c00) == 0 || (h[i] & 0x7c00) == 0x7c00)) h[i] ^= 0x2000; /* few odd ones */
        }
        qn_f16_to_f32_row(h, f, N);
        for (int i = 0; i < N; i++) assert_int_equal(bits(f[i]), bits(qn_f16_to_f32(h[i])));
        for (int i = 0; i < N; i++) { /* about the middle between two neighbours, zeros and far out too */
            seed = seed * 1664525u + 1013904223u;
            f[i] = from_bits(bits(f[i]) + (seed >> 30) * 0x800u + (seed >> 28 & 3u) - 1u);
            if (i % 11 == 0) f[i] = i % 2 ? 0.0f : -0.0f;
            if (i % 101 == 0) f[i] = 70000.0f;
        }
        qn_f32_to_f16_row(f, back, N);
        for (int i = 0; i < N; i++) assert_int_equal(back[i], qn_f32_to_f16(f[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_f16_becomes_its_value_and_comes_back),
        cmocka_unit_test(rounding_is_to_nearest_even_everywhere),
        cmocka_unit_test(f64_is_rounded_once),
        cmocka_unit_test(far_out_numbers_become_zero_or_infinity),
        cmocka_unit_test(every_bf16_comes_back),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(rows_have_the_bits_of_one_by_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
