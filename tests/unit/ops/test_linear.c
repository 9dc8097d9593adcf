/* tests/unit/ops/test_linear.c - matrix products, convolutions and pools as ops: shapes, attributes that lie, every form of inputs.
 * What the kernels compute is tested beside them; here sums are small integers, so that any order gives the same. */
#include "tests/unit/ops/op_harness.h"

#include "core/kernels/gemm/gemm.h"
#include "core/ops/ops.h"

#include <math.h>

static float *counting(int n, int mod, int minus)
{
    static float pool[8][8192];
    static int next;
    float *x = pool[next++ % 8];

    assert_true(n <= 8192);
    for (int i = 0; i < n; i++) x[i] = (float)(i * 7 % mod - minus);
    return x;
}

static qn_tensor view2(const float *x, int64_t a, int64_t b) { return op_view(QN_F32, x, 2, (int)a, (int)b); }

/* -- MatMul --------------------------------------------------------------------------------------------------------------- */

/* a [.., m, k] by b [.., k, n] with the batch dims given; ranks below 2 are vectors. */
static void matmul_case(int ra, const int *da, int rb, const int *db, int rout, const int *dout, bool const_b)
{
    qn_tensor a = { .dtype = QN_F32, .rank = ra }, b = { .dtype = QN_F32, .rank = rb };
    const int m = ra > 1 ? da[ra - 2] : 1, k = da[ra - 1], n = rb > 1 ? db[rb - 1] : 1;
    int na = 1, nb = 1, batch = 1;
    float *x, *y, *out;
    static op_test t;

    for (int d = 0; d < ra; d++) na *= da[d], a.dims[d] = da[d];
    for (int d = 0; d < rb; d++) nb *= db[d], b.dims[d] = db[d];
    x = counting(na, 11, 5);
    y = counting(nb, 13, 6);
    a.data = x;
    a.bytes = (size_t)na * 4;
    b.data = y;
    b.bytes = (size_t)nb * 4;
    op_begin(&t, &qn_op_matmul, 13);
    op_in(&t, &a);
    if (const_b)
        op_in_const(&t, &b);
    else
        op_in(&t, &b);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].rank, rout);
    for (int d = 0; d < rout; d++) assert_int_equal(t.out[0].dims[d], dout[d]);
    for (int d = 0; d < rout - (ra > 1) - (rb > 1); d++) batch *= dout[d];
    out = op_out_f32(&t, 0);
    for (int i = 0; i < batch; i++) {
        /* the batch dims of these cases broadcast as whole matrices */
        const float *p = x + (na == batch * m * k ? i : na / (m * k) == 1 ? 0 : i / (batch / (na / (m * k)))) * m * k;
        const float *q = y + (nb == batch * k * n ? i : i % (nb / (k * n))) * k * n;

        for (int r = 0; r < m; r++) {
            for (int c = 0; c < n; c++) {
                float sum = 0;

                for (int z = 0; z < k; z++) sum += p[r * k + z] * q[z * n + c];
                assert_true(out[(i * m + r) * n + c] == sum);
            }
        }
    }
    op_end(&t);
}

static void matmul_takes_every_broadcasting_form(void **state)
{
    (void)state;
    for (int c = 0; c < 2; c++) {
        matmul_case(2, (int[]){ 3, 5 }, 2, (int[]){ 5, 33 }, 2, (int[]){ 3, 33 }, c);
        matmul_case(2, (int[]){ 40, 7 }, 2, (int[]){ 7, 20 }, 2, (int[]){ 40, 20 }, c);
        matmul_case(1, (int[]){ 5 }, 2, (int[]){ 5, 4 }, 1, (int[]){ 4 }, c);
        matmul_case(2, (int[]){ 3, 5 }, 1, (int[]){ 5 }, 1, (int[]){ 3 }, c);
        matmul_case(1, (int[]){ 6 }, 1, (int[]){ 6 }, 0, NULL, c);
        matmul_case(3, (int[]){ 4, 3, 5 }, 2, (int[]){ 5, 6 }, 3, (int[]){ 4, 3, 6 }, c);
        matmul_case(3, (int[]){ 2, 3, 5 }, 3, (int[]){ 2, 5, 6 }, 3, (int[]){ 2, 3, 6 }, c);
        matmul_case(4, (int[]){ 2, 3, 4, 5 }, 4, (int[]){ 2, 3, 5, 17 }, 4, (int[]){ 2, 3, 4, 17 }, c);
        matmul_case(2, (int[]){ 4, 5 }, 3, (int[]){ 6, 5, 2 }, 3, (int[]){ 6, 4, 2 }, c);
        matmul_case(4, (int[]){ 2, 1, 4, 5 }, 3, (int[]){ 3, 5, 2 }, 4, (int[]){ 2, 3, 4, 2 }, c);
        matmul_case(3, (int[]){ 2, 3, 5 }, 1, (int[]){ 5 }, 2, (int[]){ 2, 3 }, c);
        matmul_case(1, (int[]){ 5 }, 3, (int[]){ 2, 5, 3 }, 2, (int[]){ 2, 3 }, c);
    }
}

