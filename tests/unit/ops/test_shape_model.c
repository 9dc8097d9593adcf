/* NonMaxSuppression, RoiAlign, GridSample, Det, windows, MelWeightMatrix, Col2Im, CenterCropPad, RNN, LSTM, GRU. */
#include "tests/unit/ops/op_harness.h"

#include "core/ops/ops.h"

#include <math.h>

static op_test t;

static void assert_floats(int32_t o, int n, const float *want, float tolerance)
{
    assert_int_equal(t.out[o].bytes, (size_t)n * 4);
    for (int i = 0; i < n; i++) assert_float_equal(((const float *)t.out[o].data)[i], want[i], tolerance);
}
#define ASSERT_FLOATS(o, tolerance, ...)                                                                                                   \
    assert_floats(o, (int)(sizeof((float[]){ __VA_ARGS__ }) / 4), (const float[]){ __VA_ARGS__ }, tolerance)

/* -- detection ------------------------------------------------------------------------------------------------------------ */

static void nms(float iou, float score, int64_t max)
{
    /* boxes 0 and 1 overlap by half of their union, 2 stands apart; 3 is 2 with its corners the other way round */
    static const float boxes[] = { 0, 0, 1, 3, 0, 1, 1, 4, 5, 5, 6, 6, 6, 6, 5, 5 }, scores[] = { 0.5f, 0.9f, 0.7f, 0.7f };

    op_begin(&t, &qn_op_non_max_suppression, 11);
    op_in_f32(&t, boxes, 3, 1, 4, 4);
    op_in_f32(&t, scores, 3, 1, 1, 4);
    op_in_i64(&t, &max, 1, 1);
    op_in_f32(&t, &iou, 1, 1);
    op_in_f32(&t, &score, 1, 1);
}

static void boxes_that_overlap_a_better_one_are_left_out(void **state)
{
    (void)state;
    nms(0.4f, 0.1f, 10);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].dims[0], 2);
    assert_memory_equal(t.out[0].data, ((const int64_t[]){ 0, 0, 1, 0, 0, 2 }), 48); /* of the equal ones the lower index */
    op_end(&t);
    nms(0.6f, 0.6f, 10); /* half is not too much now, but 0.5 is too little */
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const int64_t[]){ 0, 0, 1, 0, 0, 2 }), 48);
    op_end(&t);
    nms(0.6f, 0.1f, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].dims[0], 1);
    op_end(&t);
    nms(1.5f, 0, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_RANGE);
    op_end(&t);
}

static void roi(float x2, int64_t batch)
{
    static const float x[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };

    op_begin(&t, &qn_op_roi_align, 16);
    op_in_f32(&t, x, 4, 1, 1, 3, 3);
    op_in_f32(&t, (const float[]){ 0.5f, 0.5f, x2, 2.5f }, 2, 1, 4);
    op_in_i64(&t, &batch, 1, 1);
}

static void a_region_is_the_mean_of_what_it_covers(void **state)
{
    (void)state;
    roi(2.5f, 0); /* pixels 0..2 between their centres: the middle is 4 */
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_FLOATS(0, 1e-6f, 4);
    op_end(&t);
    roi(2.5f, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_RANGE);
    op_end(&t);
    roi(1e30f, 0); /* would sample for ever */
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_RANGE);
    op_end(&t);
    roi(NAN, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_RANGE);
    op_end(&t);
}

