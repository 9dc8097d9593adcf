#include "core/base/arena.h"
#include "tests/unit/base/huge_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void memory_is_aligned_zeroed_and_stays(void **state)
{
    enum { N = 400 };
    unsigned char *p[N];
    qn_arena a;

    (void)state;
    qn_arena_init(&a, 0);
    for (size_t i = 0; i < N; i++) {
        const size_t bytes = i * i % 5003; /* below and above the size of a block */

        p[i] = qn_arena_alloc(&a, bytes);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        for (size_t k = 0; k < bytes; k++) assert_int_equal(p[i][k], 0);
        memset(p[i], (int)(i & 0xff), bytes);
    }
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < i * i % 5003; k++) assert_int_equal(p[i][k], i & 0xff);
    }
    qn_arena_release(&a);
}

static void large_pieces_do_not_waste_the_open_block(void **state)
{
    qn_arena a;
    unsigned char *small, *next;

    (void)state;
    qn_arena_init(&a, 0);
    small = qn_arena_alloc(&a, 16);
    assert_non_null(qn_arena_alloc(&a, (size_t)10 << 20));
    next = qn_arena_alloc(&a, 16);
    assert_ptr_equal(next, small + 16);
    qn_arena_release(&a);
}

static void the_limit_is_exact_in_units_of_16(void **state)
{
    qn_arena a;

    (void)state;
    qn_arena_init(&a, 160);
    for (int i = 0; i < 9; i++) assert_non_null(qn_arena_alloc(&a, 16));
    assert_null(qn_arena_alloc(&a, 17));
    assert_int_equal(a.used_bytes, 144);
    assert_non_null(qn_arena_alloc(&a, 1));
    assert_null(qn_arena_alloc(&a, 1));
    assert_null(qn_arena_alloc(&a, 0)); /* many empty pieces are bounded as well */
    qn_arena_release(&a);
    assert_int_equal(a.used_bytes, 0);
    assert_non_null(qn_arena_alloc(&a, 160)); /* may be used again, under the same limit */
    assert_null(qn_arena_alloc(&a, 1));
    qn_arena_release(&a);
}

static void impossible_sizes_give_null(void **state)
{
    qn_arena a;

    (void)state;
    qn_arena_init(&a, 0);
    assert_null(qn_arena_alloc(&a, SIZE_MAX));
    assert_null(qn_arena_alloc(&a, SIZE_MAX - 15));
    assert_null(qn_arena_alloc(&a, SIZE_MAX - 64));
    assert_null(qn_arena_alloc(&a, SIZE_MAX / 4));
    assert_null(qn_arena_array(&a, SIZE_MAX / 2, 3));
    assert_null(qn_arena_strndup(&a, "x", SIZE_MAX));
    assert_int_equal(a.used_bytes, 0);
    assert_non_null(qn_arena_array(&a, 0, 8));
    assert_non_null(qn_arena_array(&a, 3, 8));
    qn_arena_release(&a);
}

static void strings_are_copied_and_terminated(void **state)
{
    qn_arena a;
    char text[] = "conv1.weight";
    char *s;

    (void)state;
    qn_arena_init(&a, 0);
    s = qn_arena_strdup(&a, text);
    text[0] = 'X';
    assert_string_equal(s, "conv1.weight");
    assert_string_equal(qn_arena_strndup(&a, "abcdef", 3), "abc");
    assert_string_equal(qn_arena_strndup(&a, "abcdef", 0), "");
    assert_string_equal(qn_arena_strdup(&a, ""), "");
    qn_arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_zeroed_and_stays), cmocka_unit_test(large_pieces_do_not_waste_the_open_block),
        cmocka_unit_test(the_limit_is_exact_in_units_of_16),  cmocka_unit_test(impossible_sizes_give_null),
        cmocka_unit_test(strings_are_copied_and_terminated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
