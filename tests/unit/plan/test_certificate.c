/* tests/unit/plan/test_certificate.c - the multiply-adds that ops say they take, op by op down the table, and what models are refused for:
 * at load, at a request, inside a loop. */
#include "core/graph/cost.h"
#include "core/ops/ops.h"
#include "core/plan/frame.h"
#include "tests/unit/plan/model_file.h"

#include <stdlib.h>

/* Shapes are "2x3 - s 4": sizes, one left out, a scalar, ...; attributes those that a formula reads. */
typedef struct cost_case {
    const char *domain, *op, *in, *out;
    uint64_t want;
    qn_attr attrs[2];
} cost_case;

#define INT(key, v)                                                                                                                        \
    {                                                                                                                                      \
        .name = key, .type = QN_ATTR_INT, .i = v                                                                                           \
    }
#define STRING(key, v)                                                                                                                     \
    {                                                                                                                                      \
        .name = key, .type = QN_ATTR_STRING, .s = v, .n = sizeof v - 1                                                                     \
    }
#define INTS(key, ...)                                                                                                                     \
    {                                                                                                                                      \
        .name = key, .type = QN_ATTR_INTS, .n = (int64_t)(sizeof((int64_t[]){ __VA_ARGS__ }) / 8), .ints = (const int64_t[])               \
        {                                                                                                                                  \
            __VA_ARGS__                                                                                                                    \
        }                                                                                                                                  \
    }
#define MS "com.microsoft"

