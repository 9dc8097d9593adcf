/* tests/unit/plan/test_session.c - what a run gives back: results, outputs that outlive the inputs, sizes that depend on data, refusals. */
#include "core/plan/frame.h"
#include "tests/unit/plan/model_file.h"

/* x [N, 4] -> relu(x + w): rows are independent. */
static qn_model *rows_model(void)
{
    mf m = { 0 };
    const float w[4] = { 1, -2, 3, -4 };

    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ -1, 4 });
    mf_f32(&m, "w", 1, (int64_t[]){ 4 }, w);
    mf_node(&m, "Add", "x,w", "t");
    mf_node(&m, "Relu", "t", "y");
    mf_out(&m, "y");
    return mf_load(&m, NULL);
}

static void every_batch_size_gives_the_rows_one_by_one(void **state)
{
    qn_model *m = rows_model();
    qn_session *many = session_ok(m), *one = session_ok(m);
    float x[4 * 40];

    (void)state;
    for (int i = 0; i < 4 * 40; i++) x[i] = (float)(i % 11) - 5;
    for (int64_t rows = 0; rows <= 40; rows += 1 + rows / 3) {
        qn_tensor in = F32(x, rows, 4), out, row;

        run_ok(many, &in, &out);
        assert_int_equal(out.rank, 2);
        assert_int_equal(out.dims[0], rows);
        assert_int_equal(out.bytes, (size_t)rows * 16);
        for (int64_t r = 0; r < rows; r++) {
            qn_tensor single = F32(x + 4 * r, 1, 4);

            run_ok(one, &single, &row);
            assert_memory_equal((char *)out.data + 16 * r, row.data, 16);
        }
    }
    qn_session_destroy(many);
    qn_session_destroy(one);
    qn_model_unref(m);
}

static void a_batch_within_the_capacity_keeps_the_plan_and_the_arena(void **state)
{
    qn_model *m = rows_model();
    qn_session *s = session_ok(m);
    float x[4 * 8] = { 0 };
    qn_tensor in = F32(x, 8, 4), out;
    qn_plan *plan;
    char *arena;

    (void)state;
    run_ok(s, &in, &out);
    plan = s->main->plan;
    arena = s->main->arena;
    for (int64_t rows = 7; rows > 1; rows--) {
        in = F32(x, rows, 4);
        run_ok(s, &in, &out);
        assert_ptr_equal(s->main->plan, plan);
        assert_ptr_equal(s->main->arena, arena);
        assert_int_equal(out.dims[0], rows);
    }
    qn_session_destroy(s);
    qn_model_unref(m);
}

static void an_output_that_is_an_input_is_copied(void **state)
{
    mf m = { 0 };
    const int64_t flat[1] = { -1 };
    float x[4] = { 1, 2, 3, 4 };
    qn_tensor in = F32(x, 2, 2), out[2];
    qn_model *model;
    qn_session *s;

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ 2, 2 });
    mf_i64(&m, "flat", 1, flat);
    mf_node(&m, "Identity", "x", "same");
    mf_node(&m, "Reshape", "x,flat", "line");
    mf_out(&m, "same");
    mf_out(&m, "line");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    run_ok(s, &in, out);
    x[0] = 99;
    for (int i = 0; i < 2; i++) {
        assert_ptr_not_equal(out[i].data, x);
        assert_float_equal(((float *)out[i].data)[0], 1, 0);
        assert_float_equal(((float *)out[i].data)[3], 4, 0);
    }
    qn_session_destroy(s);
    qn_model_unref(model);
}

static void an_output_may_be_a_constant_or_a_view_of_one(void **state)
{
    mf m = { 0 };
    const float w[4] = { 1, 2, 3, 4 };
    float x[1] = { 0 };
    qn_tensor in = F32(x, 1), out[2];
    qn_model *model;
    qn_session *s;

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 1 });
    mf_f32(&m, "w", 2, (int64_t[]){ 2, 2 }, w);
    mf_node(&m, "Identity", "w", "v");
    mf_node(&m, "Flatten", "w", "f");
    mf_attr_int(&m, "axis", 0);
    mf_out(&m, "v");
    mf_out(&m, "f");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    run_ok(s, &in, out);
    for (int i = 0; i < 2; i++) assert_memory_equal(out[i].data, w, sizeof w);
    assert_int_equal(out[1].dims[0], 1);
    qn_session_destroy(s);
    qn_model_unref(model);
}

