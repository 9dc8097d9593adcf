/* Resize, Upsample and Einsum. */
#include "tests/unit/ops/op_harness.h"

#include "core/ops/ops.h"
#include "core/ops/subscripts.h"

static op_test t;

/* -- Resize --------------------------------------------------------------------------------------------------------------- */

static void resize1(const float *x, int n, int m, const char *mode, const char *coord, int64_t opset)
{
    op_begin(&t, &qn_op_resize, opset);
    op_attr_str(&t, "mode", mode);
    op_attr_str(&t, "coordinate_transformation_mode", coord);
    op_in_f32(&t, x, 2, 1, n);
    op_in_none(&t);
    op_in_none(&t);
    op_in_i64(&t, (const int64_t[]){ 1, m }, 1, 2);
}

static void coordinates_of_every_mode(void **state)
{
    static const struct {
        const char *coord;
        float want[4];
    } cases[] = {
        /* x = [0, 3] to 4 places, linear: place j lies at, clamped to [0, 1], times 3 */
        { "half_pixel", { 0, 0.75f, 2.25f, 3 } },           /* (j + .5) / 2 - .5 */
        { "half_pixel_symmetric", { 0, 0.75f, 2.25f, 3 } }, /* the same when no size was rounded */
        { "pytorch_half_pixel", { 0, 0.75f, 2.25f, 3 } },
        { "align_corners", { 0, 1, 2, 3 } },                /* j / 3 */
        { "asymmetric", { 0, 1.5f, 3, 3 } },                /* j / 2 */
        { "tf_half_pixel_for_nn", { 0.75f, 2.25f, 3, 3 } }, /* (j + .5) / 2 */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        resize1((const float[]){ 0, 3 }, 2, 4, "linear", cases[i].coord, 19);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        for (int j = 0; j < 4; j++) assert_float_equal(op_out_f32(&t, 0)[j], cases[i].want[j], 1e-6f);
        op_end(&t);
    }
}

static void nearest_rounds_ties_as_told(void **state)
{
    static const struct {
        const char *mode;
        float want[2];
    } cases[] = {
        /* 4 to 2 places, half_pixel: 0.5 and 2.5 */
        { "round_prefer_floor", { 0, 2 } },
        { "round_prefer_ceil", { 1, 3 } },
        { "floor", { 0, 2 } },
        { "ceil", { 1, 3 } },
    };

    (void)state;
    for (int i = 0; i < 4; i++) {
        resize1((const float[]){ 0, 1, 2, 3 }, 4, 2, "nearest", "half_pixel", 13);
        op_attr_str(&t, "nearest_mode", cases[i].mode);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_memory_equal(t.out[0].data, cases[i].want, 8);
        op_end(&t);
    }
}

static void antialias_averages_what_a_smaller_place_covers(void **state)
{
    (void)state;
    resize1((const float[]){ 0, 0, 4, 0, 0, 0 }, 6, 2, "linear", "half_pixel", 18);
    op_attr_int(&t, "antialias", 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    /* place 0 lies at 1: triangle of half width 3 over -1..3 (0 repeated for -1): weights 1 2 3 2 1 over 9, the 4 gets 2 */
    assert_float_equal(op_out_f32(&t, 0)[0], 4.0f * 2 / 9, 1e-6f);
    assert_float_equal(op_out_f32(&t, 0)[1], 4.0f * 1 / 9, 1e-6f);
    op_end(&t);
}

static void scales_in_f32_give_the_size_people_mean(void **state)
{
    (void)state;
    for (int bound = 0; bound < 2; bound++) { /* 10 * 0.7 is 7, though 0.7f is a little less than 0.7 */
        op_begin(&t, &qn_op_resize, 13);
        op_in_f32(&t, (const float[10]){ 0 }, 1, 10);
        op_in_none(&t);
        op_in_f32(&t, (const float[]){ 0.7f }, 1, 1);
        t.bound = bound;
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].dims[0], 7);
        op_end(&t);
    }
}

static void a_resize_of_bytes_is_cut_towards_zero(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_resize, 13);
    op_attr_str(&t, "mode", "linear");
    op_in_u8(&t, (const uint8_t[]){ 0, 255 }, 1, 2);
    op_in_none(&t);
    op_in_f32(&t, (const float[]){ 2 }, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const uint8_t[]){ 0, 63, 191, 255 }), 4); /* 63.75, 191.25 */
    op_end(&t);
}

