/* tests/unit/ops/test_ms_quant.c - com.microsoft's quantized operators against their definitions, in both signs and odd shapes. */
#include "tests/unit/ops/op_harness.h"

#include "core/ops/ops.h"

#include <math.h>

enum { MOST = 4096 };

static uint8_t *bytes(int n, int step)
{
    static uint8_t pool[4][MOST];
    static int next;
    uint8_t *x = pool[next++ % 4];

    assert_true(n <= MOST);
    for (int i = 0; i < n; i++) x[i] = (uint8_t)(i * step + 3);
    return x;
}

static qn_dtype dtype_of(bool is_signed) { return is_signed ? QN_I8 : QN_U8; }

static int value(uint8_t v, bool is_signed) { return is_signed ? (int8_t)v : v; }

static int saturate(double v, bool is_signed)
{
    const int lo = is_signed ? -128 : 0;

    return !(v > lo) ? lo : v > lo + 255 ? lo + 255 : (int)v;
}

static void in_params(op_test *t, float scale, uint8_t zero, bool is_signed)
{
    const qn_tensor z = op_view(dtype_of(is_signed), &zero, 0);

    op_in_f32(t, &scale, 0);
    op_in(t, &z);
}

/* -- Add, Mul ------------------------------------------------------------------------------------------------------------- */

static void binary_case(bool mul, bool is_signed, int form)
{
    enum { N = 3, M = 77 };
    const uint8_t *a = bytes(N * M, 37), *b = bytes(N * M, 91), za = 100, zb = 7, zc = 11;
    const float sa = 0.03f, sb = 0.05f, sc = mul ? 0.2f : 0.06f;
    const qn_tensor ta = op_view(dtype_of(is_signed), a, 2, form == 2 ? 1 : N, M);
    const qn_tensor tb = form == 0   ? op_view(dtype_of(is_signed), b, 2, N, M)
                         : form == 1 ? op_view(dtype_of(is_signed), b, 1, M)
                         : form == 2 ? op_view(dtype_of(is_signed), b, 2, N, 1)
                                     : op_view(dtype_of(is_signed), b, 0);
    static op_test t;

    op_begin(&t, mul ? &qn_op_ms_qlinear_mul : &qn_op_ms_qlinear_add, 1);
    op_in(&t, &ta);
    in_params(&t, sa, za, is_signed);
    op_in(&t, &tb);
    in_params(&t, sb, zb, is_signed);
    in_params(&t, sc, zc, is_signed);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].bytes, N * M);
    for (int i = 0; i < N * M; i++) {
        const int j = form == 0 ? i : form == 1 ? i % M : form == 2 ? i / M : 0;
        const double u = (double)sa * (value(a[form == 2 ? i % M : i], is_signed) - value(za, is_signed)),
                     w = (double)sb * (value(b[j], is_signed) - value(zb, is_signed)), real = (mul ? u * w : u + w) / (double)sc;

        /* f32 rounding may tip a real that lies half-way */
        if (fabs(fabs(real - trunc(real)) - 0.5) > 1e-3)
            assert_int_equal(value(((uint8_t *)t.out[0].data)[i], is_signed), saturate(rint(real) + value(zc, is_signed), is_signed));
    }
    op_end(&t);
}

static void sums_and_products_broadcast(void **state)
{
    (void)state;
    for (int how = 0; how < 16; how++) binary_case(how & 1, how & 2, how >> 2);
}

/* -- tables --------------------------------------------------------------------------------------------------------------- */

