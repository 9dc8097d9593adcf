/* tests/unit/graph/test_dims.c - the algebra of dimensions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/graph/dims.h"

#include <stdio.h>
#include <string.h>

static qn_dims *t;

static int setup(void **state)
{
    (void)state;
    return qn_dims_create(&t, NULL) == QN_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    qn_dims_destroy(t);
    return 0;
}

static qn_dim k(int64_t v) { return qn_dims_const(t, v); }
static qn_dim s(const char *name) { return qn_dims_symbol(t, name); }

static void assert_prints(qn_dim d, const char *want)
{
    char buf[128];

    assert_string_equal(qn_dims_print(t, d, buf, sizeof buf), want);
}

static void equal_expressions_have_equal_ids(void **state)
{
    qn_dim n = s("N"), m = s("M");

    (void)state;
    assert_int_equal(qn_dims_add(t, n, m), qn_dims_add(t, m, n));
    assert_int_equal(qn_dims_mul(t, n, qn_dims_add(t, m, k(1))), qn_dims_add(t, qn_dims_mul(t, m, n), n));
    assert_int_equal(qn_dims_sub(t, qn_dims_add(t, n, k(1)), k(1)), n);
    assert_int_equal(qn_dims_floordiv(t, qn_dims_mul(t, n, k(2)), k(2)), n);
    assert_int_equal(qn_dims_mul(t, n, k(1)), n);
    assert_int_equal(qn_dims_sub(t, n, n), k(0));
    assert_int_equal(qn_dims_mul(t, n, k(0)), k(0));
    assert_int_equal(s("N"), n);
    assert_int_not_equal(n, m);
}

static void what_divides_leaves_the_division(void **state)
{
    qn_dim n = s("N"), n4 = qn_dims_mul(t, n, k(4));

    (void)state;
    assert_prints(qn_dims_floordiv(t, qn_dims_add(t, n4, k(7)), k(4)), "N+1");
    assert_prints(qn_dims_floordiv(t, qn_dims_sub(t, n4, k(1)), k(4)), "N-1");
    assert_prints(qn_dims_floordiv(t, qn_dims_add(t, n4, k(2)), k(8)), "floor(N)/(2)");
    assert_prints(qn_dims_floordiv(t, n4, k(-4)), "-N");
    assert_int_equal(qn_dims_ceildiv(t, qn_dims_add(t, n4, k(1)), k(4)), qn_dims_add(t, n, k(1)));
    assert_int_equal(qn_dims_ceildiv(t, n4, n), k(4));
}

static void a_reshape_cancels_the_batch(void **state)
{
    qn_dim n = s("N"), seq = s("T"), all = qn_dims_mul(t, qn_dims_mul(t, n, seq), k(768));

    (void)state;
    assert_int_equal(qn_dims_floordiv(t, all, qn_dims_mul(t, n, k(12))), qn_dims_mul(t, seq, k(64)));
    assert_int_equal(qn_dims_floordiv(t, all, qn_dims_mul(t, n, seq)), k(768));
    assert_int_equal(qn_dims_floordiv(t, all, all), k(1));
}

static void strided_convolutions_stay_one_division(void **state)
{
    qn_dim h = s("H"), half = qn_dims_add(t, qn_dims_floordiv(t, qn_dims_sub(t, h, k(1)), k(2)), k(1));
    qn_dim quarter = qn_dims_add(t, qn_dims_floordiv(t, qn_dims_sub(t, half, k(1)), k(2)), k(1));

    (void)state;
    /* floor((H-1)/4) + 1 = floor((H+3)/4): what is a multiple of the divisor moves out */
    assert_int_equal(quarter, qn_dims_add(t, qn_dims_floordiv(t, qn_dims_sub(t, h, k(1)), k(4)), k(1)));
    assert_int_equal(quarter, qn_dims_floordiv(t, qn_dims_add(t, h, k(3)), k(4)));
}

