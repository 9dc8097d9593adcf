/* Slice, Gather and Scatter families, Pad, Compress, NonZero, Unique, TopK, OneHot, EyeLike, Trilu, ReverseSequence, DepthToSpace. */
#include "tests/unit/ops/op_harness.h"

#include "core/ops/ops.h"

#include <math.h>
#include <stdio.h>

static void assert_dims(const qn_tensor *t, int rank, const int64_t *dims)
{
    assert_int_equal(t->rank, rank);
    for (int a = 0; a < rank; a++) assert_int_equal(t->dims[a], dims[a]);
}
#define ASSERT_DIMS(t, ...) assert_dims(t, (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / 8), (const int64_t[]){ __VA_ARGS__ })
#define ASSERT_DATA(t, type, ...)                                                                                                          \
    do {                                                                                                                                   \
        const type want_[] = { __VA_ARGS__ };                                                                                              \
        assert_int_equal((t)->bytes, sizeof want_);                                                                                        \
        assert_memory_equal((t)->data, want_, sizeof want_);                                                                               \
    } while (0)

static const float count6[] = { 0, 1, 2, 3, 4, 5 };
static op_test t;

/* -- Slice ---------------------------------------------------------------------------------------------------------------- */

static qn_status slice1(int64_t start, int64_t end, int64_t step, bool bound)
{
    op_begin(&t, &qn_op_slice, 13);
    op_in_f32(&t, count6, 1, 6);
    op_in_i64(&t, &start, 1, 1);
    op_in_i64(&t, &end, 1, 1);
    op_in_i64(&t, (const int64_t[]){ -1 }, 1, 1);
    op_in_i64(&t, &step, 1, 1);
    t.bound = bound;
    return op_run(&t, 1, NULL);
}

static void slices_are_clamped_as_the_specification_says(void **state)
{
    static const struct {
        int64_t start, end, step;
        int n;
        float want[6];
    } cases[] = {
        /* python3: list(range(6))[start:end:step] */
        { 0, INT64_MAX, 1, 6, { 0, 1, 2, 3, 4, 5 } },
        { -1, INT64_MIN, -1, 6, { 5, 4, 3, 2, 1, 0 } },
        { INT64_MAX, INT64_MIN, -2, 3, { 5, 3, 1 } },
        { INT64_MIN, INT64_MAX, 4, 2, { 0, 4 } },
        { 4, 1, 1, 0, { 0 } },
        { 1, 5, INT64_MAX, 1, { 1 } },
        { 4, 0, INT64_MIN, 1, { 4 } },
        { -3, -1, 1, 2, { 3, 4 } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int bound = 0; bound < 2; bound++) {
            assert_int_equal(slice1(cases[i].start, cases[i].end, cases[i].step, bound), QN_OK);
            ASSERT_DIMS(&t.out[0], cases[i].n);
            if (cases[i].n) assert_memory_equal(t.out[0].data, cases[i].want, (size_t)cases[i].n * 4);
            op_end(&t);
        }
    }
}

static void a_step_of_zero_is_refused(void **state)
{
    (void)state;
    for (int bound = 0; bound < 2; bound++) {
        assert_int_equal(slice1(0, 6, 0, bound), QN_ERR_INVALID);
        op_end(&t);
    }
}

static void slice_dims_stay_expressions(void **state)
{
    static const struct {
        int64_t start, end, step;
        const char *want;
    } cases[] = { { 0, INT64_MAX, 1, "S" }, { 0, -1, 1, "max(0,S-1)" }, { -1, INT64_MIN, -1, "S" }, { 3, 2, 1, "0" } };
    char buf[64];
    qn_error err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        op_begin(&t, &qn_op_slice, 13);
        op_in_f32(&t, count6, 1, 6);
        t.in_type[0].dims[0] = qn_dims_symbol(t.graph.dims, "S");
        op_in_i64(&t, &cases[i].start, 1, 1);
        op_in_i64(&t, &cases[i].end, 1, 1);
        op_in_i64(&t, (const int64_t[]){ 0 }, 1, 1);
        op_in_i64(&t, &cases[i].step, 1, 1);
        assert_int_equal(op_infer(&t, 1, &err), QN_OK);
        assert_string_equal(qn_dims_print(t.graph.dims, t.out_type[0].dims[0], buf, sizeof buf), cases[i].want);
        op_end(&t);
    }
}