static void sigmoid_and_leaky_relu_are_taken_of_every_byte(void **state)
{
    const uint8_t *x = bytes(256, 1), zero = 120;
    static op_test t;

    (void)state;
    for (int how = 0; how < 4; how++) {
        const bool leaky = how & 1, is_signed = how & 2;
        const float sx = 0.04f, sy = leaky ? 0.05f : 1 / 256.0f;
        const uint8_t zy = leaky ? 9 : is_signed ? 128 : 0;
        const qn_tensor tx = op_view(dtype_of(is_signed), x, 2, 16, 16);

        op_begin(&t, leaky ? &qn_op_ms_qlinear_leaky_relu : &qn_op_ms_qlinear_sigmoid, 1);
        if (leaky) op_attr_float(&t, "alpha", 0.25f);
        op_in(&t, &tx);
        in_params(&t, sx, zero, is_signed);
        in_params(&t, sy, zy, is_signed);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        for (int i = 0; i < 256; i++) {
            const double v = (double)sx * (value(x[i], is_signed) - value(zero, is_signed));
            const double real = (leaky ? v >= 0 ? v : 0.25 * v : 1 / (1 + exp(-v))) / (double)sy;

            if (fabs(fabs(real - trunc(real)) - 0.5) > 1e-3)
                assert_int_equal(value(((uint8_t *)t.out[0].data)[i], is_signed), saturate(rint(real) + value(zy, is_signed), is_signed));
        }
        op_end(&t);
    }
}

static void zero_points_of_tables_may_be_left_out(void **state)
{
    const uint8_t x[] = { 0, 1, 255 };
    const float scale = 0.5f;
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_ms_qlinear_leaky_relu, 1);
    op_in_u8(&t, x, 1, 3);
    op_in_f32(&t, &scale, 0);
    op_in_none(&t);
    op_in_f32(&t, &scale, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, x, 3);
    op_end(&t);
}

static void concat_brings_every_input_to_one_scale(void **state)
{
    const uint8_t *a = bytes(6, 11), *b = bytes(9, 13), zero = 20;
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_ms_qlinear_concat, 1);
    op_attr_int(&t, "axis", -1);
    in_params(&t, 0.1f, zero, false);
    op_in_u8(&t, a, 2, 3, 2);
    in_params(&t, 0.1f, zero, false); /* as the output: copied */
    op_in_u8(&t, b, 2, 3, 3);
    in_params(&t, 0.04f, 3, false);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].dims[1], 5);
    for (int i = 0; i < 15; i++) {
        const int k = i % 5, want = k < 2 ? a[i / 5 * 2 + k] : (int)lrintf((float)(b[i / 5 * 3 + k - 2] - 3) * 0.04f / 0.1f) + 20;

        assert_int_equal(op_out_u8(&t, 0)[i], want);
    }
    op_end(&t);
}

/* -- Softmax -------------------------------------------------------------------------------------------------------------- */

static void softmax_case(bool is_signed, int64_t opset, int64_t axis, int outer, int n, int inner)
{
    const uint8_t *x = bytes(2 * 5 * 7, 31);
    const qn_tensor tx = op_view(dtype_of(is_signed), x, 3, 2, 5, 7);
    const float sx = 0.06f;
    static op_test t;

    op_begin(&t, &qn_op_ms_qlinear_softmax, 1);
    op_attr_int(&t, "opset", opset);
    op_attr_int(&t, "axis", axis);
    op_in(&t, &tx);
    in_params(&t, sx, 7, is_signed);
    in_params(&t, 1 / 256.0f, is_signed ? 128 : 0, is_signed);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < outer * inner; i++) {
        const int at = i / inner * inner * n + i % inner;
        double sum = 0;

        for (int k = 0; k < n; k++) sum += exp((double)sx * value(x[at + k * inner], is_signed));
        for (int k = 0; k < n; k++) {
            const double real = exp((double)sx * value(x[at + k * inner], is_signed)) / sum * 256;
            const int got = value(((uint8_t *)t.out[0].data)[at + k * inner], is_signed);

            if (fabs(real - floor(real) - 0.5) > 1e-3) assert_int_equal(got, saturate(rint(real) + (is_signed ? -128 : 0), is_signed));
        }
    }
    op_end(&t);
}

static void softmax_follows_the_opset_it_stands_for(void **state)
{
    (void)state;
    for (int s = 0; s < 2; s++) {
        softmax_case(s, 13, -1, 10, 7, 1);
        softmax_case(s, 13, 1, 2, 5, 7);
        softmax_case(s, 13, 0, 1, 2, 35);
        softmax_case(s, 11, 1, 2, 35, 1); /* flattened */
        softmax_case(s, 11, 0, 1, 70, 1);
    }
}

