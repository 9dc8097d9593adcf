/* tests/unit/ops/test_quant_blocked.c - QuantizeLinear and DequantizeLinear by tensor, axis and block, in every width, and Cast of 4 bits:
 * against the definition, one element at a time. */
#include "tests/unit/ops/op_harness.h"

#include "core/ops/ops.h"
#include "quern/half.h"

#include <math.h>

typedef struct width {
    qn_dtype dtype;
    int onnx, lo, hi;
} width;

static const width widths[] = { { QN_U8, 2, 0, 255 },         { QN_I8, 3, -128, 127 }, { QN_U16, 4, 0, 65535 },
                                { QN_I16, 5, -32768, 32767 }, { QN_U4, 21, 0, 15 },    { QN_I4, 22, -8, 7 } };
enum { N_WIDTHS = sizeof widths / sizeof widths[0], MOST = 4096 };

/* One op: x [outer, axis, inner] with scales per tensor (block 0, per_axis false), per axis, or per block. */
typedef struct shape {
    int outer, axis, inner, block;
    bool per_axis;
} shape;

static const shape shapes[] = {
    { 3, 5, 7, 0, false },   { 3, 5, 7, 0, true },    { 1, 33, 1, 0, true }, { 2, 35, 1, 16, false }, { 3, 9, 5, 4, false },
    { 1, 32, 3, 32, false }, { 2, 7, 3, 100, false }, { 4, 6, 1, 1, false }, { 1, 257, 1, 2, false }, { 2, 0, 3, 2, false },
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static int n_blocks(const shape *s) { return (s->axis + s->block - 1) / s->block; }

static int scale_count(const shape *s) { return s->block ? s->outer * n_blocks(s) * s->inner : s->per_axis ? s->axis : 1; }

/* Which scale element i of x has. */
static int scale_of(const shape *s, int i)
{
    const int place = i / s->inner % s->axis;

    if (s->block) return (i / s->inner / s->axis * n_blocks(s) + place / s->block) * s->inner + i % s->inner;
    return s->per_axis ? place : 0;
}

static void in_params(op_test *t, const shape *s, qn_dtype dtype, const void *v)
{
    const qn_tensor x = s->block ? op_view(dtype, v, 3, s->outer, n_blocks(s), s->inner) : op_view(dtype, v, s->per_axis, s->axis);

    op_in(t, &x);
}

static int get(qn_dtype dtype, const void *p, int i)
{
    switch (dtype) {
    case QN_U8:
    case QN_U4: return ((const uint8_t *)p)[i];
    case QN_I8:
    case QN_I4: return ((const int8_t *)p)[i];
    case QN_U16: return ((const uint16_t *)p)[i];
    default: return ((const int16_t *)p)[i];
    }
}

static void put(qn_dtype dtype, void *p, int i, int v)
{
    if (qn_dtype_size(dtype) == 2)
        ((uint16_t *)p)[i] = (uint16_t)v;
    else
        ((uint8_t *)p)[i] = (uint8_t)v;
}

static void fill_params(const shape *s, const width *w, float *scale, void *zero)
{
    for (int i = 0; i < scale_count(s); i++) {
        scale[i] = 0.05f + 0.01f * (float)(i % 13);
        put(w->dtype, zero, i, w->lo + i * 7 % (w->hi - w->lo + 1));
    }
}

static void begin(op_test *t, const qn_op *op, const shape *s)
{
    op_begin(t, op, 21);
    if (s->block || s->per_axis) op_attr_int(t, "axis", 1);
    if (s->block) op_attr_int(t, "block_size", s->block);
}

static void quantize_case(const shape *s, const width *w, const qn_op *op, bool explicit_zero)
{
    const int n = s->outer * s->axis * s->inner;
    static float x[MOST], scale[MOST];
    static uint16_t zero[MOST];
    static op_test t;

    fill_params(s, w, scale, zero);
    for (int i = 0; i < n; i++) x[i] = (float)(i * 37 % 401 - 200) * 0.013f;
    if (n > 3) {
        x[0] = 1e30f;
        x[1] = -INFINITY;
        x[2] = NAN;
    }
    begin(&t, op, s);
    if (!explicit_zero) op_attr_int(&t, "output_dtype", w->onnx);
    op_in_f32(&t, x, 3, s->outer, s->axis, s->inner);
    in_params(&t, s, QN_F32, scale);
    if (explicit_zero) in_params(&t, s, w->dtype, zero);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].dtype, w->dtype);
    for (int i = 0; i < n; i++) {
        const int k = scale_of(s, i);
        const double v = rint((double)(x[i] / scale[k])) + (explicit_zero ? get(w->dtype, zero, k) : 0);

        assert_int_equal(get(w->dtype, t.out[0].data, i), !(v > w->lo) ? w->lo : v > w->hi ? w->hi : (int)v);
    }
    op_end(&t);
}

