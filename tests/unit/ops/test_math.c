/* tests/unit/ops/test_math.c - element-wise ops: every dtype, broadcasting, integers that divide badly, small known integers, casts.
 * What ONNX's own test data covers (opset 17 and before, mostly f32) is left to tests/conformance. */
#include "tests/unit/ops/op_harness.h"

#include "core/base/half.h"
#include "core/ops/elem.h"
#include "core/ops/ops.h"

#include <math.h>

static const qn_dtype numeric[] = { QN_F32, QN_F64, QN_F16, QN_BF16, QN_I8, QN_I16, QN_I32, QN_I64, QN_U8, QN_U16, QN_U32, QN_U64 };
#define N_NUMERIC ((int)(sizeof numeric / sizeof numeric[0]))

static bool is_real(qn_dtype d) { return (QN_SET_FLOAT >> d & 1) != 0; }

/* A tensor of small whole numbers, exact in every dtype; the caller frees it. */
static qn_tensor whole(qn_dtype dtype, int rank, const int64_t *dims, int start, int modulo)
{
    qn_tensor t;
    int64_t n;

    assert_int_equal(qn_tensor_alloc(dtype, rank, dims, &t, NULL), QN_OK);
    n = qn_tensor_count(&t);
    for (int64_t i = 0; i < n; i++) {
        const int64_t v = start + i * 5 % modulo;
        const float f = (float)v;
        const double d = (double)v;
        char *to = (char *)t.data + i * (int64_t)qn_dtype_size(dtype);

        if (dtype == QN_F64)
            qn_elem_store(dtype, to, 1, &d);
        else if (is_real(dtype))
            qn_elem_store(dtype, to, 1, &f);
        else
            qn_elem_store(dtype, to, 1, &v);
    }
    return t;
}

static double at(const qn_tensor *t, int64_t i) { return qn_move_real(t, i); }

/* -- two inputs ----------------------------------------------------------------------------------------------------------- */

static double ref_add(double a, double b) { return a + b; }
static double ref_sub(double a, double b) { return a - b; }
static double ref_mul(double a, double b) { return a * b; }
static double ref_div(double a, double b) { return a / b; }
static double ref_max(double a, double b) { return a > b ? a : b; }
static double ref_min(double a, double b) { return a < b ? a : b; }
static double ref_less(double a, double b) { return a < b; }
static double ref_greater_or_equal(double a, double b) { return a >= b; }
static double ref_equal(double a, double b) { return a == b; }

static const struct {
    const qn_op *op;
    double (*ref)(double, double);
} pairs[] = {
    { &qn_op_add, ref_add },   { &qn_op_sub, ref_sub },     { &qn_op_mul, ref_mul },
    { &qn_op_div, ref_div },   { &qn_op_max, ref_max },     { &qn_op_min, ref_min },
    { &qn_op_less, ref_less }, { &qn_op_equal, ref_equal }, { &qn_op_greater_or_equal, ref_greater_or_equal },
    { &qn_op_pow, pow },
};

static void run_pair(int p, qn_dtype dtype, int ra, const int64_t *da, int rb, const int64_t *db, const int64_t *full)
{
    op_test t;
    qn_tensor a = whole(dtype, ra, da, 6, 7), b = whole(dtype, rb, db, 1, 5); /* a 6..12, b 1..5: differences stay above 0 */
    int64_t n;
    double round = dtype == QN_BF16 ? 0x1p-8 : dtype == QN_F16 ? 0x1p-11 : 1e-6;

    if (pairs[p].ref == pow) round *= 2;
    op_begin(&t, pairs[p].op, 18);
    op_in(&t, &a);
    op_in(&t, &b);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    n = qn_tensor_count(&t.out[0]);
    for (int64_t i = 0; i < n; i++) {
        /* full is [2,3,5] here: find each operand's element by hand */
        const int64_t c[3] = { i / (full[1] * full[2]), i / full[2] % full[1], i % full[2] };
        int64_t ia = 0, ib = 0;
        double want, got = at(&t.out[0], i);
        const unsigned bits = 8 * (unsigned)qn_dtype_size(dtype);

        for (int d = 0; d < ra; d++) ia = ia * da[d] + (da[d] == 1 ? 0 : c[3 - ra + d]);
        for (int d = 0; d < rb; d++) ib = ib * db[d] + (db[d] == 1 ? 0 : c[3 - rb + d]);
        want = pairs[p].ref(at(&a, ia), at(&b, ib));
        if (!is_real(dtype)) { /* cut, and wrapped in its own width */
            want = trunc(want);
            if (bits < 64) want = fmod(want, ldexp(1, (int)bits));
            if ((QN_SET_SIGNED >> dtype & 1) && bits < 64 && want >= ldexp(1, (int)bits - 1)) want -= ldexp(1, (int)bits);
        }
        if (isinf(got)) continue; /* f16 */
        if (fabs(got - want) > round * fabs(want))
            fail_msg("%s of %s: %g and %g give %g", pairs[p].op->name, qn_dtype_name(dtype), at(&a, ia), at(&b, ib), got);
    }
    op_end(&t);
    qn_tensor_free(&a);
    qn_tensor_free(&b);
}