static void a_certain_softmax_saturates_in_s8(void **state)
{
    const int8_t x[] = { 127, -128 };
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_ms_qlinear_softmax, 1);
    op_attr_int(&t, "opset", 13);
    op_in_i8(&t, x, 1, 2);
    in_params(&t, 1.0f, 0, true);
    in_params(&t, 1 / 256.0f, 128, true);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(op_out_i8(&t, 0)[0], 127); /* 256 - 128, which would wrap */
    assert_int_equal(op_out_i8(&t, 0)[1], -128);
    op_end(&t);
}

/* -- pools, convolution --------------------------------------------------------------------------------------------------- */

/* [n, c, pixels] -> [n, pixels, c]. */
static void channels_to_end(const uint8_t *x, uint8_t *y, int n, int c, int pixels)
{
    for (int i = 0; i < n * c * pixels; i++) y[(i / pixels / c * pixels + i % pixels) * c + i / pixels % c] = x[i];
}

static void pools_take_channels_first_or_last(void **state)
{
    enum { N = 2, C = 5, H = 6, W = 7 };
    static const int64_t kernel[] = { 2, 3 }, strides[] = { 1, 2 };
    const uint8_t *x = bytes(N * C * H * W, 29);
    static uint8_t moved[N * C * H * W], want[2][N * C * H * W];
    static op_test t;

    (void)state;
    channels_to_end(x, moved, N, C, H * W);
    for (int how = 0; how < 8; how++) {
        const bool global = how & 1, is_signed = how & 2, last = how & 4;
        const int pixels = global ? 1 : 5 * 3;
        const qn_tensor tx = last ? op_view(dtype_of(is_signed), moved, 4, N, H, W, C) : op_view(dtype_of(is_signed), x, 4, N, C, H, W);

        op_begin(&t, global ? &qn_op_ms_qlinear_global_average_pool : &qn_op_ms_qlinear_average_pool, 1);
        op_attr_int(&t, "channels_last", last);
        if (!global) {
            op_attr_ints(&t, "kernel_shape", kernel, 2);
            op_attr_ints(&t, "strides", strides, 2);
        }
        op_in(&t, &tx);
        in_params(&t, 0.05f, 11, is_signed);
        in_params(&t, 0.03f, 5, is_signed);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].bytes, N * C * pixels);
        for (int i = 0; i < N * C * pixels && !last; i++) {
            const int plane = i / pixels, oh = i % pixels / 3, ow = i % pixels % 3, kh = global ? H : 2, kw = global ? W : 3;
            double sum = 0;

            for (int p = 0; p < kh * kw; p++)
                sum += value(x[plane * H * W + (oh + p / kw) * W + (global ? 0 : 2 * ow) + p % kw], is_signed) - 11;
            sum = sum / (kh * kw) * (double)0.05f / (double)0.03f;
            want[is_signed][i] = ((uint8_t *)t.out[0].data)[i];
            if (fabs(sum - floor(sum) - 0.5) > 1e-3)
                assert_int_equal(value(want[is_signed][i], is_signed), saturate(rint(sum) + 5, is_signed));
        }
        if (last) {
            static uint8_t there[N * C * H * W];
            static op_test first;

            op_begin(&first, t.op, 1); /* the same with channels first */
            if (!global) {
                op_attr_ints(&first, "kernel_shape", kernel, 2);
                op_attr_ints(&first, "strides", strides, 2);
            }
            const qn_tensor planar = op_view(dtype_of(is_signed), x, 4, N, C, H, W);

            op_in(&first, &planar);
            in_params(&first, 0.05f, 11, is_signed);
            in_params(&first, 0.03f, 5, is_signed);
            assert_int_equal(op_run(&first, 1, NULL), QN_OK);
            channels_to_end(first.out[0].data, there, N, C, pixels);
            assert_memory_equal(t.out[0].data, there, (size_t)(N * C * pixels));
            op_end(&first);
        }
        op_end(&t);
    }
}

