/* tests/unit/plan/test_control.c - If, Loop and Scan inside whole models: what iterations hand on, what bodies capture, what limits refuse.
 * Every number expected here is computed by the loop in C that the model stands for. */
#include "core/graph/infer.h"
#include "core/plan/frame.h"
#include "tests/unit/plan/model_file.h"

static void scalar_i64(mf *m, const char *name, int64_t v) { mf_raw_weight(m, name, ONNX_INT64, 0, NULL, &v, sizeof v); }

static void scalar_f32(mf *m, const char *name, float v) { mf_raw_weight(m, name, ONNX_FLOAT, 0, NULL, &v, sizeof v); }

/* The inputs every body of a Loop begins with, and the condition handed on. */
static void loop_args(mf *body)
{
    mf_arg(body, "i");
    mf_arg(body, "go");
    mf_node(body, "Identity", "go", "on");
    mf_out(body, "on");
}

#define SCALAR_I64(p)  ((qn_tensor){ .dtype = QN_I64, .data = (p), .bytes = 8 })
#define SCALAR_BOOL(p) ((qn_tensor){ .dtype = QN_BOOL, .data = (p), .bytes = 1 })

static void dims_are(const qn_tensor *t, int32_t rank, const int64_t *dims)
{
    assert_int_equal(t->rank, rank);
    for (int32_t d = 0; d < rank; d++) assert_int_equal(t->dims[d], dims[d]);
}

#define DIMS(t, ...) dims_are(t, (int32_t)(sizeof((int64_t[]){ __VA_ARGS__ }) / 8), (int64_t[]){ __VA_ARGS__ })

/* -- Loop ----------------------------------------------------------------------------------------------------------------- */

/* (a, b) -> (b, a + b), with every b stacked up: n and whether to begin come with the request. */
static qn_model *fibonacci(void)
{
    mf m = { 0 }, body = { 0 };

    loop_args(&body);
    mf_arg(&body, "a");
    mf_arg(&body, "b");
    mf_node(&body, "Add", "a,b", "sum");
    mf_node(&body, "Identity", "sum", "seen");
    mf_out(&body, "b"); /* an input is an output */
    mf_out(&body, "sum");
    mf_out(&body, "seen");
    mf_in(&m, "n", ONNX_INT64, 0, NULL);
    mf_in(&m, "start", ONNX_BOOL, 0, NULL);
    mf_in(&m, "a0", ONNX_FLOAT, 1, (int64_t[]){ 3 });
    mf_in(&m, "b0", ONNX_FLOAT, 1, (int64_t[]){ 3 });
    mf_node(&m, "Loop", "n,start,a0,b0", "a1,b1,all");
    mf_body(&m, "body", &body);
    mf_out(&m, "a1");
    mf_out(&m, "b1");
    mf_out(&m, "all");
    return mf_load(&m, NULL);
}

static void fibonacci_is(qn_session *s, int64_t n, bool start)
{
    float a[3] = { 0, 1, 2 }, b[3] = { 1, 1, -1 }, all[20][3], *first = a, *second = b;
    float wa[3], wb[3];
    uint8_t go = start;
    int64_t trips = start && n > 0 ? n : 0;
    qn_tensor in[4] = { SCALAR_I64(&n), SCALAR_BOOL(&go), F32(first, 3), F32(second, 3) }, out[3];

    memcpy(wa, a, sizeof wa);
    memcpy(wb, b, sizeof wb);
    for (int64_t i = 0; i < trips; i++)
        for (int k = 0; k < 3; k++) {
            float sum = wa[k] + wb[k];

            wa[k] = wb[k];
            wb[k] = all[i][k] = sum;
        }
    run_ok(s, in, out);
    DIMS(&out[0], 3);
    DIMS(&out[2], trips, 3);
    assert_memory_equal(out[0].data, wa, sizeof wa);
    assert_memory_equal(out[1].data, wb, sizeof wb);
    if (trips) assert_memory_equal(out[2].data, all, (size_t)trips * sizeof all[0]);
}

static void carried_values_change_places_and_are_stacked(void **state)
{
    qn_model *m = fibonacci();
    qn_session *s = session_ok(m);

    (void)state;
    for (int64_t n = 1; n < 20; n++) fibonacci_is(s, n, true);
    qn_session_destroy(s);
    qn_model_unref(m);
}

static void no_iteration_hands_the_inputs_through_and_stacks_nothing(void **state)
{
    qn_model *m = fibonacci();
    qn_session *s = session_ok(m);

    (void)state;
    fibonacci_is(s, 0, true);
    fibonacci_is(s, -7, true);
    fibonacci_is(s, 9, false);
    fibonacci_is(s, 2, true); /* and the session runs on */
    fibonacci_is(s, 0, false);
    qn_session_destroy(s);
    qn_model_unref(m);
}