static void views_follow_the_callers_memory_from_run_to_run(void **state)
{
    mf m = { 0 };
    const int64_t flat[1] = { -1 };
    float a[4] = { 1, 2, 3, 4 }, b[4] = { 10, 20, 30, 40 };
    qn_tensor in = F32(a, 2, 2), out;
    qn_model *model;
    qn_session *s;

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ 2, 2 });
    mf_i64(&m, "flat", 1, flat);
    mf_node(&m, "Reshape", "x,flat", "line");
    mf_node(&m, "Neg", "line", "y");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    run_ok(s, &in, &out);
    assert_float_equal(((float *)out.data)[2], -3, 0);
    in = F32(b, 2, 2);
    run_ok(s, &in, &out);
    assert_float_equal(((float *)out.data)[2], -30, 0);
    assert_float_equal(b[2], 30, 0);
    qn_session_destroy(s);
    qn_model_unref(model);
}

static void known_shapes_hold_the_rows_of_each_run(void **state)
{
    mf m = { 0 };
    float x[12] = { 0 };
    qn_model *model;
    qn_session *s;
    qn_tensor out;

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ -1, 4 });
    mf_node(&m, "Shape", "x", "y");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    for (int64_t rows = 3; rows > 0; rows--) {
        qn_tensor in = F32(x, rows, 4);

        run_ok(s, &in, &out);
        assert_int_equal(((int64_t *)out.data)[0], rows);
        assert_int_equal(((int64_t *)out.data)[1], 4);
    }
    qn_session_destroy(s);
    qn_model_unref(model);
}

/* -- sizes that depend on data -------------------------------------------------------------------------------------------- */

/* indices of what is not zero, as f32, times two */
static qn_model *nonzero_model(uint64_t arena_bytes)
{
    mf m = { 0 };
    const float two[1] = { 2 };
    qn_model_options o = { .cpu = qn_cpu_detect(), .limits = { .arena_bytes = arena_bytes } };

    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ -1 });
    mf_f32(&m, "two", 1, (int64_t[]){ 1 }, two);
    mf_node(&m, "NonZero", "x", "i");
    mf_node(&m, "Cast", "i", "f");
    mf_attr_int(&m, "to", 1);
    mf_node(&m, "Mul", "f,two", "y");
    mf_out(&m, "y");
    return mf_load(&m, &o);
}

static void sizes_follow_the_data(void **state)
{
    qn_model *m = nonzero_model(0);
    qn_session *s = session_ok(m);
    float x[6] = { 0 };
    qn_tensor in = F32(x, 6), out;

    (void)state;
    assert_false(qn_model_rows_independent(m));
    for (int n = 0; n <= 6; n++) {
        for (int i = 0; i < 6; i++) x[i] = i >= 6 - n ? 1 : 0;
        run_ok(s, &in, &out);
        assert_int_equal(out.rank, 2);
        assert_int_equal(out.dims[1], n);
        for (int i = 0; i < n; i++) assert_float_equal(((float *)out.data)[i], (float)(2 * (6 - n + i)), 0);
    }
    assert_true(qn_session_bytes(s) > 0);
    qn_session_destroy(s);
    qn_model_unref(m);
}

