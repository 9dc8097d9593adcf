/* DFT and STFT against sums in double. */
#include "tests/unit/ops/op_harness.h"

#include "core/ops/ops.h"

#include <math.h>

static op_test t;

#define TURN 6.28318530717958647692

/* sum_j (re + i im)_j exp(-+ i TURN j k / n) over the `have` elements at x, x + step, ... (in complex or real elements) */
static void bin(const float *x, int have, int step, int parts, int n, int k, int inverse, double *re, double *im)
{
    *re = *im = 0;
    for (int j = 0; j < have && j < n; j++) {
        const double a = TURN * (double)(j * k % n) / n, c = cos(a), s = inverse ? sin(a) : -sin(a);
        const double xr = (double)x[j * step * parts], xi = parts == 2 ? (double)x[j * step * parts + 1] : 0;

        *re += xr * c - xi * s;
        *im += xr * s + xi * c;
    }
    if (inverse) {
        *re /= n;
        *im /= n;
    }
}

static void numbers(float *x, int n)
{
    for (int i = 0; i < n; i++) x[i] = (float)((i * 37 + 11) % 101) / 50 - 1;
}

static void assert_near(float got, double want) { assert_true(fabs((double)got - want) <= 1e-6 * (1 + fabs(want))); }

static void every_axis_length_and_direction_is_the_sum(void **state)
{
    float x[3 * 5 * 8 * 2];
    const int dims[3] = { 3, 5, 8 };

    (void)state;
    numbers(x, 240);
    for (int i = 0; i < 3 * 2 * 2 * 3; i++) {
        const int axis = i % 3, inverse = i / 3 % 2, parts = 1 + i / 6 % 2, have = dims[axis],
                  n = i / 12 == 0   ? have
                      : i / 12 == 1 ? 4
                                    : 11;
        const int inner = axis == 0 ? 40 : axis == 1 ? 8 : 1, outer = 120 / have / inner;

        op_begin(&t, &qn_op_dft, 20);
        if (inverse) op_attr_int(&t, "inverse", 1);
        op_in_f32(&t, x, 4, 3, 5, 8, parts);
        if (n != have)
            op_in_i64(&t, (const int64_t[]){ n }, 0);
        else
            op_in_none(&t);
        op_in_i64(&t, (const int64_t[]){ i % 2 ? axis - 4 : axis }, 0);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].dims[axis], n);
        assert_int_equal(t.out[0].dims[3], 2);
        for (int at = 0; at < outer * inner; at++) {
            const int o = at / inner, in = at % inner;

            for (int k = 0; k < n; k++) {
                const float *y = op_out_f32(&t, 0) + ((o * n + k) * inner + in) * 2;
                double re, im;

                bin(x + (o * have * inner + in) * parts, have, inner, parts, n, k, inverse, &re, &im);
                assert_near(y[0], re);
                assert_near(y[1], im);
            }
        }
        op_end(&t);
    }
}

static void one_side_and_back_is_the_signal(void **state)
{
    float x[2 * 9], half[2 * 5 * 2];

    (void)state;
    numbers(x, 18);
    for (int n = 8; n <= 9; n++) { /* 8: the last of nine is cut; both lengths have five bins */
        op_begin(&t, &qn_op_dft, 20);
        op_attr_int(&t, "onesided", 1);
        op_in_f32(&t, x, 3, 2, 9, 1);
        op_in_i64(&t, (const int64_t[]){ n }, 1, 1);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].dims[1], 5);
        for (int k = 0; k < 10; k++) {
            double re, im;

            bin(x + k / 5 * 9, 9, 1, 1, n, k % 5, 0, &re, &im);
            assert_near(op_out_f32(&t, 0)[2 * k], re);
            assert_near(op_out_f32(&t, 0)[2 * k + 1], im);
        }
        memcpy(half, op_out_f32(&t, 0), sizeof half);
        op_end(&t);
        op_begin(&t, &qn_op_dft, 20);
        op_attr_int(&t, "onesided", 1);
        op_attr_int(&t, "inverse", 1);
        op_in_f32(&t, half, 3, 2, 5, 2);
        if (n != 8) op_in_i64(&t, (const int64_t[]){ n }, 0); /* 8 is what five bins mean if nobody says */
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].dims[1], n);
        assert_int_equal(t.out[0].dims[2], 1);
        for (int i = 0; i < 2 * n; i++) assert_near(op_out_f32(&t, 0)[i], (double)x[i / n * 9 + i % n]);
        op_end(&t);
    }
}

