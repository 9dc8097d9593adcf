/* tests/unit/ops/test_math_norm.c - normalisations, quantization and losses.
 * What ONNX's own test data covers (opset 17 and before) is left to tests/conformance. */
#include "tests/unit/ops/op_harness.h"

#include "core/base/half.h"
#include "core/ops/elem.h"
#include "core/ops/ops.h"

#include <math.h>

static void noise(float *x, int n, float scale)
{
    uint32_t s = 17;

    for (int i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = ((float)(s >> 8) * 0x1p-23f - 1.0f) * scale;
    }
}

/* x in another real dtype; the caller frees it. */
static qn_tensor as(qn_dtype dtype, const float *x, int rank, const int64_t *dims)
{
    qn_tensor t;

    assert_int_equal(qn_tensor_alloc(dtype, rank, dims, &t, NULL), QN_OK);
    for (int64_t i = 0; i < qn_tensor_count(&t); i++) {
        const double d = (double)x[i];

        qn_elem_store(dtype, (char *)t.data + i * (int64_t)qn_dtype_size(dtype), 1,
                      dtype == QN_F64 ? (const void *)&d : (const void *)&x[i]);
    }
    return t;
}

static double at(const qn_tensor *t, int64_t i) { return qn_move_real(t, i); }

static const qn_dtype reals[] = { QN_F32, QN_F64, QN_F16, QN_BF16 };
static const double coarse[] = { 2e-6, 1e-6, 2e-3, 1e-2 }; /* f64 is fed f32 values and parameters */

/* -- normalisation -------------------------------------------------------------------------------------------------------- */

enum { BATCH = 2, CHANNELS = 6, SPACE = 35, VOLUME = BATCH * CHANNELS * SPACE };

static void mean_var(const qn_tensor *x, const int *index, int n, double *mean, double *var)
{
    *mean = *var = 0;
    for (int i = 0; i < n; i++) *mean += at(x, index[i]) / n;
    for (int i = 0; i < n; i++) *var += (at(x, index[i]) - *mean) * (at(x, index[i]) - *mean) / n;
}

static void assert_near(const qn_tensor *t, int64_t i, double want, double limit)
{
    if (!(fabs(at(t, i) - want) <= limit * (1 + fabs(want)))) fail_msg("element %d is %.9g, expected %.9g", (int)i, at(t, i), want);
}

static void instance_and_group_norm_agree_with_double_in_every_real_dtype(void **state)
{
    const int64_t dims[3] = { BATCH, CHANNELS, SPACE }, c6[1] = { CHANNELS }, c3[1] = { 3 };
    const float scale[CHANNELS] = { 1, 0.5f, 2, -1, 0.25f, 1.5f }, bias[CHANNELS] = { 0, 1, -1, 0.5f, 0, 2 };
    float x[VOLUME];

    (void)state;
    noise(x, VOLUME, 2.0f);
    for (int d = 0; d < 4; d++) {
        for (int form = 0; form < 3; form++) { /* instance; groups of 2 channels before 21 and from 21 on */
            const int channels_per = form == 0 ? 1 : 2, n = channels_per * SPACE;
            qn_tensor in = as(reals[d], x, 3, dims), s = as(reals[d], scale, 1, form == 1 ? c3 : c6),
                      b = as(reals[d], bias, 1, form == 1 ? c3 : c6);
            op_test t;

            op_begin(&t, form == 0 ? &qn_op_instance_norm : &qn_op_group_norm, form == 2 ? 21 : 18);
            if (form) op_attr_int(&t, "num_groups", 3);
            op_in(&t, &in);
            op_in(&t, &s);
            op_in(&t, &b);
            assert_int_equal(op_run(&t, 1, NULL), QN_OK);
            for (int row = 0; row < VOLUME / n; row++) {
                int index[2 * SPACE];
                double mean, var;

                for (int i = 0; i < n; i++) index[i] = row * n + i;
                mean_var(&in, index, n, &mean, &var);
                for (int i = 0; i < n; i++) {
                    const int c = (row * n + i) / SPACE % CHANNELS, p = form == 1 ? c / 2 : c;

                    assert_near(&t.out[0], index[i], (at(&in, index[i]) - mean) / sqrt(var + 1e-5) * at(&s, p) + at(&b, p), coarse[d]);
                }
            }
            op_end(&t);
            qn_tensor_free(&in);
            qn_tensor_free(&s);
            qn_tensor_free(&b);
        }
    }
}