/* (a [p], b [q]) -> (b, a): sizes alternate, bytes stay. */
static void values_of_different_sizes_swap(void **state)
{
    mf m = { 0 }, body = { 0 };
    float x[2] = { 1, 2 }, y[5] = { 3, 4, 5, 6, 7 };
    qn_model *model;
    qn_session *s;

    (void)state;
    loop_args(&body);
    mf_arg(&body, "a");
    mf_arg(&body, "b");
    mf_out(&body, "b");
    mf_out(&body, "a");
    mf_in(&m, "n", ONNX_INT64, 0, NULL);
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 2 });
    mf_in(&m, "y", ONNX_FLOAT, 1, (int64_t[]){ 5 });
    mf_node(&m, "Loop", "n,,x,y", "u,v");
    mf_body(&m, "body", &body);
    mf_out(&m, "u");
    mf_out(&m, "v");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    for (int64_t n = 0; n < 7; n++) {
        qn_tensor in[3] = { SCALAR_I64(&n), F32(x, 2), F32(y, 5) }, out[2];

        run_ok(s, in, out);
        DIMS(&out[n % 2], 2);
        DIMS(&out[1 - n % 2], 5);
        assert_memory_equal(out[n % 2].data, x, sizeof x);
        assert_memory_equal(out[1 - n % 2].data, y, sizeof y);
    }
    qn_session_destroy(s);
    qn_model_unref(model);
}

/* acc grows by x in every iteration: while acc has fewer than `most` elements, which is what the condition says. */
static void a_value_may_grow_until_its_own_size_ends_the_loop(void **state)
{
    mf m = { 0 }, body = { 0 };
    float x[3] = { 1, 2, 3 };
    qn_model *model;
    qn_session *s;

    (void)state;
    mf_arg(&body, "i");
    mf_arg(&body, "go");
    mf_arg(&body, "acc");
    mf_node(&body, "Concat", "acc,x", "more");
    mf_attr_int(&body, "axis", 0);
    mf_node(&body, "Size", "more", "size");
    mf_node(&body, "Less", "size,most", "on");
    mf_out(&body, "on");
    mf_out(&body, "more");
    mf_in(&m, "most", ONNX_INT64, 0, NULL);
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ -1 });
    mf_node(&m, "Loop", ",,x", "long");
    mf_body(&m, "body", &body);
    mf_node(&m, "Neg", "long", "y");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    for (int64_t most = 0; most < 30; most += 7)
        for (int64_t n = 1; n <= 3; n++) {
            qn_tensor in[2] = { SCALAR_I64(&most), F32(x, n) }, out;
            int64_t want = 2 * n;

            while (want < most) want += n;
            run_ok(s, in, &out);
            DIMS(&out, want);
            for (int64_t k = 0; k < want; k++) assert_true(((float *)out.data)[k] == -x[k % n]);
        }
    qn_session_destroy(s);
    qn_model_unref(model);
}

/* for i < n: for j < i + 1: acc = acc * scale + i + 10 j; the inner body reads `scale` of the model and i of the outer body. */
static qn_model *nested(void)
{
    mf m = { 0 }, outer = { 0 }, inner = { 0 };

    mf_arg(&inner, "j");
    mf_arg(&inner, "go2");
    mf_arg(&inner, "acc2");
    mf_node(&inner, "Identity", "go2", "on2");
    mf_node(&inner, "Cast", "j", "fj");
    mf_attr_int(&inner, "to", ONNX_FLOAT);
    scalar_f32(&inner, "ten", 10);
    mf_node(&inner, "Mul", "fj,ten", "tj");
    mf_node(&inner, "Mul", "acc2,scale", "scaled");
    mf_node(&inner, "Add", "scaled,fi", "t");
    mf_node(&inner, "Add", "t,tj", "next2");
    mf_node(&inner, "Identity", "next2", "trace2");
    mf_out(&inner, "on2");
    mf_out(&inner, "next2");
    mf_out(&inner, "trace2");
    loop_args(&outer);
    mf_arg(&outer, "acc");
    mf_node(&outer, "Cast", "i", "fi");
    mf_attr_int(&outer, "to", ONNX_FLOAT);
    scalar_i64(&outer, "one", 1);
    mf_node(&outer, "Add", "i,one", "m");
    mf_node(&outer, "Loop", "m,,acc", "next,trace");
    mf_body(&outer, "body", &inner);
    mf_node(&outer, "ReduceSum", "trace", "sum"); /* of a size that every iteration changes */
    mf_attr_int(&outer, "keepdims", 0);
    mf_out(&outer, "next");
    mf_out(&outer, "sum");
    mf_in(&m, "n", ONNX_INT64, 0, NULL);
    mf_in(&m, "scale", ONNX_FLOAT, 1, (int64_t[]){ -1 });
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ -1 });
    mf_node(&m, "Loop", "n,,x", "y,sums");
    mf_body(&m, "body", &outer);
    mf_out(&m, "y");
    mf_out(&m, "sums");
    return mf_load(&m, NULL);
}