static void pairs_broadcast_in_every_dtype(void **state)
{
    const int64_t full[3] = { 2, 3, 5 }, row[1] = { 5 }, column[3] = { 2, 3, 1 }, middle[2] = { 3, 1 }, one[1] = { 1 };

    (void)state;
    for (int p = 0; p < (int)(sizeof pairs / sizeof pairs[0]); p++) {
        for (int d = 0; d < N_NUMERIC; d++) {
            run_pair(p, numeric[d], 3, full, 3, full, full);
            run_pair(p, numeric[d], 3, full, 1, row, full);
            run_pair(p, numeric[d], 1, row, 3, column, full);
            run_pair(p, numeric[d], 3, full, 2, middle, full);
            run_pair(p, numeric[d], 3, full, 0, one, full);
            run_pair(p, numeric[d], 0, one, 3, full, full);
        }
    }
}

static void long_tensors_are_cut_into_tiles_that_change_nothing(void **state)
{
    const int64_t dims[2] = { 3, 40007 }, row[1] = { 40007 };
    qn_tensor a = whole(QN_F32, 2, dims, 0, 1009), b = whole(QN_F32, 1, row, 1, 13);
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_mul, 14);
    op_in(&t, &a);
    op_in(&t, &b);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int64_t i = 0; i < 3 * 40007; i++) assert_true(at(&t.out[0], i) == at(&a, i) * at(&b, i % 40007));
    op_end(&t);
    qn_tensor_free(&a);
    qn_tensor_free(&b);
}

static void before_opset_7_the_second_input_is_laid_along_an_axis(void **state)
{
    const float a[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 }, b[] = { 100, 200 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_add, 6);
    op_attr_int(&t, "broadcast", 1);
    op_attr_int(&t, "axis", 1);
    op_in_f32(&t, a, 3, 3, 2, 2);
    op_in_f32(&t, b, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 12; i++) assert_true(op_out_f32(&t, 0)[i] == a[i] + b[i / 2 % 2]);
    op_end(&t);
}

static void shapes_that_do_not_broadcast_are_refused(void **state)
{
    const float a[6] = { 0 };
    op_test t;
    qn_error err;

    (void)state;
    op_begin(&t, &qn_op_add, 14);
    op_in_f32(&t, a, 2, 2, 3);
    op_in_f32(&t, a, 1, 2);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_SHAPE);
    op_end(&t);
    op_begin(&t, &qn_op_add, 14);
    op_in_f32(&t, a, 1, 2);
    op_in_i32(&t, (const int32_t[]){ 1, 2 }, 1, 2);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_DTYPE);
    op_end(&t);
}

static void dividing_an_integer_by_zero_is_an_error(void **state)
{
    const int32_t a[] = { 1, 2 }, b[] = { 1, 0 };
    const uint8_t c[] = { 1, 2 }, d[] = { 0, 1 };
    const qn_op *ops[] = { &qn_op_div, &qn_op_mod };
    op_test t;
    qn_error err;

    (void)state;
    for (int i = 0; i < 2; i++) {
        op_begin(&t, ops[i], 14);
        op_in_i32(&t, a, 1, 2);
        op_in_i32(&t, b, 1, 2);
        assert_int_equal(op_run(&t, 1, &err), QN_ERR_RANGE);
        assert_non_null(strstr(err.message, "zero"));
        op_end(&t);
        op_begin(&t, ops[i], 14);
        op_in_u8(&t, c, 1, 2);
        op_in_u8(&t, d, 1, 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_ERR_RANGE);
        op_end(&t);
    }
}