static void layer_norm_gives_mean_and_inverse_deviation_beside_y(void **state)
{
    const int64_t dims[3] = { 2, 3, 70 }, n[1] = { 70 };
    float x[420], scale[70], bias[70];

    (void)state;
    noise(x, 420, 3.0f);
    noise(scale, 70, 1.0f);
    noise(bias, 70, 0.5f);
    for (int d = 0; d < 4; d++) {
        qn_tensor in = as(reals[d], x, 3, dims), s = as(reals[d], scale, 1, n), b = as(reals[d], bias, 1, n);
        op_test t;

        op_begin(&t, &qn_op_layer_norm, 17);
        op_in(&t, &in);
        op_in(&t, &s);
        op_in(&t, &b);
        assert_int_equal(op_run(&t, 3, NULL), QN_OK);
        assert_int_equal(t.out[1].dtype, QN_F32);
        assert_int_equal(t.out[1].dims[2], 1);
        for (int r = 0; r < 6; r++) {
            int index[70];
            double mean, var;

            for (int i = 0; i < 70; i++) index[i] = r * 70 + i;
            mean_var(&in, index, 70, &mean, &var);
            assert_near(&t.out[1], r, mean, 1e-6);
            assert_near(&t.out[2], r, 1 / sqrt(var + 1e-5), 1e-6);
            for (int i = 0; i < 70; i++)
                assert_near(&t.out[0], index[i], (at(&in, index[i]) - mean) / sqrt(var + 1e-5) * at(&s, i) + at(&b, i), coarse[d]);
        }
        op_end(&t);
        qn_tensor_free(&in);
        qn_tensor_free(&s);
        qn_tensor_free(&b);
    }
}