static void data_that_needs_more_than_the_limit_is_refused_and_the_session_lives_on(void **state)
{
    qn_model *m = nonzero_model(1 << 16);
    qn_session *s = session_ok(m);
    float *x = calloc(20000, sizeof *x);
    qn_tensor in = F32(x, 20000), out;
    qn_error err = { 0 };

    (void)state;
    run_ok(s, &in, &out);
    assert_int_equal(out.dims[1], 0);
    for (int i = 0; i < 20000; i++) x[i] = 1;
    assert_int_equal(qn_session_run(s, &in, &out, NULL, &err), QN_ERR_LIMIT);
    assert_non_null(strstr(err.message, "NonZero"));
    memset(x, 0, 20000 * sizeof *x);
    x[7] = 1;
    run_ok(s, &in, &out);
    assert_float_equal(((float *)out.data)[0], 14, 0);
    assert_true(qn_session_bytes(s) <= 1 << 16);
    qn_session_destroy(s);
    qn_model_unref(m);
    free(x);
}

static void slabs_of_equal_size_are_used_again(void **state)
{
    qn_model *m = nonzero_model(0);
    qn_session *s = session_ok(m);
    float x[4] = { 1, 1, 0, 1 };
    qn_tensor in = F32(x, 4), out;
    uint64_t bytes;
    void *data;

    (void)state;
    run_ok(s, &in, &out);
    bytes = qn_session_bytes(s);
    data = out.data;
    for (int i = 0; i < 5; i++) {
        run_ok(s, &in, &out);
        assert_int_equal(qn_session_bytes(s), bytes);
        assert_ptr_equal(out.data, data);
    }
    qn_session_destroy(s);
    qn_model_unref(m);
}

static void a_shape_in_the_request_is_obeyed(void **state)
{
    mf m = { 0 };
    float x[6] = { 1, 2, 3, 4, 5, 6 };
    int64_t shape[2] = { 2, 3 };
    qn_tensor in[2] = { F32(x, 6), I64(shape, 2) }, out;
    qn_model *model;
    qn_session *s;
    qn_error err = { 0 };

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 6 });
    mf_in(&m, "shape", ONNX_INT64, 1, (int64_t[]){ 2 });
    mf_node(&m, "Reshape", "x,shape", "r");
    mf_node(&m, "Neg", "r", "y");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    run_ok(s, in, &out);
    assert_int_equal(out.dims[0], 2);
    assert_int_equal(out.dims[1], 3);
    assert_float_equal(((float *)out.data)[5], -6, 0);
    shape[0] = 3;
    shape[1] = -1;
    run_ok(s, in, &out);
    assert_int_equal(out.dims[0], 3);
    assert_int_equal(out.dims[1], 2);
    shape[0] = 4;
    assert_int_equal(qn_session_run(s, in, &out, NULL, &err), QN_ERR_SHAPE);
    assert_true(strstr(err.message, "Reshape") != NULL);
    qn_session_destroy(s);
    qn_model_unref(model);
}

static void shape_arithmetic_beyond_vectors_is_done_when_the_plan_is_made(void **state)
{
    mf m = { 0 };
    const int64_t column[2] = { 2, 1 }, line[1] = { -1 };
    float x[35] = { 0 };
    qn_tensor in = F32(x, 5, 7), out;
    qn_model *model;
    qn_session *s;

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ -1, 7 });
    mf_i64(&m, "column", 2, column);
    mf_i64(&m, "line", 1, line);
    mf_node(&m, "Shape", "x", "s");
    mf_node(&m, "Reshape", "s,column", "c"); /* rank 2: inference no longer follows the elements */
    mf_node(&m, "Transpose", "c", "t");
    mf_node(&m, "Reshape", "t,line", "l");
    mf_node(&m, "ConstantOfShape", "l", "zeros");
    mf_node(&m, "Sub", "zeros,x", "y");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    for (int i = 0; i < 35; i++) x[i] = (float)i;
    run_ok(s, &in, &out);
    assert_int_equal(out.dims[0], 5);
    assert_int_equal(out.dims[1], 7);
    assert_float_equal(((float *)out.data)[34], -34, 0);
    assert_false(s->main->plan->dynamic);
    in = F32(x, 3, 7);
    run_ok(s, &in, &out);
    assert_int_equal(out.dims[0], 3);
    assert_float_equal(((float *)out.data)[20], -20, 0);
    qn_session_destroy(s);
    qn_model_unref(model);
}