static void nested_is(qn_session *s, int64_t n, int64_t width)
{
    float x[4] = { 1, -1, 0.5f, 2 }, scale[4] = { 0.5f, 0.25f, -1, 1 }, want[4];
    float sums[8];
    qn_tensor in[3] = { SCALAR_I64(&n), F32(scale, width), F32(x, width) }, out[2];

    memcpy(want, x, sizeof want);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;

        for (int64_t j = 0; j < i + 1; j++)
            for (int64_t k = 0; k < width; k++) {
                want[k] = want[k] * scale[k] + (float)i + (float)j * 10;
                sum += (double)want[k];
            }
        sums[i] = (float)sum;
    }
    run_ok(s, in, out);
    DIMS(&out[0], width);
    DIMS(&out[1], n);
    assert_memory_equal(out[0].data, want, (size_t)width * sizeof *want);
    for (int64_t i = 0; i < n; i++) assert_float_equal(((float *)out[1].data)[i], sums[i], 1e-3f);
}

static void nested_loops_capture_through_two_levels(void **state)
{
    qn_model *m = nested();
    qn_session *s = session_ok(m);

    (void)state;
    for (int64_t n = 0; n < 8; n++) nested_is(s, n, 1 + n % 4);
    qn_session_destroy(s);
    qn_model_unref(m);
}

static void two_sessions_take_turns_and_one_repeats_itself(void **state)
{
    qn_model *m = nested();
    qn_session *s[2] = { session_ok(m), session_ok(m) };

    (void)state;
    for (int i = 0; i < 6; i++) {
        nested_is(s[i % 2], 5, 3);
        nested_is(s[1 - i % 2], 5 - i % 3, 4);
    }
    nested_is(s[0], 7, 2);
    nested_is(s[0], 7, 2);
    for (int k = 0; k < 2; k++) qn_session_destroy(s[k]);
    qn_model_unref(m);
}

/* The list is empty before the first iteration and grows by one element in each, of changing size. */
static void a_sequence_is_carried_through_a_loop(void **state)
{
    mf m = { 0 }, body = { 0 };
    float x[2] = { 1, 2 };
    qn_model *model;
    qn_session *s;

    (void)state;
    loop_args(&body);
    mf_arg(&body, "list");
    mf_arg(&body, "v");
    mf_node(&body, "Concat", "v,x", "longer");
    mf_attr_int(&body, "axis", 0);
    mf_node(&body, "SequenceInsert", "list,v", "list2");
    mf_out(&body, "list2");
    mf_out(&body, "longer");
    mf_in(&m, "n", ONNX_INT64, 0, NULL);
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 2 });
    mf_node(&m, "SequenceEmpty", "", "none");
    mf_node(&m, "Loop", "n,,none,x", "list3,last");
    mf_body(&m, "body", &body);
    mf_node(&m, "SequenceLength", "list3", "len");
    mf_node(&m, "SequenceInsert", "list3,x", "list4");
    mf_node(&m, "ConcatFromSequence", "list4", "y");
    mf_attr_int(&m, "axis", 0);
    mf_out(&m, "len");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    for (int64_t n = 0; n < 6; n++) {
        qn_tensor in[2] = { SCALAR_I64(&n), F32(x, 2) }, out[2];

        run_ok(s, in, out);
        assert_int_equal(*(int64_t *)out[0].data, n);
        DIMS(&out[1], 2 * (n * (n + 1) / 2 + 1));
        for (int64_t k = 0; k < out[1].dims[0]; k++) assert_true(((float *)out[1].data)[k] == x[k % 2]);
    }
    qn_session_destroy(s);
    qn_model_unref(model);
}

/* -- If ------------------------------------------------------------------------------------------------------------------- */

static void branches_give_different_shapes(void **state)
{
    mf m = { 0 }, yes = { 0 }, no = { 0 };
    float x[6] = { 1, 2, 3, 4, 5, 6 };
    qn_model *model;
    qn_session *s;

    (void)state;
    mf_node(&yes, "ReduceSum", "x", "a"); /* [1, 1] */
    mf_out(&yes, "a");
    mf_node(&no, "Concat", "x,x", "b"); /* [2 N, 3] */
    mf_attr_int(&no, "axis", 0);
    mf_out(&no, "b");
    mf_in(&m, "c", ONNX_BOOL, 1, (int64_t[]){ 1 });
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ -1, 3 });
    mf_node(&m, "If", "c", "r");
    mf_body(&m, "then_branch", &yes);
    mf_body(&m, "else_branch", &no);
    mf_node(&m, "Add", "r,r", "y");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    for (int i = 0; i < 6; i++) {
        uint8_t c = i % 2 == 0;
        int64_t n = 1 + i / 3;
        qn_tensor in[2] = { tensor_of(QN_BOOL, 1, (int64_t[]){ 1 }, &c), F32(x, n, 3) }, out;

        run_ok(s, in, &out);
        if (c) {
            DIMS(&out, 1, 1);
            assert_true(*(float *)out.data == (n == 1 ? 12 : 42));
        } else {
            DIMS(&out, 2 * n, 3);
            for (int64_t k = 0; k < 6 * n; k++) assert_true(((float *)out.data)[k] == 2 * x[k % (3 * n)]);
        }
    }
    qn_session_destroy(s);
    qn_model_unref(model);
}