static void floor_and_ceil_round_as_their_names_say(void **state)
{
    static const struct {
        int64_t a, b, floor, ceil;
    } cases[] = { { 7, 2, 3, 4 }, { -7, 2, -4, -3 }, { 7, -2, -4, -3 }, { -7, -2, 3, 4 }, { 6, 3, 2, 2 }, { 0, 5, 0, 0 } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(qn_dims_floordiv(t, k(cases[i].a), k(cases[i].b)), k(cases[i].floor));
        assert_int_equal(qn_dims_ceildiv(t, k(cases[i].a), k(cases[i].b)), k(cases[i].ceil));
    }
}

static void min_and_max_decide_what_they_can(void **state)
{
    qn_dim n = s("N"), n1 = qn_dims_add(t, n, k(1));

    (void)state;
    assert_int_equal(qn_dims_min(t, n, n1), n);
    assert_int_equal(qn_dims_max(t, n, n1), n1);
    assert_int_equal(qn_dims_max(t, n, k(0)), n);
    assert_int_equal(qn_dims_min(t, n, k(INT64_MAX)), n);
    assert_int_equal(qn_dims_min(t, k(3), k(2)), k(2));
    assert_int_equal(qn_dims_min(t, n, k(5)), qn_dims_min(t, k(5), n));
    assert_true(qn_dims_nonneg(t, qn_dims_min(t, n, k(5))));
    assert_false(qn_dims_nonneg(t, qn_dims_sub(t, n, k(5))));
    assert_true(qn_dims_is_capped(t, qn_dims_min(t, n, k(512)), n));
    assert_true(qn_dims_is_capped(t, qn_dims_min(t, k(1), n), n));
    assert_false(qn_dims_is_capped(t, qn_dims_min(t, n, k(0)), n));
    assert_false(qn_dims_is_capped(t, qn_dims_min(t, n, s("M")), n));
    assert_false(qn_dims_is_capped(t, qn_dims_min(t, n, k(512)), s("M")));
    assert_false(qn_dims_is_capped(t, n, n));
    assert_false(qn_dims_is_capped(t, QN_DIM_UNKNOWN, n));
}

static void unknown_in_is_unknown_out(void **state)
{
    (void)state;
    assert_int_equal(qn_dims_add(t, QN_DIM_UNKNOWN, k(1)), QN_DIM_UNKNOWN);
    assert_int_equal(qn_dims_mul(t, k(0), QN_DIM_UNKNOWN), QN_DIM_UNKNOWN);
    assert_int_equal(qn_dims_floordiv(t, QN_DIM_UNKNOWN, k(2)), QN_DIM_UNKNOWN);
    assert_int_equal(qn_dims_status(t, NULL), QN_OK);
    assert_prints(QN_DIM_UNKNOWN, "?");
}

static void the_first_error_is_remembered(void **state)
{
    qn_error err = { 0 };

    (void)state;
    assert_int_equal(qn_dims_mul(t, k(INT64_MAX), k(2)), QN_DIM_UNKNOWN);
    assert_int_equal(qn_dims_floordiv(t, k(1), k(0)), QN_DIM_UNKNOWN);
    assert_int_equal(qn_dims_status(t, &err), QN_ERR_RANGE);
    assert_non_null(strstr(err.message, "64 bits"));
    qn_dims_clear(t);
    assert_int_equal(qn_dims_status(t, NULL), QN_OK);
    assert_int_equal(qn_dims_floordiv(t, s("N"), k(0)), QN_DIM_UNKNOWN);
    assert_int_equal(qn_dims_status(t, NULL), QN_ERR_RANGE);
}

static void extreme_numbers_do_not_overflow_silently(void **state)
{
    qn_dim n = s("N"), low = qn_dims_mul(t, n, k(INT64_MIN));

    (void)state;
    assert_int_equal(qn_dims_status(t, NULL), QN_OK);
    (void)qn_dims_floordiv(t, low, k(3));
    (void)qn_dims_floordiv(t, low, k(INT64_MAX));
    qn_dims_clear(t);
    assert_int_equal(qn_dims_floordiv(t, k(INT64_MIN), k(-1)), QN_DIM_UNKNOWN);
    assert_int_equal(qn_dims_status(t, NULL), QN_ERR_RANGE);
    qn_dims_clear(t);
    assert_int_equal(qn_dims_sub(t, n, low), QN_DIM_UNKNOWN);
    assert_int_equal(qn_dims_status(t, NULL), QN_ERR_RANGE);
}