static void the_old_slice_reads_attributes(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_slice, 9);
    op_in_f32(&t, count6, 2, 2, 3);
    op_attr_ints(&t, "starts", (const int64_t[]){ 1 }, 1);
    op_attr_ints(&t, "ends", (const int64_t[]){ 1000 }, 1);
    op_attr_ints(&t, "axes", (const int64_t[]){ 1 }, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DATA(&t.out[0], float, 1, 2, 4, 5);
    op_end(&t);
}

/* -- Gather --------------------------------------------------------------------------------------------------------------- */

static void gather_picks_rows_and_counts_from_the_end(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_gather, 13);
    op_attr_int(&t, "axis", 1);
    op_in_f32(&t, count6, 2, 2, 3);
    op_in_i32(&t, (const int32_t[]){ -1, 0 }, 2, 2, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 2, 1);
    ASSERT_DATA(&t.out[0], float, 2, 0, 5, 3);
    op_end(&t);
}

static void gathered_strings(void **state)
{
    const char *const s[] = { "zero", "", "two" };

    (void)state;
    op_begin(&t, &qn_op_gather, 13);
    op_in_strings(&t, s, 3);
    op_in_i64(&t, (const int64_t[]){ 2, -2, 0, 0 }, 1, 4);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_true(op_string_is(&t.out[0], 0, "two"));
    assert_true(op_string_is(&t.out[0], 1, ""));
    assert_true(op_string_is(&t.out[0], 3, "zero"));
    op_end(&t);
}

static void an_index_outside_its_axis_is_an_error_that_names_it(void **state)
{
    static const qn_op *const ops[] = { &qn_op_gather, &qn_op_gather_elements, &qn_op_gather_nd, &qn_op_scatter_elements,
                                        &qn_op_scatter_nd };
    static const int64_t bad[] = { 6, -7, INT64_MAX, INT64_MIN };

    (void)state;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
            qn_error err = { 0 };
            char text[32];

            op_begin(&t, ops[i], 18);
            op_in_f32(&t, count6, 1, 6);
            op_in_i64(&t, &bad[k], 1, 1);
            if (i == 3) op_in_f32(&t, count6, 1, 1);
            if (i == 4) op_in_f32(&t, count6, 0);
            assert_int_equal(op_run(&t, 1, &err), QN_ERR_RANGE);
            snprintf(text, sizeof text, "%lld", (long long)bad[k]);
            assert_non_null(strstr(err.message, text));
            assert_non_null(strstr(err.message, "axis 0 has size 6"));
            op_end(&t);
        }
    }
}

static void gather_nd_with_batch_dims(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_gather_nd, 13);
    op_attr_int(&t, "batch_dims", 1);
    op_in_f32(&t, count6, 3, 2, 3, 1);
    op_in_i64(&t, (const int64_t[]){ 2, -3 }, 2, 2, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 1);
    ASSERT_DATA(&t.out[0], float, 2, 3);
    op_end(&t);
}

/* -- Scatter -------------------------------------------------------------------------------------------------------------- */

static void scattered_duplicates_are_combined_in_order(void **state)
{
    static const struct {
        const char *reduction;
        int8_t want[3];
    } cases[] = {
        { "none", { 7, 20, 30 } }, { "add", { 22, 20, 30 } }, { "mul", { 94, 20, 30 } }, { "max", { 10, 20, 30 } }, { "min", { 5, 20, 30 } }
    };

    (void)state; /* mul: 10 * 5 * 7 = 350 wraps to 94 */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        op_begin(&t, &qn_op_scatter_elements, 18);
        op_in_i8(&t, (const int8_t[]){ 10, 20, 30 }, 1, 3);
        op_in_i64(&t, (const int64_t[]){ 0, -3 }, 1, 2);
        op_in_i8(&t, (const int8_t[]){ 5, 7 }, 1, 2);
        op_attr_str(&t, "reduction", cases[i].reduction);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_memory_equal(t.out[0].data, cases[i].want, 3);
        op_end(&t);
    }
}

static void nan_wins_a_scatter_of_the_largest(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_scatter_nd, 18);
    op_in_f32(&t, (const float[]){ 1, 2 }, 1, 2);
    op_in_i64(&t, (const int64_t[]){ 0, 1 }, 2, 2, 1);
    op_in_f32(&t, (const float[]){ NAN, 1 }, 1, 2);
    op_attr_str(&t, "reduction", "max");
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_true(isnan(op_out_f32(&t, 0)[0]));
    assert_float_equal(op_out_f32(&t, 0)[1], 2, 0);
    op_end(&t);
}