/* -- refusals ------------------------------------------------------------------------------------------------------------- */

static void wrong_inputs_are_refused_by_name_before_anything_runs(void **state)
{
    qn_model *m = rows_model();
    qn_session *s = session_ok(m);
    float x[8] = { 0 };
    int64_t ints[8] = { 0 };
    qn_tensor out, missing = { 0 }, wrong_dtype = I64(ints, 2, 4), wrong_shape = F32(x, 4, 2), wrong_rank = F32(x, 8),
                   short_bytes = F32(x, 2, 4);
    qn_error err = { 0 };

    (void)state;
    short_bytes.bytes -= 4;
    assert_int_equal(qn_session_run(s, &missing, &out, NULL, &err), QN_ERR_INVALID);
    assert_non_null(strstr(err.message, "input x is missing"));
    assert_int_equal(qn_session_run(s, &wrong_dtype, &out, NULL, &err), QN_ERR_DTYPE);
    assert_non_null(strstr(err.message, "input x is i64, expected f32"));
    assert_int_equal(qn_session_run(s, &wrong_shape, &out, NULL, &err), QN_ERR_SHAPE);
    assert_non_null(strstr(err.message, "[4,2], expected [?,4]"));
    assert_int_equal(qn_session_run(s, &wrong_rank, &out, NULL, &err), QN_ERR_SHAPE);
    assert_int_equal(qn_session_run(s, &short_bytes, &out, NULL, &err), QN_ERR_SHAPE);
    assert_null(s->main->plan);
    qn_session_destroy(s);
    qn_model_unref(m);
}

static void one_symbol_is_one_number_in_all_inputs(void **state)
{
    mf m = { 0 };
    float x[8] = { 0 };
    qn_tensor in[2] = { F32(x, 2, 4), F32(x, 1, 4) }, out;
    qn_model *model;
    qn_session *s;
    qn_error err = { 0 };

    (void)state;
    mf_in(&m, "a", ONNX_FLOAT, 2, (int64_t[]){ -1, 4 });
    mf_in(&m, "b", ONNX_FLOAT, 2, (int64_t[]){ -1, 4 });
    mf_node(&m, "Add", "a,b", "y");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    assert_int_equal(qn_session_run(s, in, &out, NULL, &err), QN_ERR_SHAPE);
    assert_non_null(strstr(err.message, "dimension N is 2 in input a and 1 in input b"));
    in[1] = F32(x, 2, 4);
    run_ok(s, in, &out);
    qn_session_destroy(s);
    qn_model_unref(model);
}

static void a_bool_that_is_neither_0_nor_1_is_refused(void **state)
{
    mf m = { 0 };
    uint8_t x[3] = { 0, 1, 2 };
    qn_tensor in = tensor_of(QN_BOOL, 1, (int64_t[]){ 3 }, x), out;
    qn_model *model;
    qn_session *s;
    qn_error err = { 0 };

    (void)state;
    mf_in(&m, "x", ONNX_BOOL, 1, (int64_t[]){ 3 });
    mf_node(&m, "Not", "x", "y");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    assert_int_equal(qn_session_run(s, &in, &out, NULL, &err), QN_ERR_RANGE);
    x[2] = 1;
    run_ok(s, &in, &out);
    x[1] = 7; /* the same shapes again: still looked at */
    assert_int_equal(qn_session_run(s, &in, &out, NULL, &err), QN_ERR_RANGE);
    qn_session_destroy(s);
    qn_model_unref(model);
}

