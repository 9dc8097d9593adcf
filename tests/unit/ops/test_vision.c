/* AffineGrid, MaxRoiPool, DeformConv. */
#include "tests/unit/ops/op_harness.h"

#include "core/ops/ops.h"

#include <math.h>

static op_test t;

/* -- AffineGrid ----------------------------------------------------------------------------------------------------------- */

static void the_identity_names_the_middle_of_every_place(void **state)
{
    const float theta[2][6] = { { 1, 0, 0, 0, 1, 0 }, { 0, 2, 1, -1, 0, 0 } }; /* as it is; turned, stretched and moved */

    (void)state;
    for (int align = 0; align < 2; align++) {
        op_begin(&t, &qn_op_affine_grid, 20);
        op_attr_int(&t, "align_corners", align);
        op_in_f32(&t, theta[0], 3, 2, 2, 3);
        op_in_i64(&t, (const int64_t[]){ 2, 3, 2, 4 }, 1, 4);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_memory_equal(t.out[0].dims, ((const int64_t[]){ 2, 2, 4, 2 }), 32);
        for (int i = 0; i < 8; i++) {
            const double x = align ? -1 + i % 4 * 2.0 / 3 : -0.75 + i % 4 * 0.5, y = align ? -1 + i / 4 * 2.0 : -0.5 + i / 4;
            const float *g = op_out_f32(&t, 0) + 2 * i;

            assert_true(fabs((double)g[0] - x) < 1e-6 && fabs((double)g[1] - y) < 1e-6);
            assert_true(fabs((double)g[16] - (2 * y + 1)) < 1e-6 && fabs((double)g[17] + x) < 1e-6);
        }
        op_end(&t);
    }
}

static void three_axes_come_out_x_first(void **state)
{
    const double theta[12] = { 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0.5 };

    (void)state;
    op_begin(&t, &qn_op_affine_grid, 20);
    op_in_f64(&t, theta, 3, 1, 3, 4);
    op_in_i64(&t, (const int64_t[]){ 1, 1, 2, 1, 4 }, 1, 5);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 8; i++) {
        assert_true(op_out_f64(&t, 0)[3 * i] == -0.75 + i % 4 * 0.5);
        assert_true(op_out_f64(&t, 0)[3 * i + 1] == 0);
        assert_true(op_out_f64(&t, 0)[3 * i + 2] == -0.5 + i / 4 + 0.5);
    }
    op_end(&t);
}

static void a_single_place_lies_in_the_middle(void **state)
{
    const float theta[6] = { 1, 0, 0.25f, 0, 1, 0.5f };

    (void)state;
    for (int align = 0; align < 2; align++) {
        op_begin(&t, &qn_op_affine_grid, 20);
        op_attr_int(&t, "align_corners", align);
        op_in_f32(&t, theta, 3, 1, 2, 3);
        op_in_i64(&t, (const int64_t[]){ 1, 1, 1, 1 }, 1, 4);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_memory_equal(t.out[0].data, ((const float[]){ 0.25f, 0.5f }), 8);
        op_end(&t);
    }
}

static void a_size_that_does_not_fit_theta_is_refused(void **state)
{
    static const int64_t sizes[][5] = { { 2, 1, 3, 3 }, { 1, 1, -1, 3 }, { 1, 1, 2, 2, 2 }, { 1, 1, 2 } };
    static const int n[] = { 4, 4, 5, 3 };
    const float theta[6] = { 0 };

    (void)state;
    for (int i = 0; i < 8; i++) {
        op_begin(&t, &qn_op_affine_grid, 20);
        t.bound = i & 1;
        op_in_f32(&t, theta, 3, 1, 2, 3);
        op_in_i64(&t, sizes[i / 2], 1, n[i / 2]);
        assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
        op_end(&t);
    }
}

/* -- MaxRoiPool ----------------------------------------------------------------------------------------------------------- */