/* If in an If, both conditions from the request; every branch reads what the graphs around it hold. */
static void nested_branches_are_chosen_by_each_run(void **state)
{
    mf m = { 0 }, yes = { 0 }, no = { 0 }, yes_yes = { 0 }, yes_no = { 0 };
    const float x[2] = { 3, -5 };
    qn_model *model;
    qn_session *s;

    (void)state;
    mf_node(&yes_yes, "Add", "t,x", "p"); /* x * x + x */
    mf_out(&yes_yes, "p");
    mf_node(&yes_no, "Sub", "t,x", "q"); /* x * x - x */
    mf_out(&yes_no, "q");
    mf_node(&yes, "Mul", "x,x", "t");
    mf_node(&yes, "If", "d", "r");
    mf_body(&yes, "then_branch", &yes_yes);
    mf_body(&yes, "else_branch", &yes_no);
    mf_out(&yes, "r");
    mf_node(&no, "Neg", "x", "n");
    mf_out(&no, "n");
    mf_in(&m, "c", ONNX_BOOL, 0, NULL);
    mf_in(&m, "d", ONNX_BOOL, 0, NULL);
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 2 });
    mf_node(&m, "If", "c", "y");
    mf_body(&m, "then_branch", &yes);
    mf_body(&m, "else_branch", &no);
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    for (int i = 0; i < 8; i++) {
        uint8_t c = i & 1, d = i >> 1 & 1;
        qn_tensor in[3] = { SCALAR_BOOL(&c), SCALAR_BOOL(&d), F32(x, 2) }, out;

        run_ok(s, in, &out);
        DIMS(&out, 2);
        for (int k = 0; k < 2; k++) assert_true(((const float *)out.data)[k] == (!c ? -x[k] : d ? x[k] * x[k] + x[k] : x[k] * x[k] - x[k]));
    }
    qn_session_destroy(s);
    qn_model_unref(model);
}

/* pkg.Choose(c, v) = c ? v * v + v : pkg.Fall(v), pkg.Fall(v) = v - v * v; the branches capture values of the function they stand in. */
static void add_functions(mf *m)
{
    mf choose = { .is_function = true }, fall = { .is_function = true }, yes = { 0 }, no = { 0 };

    m->domain = "pkg";
    mf_node(&fall, "Mul", "v,v", "t");
    mf_node(&fall, "Sub", "v,t", "r");
    mf_function(m, "Fall", "v", "r", &fall);
    mf_node(&yes, "Add", "t,v", "b");
    mf_out(&yes, "b");
    mf_call(&no, "pkg", "Fall", "v", "b");
    mf_out(&no, "b");
    mf_node(&choose, "Mul", "v,v", "t");
    mf_node(&choose, "If", "c", "r");
    mf_body(&choose, "then_branch", &yes);
    mf_body(&choose, "else_branch", &no);
    mf_function(m, "Choose", "c,v", "r", &choose);
}

static float choose(bool c, float v) { return c ? v * v + v : v - v * v; }

/* Called twice by the model and once by the body of a Loop, whose own values have the names that the function uses. */
static void a_function_that_holds_an_if_is_called_from_everywhere(void **state)
{
    mf m = { 0 }, body = { 0 };
    const float v[2] = { 0.5f, -0.25f };
    qn_model *model;
    qn_session *s;

    (void)state;
    add_functions(&m);
    loop_args(&body);
    mf_arg(&body, "t");
    mf_call(&body, "pkg", "Choose", "c,t", "r");
    mf_node(&body, "Identity", "r", "b");
    mf_out(&body, "r");
    mf_out(&body, "b");
    mf_in(&m, "n", ONNX_INT64, 0, NULL);
    mf_in(&m, "c", ONNX_BOOL, 0, NULL);
    mf_in(&m, "v", ONNX_FLOAT, 1, (int64_t[]){ 2 });
    mf_node(&m, "Not", "c", "d");
    mf_call(&m, "pkg", "Choose", "c,v", "t");
    mf_call(&m, "pkg", "Choose", "d,t", "r");
    mf_node(&m, "Loop", "n,,r", "y,all");
    mf_body(&m, "body", &body);
    mf_out(&m, "t");
    mf_out(&m, "y");
    mf_out(&m, "all");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    for (int64_t n = 0; n < 4; n++)
        for (uint8_t c = 0; c < 2; c++) {
            qn_tensor in[3] = { SCALAR_I64(&n), SCALAR_BOOL(&c), F32(v, 2) }, out[3];

            run_ok(s, in, out);
            DIMS(&out[2], n, 2);
            for (int k = 0; k < 2; k++) {
                float t = choose(c, v[k]), y = choose(!c, t);

                assert_true(((const float *)out[0].data)[k] == t);
                for (int64_t i = 0; i < n; i++) {
                    y = choose(c, y);
                    assert_true(((const float *)out[2].data)[2 * i + k] == y);
                }
                assert_true(((const float *)out[1].data)[k] == y);
            }
        }
    qn_session_destroy(s);
    qn_model_unref(model);
}

/* -- Scan ----------------------------------------------------------------------------------------------------------------- */