static void a_scatter_of_unlike_shapes_is_refused(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_scatter_elements, 18);
    op_in_f32(&t, count6, 1, 6);
    op_in_i64(&t, (const int64_t[]){ 0, 1 }, 1, 2);
    op_in_f32(&t, count6, 1, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
    op_begin(&t, &qn_op_scatter_nd, 18);
    op_in_f32(&t, count6, 2, 2, 3);
    op_in_i64(&t, (const int64_t[]){ 0 }, 2, 1, 1);
    op_in_f32(&t, count6, 2, 1, 2); /* a row has 3 */
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

/* -- Pad ------------------------------------------------------------------------------------------------------------------ */

static void pads_of_every_mode(void **state)
{
    static const struct {
        const char *mode;
        float want[8];
    } cases[] = {
        /* np.pad([0, 1, 2], (3, 2), mode) */
        { "constant", { 9, 9, 9, 0, 1, 2, 9, 9 } },
        { "reflect", { 1, 2, 1, 0, 1, 2, 1, 0 } },
        { "edge", { 0, 0, 0, 0, 1, 2, 2, 2 } },
        { "wrap", { 0, 1, 2, 0, 1, 2, 0, 1 } },
    };

    (void)state;
    for (int i = 0; i < 8; i++) {
        op_begin(&t, &qn_op_pad, 19);
        op_attr_str(&t, "mode", cases[i / 2].mode);
        op_in_f32(&t, count6, 2, 1, 3);
        op_in_i64(&t, (const int64_t[]){ 3, 2 }, 1, 2);
        op_in_f32(&t, (const float[]){ 9 }, 0);
        op_in_i64(&t, (const int64_t[]){ -1 }, 1, 1);
        t.bound = i & 1;
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        ASSERT_DIMS(&t.out[0], 1, 8);
        assert_memory_equal(t.out[0].data, cases[i / 2].want, 32);
        op_end(&t);
    }
}

static void a_negative_pad_takes_away(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_pad, 13);
    op_in_f32(&t, count6, 2, 2, 3);
    op_in_i64(&t, (const int64_t[]){ 1, -1, 0, -1 }, 1, 4);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 3, 1);
    ASSERT_DATA(&t.out[0], float, 0, 1, 4);
    op_end(&t);
}

static void pads_that_cannot_be_are_refused(void **state)
{
    static const int64_t bad[][2] = { { -4, 0 }, { INT64_MIN, INT64_MAX }, { INT64_MAX, INT64_MAX } };

    (void)state;
    for (int i = 0; i < 6; i++) {
        op_begin(&t, &qn_op_pad, 13);
        op_in_f32(&t, count6, 1, 3);
        op_in_i64(&t, bad[i / 2], 1, 2);
        t.bound = i & 1;
        assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
        op_end(&t);
    }
}

/* -- outputs whose size is data ------------------------------------------------------------------------------------------- */

static void non_zero_lists_coordinates(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_non_zero, 13);
    op_in_f32(&t, (const float[]){ 0, -1, -0.0f, NAN, 0, 2 }, 2, 2, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_true(t.run_made[0]);
    ASSERT_DIMS(&t.out[0], 2, 3);
    ASSERT_DATA(&t.out[0], int64_t, 0, 1, 1, 1, 0, 2);
    op_end(&t);
}

static void compress_takes_what_is_true(void **state)
{
    (void)state;
    for (int bound = 0; bound < 2; bound++) {
        op_begin(&t, &qn_op_compress, 11);
        op_attr_int(&t, "axis", 1);
        op_in_f32(&t, count6, 2, 2, 3);
        op_in_bool(&t, (const uint8_t[]){ 0, 1 }, 1, 2); /* short: the rest is false */
        t.bound = bound;
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        ASSERT_DIMS(&t.out[0], 2, 1);
        ASSERT_DATA(&t.out[0], float, 1, 4);
        op_end(&t);
    }
    op_begin(&t, &qn_op_compress, 11);
    op_in_f32(&t, count6, 1, 2);
    op_in_bool(&t, (const uint8_t[]){ 1, 0, 1 }, 1, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_RANGE);
    op_end(&t);
}