static void grid_places_outside_follow_the_padding(void **state)
{
    static const struct {
        const char *pad;
        float want[3];
    } cases[] = { { "zeros", { 1.5f, 0, 0 } }, { "border", { 1.5f, 2, 1 } }, { "reflection", { 1.5f, 1, 1 } } };
    const float grid[] = { 0, 0, 3, 0, NAN, 0 }; /* the middle of [1, 2]; two pixels beyond; nowhere */

    (void)state;
    for (int i = 0; i < 3; i++) {
        op_begin(&t, &qn_op_grid_sample, 16);
        op_attr_str(&t, "padding_mode", cases[i].pad);
        op_in_f32(&t, (const float[]){ 1, 2 }, 4, 1, 1, 1, 2);
        op_in_f32(&t, grid, 4, 1, 1, 3, 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_float_equal(op_out_f32(&t, 0)[0], cases[i].want[0], 1e-6f);
        assert_float_equal(op_out_f32(&t, 0)[1], cases[i].want[1], 1e-6f);
        assert_true(isfinite(op_out_f32(&t, 0)[2]));
        op_end(&t);
    }
}

/* -- numbers -------------------------------------------------------------------------------------------------------------- */

static void determinants_of_a_stack(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_det, 11);
    op_in_f32(&t, (const float[]){ 1, 2, 3, 4, 0, 1, 1, 0, 2, 4, 1, 2 }, 3, 3, 2, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_FLOATS(0, 1e-6f, -2, -1, 0);
    op_end(&t);
    op_begin(&t, &qn_op_det, 11);
    op_in_f32(&t, (const float[6]){ 0 }, 2, 2, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

static void windows_rise_and_fall(void **state)
{
    (void)state;
    for (int bound = 0; bound < 2; bound++) {
        op_begin(&t, &qn_op_hann_window, 17);
        op_in_i64(&t, (const int64_t[]){ 4 }, 0);
        t.bound = bound;
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        ASSERT_FLOATS(0, 1e-6f, 0, 0.5f, 1, 0.5f);
        op_end(&t);
    }
    op_begin(&t, &qn_op_blackman_window, 17);
    op_attr_int(&t, "periodic", 0);
    op_in_i32(&t, (const int32_t[]){ 3 }, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_FLOATS(0, 1e-6f, 0, 1, 0);
    op_end(&t);
    op_begin(&t, &qn_op_hann_window, 17);
    op_in_i64(&t, (const int64_t[]){ -4 }, 0);
    t.bound = false;
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

static void overlapping_blocks_add_up(void **state)
{
    (void)state; /* blocks of 2 over 3 places: the middle gets two of them */
    op_begin(&t, &qn_op_col2im, 18);
    op_in_f32(&t, (const float[]){ 1, 2, 10, 20 }, 3, 1, 2, 2);
    op_in_i64(&t, (const int64_t[]){ 1, 3 }, 1, 2);
    op_in_i64(&t, (const int64_t[]){ 1, 2 }, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_FLOATS(0, 0, 1, 12, 20);
    op_end(&t);
    op_begin(&t, &qn_op_col2im, 18); /* a block larger than the image */
    op_in_f32(&t, (const float[]){ 1, 2, 10, 20 }, 3, 1, 2, 2);
    op_in_i64(&t, (const int64_t[]){ 1, 1 }, 1, 2);
    op_in_i64(&t, (const int64_t[]){ 1, 2 }, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

static void the_middle_stays_in_the_middle(void **state)
{
    (void)state;
    op_begin(&t, &qn_op_center_crop_pad, 18);
    op_attr_ints(&t, "axes", (const int64_t[]){ -1, 0 }, 2);
    op_in_f32(&t, (const float[]){ 1, 2, 3, 4 }, 2, 1, 4);
    op_in_i64(&t, (const int64_t[]){ 1, 4 }, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].dims[0], 4);
    ASSERT_FLOATS(0, 0, 0, 2, 0, 0); /* 3 rows added: 1 before, 2 after; 3 columns taken: 1 and 2 */
    op_end(&t);
}

/* -- recurrent ------------------------------------------------------------------------------------------------------------ */

enum { SEQ = 4, BATCH = 5, IN = 3, HID = 18 };

static float noise(int i) { return sinf((float)i * 12.9898f + 1) * 0.7f; }

static void recurrent(const qn_op *op, int gates, const char *direction, int batch, int first_row, bool lens)
{
    static float x[SEQ * BATCH * IN], w[2 * 4 * HID * IN], r[2 * 4 * HID * HID], b[2 * 8 * HID];
    int dirs = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    int32_t n[BATCH] = { 4, 2, 3, 0, 1 };

    for (int s = 0; s < SEQ; s++)
        for (int i = 0; i < batch * IN; i++) x[s * batch * IN + i] = noise((s * BATCH + first_row) * IN + i);
    for (int i = 0; i < dirs * gates * HID * IN; i++) w[i] = noise(1000 + i);
    for (int i = 0; i < dirs * gates * HID * HID; i++) r[i] = noise(2000 + i) * 0.3f;
    for (int i = 0; i < dirs * 2 * gates * HID; i++) b[i] = noise(9000 + i);
    op_begin(&t, op, 14);
    op_attr_int(&t, "hidden_size", HID);
    op_attr_str(&t, "direction", direction);
    op_in_f32(&t, x, 3, SEQ, batch, IN);
    op_in_f32(&t, w, 3, dirs, gates * HID, IN);
    op_in_f32(&t, r, 3, dirs, gates * HID, HID);
    op_in_f32(&t, b, 2, dirs, 2 * gates * HID);
    if (lens) op_in_i32(&t, n + first_row, 1, batch);
}

static void a_row_of_a_batch_is_the_row_alone(void **state)
{
    static const struct {
        const qn_op *op;
        int gates, n_out;
    } cells[] = { { &qn_op_rnn, 1, 2 }, { &qn_op_lstm, 4, 3 }, { &qn_op_gru, 3, 2 } };
    static float all[SEQ * 2 * BATCH * HID];

    (void)state;
    for (int c = 0; c < 3; c++) {
        recurrent(cells[c].op, cells[c].gates, "bidirectional", BATCH, 0, true);
        assert_int_equal(op_run(&t, cells[c].n_out, NULL), QN_OK);
        assert_int_equal(t.out[0].bytes, sizeof all);
        memcpy(all, t.out[0].data, sizeof all);
        op_end(&t);
        for (int row = 0; row < BATCH; row++) {
            recurrent(cells[c].op, cells[c].gates, "bidirectional", 1, row, true);
            assert_int_equal(op_run(&t, cells[c].n_out, NULL), QN_OK);
            for (int s = 0; s < SEQ * 2; s++) assert_memory_equal(op_out_f32(&t, 0) + s * HID, all + (s * BATCH + row) * HID, HID * 4);
            op_end(&t);
        }
    }
}

static void beyond_its_length_a_sequence_is_zero_and_its_state_stays(void **state)
{
    (void)state;
    recurrent(&qn_op_gru, 3, "forward", BATCH, 0, true);
    assert_int_equal(op_run(&t, 2, NULL), QN_OK);
    for (int i = 0; i < HID; i++) { /* row 1 has 2 steps: Y_h is Y at step 1, steps 2 and 3 are zero */
        assert_float_equal(op_out_f32(&t, 1)[HID + i], op_out_f32(&t, 0)[(1 * BATCH + 1) * HID + i], 0);
        assert_float_equal(op_out_f32(&t, 0)[(2 * BATCH + 1) * HID + i], 0, 0);
        assert_float_equal(op_out_f32(&t, 1)[3 * HID + i], 0, 0); /* row 3 has none: the initial state */
    }
    op_end(&t);
}

static void one_step_of_a_small_lstm_by_hand(void **state)
{
    const float w[] = { 1, 2, 3, 4 }, r[] = { 0, 0, 0, 0 }, x = 0.5f; /* gates i o f c */
    const float i = 1 / (1 + expf(-0.5f)), o = 1 / (1 + expf(-1)), g = tanhf(2), c = i * g;

    (void)state;
    op_begin(&t, &qn_op_lstm, 14);
    op_attr_int(&t, "hidden_size", 1);
    op_in_f32(&t, &x, 3, 1, 1, 1);
    op_in_f32(&t, w, 3, 1, 4, 1);
    op_in_f32(&t, r, 3, 1, 4, 1);
    assert_int_equal(op_run(&t, 3, NULL), QN_OK);
    ASSERT_FLOATS(0, 1e-6f, o * tanhf(c));
    ASSERT_FLOATS(2, 1e-6f, c);
    op_end(&t);
}

static void activations_take_the_factors_that_are_left(void **state)
{
    const char *names[] = { "Tanh", "LeakyRelu" };
    const float ones[] = { 1, 1 }, zeros[] = { 0, 0 }, x = -1, alpha = 0.5f;

    (void)state;
    op_begin(&t, &qn_op_rnn, 14);
    op_attr_int(&t, "hidden_size", 1);
    op_attr_str(&t, "direction", "bidirectional");
    op_attr_strings(&t, "activations", names, 2);
    op_attr_floats(&t, "activation_alpha", &alpha, 1); /* Tanh has none: it is LeakyRelu's */
    op_in_f32(&t, &x, 3, 1, 1, 1);
    op_in_f32(&t, ones, 3, 2, 1, 1);
    op_in_f32(&t, zeros, 3, 2, 1, 1);
    assert_int_equal(op_run(&t, 2, NULL), QN_OK);
    ASSERT_FLOATS(0, 1e-6f, tanhf(-1), -0.5f);
    op_end(&t);
}

static void recurrent_shapes_that_do_not_fit_are_refused(void **state)
{
    const float x[6] = { 0 };

    (void)state;
    for (int bound = 0; bound < 2; bound++) {
        op_begin(&t, &qn_op_rnn, 14); /* R for 2 hidden units, W for 3 */
        op_in_f32(&t, x, 3, 1, 1, 2);
        op_in_f32(&t, x, 3, 1, 3, 2);
        op_in_f32(&t, x, 3, 1, 2, 2);
        assert_int_equal(op_run(&t, 2, NULL), QN_ERR_SHAPE);
        op_end(&t);
    }
    recurrent(&qn_op_rnn, 1, "forward", 1, 0, false);
    op_in_i32(&t, (const int32_t[]){ SEQ + 1 }, 1, 1);
    assert_int_equal(op_run(&t, 2, NULL), QN_ERR_RANGE);
    op_end(&t);
    recurrent(&qn_op_rnn, 1, "sideways", 1, 0, false);
    assert_int_equal(op_run(&t, 2, NULL), QN_ERR_INVALID);
    op_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boxes_that_overlap_a_better_one_are_left_out),
        cmocka_unit_test(a_region_is_the_mean_of_what_it_covers),
        cmocka_unit_test(grid_places_outside_follow_the_padding),
        cmocka_unit_test(determinants_of_a_stack),
        cmocka_unit_test(windows_rise_and_fall),
        cmocka_unit_test(overlapping_blocks_add_up),
        cmocka_unit_test(the_middle_stays_in_the_middle),
        cmocka_unit_test(a_row_of_a_batch_is_the_row_alone),
        cmocka_unit_test(beyond_its_length_a_sequence_is_zero_and_its_state_stays),
        cmocka_unit_test(one_step_of_a_small_lstm_by_hand),
        cmocka_unit_test(activations_take_the_factors_that_are_left),
        cmocka_unit_test(recurrent_shapes_that_do_not_fit_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
