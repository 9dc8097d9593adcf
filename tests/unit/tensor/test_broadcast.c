#include "core/tensor/broadcast.h"
#include "core/tensor/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void shapes_meet_by_numpys_rules(void **state)
{
    static const struct {
        int32_t ar, br;
        int64_t a[4], b[4];
        int32_t r; /* -1: they do not */
        int64_t out[4];
    } rows[] = {
        { 0, 0, { 0 }, { 0 }, 0, { 0 } },
        { 0, 2, { 0 }, { 3, 4 }, 2, { 3, 4 } },
        { 3, 1, { 2, 3, 4 }, { 4 }, 3, { 2, 3, 4 } },
        { 3, 2, { 2, 1, 4 }, { 3, 1 }, 3, { 2, 3, 4 } },
        { 4, 3, { 1, 3, 1, 1 }, { 3, 5, 7 }, 4, { 1, 3, 5, 7 } },
        { 2, 2, { 1, 0 }, { 5, 1 }, 2, { 5, 0 } },
        { 2, 2, { 3, 2 }, { 2, 3 }, -1, { 0 } },
        { 1, 1, { 0 }, { 2 }, -1, { 0 } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t r = -1, r2 = -1;
        int64_t out[QN_MAX_RANK], out2[QN_MAX_RANK];
        const qn_status st = qn_broadcast_shape(rows[i].ar, rows[i].a, rows[i].br, rows[i].b, &r, out, NULL);

        assert_int_equal(st, rows[i].r < 0 ? QN_ERR_SHAPE : QN_OK);
        assert_int_equal(r, rows[i].r);
        assert_int_equal(qn_broadcast_shape(rows[i].br, rows[i].b, rows[i].ar, rows[i].a, &r2, out2, NULL), st);
        if (r > 0) {
            assert_memory_equal(out, rows[i].out, (size_t)r * 8);
            assert_memory_equal(out2, out, (size_t)r * 8);
        }
    }
}

static void the_error_names_both_shapes(void **state)
{
    const int64_t a[] = { 3, 2 }, b[] = { 2, 3 };
    int64_t out[QN_MAX_RANK];
    int32_t r;
    qn_error err;

    (void)state;
    assert_int_equal(qn_broadcast_shape(2, a, 2, b, &r, out, &err), QN_ERR_SHAPE);
    assert_string_equal(err.message, "shapes [3,2] and [2,3] do not broadcast: 3 against 2");
}

static void three_tensors_meet_and_left_out_ones_do_not_count(void **state)
{
    const qn_tensor a = { .dtype = QN_F32, .rank = 2, .dims = { 3, 1 } }, b = { .dtype = QN_F32, .rank = 1, .dims = { 4 } },
                    c = { .dtype = QN_BOOL, .rank = 3, .dims = { 2, 1, 1 } }, none = { .rank = 1, .dims = { 77 } };
    const qn_tensor *const t[] = { &a, &none, &b, &c };
    int64_t out[QN_MAX_RANK];
    int32_t r;

    (void)state;
    assert_int_equal(qn_broadcast_tensors(t, 4, &r, out, NULL), QN_OK);
    assert_int_equal(r, 3);
    assert_int_equal(out[0], 2);
    assert_int_equal(out[1], 3);
    assert_int_equal(out[2], 4);
}

static void fitting_goes_one_way_only(void **state)
{
    const int64_t one[] = { 1, 4 }, full[] = { 2, 3, 4 };

    (void)state;
    assert_true(qn_broadcast_fits(2, one, 3, full));
    assert_false(qn_broadcast_fits(3, full, 2, one));
    assert_true(qn_broadcast_fits(0, one, 3, full));
    assert_false(qn_broadcast_fits(2, full, 2, one));
}

/* The slow twin: the offset of element i of `to`, by division. */
static int64_t offset_of(int64_t i, int32_t rank, const int64_t *dims, const int64_t *strides)
{
    int64_t at = 0;

    for (int32_t d = rank - 1; d >= 0; d--) {
        at += i % dims[d] * strides[d];
        i /= dims[d];
    }
    return at;
}

static void check_walk(int32_t n, int32_t rank, const int64_t *dims, int64_t (*strides)[QN_MAX_RANK])
{
    qn_odometer o, s;
    int64_t count = 1, seen = 0, row = 0;

    for (int32_t i = 0; i < rank; i++) count *= dims[i];
    qn_odometer_init(&o, n, rank, dims, strides);
    s = o;
    assert_int_equal(o.n_outer * o.n_inner, count);
    for (bool more = o.n_outer > 0; more; more = qn_odometer_next(&o), row++) {
        qn_odometer_seek(&s, row);
        for (int64_t i = 0; i < o.n_inner; i++, seen++) {
            for (int32_t k = 0; k < n; k++) {
                assert_int_equal(o.at[k] + i * o.step[k], offset_of(seen, rank, dims, strides[k]));
                assert_int_equal(s.at[k], o.at[k]);
            }
        }
    }
    assert_int_equal(seen, count);
    assert_int_equal(row, o.n_outer);
    for (int32_t k = 0; k < n && count; k++) assert_int_equal(o.at[k], 0); /* back at the start */
}

/* Every mask of stretched dimensions, for two tensors, over a shape with odd sizes, ones and perhaps a zero. */
static void the_odometer_visits_every_element_in_order(void **state)
{
    static const int64_t shapes[][4] = { { 2, 3, 4, 5 }, { 1, 3, 1, 5 }, { 7, 1, 1, 1 }, { 1, 1, 1, 1 }, { 2, 0, 3, 1 } };
    int64_t strides[3][QN_MAX_RANK];

    (void)state;
    for (size_t sh = 0; sh < sizeof shapes / sizeof shapes[0]; sh++) {
        for (unsigned ma = 0; ma < 16; ma++) {
            for (unsigned mb = 0; mb < 16; mb++) {
                int64_t a[4], b[4];

                for (unsigned i = 0; i < 4; i++) {
                    a[i] = ma >> i & 1 ? 1 : shapes[sh][i];
                    b[i] = mb >> i & 1 ? 1 : shapes[sh][i];
                }
                qn_broadcast_strides(4, a, 4, shapes[sh], strides[0]);
                qn_broadcast_strides(4, b, 4, shapes[sh], strides[1]);
                qn_shape_strides(4, shapes[sh], strides[2]);
                check_walk(3, 4, shapes[sh], strides);
            }
        }
    }
}

static void negative_and_permuted_strides_work(void **state)
{
    const int64_t dims[] = { 3, 4, 2 };
    int64_t strides[2][QN_MAX_RANK] = { { -8, 2, -1 }, { 1, 3, 12 } };

    (void)state;
    check_walk(2, 3, dims, strides);
}

static void dense_tensors_are_one_long_inner_loop(void **state)
{
    const int64_t dims[] = { 2, 3, 4 };
    int64_t strides[2][QN_MAX_RANK];
    qn_odometer o;

    (void)state;
    qn_shape_strides(3, dims, strides[0]);
    qn_shape_strides(3, dims, strides[1]);
    qn_odometer_init(&o, 2, 3, dims, strides);
    assert_int_equal(o.n_outer, 1);
    assert_int_equal(o.n_inner, 24);
    assert_int_equal(o.step[0], 1);
    qn_broadcast_strides(1, dims + 2, 3, dims, strides[1]); /* a bias over the last dimension */
    qn_odometer_init(&o, 2, 3, dims, strides);
    assert_int_equal(o.n_outer, 6);
    assert_int_equal(o.n_inner, 4);
}

static void a_scalar_is_one_step(void **state)
{
    qn_odometer o;
    int64_t strides[1][QN_MAX_RANK] = { { 0 } };

    (void)state;
    qn_odometer_init(&o, 1, 0, NULL, strides);
    assert_int_equal(o.n_outer, 1);
    assert_int_equal(o.n_inner, 1);
    assert_false(qn_odometer_next(&o));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_meet_by_numpys_rules),
        cmocka_unit_test(the_error_names_both_shapes),
        cmocka_unit_test(three_tensors_meet_and_left_out_ones_do_not_count),
        cmocka_unit_test(fitting_goes_one_way_only),
        cmocka_unit_test(the_odometer_visits_every_element_in_order),
        cmocka_unit_test(negative_and_permuted_strides_work),
        cmocka_unit_test(dense_tensors_are_one_long_inner_loop),
        cmocka_unit_test(a_scalar_is_one_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
