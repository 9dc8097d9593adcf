#include "core/base/buf.h"
#include "tests/unit/base/huge_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void text_grows_across_many_appends(void **state)
{
    qn_buf b;

    (void)state;
    qn_buf_init(&b, 0);
    for (int i = 0; i < 1000; i++) {
        assert_true(qn_buf_printf(&b, "%04d", i));
        assert_true(qn_buf_puts(&b, ","));
    }
    assert_int_equal(b.len, 5000);
    assert_int_equal(strlen(qn_buf_cstr(&b)), 5000);
    assert_memory_equal(b.data, "0000,0001,", 10);
    assert_memory_equal(b.data + 4990, "0998,0999,", 10);
    qn_buf_release(&b);
}

static void printf_fits_at_every_fill_level(void **state)
{
    (void)state;
    for (size_t fill = 0; fill < 200; fill++) {
        qn_buf b;

        qn_buf_init(&b, 0);
        for (size_t i = 0; i < fill; i++) assert_true(qn_buf_append(&b, "x", 1));
        assert_true(qn_buf_printf(&b, "[%s]", "0123456789"));
        assert_int_equal(b.len, fill + 12);
        assert_memory_equal(b.data + fill, "[0123456789]", 12);
        qn_buf_release(&b);
    }
}

static void the_limit_keeps_what_was_there(void **state)
{
    qn_buf b;

    (void)state;
    qn_buf_init(&b, 10);
    assert_true(qn_buf_puts(&b, "0123456789"));
    assert_string_equal(qn_buf_cstr(&b), "0123456789"); /* the terminator is not counted */
    assert_false(qn_buf_puts(&b, "x"));
    assert_true(b.failed);
    assert_int_equal(b.len, 10);
    assert_memory_equal(b.data, "0123456789", 10);
    assert_false(qn_buf_append(&b, "", 0)); /* nothing more after a gap */
    assert_null(qn_buf_cstr(&b));
    assert_null(qn_buf_reserve(&b, 0));
    qn_buf_release(&b);
    assert_true(qn_buf_puts(&b, "again"));
    qn_buf_release(&b);
}

static void printf_over_the_limit_fails(void **state)
{
    qn_buf b;

    (void)state;
    qn_buf_init(&b, 8);
    assert_false(qn_buf_printf(&b, "%s", "123456789"));
    assert_true(b.failed);
    assert_int_equal(b.len, 0);
    qn_buf_release(&b);
    qn_buf_init(&b, 8);
    assert_true(qn_buf_printf(&b, "%s", "12345678"));
    qn_buf_release(&b);
}

static void impossible_sizes_fail(void **state)
{
    qn_buf b;

    (void)state;
    qn_buf_init(&b, 0);
    assert_true(qn_buf_puts(&b, "abc"));
    assert_null(qn_buf_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
    assert_int_equal(b.len, 3);
    qn_buf_release(&b);
    assert_null(qn_buf_reserve(&b, SIZE_MAX / 2)); /* malloc says no */
    assert_true(b.failed);
    qn_buf_release(&b);
}

static void taken_bytes_are_the_callers(void **state)
{
    qn_buf b;
    size_t len = 99;
    char *p;

    (void)state;
    qn_buf_init(&b, 0);
    assert_null(qn_buf_take(&b, &len));
    assert_int_equal(len, 0);
    p = qn_buf_reserve(&b, 4);
    assert_non_null(p);
    memcpy(p, "ab\0c", 4);
    b.len += 4;
    p = qn_buf_take(&b, &len);
    assert_int_equal(len, 4);
    assert_memory_equal(p, "ab\0c", 4);
    free(p);
    assert_int_equal(b.len, 0);
    assert_string_equal(qn_buf_cstr(&b), "");
    qn_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_grows_across_many_appends), cmocka_unit_test(printf_fits_at_every_fill_level),
        cmocka_unit_test(the_limit_keeps_what_was_there), cmocka_unit_test(printf_over_the_limit_fails),
        cmocka_unit_test(impossible_sizes_fail),          cmocka_unit_test(taken_bytes_are_the_callers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