static void dequantize_case(const shape *s, const width *w, const qn_op *op, bool explicit_zero)
{
    const int n = s->outer * s->axis * s->inner;
    static float scale[MOST];
    static uint16_t q[MOST], zero[MOST];
    static op_test t;
    qn_tensor x;

    fill_params(s, w, scale, zero);
    for (int i = 0; i < n; i++) put(w->dtype, q, i, w->lo + i * 41 % (w->hi - w->lo + 1));
    x = op_view(w->dtype, q, 3, s->outer, s->axis, s->inner);
    begin(&t, op, s);
    op_in(&t, &x);
    in_params(&t, s, QN_F32, scale);
    if (explicit_zero) in_params(&t, s, w->dtype, zero);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < n; i++) {
        const int k = scale_of(s, i);
        const float want = (float)(get(w->dtype, q, i) - (explicit_zero ? get(w->dtype, zero, k) : 0)) * scale[k];

        assert_true(op_out_f32(&t, 0)[i] == want);
    }
    op_end(&t);
}

static void every_element_takes_the_scale_of_its_tensor_axis_or_block(void **state)
{
    (void)state;
    for (int s = 0; s < N_SHAPES; s++) {
        for (int w = 0; w < N_WIDTHS; w++) {
            for (int how = 0; how < 4; how++) {
                quantize_case(&shapes[s], &widths[w], how & 2 ? &qn_op_ms_quantize_linear : &qn_op_quantize_linear, how & 1);
                dequantize_case(&shapes[s], &widths[w], how & 2 ? &qn_op_ms_dequantize_linear : &qn_op_dequantize_linear, how & 1);
            }
        }
    }
}

static void half_scales_give_half_reals(void **state)
{
    const int8_t q[] = { -8, -3, 0, 1, 7, 5 };
    uint16_t scale[2], x[6];
    const qn_tensor tq = op_view(QN_I4, q, 2, 1, 6);
    static op_test t;

    (void)state;
    for (int bf = 0; bf < 2; bf++) {
        const qn_dtype half = bf ? QN_BF16 : QN_F16;

        for (int i = 0; i < 2; i++) scale[i] = bf ? qn_f32_to_bf16(0.3f + 0.1f * (float)i) : qn_f32_to_f16(0.3f + 0.1f * (float)i);
        for (int back = 0; back < 2; back++) {
            const qn_tensor ts = op_view(half, scale, 2, 1, 2), tx = op_view(half, x, 2, 1, 6);

            op_begin(&t, back ? &qn_op_quantize_linear : &qn_op_dequantize_linear, 21);
            op_attr_int(&t, "block_size", 3);
            if (back) op_attr_int(&t, "output_dtype", 22);
            op_in(&t, back ? &tx : &tq);
            op_in(&t, &ts);
            assert_int_equal(op_run(&t, 1, NULL), QN_OK);
            assert_int_equal(t.out[0].dtype, back ? QN_I4 : half);
            if (back)
                assert_memory_equal(t.out[0].data, q, 6); /* there and back is where it was */
            else
                memcpy(x, t.out[0].data, sizeof x);
            op_end(&t);
        }
    }
}

static void the_output_dtype_of_dequantize_is_an_attribute_from_23_on(void **state)
{
    const uint8_t q[] = { 3, 200 };
    const float scale = 0.5f;
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_dequantize_linear, 23);
    op_attr_int(&t, "output_dtype", 10);
    op_in_u8(&t, q, 1, 2);
    op_in_f32(&t, &scale, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(op_out_f16(&t, 0)[1], qn_f32_to_f16(100.0f));
    op_end(&t);
}

