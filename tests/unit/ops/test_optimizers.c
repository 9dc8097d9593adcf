/* Adam, Adagrad, Momentum: several steps against the formulas, many tensors at once, and lists that do not add up. */
#include "tests/unit/ops/op_harness.h"

#include "core/ops/ops.h"

#include <math.h>

static op_test t;

enum { N = 7 };

static void near(float got, double want) { assert_true(fabs((double)got - want) <= 1e-6 * (1 + fabs(want))); }

static void begin(const qn_op *op, float rate, int64_t step)
{
    op_begin(&t, op, 1);
    op_attr_float(&t, "norm_coefficient", 0.25f);
    op_in_f32(&t, &rate, 0);
    op_in_i64(&t, &step, 0);
}

static void adam_follows_its_formula_for_three_steps(void **state)
{
    float x[N], v[N] = { 0 }, h[N] = { 0 }, g[N];

    (void)state;
    for (int i = 0; i < N; i++) x[i] = (float)i - 3;
    for (int64_t step = 0; step < 3; step++) {
        const double r = step ? 0.5 * sqrt(1 - pow((double)0.99f, (double)step)) / (1 - pow((double)0.875f, (double)step)) : 0.5;

        for (int i = 0; i < N; i++) g[i] = x[i] * 0.5f + 1;
        begin(&qn_op_adam, 0.5f, step);
        op_attr_float(&t, "alpha", 0.875f);
        op_attr_float(&t, "beta", 0.99f);
        op_attr_float(&t, "epsilon", 0.5f);
        op_attr_float(&t, "norm_coefficient_post", 0.125f);
        op_in_f32(&t, x, 1, N);
        op_in_f32(&t, g, 1, N);
        op_in_f32(&t, v, 1, N);
        op_in_f32(&t, h, 1, N);
        assert_int_equal(op_run(&t, 3, NULL), QN_OK);
        for (int i = 0; i < N; i++) {
            const double gr = 0.25 * (double)x[i] + (double)g[i], vn = 0.875 * (double)v[i] + 0.125 * gr,
                         hn = (double)0.99f * (double)h[i] + (1 - (double)0.99f) * gr * gr;

            near(op_out_f32(&t, 0)[i], 0.875 * ((double)x[i] - r * vn / (sqrt(hn) + 0.5)));
            near(op_out_f32(&t, 1)[i], vn);
            near(op_out_f32(&t, 2)[i], hn);
        }
        memcpy(x, t.out[0].data, sizeof x);
        memcpy(v, t.out[1].data, sizeof v);
        memcpy(h, t.out[2].data, sizeof h);
        op_end(&t);
    }
}

static void adagrad_slows_down_by_its_decay(void **state)
{
    const float x[2] = { 1, 2 }, g[2] = { -1, 0.5f }, h[2] = { 4, 0 };

    (void)state;
    begin(&qn_op_adagrad, 0.5f, 3);
    op_attr_float(&t, "decay_factor", 0.5f);
    op_attr_float(&t, "epsilon", 0.25f);
    op_in_f32(&t, x, 1, 2);
    op_in_f32(&t, g, 1, 2);
    op_in_f32(&t, h, 1, 2);
    assert_int_equal(op_run(&t, 2, NULL), QN_OK);
    for (int i = 0; i < 2; i++) {
        const double gr = 0.25 * (double)x[i] + (double)g[i], hn = (double)h[i] + gr * gr;

        near(op_out_f32(&t, 0)[i], (double)x[i] - 0.5 / 2.5 * gr / (sqrt(hn) + 0.25));
        near(op_out_f32(&t, 1)[i], hn);
    }
    op_end(&t);
}

static void momentum_and_nesterov_treat_every_tensor_alike(void **state)
{
    const double x[2][3] = { { 1, 2, 3 }, { -4, 0, 0 } }, g[2][3] = { { 1, -1, 0.5 }, { 2, 0, 0 } }, v[2][3] = { { 0, 1, 2 }, { 3, 0, 0 } };

    (void)state;
    for (int i = 0; i < 4; i++) {
        const int64_t step = i / 2;
        const double beta = step ? 0.75 : 1;

        begin(&qn_op_momentum, 0.125f, step);
        op_attr_float(&t, "alpha", 0.5f);
        op_attr_float(&t, "beta", 0.75f);
        op_attr_str(&t, "mode", i & 1 ? "nesterov" : "standard");
        for (int k = 0; k < 6; k++) op_in_f64(&t, (k < 2 ? x : k < 4 ? g : v)[k & 1], 1, k & 1 ? 1 : 3);
        assert_int_equal(op_run(&t, 4, NULL), QN_OK);
        for (int k = 0; k < 4; k++) {
            const int n = k == 3 ? 0 : k, row = k == 3;
            const double gr = 0.25 * x[row][n] + g[row][n], vn = 0.5 * v[row][n] + beta * gr;

            assert_true(op_out_f64(&t, row)[n] == x[row][n] - 0.125 * (i & 1 ? gr + 0.5 * vn : vn));
            assert_true(op_out_f64(&t, 2 + row)[n] == vn);
        }
        op_end(&t);
    }
}

static void lists_that_do_not_add_up_are_refused(void **state)
{
    const float x[2] = { 0 };
    qn_error err;

    (void)state;
    begin(&qn_op_adagrad, 1, 0);
    for (int i = 0; i < 4; i++) op_in_f32(&t, x, 1, 2); /* 4 is not 3 n */
    assert_int_equal(op_run(&t, 2, &err), QN_ERR_INVALID);
    op_end(&t);
    begin(&qn_op_adagrad, 1, 0);
    op_in_f32(&t, x, 1, 2);
    op_in_f32(&t, x, 1, 1); /* a gradient of another size */
    op_in_f32(&t, x, 1, 2);
    assert_int_equal(op_run(&t, 2, &err), QN_ERR_SHAPE);
    op_end(&t);
    begin(&qn_op_momentum, 1, 0);
    op_attr_str(&t, "mode", "heavy");
    op_attr_float(&t, "alpha", 1);
    op_attr_float(&t, "beta", 1);
    for (int i = 0; i < 3; i++) op_in_f32(&t, x, 1, 2);
    assert_int_equal(op_run(&t, 2, &err), QN_ERR_INVALID);
    assert_non_null(strstr(err.message, "heavy"));
    op_end(&t);
    begin(&qn_op_momentum, 1, 0);
    for (int i = 0; i < 3; i++) op_in_f32(&t, x, 1, 2);
    assert_int_equal(op_run(&t, 2, &err), QN_ERR_INVALID);
    assert_non_null(strstr(err.message, "alpha"));
    op_end(&t);
}

static void a_history_nobody_wants_is_not_written(void **state)
{
    const float x[1] = { 1 };

    (void)state;
    begin(&qn_op_adam, 1, 0);
    for (int i = 0; i < 4; i++) op_in_f32(&t, x, 1, 1);
    t.out_none[1] = true;
    assert_int_equal(op_run(&t, 3, NULL), QN_OK);
    assert_int_equal(t.out[2].dtype, QN_F32);
    op_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adam_follows_its_formula_for_three_steps),       cmocka_unit_test(adagrad_slows_down_by_its_decay),
        cmocka_unit_test(momentum_and_nesterov_treat_every_tensor_alike), cmocka_unit_test(lists_that_do_not_add_up_are_refused),
        cmocka_unit_test(a_history_nobody_wants_is_not_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