static void matmul_of_other_types_wraps_or_rounds_once(void **state)
{
    const int64_t a[] = { INT64_MAX, 2, 3, 4 }, b[] = { 2, 1, 0, 5 };
    const double x[] = { 1e300, 1, 0.5, 2 }, y[] = { 1e10, 1, 2, 3 };
    const uint16_t h[] = { 0x3c00, 0x4000, 0x4200, 0x4400 }; /* 1 2 3 4 */
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_matmul, 13);
    op_in_i64(&t, a, 2, 2, 2);
    op_in_i64(&t, b, 2, 2, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_true(op_out_i64(&t, 0)[0] == -2 && op_out_i64(&t, 0)[3] == 23);
    op_end(&t);
    op_begin(&t, &qn_op_matmul, 13);
    op_in_f64(&t, x, 2, 2, 2);
    op_in_f64(&t, y, 2, 2, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_true(isinf(op_out_f64(&t, 0)[0]) && op_out_f64(&t, 0)[3] == 6.5);
    op_end(&t);
    op_begin(&t, &qn_op_matmul, 13);
    op_in_f16(&t, h, 2, 2, 2);
    op_in_f16(&t, h, 2, 2, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(op_out_f16(&t, 0)[3], 0x4d80); /* 3 * 2 + 4 * 4 = 22 */
    op_end(&t);
}

static void a_product_over_nothing_is_zero_and_of_nothing_is_empty(void **state)
{
    const float none = 0;
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_matmul, 13);
    op_in_f32(&t, &none, 2, 2, 0);
    op_in_f32(&t, &none, 2, 0, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 6; i++) assert_true(op_out_f32(&t, 0)[i] == 0);
    op_end(&t);
    op_begin(&t, &qn_op_matmul, 13);
    op_in_f32(&t, &none, 2, 0, 1);
    op_in_f32(&t, &none, 2, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].dims[0], 0);
    op_end(&t);
}

static void matmul_refuses_shapes_that_do_not_meet(void **state)
{
    qn_error err;
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_matmul, 13);
    op_in_f32(&t, counting(6, 5, 0), 2, 2, 3);
    op_in_f32(&t, counting(8, 5, 0), 2, 4, 2);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_SHAPE);
    assert_string_equal(err.message, "inner dimensions 3 and 4 differ");
    op_end(&t);
    op_begin(&t, &qn_op_matmul, 13);
    op_in_f32(&t, counting(12, 5, 0), 3, 2, 2, 3);
    op_in_f32(&t, counting(18, 5, 0), 3, 3, 3, 2);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_SHAPE);
    op_end(&t);
    op_begin(&t, &qn_op_matmul, 13);
    op_in_f32(&t, counting(1, 5, 0), 0);
    op_in_f32(&t, counting(1, 5, 0), 1, 1);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_SHAPE);
    op_end(&t);
}

/* -- symbols and rows ----------------------------------------------------------------------------------------------------- */

/* The row proof: the axis of the output for these axes of the inputs. */
static int32_t rows_of(op_test *t, int32_t a, int32_t b, int32_t rest)
{
    qn_infer c = { .graph = &t->graph, .node = &t->node, .dims = t->graph.dims, .in = t->in_type, .out = t->out_type };
    int32_t in[OP_MAX_IO], out[2] = { QN_ROWS_MIXED, QN_ROWS_MIXED };

    for (int i = 0; i < OP_MAX_IO; i++) in[i] = rest;
    in[0] = a;
    in[1] = b;
    t->op->rows(&c, in, out);
    return out[0];
}

static void symbols_pass_through_products(void **state)
{
    char text[32];
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_matmul, 13);
    op_in_f32(&t, counting(12, 5, 0), 3, 1, 3, 4);
    op_in_const(&t, &(qn_tensor){ .dtype = QN_F32, .rank = 2, .dims = { 4, 5 }, .data = counting(20, 5, 0), .bytes = 80 });
    t.in_type[0].dims[0] = qn_dims_symbol(t.graph.dims, "N");
    t.in_type[0].dims[1] = qn_dims_symbol(t.graph.dims, "seq");
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_string_equal(qn_dims_print(t.graph.dims, t.out_type[0].dims[0], text, sizeof text), "N");
    assert_string_equal(qn_dims_print(t.graph.dims, t.out_type[0].dims[1], text, sizeof text), "seq");
    assert_int_equal(rows_of(&t, 0, QN_ROWS_NONE, 0), 0);
    assert_int_equal(rows_of(&t, 1, QN_ROWS_NONE, 0), 1);
    assert_int_equal(rows_of(&t, 2, QN_ROWS_NONE, 0), QN_ROWS_MIXED); /* the batch would be summed over */
    assert_int_equal(rows_of(&t, QN_ROWS_NONE, 1, 0), QN_ROWS_MIXED);
    op_end(&t);
    op_begin(&t, &qn_op_matmul, 13); /* attention: both carry the batch */
    op_in_f32(&t, counting(24, 5, 0), 4, 1, 2, 3, 4);
    op_in_f32(&t, counting(40, 5, 0), 4, 1, 2, 4, 5);
    t.in_type[0].dims[0] = t.in_type[1].dims[0] = qn_dims_symbol(t.graph.dims, "N");
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_int_equal(rows_of(&t, 0, 0, 0), 0);
    assert_int_equal(rows_of(&t, 0, 1, 0), QN_ROWS_MIXED);
    op_end(&t);
}