static void only_the_axes_named_are_resized(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_resize, 18);
    op_attr_ints(&t, "axes", (const int64_t[]){ -1, 1 }, 2);
    op_attr_str(&t, "keep_aspect_ratio_policy", "not_larger");
    op_in_f32(&t, (const float[24]){ 0 }, 3, 2, 3, 4);
    op_in_none(&t);
    op_in_none(&t);
    op_in_i64(&t, (const int64_t[]){ 8, 9 }, 1, 2); /* twice, three times: both twice */
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].dims, ((const int64_t[]){ 2, 6, 8 }), 24);
    op_end(&t);
}

static void the_batch_symbol_passes_through_a_scale_of_one(void **state)
{
    int32_t out = QN_ROWS_MIXED;
    const qn_known *known[4] = { NULL };
    qn_infer c;
    char buf[64];

    (void)state;
    op_begin(&t, &qn_op_resize, 13);
    op_in_f32(&t, (const float[24]){ 0 }, 4, 1, 2, 3, 4);
    op_in_none(&t);
    op_in_f32(&t, (const float[]){ 1, 1, 2, 0.5f }, 1, 4);
    t.in_type[0].dims[0] = qn_dims_symbol(t.graph.dims, "N");
    t.in_type[0].dims[3] = qn_dims_symbol(t.graph.dims, "W");
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_string_equal(qn_dims_print(t.graph.dims, t.out_type[0].dims[0], buf, sizeof buf), "N");
    assert_string_equal(qn_dims_print(t.graph.dims, t.out_type[0].dims[2], buf, sizeof buf), "6");
    assert_int_equal(t.out_type[0].dims[3], qn_dims_floordiv(t.graph.dims, t.in_type[0].dims[3], qn_dims_const(t.graph.dims, 2)));
    c = (qn_infer){ .graph = &t.graph, .node = &t.node, .dims = t.graph.dims, .in = t.in_type, .in_known = known, .out = t.out_type };
    t.op->rows(&c, (const int32_t[]){ 0, QN_ROWS_NONE, QN_ROWS_NONE }, &out);
    assert_int_equal(out, 0);
    op_end(&t);
}

static void resizes_that_make_no_sense_are_refused(void **state)
{
    static const float bad[] = { 0, -1, 1e30f };

    (void)state;
    for (int i = 0; i < 6; i++) {
        op_begin(&t, &qn_op_resize, 13);
        op_in_f32(&t, (const float[3]){ 0 }, 1, 3);
        op_in_none(&t);
        op_in_f32(&t, &bad[i / 2], 1, 1);
        t.bound = i & 1;
        assert_int_not_equal(op_run(&t, 1, NULL), QN_OK);
        op_end(&t);
    }
    op_begin(&t, &qn_op_resize, 13); /* neither scales nor sizes */
    op_in_f32(&t, (const float[3]){ 0 }, 1, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_INVALID);
    op_end(&t);
    op_begin(&t, &qn_op_resize, 13); /* nothing to enlarge */
    op_in_f32(&t, (const float[1]){ 0 }, 1, 0);
    op_in_none(&t);
    op_in_none(&t);
    op_in_i64(&t, (const int64_t[]){ 3 }, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

static void upsample_7_reads_an_attribute(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_upsample, 7);
    op_attr_floats(&t, "scales", (const float[]){ 1, 2 }, 2);
    op_in_f32(&t, (const float[]){ 1, 2 }, 2, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const float[]){ 1, 1, 2, 2 }), 16);
    op_end(&t);
}

/* -- Einsum --------------------------------------------------------------------------------------------------------------- */

static void einsum_of(const char *equation, int n, const float *a, int ra, const int64_t *da, const float *b, int rb, const int64_t *db)
{
    qn_tensor x = { .dtype = QN_F32, .rank = ra };

    op_begin(&t, &qn_op_einsum, 12);
    op_attr_str(&t, "equation", equation);
    for (int i = 0; i < n; i++) {
        x.rank = i ? rb : ra;
        memcpy(x.dims, i ? db : da, (size_t)x.rank * 8);
        memcpy(&x.data, i ? &b : &a, sizeof x.data);
        assert_int_equal(qn_shape_bytes(QN_F32, x.rank, x.dims, &x.bytes, NULL), QN_OK);
        op_in(&t, &x);
    }
}