static void a_convolution_with_channels_last_is_the_same_one(void **state)
{
    enum { N = 2, C = 6, H = 5, W = 7, O = 4, K = 3, OUT = 3 * 5 };
    const uint8_t *x = bytes(N * C * H * W, 29), *w = bytes(O * C * K * K, 17);
    static uint8_t moved[N * C * H * W], want[N * O * OUT];
    const float scales[O] = { 0.01f, 0.02f, 0.03f, 0.015f };
    const int8_t zeros[O] = { 0 };
    static op_test t;

    (void)state;
    channels_to_end(x, moved, N, C, H * W);
    for (int last = 0; last < 2; last++) {
        const qn_tensor tw = op_view(QN_I8, w, 4, O, C, K, K);

        op_begin(&t, &qn_op_ms_qlinear_conv, 1);
        op_attr_int(&t, "channels_last", last);
        if (last)
            op_in_u8(&t, moved, 4, N, H, W, C);
        else
            op_in_u8(&t, x, 4, N, C, H, W);
        in_params(&t, 0.02f, 120, false);
        op_in_const(&t, &tw);
        op_in_f32(&t, scales, 1, O);
        op_in_i8(&t, zeros, 1, O);
        in_params(&t, 0.5f, 128, false);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].dims[3], last ? O : 5);
        if (last)
            assert_memory_equal(t.out[0].data, want, sizeof want);
        else
            channels_to_end(t.out[0].data, want, N, O, OUT);
        op_end(&t);
    }
}

/* -- products ------------------------------------------------------------------------------------------------------------- */

static void product_case(bool dynamic, bool per_column, bool bias, bool const_b)
{
    enum { M = 5, N = 19, K = 33 };
    const uint8_t *a = bytes(2 * M * K, 37), *b = bytes(K * N, 23), a_zero = 90, b_zeros[N] = { 0 };
    static float real[2 * M * K];
    const qn_tensor tb = op_view(QN_I8, b, 2, K, N), tbz = op_view(QN_I8, b_zeros, per_column, N);
    float scales[N], add[N], a_scale = 0.02f;
    int zero = a_zero;
    static op_test t;

    for (int j = 0; j < N; j++) {
        scales[j] = 0.01f + 0.002f * (float)j;
        add[j] = (float)j - 9.5f;
    }
    for (int i = 0; i < 2 * M * K; i++) real[i] = (float)(a[i] - 90) * 0.02f;
    op_begin(&t, dynamic ? &qn_op_ms_dynamic_quantize_matmul : &qn_op_ms_matmul_integer_to_float, 1);
    if (dynamic)
        op_in_f32(&t, real, 3, 2, M, K);
    else
        op_in_u8(&t, a, 3, 2, M, K);
    if (const_b)
        op_in_const(&t, &tb);
    else
        op_in(&t, &tb);
    if (!dynamic) op_in_f32(&t, &a_scale, 0);
    op_in_f32(&t, scales, per_column, N);
    if (!dynamic) op_in_u8(&t, &a_zero, 0);
    op_in(&t, &tbz);
    if (bias) op_in_f32(&t, add, 1, N);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    if (dynamic) {
        float lo = 0, hi = 0;

        for (int i = 0; i < 2 * M * K; i++) {
            lo = real[i] < lo ? real[i] : lo;
            hi = real[i] > hi ? real[i] : hi;
        }
        a_scale = (hi - lo) / 255;
        zero = (int)lrintf(-lo / a_scale);
    }
    for (int i = 0; i < 2 * M * N; i++) {
        const int j = i % N;
        int sum = 0;
        float want;

        for (int p = 0; p < K; p++) {
            const int q = dynamic ? saturate(rint((double)(real[i / N * K + p] / a_scale)) + zero, false) : a[i / N * K + p];

            sum += (q - zero) * (int8_t)b[p * N + j];
        }
        want = (float)sum * (a_scale * scales[per_column ? j : 0]);
        if (bias) want += add[j];
        assert_true(op_out_f32(&t, 0)[i] == want);
    }
    op_end(&t);
}

static void products_to_float_are_exact_sums_scaled_once(void **state)
{
    (void)state;
    for (int how = 0; how < 16; how++) product_case(how & 1, how & 2, how & 4, how & 8);
}

/* -- MatMulNBits ---------------------------------------------------------------------------------------------------------- */

