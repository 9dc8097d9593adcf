/* Decimal text <-> numbers: exact both ways, held against the C library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quern/number.h"

#include <inttypes.h>
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

/* A list of numbers as text, `simple` of them such that the fast way may take them; the last one has no comma. */
static void a_list_reads_as_its_elements_do(void **state)
{
    uint64_t s = 7;

    (void)state;
    for (int round = 0; round < 3000; round++) {
        char text[4096];
        size_t n = 0, at[64], len[64], used, count = 99;
        float got[64];
        int k = 1 + round % 60;

        for (int i = 0; i < k; i++) {
            s = s * 6364136223846793005u + 1442695040888963407u;
            at[i] = n;
            switch (s >> 60) {
            case 0: n += (size_t)sprintf(text + n, "%.9g", (double)(s & 0xffff) * 1e-30); break;
            case 1: n += (size_t)sprintf(text + n, "-%" PRIu64 "e%d", s >> 12 & 0xfffff, (int)(s & 31) - 16); break;
            case 2: n += (size_t)sprintf(text + n, "%.17g", (double)(s >> 20) / 7); break;
            case 3: n += (size_t)sprintf(text + n, "%s", s & 16 ? "-0" : "0.000"); break;
            default: n += (size_t)sprintf(text + n, "%.6g", (double)(int64_t)s * 1e-17); break;
            }
            len[i] = n - at[i];
            if (i + 1 < k) n += (size_t)sprintf(text + n, "%s", s & 32 ? "," : s & 64 ? ", " : ",\n\t ");
        }
        used = qn_numbers_f32(text, n, got, 64, &count);
        assert_true(count < (size_t)k); /* not the last: its comma may come in the next piece */
        assert_int_equal(used, at[count]);
        for (size_t i = 0; i < count; i++) {
            float want;

            assert_true(qn_number_to_f32(text + at[i], len[i], &want));
            assert_memory_equal(&want, &got[i], sizeof want);
        }
        if (count + 1 < (size_t)k) assert_true(len[count] > 12 || strchr(text + at[count], 'e')); /* what is simple is taken */
    }
}

static void what_is_not_simple_ends_a_list(void **state)
{
    static const struct {
        const char *text;
        size_t used, count;
    } rows[] = {
        { "", 0, 0 },
        { "1", 0, 0 },
        { "1]", 0, 0 },
        { "1,", 2, 1 },
        { "1,2", 2, 1 },
        { "1 ,2,", 0, 0 },
        { "01,2,", 0, 0 },
        { "-,2,", 0, 0 },
        { ".5,2,", 0, 0 },
        { "1.,2,", 0, 0 },
        { "1,1e,2,", 2, 1 },
        { "1,1e+,2,", 2, 1 },
        { "1,+2,", 2, 1 },
        { "1,NaN,", 2, 1 },
        { "1,\"2\",", 2, 1 },
        { "1,[2,", 2, 1 },
        { "1,null,", 2, 1 },
        { "1, 2, 3]", 6, 2 },
        { "1e999,2,", 0, 0 },
        { "1,1e0000,2,", 2, 1 },
        { "1e-99,", 0, 0 },
        { "1,,2,", 2, 1 },
        { "-0.0,5,", 7, 2 },
        { "1.5.5,2,", 0, 0 },
        { "16777217,2,", 0, 0 },
        { "123456789012345678,2,", 0, 0 },
        { "3.5e38,1,", 0, 0 },
        { "1e-45,1,", 0, 0 },
        { "1,2,3,4,5,6,", 8, 4 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        float f[4];
        size_t count = 99;

        assert_int_equal(qn_numbers_f32(rows[i].text, strlen(rows[i].text), f, 4, &count), rows[i].used);
        assert_int_equal(count, rows[i].count);
    }
}

static void integer_lists_take_integers_only(void **state)
{
    const char text[] = "0,-7, 12345678901234567,\n-0,1.0,3,";
    int64_t v[8];
    size_t count = 0;

    (void)state;
    assert_int_equal(qn_numbers_i64(text, strlen(text), v, 8, &count), strlen("0,-7, 12345678901234567,\n-0,"));
    assert_int_equal(count, 4);
    assert_true(v[0] == 0 && v[1] == -7 && v[2] == 12345678901234567 && v[3] == 0);
    assert_int_equal(qn_numbers_i64("123456789012345678,1,", 21, v, 8, &count), 0);
    assert_int_equal(qn_numbers_i64("1e2,1,", 6, v, 8, &count), 0);
    assert_int_equal(qn_numbers_i64("1,2,3,", 6, v, 2, &count), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_floats_read_back_to_the_same_bits),
        cmocka_unit_test(read_floats_equal_the_c_library_at_any_precision),
        cmocka_unit_test(halves_between_two_floats_round_to_even),
        cmocka_unit_test(overflow_is_said_and_underflow_is_not),
        cmocka_unit_test(integers_keep_every_digit),
        cmocka_unit_test(a_list_reads_as_its_elements_do),
        cmocka_unit_test(what_is_not_simple_ends_a_list),
        cmocka_unit_test(integer_lists_take_integers_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