/* State s, inputs p [2, 3, 4] and q [3, 2] of which one axis has 3 steps: s' = s + p_t + q_t, output s'. */
static void scan_is(int64_t p_axis, int64_t p_dir, int64_t out_axis, int64_t out_dir)
{
    mf m = { 0 }, body = { 0 };
    const int64_t p_dims[3] = { p_axis == 0 || p_axis == -3 ? 3 : 2,
                                p_axis == 0 || p_axis == -3   ? 2
                                : p_axis == 1 || p_axis == -2 ? 3
                                                              : 4,
                                p_axis == 2 || p_axis == -1 ? 3 : 4 };
    const int64_t at = p_axis < 0 ? p_axis + 3 : p_axis, to = out_axis < 0 ? out_axis + 3 : out_axis;
    const int64_t stride[3] = { p_dims[1] * p_dims[2], p_dims[2], 1 };
    const int64_t rows = at == 0 ? p_dims[1] : p_dims[0], cols = at == 2 ? p_dims[1] : p_dims[2];
    const int64_t y_dims[3] = { to == 0 ? 3 : rows, to == 1 ? 3 : to == 0 ? rows : cols, to == 2 ? 3 : cols };
    const int64_t y_stride[3] = { y_dims[1] * y_dims[2], y_dims[2], 1 };
    float p[36], q[3] = { 100, 200, 300 }, s0[16] = { 0 }, want[48], state[16] = { 0 };
    qn_model *model;
    qn_session *s;
    qn_tensor in[3], out[2];

    for (int i = 0; i < 36; i++) p[i] = (float)i;
    mf_arg(&body, "s");
    mf_arg(&body, "pt");
    mf_arg(&body, "qt");
    mf_node(&body, "Add", "s,pt", "t");
    mf_node(&body, "Add", "t,qt", "s2");
    mf_node(&body, "Identity", "s2", "seen");
    mf_out(&body, "s2");
    mf_out(&body, "seen");
    mf_in(&m, "s0", ONNX_FLOAT, 2, (int64_t[]){ rows, cols });
    mf_in(&m, "p", ONNX_FLOAT, 3, p_dims);
    mf_in(&m, "q", ONNX_FLOAT, 1, (int64_t[]){ 3 });
    mf_node(&m, "Scan", "s0,p,q", "last,all");
    mf_body(&m, "body", &body);
    mf_attr_int(&m, "num_scan_inputs", 2);
    mf_attr_ints(&m, "scan_input_axes", 2, (int64_t[]){ p_axis, 0 });
    mf_attr_ints(&m, "scan_input_directions", 2, (int64_t[]){ p_dir, 0 });
    mf_attr_ints(&m, "scan_output_axes", 1, &out_axis);
    mf_attr_ints(&m, "scan_output_directions", 1, &out_dir);
    mf_out(&m, "last");
    mf_out(&m, "all");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    in[0] = F32(s0, rows, cols);
    in[1] = tensor_of(QN_F32, 3, p_dims, p);
    in[2] = F32(q, 3);
    for (int64_t t = 0; t < 3; t++)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < cols; c++) {
                const int64_t from = p_dir ? 2 - t : t, down = out_dir ? 2 - t : t;
                const int64_t pi = from * stride[at] + r * stride[at == 0 ? 1 : 0] + c * stride[at == 2 ? 1 : 2];
                const int64_t yi = down * y_stride[to] + r * y_stride[to == 0 ? 1 : 0] + c * y_stride[to == 2 ? 1 : 2];

                state[r * cols + c] += p[pi];
                state[r * cols + c] += q[t];
                want[yi] = state[r * cols + c];
            }
    run_ok(s, in, out);
    DIMS(&out[0], rows, cols);
    DIMS(&out[1], y_dims[0], y_dims[1], y_dims[2]);
    assert_memory_equal(out[0].data, state, (size_t)(rows * cols) * sizeof *state);
    assert_memory_equal(out[1].data, want, (size_t)(3 * rows * cols) * sizeof *want);
    qn_session_destroy(s);
    qn_model_unref(model);
}

static void scan_walks_every_axis_in_both_directions(void **state)
{
    (void)state;
    for (int64_t in = -3; in < 3; in++)
        for (int64_t out = -3; out < 3; out++)
            for (int64_t dirs = 0; dirs < 4; dirs++) scan_is(in, dirs & 1, out, dirs >> 1);
}

static qn_status scan_refused(int64_t axis, int64_t dir, int64_t out_axis, int64_t q_len, qn_error *err)
{
    mf m = { 0 }, body = { 0 };
    qn_model *model = NULL;
    qn_session *s = NULL;
    float x[16] = { 0 };
    qn_tensor in[2] = { F32(x, 2, 3), F32(x, q_len) }, out;
    qn_status st;

    mf_arg(&body, "a");
    mf_arg(&body, "b");
    mf_node(&body, "Add", "a,b", "c");
    mf_out(&body, "c");
    mf_in(&m, "p", ONNX_FLOAT, 2, (int64_t[]){ 2, 3 });
    mf_in(&m, "q", ONNX_FLOAT, 1, (int64_t[]){ -1 });
    mf_node(&m, "Scan", "p,q", "y");
    mf_body(&m, "body", &body);
    mf_attr_int(&m, "num_scan_inputs", 2);
    mf_attr_ints(&m, "scan_input_axes", 2, (int64_t[]){ axis, 0 });
    mf_attr_ints(&m, "scan_input_directions", 2, (int64_t[]){ dir, 0 });
    mf_attr_ints(&m, "scan_output_axes", 1, &out_axis);
    mf_out(&m, "y");
    st = mf_try(&m, NULL, &model, err);
    if (st == QN_OK) st = qn_session_create(model, NULL, &s, err);
    if (st == QN_OK) st = qn_session_run(s, in, &out, NULL, err);
    qn_session_destroy(s);
    qn_model_unref(model);
    return st;
}