static int code(const uint8_t *p, int i, int bits) { return p[i * bits / 8] >> i * bits % 8 & ((1 << bits) - 1); }

/* zeros 0: none, 1: packed, 2: real. */
static void nbits_case(int bits, int zeros, bool groups, bool constant, bool bias)
{
    enum { M = 3, N = 21, K = 70, BLOCK = 16, BLOCKS = 5 };
    const int column = BLOCKS * BLOCK * bits / 8, zero_bytes = (BLOCKS * bits + 7) / 8;
    const uint8_t *b = bytes(N * column, 73), *packed = bytes(N * zero_bytes, 57);
    float a[M * K], scale[N * BLOCKS], real[N * BLOCKS], add[N];
    int32_t group[K];
    static op_test t;

    for (int i = 0; i < M * K; i++) a[i] = (float)(i * 37 % 64) - 32;
    for (int i = 0; i < N * BLOCKS; i++) {
        scale[i] = 0.25f * (float)(1 + i % 3); /* all sums are exact */
        real[i] = 0.5f * (float)(i % 5);
    }
    for (int j = 0; j < N; j++) add[j] = (float)j;
    for (int k = 0; k < K; k++) group[k] = k * 3 % BLOCKS;
    op_begin(&t, &qn_op_ms_matmul_nbits, 1);
    op_attr_int(&t, "K", K);
    op_attr_int(&t, "N", N);
    op_attr_int(&t, "bits", bits);
    op_attr_int(&t, "block_size", BLOCK);
    op_in_f32(&t, a, 2, M, K);
    const qn_tensor operands[] = { op_view(QN_U8, b, 3, N, BLOCKS, BLOCK * bits / 8), op_view(QN_F32, scale, 1, N * BLOCKS),
                                   zeros == 1 ? op_view(QN_U8, packed, 1, N * zero_bytes) : op_view(QN_F32, real, 1, N * BLOCKS),
                                   op_view(QN_I32, group, 1, K), op_view(QN_F32, add, 1, N) };
    const bool given[] = { true, true, zeros != 0, groups, bias };

    for (int i = 0; i < 5; i++) {
        if (!given[i])
            op_in_none(&t);
        else if (constant)
            op_in_const(&t, &operands[i]);
        else
            op_in(&t, &operands[i]);
    }
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < M * N; i++) {
        const int j = i % N;
        float want = 0;

        for (int k = 0; k < K; k++) {
            const int g = j * BLOCKS + (groups ? group[k] : k / BLOCK);
            const float z = zeros == 0   ? (float)(1 << (bits - 1))
                            : zeros == 1 ? (float)code(packed + j * zero_bytes, g % BLOCKS, bits)
                                         : real[g];

            want += a[i / N * K + k] * (((float)code(b + j * column, k, bits) - z) * scale[g]);
        }
        assert_true(op_out_f32(&t, 0)[i] == want + (bias ? add[j] : 0));
    }
    op_end(&t);
}

static void nbits_matrices_are_unpacked_in_every_format(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 8; bits *= 2) {
        for (int how = 0; how < 24; how++) nbits_case(bits, how % 3, how / 3 & 1, how / 6 & 1, how / 12 & 1);
    }
}