static void symbols_become_expressions_in_windows(void **state)
{
    static const struct {
        const char *auto_pad;
        int64_t stride, ceil, value, want;
    } forms[] = {
        { "NOTSET", 2, 0, 9, 4 }, { "NOTSET", 2, 1, 10, 5 }, { "NOTSET", 2, 1, 9, 4 }, { "SAME_UPPER", 2, 0, 9, 5 }, { "VALID", 1, 0, 9, 7 }
    };
    const int64_t kernel[] = { 3, 3 };

    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const int64_t strides[] = { 1, forms[i].stride };
        qn_dim h, w;
        int64_t c0, c1;
        static op_test t;

        op_begin(&t, &qn_op_max_pool, 12);
        op_attr_ints(&t, "kernel_shape", kernel, 2);
        op_attr_ints(&t, "strides", strides, 2);
        op_attr_str(&t, "auto_pad", forms[i].auto_pad);
        op_attr_int(&t, "ceil_mode", forms[i].ceil);
        op_in_f32(&t, counting(9 * 10, 5, 0), 4, 1, 1, 9, 10);
        t.in_type[0].dims[0] = qn_dims_symbol(t.graph.dims, "N");
        t.in_type[0].dims[2] = h = qn_dims_symbol(t.graph.dims, "H");
        t.in_type[0].dims[3] = w = qn_dims_const(t.graph.dims, forms[i].value);
        assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out_type[0].dims[0], t.in_type[0].dims[0]);
        assert_true(qn_dims_affine(t.graph.dims, t.out_type[0].dims[2], h, &c0, &c1));
        assert_int_equal(c1, 1);
        assert_int_equal(c0, forms[i].auto_pad[0] == 'S' ? 0 : -2);
        assert_true(qn_dims_value(t.graph.dims, t.out_type[0].dims[3], &c0));
        assert_int_equal(c0, forms[i].want);
        (void)w;
        op_end(&t);
    }
}

/* -- Gemm ----------------------------------------------------------------------------------------------------------------- */

static void gemm_case(const qn_op *op, bool ta, bool tb, float alpha, float beta, int c_form, bool const_b, const char *act)
{
    enum { M = 6, N = 19, K = 5 };
    const int c_dims[6][3] = { { 0 }, { 1, N }, { 2, 1, N }, { 2, M, 1 }, { 2, M, N }, { 0 } }; /* rank, dims */
    float *a = counting(M * K, 7, 3), *b = counting(K * N, 9, 4), *c = counting(M * N, 11, 5), *y;
    const qn_tensor tensor_b = tb ? view2(b, N, K) : view2(b, K, N);
    static op_test t;

    op_begin(&t, op, 13);
    op_attr_int(&t, "transA", ta);
    op_attr_int(&t, "transB", tb);
    op_attr_float(&t, "alpha", alpha);
    op_attr_float(&t, "beta", beta);
    if (act) {
        op_attr_str(&t, "act", act);
        op_attr_float(&t, "lo", -2);
        op_attr_float(&t, "hi", 6);
    }
    op_in_f32(&t, a, 2, ta ? K : M, ta ? M : K);
    if (const_b)
        op_in_const(&t, &tensor_b);
    else
        op_in(&t, &tensor_b);
    if (c_form == 5)
        op_in_f32(&t, c, 0);
    else if (c_form)
        op_in_f32(&t, c, c_dims[c_form][0], c_dims[c_form][1], c_dims[c_form][2]);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    y = op_out_f32(&t, 0);
    for (int i = 0; i < M; i++) {
        for (int j = 0; j < N; j++) {
            float v = 0;

            for (int p = 0; p < K; p++) v += (ta ? a[p * M + i] : a[i * K + p]) * (tb ? b[j * K + p] : b[p * N + j]);
            if (alpha != 1) v *= alpha;
            if (c_form) {
                const float x = c_form <= 2 ? c[j] : c_form == 3 ? c[i] : c_form == 4 ? c[i * N + j] : c[0];

                v += beta != 1 ? beta * x : x;
            }
            if (act && act[0] == 'r') v = v > 0 ? v : 0;
            if (act && act[0] == 'c') v = v < -2 ? -2 : v > 6 ? 6 : v;
            assert_true(y[i * N + j] == v);
        }
    }
    op_end(&t);
}

static void gemm_takes_every_transposition_scale_and_form_of_c(void **state)
{
    (void)state;
    for (int how = 0; how < 8; how++) {
        for (int c = 0; c < 6; c++) {
            gemm_case(&qn_op_gemm, how & 1, how & 2, 1, 1, c, how & 4, NULL);
            gemm_case(&qn_op_gemm, how & 1, how & 2, 0.37f, -1.25f, c, how & 4, NULL);
            gemm_case(&qn_op_fused_gemm, how & 1, how & 2, 1, 1, c, how & 4, c % 2 ? "relu" : "clip");
            gemm_case(&qn_op_fused_gemm, how & 1, how & 2, 0.5f, 1, c, how & 4, c % 2 ? "clip" : "none");
        }
    }
}