static const cost_case cases[] = {
    { "", "MatMul", "5x2x3 3x4", "5x2x4", UINT64_C(5) * 2 * 4 * 3, { { 0 } } },
    { "", "MatMul", "3 3x4", "4", 4 * 3, { { 0 } } },
    { "", "MatMul", "2x3 3", "2", 2 * 3, { { 0 } } },
    { "", "MatMulInteger", "2x3 3x4", "2x4", 2 * 4 * 3, { { 0 } } },
    { "", "QLinearMatMul", "2x3 s s 3x4 s s s s", "2x4", 2 * 4 * 3, { { 0 } } },
    { MS, "MatMulIntegerToFloat", "2x3 3x4 s s", "2x4", 2 * 4 * 3, { { 0 } } },
    { MS, "DynamicQuantizeMatMul", "2x3 3x4 s", "2x4", 2 * 4 * 3, { { 0 } } },
    { MS, "MatMulNBits", "2x32 4x1x16 4", "2x4", 2 * 4 * 32, { { 0 } } },
    { "", "Gemm", "2x3 3x4 4", "2x4", 2 * 4 * 3, { { 0 } } },
    { "", "Gemm", "3x2 3x4", "2x4", 2 * 4 * 3, { INT("transA", 1) } },
    { "quern", "FusedGemm", "3x2 4x3", "2x4", 2 * 4 * 3, { INT("transA", 1), INT("transB", 1) } },
    { MS, "QGemm", "3x2 s s 4x3 s s", "2x4", 2 * 4 * 3, { INT("transA", 1), INT("transB", 1) } },
    { "", "Conv", "1x6x9x9 4x3x3x5 4", "1x4x7x5", UINT64_C(4) * 7 * 5 * 3 * 3 * 5, { INT("group", 2) } },
    { "quern", "FusedConv", "1x3x9 4x3x2", "1x4x8", UINT64_C(4) * 8 * 3 * 2, { { 0 } } },
    { "", "ConvInteger", "1x3x9 4x3x2", "1x4x8", UINT64_C(4) * 8 * 3 * 2, { { 0 } } },
    { "", "QLinearConv", "1x3x9 s s 4x3x2 s s s s", "1x4x8", UINT64_C(4) * 8 * 3 * 2, { { 0 } } },
    { MS, "QLinearConv", "1x9x3 s s 4x3x2 s s s s", "1x8x4", UINT64_C(4) * 8 * 3 * 2, { INT("channels_last", 1) } },
    { "", "ConvTranspose", "2x3x5 3x4x2", "2x4x6", UINT64_C(2) * 3 * 5 * 4 * 2 + 2 * 4 * 6, { { 0 } } },
    { "", "DeformConv", "1x3x4x4 5x3x2x2 1x8x3x3", "1x5x3x3", UINT64_C(5) * 9 * 12 + 4 * 3 * 4 * 9, { { 0 } } },
    { "", "MaxPool", "1x2x8x8", "1x2x4x4", UINT64_C(2) * 16 * 6, { INTS("kernel_shape", 2, 3) } },
    { "",
      "AveragePool",
      "1x2x8x8",
      "1x2x1x1",
      UINT64_C(2) * 64,
      { INTS("kernel_shape", 1000000000, 1000000000) } }, /* the rest is padding */
    { "", "LpPool", "1x2x8", "1x2x7", UINT64_C(2) * 7 * 2, { INTS("kernel_shape", 2) } },
    { MS,
      "QLinearAveragePool",
      "1x8x6x2 s s s s",
      "1x4x3x2",
      UINT64_C(2) * 12 * 8 * 2,
      { INT("channels_last", 1), INTS("kernel_shape", 20, 2) } },
    { "", "LRN", "1x8x3", "1x8x3", 8 * 3 * 5, { INT("size", 5) } },
    { "", "LRN", "1x8x3", "1x8x3", 8 * 3 * 8, { INT("size", INT64_MAX) } },
    { "", "Det", "2x5x5", "2", 2 * 125, { { 0 } } },
    { "", "Einsum", "2x3 3x4", "2x4", 2 * 3 * 4 + 6 + 12 + 8, { STRING("equation", "ij,jk->ik") } },
    { "", "Einsum", "2x3 3x4 4x5", "2x5", 2 * 3 * 4 + 2 * 4 * 5 + 6 + 12 + 20 + 10, { STRING("equation", "ij,jk,kl->il") } },
    { "", "Einsum", "7x9", "7", 7 * 9 + 7 * 9 + 7, { STRING("equation", "ij->i") } },
    { "", "RNN", "6x2x3 1x4x3 1x4x4", "6x1x2x4", UINT64_C(6) * 2 * 4 * (3 + 4), { { 0 } } },
    { "", "LSTM", "6x2x3 2x16x3 2x16x4", "6x2x2x4", UINT64_C(6) * 2 * 2 * 16 * (3 + 4), { STRING("direction", "bidirectional") } },
    { "", "GRU", "2x6x3 1x12x3 1x12x4", "2x6x1x4", UINT64_C(6) * 2 * 12 * (3 + 4), { INT("layout", 1) } },
    { "quern", "Attention", "2x3x5 2x7x5 2x7x4", "2x3x4", UINT64_C(2) * 3 * 7 * (5 + 4 + 1), { { 0 } } },
    { "", "DFT", "1x100x1", "1x100x2", UINT64_C(300) * 16 * 7, { { 0 } } },
    { "", "STFT", "1x128 s 16", "1x9x9x2", (UINT64_C(128) + 162) * 16 * 7, { { 0 } } },
    { "", "NonMaxSuppression", "1x100x4 1x3x100", "?", UINT64_C(3) * 100 * 100, { { 0 } } },
    { "", "RoiAlign", "1x2x10x10 3x4 3", "3x2x4x4", UINT64_C(4) * 3 * 2 * 16 * 9, { INT("sampling_ratio", 3) } },
    { "", "RoiAlign", "1x2x10x10 3x4 3", "3x2x4x4", UINT64_C(4) * (3 * 2 * 16 + 3 * 2 * 100), { { 0 } } },
    { "", "MaxRoiPool", "1x2x10x10 3x5", "3x2x4x4", UINT64_C(3) * 2 * 100 + 3 * 2 * 16, { { 0 } } },
    { "", "TfIdfVectorizer", "2x10", "2x6", UINT64_C(20) * 4 * 2 + 12, { INT("max_skip_count", 3), INT("max_gram_length", 2) } },
    { "", "TfIdfVectorizer", "2x10", "2x6", UINT64_C(20) * 10 + 12, { INT("max_skip_count", INT64_MAX), INT("max_gram_length", 1) } },
    { "", "Gather", "1000000x8 3", "3x8", 3 + 24, { { 0 } } },
    { "", "GatherElements", "1000000x8 3x8", "3x8", 24 + 24, { { 0 } } },
    { "", "GatherND", "1000000x8 3x1", "3x8", 3 + 24, { { 0 } } },
    { "", "Slice", "1000000x8 1 1", "3x8", 2 + 24, { { 0 } } },
    { "", "Shape", "1000000x8", "2", 2, { { 0 } } },
    { "", "Size", "1000000x8", "s", 1, { { 0 } } },
    { "", "If", "s", "1000", 0, { { 0 } } },
    { "", "Loop", "s s 1000", "1000", 0, { { 0 } } },
    { "", "Scan", "1000", "1000", 0, { { 0 } } },
    { "", "SequenceMap", "-", "-", 0, { { 0 } } },
    /* no formula: elements */
    { "", "Add", "2x3 3", "2x3", 6 + 3 + 6, { { 0 } } },
    { "", "NonZero", "2x3", "?", 6, { { 0 } } },
    { "", "Clip", "2x3 - s", "2x3", 6 + 1 + 6, { { 0 } } },
    { "", "Concat", "0x3 0x3", "0x3", 0, { { 0 } } },
};