static void affine_in_the_batch(void **state)
{
    qn_dim n = s("N"), m = s("M"), d = qn_dims_add(t, qn_dims_mul(t, n, k(196)), k(1));
    int64_t c0, c1;

    (void)state;
    assert_true(qn_dims_affine(t, d, n, &c0, &c1));
    assert_int_equal(c0, 1);
    assert_int_equal(c1, 196);
    assert_true(qn_dims_affine(t, k(7), n, &c0, &c1));
    assert_int_equal(c0, 7);
    assert_int_equal(c1, 0);
    assert_false(qn_dims_affine(t, d, m, &c0, &c1));
    assert_false(qn_dims_affine(t, qn_dims_add(t, d, m), n, &c0, &c1));
    assert_false(qn_dims_affine(t, qn_dims_mul(t, n, n), n, &c0, &c1));
    assert_false(qn_dims_affine(t, qn_dims_floordiv(t, n, k(2)), n, &c0, &c1));
    assert_false(qn_dims_affine(t, QN_DIM_UNKNOWN, n, &c0, &c1));
}

static void a_folded_batch_is_a_multiple(void **state)
{
    qn_dim n = s("N"), seq = s("T"), nt = qn_dims_mul(t, n, seq);

    (void)state;
    assert_true(qn_dims_is_multiple(t, n, n));
    assert_true(qn_dims_is_multiple(t, qn_dims_mul(t, nt, k(12)), n));
    assert_true(qn_dims_is_multiple(t, qn_dims_add(t, nt, n), n)); /* N * (T + 1) */
    assert_false(qn_dims_is_multiple(t, qn_dims_add(t, nt, k(1)), n));
    assert_false(qn_dims_is_multiple(t, qn_dims_mul(t, n, n), n));
    assert_false(qn_dims_is_multiple(t, seq, n));
    assert_false(qn_dims_is_multiple(t, k(4), n));
    assert_false(qn_dims_is_multiple(t, k(0), n));
    assert_false(qn_dims_is_multiple(t, qn_dims_mul(t, n, k(-2)), n));
    assert_false(qn_dims_is_multiple(t, qn_dims_floordiv(t, n, k(2)), n));
}

static void a_symbol_is_found_at_any_depth(void **state)
{
    qn_dim n = s("N"), m = s("M"), d = qn_dims_max(t, qn_dims_floordiv(t, qn_dims_add(t, n, k(1)), k(3)), k(9));

    (void)state;
    assert_true(qn_dims_depends(t, d, n));
    assert_false(qn_dims_depends(t, d, m));
    assert_false(qn_dims_depends(t, k(3), n));
    assert_false(qn_dims_depends(t, QN_DIM_UNKNOWN, n));
    assert_true(qn_dims_depends(t, qn_dims_mul(t, m, d), n));
    for (int i = 0; i < 100; i++) { /* beyond the symbols that have a bit of their own */
        char name[16];
        qn_dim late, half;

        snprintf(name, sizeof name, "late%d", i);
        late = s(name);
        half = qn_dims_floordiv(t, qn_dims_add(t, late, d), k(2));
        assert_true(qn_dims_depends(t, half, late));
        assert_true(qn_dims_depends(t, half, n));
        assert_false(qn_dims_depends(t, half, m));
        if (i) {
            snprintf(name, sizeof name, "late%d", i - 1);
            assert_false(qn_dims_depends(t, half, s(name)));
        }
    }
}