static void gemm_refuses_what_does_not_fit(void **state)
{
    qn_error err;
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_gemm, 13); /* C of another width */
    op_in_f32(&t, counting(6, 5, 0), 2, 2, 3);
    op_in_f32(&t, counting(12, 5, 0), 2, 3, 4);
    op_in_f32(&t, counting(3, 5, 0), 1, 3);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_SHAPE);
    op_end(&t);
    op_begin(&t, &qn_op_gemm, 13); /* rank 3 */
    op_in_f32(&t, counting(6, 5, 0), 3, 1, 2, 3);
    op_in_f32(&t, counting(12, 5, 0), 2, 3, 4);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_SHAPE);
    op_end(&t);
    op_begin(&t, &qn_op_fused_gemm, 1);
    op_attr_str(&t, "act", "gelu");
    op_in_f32(&t, counting(6, 5, 0), 2, 2, 3);
    op_in_f32(&t, counting(12, 5, 0), 2, 3, 4);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_INVALID);
    op_end(&t);
    op_begin(&t, &qn_op_gemm, 13);
    op_in_f32(&t, counting(6, 5, 0), 2, 2, 3);
    op_in_f64(&t, (double[12]){ 0 }, 2, 3, 4);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_DTYPE);
    op_end(&t);
}

static void a_gemm_in_a_batch_leaves_the_bits_of_its_rows(void **state)
{
    enum { K = 300, N = 21 };
    static float a[7 * K], b[K * N], alone[N];
    static op_test t;

    (void)state;
    for (int i = 0; i < 7 * K; i++) a[i] = sinf((float)i);
    for (int i = 0; i < K * N; i++) b[i] = cosf((float)i);
    for (int m = 7; m >= 1; m -= 2) {
        const qn_tensor tb = view2(b, K, N);

        op_begin(&t, &qn_op_gemm, 13);
        op_in_f32(&t, a + (7 - m) * K, 2, m, K);
        op_in_const(&t, &tb);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        if (m == 7) memcpy(alone, op_out_f32(&t, 0) + 6 * N, sizeof alone);
        assert_memory_equal(alone, op_out_f32(&t, 0) + (m - 1) * N, sizeof alone);
        op_end(&t);
    }
}

/* -- Conv ----------------------------------------------------------------------------------------------------------------- */

static void conv_begin(op_test *t, const qn_op *op, const float *w, bool const_w, const int64_t *kernel, const int64_t *strides,
                       const int64_t *pads)
{
    const qn_tensor tw = op_view(QN_F32, w, 4, 4, 2, 3, 3);

    op_begin(t, op, 11);
    if (kernel) op_attr_ints(t, "kernel_shape", kernel, 2);
    if (strides) op_attr_ints(t, "strides", strides, 2);
    if (pads) op_attr_ints(t, "pads", pads, 4);
    op_in_f32(t, counting(2 * 2 * 6 * 5, 7, 3), 4, 2, 2, 6, 5);
    if (const_w)
        op_in_const(t, &tw);
    else
        op_in(t, &tw);
}

static void conv_check(op_test *t, const float *x, const float *w, const float *bias, int oh, int ow, int sh, int sw, int ph, int pw)
{
    const float *y = op_out_f32(t, 0);

    assert_int_equal(t->out[0].dims[0], 2);
    assert_int_equal(t->out[0].dims[1], 4);
    assert_int_equal(t->out[0].dims[2], oh);
    assert_int_equal(t->out[0].dims[3], ow);
    for (int i = 0; i < 2 * 4 * oh * ow; i++) {
        const int q = i % ow, r = i / ow % oh, o = i / ow / oh % 4, n = i / ow / oh / 4;
        float v = 0;

        for (int z = 0; z < 2 * 9; z++) {
            const int c = z / 9, h = r * sh - ph + z / 3 % 3, l = q * sw - pw + z % 3;

            if (h >= 0 && h < 6 && l >= 0 && l < 5) v += w[o * 18 + z] * x[((n * 2 + c) * 6 + h) * 5 + l];
        }
        assert_true(y[i] == v + (bias ? bias[o] : 0));
    }
}

static void conv_pads_as_its_attributes_say(void **state)
{
    const int64_t strides[] = { 2, 1 }, pads[] = { 1, 0, 0, 2 }, two[] = { 2, 2 };
    const float *w = counting(72, 5, 2), *bias = counting(4, 9, 4);
    static op_test t;

    (void)state;
    for (int const_w = 0; const_w < 2; const_w++) {
        conv_begin(&t, &qn_op_conv, w, const_w, NULL, strides, pads);
        op_in_f32(&t, bias, 1, 4);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        conv_check(&t, t.in[0].data, w, bias, 3, 5, 2, 1, 1, 0);
        op_end(&t);
    }
    conv_begin(&t, &qn_op_conv, w, true, NULL, two, NULL); /* H 6, stride 2, kernel 3: one row of padding; W 5: two */
    op_attr_str(&t, "auto_pad", "SAME_UPPER");
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    conv_check(&t, t.in[0].data, w, NULL, 3, 3, 2, 2, 0, 1);
    op_end(&t);
    conv_begin(&t, &qn_op_conv, w, true, NULL, two, NULL);
    op_attr_str(&t, "auto_pad", "SAME_LOWER");
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    conv_check(&t, t.in[0].data, w, NULL, 3, 3, 2, 2, 1, 1);
    op_end(&t);
    conv_begin(&t, &qn_op_conv, w, true, NULL, NULL, pads); /* VALID: pads have no say */
    op_attr_str(&t, "auto_pad", "VALID");
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    conv_check(&t, t.in[0].data, w, NULL, 4, 3, 1, 1, 0, 0);
    op_end(&t);
}