#define N_CASES (int)(sizeof cases / sizeof cases[0])

/* Tensors of a list of shapes; how many. "?": of a rank that is not known. */
static int32_t shapes_of(const char *list, qn_tensor *t)
{
    int32_t n = 0;

    while (*list) {
        t[n] = (qn_tensor){ .dtype = QN_F32 };
        if (*list == '-') t[n].dtype = QN_DTYPE_NONE;
        if (*list == '?') t[n].rank = -1;
        while (*list && *list != ' ') {
            char *end = NULL;

            if (*list >= '0' && *list <= '9') {
                t[n].dims[t[n].rank++] = strtoll(list, &end, 10);
                list = end;
            } else {
                list++;
            }
        }
        n++;
        if (*list) list++;
    }
    return n;
}

static bool is_case_of(const cost_case *c, const qn_op *op)
{
    return strcmp(c->op, op->name) == 0 && strcmp(c->domain, op->domain ? op->domain : "") == 0;
}

static uint64_t cost_of(const cost_case *c, const qn_op *op)
{
    qn_tensor in[16], out[4];
    qn_value_id ids[16] = { 0 };
    qn_attr attrs[2] = { c->attrs[0], c->attrs[1] };
    qn_node n = { .name = "n", .domain = c->domain, .op_type = c->op, .op = op, .opset = 17, .in = ids, .out = ids, .attrs = attrs };

    n.n_in = shapes_of(c->in, in);
    n.n_out = shapes_of(c->out, out);
    while (n.n_attrs < 2 && attrs[n.n_attrs].name) n.n_attrs++;
    return qn_cost_of(&n, in, out);
}

static void ops_cost_what_their_formulas_say(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        bool met = false;

        for (int32_t k = 0; k < qn_ops.n; k++) {
            uint64_t got;

            if (!is_case_of(&cases[i], qn_ops.rows[k])) continue;
            met = true;
            got = cost_of(&cases[i], qn_ops.rows[k]);
            if (got != cases[i].want)
                fail_msg("case %d, %s: %llu, expected %llu", i, cases[i].op, (unsigned long long)got, (unsigned long long)cases[i].want);
        }
        if (!met) fail_msg("no row %s", cases[i].op);
    }
}

static void every_row_with_a_formula_has_a_case(void **state)
{
    (void)state;
    for (int32_t i = 0; i < qn_ops.n; i++) {
        bool met = !qn_ops.rows[i]->cost;

        for (int k = 0; k < N_CASES && !met; k++) met = is_case_of(&cases[k], qn_ops.rows[i]);
        if (!met) fail_msg("the cost of %s has no case", qn_ops.rows[i]->name);
    }
}

/* Families whose work is not in proportion to their elements. */
static void no_product_or_window_goes_without_a_formula(void **state)
{
    static const char *const families[] = { "gemm", "conv", "fft", "pool" };

    (void)state;
    for (int32_t i = 0; i < qn_ops.n; i++) {
        const qn_op *op = qn_ops.rows[i];

        if (strncmp(op->name, "Global", 6) == 0 || strncmp(op->name, "QLinearGlobal", 13) == 0) continue; /* one window is everything */
        for (size_t k = 0; op->kernels && k < sizeof families / sizeof families[0]; k++)
            if (strstr(op->kernels, families[k]) && !op->cost) fail_msg("%s runs on %s and has no cost", op->name, op->kernels);
    }
}