static void the_smallest_integer_over_minus_one_wraps(void **state)
{
    const int64_t a[] = { INT64_MIN, INT64_MIN }, b[] = { -1, 2 };
    const int8_t c[] = { -128, -128 }, d[] = { -1, 2 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_div, 14);
    op_in_i64(&t, a, 1, 2);
    op_in_i64(&t, b, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_true(op_out_i64(&t, 0)[0] == INT64_MIN && op_out_i64(&t, 0)[1] == INT64_MIN / 2);
    op_end(&t);
    op_begin(&t, &qn_op_div, 14);
    op_in_i8(&t, c, 1, 2);
    op_in_i8(&t, d, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(op_out_i8(&t, 0)[0], -128);
    op_end(&t);
    op_begin(&t, &qn_op_mod, 14);
    op_in_i64(&t, a, 1, 2);
    op_in_i64(&t, b, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(op_out_i64(&t, 0)[0], 0);
    op_end(&t);
}

static void mod_takes_the_sign_of_the_divisor_unless_told(void **state)
{
    const int32_t a[] = { 7, -7, 7, -7 }, b[] = { 3, 3, -3, -3 }, want[2][4] = { { 1, 2, -2, -1 }, { 1, -1, 1, -1 } };
    const float x[] = { -7.5f }, y[] = { 2.0f };
    op_test t;

    (void)state;
    for (int fmod_ = 0; fmod_ < 2; fmod_++) {
        op_begin(&t, &qn_op_mod, 13);
        op_attr_int(&t, "fmod", fmod_);
        op_in_i32(&t, a, 1, 4);
        op_in_i32(&t, b, 1, 4);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_memory_equal(op_out_i32(&t, 0), want[fmod_], sizeof want[0]);
        op_end(&t);
        op_begin(&t, &qn_op_mod, 13);
        op_attr_int(&t, "fmod", fmod_);
        op_in_f32(&t, x, 1, 1);
        op_in_f32(&t, y, 1, 1);
        assert_int_equal(op_run(&t, 1, NULL), fmod_ ? QN_OK : QN_ERR_DTYPE);
        if (fmod_) assert_true(op_out_f32(&t, 0)[0] == -1.5f);
        op_end(&t);
    }
}

static void shifts_by_the_width_or_more_give_zero(void **state)
{
    const uint8_t a[] = { 0x81, 0x81, 0x81, 0x81 }, by[] = { 1, 7, 8, 200 }, left[] = { 0x02, 0x80, 0, 0 }, right[] = { 0x40, 0x01, 0, 0 };
    op_test t;

    (void)state;
    for (int l = 0; l < 2; l++) {
        op_begin(&t, &qn_op_bit_shift, 11);
        op_attr_str(&t, "direction", l ? "LEFT" : "RIGHT");
        op_in_u8(&t, a, 1, 4);
        op_in_u8(&t, by, 1, 4);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_memory_equal(op_out_u8(&t, 0), l ? left : right, 4);
        op_end(&t);
    }
}

static void bitwise_ops_work_on_signed_and_unsigned(void **state)
{
    const int16_t a[] = { -1, 0x0f0f }, b[] = { 0x00ff, 0x3333 };
    op_test t;

    (void)state;
    for (int i = 0; i < 4; i++) {
        const qn_op *ops[] = { &qn_op_bitwise_and, &qn_op_bitwise_or, &qn_op_bitwise_xor, &qn_op_bitwise_not };
        const int16_t want[4][2] = { { 0x00ff, 0x0303 }, { -1, 0x3f3f }, { -256, 0x3c3c }, { 0, (int16_t)0xf0f0 } };

        op_begin(&t, ops[i], 18);
        op_in_i16(&t, a, 1, 2);
        if (i < 3) op_in_i16(&t, b, 1, 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_memory_equal(op_out_i16(&t, 0), want[i], 4);
        op_end(&t);
    }
}

static void powers_keep_the_dtype_of_the_base(void **state)
{
    const int32_t a[] = { 2, -3, 7, 1 }, e[] = { 10, 3, -1, -5 }, want[] = { 1024, -27, 0, 1 };
    const float half[] = { 0.5f, 0.5f, 0.5f, 0.5f }, base[] = { 4.0f, -0.0f, -INFINITY, 2.25f };
    const float roots[] = { 2.0f, 0.0f, INFINITY, 1.5f };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_pow, 15);
    op_in_i32(&t, a, 1, 4);
    op_in_i32(&t, e, 1, 4);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(op_out_i32(&t, 0), want, sizeof want);
    op_end(&t);
    op_begin(&t, &qn_op_pow, 15);
    op_in_f32(&t, base, 1, 4);
    op_in_f32(&t, half, 1, 4);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(op_out_f32(&t, 0), roots, sizeof roots); /* +0 for -0, and +inf for -inf, as pow() has it */
    op_end(&t);
    op_begin(&t, &qn_op_pow, 15);
    op_in_i32(&t, (const int32_t[]){ 9, 0 }, 1, 2);
    op_in_f32(&t, half, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(op_out_i32(&t, 0)[0], 3);
    op_end(&t);
    op_begin(&t, &qn_op_pow, 15);
    op_in_i32(&t, (const int32_t[]){ 0 }, 1, 1);
    op_in_i32(&t, (const int32_t[]){ -1 }, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_RANGE);
    op_end(&t);
}

static void many_inputs_fold_from_the_left(void **state)
{
    const float a[] = { 1, NAN, 3 }, b[] = { 2, 2, 2 }, c[] = { 9 };
    const qn_op *ops[] = { &qn_op_sum, &qn_op_mean, &qn_op_max, &qn_op_min };
    const float want[4][2] = { { 12, 14 }, { 4, 14.0f / 3.0f }, { 9, 9 }, { 1, 2 } };
    op_test t;

    (void)state;
    for (int i = 0; i < 4; i++) {
        op_begin(&t, ops[i], 13);
        op_in_f32(&t, a, 1, 3);
        op_in_f32(&t, b, 1, 3);
        op_in_f32(&t, c, 0);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_true(op_out_f32(&t, 0)[0] == want[i][0] && op_out_f32(&t, 0)[2] == want[i][1]);
        assert_true(isnan(op_out_f32(&t, 0)[1]));
        op_end(&t);
    }
}

static void where_and_equal_take_strings(void **state)
{
    const char *const a[] = { "x", "", "long string" }, *const b[] = { "y", "", "long strinG" };
    const uint8_t c[] = { 1, 0, 0 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_where, 16);
    op_in_bool(&t, c, 1, 3);
    op_in_strings(&t, a, 3);
    op_in_strings(&t, b, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_true(op_string_is(&t.out[0], 0, "x") && op_string_is(&t.out[0], 1, "") && op_string_is(&t.out[0], 2, "long strinG"));
    op_end(&t);
    op_begin(&t, &qn_op_equal, 19);
    op_in_strings(&t, a, 3);
    op_in_strings(&t, b, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(op_out_bool(&t, 0), ((const uint8_t[]){ 0, 1, 0 }), 3);
    op_end(&t);
}

/* -- one input ------------------------------------------------------------------------------------------------------------ */

static double ref_relu(double x) { return x < 0 ? 0 : x; }
static double ref_gelu(double x) { return 0.5 * x * (1 + erf(x * 0.70710678118654752440)); }
static double ref_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double ref_softplus(double x) { return log1p(exp(x)); }
static double ref_mish(double x) { return x * tanh(log1p(exp(x))); }
static double ref_hard_swish(double x) { return x * fmax(0, fmin(1, x / 6 + 0.5)); }
static double ref_selu(double x) { return 1.05070102214813232421875 * (x > 0 ? x : 1.67326319217681884765625 * expm1(x)); }
static double ref_elu(double x) { return x < 0 ? expm1(x) : x; }
static double ref_softsign(double x) { return x / (1 + fabs(x)); }
static double ref_reciprocal(double x) { return 1 / x; }
static double ref_neg(double x) { return -x; }
static double ref_square_root(double x) { return sqrt(x); }

static void real_functions_work_in_every_real_dtype(void **state)
{
    static const struct {
        const qn_op *op;
        double (*ref)(double);
    } fns[] = {
        { &qn_op_relu, ref_relu },
        { &qn_op_gelu, ref_gelu },
        { &qn_op_sigmoid, ref_sigmoid },
        { &qn_op_softplus, ref_softplus },
        { &qn_op_mish, ref_mish },
        { &qn_op_hard_swish, ref_hard_swish },
        { &qn_op_selu, ref_selu },
        { &qn_op_elu, ref_elu },
        { &qn_op_celu, ref_elu },
        { &qn_op_softsign, ref_softsign },
        { &qn_op_tanh, tanh },
        { &qn_op_erf, erf },
        { &qn_op_exp, exp },
        { &qn_op_log, log },
        { &qn_op_sqrt, ref_square_root },
        { &qn_op_sin, sin },
        { &qn_op_cosh, cosh },
        { &qn_op_atanh, atanh },
        { &qn_op_neg, ref_neg },
        { &qn_op_floor, floor },
        { &qn_op_ceil, ceil },
        { &qn_op_round, rint },
        { &qn_op_abs, fabs },
        { &qn_op_reciprocal, ref_reciprocal },
    };
    const double limit[] = { 1e-6, 1e-14, 0x1p-10, 0x1p-7 };
    const int64_t n = 701, dims[1] = { 701 };

    (void)state;
    for (size_t f = 0; f < sizeof fns / sizeof fns[0]; f++) {
        for (int d = 0; d < 4; d++) {
            op_test t;
            qn_tensor x;

            assert_int_equal(qn_tensor_alloc(numeric[d], 1, dims, &x, NULL), QN_OK);
            for (int64_t i = 0; i < n; i++) {
                const double v = (double)(i - 350) * 0.0117;
                const float s = (float)v;

                qn_elem_store(numeric[d], (char *)x.data + i * (int64_t)qn_dtype_size(numeric[d]), 1,
                              numeric[d] == QN_F64 ? (const void *)&v : (const void *)&s);
            }
            op_begin(&t, fns[f].op, 20);
            op_in(&t, &x);
            assert_int_equal(op_run(&t, 1, NULL), QN_OK);
            assert_int_equal(t.out[0].dtype, numeric[d]);
            for (int64_t i = 0; i < n; i++) {
                const double want = fns[f].ref(at(&x, i)), got = at(&t.out[0], i);

                if (isnan(want) ? !isnan(got) : got != want && fabs(got - want) > limit[d] * (fabs(want) + 0.2))
                    fail_msg("%s of %s %.9g is %.9g, expected %.9g", fns[f].op->name, qn_dtype_name(numeric[d]), at(&x, i), got, want);
            }
            op_end(&t);
            qn_tensor_free(&x);
        }
    }
}

static void gelu_by_tanh_is_the_approximation(void **state)
{
    const float x[] = { -3.0f, -0.5f, 0.0f, 1.0f, 4.0f };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_gelu, 20);
    op_attr_str(&t, "approximate", "tanh");
    op_in_f32(&t, x, 1, 5);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 5; i++) {
        const double v = (double)x[i], want = 0.5 * v * (1 + tanh(0.79788456080286535588 * (v + 0.044715 * v * v * v)));

        assert_true(fabs((double)op_out_f32(&t, 0)[i] - want) < 3e-7);
    }
    op_end(&t);
    op_begin(&t, &qn_op_gelu, 20);
    op_attr_str(&t, "approximate", "sigmoid");
    op_in_f32(&t, x, 1, 5);
    assert_int_equal(op_infer(&t, 1, NULL), QN_ERR_INVALID);
    op_end(&t);
}

static void integers_keep_their_dtype_in_abs_neg_sign_and_relu(void **state)
{
    const int8_t x[] = { -128, -1, 0, 5 };
    const qn_op *ops[] = { &qn_op_abs, &qn_op_neg, &qn_op_sign, &qn_op_relu };
    const int8_t want[4][4] = { { -128, 1, 0, 5 }, { -128, 1, 0, -5 }, { -1, -1, 0, 1 }, { 0, 0, 0, 5 } };
    op_test t;

    (void)state;
    for (int i = 0; i < 4; i++) {
        op_begin(&t, ops[i], 14);
        op_in_i8(&t, x, 1, 4);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_memory_equal(op_out_i8(&t, 0), want[i], 4);
        op_end(&t);
    }
}

static void clip_bounds_are_optional_and_of_every_dtype(void **state)
{
    const int64_t dims[1] = { 7 };
    op_test t;

    (void)state;
    for (int d = 0; d < N_NUMERIC; d++) {
        qn_tensor x = whole(numeric[d], 1, dims, 1, 7), lo = whole(numeric[d], 0, dims, 3, 1), hi = whole(numeric[d], 0, dims, 5, 1);

        for (int which = 0; which < 4; which++) {
            op_begin(&t, &qn_op_clip, 13);
            op_in(&t, &x);
            if (which & 1)
                op_in(&t, &lo);
            else
                op_in_none(&t);
            if (which & 2) op_in(&t, &hi);
            assert_int_equal(op_run(&t, 1, NULL), QN_OK);
            for (int i = 0; i < 7; i++) {
                double want = at(&x, i);

                if (which & 1 && want < 3) want = 3;
                if (which & 2 && want > 5) want = 5;
                assert_true(at(&t.out[0], i) == want);
            }
            op_end(&t);
        }
        qn_tensor_free(&x);
        qn_tensor_free(&lo);
        qn_tensor_free(&hi);
    }
    op_begin(&t, &qn_op_clip_1, 6);
    op_attr_float(&t, "max", 2.0f);
    op_in_f32(&t, (const float[]){ -1e30f, 3.0f, NAN }, 1, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_true(op_out_f32(&t, 0)[0] == -1e30f && op_out_f32(&t, 0)[1] == 2.0f && isnan(op_out_f32(&t, 0)[2]));
    op_end(&t);
}

static void prelu_slope_belongs_to_channels_before_opset_7(void **state)
{
    const float x[] = { -1, -1, -1, -1, 2, -1 }, slope[] = { 0.5f, 2, 3 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_prelu, 6);
    op_in_f32(&t, x, 3, 1, 3, 2);
    op_in_f32(&t, slope, 1, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(op_out_f32(&t, 0), ((const float[]){ -0.5f, -0.5f, -2, -2, 2, -3 }), 24);
    op_end(&t);
    op_begin(&t, &qn_op_prelu, 16);
    op_in_f32(&t, x, 3, 1, 3, 2);
    op_in_f32(&t, slope, 1, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE); /* 3 does not meet the last axis */
    op_end(&t);
}

/* -- casts ---------------------------------------------------------------------------------------------------------------- */

static const int onnx_number[QN_DTYPE_COUNT] = {
    [QN_F32] = 1,    [QN_U8] = 2,   [QN_I8] = 3,   [QN_U16] = 4,  [QN_I16] = 5,  [QN_I32] = 6,  [QN_I64] = 7,
    [QN_STRING] = 8, [QN_BOOL] = 9, [QN_F16] = 10, [QN_F64] = 11, [QN_U32] = 12, [QN_U64] = 13, [QN_BF16] = 16,
};

static void begin_cast(op_test *t, qn_dtype to)
{
    op_begin(t, &qn_op_cast, 13);
    op_attr_int(t, "to", onnx_number[to]);
}

static void cast_before_6_names_its_dtype(void **state)
{
    static const struct {
        const char *name;
        qn_dtype dtype;
    } names[] = { { "FLOAT", QN_F32 },   { "UINT8", QN_U8 },   { "INT8", QN_I8 },    { "UINT16", QN_U16 },
                  { "INT16", QN_I16 },   { "INT32", QN_I32 },  { "INT64", QN_I64 },  { "BOOL", QN_BOOL },
                  { "FLOAT16", QN_F16 }, { "DOUBLE", QN_F64 }, { "UINT32", QN_U32 }, { "UINT64", QN_U64 } };
    const float x[] = { 1 };
    op_test t;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        op_begin(&t, &qn_op_cast, 1);
        op_attr_str(&t, "to", names[i].name);
        op_in_f32(&t, x, 1, 1);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].dtype, names[i].dtype);
        op_end(&t);
    }
    op_begin(&t, &qn_op_cast, 1);
    op_attr_str(&t, "to", "COMPLEX64");
    op_in_f32(&t, x, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_UNSUPPORTED);
    op_end(&t);
}

static void small_numbers_survive_every_cast(void **state)
{
    const int64_t dims[1] = { 300 };

    (void)state;
    for (int from = 0; from < N_NUMERIC; from++) {
        for (int to = 0; to < N_NUMERIC; to++) {
            qn_tensor x = whole(numeric[from], 1, dims, 0, 127);
            op_test t;

            begin_cast(&t, numeric[to]);
            op_in(&t, &x);
            assert_int_equal(op_run(&t, 1, NULL), QN_OK);
            for (int i = 0; i < 300; i++) assert_true(at(&t.out[0], i) == at(&x, i));
            op_end(&t);
            qn_tensor_free(&x);
        }
    }
}

static void reals_become_integers_by_cutting_and_saturating(void **state)
{
    const float x[] = { 2.9f, -2.9f, 300.0f, -300.0f, NAN, INFINITY, 3e9f, -1e30f };
    const int32_t want[] = { 2, -2, 300, -300, 0, INT32_MAX, INT32_MAX, INT32_MIN };
    op_test t;

    (void)state;
    begin_cast(&t, QN_I32);
    op_in_f32(&t, x, 1, 8);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(op_out_i32(&t, 0), want, sizeof want);
    op_end(&t);
    begin_cast(&t, QN_U8);
    op_in_f32(&t, x, 1, 8);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(op_out_u8(&t, 0), ((const uint8_t[]){ 2, 0, 255, 0, 0, 255, 255, 0 }), 8);
    op_end(&t);
    begin_cast(&t, QN_BOOL);
    op_in_f32(&t, (const float[]){ 0.0f, -0.0f, 0.5f, NAN }, 1, 4);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(op_out_bool(&t, 0), ((const uint8_t[]){ 0, 0, 1, 1 }), 4);
    op_end(&t);
    begin_cast(&t, QN_I8);
    op_in_i32(&t, (const int32_t[]){ 257, -129 }, 1, 2); /* integers keep their low bits */
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(op_out_i8(&t, 0), ((const int8_t[]){ 1, 127 }), 2);
    op_end(&t);
}

static void f64_is_rounded_once_on_its_way_to_half_precision(void **state)
{
    const double x[] = { 1.0 + 0x1p-8 + 0x1p-40, 1.0 + 0x1p-11 + 0x1p-40 }; /* through f32 both would sit on a tie */
    op_test t;

    (void)state;
    begin_cast(&t, QN_BF16);
    op_in_f64(&t, x, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_true(at(&t.out[0], 0) == 1.0 + 0x1p-7);
    op_end(&t);
    begin_cast(&t, QN_F16);
    op_in_f64(&t, x + 1, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_true(at(&t.out[0], 0) == 1.0 + 0x1p-10);
    op_end(&t);
}

static void numbers_and_strings_convert_both_ways(void **state)
{
    const float x[] = { 0.1f, -2.0f, 1e30f, NAN, -INFINITY };
    const char *const texts[] = { "0.1", "-2", "1e+30", "NaN", "-INF" }, *const ints[] = { "-5", "127" }, *const bad[] = { "1", "0x10" };
    op_test t;
    qn_error err;

    (void)state;
    begin_cast(&t, QN_STRING);
    op_in_f32(&t, x, 1, 5);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 5; i++) assert_true(op_string_is(&t.out[0], i, texts[i]));
    op_end(&t);
    begin_cast(&t, QN_F32);
    op_in_strings(&t, texts, 5);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 5; i++) assert_true(op_out_f32(&t, 0)[i] == x[i] || isnan(x[i]));
    op_end(&t);
    begin_cast(&t, QN_I8);
    op_in_strings(&t, ints, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(op_out_i8(&t, 0), ((const int8_t[]){ -5, 127 }), 2);
    op_end(&t);
    begin_cast(&t, QN_F32);
    op_in_strings(&t, bad, 2);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_RANGE);
    assert_non_null(strstr(err.message, "element 1"));
    op_end(&t);
    begin_cast(&t, QN_U8);
    op_in_strings(&t, (const char *const[]){ "256" }, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_RANGE);
    op_end(&t);
}

static void a_cast_to_what_quern_does_not_have_is_unsupported(void **state)
{
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_cast, 19);
    op_attr_int(&t, "to", 17); /* FLOAT8E4M3FN */
    op_in_f32(&t, (const float[]){ 1 }, 1, 1);
    assert_int_equal(op_infer(&t, 1, NULL), QN_ERR_UNSUPPORTED);
    op_end(&t);
}

/* -- small known integers ------------------------------------------------------------------------------------------------- */

/* An i64 vector of shape [n] whose elements are known; the bytes do not matter. */
static void in_known(op_test *t, const qn_dim *elems, int n)
{
    const int64_t zeros[8] = { 0 };
    qn_known *k = qn_arena_alloc(&t->graph.arena, sizeof *k);

    op_in_i64(t, zeros, 1, n);
    k->rank = 1;
    k->n = n;
    k->elems = qn_arena_array(&t->graph.arena, (size_t)n, sizeof *k->elems);
    memcpy(k->elems, elems, (size_t)n * sizeof *elems);
    t->in_known[t->n_in - 1] = k;
    t->bound = false;
}

static void shape_arithmetic_flows_through_symbols(void **state)
{
    op_test t;
    qn_dim n, two, twelve, expect;
    int64_t v;

    (void)state;
    op_begin(&t, &qn_op_mul, 14);
    n = qn_dims_symbol(t.graph.dims, "N");
    two = qn_dims_const(t.graph.dims, 2);
    twelve = qn_dims_const(t.graph.dims, 12);
    in_known(&t, (const qn_dim[]){ n, twelve }, 2);
    in_known(&t, &two, 1);
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_non_null(t.out_known[0]);
    expect = qn_dims_mul(t.graph.dims, n, two);
    assert_int_equal(t.out_known[0]->elems[0], expect);
    assert_true(qn_dims_value(t.graph.dims, t.out_known[0]->elems[1], &v) && v == 24);
    op_end(&t);

    op_begin(&t, &qn_op_div, 14);
    n = qn_dims_symbol(t.graph.dims, "N");
    two = qn_dims_const(t.graph.dims, 2);
    in_known(&t, (const qn_dim[]){ n, qn_dims_const(t.graph.dims, -7) }, 2);
    in_known(&t, &two, 1);
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_known[0]->elems[0], qn_dims_floordiv(t.graph.dims, n, two));
    assert_true(qn_dims_value(t.graph.dims, t.out_known[0]->elems[1], &v) && v == -3); /* cut, not floored */
    op_end(&t);
}

static void an_overflow_in_shape_arithmetic_is_only_unknown(void **state)
{
    op_test t;
    qn_dim big;

    (void)state;
    op_begin(&t, &qn_op_mul, 14);
    big = qn_dims_const(t.graph.dims, INT64_MAX / 2);
    in_known(&t, &big, 1);
    in_known(&t, &big, 1);
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_known[0]->elems[0], QN_DIM_UNKNOWN);
    op_end(&t);
}

