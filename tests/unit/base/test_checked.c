/* checked.h at and around every edge. */
#include "core/base/checked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const size_t sizes[] = { 0,
                                1,
                                2,
                                3,
                                15,
                                16,
                                17,
                                0xffffffffu,
                                0x100000000u,
                                0x100000001u,
                                SIZE_MAX / 3,
                                SIZE_MAX / 2,
                                SIZE_MAX / 2 + 1,
                                SIZE_MAX - 16,
                                SIZE_MAX - 1,
                                SIZE_MAX };
static const int64_t ints[] = { INT64_MIN, INT64_MIN + 1, INT64_MIN / 2, -4294967296,   -3,       -2, -1, 0, 1, 2,
                                3,         4294967296,    INT64_MAX / 2, INT64_MAX - 1, INT64_MAX };
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* 128-bit arithmetic is the slow twin. */
__extension__ typedef __int128 wide;
__extension__ typedef unsigned __int128 uwide;

static void sizes_agree_with_128_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        for (size_t j = 0; j < COUNT(sizes); j++) {
            const uwide product = (uwide)sizes[i] * sizes[j], sum = (uwide)sizes[i] + sizes[j];
            size_t out = 7;

            assert_int_equal(qn_size_mul(sizes[i], sizes[j], &out), product <= SIZE_MAX);
            assert_int_equal(out, product <= SIZE_MAX ? (size_t)product : 7);
            out = 7;
            assert_int_equal(qn_size_add(sizes[i], sizes[j], &out), sum <= SIZE_MAX);
            assert_int_equal(out, sum <= SIZE_MAX ? (size_t)sum : 7);
        }
    }
}

static void check_wide(bool ok, int64_t out, wide want)
{
    const bool fits = want >= INT64_MIN && want <= INT64_MAX;

    assert_int_equal(ok, fits);
    assert_int_equal(out, fits ? (int64_t)want : 7);
}

static void signed_numbers_agree_with_128_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(ints); i++) {
        for (size_t j = 0; j < COUNT(ints); j++) {
            const wide a = ints[i], b = ints[j];
            int64_t out = 7;
            bool ok = qn_i64_mul(ints[i], ints[j], &out);

            check_wide(ok, out, a * b);
            out = 7;
            ok = qn_i64_add(ints[i], ints[j], &out);
            check_wide(ok, out, a + b);
            out = 7;
            ok = qn_i64_sub(ints[i], ints[j], &out);
            check_wide(ok, out, a - b);
        }
    }
}

static void aligning_rounds_up_or_refuses(void **state)
{
    (void)state;
    for (size_t align = 1; align; align <<= 1) {
        for (size_t i = 0; i < COUNT(sizes); i++) {
            const uwide want = ((uwide)sizes[i] + align - 1) / align * align;
            size_t out = 7;
            const bool ok = qn_size_align(sizes[i], align, &out);

            assert_int_equal(ok, (uwide)sizes[i] + align - 1 <= SIZE_MAX);
            assert_int_equal(out, ok ? (size_t)want : 7);
        }
    }
}

static void a_negative_dimension_is_no_size(void **state)
{
    size_t out = 7;

    (void)state;
    assert_false(qn_i64_to_size(-1, &out));
    assert_false(qn_i64_to_size(INT64_MIN, &out));
    assert_int_equal(out, 7);
    assert_true(qn_i64_to_size(0, &out));
    assert_int_equal(out, 0);
    assert_true(qn_i64_to_size(INT64_MAX, &out));
    assert_int_equal(out, INT64_MAX);
    assert_true(qn_u64_to_size(UINT64_MAX, &out));
    assert_int_equal(out, SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_agree_with_128_bits),
        cmocka_unit_test(signed_numbers_agree_with_128_bits),
        cmocka_unit_test(aligning_rounds_up_or_refuses),
        cmocka_unit_test(a_negative_dimension_is_no_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