static void einsum_equations(void **state)
{
    static const float a[] = { 0, 1, 2, 3, 4, 5 }, b[] = { 1, -1, 2, 0, 3, 1 };
    static const struct {
        const char *equation;
        int n;
        int64_t da[3], db[3];
        int ra, rb, n_want;
        float want[8];
    } cases[] = {
        /* python3: import numpy as n; a = n.arange(6.); b = n.array([1,-1,2,0,3,1.]); n.einsum(EQ, a.reshape(da), b.reshape(db)) */
        { "ij,jk->ik", 2, { 2, 3 }, { 3, 2 }, 2, 2, 4, { 8, 2, 26, 2 } },
        { "ij,jk", 2, { 2, 3 }, { 3, 2 }, 2, 2, 4, { 8, 2, 26, 2 } },
        { "ij->ji", 1, { 2, 3 }, { 0 }, 2, 0, 6, { 0, 3, 1, 4, 2, 5 } },
        { "ij->", 1, { 2, 3 }, { 0 }, 2, 0, 1, { 15 } },
        { "ij->j", 1, { 2, 3 }, { 0 }, 2, 0, 3, { 3, 5, 7 } },
        { "ij,ij->i", 2, { 2, 3 }, { 2, 3 }, 2, 2, 2, { 3, 17 } },
        { "...j,...j->...", 2, { 2, 3 }, { 1, 3 }, 2, 2, 2, { 3, 9 } },
        { "b...,c->c...", 2, { 2, 3 }, { 2 }, 2, 1, 6, { 3, 5, 7, -3, -5, -7 } },
        { "ii->i", 1, { 2, 2 }, { 0 }, 2, 0, 2, { 0, 3 } },
        { " i j , j -> i ", 2, { 2, 3 }, { 3 }, 2, 1, 2, { 3, 9 } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        einsum_of(cases[i].equation, cases[i].n, a, cases[i].ra, cases[i].da, b, cases[i].rb, cases[i].db);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].bytes, (size_t)cases[i].n_want * 4);
        for (int k = 0; k < cases[i].n_want; k++) assert_float_equal(op_out_f32(&t, 0)[k], cases[i].want[k], 0);
        op_end(&t);
    }
}

static void three_operands_and_a_diagonal(void **state)
{
    const double a[] = { 1, 2, 3, 4 }, b[] = { 1, 10 }, c[] = { 2, 3 };

    (void)state;
    op_begin(&t, &qn_op_einsum, 12);
    op_attr_str(&t, "equation", "ii,i,k->k");
    op_in_f64(&t, a, 2, 2, 2);
    op_in_f64(&t, b, 1, 2);
    op_in_f64(&t, c, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const double[]){ 82, 123 }), 16); /* 1 * 1 + 4 * 10 = 41 */
    op_end(&t);
}

static void malformed_equations_are_refused(void **state)
{
    static const char *const bad[] = { "",       "i",          "ij,jk,k",    "ij,jk->ii",       "ij,jk->iz",   "ij,j",
                                       "ij;jk",  "ij,jk-",     "ij,jk->i,k", "..ij,jk",         "ij,jk->i->k", "...i...,jk",
                                       "ijk,jk", "ij,jk->i.k", "1j,jk",      "...ij,...jk,...", "ij,jk->\x01" };
    const int64_t d[] = { 2, 2 };
    const float x[4] = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        qn_error err = { 0 };

        einsum_of(bad[i], 2, x, 2, d, x, 2, d);
        assert_int_not_equal(op_run(&t, 1, &err), QN_OK);
        assert_true(strlen(err.message) > 10);
        op_end(&t);
    }
    einsum_of("ij,jk->ik", 2, x, 2, d, x, 2, (const int64_t[]){ 3, 1 });
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

static void the_ellipsis_counts_from_the_right(void **state)
{
    qn_subscripts s;

    (void)state;
    assert_int_equal(qn_subscripts_parse("a...b,...->...ab", 2, (const int32_t[]){ 4, 1 }, &s, NULL), QN_OK);
    assert_int_equal(s.ellipsis, 2);
    assert_int_equal(s.label[0][1], QN_EINSUM_ELLIPSIS);
    assert_int_equal(s.label[0][2], QN_EINSUM_ELLIPSIS + 1);
    assert_int_equal(s.label[1][0], QN_EINSUM_ELLIPSIS + 1);
    assert_int_equal(s.out_rank, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coordinates_of_every_mode),
        cmocka_unit_test(nearest_rounds_ties_as_told),
        cmocka_unit_test(antialias_averages_what_a_smaller_place_covers),
        cmocka_unit_test(scales_in_f32_give_the_size_people_mean),
        cmocka_unit_test(a_resize_of_bytes_is_cut_towards_zero),
        cmocka_unit_test(only_the_axes_named_are_resized),
        cmocka_unit_test(the_batch_symbol_passes_through_a_scale_of_one),
        cmocka_unit_test(resizes_that_make_no_sense_are_refused),
        cmocka_unit_test(upsample_7_reads_an_attribute),
        cmocka_unit_test(einsum_equations),
        cmocka_unit_test(three_operands_and_a_diagonal),
        cmocka_unit_test(malformed_equations_are_refused),
        cmocka_unit_test(the_ellipsis_counts_from_the_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