static void unique_in_both_orders(void **state)
{
    (void)state;
    for (int sorted = 0; sorted < 2; sorted++) {
        op_begin(&t, &qn_op_unique, 11);
        op_attr_int(&t, "sorted", sorted);
        op_in_f32(&t, (const float[]){ 2, NAN, 1, 2, NAN }, 1, 5);
        assert_int_equal(op_run(&t, 4, NULL), QN_OK);
        ASSERT_DIMS(&t.out[0], 3);
        if (sorted) {
            ASSERT_DATA(&t.out[1], int64_t, 2, 0, 1);
            ASSERT_DATA(&t.out[2], int64_t, 1, 2, 0, 1, 2);
            ASSERT_DATA(&t.out[3], int64_t, 1, 2, 2);
        } else {
            ASSERT_DATA(&t.out[1], int64_t, 0, 1, 2);
            ASSERT_DATA(&t.out[2], int64_t, 0, 1, 2, 0, 1);
            ASSERT_DATA(&t.out[3], int64_t, 2, 2, 1);
        }
        op_end(&t);
    }
}

static void unique_strings_and_slices(void **state)
{
    const char *const s[] = { "b", "", "ab", "b", "a" };

    (void)state;
    op_begin(&t, &qn_op_unique, 11);
    op_in_strings(&t, s, 5);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 4);
    assert_true(op_string_is(&t.out[0], 0, ""));
    assert_true(op_string_is(&t.out[0], 1, "a"));
    assert_true(op_string_is(&t.out[0], 2, "ab"));
    assert_true(op_string_is(&t.out[0], 3, "b"));
    op_end(&t);
    op_begin(&t, &qn_op_unique, 11);
    op_attr_int(&t, "axis", 1);
    op_in_i32(&t, (const int32_t[]){ 3, 1, 3, 4, 2, 4 }, 2, 2, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 2);
    ASSERT_DATA(&t.out[0], int32_t, 1, 3, 2, 4);
    op_end(&t);
}

static void of_equal_elements_the_lower_index_comes_first(void **state)
{
    (void)state;
    for (int largest = 0; largest < 2; largest++) {
        op_begin(&t, &qn_op_topk, 11);
        op_attr_int(&t, "largest", largest);
        op_in_i16(&t, (const int16_t[]){ -3, 5, 5, -3, 0, 5 }, 1, 6);
        op_in_i64(&t, (const int64_t[]){ 4 }, 1, 1);
        t.bound = largest; /* once with the size known, once not */
        assert_int_equal(op_run(&t, 2, NULL), QN_OK);
        if (largest) {
            ASSERT_DATA(&t.out[0], int16_t, 5, 5, 5, 0);
            ASSERT_DATA(&t.out[1], int64_t, 1, 2, 5, 4);
        } else {
            ASSERT_DATA(&t.out[0], int16_t, -3, -3, 0, 5);
            ASSERT_DATA(&t.out[1], int64_t, 0, 3, 4, 1);
        }
        op_end(&t);
    }
}

static void more_than_there_are_is_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        op_begin(&t, &qn_op_topk, 11);
        op_in_f32(&t, count6, 1, 6);
        op_in_i64(&t, (const int64_t[]){ i < 2 ? 7 : -1 }, 1, 1);
        t.bound = i & 1;
        assert_int_equal(op_run(&t, 2, NULL), QN_ERR_RANGE);
        op_end(&t);
    }
}

/* -- the rest ------------------------------------------------------------------------------------------------------------- */

static void one_hot_leaves_what_is_out_of_range_off(void **state)
{
    (void)state;
    for (int bound = 0; bound < 2; bound++) {
        op_begin(&t, &qn_op_one_hot, 11);
        op_in_i64(&t, (const int64_t[]){ 1, -1, 7 }, 1, 3);
        op_in_i64(&t, (const int64_t[]){ 3 }, 0);
        op_in_f32(&t, (const float[]){ -1, 1 }, 1, 2);
        t.bound = bound;
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        ASSERT_DIMS(&t.out[0], 3, 3);
        ASSERT_DATA(&t.out[0], float, -1, 1, -1, -1, -1, 1, -1, -1, -1);
        op_end(&t);
    }
}

static void eye_like_in_another_dtype(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_eye_like, 9);
    op_attr_int(&t, "dtype", 10); /* f16 */
    op_attr_int(&t, "k", -1);
    op_in_i32(&t, (const int32_t[6]){ 0 }, 2, 3, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DATA(&t.out[0], uint16_t, 0, 0, 0x3c00, 0, 0, 0x3c00);
    op_end(&t);
}

