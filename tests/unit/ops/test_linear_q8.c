/* tests/unit/ops/test_linear_q8.c - 8-bit products and convolutions as ops: every mix of signs, scales and forms of inputs, against
 * the definition: exact sums, one f32 multiplication, rounding to nearest even. */
#include "tests/unit/ops/op_harness.h"

#include "core/ops/ops.h"

#include <math.h>

static uint8_t *bytes(int n, int step)
{
    static uint8_t pool[4][4096];
    static int next;
    uint8_t *x = pool[next++ % 4];

    assert_true(n <= 4096);
    for (int i = 0; i < n; i++) x[i] = (uint8_t)(i * step + 3);
    return x;
}

static int value(uint8_t v, bool is_signed) { return is_signed ? (int8_t)v : v; }

static uint8_t requantize(int sum, float mult, int zero, int lo, int hi)
{
    const int v = (int)lrintf((float)sum * mult) + zero;

    return (uint8_t)(v < lo ? lo : v > hi ? hi : v);
}

/* x [2,3,5,4], w [4,3,2,2]; op 0 QLinearConv, 1 ConvInteger. */
static void qconv_case(int which, bool x_signed, bool w_signed, bool per_channel, bool const_w)
{
    const qn_op *const ops[] = { &qn_op_qlinear_conv, &qn_op_conv_integer };
    const float scales[] = { 0.01f, 0.02f, 0.005f, 0.013f }, x_scale = 0.03f, y_scale = 0.11f;
    const uint8_t *x = bytes(120, 37), *w = bytes(48, 29);
    const int32_t bias[] = { 100, -2000, 30, 7 };
    uint8_t x_zero = x_signed ? (uint8_t)-5 : 120, y_zero = x_signed ? 3 : 128, zeros[4] = { 2, 2, 2, 2 };
    const qn_tensor tw = op_view(w_signed ? QN_I8 : QN_U8, w, 4, 4, 3, 2, 2), tx = op_view(x_signed ? QN_I8 : QN_U8, x, 4, 2, 3, 5, 4);
    const qn_tensor txz = op_view(tx.dtype, &x_zero, 0), twz = op_view(tw.dtype, zeros, per_channel ? 1 : 0, 4),
                    tyz = op_view(tx.dtype, &y_zero, 0);
    static op_test t;

    op_begin(&t, ops[which], 10);
    op_in(&t, &tx);
    if (which < 1) {
        op_in_f32(&t, &x_scale, 0);
        op_in(&t, &txz);
    }
    if (const_w)
        op_in_const(&t, &tw);
    else
        op_in(&t, &tw);
    if (which < 1) {
        op_in_f32(&t, scales, per_channel ? 1 : 0, 4);
        op_in(&t, &twz);
        op_in_f32(&t, &y_scale, 0);
        op_in(&t, &tyz);
        op_in_i32(&t, bias, 1, 4);
    } else {
        op_in(&t, &txz);
        op_in(&t, &twz);
    }
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].dims[2], 4);
    assert_int_equal(t.out[0].dims[3], 3);
    for (int i = 0; i < 2 * 4 * 12; i++) {
        const int q = i % 3, r = i / 3 % 4, o = i / 12 % 4, n = i / 48;
        int sum = which < 1 ? bias[o] : 0;

        for (int z = 0; z < 12; z++)
            sum += (value(x[((n * 3 + z / 4) * 5 + r + z / 2 % 2) * 4 + q + z % 2], x_signed) - value(x_zero, x_signed)) *
                   (value(w[o * 12 + z], w_signed) - 2);
        if (which == 1) {
            assert_int_equal(op_out_i32(&t, 0)[i], sum);
        } else {
            const float mult = x_scale * scales[per_channel ? o : 0] / y_scale;
            const int zero = value(y_zero, x_signed), lo = x_signed ? -128 : 0;

            assert_int_equal(((uint8_t *)t.out[0].data)[i], requantize(sum, mult, zero, lo, x_signed ? 127 : 255));
        }
    }
    op_end(&t);
}

static void quantized_convolutions_are_exact_in_every_mix(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        for (int how = 0; how < 16; how++) qconv_case(which, how & 1, how & 2, how & 4, how & 8);
    }
}