static void scan_refuses_axes_directions_and_lengths_that_are_not_there(void **state)
{
    qn_error err = { 0 };

    (void)state;
    assert_int_equal(scan_refused(0, 0, 0, 2, &err), QN_OK);
    assert_int_equal(scan_refused(2, 0, 0, 2, &err), QN_ERR_SHAPE);
    assert_int_equal(scan_refused(-3, 0, 0, 2, &err), QN_ERR_SHAPE);
    assert_int_equal(scan_refused(0, 2, 0, 2, &err), QN_ERR_SHAPE);
    assert_int_equal(scan_refused(0, -1, 0, 2, &err), QN_ERR_SHAPE);
    assert_int_equal(scan_refused(0, 0, 2, 2, &err), QN_ERR_SHAPE);
    assert_int_equal(scan_refused(0, 0, -3, 2, &err), QN_ERR_SHAPE);
    assert_int_equal(scan_refused(0, 0, 0, 3, &err), QN_ERR_SHAPE);
    assert_non_null(strstr(err.message, "slices"));
}

/* Scan 8: a batch in front of everything, and sequences of their own lengths; what is behind the end is zero. */
static void scan_of_opset_8_walks_each_sequence_of_a_batch_to_its_own_end(void **state)
{
    mf m = { .opset = 8 }, body = { 0 };
    float s0[2][2] = { { 0, 0 }, { 10, 20 } }, x[2][3][2], want[2][3][2] = { 0 };
    int64_t lens[2] = { 3, 2 };
    qn_model *model;
    qn_session *s;

    (void)state;
    for (int i = 0; i < 12; i++) x[i / 6][i / 2 % 3][i % 2] = (float)(i + 1);
    mf_arg(&body, "s");
    mf_arg(&body, "xt");
    mf_node(&body, "Add", "s,xt", "s2");
    mf_node(&body, "Identity", "s2", "seen");
    mf_out(&body, "s2");
    mf_out(&body, "seen");
    mf_in(&m, "lens", ONNX_INT64, 1, (int64_t[]){ 2 });
    mf_in(&m, "s0", ONNX_FLOAT, 2, (int64_t[]){ 2, 2 });
    mf_in(&m, "x", ONNX_FLOAT, 3, (int64_t[]){ 2, 3, 2 });
    mf_node(&m, "Scan", "lens,s0,x", "last,all");
    mf_body(&m, "body", &body);
    mf_attr_int(&m, "num_scan_inputs", 1);
    mf_attr_ints(&m, "directions", 1, (int64_t[]){ 1 });
    mf_out(&m, "last");
    mf_out(&m, "all");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    for (lens[1] = 3; lens[1] > 0; lens[1]--) {
        qn_tensor in[3] = { I64(lens, 2), F32(s0, 2, 2), F32(x, 2, 3, 2) }, out[2];
        float last[2][2];

        memset(want, 0, sizeof want);
        memcpy(last, s0, sizeof last);
        for (int b = 0; b < 2; b++)
            for (int64_t t = 0; t < lens[b]; t++)
                for (int k = 0; k < 2; k++) want[b][t][k] = last[b][k] += x[b][lens[b] - 1 - t][k];
        run_ok(s, in, out);
        DIMS(&out[0], 2, 2);
        DIMS(&out[1], 2, 3, 2);
        assert_memory_equal(out[0].data, last, sizeof last);
        assert_memory_equal(out[1].data, want, sizeof want);
    }
    lens[1] = 4;
    {
        qn_tensor in[3] = { I64(lens, 2), F32(s0, 2, 2), F32(x, 2, 3, 2) }, out[2];

        assert_int_equal(qn_session_run(s, in, out, NULL, NULL), QN_ERR_RANGE);
    }
    qn_session_destroy(s);
    qn_model_unref(model);
}

/* -- limits --------------------------------------------------------------------------------------------------------------- */

/* Doubles x in every iteration, or for ever computes the same if `grow` is false. */
static qn_model *endless(const qn_limits *limits, bool grow)
{
    mf m = { 0 }, body = { 0 };
    qn_model_options o = { .cpu = qn_cpu_detect(), .limits = *limits };

    loop_args(&body);
    mf_arg(&body, "a");
    mf_node(&body, grow ? "Concat" : "Max", "a,a", "b");
    if (grow) mf_attr_int(&body, "axis", 0);
    mf_out(&body, "b");
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 4 });
    mf_node(&m, "Loop", ",,x", "y");
    mf_body(&m, "body", &body);
    mf_out(&m, "y");
    return mf_load(&m, &o);
}