static void cells_of_a_region_give_their_largest_value(void **state)
{
    float x[2 * 30];
    const float rois[3][5] = { { 0, 0, 0, 10, 8 }, { 1, 2, 2, 6, 4 }, { 0, 100, 100, 120, 120 } };

    (void)state;
    for (int i = 0; i < 60; i++) x[i] = (float)(i * 7 % 31);
    op_begin(&t, &qn_op_max_roi_pool, 1);
    op_attr_ints(&t, "pooled_shape", (const int64_t[]){ 2, 2 }, 2);
    op_attr_float(&t, "spatial_scale", 0.5f);
    op_in_f32(&t, x, 4, 2, 1, 5, 6);
    op_in_f32(&t, rois[0], 2, 3, 5);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int c = 0; c < 4; c++) { /* region 0: all of 5 x 6, in cells of rows 0..2 and 2..4, columns 0..2 and 3..5 */
        float best = -1;

        for (int i = 0; i < 3; i++)
            for (int k = 0; k < 3; k++) best = fmaxf(best, x[(c / 2 * 2 + i) * 6 + c % 2 * 3 + k]);
        assert_float_equal(op_out_f32(&t, 0)[c], best, 0);
    }
    for (int c = 0; c < 4; c++) { /* region 1: rows 1..2, columns 1..3 of image 1; columns 1..2 and 2..3 */
        const float *row = x + 30 + (1 + c / 2) * 6 + 1 + c % 2;

        assert_float_equal(op_out_f32(&t, 0)[4 + c], fmaxf(row[0], row[1]), 0);
    }
    for (int c = 8; c < 12; c++) assert_float_equal(op_out_f32(&t, 0)[c], 0, 0); /* outside */
    op_end(&t);
}

static void regions_that_cannot_be_are_refused(void **state)
{
    static const float rois[][5] = {
        { 2, 0, 0, 1, 1 }, { -1, 0, 0, 1, 1 }, { NAN, 0, 0, 1, 1 }, { 0, NAN, 0, 1, 1 }, { 0, 0, 0, 1e30f, 1 }
    };
    const float x[8] = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof rois / sizeof rois[0]; i++) {
        op_begin(&t, &qn_op_max_roi_pool, 1);
        op_attr_ints(&t, "pooled_shape", (const int64_t[]){ 1, 1 }, 2);
        op_in_f32(&t, x, 4, 2, 1, 2, 2);
        op_in_f32(&t, rois[i], 2, 1, 5);
        assert_int_equal(op_run(&t, 1, NULL), QN_ERR_RANGE);
        op_end(&t);
    }
}

/* -- DeformConv ----------------------------------------------------------------------------------------------------------- */

enum { C = 4, H = 5, W = 6, O = 6, G = 2, OG = 2, KH = 2, KW = 3, OH = 3, OW = 4 }; /* pads 1 0 0 0, strides 2 1 */

static double pixel(const float *x, int c, int y, int u) { return y < 0 || y >= H || u < 0 || u >= W ? 0 : (double)x[(c * H + y) * W + u]; }

static double between(const float *x, int c, double y, double u)
{
    const double fy = y - floor(y), fu = u - floor(u);
    const int iy = (int)floor(y), iu = (int)floor(u);

    return (1 - fy) * ((1 - fu) * pixel(x, c, iy, iu) + fu * pixel(x, c, iy, iu + 1)) +
           fy * ((1 - fu) * pixel(x, c, iy + 1, iu) + fu * pixel(x, c, iy + 1, iu + 1));
}