static void opset_17_takes_the_axis_as_an_attribute(void **state)
{
    float x[2 * 3 * 4];

    (void)state;
    numbers(x, 24);
    for (int given = 0; given < 2; given++) {
        op_begin(&t, &qn_op_dft_17, 17);
        if (given) op_attr_int(&t, "axis", -2);
        op_in_f32(&t, x, 4, 2, 3, 4, 1);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        for (int k = 0; k < (given ? 4 : 3); k++) {
            double re, im;

            bin(x, given ? 4 : 3, given ? 1 : 4, 1, given ? 4 : 3, k, 0, &re, &im);
            assert_near(op_out_f32(&t, 0)[k * (given ? 1 : 4) * 2], re);
            assert_near(op_out_f32(&t, 0)[k * (given ? 1 : 4) * 2 + 1], im);
        }
        op_end(&t);
    }
}

static void lengths_and_axes_that_cannot_be_are_refused(void **state)
{
    static const struct {
        int64_t length, axis;
        int parts;
        qn_status want;
    } cases[] = {
        { 0, 0, 1, QN_ERR_SHAPE }, { -4, 0, 1, QN_ERR_SHAPE }, { INT64_MAX, 0, 1, QN_ERR_LIMIT }, { 4, -1, 1, QN_ERR_SHAPE },
        { 4, 2, 1, QN_ERR_SHAPE }, { 4, -4, 1, QN_ERR_SHAPE }, { 4, INT64_MIN, 1, QN_ERR_SHAPE }, { 4, 0, 3, QN_ERR_SHAPE },
    };
    const float x[24] = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int bound = 0; bound < 2; bound++) { /* seen by infer, or only by run */
            op_begin(&t, &qn_op_dft, 20);
            t.bound = bound;
            op_in_f32(&t, x, 3, 2, 4, cases[i].parts);
            op_in_i64(&t, &cases[i].length, 0);
            op_in_i64(&t, &cases[i].axis, 0);
            assert_int_equal(op_run(&t, 1, NULL), cases[i].want);
            op_end(&t);
        }
    }
    op_begin(&t, &qn_op_dft, 20);
    op_attr_int(&t, "onesided", 1);
    op_in_f32(&t, x, 3, 2, 4, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

static void frames_are_windows_that_slide(void **state)
{
    float x[2 * 50], window[10];

    (void)state;
    numbers(x, 100);
    for (int i = 0; i < 10; i++) window[i] = 0.5f - 0.5f * cosf((float)(TURN * i / 10));
    for (int i = 0; i < 8; i++) {
        const bool rank2 = i & 1, windowed = i & 2, all = i & 4;
        const int step = 7, n = 10, frames = (50 - n) / step + 1, bins = all ? n : n / 2 + 1;

        op_begin(&t, &qn_op_stft, 17);
        if (all) op_attr_int(&t, "onesided", 0);
        if (rank2)
            op_in_f32(&t, x, 2, 2, 50);
        else
            op_in_f32(&t, x, 3, 2, 50, 1);
        op_in_i64(&t, (const int64_t[]){ step }, 0);
        if (windowed) op_in_f32(&t, window, 1, n);
        if (!windowed) op_in_none(&t);
        if (!windowed || all) op_in_i64(&t, (const int64_t[]){ n }, 0);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_memory_equal(t.out[0].dims, ((const int64_t[]){ 2, frames, bins, 2 }), 32);
        for (int f = 0; f < 2 * frames; f++) {
            float frame[10];

            for (int k = 0; k < n; k++) frame[k] = x[f / frames * 50 + f % frames * step + k] * (windowed ? window[k] : 1);
            for (int k = 0; k < bins; k++) {
                double re, im;

                bin(frame, n, 1, 1, n, k, 0, &re, &im);
                assert_near(op_out_f32(&t, 0)[(f * bins + k) * 2], re);
                assert_near(op_out_f32(&t, 0)[(f * bins + k) * 2 + 1], im);
            }
        }
        op_end(&t);
    }
}

static void a_complex_signal_has_all_bins(void **state)
{
    float x[2 * 20];

    (void)state;
    numbers(x, 40);
    op_begin(&t, &qn_op_stft, 17);
    op_attr_int(&t, "onesided", 0);
    op_in_f32(&t, x, 3, 1, 20, 2);
    op_in_i64(&t, (const int64_t[]){ 5 }, 0);
    op_in_none(&t);
    op_in_i64(&t, (const int64_t[]){ 8 }, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].dims, ((const int64_t[]){ 1, 3, 8, 2 }), 32);
    for (int k = 0; k < 24; k++) {
        double re, im;

        bin(x + k / 8 * 5 * 2, 8, 1, 2, 8, k % 8, 0, &re, &im);
        assert_near(op_out_f32(&t, 0)[2 * k], re);
        assert_near(op_out_f32(&t, 0)[2 * k + 1], im);
    }
    op_end(&t);
}