static void an_initializer_that_is_an_input_is_optional_from_ir_4_on(void **state)
{
    float x[2] = { 1, 2 }, w[2] = { 10, 20 }, other[2] = { 3, 3 };

    (void)state;
    for (int ir = 3; ir <= 4; ir++) {
        mf m = { .ir_version = ir };
        qn_tensor in[2] = { F32(x, 2), { 0 } }, out;
        qn_model *model;
        qn_session *s;
        qn_error err = { 0 };

        mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 2 });
        mf_in(&m, "w", ONNX_FLOAT, 1, (int64_t[]){ 2 });
        mf_f32(&m, "w", 1, (int64_t[]){ 2 }, w);
        mf_node(&m, "Add", "x,w", "y");
        mf_out(&m, "y");
        model = mf_load(&m, NULL);
        s = session_ok(model);
        assert_int_equal(qn_model_n_inputs(model), ir == 3 ? 1 : 2);
        run_ok(s, in, &out);
        assert_float_equal(((float *)out.data)[1], 22, 0);
        if (ir == 4) {
            assert_true(qn_model_input(model, 1)->optional);
            in[1] = F32(w, 2);
            run_ok(s, in, &out);
            in[1] = F32(other, 2);
            assert_int_equal(qn_session_run(s, in, &out, NULL, &err), QN_ERR_UNSUPPORTED);
        }
        qn_session_destroy(s);
        qn_model_unref(model);
    }
}

static void an_unknown_op_is_named(void **state)
{
    mf m = { 0 };
    qn_model *model = NULL;
    qn_error err = { 0 };

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 2 });
    mf_node(&m, "Frobnicate", "x", "y");
    mf_out(&m, "y");
    assert_int_equal(mf_try(&m, NULL, &model, &err), QN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "Frobnicate"));
}

/* -- hooks, shapes, values ------------------------------------------------------------------------------------------------ */

struct seen {
    int begun, finished, stop_at;
};

static bool cancelled(void *user) { return ((struct seen *)user)->begun == ((struct seen *)user)->stop_at; }

static void count_step(void *user, int32_t step, bool finished)
{
    struct seen *c = user;

    (void)step;
    if (finished)
        c->finished++;
    else
        c->begun++;
}

static void a_cancelled_run_stops_between_steps(void **state)
{
    mf m = { 0 };
    float x[2] = { 1, 2 };
    qn_tensor in = F32(x, 2), out;
    struct seen c = { .stop_at = 2 };
    qn_run_hooks hooks = { cancelled, count_step, &c };
    qn_model *model;
    qn_session *s;
    qn_error err = { 0 };

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 2 });
    mf_node(&m, "Exp", "x", "a");
    mf_node(&m, "Sin", "a", "b");
    mf_node(&m, "Cos", "b", "c");
    mf_node(&m, "Tanh", "c", "y");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    assert_int_equal(qn_session_run(s, &in, &out, &hooks, &err), QN_ERR_CANCELLED);
    assert_int_equal(c.begun, 2);
    assert_int_equal(c.finished, 2);
    c.stop_at = -1;
    assert_int_equal(qn_session_run(s, &in, &out, &hooks, &err), QN_OK);
    assert_int_equal(c.finished, 6);
    qn_session_destroy(s);
    qn_model_unref(model);
}

static void all_values_of_the_file_can_be_read(void **state)
{
    mf m = { 0 };
    qn_model_options o = { .cpu = qn_cpu_detect(), .all_values = true };
    float x[2] = { -1, 2 };
    qn_tensor in = F32(x, 2), out, t;
    const char *name;
    qn_model *model;
    qn_session *s;
    int found = 0;

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 2 });
    mf_node(&m, "Neg", "x", "a");
    mf_node(&m, "Relu", "a", "b");
    mf_node(&m, "Abs", "b", "y");
    mf_out(&m, "y");
    model = mf_load(&m, &o);
    s = session_ok(model);
    run_ok(s, &in, &out);
    for (int32_t i = 0; i < qn_session_n_values(s); i++) {
        qn_session_value(s, i, &name, &t);
        if (strcmp(name, "a") == 0) {
            assert_float_equal(((float *)t.data)[0], 1, 0);
            assert_float_equal(((float *)t.data)[1], -2, 0);
            found++;
        }
        if (strcmp(name, "b") == 0) {
            assert_float_equal(((float *)t.data)[1], 0, 0);
            found++;
        }
    }
    assert_int_equal(found, 2);
    qn_session_destroy(s);
    qn_model_unref(model);
}