/* a [2,5,9] by b [9,21] or [2,9,21]; op 0 QLinearMatMul, 1 MatMulInteger. */
static void qmatmul_case(int which, bool a_signed, bool b_signed, bool per_column, bool const_b, bool batched)
{
    enum { M = 5, N = 21, K = 9 };
    const uint8_t *a = bytes(2 * M * K, 41), *b = bytes(2 * K * N, 23);
    float scales[N];
    const float a_scale = 0.02f, y_scale = 0.3f;
    uint8_t zeros[N], a_zero = a_signed ? (uint8_t)-9 : 77, y_zero = 11;
    const qn_tensor ta = op_view(a_signed ? QN_I8 : QN_U8, a, 3, 2, M, K);
    const qn_tensor tb = batched ? op_view(b_signed ? QN_I8 : QN_U8, b, 3, 2, K, N) : op_view(b_signed ? QN_I8 : QN_U8, b, 2, K, N);
    const qn_tensor taz = op_view(ta.dtype, &a_zero, 0), tbz = op_view(tb.dtype, zeros, per_column ? 1 : 0, N),
                    tyz = op_view(ta.dtype, &y_zero, 0);
    static op_test t;

    for (int j = 0; j < N; j++) {
        scales[j] = 0.01f + 0.001f * (float)j;
        zeros[j] = (uint8_t)(per_column ? j : 4);
    }
    op_begin(&t, which ? &qn_op_matmul_integer : &qn_op_qlinear_matmul, 10);
    op_in(&t, &ta);
    if (!which) {
        op_in_f32(&t, &a_scale, 0);
        op_in(&t, &taz);
    }
    if (const_b)
        op_in_const(&t, &tb);
    else
        op_in(&t, &tb);
    if (!which) {
        op_in_f32(&t, scales, per_column ? 1 : 0, N);
        op_in(&t, &tbz);
        op_in_f32(&t, &y_scale, 0);
        op_in(&t, &tyz);
    } else {
        op_in(&t, &taz);
        op_in(&t, &tbz);
    }
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 2 * M * N; i++) {
        const int j = i % N, row = i / N, z0 = batched ? row / M * K * N : 0;
        int sum = 0;

        for (int p = 0; p < K; p++)
            sum +=
                (value(a[row * K + p], a_signed) - value(a_zero, a_signed)) * (value(b[z0 + p * N + j], b_signed) - (per_column ? j : 4));
        if (which)
            assert_int_equal(op_out_i32(&t, 0)[i], sum);
        else
            assert_int_equal(((uint8_t *)t.out[0].data)[i], requantize(sum, a_scale * scales[per_column ? j : 0] / y_scale, 11,
                                                                       a_signed ? -128 : 0, a_signed ? 127 : 255));
    }
    op_end(&t);
}

static void quantized_products_are_exact_in_every_mix(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        for (int how = 0; how < 32; how++) qmatmul_case(which, how & 1, how & 2, how & 4, how & 8, how & 16);
    }
}

