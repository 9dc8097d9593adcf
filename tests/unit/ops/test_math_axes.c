/* tests/unit/ops/test_math_axes.c - ops that work along axes: reductions and softmax; and whether the rows of a batch stay apart.
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

/* -- reductions ----------------------------------------------------------------------------------------------------------- */

static const int64_t cube[4] = { 3, 5, 4, 7 };
#define CUBE (3 * 5 * 4 * 7)

/* What one output element should be: over all elements of the cube whose kept coordinates are those of `out`. */
static double reduced(const qn_op *op, const qn_tensor *x, uint32_t mask, int64_t out)
{
    double sum = 0, best = -INFINITY, least = INFINITY, product = 1, squares = 0, absolute = 0, exps = 0;
    int k = 0;

    for (int64_t i = 0; i < CUBE; i++) {
        int64_t rest = i, c[4], place = 0;
        double v = at(x, i);

        for (int d = 3; d >= 0; d--) {
            c[d] = rest % cube[d];
            rest /= cube[d];
        }
        for (int d = 0; d < 4; d++)
            if (!(mask >> d & 1)) place = place * cube[d] + c[d];
        if (place != out) continue;
        sum += v;
        best = fmax(best, v);
        least = fmin(least, v);
        product *= v;
        squares += v * v;
        absolute += fabs(v);
        exps += exp(v);
        k++;
    }
    if (op == &qn_op_reduce_sum) return sum;
    if (op == &qn_op_reduce_mean) return sum / k;
    if (op == &qn_op_reduce_max) return best;
    if (op == &qn_op_reduce_min) return least;
    if (op == &qn_op_reduce_prod) return product;
    if (op == &qn_op_reduce_sum_square) return squares;
    if (op == &qn_op_reduce_l1) return absolute;
    if (op == &qn_op_reduce_l2) return sqrt(squares);
    if (op == &qn_op_reduce_log_sum) return log(sum);
    return log(exps);
}

static const qn_op *const reductions[] = {
    &qn_op_reduce_sum,        &qn_op_reduce_mean, &qn_op_reduce_max, &qn_op_reduce_min,     &qn_op_reduce_prod,
    &qn_op_reduce_sum_square, &qn_op_reduce_l1,   &qn_op_reduce_l2,  &qn_op_reduce_log_sum, &qn_op_reduce_log_sum_exp,
};
#define N_REDUCTIONS ((int)(sizeof reductions / sizeof reductions[0]))

static void reduce_once(const qn_op *op, const qn_tensor *x, uint32_t mask, bool keep, double limit)
{
    op_test t;
    int64_t axes[4], n = 0, count;

    for (int d = 3; d >= 0; d--)
        if (mask >> d & 1) axes[n++] = d - (d % 2 ? 4 : 0); /* some from the end, and not in order */
    op_begin(&t, op, 18);
    op_attr_int(&t, "keepdims", keep);
    op_in(&t, x);
    op_in_i64(&t, axes, 1, (int)n);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out[0].rank, keep ? 4 : 4 - n);
    count = qn_tensor_count(&t.out[0]);
    for (int64_t i = 0; i < count; i++) {
        const double want = reduced(op, x, mask, i), got = at(&t.out[0], i);

        if (!(fabs(got - want) <= limit * (1 + fabs(want))) && !isnan(want))
            fail_msg("%s of %s over %x, element %d: %.9g, expected %.9g", op->name, qn_dtype_name(x->dtype), mask, (int)i, got, want);
    }
    op_end(&t);
}

static void every_reduction_works_over_every_set_of_axes(void **state)
{
    float x[CUBE];

    (void)state;
    noise(x, CUBE, 1.0f);
    for (int i = 0; i < CUBE; i++) x[i] = 1.0f + 0.2f * x[i]; /* above 0 for the logarithm, near 1 for the product */
    for (int d = 0; d < 4; d++) {
        qn_tensor t = as(reals[d], x, 4, cube);

        for (int op = 0; op < N_REDUCTIONS; op++)
            for (uint32_t mask = 1; mask < 16; mask++) reduce_once(reductions[op], &t, mask, mask & 1, d < 2 ? 1e-5 : coarse[d] * 2);
        qn_tensor_free(&t);
    }
}

