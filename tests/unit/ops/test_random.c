/* RandomNormal, RandomUniform, Bernoulli, Multinomial, Dropout: statistics with fixed seeds, and who draws what. */
#include "tests/unit/ops/op_harness.h"

#include "core/base/half.h"
#include "core/ops/ops.h"

#include <math.h>

static op_test t;

enum { N = 60000 };

static const int64_t shape[] = { 3, 100, 200 };

static void begin_shaped(const qn_op *op, float seed)
{
    op_begin(&t, op, 1);
    op_attr_ints(&t, "shape", shape, 3);
    op_attr_float(&t, "seed", seed);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Kolmogorov and Smirnov's distance times sqrt(N), for a uniform or normal distribution with location a and scale b. */
static double distance(const float *v, bool normal, double a, double b)
{
    double *x = malloc(N * sizeof *x), worst = 0;

    assert_non_null(x);
    for (int i = 0; i < N; i++) x[i] = ((double)v[i] - a) / b;
    qsort(x, N, sizeof *x, by_value);
    for (int i = 0; i < N; i++) {
        const double f = normal ? 0.5 * erfc(-x[i] / sqrt(2)) : x[i];

        worst = fmax(worst, fmax((i + 1.0) / N - f, f - i / (double)N));
    }
    free(x);
    return worst * sqrt(N);
}

static void moments(const float *v, double *mean, double *var)
{
    *mean = *var = 0;
    for (int i = 0; i < N; i++) *mean += (double)v[i] / N;
    for (int i = 0; i < N; i++) *var += ((double)v[i] - *mean) * ((double)v[i] - *mean) / N;
}

static void normal_numbers_have_the_mean_and_scale_asked_for(void **state)
{
    double mean, var;

    (void)state;
    for (int seed = 0; seed < 4; seed++) {
        begin_shaped(&qn_op_random_normal, (float)seed);
        op_attr_float(&t, "mean", -3);
        op_attr_float(&t, "scale", 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(qn_tensor_count(&t.out[0]), N);
        moments(op_out_f32(&t, 0), &mean, &var);
        assert_true(fabs(mean + 3) < 4 * 2 / sqrt(N));
        assert_true(fabs(var / 4 - 1) < 4 * sqrt(2.0 / N));
        assert_true(distance(op_out_f32(&t, 0), true, -3, 2) < 1.95);
        op_end(&t);
    }
}

static void uniform_numbers_fill_low_to_high(void **state)
{
    double mean, var;

    (void)state;
    for (int seed = 0; seed < 4; seed++) {
        begin_shaped(&qn_op_random_uniform, (float)seed);
        op_attr_float(&t, "low", -1);
        op_attr_float(&t, "high", 3);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        moments(op_out_f32(&t, 0), &mean, &var);
        assert_true(fabs(mean - 1) < 4 * sqrt(16.0 / 12 / N));
        assert_true(fabs(var / (16.0 / 12) - 1) < 4 * sqrt(0.8 / N));
        assert_true(distance(op_out_f32(&t, 0), false, -1, 4) < 1.95);
        for (int i = 0; i < N; i++) assert_true(op_out_f32(&t, 0)[i] >= -1 && op_out_f32(&t, 0)[i] < 3);
        op_end(&t);
    }
}

static void halves_stay_below_one(void **state)
{
    (void)state;
    begin_shaped(&qn_op_random_uniform, 1);
    op_attr_int(&t, "dtype", 10);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < N; i++) {
        const float v = qn_f16_to_f32(op_out_f16(&t, 0)[i]);

        assert_true(v >= 0 && v < 1);
    }
    op_end(&t);
}

/* 16 numbers of a RandomNormal node. */
static void draw16(float *out, const char *node, float seed, uint64_t serial)
{
    op_begin(&t, &qn_op_random_normal, 1);
    op_attr_ints(&t, "shape", (const int64_t[]){ 16 }, 1);
    if (seed >= 0) op_attr_float(&t, "seed", seed);
    t.node.name = node;
    t.serial = serial;
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    memcpy(out, op_out_f32(&t, 0), 64);
    op_end(&t);
}

static void a_seed_repeats_in_every_run_and_its_absence_does_not(void **state)
{
    float a[16], b[16];

    (void)state;
    draw16(a, "n", 5, 1);
    draw16(b, "n", 5, 2);
    assert_memory_equal(a, b, sizeof a);
    draw16(b, "n", 6, 1);
    assert_memory_not_equal(a, b, sizeof a);
    draw16(b, "m", 5, 1); /* another node with the same seed */
    assert_memory_not_equal(a, b, sizeof a);
    draw16(a, "n", -1, 1);
    draw16(b, "n", -1, 1);
    assert_memory_equal(a, b, sizeof a);
    draw16(b, "n", -1, 2);
    assert_memory_not_equal(a, b, sizeof a);
}

static void like_takes_shape_and_dtype_of_its_input(void **state)
{
    const int64_t x[6] = { 0 };
    const double y[4] = { 0 };

    (void)state;
    op_begin(&t, &qn_op_random_normal_like, 1);
    op_in_f64(&t, y, 2, 2, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].dtype, QN_F64);
    assert_int_equal(t.out[0].rank, 2);
    op_end(&t);
    op_begin(&t, &qn_op_random_uniform_like, 1);
    op_in_i64(&t, x, 2, 2, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_DTYPE); /* integers are not drawn */
    op_end(&t);
    op_begin(&t, &qn_op_random_uniform_like, 1);
    op_attr_int(&t, "dtype", 1);
    op_in_i64(&t, x, 2, 2, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].dtype, QN_F32);
    assert_int_equal(t.out[0].dims[1], 3);
    op_end(&t);
}