static void equal_and_where_choose_between_known_numbers(void **state)
{
    op_test t;
    qn_dim n, one, minus;
    int64_t v;

    (void)state;
    op_begin(&t, &qn_op_equal, 13); /* what exporters write for Expand: where(shape == -1, 1, shape) */
    n = qn_dims_symbol(t.graph.dims, "N");
    minus = qn_dims_const(t.graph.dims, -1);
    in_known(&t, (const qn_dim[]){ n, minus, qn_dims_const(t.graph.dims, 4) }, 3);
    in_known(&t, &minus, 1);
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_true(qn_dims_value(t.graph.dims, t.out_known[0]->elems[0], &v) && v == 0); /* a size is never -1 */
    assert_true(qn_dims_value(t.graph.dims, t.out_known[0]->elems[1], &v) && v == 1);
    assert_true(qn_dims_value(t.graph.dims, t.out_known[0]->elems[2], &v) && v == 0);
    op_end(&t);

    op_begin(&t, &qn_op_where, 16);
    n = qn_dims_symbol(t.graph.dims, "N");
    one = qn_dims_const(t.graph.dims, 1);
    in_known(&t, (const qn_dim[]){ one, qn_dims_const(t.graph.dims, 0) }, 2);
    t.in_type[0].dtype = QN_BOOL;
    in_known(&t, &one, 1);
    in_known(&t, (const qn_dim[]){ n, n }, 2);
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_known[0]->elems[0], one);
    assert_int_equal(t.out_known[0]->elems[1], n);
    op_end(&t);
}