static void a_fused_conv_adds_the_residual_before_it_acts(void **state)
{
    const float *w = counting(72, 5, 2), *residual = counting(2 * 4 * 4 * 3, 17, 8);
    float plain[96];
    static op_test t;

    (void)state;
    conv_begin(&t, &qn_op_conv, w, true, NULL, NULL, NULL);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    memcpy(plain, op_out_f32(&t, 0), sizeof plain);
    op_end(&t);
    conv_begin(&t, &qn_op_fused_conv, w, true, NULL, NULL, NULL);
    op_attr_str(&t, "act", "relu");
    op_in_none(&t);
    op_in_f32(&t, residual, 4, 2, 4, 4, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 96; i++) assert_true(op_out_f32(&t, 0)[i] == fmaxf(plain[i] + residual[i], 0));
    assert_int_equal(rows_of(&t, 0, QN_ROWS_NONE, QN_ROWS_NONE), QN_ROWS_MIXED); /* a residual that every row shares, but has rows */
    op_end(&t);
}

static void conv_refuses_attributes_that_lie(void **state)
{
    static const int64_t zero[] = { 1, 0 }, minus[] = { -1, 1 }, five[] = { 5, 5 }, three[] = { 3, 3, 3 }, bad_pads[] = { 0, 0, -1, 0 };
    static const int64_t huge[] = { INT64_MAX, 1 }, wide[] = { 100, 100 };
    static const struct {
        const char *name;
        const int64_t *v;
        int64_t n;
        qn_status want;
    } lists[] = { { "strides", zero, 2, QN_ERR_INVALID },      { "dilations", minus, 2, QN_ERR_INVALID },
                  { "kernel_shape", five, 2, QN_ERR_INVALID }, { "kernel_shape", three, 3, QN_ERR_INVALID },
                  { "pads", bad_pads, 4, QN_ERR_INVALID },     { "pads", zero, 2, QN_ERR_INVALID },
                  { "strides", huge, 2, QN_ERR_INVALID },      { "dilations", wide, 2, QN_ERR_SHAPE } };
    static const int64_t groups[] = { 0, -1, 3, INT64_MIN };
    const float *w = counting(72, 5, 2);
    qn_error err;
    static op_test t;

    (void)state;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        conv_begin(&t, &qn_op_conv, w, true, NULL, NULL, NULL);
        op_attr_ints(&t, lists[i].name, lists[i].v, lists[i].n);
        memset(&err, 0, sizeof err);
        assert_int_equal(op_run(&t, 1, &err), lists[i].want);
        assert_true(strlen(err.message) > 10);
        op_end(&t);
    }
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        conv_begin(&t, &qn_op_conv, w, true, NULL, NULL, NULL);
        op_attr_int(&t, "group", groups[i]);
        assert_int_equal(op_run(&t, 1, &err), i == 2 ? QN_ERR_SHAPE : QN_ERR_INVALID);
        op_end(&t);
    }
    conv_begin(&t, &qn_op_conv, w, true, NULL, NULL, NULL);
    op_attr_str(&t, "auto_pad", "SOMETIMES");
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_INVALID);
    op_end(&t);
    conv_begin(&t, &qn_op_conv, w, true, NULL, NULL, NULL); /* a bias for another number of channels */
    op_in_f32(&t, w, 1, 5);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_SHAPE);
    op_end(&t);
    op_begin(&t, &qn_op_conv, 11); /* a weight of another rank */
    op_in_f32(&t, w, 4, 1, 2, 4, 4);
    op_in_f32(&t, w, 3, 1, 2, 3);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_SHAPE);
    op_end(&t);
    op_begin(&t, &qn_op_conv, 11); /* other channels */
    op_in_f32(&t, w, 4, 1, 3, 2, 2);
    op_in_f32(&t, w, 4, 1, 2, 1, 1);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_SHAPE);
    op_end(&t);
    op_begin(&t, &qn_op_conv, 11); /* four spatial dimensions */
    op_in_f32(&t, w, 6, 1, 1, 2, 2, 2, 2);
    op_in_f32(&t, w, 6, 1, 1, 1, 1, 1, 1);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_UNSUPPORTED);
    op_end(&t);
    op_begin(&t, &qn_op_conv, 11); /* a matrix */
    op_in_f32(&t, w, 2, 3, 3);
    op_in_f32(&t, w, 2, 3, 3);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_SHAPE);
    op_end(&t);
}

