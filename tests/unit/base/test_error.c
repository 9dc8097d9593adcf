#include "quern/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void an_error_holds_status_and_text(void **state)
{
    qn_error err = { 0 };

    (void)state;
    assert_int_equal(qn_error_set(&err, QN_ERR_SHAPE, "axis %d, rank %d", 4, 2), QN_ERR_SHAPE);
    assert_int_equal(err.status, QN_ERR_SHAPE);
    assert_string_equal(err.message, "axis 4, rank 2");
    qn_error_prefix(&err, "node %s", "s1");
    assert_int_equal(err.status, QN_ERR_SHAPE);
    assert_string_equal(err.message, "node s1: axis 4, rank 2");
    assert_int_equal(qn_error_set(NULL, QN_ERR_IO, "%d", 1), QN_ERR_IO);
}

static void prefixing_nothing_changes_nothing(void **state)
{
    qn_error err = { 0 };

    (void)state;
    qn_error_prefix(&err, "node");
    assert_int_equal(err.status, QN_OK);
    assert_string_equal(err.message, "");
    qn_error_prefix(NULL, "node");
}

static void its_own_message_may_be_an_argument(void **state)
{
    qn_error err = { 0 };

    (void)state;
    qn_error_set(&err, QN_ERR_IO, "inner");
    qn_error_set(&err, QN_ERR_FORMAT, "outer (%s)", err.message);
    assert_string_equal(err.message, "outer (inner)");
    qn_error_prefix(&err, "%s", err.message);
    assert_string_equal(err.message, "outer (inner): outer (inner)");
}

static void control_bytes_and_bad_utf8_become_question_marks(void **state)
{
    static const struct {
        const char *in, *want;
    } rows[] = {
        { "a\nb\tc\x1b[0m\x7f", "a?b?c?[0m?" },
        { "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80" },
        { "\xc2\x85", "??" },           /* U+0085, a control character */
        { "\xc0\xaf", "??" },           /* overlong */
        { "\xe0\x80\xaf", "???" },      /* overlong */
        { "\xed\xa0\x80", "???" },      /* surrogate */
        { "\xf4\x90\x80\x80", "????" }, /* beyond U+10FFFF */
        { "\xff\xfe", "??" },
        { "\xe2\x82", "??" }, /* ends early, though nothing was cut */
        { "\x80x", "?x" },
    };
    qn_error err;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        qn_error_set(&err, QN_ERR_FORMAT, "%s", rows[i].in);
        assert_string_equal(err.message, rows[i].want);
    }
}

static void a_long_message_is_cut_between_characters(void **state)
{
    char text[300];
    qn_error err;

    (void)state;
    for (size_t start = 0; start < 3; start++) {
        size_t n = start;

        memset(text, 'x', start);
        for (; n + 3 < sizeof text; n += 3) memcpy(text + n, "\xe2\x82\xac", 3);
        text[n] = '\0';
        qn_error_set(&err, QN_ERR_FORMAT, "%s", text);
        assert_int_equal(strlen(err.message), start + (sizeof err.message - 1 - start) / 3 * 3);
        assert_null(strchr(err.message, '?'));
        qn_error_prefix(&err, "y");
        assert_null(strchr(err.message, '?'));
        assert_memory_equal(err.message, "y: ", 3);
    }
    memset(text, 'p', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    qn_error_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
}

static void every_status_has_words(void **state)
{
    (void)state;
    for (int i = 0; i < QN_STATUS_COUNT; i++) {
        assert_non_null(qn_status_text((qn_status)i));
        assert_string_not_equal(qn_status_text((qn_status)i), "unknown status");
    }
    assert_string_equal(qn_status_text(QN_ERR_SHAPE), "wrong shape");
    assert_string_equal(qn_status_text((qn_status)999), "unknown status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_holds_status_and_text),           cmocka_unit_test(prefixing_nothing_changes_nothing),
        cmocka_unit_test(its_own_message_may_be_an_argument),       cmocka_unit_test(control_bytes_and_bad_utf8_become_question_marks),
        cmocka_unit_test(a_long_message_is_cut_between_characters), cmocka_unit_test(every_status_has_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