static void sizes_that_do_not_fit_stop_at_the_largest(void **state)
{
    static const cost_case large[] = {
        { "", "MatMul", "4611686018427387904x3 3x4", "4611686018427387904x4", QN_COST_MAX, { { 0 } } },
        { "", "Add", "4294967296x4294967296 s", "4294967296x4294967296", QN_COST_MAX, { { 0 } } },
        { "", "Det", "4294967296x4294967296", "s", QN_COST_MAX, { { 0 } } },
        { "", "Conv", "1x1x9 1x1x9223372036854775807", "1x1x9223372036854775807", QN_COST_MAX, { { 0 } } },
        { "", "LSTM", "9223372036854775807x2x3 1x16x3 1x16x4", "9223372036854775807x1x2x4", QN_COST_MAX, { { 0 } } },
        { "", "Einsum", "4294967296x4294967296 4294967296x4294967296", "s", QN_COST_MAX, { STRING("equation", "ij,kl->") } },
        { "", "Add", "4294967296x4294967296x0 s", "4294967296x4294967296x0", 1, { { 0 } } }, /* empty all the same */
    };

    (void)state;
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++)
        for (int32_t k = 0; k < qn_ops.n; k++)
            if (is_case_of(&large[i], qn_ops.rows[k])) assert_true(cost_of(&large[i], qn_ops.rows[k]) == large[i].want);
    assert_true(qn_cost_add(QN_COST_MAX, 1) == QN_COST_MAX);
    assert_true(qn_cost_add(QN_COST_MAX - 1, 1) == QN_COST_MAX);
    assert_true(qn_cost_mul(UINT64_C(1) << 32, UINT64_C(1) << 32) == QN_COST_MAX);
    assert_true(qn_cost_mul(QN_COST_MAX, 0) == 0);
}

/* -- models --------------------------------------------------------------------------------------------------------------- */

static qn_model_options limited(uint64_t macs) { return (qn_model_options){ .cpu = qn_cpu_detect(), .limits = { .run_macs = macs } }; }

/* y = x [rows, 16] @ w [16, 4]: 64 multiply-adds a row. */
static qn_status product_model(int64_t rows, uint64_t limit, qn_model **out, qn_error *err)
{
    static const float w[64];
    const qn_model_options o = limited(limit);
    mf m = { 0 };

    mf_f32(&m, "w", 2, (int64_t[]){ 16, 4 }, w);
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ rows, 16 });
    mf_node(&m, "MatMul", "x,w", "y");
    mf_out(&m, "y");
    return mf_try(&m, &o, out, err);
}

static void a_model_of_fixed_shapes_is_refused_at_load(void **state)
{
    qn_model *m = NULL;
    qn_error err = { 0 };

    (void)state;
    assert_int_equal(product_model(8, 511, &m, &err), QN_ERR_LIMIT);
    assert_null(m);
    assert_non_null(strstr(err.message, "(MatMul): 512 multiply-adds make it 512 in a run of at most 511 (limit run_macs)"));
    assert_int_equal(product_model(8, 512, &m, &err), QN_OK);
    qn_model_unref(m);
    assert_int_equal(product_model(8, 0, &m, &err), QN_OK); /* the default */
    qn_model_unref(m);
}

/* The plan's capacity is a power of two; what counts are the rows of the request. */
static void a_request_is_refused_for_its_own_rows(void **state)
{
    static float x[9 * 16];
    qn_model *m = NULL;
    qn_session *s;
    qn_error err = { 0 };

    (void)state;
    assert_int_equal(product_model(-1, 5 * 64, &m, &err), QN_OK);
    s = session_ok(m);
    for (int64_t rows = 1; rows < 10; rows++) {
        qn_tensor in = F32(x, rows, 16), one = F32(x, 1, 16), out;
        const uint64_t before = qn_session_bytes(s);

        if (rows <= 5) {
            run_ok(s, &in, &out);
            continue;
        }
        assert_int_equal(qn_session_run(s, &in, &out, NULL, &err), QN_ERR_LIMIT);
        assert_non_null(strstr(err.message, "(MatMul)"));
        assert_int_equal(qn_session_bytes(s), before); /* nothing was made for it */
        run_ok(s, &one, &out);
    }
    qn_session_destroy(s);
    qn_model_unref(m);
}