static void casts_between_integers_keep_what_is_known(void **state)
{
    op_test t;
    qn_dim n;

    (void)state;
    begin_cast(&t, QN_I32);
    n = qn_dims_symbol(t.graph.dims, "N");
    in_known(&t, (const qn_dim[]){ n, qn_dims_const(t.graph.dims, (int64_t)1 << 40) }, 2);
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_known[0]->elems[0], n);
    assert_int_equal(t.out_known[0]->elems[1], QN_DIM_UNKNOWN); /* does not fit */
    op_end(&t);
    begin_cast(&t, QN_F32);
    n = qn_dims_symbol(t.graph.dims, "N");
    in_known(&t, &n, 1);
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_null(t.out_known[0]);
    op_end(&t);
}

static void unknown_ranks_and_sizes_are_no_error(void **state)
{
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_add, 14);
    op_in_f32(&t, (const float[]){ 0 }, 1, 1);
    op_in_f32(&t, (const float[]){ 0 }, 1, 1);
    t.in_type[0].rank = -1;
    t.bound = false;
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].rank, -1);
    assert_int_equal(t.out_type[0].dtype, QN_F32);
    t.in_type[0].rank = 1;
    t.in_type[0].dims[0] = QN_DIM_UNKNOWN;
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].rank, 1);
    op_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_broadcast_in_every_dtype),
        cmocka_unit_test(long_tensors_are_cut_into_tiles_that_change_nothing),
        cmocka_unit_test(before_opset_7_the_second_input_is_laid_along_an_axis),
        cmocka_unit_test(shapes_that_do_not_broadcast_are_refused),
        cmocka_unit_test(dividing_an_integer_by_zero_is_an_error),
        cmocka_unit_test(the_smallest_integer_over_minus_one_wraps),
        cmocka_unit_test(mod_takes_the_sign_of_the_divisor_unless_told),
        cmocka_unit_test(shifts_by_the_width_or_more_give_zero),
        cmocka_unit_test(bitwise_ops_work_on_signed_and_unsigned),
        cmocka_unit_test(powers_keep_the_dtype_of_the_base),
        cmocka_unit_test(many_inputs_fold_from_the_left),
        cmocka_unit_test(where_and_equal_take_strings),
        cmocka_unit_test(real_functions_work_in_every_real_dtype),
        cmocka_unit_test(gelu_by_tanh_is_the_approximation),
        cmocka_unit_test(integers_keep_their_dtype_in_abs_neg_sign_and_relu),
        cmocka_unit_test(clip_bounds_are_optional_and_of_every_dtype),
        cmocka_unit_test(prelu_slope_belongs_to_channels_before_opset_7),
        cmocka_unit_test(cast_before_6_names_its_dtype),
        cmocka_unit_test(small_numbers_survive_every_cast),
        cmocka_unit_test(reals_become_integers_by_cutting_and_saturating),
        cmocka_unit_test(f64_is_rounded_once_on_its_way_to_half_precision),
        cmocka_unit_test(numbers_and_strings_convert_both_ways),
        cmocka_unit_test(a_cast_to_what_quern_does_not_have_is_unsupported),
        cmocka_unit_test(shape_arithmetic_flows_through_symbols),
        cmocka_unit_test(an_overflow_in_shape_arithmetic_is_only_unknown),
        cmocka_unit_test(equal_and_where_choose_between_known_numbers),
        cmocka_unit_test(casts_between_integers_keep_what_is_known),
        cmocka_unit_test(unknown_ranks_and_sizes_are_no_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
