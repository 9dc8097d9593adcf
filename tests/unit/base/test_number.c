/* Decimal text <-> numbers: exact both ways, held against the C library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quern/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void written_floats_read_back_to_the_same_bits(void **state)
{
    uint64_t s = 42;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        char text[QN_NUMBER_CHARS];
        uint32_t u;
        float f, f2;
        double d, d2;

        s = s * 6364136223846793005u + 1442695040888963407u;
        u = (uint32_t)(s >> 32);
        memcpy(&f, &u, sizeof f);
        memcpy(&d, &s, sizeof d);
        if (i % 2) {
            f = (float)(u % 100000) / 1000.0f;
            d = (double)(s % 1000000007u) / 4096.3;
        }
        if (isfinite(f)) {
            size_t n = qn_number_from_f32(f, text);

            assert_true(n <= 17);
            assert_true(qn_number_to_f32(text, n, &f2));
            assert_memory_equal(&f, &f2, sizeof f);
            f2 = strtof(text, NULL);
            assert_memory_equal(&f, &f2, sizeof f);
        }
        if (isfinite(d)) {
            size_t n = qn_number_from_f64(d, text);

            assert_true(qn_number_to_f64(text, n, &d2));
            assert_memory_equal(&d, &d2, sizeof d);
            d2 = strtod(text, NULL);
            assert_memory_equal(&d, &d2, sizeof d);
        }
    }
}

static void read_floats_equal_the_c_library_at_any_precision(void **state)
{
    uint64_t s = 7;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        char text[64];
        double d, d2;
        float f2;

        s = s * 6364136223846793005u + 1442695040888963407u;
        d = (double)(int64_t)s * ldexp(1.0, (int)(s >> 58) - 90);
        snprintf(text, sizeof text, i % 3 ? "%.*g" : "%.*f", i % 25 + 1, d);
        assert_true(qn_number_to_f64(text, strlen(text), &d2));
        assert_true(d2 == strtod(text, NULL));
        if (qn_number_to_f32(text, strlen(text), &f2)) assert_true(f2 == strtof(text, NULL));
    }
}

static void halves_between_two_floats_round_to_even(void **state)
{
    static const struct {
        const char *text;
        float want;
    } cases[] = {
        { "16777217", 16777216.0f },                        /* 2^24 + 1: half way, down to even */
        { "16777219", 16777220.0f },                        /* half way, up to even */
        { "16777217.0000000000000000000001", 16777218.0f }, /* just above */
        { "16777216.9999999999999999999999", 16777216.0f }, /* just below */
        { "1.00000005960464477539062500000", 1.0f },        /* 1 + 2^-24 */
        { "1.00000005960464477539062500001", 1.00000012f },
        { "7.006492321624085e-46", 0.0f }, /* half of the smallest denormal */
        { "7.006492321624086e-46", 1.401298464e-45f },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float got;

        assert_true(qn_number_to_f32(cases[i].text, strlen(cases[i].text), &got));
        if (memcmp(&got, &cases[i].want, sizeof got)) fail_msg("%s: %a, expected %a", cases[i].text, (double)got, (double)cases[i].want);
    }
}

static void overflow_is_said_and_underflow_is_not(void **state)
{
    float f;
    double d;

    (void)state;
    assert_false(qn_number_to_f32("3.5e38", 6, &f));
    assert_false(qn_number_to_f64("1e999", 5, &d));
    assert_false(qn_number_to_f64("-1e99999999999999999999", 23, &d));
    assert_true(qn_number_to_f64("1e-999", 6, &d) && d == 0);
    assert_true(qn_number_to_f32("-0", 2, &f) && f == 0 && signbit(f));
}

static void integers_keep_every_digit(void **state)
{
    int64_t i;
    uint64_t u;

    (void)state;
    assert_true(qn_number_to_i64("-9223372036854775808", 20, &i) && i == INT64_MIN);
    assert_true(qn_number_to_i64("9007199254740993", 16, &i) && i == 9007199254740993);
    assert_true(qn_number_to_u64("18446744073709551615", 20, &u) && u == UINT64_MAX);
    assert_false(qn_number_to_i64("9223372036854775808", 19, &i));
    assert_false(qn_number_to_i64("-9223372036854775809", 20, &i));
    assert_false(qn_number_to_u64("18446744073709551616", 20, &u));
    assert_false(qn_number_to_i64("1.0", 3, &i));
    assert_false(qn_number_to_i64("1e2", 3, &i));
    assert_false(qn_number_to_u64("-1", 2, &u));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_floats_read_back_to_the_same_bits),
        cmocka_unit_test(read_floats_equal_the_c_library_at_any_precision),
        cmocka_unit_test(halves_between_two_floats_round_to_even),
        cmocka_unit_test(overflow_is_said_and_underflow_is_not),
        cmocka_unit_test(integers_keep_every_digit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