static void a_wide_session_shrinks_after_many_small_runs(void **state)
{
    qn_model *m = rows_model();
    qn_session *s = session_ok(m);
    size_t rows = 1 << 18;
    float *x = calloc(rows * 4, sizeof *x);
    qn_tensor big = F32(x, (int64_t)rows, 4), small = F32(x, 1, 4), out;

    (void)state;
    run_ok(s, &big, &out);
    assert_true(qn_session_bytes(s) >= rows * 16);
    for (int i = 0; i < 300; i++) {
        run_ok(s, &small, &out);
        if (i < 100) assert_true(qn_session_bytes(s) >= rows * 16);
        assert_float_equal(((float *)out.data)[0], 1, 0);
    }
    assert_true(qn_session_bytes(s) < 1 << 20);
    run_ok(s, &big, &out);
    assert_int_equal(out.dims[0], (int64_t)rows);
    qn_session_destroy(s);
    qn_model_unref(m);
    free(x);
}

static void steps_ops_and_stats_describe_the_model(void **state)
{
    qn_model *m = rows_model();
    qn_step_info *steps;
    qn_op_count *ops;
    qn_model_stats stats;
    int32_t n;

    (void)state;
    assert_int_equal(qn_model_steps(m, 1, &steps, &n, NULL), QN_OK);
    assert_int_equal(n, 2);
    assert_string_equal(steps[0].op, "Add");
    assert_int_equal(steps[0].n_params, 4);
    assert_int_equal(steps[0].weight_bytes, 16);
    assert_true(steps[0].kernel[0] != 0);
    free(steps);
    assert_int_equal(qn_model_op_counts(m, &ops, &n, NULL), QN_OK);
    assert_int_equal(n, 2);
    assert_string_equal(ops[0].op, "Add");
    assert_int_equal(ops[1].n_nodes, 1);
    free(ops);
    qn_model_get_stats(m, &stats);
    assert_int_equal(stats.n_params, 4);
    assert_int_equal(stats.n_nodes_import, 2);
    assert_int_equal(stats.opset, 17);
    assert_int_equal(stats.held_bytes, 16);
    assert_int_equal(strlen(qn_model_digest(m)), 64);
    qn_model_unref(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_batch_size_gives_the_rows_one_by_one),
        cmocka_unit_test(a_batch_within_the_capacity_keeps_the_plan_and_the_arena),
        cmocka_unit_test(an_output_that_is_an_input_is_copied),
        cmocka_unit_test(an_output_may_be_a_constant_or_a_view_of_one),
        cmocka_unit_test(views_follow_the_callers_memory_from_run_to_run),
        cmocka_unit_test(known_shapes_hold_the_rows_of_each_run),
        cmocka_unit_test(sizes_follow_the_data),
        cmocka_unit_test(data_that_needs_more_than_the_limit_is_refused_and_the_session_lives_on),
        cmocka_unit_test(slabs_of_equal_size_are_used_again),
        cmocka_unit_test(a_shape_in_the_request_is_obeyed),
        cmocka_unit_test(shape_arithmetic_beyond_vectors_is_done_when_the_plan_is_made),
        cmocka_unit_test(wrong_inputs_are_refused_by_name_before_anything_runs),
        cmocka_unit_test(one_symbol_is_one_number_in_all_inputs),
        cmocka_unit_test(a_bool_that_is_neither_0_nor_1_is_refused),
        cmocka_unit_test(an_initializer_that_is_an_input_is_optional_from_ir_4_on),
        cmocka_unit_test(an_unknown_op_is_named),
        cmocka_unit_test(a_cancelled_run_stops_between_steps),
        cmocka_unit_test(all_values_of_the_file_can_be_read),
        cmocka_unit_test(a_wide_session_shrinks_after_many_small_runs),
        cmocka_unit_test(steps_ops_and_stats_describe_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