static void layer_norm_stretches_a_single_scale_and_does_without_bias(void **state)
{
    const float x[] = { 1, 3, 2, 6 }, two[] = { 2 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_layer_norm, 17);
    op_in_f32(&t, x, 2, 2, 2);
    op_in_f32(&t, two, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 4; i++) assert_near(&t.out[0], i, i % 2 ? 2 : -2, 1e-4);
    op_end(&t);
    op_begin(&t, &qn_op_layer_norm, 17);
    op_in_f32(&t, x, 2, 2, 2);
    op_in_f32(&t, (const float[]){ 1, 2, 3 }, 1, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

static void batch_norm_uses_the_given_statistics_in_every_real_dtype(void **state)
{
    const int64_t space[3] = { BATCH, CHANNELS, SPACE }, flat[2] = { VOLUME / CHANNELS, CHANNELS }, c6[1] = { CHANNELS };
    const float scale[CHANNELS] = { 1, 0.5f, 2, -1, 0.25f, 1.5f }, bias[CHANNELS] = { 0, 1, -1, 0.5f, 0, 2 };
    const float mean[CHANNELS] = { 0.5f, 0, -0.5f, 1, 0, 0 }, var[CHANNELS] = { 1, 4, 0.25f, 2, 1, 0.5f };
    float x[VOLUME];

    (void)state;
    noise(x, VOLUME, 2.0f);
    for (int d = 0; d < 4; d++) {
        for (int two = 0; two < 2; two++) {
            qn_tensor in = as(reals[d], x, two ? 2 : 3, two ? flat : space);
            const float *params[4] = { scale, bias, mean, var };
            op_test t;

            op_begin(&t, &qn_op_batch_norm, 15);
            op_in(&t, &in);
            for (int p = 0; p < 4; p++) {
                qn_tensor q = as(d == 2 ? QN_F32 : reals[d], params[p], 1, c6); /* f16 with f32 parameters: allowed from 15 on */

                op_in(&t, &q);
                qn_tensor_free(&q);
            }
            assert_int_equal(op_run(&t, 1, NULL), QN_OK);
            for (int i = 0; i < VOLUME; i++) {
                const int c = two ? i % CHANNELS : i / SPACE % CHANNELS;

                assert_near(&t.out[0], i, (at(&in, i) - (double)mean[c]) / sqrt((double)var[c] + 1e-5) * (double)scale[c] + (double)bias[c],
                            coarse[d] * 2);
            }
            op_end(&t);
            qn_tensor_free(&in);
        }
    }
}

static void batch_norm_in_training_mode_keeps_running_statistics(void **state)
{
    const int64_t dims[3] = { BATCH, CHANNELS, SPACE };
    const float one[CHANNELS] = { 1, 1, 1, 1, 1, 1 }, zero[CHANNELS] = { 0 };
    float x[VOLUME];
    qn_tensor in;
    op_test t;

    (void)state;
    noise(x, VOLUME, 2.0f);
    in = as(QN_F32, x, 3, dims);
    op_begin(&t, &qn_op_batch_norm, 15);
    op_attr_int(&t, "training_mode", 1);
    op_attr_float(&t, "momentum", 0.75f);
    op_in(&t, &in);
    op_in_f32(&t, one, 1, CHANNELS);
    op_in_f32(&t, zero, 1, CHANNELS);
    op_in_f32(&t, one, 1, CHANNELS);
    op_in_f32(&t, one, 1, CHANNELS);
    assert_int_equal(op_run(&t, 3, NULL), QN_OK);
    for (int c = 0; c < CHANNELS; c++) {
        int index[BATCH * SPACE], n = 0;
        double mean, var;

        for (int i = 0; i < VOLUME; i++)
            if (i / SPACE % CHANNELS == c) index[n++] = i;
        mean_var(&in, index, n, &mean, &var);
        assert_near(&t.out[1], c, 0.75 + 0.25 * mean, 1e-6);
        assert_near(&t.out[2], c, 0.75 + 0.25 * var, 1e-6); /* population variance, as ONNX has it */
        for (int i = 0; i < n; i++) assert_near(&t.out[0], index[i], (at(&in, index[i]) - mean) / sqrt(var + 1e-5), 1e-5);
    }
    op_end(&t);
    qn_tensor_free(&in);
}

static void batch_norm_before_14_trains_where_its_statistics_are_asked_for(void **state)
{
    const int64_t dims[3] = { BATCH, CHANNELS, SPACE };
    float x[VOLUME], one[CHANNELS * SPACE];
    qn_tensor in;
    op_test t;

    (void)state;
    noise(x, VOLUME, 2.0f);
    for (int i = 0; i < CHANNELS * SPACE; i++) one[i] = 1;
    in = as(QN_F32, x, 3, dims);
    for (int spatial = 0; spatial < 2; spatial++) {
        const int n_stats = spatial ? CHANNELS : CHANNELS * SPACE;

        op_begin(&t, &qn_op_batch_norm, 7);
        if (!spatial) op_attr_int(&t, "spatial", 0);
        op_attr_float(&t, "momentum", 0.75f);
        op_in(&t, &in);
        for (int p = 0; p < 4; p++) {
            if (spatial)
                op_in_f32(&t, one, 1, CHANNELS);
            else
                op_in_f32(&t, one, 2, CHANNELS, SPACE);
        }
        assert_int_equal(op_run(&t, 5, NULL), QN_OK);
        for (int c = 0; c < n_stats; c++) {
            int index[BATCH * SPACE], n = 0;
            double mean, var;

            for (int i = 0; i < VOLUME; i++)
                if ((spatial ? i / SPACE % CHANNELS : i % n_stats) == c) index[n++] = i;
            mean_var(&in, index, n, &mean, &var);
            assert_near(&t.out[1], c, 0.75 + 0.25 * mean, 1e-6);
            assert_near(&t.out[2], c, 0.75 + 0.25 * var, 1e-6);
            assert_near(&t.out[3], c, mean, 1e-6);
            assert_near(&t.out[4], c, var, 1e-6);
            for (int i = 0; i < n; i++) assert_near(&t.out[0], index[i], (at(&in, index[i]) - mean) / sqrt(var + 1e-5) + 1, 1e-5);
        }
        op_end(&t);
    }
    qn_tensor_free(&in);
    op_begin(&t, &qn_op_batch_norm, 6); /* is_test forbids training */
    op_attr_int(&t, "is_test", 1);
    op_in_f32(&t, x, 3, BATCH, CHANNELS, SPACE);
    for (int p = 0; p < 4; p++) op_in_f32(&t, one, 1, CHANNELS);
    assert_int_equal(op_infer(&t, 3, NULL), QN_ERR_INVALID);
    op_end(&t);
    op_begin(&t, &qn_op_batch_norm, 15); /* from 14 on there are three outputs */
    op_attr_int(&t, "training_mode", 1);
    op_in_f32(&t, x, 3, BATCH, CHANNELS, SPACE);
    for (int p = 0; p < 4; p++) op_in_f32(&t, one, 1, CHANNELS);
    assert_int_equal(op_infer(&t, 4, NULL), QN_ERR_INVALID);
    op_end(&t);
}

static void lp_norm_of_zeros_is_zero(void **state)
{
    const float x[] = { 3, -4, 0, 0 };
    op_test t;

    (void)state;
    for (int p = 1; p <= 2; p++) {
        op_begin(&t, &qn_op_lp_norm, 1);
        op_attr_int(&t, "p", p);
        op_in_f32(&t, x, 2, 2, 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_near(&t.out[0], 0, p == 1 ? 3.0 / 7 : 0.6, 1e-6);
        assert_near(&t.out[0], 1, p == 1 ? -4.0 / 7 : -0.8, 1e-6);
        assert_true(at(&t.out[0], 2) == 0 && at(&t.out[0], 3) == 0);
        op_end(&t);
    }
}

static void lrn_divides_by_its_neighbours_with_any_beta(void **state)
{
    const float betas[] = { 0.75f, 0.6f };
    float x[2 * 7 * 5];
    op_test t;

    (void)state;
    noise(x, 70, 3.0f);
    for (int b = 0; b < 2; b++) {
        for (int size = 1; size <= 4; size++) {
            op_begin(&t, &qn_op_lrn, 13);
            op_attr_int(&t, "size", size);
            op_attr_float(&t, "alpha", 0.5f);
            op_attr_float(&t, "beta", betas[b]);
            op_attr_float(&t, "bias", 1.5f);
            op_in_f32(&t, x, 3, 2, 7, 5);
            assert_int_equal(op_run(&t, 1, NULL), QN_OK);
            for (int i = 0; i < 70; i++) {
                const int n = i / 35, c = i / 5 % 7, s = i % 5;
                double sum = 0;

                for (int k = c - (size - 1) / 2; k <= c + size - 1 - (size - 1) / 2; k++)
                    if (k >= 0 && k < 7) sum += (double)x[(n * 7 + k) * 5 + s] * (double)x[(n * 7 + k) * 5 + s];
                assert_near(&t.out[0], i, (double)x[i] / pow(1.5 + 0.5 / size * sum, (double)betas[b]), 2e-6);
            }
            op_end(&t);
        }
    }
}

/* -- quantization --------------------------------------------------------------------------------------------------------- */

static void quantization_per_axis_uses_the_scale_of_its_place(void **state)
{
    const float scale[] = { 0.5f, 2.0f, 0.1f };
    const int16_t zero[] = { 0, 100, -5 };
    float x[2 * 3 * 5];
    op_test t;

    (void)state;
    noise(x, 30, 40.0f);
    for (int axis = 0; axis < 2; axis++) { /* [3, 10] along 0, [10, 3] along the last */
        int16_t q[30];

        op_begin(&t, &qn_op_quantize_linear, 21);
        op_attr_int(&t, "axis", axis ? -1 : 0);
        op_in_f32(&t, x, 2, axis ? 10 : 3, axis ? 3 : 10);
        op_in_f32(&t, scale, 1, 3);
        op_in_i16(&t, zero, 1, 3);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        for (int i = 0; i < 30; i++) {
            const int s = axis ? i % 3 : i / 10;

            q[i] = op_out_i16(&t, 0)[i];
            assert_int_equal(q[i], (int)nearbyintf(x[i] / scale[s]) + zero[s]);
        }
        op_end(&t);
        op_begin(&t, &qn_op_dequantize_linear, 21);
        op_attr_int(&t, "axis", axis ? -1 : 0);
        op_in_i16(&t, q, 2, axis ? 10 : 3, axis ? 3 : 10);
        op_in_f32(&t, scale, 1, 3);
        op_in_i16(&t, zero, 1, 3);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        for (int i = 0; i < 30; i++) {
            const int s = axis ? i % 3 : i / 10;

            assert_true(op_out_f32(&t, 0)[i] == (float)(q[i] - zero[s]) * scale[s]);
        }
        op_end(&t);
    }
}

static void quantization_takes_half_precision_and_asks_for_a_dtype(void **state)
{
    const int64_t dims[1] = { 5 }, none[1] = { 0 };
    const float x[] = { -3, -0.5f, 0.5f, 1.5f, 200 }, one[] = { 1 };
    qn_tensor in = as(QN_F16, x, 1, dims), scale = as(QN_F16, one, 0, none);
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_quantize_linear, 21);
    op_attr_int(&t, "output_dtype", 3); /* INT8 */
    op_in(&t, &in);
    op_in(&t, &scale);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(op_out_i8(&t, 0), ((const int8_t[]){ -3, 0, 0, 2, 127 }), 5);
    op_end(&t);
    op_begin(&t, &qn_op_dequantize_linear, 19);
    op_in_u8(&t, (const uint8_t[]){ 1, 255 }, 1, 2);
    op_in(&t, &scale);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].dtype, QN_F16);
    assert_true(at(&t.out[0], 1) == 255);
    op_end(&t);
    qn_tensor_free(&in);
    qn_tensor_free(&scale);
}