static void the_order_of_a_sum_does_not_depend_on_the_layout(void **state)
{
    enum { K = 77, C = 70 };
    static float x[K * C], y[K * C];
    static op_test a, b;

    (void)state;
    noise(x, K * C, 1000.0f);
    for (int k = 0; k < K; k++)
        for (int c = 0; c < C; c++) y[c * K + k] = x[k * C + c];
    op_begin(&a, &qn_op_reduce_sum, 13); /* down the columns */
    op_in_f32(&a, x, 2, K, C);
    op_in_i64(&a, (const int64_t[]){ 0 }, 1, 1);
    assert_int_equal(op_run(&a, 1, NULL), QN_OK);
    op_begin(&b, &qn_op_reduce_sum, 13); /* along the rows of the transpose */
    op_in_f32(&b, y, 2, C, K);
    op_in_i64(&b, (const int64_t[]){ 1 }, 1, 1);
    assert_int_equal(op_run(&b, 1, NULL), QN_OK);
    assert_memory_equal(a.out[0].data, b.out[0].data, C * sizeof(float));
    op_end(&a);
    op_end(&b);
}

static void integer_reductions_wrap_and_cut(void **state)
{
    const int32_t x[] = { 7, -2, INT32_MAX, 1 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_reduce_mean, 13);
    op_in_i32(&t, x, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(op_out_i32(&t, 0)[0], 2);
    op_end(&t);
    op_begin(&t, &qn_op_reduce_sum, 13);
    op_in_i32(&t, x + 2, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(op_out_i32(&t, 0)[0], INT32_MIN);
    op_end(&t);
    op_begin(&t, &qn_op_reduce_min, 13);
    op_in_i8(&t, (const int8_t[]){ 5, -3, 9 }, 1, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(op_out_i8(&t, 0)[0], -3);
    op_end(&t);
}

static void reducing_nothing_has_a_neutral_answer(void **state)
{
    const float dummy = 0;
    op_test t;

    (void)state;
    for (int op = 0; op < N_REDUCTIONS; op++) {
        float got;

        op_begin(&t, reductions[op], 18);
        op_in_f32(&t, &dummy, 2, 2, 0);
        op_in_i64(&t, (const int64_t[]){ 1 }, 1, 1);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        got = op_out_f32(&t, 0)[1];
        if (reductions[op] == &qn_op_reduce_prod)
            assert_true(got == 1.0f);
        else if (reductions[op] == &qn_op_reduce_mean)
            assert_true(isnan(got));
        else if (reductions[op] == &qn_op_reduce_max)
            assert_true(got == -INFINITY);
        else if (reductions[op] == &qn_op_reduce_min)
            assert_true(got == INFINITY);
        else if (reductions[op] == &qn_op_reduce_log_sum || reductions[op] == &qn_op_reduce_log_sum_exp)
            assert_true(got == -INFINITY);
        else
            assert_true(got == 0.0f);
        op_end(&t);
    }
}

static void no_axes_means_all_or_none(void **state)
{
    const float x[] = { 1, 2, 3, 4 };
    op_test t;

    (void)state;
    for (int noop = 0; noop < 2; noop++) {
        op_begin(&t, &qn_op_reduce_sum_square, 18);
        op_attr_int(&t, "noop_with_empty_axes", noop);
        op_in_f32(&t, x, 2, 2, 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(qn_tensor_count(&t.out[0]), noop ? 4 : 1);
        assert_true(op_out_f32(&t, 0)[0] == (noop ? 1.0f : 30.0f));
        op_end(&t);
    }
}

static void no_axes_at_all_still_square_and_take_logarithms(void **state)
{
    const float x[] = { -2, 0.5f, 3, 1 };
    static const struct {
        const qn_op *op;
        float want[4];
    } cases[] = {
        { &qn_op_reduce_sum, { -2, 0.5f, 3, 1 } },         { &qn_op_reduce_mean, { -2, 0.5f, 3, 1 } },
        { &qn_op_reduce_max, { -2, 0.5f, 3, 1 } },         { &qn_op_reduce_prod, { -2, 0.5f, 3, 1 } },
        { &qn_op_reduce_l1, { 2, 0.5f, 3, 1 } },           { &qn_op_reduce_l2, { 2, 0.5f, 3, 1 } },
        { &qn_op_reduce_sum_square, { 4, 0.25f, 9, 1 } },  { &qn_op_reduce_log_sum, { NAN, -0.693147f, 1.098612f, 0 } },
        { &qn_op_reduce_log_sum_exp, { -2, 0.5f, 3, 1 } },
    };
    op_test t;

    (void)state;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        op_begin(&t, cases[i / 2].op, 18);
        op_attr_int(&t, "noop_with_empty_axes", 1);
        op_in_f32(&t, x, 2, 2, 2);
        if (i % 2) op_in_i64(&t, (const int64_t[]){ 0 }, 1, 0); /* left out, or empty */
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        for (int k = 0; k < 4; k++) {
            const float want = cases[i / 2].want[k], y = op_out_f32(&t, 0)[k];

            assert_true(isnan(want) ? isnan(y) : fabsf(y - want) < 1e-6f);
        }
        op_end(&t);
    }
}

static void axes_that_do_not_fit_are_refused(void **state)
{
    const float x[] = { 1, 2 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_reduce_sum, 13);
    op_in_f32(&t, x, 1, 2);
    op_in_i64(&t, (const int64_t[]){ 1 }, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
    op_begin(&t, &qn_op_reduce_sum, 13);
    op_in_f32(&t, x, 1, 2);
    op_in_i64(&t, (const int64_t[]){ 0, -1 }, 1, 2); /* twice the same */
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

static void axes_known_only_at_run_time_leave_the_sizes_open(void **state)
{
    const float x[] = { 1, 2, 3, 4 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_reduce_sum, 13);
    t.bound = false;
    op_in_f32(&t, x, 2, 2, 2);
    op_in_i64(&t, (const int64_t[]){ 0 }, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].rank, 2);
    assert_int_equal(t.out_type[0].dims[0], QN_DIM_UNKNOWN);
    assert_true(op_out_f32(&t, 0)[0] == 4.0f && op_out_f32(&t, 0)[1] == 6.0f); /* memory came from the session */
    op_end(&t);
}

static void a_product_of_known_sizes_is_known(void **state)
{
    op_test t;
    qn_known *k;
    qn_dim n, expect;

    (void)state;
    op_begin(&t, &qn_op_reduce_prod, 13);
    t.bound = false;
    op_attr_int(&t, "keepdims", 0);
    op_in_i64(&t, (const int64_t[]){ 0, 0 }, 1, 2);
    n = qn_dims_symbol(t.graph.dims, "N");
    k = qn_arena_alloc(&t.graph.arena, sizeof *k);
    *k = (qn_known){ .rank = 1, .n = 2, .elems = qn_arena_array(&t.graph.arena, 2, sizeof *k->elems) };
    k->elems[0] = n;
    k->elems[1] = qn_dims_const(t.graph.dims, 6);
    t.in_known[0] = k;
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    expect = qn_dims_mul(t.graph.dims, n, k->elems[1]);
    assert_non_null(t.out_known[0]);
    assert_int_equal(t.out_known[0]->elems[0], expect);
    op_end(&t);
}

static void arg_max_finds_first_last_and_nan(void **state)
{
    const float x[] = { 1, 5, 5, 2, NAN, 7 };
    const int last[] = { 0, 1 };
    op_test t;

    (void)state;
    for (int i = 0; i < 2; i++) {
        op_begin(&t, &qn_op_arg_max, 13);
        op_attr_int(&t, "axis", -1);
        op_attr_int(&t, "select_last_index", last[i]);
        op_in_f32(&t, x, 2, 2, 3);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(op_out_i64(&t, 0)[0], last[i] ? 2 : 1);
        assert_int_equal(op_out_i64(&t, 0)[1], 1);
        op_end(&t);
    }
    op_begin(&t, &qn_op_arg_min, 13);
    op_in_u8(&t, (const uint8_t[]){ 9, 200, 3, 200, 3, 3 }, 2, 3, 2); /* axis 0 */
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(op_out_i64(&t, 0)[0], 1);
    assert_int_equal(op_out_i64(&t, 0)[1], 2);
    op_end(&t);
    op_begin(&t, &qn_op_arg_min, 13);
    op_in_f32(&t, x, 2, 0, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

static void cumsum_runs_both_ways_with_and_without_the_element(void **state)
{
    const int32_t x[] = { 1, 2, 3, 4 }, want[4][4] = { { 1, 3, 6, 10 }, { 0, 1, 3, 6 }, { 10, 9, 7, 4 }, { 9, 7, 4, 0 } };
    op_test t;

    (void)state;
    for (int i = 0; i < 4; i++) {
        op_begin(&t, &qn_op_cumsum, 14);
        op_attr_int(&t, "exclusive", i & 1);
        op_attr_int(&t, "reverse", i >> 1);
        op_in_i32(&t, x, 1, 4);
        op_in_i32(&t, (const int32_t[]){ 0 }, 0);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_memory_equal(op_out_i32(&t, 0), want[i], sizeof want[i]);
        op_end(&t);
    }
}

/* -- softmax -------------------------------------------------------------------------------------------------------------- */

static void softmax_over_any_axis_gives_the_bits_of_the_last_one(void **state)
{
    enum { A = 3, B = 37, C = 19 };
    static float x[A * B * C], y[A * B * C];
    const qn_op *ops[] = { &qn_op_softmax, &qn_op_log_softmax, &qn_op_hardmax };

    (void)state;
    noise(x, A * B * C, 4.0f);
    for (int a = 0; a < A; a++)
        for (int b = 0; b < B; b++)
            for (int c = 0; c < C; c++) y[(a * C + c) * B + b] = x[(a * B + b) * C + c];
    for (int i = 0; i < 3; i++) {
        static op_test s, t;

        op_begin(&s, ops[i], 13);
        op_attr_int(&s, "axis", 1);
        op_in_f32(&s, x, 3, A, B, C);
        assert_int_equal(op_run(&s, 1, NULL), QN_OK);
        op_begin(&t, ops[i], 13);
        op_in_f32(&t, y, 3, A, C, B);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        for (int a = 0; a < A; a++)
            for (int b = 0; b < B; b++)
                for (int c = 0; c < C; c++)
                    assert_memory_equal(&op_out_f32(&s, 0)[(a * B + b) * C + c], &op_out_f32(&t, 0)[(a * C + c) * B + b], 4);
        op_end(&s);
        op_end(&t);
    }
}

static void softmax_before_opset_13_flattens_the_tail(void **state)
{
    const float x[] = { 1, 1, 1, 1, 2, 2, 2, 2 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_softmax, 11);
    op_in_f32(&t, x, 3, 2, 2, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 8; i++) assert_true(op_out_f32(&t, 0)[i] == 0.25f);
    op_end(&t);
    op_begin(&t, &qn_op_softmax, 13);
    op_in_f32(&t, x, 3, 2, 2, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    for (int i = 0; i < 8; i++) assert_true(op_out_f32(&t, 0)[i] == 0.5f);
    op_end(&t);
}

static void softmax_sums_to_one_in_every_real_dtype(void **state)
{
    const int64_t dims[2] = { 4, 33 };
    float x[4 * 33];

    (void)state;
    noise(x, 4 * 33, 5.0f);
    for (int d = 0; d < 4; d++) {
        qn_tensor in = as(reals[d], x, 2, dims);
        op_test t;

        op_begin(&t, &qn_op_softmax, 13);
        op_in(&t, &in);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        for (int r = 0; r < 4; r++) {
            double sum = 0;

            for (int i = 0; i < 33; i++) sum += at(&t.out[0], r * 33 + i);
            assert_true(fabs(sum - 1) < (d == 1 ? 1e-14 : coarse[d] * 3));
        }
        op_end(&t);
        qn_tensor_free(&in);
    }
}

/* -- rows ----------------------------------------------------------------------------------------------------------------- */

/* Axis of output 0 that carries the batch, when axis `batch` of input 0 does. */
static int32_t row_axis(op_test *t, int32_t batch)
{
    int32_t in_axis[OP_MAX_IO], out_axis[OP_MAX_IO];
    const qn_known *known[OP_MAX_IO] = { NULL };
    const qn_tensor *consts[OP_MAX_IO];
    qn_infer c = { .graph = &t->graph,
                   .node = &t->node,
                   .dims = t->graph.dims,
                   .arena = &t->graph.arena,
                   .in = t->in_type,
                   .in_known = known,
                   .in_const = consts,
                   .out = t->out_type,
                   .out_known = t->out_known };

    assert_int_equal(op_infer(t, 1, NULL), QN_OK);
    for (int i = 0; i < OP_MAX_IO; i++) {
        in_axis[i] = i == 0 ? batch : QN_ROWS_NONE;
        out_axis[i] = QN_ROWS_MIXED;
        consts[i] = &t->in[i];
    }
    if (t->op->rows) t->op->rows(&c, in_axis, out_axis);
    return out_axis[0];
}

static void rows_are_proved_apart_exactly_when_they_are(void **state)
{
    static const struct {
        const qn_op *op;
        int64_t opset;
        const char *attr;
        int64_t value;
        int32_t batch, want;
    } cases[] = {
        { &qn_op_relu, 14, "", 0, 0, 0 },
        { &qn_op_softmax, 13, "axis", 1, 0, 0 },
        { &qn_op_softmax, 13, "axis", 0, 0, QN_ROWS_MIXED },
        { &qn_op_softmax, 13, "axis", 1, 1, QN_ROWS_MIXED },
        { &qn_op_softmax, 13, "axis", 0, 1, 1 },
        { &qn_op_softmax, 11, "axis", 0, 0, QN_ROWS_MIXED },
        { &qn_op_softmax, 11, "axis", 1, 0, 0 },
        { &qn_op_arg_max, 13, "axis", 2, 0, 0 },
        { &qn_op_arg_max, 13, "axis", 0, 0, QN_ROWS_MIXED },
        { &qn_op_reduce_sum, 11, "", 0, 0, QN_ROWS_MIXED }, /* no axes: all */
        { &qn_op_lp_norm, 1, "axis", 1, 0, 0 },
        { &qn_op_lp_norm, 1, "axis", 0, 0, QN_ROWS_MIXED },
        { &qn_op_lrn, 13, "size", 3, 0, 0 },
        { &qn_op_lrn, 13, "size", 3, 1, QN_ROWS_MIXED },
        { &qn_op_cast, 13, "to", 6, 0, 0 },
        { &qn_op_dropout_1, 11, "", 0, 0, 0 },
    };
    const float x[24] = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        op_test t;

        op_begin(&t, cases[i].op, cases[i].opset);
        if (cases[i].attr[0]) op_attr_int(&t, cases[i].attr, cases[i].value);
        op_in_f32(&t, x, 3, 2, 3, 4);
        if (row_axis(&t, cases[i].batch) != cases[i].want) fail_msg("case %d, %s", (int)i, cases[i].op->name);
        op_end(&t);
    }
}

static void reductions_move_the_batch_axis_when_dims_go_away(void **state)
{
    const int64_t axes[] = { 0 };
    const float x[24] = { 0 };
    op_test t;

    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        op_begin(&t, &qn_op_reduce_mean, 13);
        op_attr_ints(&t, "axes", axes, 1);
        op_attr_int(&t, "keepdims", keep);
        op_in_f32(&t, x, 3, 2, 3, 4);
        assert_int_equal(row_axis(&t, 1), keep ? 1 : 0);
        assert_int_equal(row_axis(&t, 0), QN_ROWS_MIXED);
        op_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reduction_works_over_every_set_of_axes),
        cmocka_unit_test(the_order_of_a_sum_does_not_depend_on_the_layout),
        cmocka_unit_test(integer_reductions_wrap_and_cut),
        cmocka_unit_test(reducing_nothing_has_a_neutral_answer),
        cmocka_unit_test(no_axes_means_all_or_none),
        cmocka_unit_test(no_axes_at_all_still_square_and_take_logarithms),
        cmocka_unit_test(axes_that_do_not_fit_are_refused),
        cmocka_unit_test(axes_known_only_at_run_time_leave_the_sizes_open),
        cmocka_unit_test(a_product_of_known_sizes_is_known),
        cmocka_unit_test(arg_max_finds_first_last_and_nan),
        cmocka_unit_test(cumsum_runs_both_ways_with_and_without_the_element),
        cmocka_unit_test(softmax_over_any_axis_gives_the_bits_of_the_last_one),
        cmocka_unit_test(softmax_before_opset_13_flattens_the_tail),
        cmocka_unit_test(softmax_sums_to_one_in_every_real_dtype),
        cmocka_unit_test(rows_are_proved_apart_exactly_when_they_are),
        cmocka_unit_test(reductions_move_the_batch_axis_when_dims_go_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