static void parameters_that_do_not_fit_are_refused(void **state)
{
    static const float x[64], scale[64];
    static const int8_t zero[64];
    static const struct {
        int64_t block, axis, to;
        int rank, dims[3], zero_n; /* of scale; zero point [zero_n], -1: none, -2: f32 */
        qn_status st;
        const char *text;
    } cases[] = {
        { 2, 1, 0, 2, { 4, 3 }, -1, QN_OK, "" },
        { 2, 0, 0, 2, { 2, 6 }, -1, QN_OK, "" },
        { -2, 1, 0, 2, { 4, 3 }, -1, QN_ERR_INVALID, "block_size is -2" },
        { 2, 1, 0, 2, { 4, 2 }, -1, QN_ERR_SHAPE, "expected 3 with block_size 2" },
        { 4, 1, 0, 2, { 4, 3 }, -1, QN_ERR_SHAPE, "expected 2 with block_size 4" },
        { 2, 1, 0, 2, { 3, 3 }, -1, QN_ERR_SHAPE, "size 3 on axis 0" },
        { 2, 1, 0, 1, { 3 }, -1, QN_ERR_SHAPE, "rank 1" },
        { 2, 2, 0, 2, { 4, 3 }, -1, QN_ERR_SHAPE, "axis 2" },
        { 2, 1, 0, 2, { 4, 3 }, 12, QN_ERR_SHAPE, "rank 1" },
        { INT64_MAX, 1, 0, 2, { 4, 1 }, -1, QN_OK, "" },
        { INT64_MIN, 1, 0, 2, { 4, 1 }, -1, QN_ERR_INVALID, "block_size" },
        { 0, 1, 0, 2, { 4, 3 }, -1, QN_ERR_SHAPE, "rank 2" },
        { 0, 1, 0, 1, { 5 }, -1, QN_ERR_SHAPE, "scale has 5 elements" },
        { 0, 1, 0, 1, { 6 }, 5, QN_ERR_SHAPE, "zero_point has 5 elements" },
        { 0, 1, 17, 0, { 0 }, -1, QN_ERR_UNSUPPORTED, "data type 17" },
        { 0, 1, 1, 0, { 0 }, -1, QN_ERR_UNSUPPORTED, "quantization to f32" },
        { 0, 1, 2, 1, { 6 }, 6, QN_ERR_DTYPE, "zero_point is i8" },
    };
    static op_test t;
    qn_error err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        op_begin(&t, &qn_op_quantize_linear, 21);
        op_attr_int(&t, "axis", cases[i].axis);
        op_attr_int(&t, "block_size", cases[i].block);
        if (cases[i].to) op_attr_int(&t, "output_dtype", cases[i].to);
        op_in_f32(&t, x, 2, 4, 6);
        op_in_f32(&t, scale, cases[i].rank, cases[i].dims[0], cases[i].dims[1], cases[i].dims[2]);
        if (cases[i].zero_n > 0) op_in_i8(&t, zero, 1, cases[i].zero_n);
        err = (qn_error){ 0 };
        assert_int_equal(op_run(&t, 1, &err), cases[i].st);
        if (cases[i].st != QN_OK && !strstr(err.message, cases[i].text)) fail_msg("%s", err.message);
        op_end(&t);
    }
}

static void casts_to_4_bits_round_and_saturate_reals_and_cut_integers(void **state)
{
    const float real[] = { -100, -8.6f, -1.5f, -0.5f, -0.4f, 0.5f, 1.5f, 2.5f, 6.5f, 7.5f, 14.4f, 100, NAN };
    const int8_t as_i4[] = { -8, -8, -2, -1, 0, 1, 2, 3, 7, 7, 7, 7, 0 };
    const uint8_t as_u4[] = { 0, 0, 0, 0, 0, 1, 2, 3, 7, 8, 14, 15, 0 };
    const int32_t whole[] = { -100, -9, -8, -1, 7, 8, 16, 255 };
    const int8_t cut_i4[] = { -4, 7, -8, -1, 7, -8, 0, -1 };
    const uint8_t cut_u4[] = { 12, 7, 8, 15, 7, 8, 0, 15 };
    static op_test t;

    (void)state;
    for (int how = 0; how < 4; how++) {
        const bool u = how & 1, reals = how & 2;

        op_begin(&t, &qn_op_cast, 21);
        op_attr_int(&t, "to", u ? 21 : 22);
        if (reals)
            op_in_f32(&t, real, 1, 13);
        else
            op_in_i32(&t, whole, 1, 8);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].dtype, u ? QN_U4 : QN_I4);
        if (reals)
            assert_memory_equal(t.out[0].data, u ? (const void *)as_u4 : as_i4, 13);
        else
            assert_memory_equal(t.out[0].data, u ? (const void *)cut_u4 : cut_i4, 8);
        op_end(&t);
    }
}

static void four_bit_integers_have_no_sums_in_scatter(void **state)
{
    const int8_t x[] = { 1, 2, 3 };
    const int64_t index[] = { 1 };
    const qn_tensor tx = op_view(QN_I4, x, 1, 3), tu = op_view(QN_I4, x, 1, 1);
    static op_test t;
    qn_error err;

    (void)state;
    for (int add = 0; add < 2; add++) {
        op_begin(&t, &qn_op_scatter_elements, 18);
        if (add) op_attr_str(&t, "reduction", "add");
        op_in(&t, &tx);
        op_in_i64(&t, index, 1, 1);
        op_in(&t, &tu);
        assert_int_equal(op_run(&t, 1, &err), add ? QN_ERR_DTYPE : QN_OK);
        op_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_element_takes_the_scale_of_its_tensor_axis_or_block),
        cmocka_unit_test(half_scales_give_half_reals),
        cmocka_unit_test(the_output_dtype_of_dequantize_is_an_attribute_from_23_on),
        cmocka_unit_test(parameters_that_do_not_fit_are_refused),
        cmocka_unit_test(casts_to_4_bits_round_and_saturate_reals_and_cut_integers),
        cmocka_unit_test(four_bit_integers_have_no_sums_in_scatter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