static void what_quantization_does_not_support_is_said(void **state)
{
    const float x[] = { 1, 2, 3, 4 }, scale[] = { 1, 1 };
    const int32_t q[] = { 1 }, zero[] = { 3 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_quantize_linear, 21);
    op_attr_int(&t, "output_dtype", 17); /* an 8-bit float */
    op_in_f32(&t, x, 1, 4);
    op_in_f32(&t, scale, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_UNSUPPORTED);
    op_end(&t);
    op_begin(&t, &qn_op_quantize_linear, 13);
    op_attr_int(&t, "axis", 0);
    op_in_f32(&t, x, 1, 4);
    op_in_f32(&t, scale, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
    op_begin(&t, &qn_op_dequantize_linear, 13);
    op_in_i32(&t, q, 1, 1);
    op_in_f32(&t, x, 0);
    op_in_i32(&t, zero, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_INVALID);
    op_end(&t);
}

static void dynamic_quantization_of_zeros_has_scale_one(void **state)
{
    const float x[] = { 0, 0, 0 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_dynamic_quantize_linear, 11);
    op_in_f32(&t, x, 1, 3);
    assert_int_equal(op_run(&t, 3, NULL), QN_OK);
    assert_true(op_out_f32(&t, 1)[0] == 1.0f);
    assert_int_equal(op_out_u8(&t, 2)[0], 0);
    assert_int_equal(op_out_u8(&t, 0)[2], 0);
    op_end(&t);
}

/* -- losses --------------------------------------------------------------------------------------------------------------- */

static void cross_entropy_is_the_loss_of_the_logarithms_it_gives(void **state)
{
    const int64_t dims[3] = { 2, 4, 9 };
    const float weight[] = { 1, 0.5f, 2, 0.25f };
    int64_t target[18];
    float x[72];

    (void)state;
    noise(x, 72, 3.0f);
    for (int i = 0; i < 18; i++) target[i] = i % 5 == 4 ? -100 : i % 4; /* -100 is ignored */
    for (int d = 0; d < 4; d++) {
        const char *how[] = { "none", "sum", "mean" };
        qn_tensor in = as(reals[d], x, 3, dims), logp;

        for (int h = 0; h < 3; h++) {
            double sum = 0, all = 0;
            static op_test t, n;

            op_begin(&t, &qn_op_sce_loss, 13);
            op_begin(&n, &qn_op_nll_loss, 13);
            for (int k = 0; k < 2; k++) {
                op_attr_str(k ? &n : &t, "reduction", how[h]);
                op_attr_int(k ? &n : &t, "ignore_index", -100);
            }
            op_in(&t, &in);
            op_in_i64(&t, target, 2, 2, 9);
            op_in_f32(&t, weight, 1, 4);
            assert_int_equal(op_run(&t, 2, NULL), QN_OK);
            logp = t.out[1];
            op_in(&n, &logp);
            op_in_i64(&n, target, 2, 2, 9);
            op_in_f32(&n, weight, 1, 4);
            assert_int_equal(op_run(&n, 1, NULL), QN_OK);
            for (int i = 0; i < 18; i++) {
                const double w = target[i] < 0 ? 0 : (double)weight[target[i]];
                const double l = target[i] < 0 ? 0 : -w * at(&logp, (i / 9 * 4 + target[i]) * 9 + i % 9);

                sum += l;
                all += w;
                if (h == 0) assert_near(&t.out[0], i, l, coarse[d]);
            }
            if (h == 1) assert_near(&t.out[0], 0, sum, coarse[d]);
            if (h == 2) assert_near(&t.out[0], 0, sum / all, coarse[d]);
            for (int64_t i = 0; i < qn_tensor_count(&n.out[0]); i++) assert_near(&n.out[0], i, at(&t.out[0], i), coarse[d]);
            op_end(&t);
            op_end(&n);
        }
        qn_tensor_free(&in);
    }
}

static void a_target_that_is_no_class_is_an_error(void **state)
{
    const float x[] = { 1, 2, 3 };
    const int64_t targets[] = { 3, -1 };
    op_test t;
    qn_error err;

    (void)state;
    for (int i = 0; i < 2; i++) {
        op_begin(&t, &qn_op_nll_loss, 13);
        op_in_f32(&t, x, 2, 1, 3);
        op_in_i64(&t, &targets[i], 1, 1);
        assert_int_equal(op_run(&t, 1, &err), QN_ERR_RANGE);
        assert_non_null(strstr(err.message, "0..2"));
        op_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instance_and_group_norm_agree_with_double_in_every_real_dtype),
        cmocka_unit_test(layer_norm_gives_mean_and_inverse_deviation_beside_y),
        cmocka_unit_test(layer_norm_stretches_a_single_scale_and_does_without_bias),
        cmocka_unit_test(batch_norm_uses_the_given_statistics_in_every_real_dtype),
        cmocka_unit_test(batch_norm_in_training_mode_keeps_running_statistics),
        cmocka_unit_test(batch_norm_before_14_trains_where_its_statistics_are_asked_for),
        cmocka_unit_test(lp_norm_of_zeros_is_zero),
        cmocka_unit_test(lrn_divides_by_its_neighbours_with_any_beta),

        cmocka_unit_test(quantization_per_axis_uses_the_scale_of_its_place),
        cmocka_unit_test(quantization_takes_half_precision_and_asks_for_a_dtype),
        cmocka_unit_test(what_quantization_does_not_support_is_said),
        cmocka_unit_test(dynamic_quantization_of_zeros_has_scale_one),
        cmocka_unit_test(cross_entropy_is_the_loss_of_the_logarithms_it_gives),
        cmocka_unit_test(a_target_that_is_no_class_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