static void qgemm_case(bool ta, bool tb, int c_form, bool float_out, bool const_b, float alpha)
{
    enum { M = 6, N = 18, K = 10 };
    const int c_dims[5][3] = { { 0 }, { 1, N }, { 2, M, N }, { 2, M, 1 }, { 0 } };
    const uint8_t *a = bytes(M * K, 41), *b = bytes(K * N, 23), a_zero = 90, b_zero = 6, y_zero = 130;
    int32_t c[M * N];
    const float a_scale = 0.02f, b_scale = 0.07f, y_scale = 0.4f;
    const qn_tensor tensor_b = tb ? op_view(QN_I8, b, 2, N, K) : op_view(QN_I8, b, 2, K, N), tbz = op_view(QN_I8, &b_zero, 0);
    static op_test t;

    for (int i = 0; i < M * N; i++) c[i] = i * 37 % 900 - 450;
    op_begin(&t, &qn_op_ms_qgemm, 1);
    op_attr_int(&t, "transA", ta);
    op_attr_int(&t, "transB", tb);
    op_attr_float(&t, "alpha", alpha);
    op_in_u8(&t, a, 2, ta ? K : M, ta ? M : K);
    op_in_f32(&t, &a_scale, 0);
    op_in_u8(&t, &a_zero, 0);
    if (const_b)
        op_in_const(&t, &tensor_b);
    else
        op_in(&t, &tensor_b);
    op_in_f32(&t, &b_scale, 1, 1);
    op_in(&t, &tbz);
    if (c_form == 0)
        op_in_none(&t);
    else if (c_form == 4)
        op_in_i32(&t, c, 0);
    else
        op_in_i32(&t, c, c_dims[c_form][0], c_dims[c_form][1], c_dims[c_form][2]);
    if (!float_out) {
        op_in_f32(&t, &y_scale, 0);
        op_in_u8(&t, &y_zero, 0);
    }
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < M * N; i++) {
        const int r = i / N, j = i % N;
        int sum = c_form == 0 ? 0 : c_form == 1 ? c[j] : c_form == 2 ? c[i] : c_form == 3 ? c[r] : c[0];
        float mult = alpha * a_scale * b_scale;

        for (int p = 0; p < K; p++) sum += (a[ta ? p * M + r : r * K + p] - 90) * ((int8_t)b[tb ? j * K + p : p * N + j] - 6);
        if (float_out) {
            const float v = (float)sum * mult;

            assert_true(op_out_f32(&t, 0)[i] == v);
        } else {
            assert_int_equal(op_out_u8(&t, 0)[i], requantize(sum, mult / y_scale, 130, 0, 255));
        }
    }
    op_end(&t);
}

static void qgemm_takes_every_form_of_c_and_both_outputs(void **state)
{
    (void)state;
    for (int how = 0; how < 16; how++) {
        for (int c = 0; c < 5; c++) qgemm_case(how & 1, how & 2, c, how & 4, how & 8, how & 2 ? 1 : 0.37f);
    }
}

static void quantized_ops_refuse_parameters_that_do_not_fit(void **state)
{
    const float scales[] = { 1, 1, 1 };
    const uint8_t *x = bytes(100, 3), zero[3] = { 0 };
    qn_error err;
    static op_test t;

    (void)state;
    for (int how = 0; how < 6; how++) { /* 3 scales for 2 columns, 2 of a, an s8 zero point of u8, y_zero f32, no b, all well */
        op_begin(&t, &qn_op_qlinear_matmul, 10);
        op_in_u8(&t, x, 2, 2, 4);
        op_in_f32(&t, scales, how == 1 ? 1 : 0, 2);
        op_in_u8(&t, zero, 0);
        if (how == 4)
            op_in_none(&t);
        else
            op_in_u8(&t, x, 2, 4, 2);
        op_in_f32(&t, scales, how == 0 ? 1 : 0, 3);
        if (how == 2)
            op_in_i8(&t, (const int8_t *)zero, 0);
        else
            op_in_u8(&t, zero, 0);
        op_in_f32(&t, scales, 0);
        if (how == 3)
            op_in_f32(&t, scales, 0);
        else
            op_in_u8(&t, zero, 0);
        assert_int_equal(op_run(&t, 1, &err), how == 5 ? QN_OK : how < 2 ? QN_ERR_SHAPE : how < 4 ? QN_ERR_DTYPE : QN_ERR_INVALID);
        op_end(&t);
    }
}

static void sums_that_might_not_fit_32_bits_are_refused(void **state)
{
    enum { K = 66001 };
    uint8_t *x = calloc(1, K);
    qn_error err;
    static op_test t;

    (void)state;
    assert_non_null(x);
    op_begin(&t, &qn_op_matmul_integer, 10);
    op_in_u8(&t, x, 2, 1, K);
    op_in_u8(&t, x, 2, K, 1);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_UNSUPPORTED);
    op_end(&t);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantized_convolutions_are_exact_in_every_mix), cmocka_unit_test(quantized_products_are_exact_in_every_mix),
        cmocka_unit_test(qgemm_takes_every_form_of_c_and_both_outputs),  cmocka_unit_test(quantized_ops_refuse_parameters_that_do_not_fit),
        cmocka_unit_test(sums_that_might_not_fit_32_bits_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