static void the_sum_of_all_steps_counts(void **state)
{
    mf m = { 0 };
    const qn_model_options o = limited(100 * 7 * 2 - 1);
    qn_model *model = NULL;
    qn_error err = { 0 };

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 100 });
    for (int i = 0; i < 7; i++) {
        static const char names[] = "xabcdefg";

        mf_node(&m, "Erf", (char[]){ names[i], 0 }, (char[]){ names[i + 1], 0 });
    }
    mf_out(&m, "g");
    assert_int_equal(mf_try(&m, &o, &model, &err), QN_ERR_LIMIT);
    assert_non_null(strstr(err.message, "200 multiply-adds make it 1400 in a run of at most 1399"));
}

static void the_certificate_says_what_a_run_takes(void **state)
{
    qn_model *m = NULL;
    qn_certificate c;
    qn_step_info *steps = NULL;
    int32_t n = 0;

    (void)state;
    assert_int_equal(product_model(-1, 0, &m, NULL), QN_OK);
    for (int64_t rows = 1; rows <= 64; rows *= 4) {
        assert_int_equal(qn_model_certify(m, rows, &c, NULL), QN_OK);
        assert_int_equal(c.macs, 64 * rows);
        assert_true(c.arena_bytes >= (uint64_t)(rows * 16) && c.arena_bytes < (uint64_t)(rows * 16 + 4096));
        assert_int_equal(c.n_dynamic, 0);
    }
    assert_int_equal(qn_model_steps(m, 4, &steps, &n, NULL), QN_OK);
    assert_int_equal(n, 1);
    assert_int_equal(steps[0].macs, 256);
    free(steps);
    qn_model_unref(m);
}

/* for i < n: a = a @ w, 8 * 8 * 8 multiply-adds each; the condition of the loop is one element in, one out. */
static qn_model *looped(uint64_t limit)
{
    static const float w[64];
    const qn_model_options o = limited(limit);
    mf m = { 0 }, body = { 0 };

    mf_arg(&body, "i");
    mf_arg(&body, "go");
    mf_arg(&body, "a");
    mf_node(&body, "Identity", "go", "on");
    mf_node(&body, "MatMul", "a,w", "b");
    mf_out(&body, "on");
    mf_out(&body, "b");
    mf_f32(&m, "w", 2, (int64_t[]){ 8, 8 }, w);
    mf_in(&m, "n", ONNX_INT64, 0, NULL);
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ 8, 8 });
    mf_node(&m, "Loop", "n,,x", "y");
    mf_body(&m, "body", &body);
    mf_out(&m, "y");
    return mf_load(&m, &o);
}

static void iterations_add_up_to_the_limit_of_one_run(void **state)
{
    qn_model *m = looped(10 * (512 + 2));
    qn_session *s = session_ok(m);
    float x[64] = { 0 };

    (void)state;
    for (int round = 0; round < 2; round++) /* the budget is one run's */
        for (int64_t n = 8; n < 13; n++) {
            qn_tensor in[2] = { { .dtype = QN_I64, .data = &n, .bytes = 8 }, F32(x, 8, 8) }, out;
            qn_error err = { 0 };
            qn_status st = qn_session_run(s, in, &out, NULL, &err);

            assert_int_equal(st, n <= 10 ? QN_OK : QN_ERR_LIMIT);
            if (n <= 10) continue;
            assert_non_null(strstr(err.message, "(Loop): "));
            assert_non_null(strstr(err.message, "in a run of at most 5140"));
        }
    qn_session_destroy(s);
    qn_model_unref(m);
}

/* One step of a body beyond the limit: a column of 2^14 times a row of as many, and the square of that, in a model of
 * a GiB that 2^40 multiply-adds are allowed. */