static void a_loop_without_an_end_meets_the_limit_of_steps(void **state)
{
    qn_model *m = endless(&(qn_limits){ .loop_steps = 1000 }, false);
    qn_session *s = session_ok(m);
    float x[4] = { 1, 2, 3, 4 };
    qn_tensor in = F32(x, 4), out;

    (void)state;
    for (int i = 0; i < 2; i++) { /* the budget is one run's */
        qn_error err = { 0 };

        assert_int_equal(qn_session_run(s, &in, &out, NULL, &err), QN_ERR_LIMIT);
        assert_non_null(strstr(err.message, "1000 steps (limit loop_steps)"));
    }
    qn_session_destroy(s);
    qn_model_unref(m);
}

static void a_loop_that_grows_meets_the_limit_of_memory(void **state)
{
    qn_model *m = endless(&(qn_limits){ .arena_bytes = 1 << 20 }, true);
    qn_session *s = session_ok(m);
    float x[4] = { 1, 2, 3, 4 };
    qn_tensor in = F32(x, 4), out;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(qn_session_run(s, &in, &out, NULL, NULL), QN_ERR_LIMIT); /* the status does not go through an error */
        assert_true(qn_session_bytes(s) <= 1 << 20);
    }
    qn_session_destroy(s);
    qn_model_unref(m);
}

static bool enough(void *user) { return --*(int *)user < 0; }

static void a_cancelled_run_ends_inside_the_loop(void **state)
{
    qn_model *m = endless(&(qn_limits){ .loop_steps = INT64_MAX }, false);
    qn_session *s = session_ok(m);
    float x[4] = { 1, 2, 3, 4 };
    qn_tensor in = F32(x, 4), out;

    (void)state;
    for (int asked = 0; asked < 300; asked += 99) {
        int left = asked;
        qn_run_hooks hooks = { .cancelled = enough, .user = &left };

        assert_int_equal(qn_session_run(s, &in, &out, &hooks, NULL), QN_ERR_CANCELLED);
        assert_int_equal(left, -1); /* not asked again */
    }
    qn_session_destroy(s);
    qn_model_unref(m);
}

/* -- weights and lowering ------------------------------------------------------------------------------------------------- */

/* x [8, 96] @ w [96, 96] six times over, the weight held by the model and captured by the body, or held by both. */
static qn_model *products(bool inside, qn_store *store)
{
    static float w[96 * 96];
    mf m = { 0 }, body = { 0 };
    qn_model_options o = { .cpu = qn_cpu_detect(), .store = store };

    for (int i = 0; i < 96 * 96; i++) w[i] = (float)(i * 7 % 23 - 11) / 96;
    loop_args(&body);
    mf_arg(&body, "a");
    if (inside) mf_f32(&body, "w2", 2, (int64_t[]){ 96, 96 }, w);
    mf_node(&body, "MatMul", inside ? "a,w2" : "a,w", "t");
    mf_node(&body, "Relu", "t", "b");
    mf_out(&body, "b");
    scalar_i64(&m, "n", 5);
    mf_f32(&m, "w", 2, (int64_t[]){ 96, 96 }, w);
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ 8, 96 });
    mf_node(&m, "MatMul", "x,w", "h");
    mf_node(&m, "Loop", "n,,h", "y");
    mf_body(&m, "body", &body);
    mf_out(&m, "y");
    return mf_load(&m, &o);
}

static void a_weight_of_the_model_and_of_a_body_is_packed_once(void **state)
{
    uint64_t bytes[2];
    float x[8 * 96], first[8 * 96];

    (void)state;
    for (int i = 0; i < 8 * 96; i++) x[i] = (float)(i % 17 - 8) / 8;
    for (int inside = 0; inside < 2; inside++) {
        qn_store *store = NULL;
        qn_model *m;
        qn_session *s;
        qn_tensor in = F32(x, 8, 96), out;

        assert_int_equal(qn_store_create(&store, NULL), QN_OK);
        m = products(inside, store);
        s = session_ok(m);
        bytes[0] = qn_store_bytes(store);
        run_ok(s, &in, &out);
        bytes[1] = qn_store_bytes(store);
        assert_true(bytes[0] >= 96 * 96 * 4);
        assert_int_equal(bytes[1], bytes[0]); /* the body found what the model had packed */
        if (inside) assert_memory_equal(out.data, first, sizeof first);
        memcpy(first, out.data, sizeof first);
        qn_session_destroy(s);
        qn_model_unref(m);
        qn_store_unref(store);
    }
}

static void a_team_of_two_gives_the_bits_of_one_thread(void **state)
{
    qn_model *m = products(false, NULL);
    qn_team *team = NULL;
    qn_session *solo = session_ok(m), *both = NULL;
    float x[8 * 96];
    qn_tensor in = F32(x, 8, 96), a, b;

    (void)state;
    for (int i = 0; i < 8 * 96; i++) x[i] = (float)(i * 5 % 19 - 9) / 7;
    assert_int_equal(qn_team_create(2, &team, NULL), QN_OK);
    assert_int_equal(qn_session_create(m, team, &both, NULL), QN_OK);
    run_ok(solo, &in, &a);
    run_ok(both, &in, &b);
    assert_int_equal(a.bytes, 8 * 96 * 4);
    assert_memory_equal(a.data, b.data, a.bytes);
    qn_session_destroy(solo);
    qn_session_destroy(both);
    qn_team_destroy(team);
    qn_model_unref(m);
}