static void taps_look_where_the_offsets_say(void **state)
{
    enum { K = KH * KW, PLANE = OH * OW };
    static float x[C * H * W], w[O * C / G * K], off[OG * K * 2 * PLANE], mask[OG * K * PLANE], bias[O];

    (void)state;
    for (int i = 0; i < C * H * W; i++) x[i] = (float)(i * 13 % 29) / 14 - 1;
    for (int i = 0; i < O * C / G * K; i++) w[i] = (float)(i * 11 % 23) / 11 - 1;
    for (int i = 0; i < OG * K * 2 * PLANE; i++) off[i] = (float)(i * 17 % 41) / 10 - 2;
    for (int i = 0; i < OG * K * PLANE; i++) mask[i] = (float)(i * 5 % 7) / 7;
    for (int i = 0; i < O; i++) bias[i] = (float)i;
    for (int masked = 0; masked < 2; masked++) {
        op_begin(&t, &qn_op_deform_conv, 19);
        op_attr_int(&t, "group", G);
        op_attr_int(&t, "offset_group", OG);
        op_attr_ints(&t, "pads", (const int64_t[]){ 1, 0, 0, 0 }, 4);
        op_attr_ints(&t, "strides", (const int64_t[]){ 2, 1 }, 2);
        op_in_f32(&t, x, 4, 1, C, H, W);
        op_in_f32(&t, w, 4, O, C / G, KH, KW);
        op_in_f32(&t, off, 4, 1, OG * K * 2, OH, OW);
        op_in_f32(&t, bias, 1, O);
        if (masked) op_in_f32(&t, mask, 4, 1, OG * K, OH, OW);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        for (int at = 0; at < O * PLANE; at++) {
            const int o = at / PLANE, here = at % PLANE, oy = here / OW, ox = here % OW;
            double want = (double)bias[o];

            for (int c = 0; c < C / G; c++) {
                const int in = o / (O / G) * (C / G) + c, og = in / (C / OG);

                for (int k = 0; k < K; k++) {
                    const double dy = (double)off[((og * K + k) * 2) * PLANE + here],
                                 dx = (double)off[((og * K + k) * 2 + 1) * PLANE + here];

                    want += (double)w[(o * (C / G) + c) * K + k] * (masked ? (double)mask[(og * K + k) * PLANE + here] : 1) *
                            between(x, in, oy * 2 - 1 + k / KW + dy, ox + k % KW + dx);
                }
            }
            assert_true(fabs((double)op_out_f32(&t, 0)[at] - want) < 1e-5);
        }
        op_end(&t);
    }
}

static void offsets_of_another_shape_are_refused(void **state)
{
    const float x[16] = { 0 };

    (void)state;
    for (int i = 0; i < 3; i++) {
        op_begin(&t, &qn_op_deform_conv, 19);
        op_in_f32(&t, x, 4, 1, 1, 2, 2);
        op_in_f32(&t, x, 4, 1, 1, 1, 1);
        op_in_f32(&t, x, 4, 1, i == 0 ? 3 : 2, 2, i == 1 ? 3 : 2);
        op_in_none(&t);
        op_in_f32(&t, x, 4, 1, i == 2 ? 2 : 1, 2, 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
        op_end(&t);
    }
}

static void offsets_beyond_all_bounds_read_nothing(void **state)
{
    const float x[4] = { 1, 2, 3, 4 }, w[1] = { 1 }, off[8] = { NAN, INFINITY, -INFINITY, 1e38f, -1e38f, 2, -1, 0.5f };

    (void)state;
    op_begin(&t, &qn_op_deform_conv, 19);
    op_in_f32(&t, x, 4, 1, 1, 2, 2);
    op_in_f32(&t, w, 4, 1, 1, 1, 1);
    op_in_f32(&t, off, 4, 1, 2, 2, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 4; i++) assert_float_equal(op_out_f32(&t, 0)[i], 0, 0);
    op_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_identity_names_the_middle_of_every_place),
        cmocka_unit_test(three_axes_come_out_x_first),
        cmocka_unit_test(a_single_place_lies_in_the_middle),
        cmocka_unit_test(a_size_that_does_not_fit_theta_is_refused),
        cmocka_unit_test(cells_of_a_region_give_their_largest_value),
        cmocka_unit_test(regions_that_cannot_be_are_refused),
        cmocka_unit_test(taps_look_where_the_offsets_say),
        cmocka_unit_test(offsets_of_another_shape_are_refused),
        cmocka_unit_test(offsets_beyond_all_bounds_read_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