static void frames_that_cannot_be_are_refused(void **state)
{
    static const struct {
        int64_t step, length;
        int window, parts, onesided;
        qn_status want;
    } cases[] = {
        { 0, 4, 4, 1, 1, QN_ERR_INVALID },       { -1, 4, 4, 1, 1, QN_ERR_INVALID }, { 1, 21, 21, 1, 1, QN_ERR_SHAPE },
        { 1, 0, 0, 1, 1, QN_ERR_SHAPE },         { 1, 4, 5, 1, 1, QN_ERR_SHAPE },    { 1, 4, 4, 2, 1, QN_ERR_SHAPE },
        { 1, INT64_MAX, 4, 1, 1, QN_ERR_LIMIT },
    };
    const float x[60] = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int bound = 0; bound < 2; bound++) {
            op_begin(&t, &qn_op_stft, 17);
            t.bound = bound;
            op_attr_int(&t, "onesided", cases[i].onesided);
            op_in_f32(&t, x, 3, 1, 20, cases[i].parts);
            op_in_i64(&t, &cases[i].step, 0);
            op_in_f32(&t, x, 1, cases[i].window);
            op_in_i64(&t, &cases[i].length, 0);
            assert_int_equal(op_run(&t, 1, NULL), cases[i].want);
            op_end(&t);
        }
    }
}

static void symbols_pass_through(void **state)
{
    const float x[24] = { 0 };
    qn_dim batch, length;
    int64_t c0, c1;

    (void)state;
    op_begin(&t, &qn_op_stft, 17);
    op_in_f32(&t, x, 3, 1, 24, 1);
    op_in_i64(&t, (const int64_t[]){ 2 }, 0);
    op_in_none(&t);
    op_in_i64(&t, (const int64_t[]){ 4 }, 0);
    batch = t.in_type[0].dims[0] = qn_dims_symbol(t.graph.dims, "batch");
    length = t.in_type[0].dims[1] = qn_dims_symbol(t.graph.dims, "length");
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].dims[0], batch);
    assert_true(t.out_type[0].dims[1] != QN_DIM_UNKNOWN && qn_dims_depends(t.graph.dims, t.out_type[0].dims[1], length));
    assert_true(qn_dims_affine(t.graph.dims, t.out_type[0].dims[2], batch, &c0, &c1) && c0 == 3 && c1 == 0);
    op_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_axis_length_and_direction_is_the_sum),
        cmocka_unit_test(one_side_and_back_is_the_signal),
        cmocka_unit_test(opset_17_takes_the_axis_as_an_attribute),
        cmocka_unit_test(lengths_and_axes_that_cannot_be_are_refused),
        cmocka_unit_test(frames_are_windows_that_slide),
        cmocka_unit_test(a_complex_signal_has_all_bins),
        cmocka_unit_test(frames_that_cannot_be_are_refused),
        cmocka_unit_test(symbols_pass_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