static const qn_graph *body_in(const qn_graph *g, const char *op)
{
    for (int32_t i = 0; i < g->n_order; i++)
        if (strcmp(g->nodes[g->order[i]].op_type, op) == 0) return qn_node_subgraph(&g->nodes[g->order[i]], 0);
    fail_msg("no %s", op);
    return NULL;
}

static bool has_op(const qn_graph *g, const char *op)
{
    for (int32_t i = 0; i < g->n_order; i++)
        if (strcmp(g->nodes[g->order[i]].op_type, op) == 0) return true;
    return false;
}

/* Q(x) is carried as real numbers: DQ -> MatMul -> Q -> DQ, twice, with the scales captured from the model. */
static void a_quantized_body_is_lowered_to_integers(void **state)
{
    mf m = { 0 }, body = { 0 };
    float x[4] = { 1, -0.5f, 0.25f, 0 }, want[4];
    int8_t w[16];
    const uint8_t zero = 128;
    const int8_t w_zero = 0;
    qn_model *model;
    qn_session *s;
    qn_tensor in = F32(x, 1, 4), out;

    (void)state;
    for (int i = 0; i < 16; i++) w[i] = (int8_t)(i * 5 % 13 - 6);
    loop_args(&body);
    mf_arg(&body, "a");
    mf_node(&body, "QuantizeLinear", "a,scale,zero", "aq");
    mf_node(&body, "DequantizeLinear", "aq,scale,zero", "ad");
    mf_node(&body, "DequantizeLinear", "w,w_scale,w_zero", "wd");
    mf_node(&body, "MatMul", "ad,wd", "t");
    mf_node(&body, "QuantizeLinear", "t,scale,zero", "tq");
    mf_node(&body, "DequantizeLinear", "tq,scale,zero", "b");
    mf_out(&body, "b");
    scalar_i64(&m, "n", 2);
    scalar_f32(&m, "scale", 0.0625f);
    scalar_f32(&m, "w_scale", 0.125f);
    mf_raw_weight(&m, "zero", ONNX_UINT8, 0, NULL, &zero, 1);
    mf_raw_weight(&m, "w_zero", ONNX_INT8, 0, NULL, &w_zero, 1);
    mf_raw_weight(&m, "w", ONNX_INT8, 2, (int64_t[]){ 4, 4 }, w, sizeof w);
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ 1, 4 });
    mf_node(&m, "Loop", "n,,x", "y");
    mf_body(&m, "body", &body);
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    assert_true(has_op(body_in(model->lowered, "Loop"), "QLinearMatMul"));
    assert_false(has_op(body_in(model->lowered, "Loop"), "MatMul"));
    s = session_ok(model);
    run_ok(s, &in, &out);
    for (int turn = 0; turn < 2; turn++) {
        for (int c = 0; c < 4; c++) {
            float sum = 0; /* exact: multiples of 2^-7 */

            for (int k = 0; k < 4; k++) sum += x[k] * (float)w[k * 4 + c] * 0.125f;
            want[c] = (float)__builtin_rintf(sum / 0.0625f) * 0.0625f;
        }
        memcpy(x, want, sizeof x);
    }
    assert_memory_equal(out.data, want, sizeof want);
    qn_session_destroy(s);
    qn_model_unref(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carried_values_change_places_and_are_stacked),
        cmocka_unit_test(no_iteration_hands_the_inputs_through_and_stacks_nothing),
        cmocka_unit_test(values_of_different_sizes_swap),
        cmocka_unit_test(a_value_may_grow_until_its_own_size_ends_the_loop),
        cmocka_unit_test(nested_loops_capture_through_two_levels),
        cmocka_unit_test(two_sessions_take_turns_and_one_repeats_itself),
        cmocka_unit_test(a_sequence_is_carried_through_a_loop),
        cmocka_unit_test(branches_give_different_shapes),
        cmocka_unit_test(nested_branches_are_chosen_by_each_run),
        cmocka_unit_test(a_function_that_holds_an_if_is_called_from_everywhere),
        cmocka_unit_test(scan_walks_every_axis_in_both_directions),
        cmocka_unit_test(scan_refuses_axes_directions_and_lengths_that_are_not_there),
        cmocka_unit_test(scan_of_opset_8_walks_each_sequence_of_a_batch_to_its_own_end),
        cmocka_unit_test(a_loop_without_an_end_meets_the_limit_of_steps),
        cmocka_unit_test(a_loop_that_grows_meets_the_limit_of_memory),
        cmocka_unit_test(a_cancelled_run_ends_inside_the_loop),
        cmocka_unit_test(a_weight_of_the_model_and_of_a_body_is_packed_once),
        cmocka_unit_test(a_team_of_two_gives_the_bits_of_one_thread),
        cmocka_unit_test(a_quantized_body_is_lowered_to_integers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