static void conv_transpose_spreads_each_input_over_its_taps(void **state)
{
    const int64_t strides[] = { 2, 1 }, pads[] = { 1, 0, 0, 1 }, extra[] = { 1, 0 };
    const float *x = counting(2 * 2 * 3 * 4, 7, 3), *w = counting(2 * 3 * 9, 5, 2), *bias = counting(3, 5, 2);
    float want[2 * 3 * 7 * 5] = { 0 };
    static op_test t;

    (void)state;
    for (int i = 0; i < 2 * 2 * 3 * 4; i++) {
        const int n = i / 24, c = i / 12 % 2, h = i / 4 % 3, l = i % 4;

        for (int z = 0; z < 27; z++) {
            const int o = z / 9, r = h * 2 - 1 + z / 3 % 3, q = l + z % 3;

            if (r >= 0 && r < 7 && q < 5) want[((n * 3 + o) * 7 + r) * 5 + q] += x[i] * w[(c * 3 + o) * 9 + z % 9];
        }
    }
    for (int const_w = 0; const_w < 2; const_w++) {
        const qn_tensor tw = op_view(QN_F32, w, 4, 2, 3, 3, 3);

        op_begin(&t, &qn_op_conv_transpose, 11);
        op_attr_ints(&t, "strides", strides, 2);
        op_attr_ints(&t, "pads", pads, 4);
        op_attr_ints(&t, "output_padding", extra, 2);
        op_in_f32(&t, x, 4, 2, 2, 3, 4);
        if (const_w)
            op_in_const(&t, &tw);
        else
            op_in(&t, &tw);
        op_in_f32(&t, bias, 1, 3);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].dims[2], 7);
        assert_int_equal(t.out[0].dims[3], 5);
        for (int i = 0; i < 2 * 3 * 35; i++) assert_true(op_out_f32(&t, 0)[i] == want[i] + bias[i / 35 % 3]);
        op_end(&t);
    }
}

static void a_large_conv_transpose_is_cut_without_changing_the_order(void **state)
{
    enum { W = 6200 };
    static float x[2 * W], w[2 * 5], want[W + 4];
    static op_test t;

    (void)state;
    for (int i = 0; i < 2 * W; i++) x[i] = sinf((float)i);
    for (int i = 0; i < 10; i++) w[i] = cosf((float)i);
    memset(want, 0, sizeof want);
    for (int k = 0; k < 5; k++) {
        for (int i = 0; i < W; i++) want[i + k] += fmaf(w[5 + k], x[W + i], fmaf(w[k], x[i], 0));
    }
    op_begin(&t, &qn_op_conv_transpose, 11);
    op_in_f32(&t, x, 3, 1, 2, W);
    op_in_f32(&t, w, 3, 2, 1, 5);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(op_out_f32(&t, 0), want, sizeof want);
    op_end(&t);
}

static void conv_transpose_refuses_attributes_that_lie(void **state)
{
    static const int64_t minus[] = { -1, 0 }, three[] = { 1, 1, 1 }, large[] = { 9, 9, 9, 9 };
    static const struct {
        const char *name;
        const int64_t *v;
        int64_t n;
    } lists[] = { { "output_padding", minus, 2 },
                  { "output_padding", three, 3 },
                  { "output_shape", minus, 2 },
                  { "output_shape", three, 3 },
                  { "pads", large, 4 } };
    qn_error err;
    static op_test t;

    (void)state;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        op_begin(&t, &qn_op_conv_transpose, 11);
        op_attr_ints(&t, lists[i].name, lists[i].v, lists[i].n);
        op_in_f32(&t, counting(9, 5, 0), 4, 1, 1, 3, 3);
        op_in_f32(&t, counting(9, 5, 0), 4, 1, 1, 3, 3);
        assert_int_equal(op_run(&t, 1, &err), i == 4 ? QN_ERR_SHAPE : QN_ERR_INVALID);
        op_end(&t);
    }
}

/* -- pools ---------------------------------------------------------------------------------------------------------------- */

static void max_unpool_puts_back_what_max_pool_took(void **state)
{
    const int64_t two[] = { 2, 2 };
    const float *x = counting(2 * 3 * 4 * 6, 97, 0);
    float pooled[2 * 3 * 2 * 3];
    int64_t where[2 * 3 * 2 * 3];
    qn_error err;
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_max_pool, 12);
    op_attr_ints(&t, "kernel_shape", two, 2);
    op_attr_ints(&t, "strides", two, 2);
    op_in_f32(&t, x, 4, 2, 3, 4, 6);
    assert_int_equal(op_run(&t, 2, NULL), QN_OK);
    memcpy(pooled, op_out_f32(&t, 0), sizeof pooled);
    memcpy(where, op_out_i64(&t, 1), sizeof where);
    assert_int_equal(rows_of(&t, 0, 0, 0), QN_ROWS_MIXED); /* indices count from the first image */
    op_end(&t);
    op_begin(&t, &qn_op_max_pool, 12);
    op_attr_ints(&t, "kernel_shape", two, 2);
    op_attr_ints(&t, "strides", two, 2);
    op_in_f32(&t, x, 4, 2, 3, 4, 6);
    t.out_none[1] = true;
    assert_int_equal(op_run(&t, 2, NULL), QN_OK);
    assert_memory_equal(op_out_f32(&t, 0), pooled, sizeof pooled);
    assert_int_equal(rows_of(&t, 0, 0, 0), 0);
    op_end(&t);
    for (int bad = 0; bad < 3; bad++) {
        const int64_t kept = where[35];

        if (bad == 1) where[35] = 144;
        if (bad == 2) where[35] = -1;
        op_begin(&t, &qn_op_max_unpool, 11);
        op_attr_ints(&t, "kernel_shape", two, 2);
        op_attr_ints(&t, "strides", two, 2);
        op_in_f32(&t, pooled, 4, 2, 3, 2, 3);
        op_in_i64(&t, where, 4, 2, 3, 2, 3);
        assert_int_equal(op_run(&t, 1, &err), bad ? QN_ERR_RANGE : QN_OK);
        if (!bad) {
            float sum = 0;

            for (int i = 0; i < 144; i++) {
                assert_true(op_out_f32(&t, 0)[i] == 0 || op_out_f32(&t, 0)[i] == x[i]);
                sum += op_out_f32(&t, 0)[i];
            }
            for (int i = 0; i < 36; i++) sum -= pooled[i];
            assert_true(sum == 0);
        }
        where[35] = kept;
        op_end(&t);
    }
}