static void bernoulli_draws_ones_as_often_as_asked(void **state)
{
    float *p = malloc(N * sizeof *p);
    double ones[4] = { 0 };
    static const float ps[4] = { 0, 0.1f, 0.7f, 1 };

    (void)state;
    assert_non_null(p);
    for (int i = 0; i < N; i++) p[i] = ps[i % 4];
    op_begin(&t, &qn_op_bernoulli, 15);
    op_attr_int(&t, "dtype", 3); /* i8 */
    op_attr_float(&t, "seed", 2);
    op_in_f32(&t, p, 1, N);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < N; i++) {
        assert_in_range(op_out_i8(&t, 0)[i], 0, 1);
        ones[i % 4] += op_out_i8(&t, 0)[i];
    }
    for (int k = 0; k < 4; k++) {
        const double n = N / 4.0, q = (double)ps[k];

        assert_true(fabs(ones[k] - n * q) <= 4 * sqrt(n * q * (1 - q)));
    }
    op_end(&t);
    free(p);
}

static void multinomial_draws_classes_by_their_weights(void **state)
{
    const float logits[2][4] = { { 0, logf(2), logf(5), -INFINITY }, { 1000, 1000, 0, 0 } };
    const double want[2][4] = { { 0.125, 0.25, 0.625, 0 }, { 0.5, 0.5, 0, 0 } };
    double seen[2][4] = { { 0 } };

    (void)state;
    op_begin(&t, &qn_op_multinomial, 7);
    op_attr_int(&t, "sample_size", N);
    op_attr_float(&t, "seed", 4);
    op_attr_int(&t, "dtype", 7);
    op_in_f32(&t, logits[0], 2, 2, 4);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 2 * N; i++) {
        assert_in_range(op_out_i64(&t, 0)[i], 0, 3);
        seen[i / N][op_out_i64(&t, 0)[i]]++;
    }
    for (int r = 0; r < 2; r++)
        for (int k = 0; k < 4; k++) assert_true(fabs(seen[r][k] - N * want[r][k]) <= 4 * sqrt(N * want[r][k] * (1 - want[r][k])));
    op_end(&t);
}

static void a_row_without_a_class_is_an_error(void **state)
{
    static const float rows[3][2] = { { -INFINITY, -INFINITY }, { NAN, 0 }, { INFINITY, 0 } };
    qn_error err;

    (void)state;
    for (int i = 0; i < 3; i++) {
        op_begin(&t, &qn_op_multinomial, 7);
        op_in_f32(&t, rows[i], 2, 1, 2);
        assert_int_equal(op_run(&t, 1, &err), QN_ERR_RANGE);
        assert_non_null(strstr(err.message, "row 0"));
        op_end(&t);
    }
    op_begin(&t, &qn_op_multinomial, 7);
    op_in_f32(&t, rows[0], 2, 1, 0);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_RANGE);
    op_end(&t);
}