static void nbits_formats_that_lie_are_refused(void **state)
{
    static const float a[64], scale[64];
    static const uint8_t b[512];
    static const struct {
        int64_t k, n, bits, block;
        int b_count, n_scales, group;
        qn_status st;
    } cases[] = {
        { 20, 3, 4, 16, 48, 6, 0, QN_OK },
        { 20, 3, 4, 16, 47, 6, 0, QN_ERR_SHAPE },
        { 20, 3, 4, 16, 48, 5, 0, QN_ERR_SHAPE },
        { 21, 3, 4, 16, 48, 6, 0, QN_ERR_SHAPE }, /* A has 20 */
        { 20, 3, 3, 16, 48, 6, 0, QN_ERR_UNSUPPORTED },
        { 20, 3, 4, 24, 48, 6, 0, QN_ERR_INVALID },
        { 20, 3, 4, 8, 48, 6, 0, QN_ERR_INVALID },
        { 20, 3, 4, 0, 48, 6, 0, QN_ERR_INVALID },
        { 20, 3, 4, INT64_MIN, 48, 6, 0, QN_ERR_INVALID },
        { 20, INT64_MAX, 4, 16, 48, 6, 0, QN_ERR_INVALID },
        { INT64_MIN, 3, 4, 16, 48, 6, 0, QN_ERR_INVALID },
        { 20, INT32_MAX, 8, INT64_C(1) << 30, 48, 6, 0, QN_ERR_SHAPE },
        { 20, 3, 4, 16, 48, 6, 1, QN_ERR_RANGE }, /* g_idx beyond the blocks */
        { 20, 3, 4, 16, 48, 6, 2, QN_ERR_SHAPE }, /* g_idx too short */
    };
    int32_t group[20] = { 0 };
    static op_test t;
    qn_error err;

    (void)state;
    group[19] = 2;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        const size_t k = i / 2;
        const qn_tensor tb = op_view(QN_U8, b, 1, cases[k].b_count), ts = op_view(QN_F32, scale, 1, cases[k].n_scales),
                        tg = op_view(QN_I32, group, 1, cases[k].group == 2 ? 19 : 20);

        op_begin(&t, &qn_op_ms_matmul_nbits, 1);
        op_attr_int(&t, "K", cases[k].k);
        op_attr_int(&t, "N", cases[k].n);
        op_attr_int(&t, "bits", cases[k].bits);
        op_attr_int(&t, "block_size", cases[k].block);
        op_in_f32(&t, a, 2, 2, 20);
        if (i & 1)
            op_in(&t, &tb);
        else
            op_in_const(&t, &tb);
        op_in_const(&t, &ts);
        op_in_none(&t);
        if (cases[k].group) op_in_const(&t, &tg);
        err = (qn_error){ 0 };
        if (op_run(&t, 1, &err) != cases[k].st) fail_msg("case %zu: %s", k, err.message);
        op_end(&t);
    }
}

static void parameters_of_quantized_ops_are_checked(void **state)
{
    const uint8_t x[] = { 1, 2, 3, 4 };
    const float scales[] = { 1, 1 };
    static op_test t;
    qn_error err;

    (void)state;
    for (int how = 0; how < 5; how++) { /* well; two scales; B of the other sign; no output scale; shapes that do not broadcast */
        const qn_tensor b = op_view(how == 2 ? QN_I8 : QN_U8, x, 1, how == 4 ? 3 : 4);

        op_begin(&t, &qn_op_ms_qlinear_add, 1);
        op_in_u8(&t, x, 1, 4);
        op_in_f32(&t, scales, how == 1, 2);
        op_in_u8(&t, x, 0);
        op_in(&t, &b);
        op_in_f32(&t, scales, 0);
        op_in_u8(&t, x, 0);
        if (how == 3)
            op_in_none(&t);
        else
            op_in_f32(&t, scales, 0);
        assert_int_equal(op_run(&t, 1, &err), how == 0               ? QN_OK
                                              : how == 1 || how == 4 ? QN_ERR_SHAPE
                                              : how == 2             ? QN_ERR_DTYPE
                                                                     : QN_ERR_INVALID);
        op_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_products_broadcast),
        cmocka_unit_test(sigmoid_and_leaky_relu_are_taken_of_every_byte),
        cmocka_unit_test(zero_points_of_tables_may_be_left_out),
        cmocka_unit_test(concat_brings_every_input_to_one_scale),
        cmocka_unit_test(softmax_follows_the_opset_it_stands_for),
        cmocka_unit_test(a_certain_softmax_saturates_in_s8),
        cmocka_unit_test(pools_take_channels_first_or_last),
        cmocka_unit_test(a_convolution_with_channels_last_is_the_same_one),
        cmocka_unit_test(products_to_float_are_exact_sums_scaled_once),
        cmocka_unit_test(nbits_matrices_are_unpacked_in_every_format),
        cmocka_unit_test(nbits_formats_that_lie_are_refused),
        cmocka_unit_test(parameters_of_quantized_ops_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