static void max_unpool_keeps_coordinates_in_a_larger_output(void **state)
{
    const int64_t two[] = { 2, 2 }, where[] = { 5, 7, 13, 15 }, shape[] = { 1, 1, 5, 5 }, small[] = { 1, 1, 3, 5 };
    const float x[] = { 1, 2, 3, 4 };

    (void)state;
    for (int how = 0; how < 3; how++) { /* the shape known to inference, known only at run time, too small */
        static op_test t;

        op_begin(&t, &qn_op_max_unpool, 11);
        t.bound = how != 1;
        op_attr_ints(&t, "kernel_shape", two, 2);
        op_attr_ints(&t, "strides", two, 2);
        op_in_f32(&t, x, 4, 1, 1, 2, 2);
        op_in_i64(&t, where, 4, 1, 1, 2, 2);
        op_in_i64(&t, how == 2 ? small : shape, 1, 4);
        if (how == 2) {
            assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
        } else {
            assert_int_equal(op_run(&t, 1, NULL), QN_OK);
            assert_int_equal(t.out[0].dims[3], 5);
            for (int i = 0; i < 4; i++) assert_true(op_out_f32(&t, 0)[(1 + i / 2 * 2) * 5 + 1 + i % 2 * 2] == x[i]);
        }
        op_end(&t);
    }
}

static void averages_count_padding_only_when_told(void **state)
{
    const int64_t three[] = { 3, 3 }, one[] = { 1, 1, 1, 1 };
    const float x[] = { 9, 9, 9, 9 };

    (void)state;
    for (int include = 0; include < 2; include++) {
        static op_test t;

        op_begin(&t, &qn_op_average_pool, 11);
        op_attr_ints(&t, "kernel_shape", three, 2);
        op_attr_ints(&t, "pads", one, 4);
        op_attr_int(&t, "count_include_pad", include);
        op_in_f32(&t, x, 4, 1, 1, 2, 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        for (int i = 0; i < 4; i++) assert_true(op_out_f32(&t, 0)[i] == (include ? 4 : 9));
        op_end(&t);
    }
}

static void global_pools_reduce_all_that_is_spatial(void **state)
{
    const float *x = counting(2 * 9 * 5 * 3 * 2, 13, 6);
    const struct {
        const qn_op *op;
        int kind;
    } ops[] = { { &qn_op_global_max_pool, 0 }, { &qn_op_global_average_pool, 1 }, { &qn_op_global_lp_pool, 2 } };

    (void)state;
    for (int o = 0; o < 3; o++) {
        static op_test t;

        op_begin(&t, ops[o].op, 1);
        if (o == 2) op_attr_float(&t, "p", 1); /* opset 1 wrote a float */
        op_in_f32(&t, x, 5, 2, 9, 5, 3, 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].rank, 5);
        for (int i = 0; i < 18; i++) {
            float max = -100, sum = 0, norm = 0;

            for (int j = 0; j < 30; j++) {
                max = fmaxf(max, x[i * 30 + j]);
                sum += x[i * 30 + j];
                norm += fabsf(x[i * 30 + j]);
            }
            assert_true(op_out_f32(&t, 0)[i] == (o == 0 ? max : o == 1 ? sum / 30 : norm));
        }
        op_end(&t);
    }
}

static void pools_refuse_attributes_that_lie(void **state)
{
    static const int64_t two[] = { 2, 2 }, zero[] = { 0, 2 }, wide[] = { 2, 0, 0, 0 }, large[] = { 9, 9 };
    qn_error err;
    static op_test t;

    (void)state;
    for (int how = 0; how < 6; how++) {
        op_begin(&t, how == 4 ? &qn_op_lp_pool : &qn_op_max_pool, 12);
        if (how > 0) op_attr_ints(&t, "kernel_shape", how == 1 ? zero : how == 2 ? large : two, 2);
        if (how == 3) op_attr_ints(&t, "pads", wide, 4);
        if (how == 4) op_attr_int(&t, "p", 0);
        if (how == 5) op_attr_int(&t, "storage_order", 2);
        op_in_f32(&t, counting(16, 5, 0), 4, 1, 1, 4, 4);
        assert_int_equal(op_run(&t, 1, &err), how == 2 ? QN_ERR_SHAPE : QN_ERR_INVALID);
        op_end(&t);
    }
    op_begin(&t, &qn_op_global_average_pool, 1); /* the average of nothing */
    op_in_f32(&t, counting(1, 5, 0), 4, 1, 2, 0, 4);
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_SHAPE);
    op_end(&t);
}

/* -- what inspect shows --------------------------------------------------------------------------------------------------- */