static void bad_shapes_and_dtypes_are_refused(void **state)
{
    const int64_t negative[] = { 2, -1 }, nine[9] = { 1, 1, 1, 1, 1, 1, 1, 1, 1 };

    (void)state;
    op_begin(&t, &qn_op_random_normal, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_INVALID);
    op_attr_ints(&t, "shape", negative, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
    op_begin(&t, &qn_op_random_normal, 1);
    op_attr_ints(&t, "shape", nine, 9);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_LIMIT);
    op_end(&t);
    op_begin(&t, &qn_op_random_normal, 1);
    op_attr_ints(&t, "shape", nine, 2);
    op_attr_int(&t, "dtype", 7);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_DTYPE);
    op_end(&t);
}

/* Dropout 13 of x with mask. */
static qn_status drop(const float *x, int n, float ratio, bool train, uint64_t serial, qn_error *err)
{
    op_begin(&t, &qn_op_dropout, 13);
    op_in_f32(&t, x, 1, n);
    op_in_f32(&t, &ratio, 0);
    op_in_bool(&t, (const uint8_t[]){ train }, 0);
    t.serial = serial;
    return op_run(&t, 2, err);
}

static void training_dropout_drops_and_grows(void **state)
{
    float *x = malloc(N * sizeof *x);
    double kept = 0;
    uint8_t first[64];

    (void)state;
    assert_non_null(x);
    for (int i = 0; i < N; i++) x[i] = (float)(i + 1);
    x[7] = NAN;
    assert_int_equal(drop(x, N, 0.75f, true, 1, NULL), QN_OK);
    for (int i = 0; i < N; i++) {
        const float y = op_out_f32(&t, 0)[i];

        assert_in_range(op_out_bool(&t, 1)[i], 0, 1);
        kept += op_out_bool(&t, 1)[i];
        if (!op_out_bool(&t, 1)[i])
            assert_true(y == 0);
        else if (i != 7)
            assert_true(y == x[i] * 4);
    }
    assert_true(fabs(kept - N * 0.25) < 4 * sqrt(N * 0.25 * 0.75));
    memcpy(first, op_out_bool(&t, 1), sizeof first);
    op_end(&t);
    assert_int_equal(drop(x, N, 0.75f, true, 2, NULL), QN_OK); /* the next run draws anew */
    assert_memory_not_equal(first, op_out_bool(&t, 1), sizeof first);
    op_end(&t);
    free(x);
}

static void dropout_outside_training_is_the_identity(void **state)
{
    const float x[3] = { 1, -2, 3 };

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(drop(x, 3, i ? 0.0f : 0.5f, i, 1, NULL), QN_OK);
        assert_memory_equal(t.out[0].data, x, sizeof x);
        assert_memory_equal(t.out[1].data, "\1\1\1", 3);
        op_end(&t);
    }
}

static void a_ratio_of_one_or_nan_is_refused(void **state)
{
    const float x[1] = { 1 }, ratios[] = { 1, -0.1f, NAN };

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(drop(x, 1, ratios[i], true, 1, NULL), QN_ERR_RANGE);
        op_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normal_numbers_have_the_mean_and_scale_asked_for),
        cmocka_unit_test(uniform_numbers_fill_low_to_high),
        cmocka_unit_test(halves_stay_below_one),
        cmocka_unit_test(a_seed_repeats_in_every_run_and_its_absence_does_not),
        cmocka_unit_test(like_takes_shape_and_dtype_of_its_input),
        cmocka_unit_test(bernoulli_draws_ones_as_often_as_asked),
        cmocka_unit_test(multinomial_draws_classes_by_their_weights),
        cmocka_unit_test(a_row_without_a_class_is_an_error),
        cmocka_unit_test(bad_shapes_and_dtypes_are_refused),
        cmocka_unit_test(training_dropout_drops_and_grows),
        cmocka_unit_test(dropout_outside_training_is_the_identity),
        cmocka_unit_test(a_ratio_of_one_or_nan_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