static void triangles_with_far_diagonals(void **state)
{
    static const int64_t ks[] = { 0, 1, -5, 5, INT64_MAX, INT64_MIN };

    (void)state;
    for (int upper = 0; upper < 2; upper++) {
        for (size_t i = 0; i < sizeof ks / sizeof ks[0]; i++) {
            op_begin(&t, &qn_op_trilu, 14);
            op_attr_int(&t, "upper", upper);
            op_in_f32(&t, (const float[]){ 1, 2, 3, 4, 5, 6 }, 2, 2, 3);
            op_in_i64(&t, &ks[i], 0);
            assert_int_equal(op_run(&t, 1, NULL), QN_OK);
            for (int r = 0; r < 2; r++) {
                for (int c = 0; c < 3; c++) {
                    bool keep = upper ? c - r >= ks[i] : c - r <= ks[i];
                    float want = keep ? (float)(r * 3 + c + 1) : 0;

                    assert_true(op_out_f32(&t, 0)[r * 3 + c] == want);
                }
            }
            op_end(&t);
        }
    }
}

static void sequences_are_reversed_up_to_their_length(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_reverse_sequence, 10);
    op_in_f32(&t, count6, 2, 3, 2); /* [time, batch] */
    op_in_i64(&t, (const int64_t[]){ 3, 2 }, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DATA(&t.out[0], float, 4, 3, 2, 1, 0, 5);
    op_end(&t);
    op_begin(&t, &qn_op_reverse_sequence, 10);
    op_in_f32(&t, count6, 2, 3, 2);
    op_in_i64(&t, (const int64_t[]){ 4, 2 }, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_RANGE);
    op_end(&t);
}

static void space_to_depth_undoes_depth_to_space(void **state)
{
    float x[2 * 8 * 2 * 3], y[2 * 8 * 2 * 3];

    (void)state;
    for (int i = 0; i < 96; i++) x[i] = (float)i;
    op_begin(&t, &qn_op_depth_to_space, 13);
    op_attr_int(&t, "blocksize", 2);
    op_in_f32(&t, x, 4, 2, 8, 2, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 2, 4, 6);
    assert_float_equal(op_out_f32(&t, 0)[1], x[2 * 6], 0); /* DCR: the pixel to the right is two channels on */
    memcpy(y, t.out[0].data, sizeof y);
    op_end(&t);
    op_begin(&t, &qn_op_space_to_depth, 13);
    op_attr_int(&t, "blocksize", 2);
    op_in_f32(&t, y, 4, 2, 2, 4, 6);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, x, sizeof x);
    op_end(&t);
    op_begin(&t, &qn_op_depth_to_space, 13);
    op_attr_int(&t, "blocksize", 3);
    op_in_f32(&t, x, 4, 2, 8, 2, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_are_clamped_as_the_specification_says),
        cmocka_unit_test(a_step_of_zero_is_refused),
        cmocka_unit_test(slice_dims_stay_expressions),
        cmocka_unit_test(the_old_slice_reads_attributes),
        cmocka_unit_test(gather_picks_rows_and_counts_from_the_end),
        cmocka_unit_test(gathered_strings),
        cmocka_unit_test(an_index_outside_its_axis_is_an_error_that_names_it),
        cmocka_unit_test(gather_nd_with_batch_dims),
        cmocka_unit_test(scattered_duplicates_are_combined_in_order),
        cmocka_unit_test(nan_wins_a_scatter_of_the_largest),
        cmocka_unit_test(a_scatter_of_unlike_shapes_is_refused),
        cmocka_unit_test(pads_of_every_mode),
        cmocka_unit_test(a_negative_pad_takes_away),
        cmocka_unit_test(pads_that_cannot_be_are_refused),
        cmocka_unit_test(non_zero_lists_coordinates),
        cmocka_unit_test(compress_takes_what_is_true),
        cmocka_unit_test(unique_in_both_orders),
        cmocka_unit_test(unique_strings_and_slices),
        cmocka_unit_test(of_equal_elements_the_lower_index_comes_first),
        cmocka_unit_test(more_than_there_are_is_refused),
        cmocka_unit_test(one_hot_leaves_what_is_out_of_range_off),
        cmocka_unit_test(eye_like_in_another_dtype),
        cmocka_unit_test(triangles_with_far_diagonals),
        cmocka_unit_test(sequences_are_reversed_up_to_their_length),
        cmocka_unit_test(space_to_depth_undoes_depth_to_space),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