static void a_body_too_large_for_one_iteration_is_refused_before_it_has_memory(void **state)
{
    static float v[1 << 14];
    const qn_model_options o = limited((uint64_t)1 << 40);
    mf m = { 0 }, yes = { 0 }, no = { 0 };
    uint8_t c = 1;
    qn_model *model;
    qn_session *s;
    qn_error err = { 0 };
    qn_tensor in[3] = { { .dtype = QN_BOOL, .data = &c, .bytes = 1 }, F32(v, 1 << 14, 1), F32(v, 1, 1 << 14) }, out;

    (void)state;
    mf_node(&yes, "MatMul", "p,q", "outer");
    mf_node(&yes, "MatMul", "outer,outer", "square");
    mf_node(&yes, "ReduceMax", "square", "a");
    mf_out(&yes, "a");
    mf_node(&no, "ReduceMax", "p", "b");
    mf_out(&no, "b");
    mf_in(&m, "c", ONNX_BOOL, 0, NULL);
    mf_in(&m, "p", ONNX_FLOAT, 2, (int64_t[]){ -1, 1 });
    mf_in(&m, "q", ONNX_FLOAT, 2, (int64_t[]){ 1, -1 });
    mf_node(&m, "If", "c", "y");
    mf_body(&m, "then_branch", &yes);
    mf_body(&m, "else_branch", &no);
    mf_out(&m, "y");
    model = mf_load(&m, &o);
    s = session_ok(model);
    assert_int_equal(qn_session_run(s, in, &out, NULL, &err), QN_ERR_LIMIT);
    assert_non_null(strstr(err.message, "4398046511104 multiply-adds")); /* 2^42 */
    assert_true(qn_session_bytes(s) < 1 << 20);
    c = 0;
    run_ok(s, in, &out);
    qn_session_destroy(s);
    qn_model_unref(model);
}

/* As many rows as there are numbers other than 0: known when it runs. */
static void a_step_of_unknown_size_is_charged_when_its_size_is_known(void **state)
{
    const qn_model_options o = limited(20000);
    mf m = { 0 };
    float x[100];
    qn_model *model;
    qn_session *s;
    qn_certificate c;

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 100 });
    mf_node(&m, "NonZero", "x", "i"); /* [1, k] */
    mf_node(&m, "Cast", "i", "row");
    mf_attr_int(&m, "to", ONNX_FLOAT);
    mf_node(&m, "Transpose", "row", "column");
    mf_node(&m, "MatMul", "column,row", "outer"); /* k^2 */
    mf_node(&m, "MatMul", "outer,column", "y");   /* k^2 */
    mf_out(&m, "y");
    model = mf_load(&m, &o);
    s = session_ok(model);
    assert_int_equal(qn_model_certify(model, 1, &c, NULL), QN_OK);
    assert_int_equal(c.n_dynamic, 5);
    for (int k = 10; k <= 100; k += 10) {
        qn_tensor in = F32(x, 100), out;
        qn_error err = { 0 };
        bool fits = 100 + 4 * k + 2 * k * k <= 20000;

        for (int i = 0; i < 100; i++) x[i] = (float)(i < k);
        assert_int_equal(qn_session_run(s, &in, &out, NULL, &err), fits ? QN_OK : QN_ERR_LIMIT);
        if (fits)
            assert_int_equal(out.dims[0], k);
        else
            assert_non_null(strstr(err.message, "(MatMul): "));
    }
    qn_session_destroy(s);
    qn_model_unref(model);
}

/* Folding has a budget of its own: what is beyond it is left to the run, where the limit is. */
static void large_products_of_constants_are_not_computed_at_load(void **state)
{
    static float w[2048 * 2048];

    (void)state;
    for (int large = 0; large < 2; large++) {
        const int64_t n = large ? 2048 : 64;
        mf m = { 0 };
        qn_model *model;

        mf_f32(&m, "w", 2, (int64_t[]){ n, n }, w);
        mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ n, n });
        mf_node(&m, "MatMul", "w,w", "ww");
        mf_node(&m, "Add", "x,ww", "y");
        mf_out(&m, "y");
        model = mf_load(&m, NULL);
        assert_int_equal(model->lowered->n_order, 1 + large);
        qn_model_unref(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ops_cost_what_their_formulas_say),
        cmocka_unit_test(every_row_with_a_formula_has_a_case),
        cmocka_unit_test(no_product_or_window_goes_without_a_formula),
        cmocka_unit_test(sizes_that_do_not_fit_stop_at_the_largest),
        cmocka_unit_test(a_model_of_fixed_shapes_is_refused_at_load),
        cmocka_unit_test(a_request_is_refused_for_its_own_rows),
        cmocka_unit_test(the_sum_of_all_steps_counts),
        cmocka_unit_test(the_certificate_says_what_a_run_takes),
        cmocka_unit_test(iterations_add_up_to_the_limit_of_one_run),
        cmocka_unit_test(a_body_too_large_for_one_iteration_is_refused_before_it_has_memory),
        cmocka_unit_test(a_step_of_unknown_size_is_charged_when_its_size_is_known),
        cmocka_unit_test(large_products_of_constants_are_not_computed_at_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