static void provable_difference(void **state)
{
    qn_dim n = s("N"), n2 = qn_dims_mul(t, n, k(2));

    (void)state;
    assert_true(qn_dims_differ(t, k(1), k(2)));
    assert_true(qn_dims_differ(t, n2, qn_dims_add(t, n2, k(1))));
    assert_true(qn_dims_differ(t, n, k(-1)));
    assert_true(qn_dims_differ(t, k(-1), n));
    assert_true(qn_dims_differ(t, n, qn_dims_add(t, n2, k(1))));
    assert_false(qn_dims_differ(t, n, k(0)));
    assert_false(qn_dims_differ(t, n, n2));
    assert_false(qn_dims_differ(t, n, k(3)));
    assert_false(qn_dims_differ(t, QN_DIM_UNKNOWN, k(3)));
}

static void depth_and_width_are_capped(void **state)
{
    qn_dim d = s("N"), sum = k(0);
    char name[16];
    int depth = 0;

    (void)state;
    for (; d != QN_DIM_UNKNOWN && depth < 1000; depth++) d = qn_dims_max(t, qn_dims_floordiv(t, k(1000), qn_dims_add(t, d, k(3))), s("M"));
    assert_int_equal(d, QN_DIM_UNKNOWN);
    assert_in_range(depth, 10, 64);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "s%d", i);
        sum = qn_dims_add(t, sum, s(name));
    }
    assert_int_equal(sum, QN_DIM_UNKNOWN);
    assert_int_equal(qn_dims_status(t, NULL), QN_OK);
}

static void a_full_table_is_an_error_not_a_hang(void **state)
{
    qn_dim d = 0;

    (void)state;
    for (int64_t i = 0; i < (1 << 20) + 10 && d != QN_DIM_UNKNOWN; i++) d = k(i);
    assert_int_equal(d, QN_DIM_UNKNOWN);
    assert_int_equal(qn_dims_status(t, NULL), QN_ERR_LIMIT);
}

static void printing_is_cut_to_fit(void **state)
{
    char buf[6];
    qn_dim d = qn_dims_add(t, qn_dims_mul(t, s("batch"), k(2)), k(1));

    (void)state;
    assert_prints(d, "2*batch+1");
    assert_string_equal(qn_dims_print(t, d, buf, sizeof buf), "2*bat");
    assert_prints(qn_dims_sub(t, k(0), s("N")), "-N");
    assert_string_equal(qn_dims_symbol_name(t, s("batch")), "batch");
    assert_null(qn_dims_symbol_name(t, d));
}

static void a_clone_keeps_ids_and_grows_alone(void **state)
{
    qn_dims *c;
    qn_dim n = s("N"), d = qn_dims_add(t, qn_dims_mul(t, n, k(3)), k(4));
    char buf[32];

    (void)state;
    assert_int_equal(qn_dims_clone(t, &c, NULL), QN_OK);
    assert_int_equal(qn_dims_symbol(c, "N"), n);
    assert_int_equal(qn_dims_add(c, qn_dims_mul(c, n, qn_dims_const(c, 3)), qn_dims_const(c, 4)), d);
    (void)qn_dims_symbol(c, "only here");
    assert_string_equal(qn_dims_print(c, d, buf, sizeof buf), "3*N+4");
    qn_dims_destroy(c);
    assert_prints(d, "3*N+4");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(equal_expressions_have_equal_ids),
        T(what_divides_leaves_the_division),
        T(a_reshape_cancels_the_batch),
        T(strided_convolutions_stay_one_division),
        T(floor_and_ceil_round_as_their_names_say),
        T(min_and_max_decide_what_they_can),
        T(unknown_in_is_unknown_out),
        T(the_first_error_is_remembered),
        T(extreme_numbers_do_not_overflow_silently),
        T(affine_in_the_batch),
        T(a_folded_batch_is_a_multiple),
        T(a_symbol_is_found_at_any_depth),
        T(provable_difference),
        T(depth_and_width_are_capped),
        T(a_full_table_is_an_error_not_a_hang),
        T(printing_is_cut_to_fit),
        T(a_clone_keeps_ids_and_grows_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