static void the_kernel_and_what_kept_a_better_one_away_are_named(void **state)
{
    const qn_tensor b = view2(counting(12, 5, 0), 3, 4);
    static op_test t;

    (void)state;
    for (int i = 0; i < 3; i++) {
        static const char *const isa[] = { "scalar", "avx2", "avx512" }, *const kernel[] = { "f32_4x16__scalar", "f32_6x16__avx2",
                                                                                             "f32_12x32__avx512" };
        static const char *const why[] = { "needs avx2 and fma", "needs avx512", "" };
        qn_weight *weights[2] = { NULL };
        qn_lower lo = { .team_size = 1, .kernel = "plain", .why = "" };

        if (qn_cpu_from_name(isa[i], &lo.cpu, NULL) != QN_OK) continue;
        op_begin(&t, &qn_op_matmul, 13);
        op_in_f32(&t, counting(6, 5, 0), 2, 2, 3);
        op_in_const(&t, &b);
        assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
        weights[1] = t.values[1].weight;
        lo.arena = &t.graph.arena;
        lo.node = &t.node;
        lo.in = t.in;
        lo.weight = weights;
        lo.plan = (qn_plan *)&t;
        assert_int_equal(qn_op_matmul.lower(&lo, NULL), QN_OK);
        assert_string_equal(lo.kernel, kernel[i]);
        assert_string_equal(lo.why, why[i]);
        assert_int_equal(lo.skip_in, 2);
        assert_int_equal(lo.scratch_bytes, 0);
        op_end(&t);
    }
}

static void fast_bits_may_use_openblas_and_stay_close(void **state)
{
    enum { M = 64, K = 512, N = 513 };
    static float a[M * K], b[K * N], y[M * N];
    static op_test t;
    qn_tensor tb = op_view(QN_F32, b, 2, K, N), in[2], out = { .dtype = QN_F32, .rank = 2, .dims = { M, N }, .data = y, .bytes = sizeof y };
    qn_weight *weights[2] = { NULL };
    const qn_openblas *blas;
    qn_lower lo = { .team_size = 1, .kernel = "plain", .why = "", .bits = QN_BITS_FAST };

    (void)state;
    if (qn_openblas_open(qn_cpu_detect(), &blas, NULL) != QN_OK) skip();
    for (int i = 0; i < M * K; i++) a[i] = sinf((float)i);
    for (int i = 0; i < K * N; i++) b[i] = cosf((float)i);
    for (int g = 0; g < 2; g++) {
        const qn_op *op = g ? &qn_op_gemm : &qn_op_matmul;
        qn_run r = { .in = in, .out = &out };

        op_begin(&t, op, 13);
        op_in_f32(&t, a, 2, M, K);
        op_in_const(&t, &tb);
        assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
        weights[1] = t.values[1].weight;
        lo.cpu = qn_cpu_detect();
        lo.arena = &t.graph.arena;
        lo.node = r.node = &t.node;
        lo.in = t.in;
        lo.weight = weights;
        lo.plan = (qn_plan *)&t;
        lo.skip_in = 0;
        assert_int_equal(op->lower(&lo, NULL), QN_OK);
        assert_memory_equal(lo.kernel, "openblas/", 9);
        assert_int_equal(lo.skip_in, 0); /* it reads B as it lies */
        in[0] = t.in[0];
        in[1] = t.in[1];
        r.state = lo.state;
        assert_int_equal(op->run(&r, NULL), QN_OK);
        for (int i = 0; i < M * N; i += 37) {
            double sum = 0;

            for (int p = 0; p < K; p++) sum += (double)a[i / N * K + p] * (double)b[p * N + i % N];
            assert_float_equal(y[i], (float)sum, 1e-3f);
        }
        op_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_takes_every_broadcasting_form),
        cmocka_unit_test(matmul_of_other_types_wraps_or_rounds_once),
        cmocka_unit_test(a_product_over_nothing_is_zero_and_of_nothing_is_empty),
        cmocka_unit_test(matmul_refuses_shapes_that_do_not_meet),
        cmocka_unit_test(symbols_pass_through_products),
        cmocka_unit_test(symbols_become_expressions_in_windows),
        cmocka_unit_test(gemm_takes_every_transposition_scale_and_form_of_c),
        cmocka_unit_test(gemm_refuses_what_does_not_fit),
        cmocka_unit_test(a_gemm_in_a_batch_leaves_the_bits_of_its_rows),
        cmocka_unit_test(conv_pads_as_its_attributes_say),
        cmocka_unit_test(a_fused_conv_adds_the_residual_before_it_acts),
        cmocka_unit_test(conv_refuses_attributes_that_lie),
        cmocka_unit_test(conv_transpose_spreads_each_input_over_its_taps),
        cmocka_unit_test(a_large_conv_transpose_is_cut_without_changing_the_order),
        cmocka_unit_test(conv_transpose_refuses_attributes_that_lie),
        cmocka_unit_test(max_unpool_puts_back_what_max_pool_took),
        cmocka_unit_test(max_unpool_keeps_coordinates_in_a_larger_output),
        cmocka_unit_test(averages_count_padding_only_when_told),
        cmocka_unit_test(global_pools_reduce_all_that_is_spatial),
        cmocka_unit_test(pools_refuse_attributes_that_lie),
        cmocka_unit_test(the_kernel_and_what_kept_a_better_one_away_are_named),
        cmocka_unit_test(fast_bits_may_use_openblas_and_stay_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
