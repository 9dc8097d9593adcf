/* tests/unit/plan/test_plan.c - what a plan decides: which buffers share memory, for how many rows, and which plan is found again. */
#include "core/plan/model.h"
#include "tests/unit/plan/model_file.h"

static int n_plans(qn_model *m)
{
    int n = 0;

    for (const qn_plan *p = m->cache.newest; p; p = p->older) n++;
    return n;
}

static qn_plan *plan_for(qn_model *m, const qn_tensor *in)
{
    qn_plan *p = NULL;
    int64_t rows;
    qn_error err = { 0 };

    assert_int_equal(qn_model_check_inputs(m, in, &rows, &err), QN_OK);
    if (qn_model_plan(m, in, rows, 1, &p, &err) != QN_OK) fail_msg("plan: %s", err.message);
    return p;
}

/* x [N, 4] -> t = x + w -> y = relu(t) -> z = sigmoid(y), a chain that needs no memory but one buffer. */
static qn_model *chain(bool all_values)
{
    mf m = { 0 };
    const float w[4] = { 1, -2, 3, -4 };
    qn_model_options o = { .cpu = qn_cpu_detect(), .all_values = all_values };

    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ -1, 4 });
    mf_f32(&m, "w", 1, (int64_t[]){ 4 }, w);
    mf_node(&m, "Add", "x,w", "t");
    mf_node(&m, "Relu", "t", "y");
    mf_node(&m, "Sigmoid", "y", "z");
    mf_out(&m, "z");
    return mf_load(&m, &o);
}

static void a_chain_runs_in_one_buffer(void **state)
{
    qn_model *m = chain(false);
    float x[4] = { 0 };
    qn_tensor in = F32(x, 1, 4);
    qn_plan *p = plan_for(m, &in);

    (void)state;
    assert_int_equal(p->arena_bytes, 64);
    qn_plan_unref(p);
    qn_model_unref(m);
}

static void with_all_values_nothing_shares_memory(void **state)
{
    qn_model *m = chain(true);
    float x[4] = { 0 };
    qn_tensor in = F32(x, 1, 4);
    qn_plan *p = plan_for(m, &in);

    (void)state;
    assert_true(p->arena_bytes >= 64 * 3);
    qn_plan_unref(p);
    qn_model_unref(m);
}

static void batches_are_planned_for_powers_of_two_and_found_again(void **state)
{
    qn_model *m = chain(false);
    float x[4 * 9] = { 0 };
    int before = n_plans(m); /* loading made the plan for one row */

    (void)state;
    assert_true(qn_model_rows_independent(m));
    assert_int_equal(before, 1);
    for (int64_t rows = 5; rows <= 9; rows++) {
        qn_tensor in = F32(x, rows, 4);
        qn_plan *p = plan_for(m, &in);

        assert_int_equal(p->capacity, rows <= 8 ? 8 : 16);
        qn_plan_unref(p);
    }
    assert_int_equal(n_plans(m), 3);
    qn_model_unref(m);
}

static void the_cache_drops_the_oldest_plan_beyond_its_bytes(void **state)
{
    qn_model *m = chain(false);
    float x[4 * 64] = { 0 };

    (void)state;
    m->cache.limit_bytes = m->cache.bytes * 5 / 2; /* room for two */
    for (int64_t rows = 1; rows <= 64; rows *= 2) {
        qn_tensor in = F32(x, rows, 4);

        qn_plan_unref(plan_for(m, &in));
        assert_true(n_plans(m) <= 2);
    }
    assert_int_equal(m->cache.newest->capacity, 64);
    assert_int_equal(m->cache.oldest->capacity, 32);
    qn_model_unref(m);
}

static void a_larger_team_gets_a_plan_of_its_own(void **state)
{
    qn_model *m = chain(false);
    float x[4] = { 0 };
    qn_tensor in = F32(x, 1, 4);
    qn_plan *one = plan_for(m, &in), *two = NULL;

    (void)state;
    assert_int_equal(qn_model_plan(m, &in, 1, 2, &two, NULL), QN_OK);
    assert_ptr_not_equal(one, two);
    assert_int_equal(two->team_size, 2);
    qn_plan_unref(one);
    qn_plan_unref(two);
    qn_model_unref(m);
}

struct race {
    qn_model *m;
    qn_plan *p;
};

static void *plan_seven_rows(void *arg)
{
    struct race *r = arg;
    float x[28] = { 0 };
    qn_tensor in = tensor_of(QN_F32, 2, (int64_t[]){ 7, 4 }, x);

    qn_model_plan(r->m, &in, 7, 1, &r->p, NULL);
    return NULL;
}

static void two_threads_that_ask_at_once_get_one_plan(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        qn_model *m = chain(false);
        struct race r[4] = { { m, NULL }, { m, NULL }, { m, NULL }, { m, NULL } };
        pthread_t t[4];

        for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, plan_seven_rows, &r[i]), 0);
        for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
        for (int i = 0; i < 4; i++) {
            assert_non_null(r[i].p);
            assert_ptr_equal(r[i].p, r[0].p);
        }
        assert_int_equal(n_plans(m), 2);
        for (int i = 0; i < 4; i++) qn_plan_unref(r[i].p);
        qn_model_unref(m);
    }
}

static void a_shape_of_fixed_sizes_is_never_computed(void **state)
{
    mf m = { 0 };
    qn_model *model;
    float x[8] = { 0 };
    qn_tensor in = F32(x, 2, 4);
    qn_plan *p;

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ -1, 4 });
    mf_node(&m, "Shape", "x", "s");
    mf_node(&m, "Add", "s,s", "y"); /* keeps the shape from being folded away: it holds N */
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    p = plan_for(model, &in);
    assert_int_equal(p->n_steps, 0);
    qn_plan_unref(p);
    qn_model_unref(model);
}

static void what_nobody_reads_is_not_run(void **state)
{
    mf m = { 0 };
    qn_model *model;
    float x[4] = { 0 };
    qn_tensor in = F32(x, 4);
    qn_plan *p;

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 4 });
    mf_node(&m, "Exp", "x", "unused");
    mf_node(&m, "Relu", "x", "y");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    p = plan_for(model, &in);
    assert_int_equal(p->n_steps, 1);
    qn_plan_unref(p);
    qn_model_unref(model);
}

static void an_arena_beyond_the_limit_names_the_node(void **state)
{
    mf m = { 0 };
    qn_model *model = NULL;
    qn_model_options o = { .cpu = qn_cpu_detect(), .limits = { .arena_bytes = 1 << 20 } };
    const int64_t big[2] = { 4096, 4096 };
    qn_error err = { 0 };

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 1 });
    mf_i64(&m, "big", 2, big);
    mf_node(&m, "Expand", "x,big", "wide");
    mf_node(&m, "Exp", "wide", "y");
    mf_out(&m, "y");
    assert_int_equal(mf_try(&m, &o, &model, &err), QN_ERR_LIMIT);
    assert_null(model);
    assert_non_null(strstr(err.message, "67108864"));
    assert_true(strstr(err.message, "(Expand)") || strstr(err.message, "(Exp)"));
}

static void a_batch_that_fits_is_served_even_if_the_next_power_of_two_does_not(void **state)
{
    mf m = { 0 };
    qn_model *model;
    qn_model_options o = { .cpu = qn_cpu_detect(), .limits = { .arena_bytes = 20 * 4096 } };
    float *x = calloc(17 * 1024, sizeof *x);
    qn_tensor in = F32(x, 17, 1024);
    qn_plan *p;

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ -1, 1024 });
    mf_node(&m, "Exp", "x", "y");
    mf_out(&m, "y");
    model = mf_load(&m, &o);
    p = plan_for(model, &in);
    assert_int_equal(p->capacity, 17);
    qn_plan_unref(p);
    qn_model_unref(model);
    free(x);
}

/* -- buffers never overlap ------------------------------------------------------------------------------------------------ */

static uint32_t next_random(uint32_t *s) { return *s = *s * 1664525u + 1013904223u; }

/* A random graph of n nodes over values of a few shapes: element-wise ops, reshapes there and back, values read again much later. */
static void random_graph(mf *m, uint32_t seed, int n)
{
    char names[64][16];
    bool flat[64] = { false };
    int n_values = 2;
    char list[40];
    const int64_t two[2] = { 2, -1 }, one[1] = { -1 };

    snprintf(names[0], sizeof names[0], "x");
    snprintf(names[1], sizeof names[0], "u");
    mf_in(m, "x", ONNX_FLOAT, 2, (int64_t[]){ 2, 33 });
    mf_in(m, "u", ONNX_FLOAT, 2, (int64_t[]){ 2, 33 });
    mf_i64(m, "two", 2, two);
    mf_i64(m, "one", 1, one);
    for (int i = 0; i < n; i++) {
        static const char *const unary[] = { "Relu", "Neg", "Abs", "Sigmoid" }, *const binary[] = { "Add", "Sub", "Mul", "Max" };
        uint32_t r = next_random(&seed) >> 16;
        int a = (int)(next_random(&seed) >> 16) % n_values, b = (int)(next_random(&seed) >> 16) % n_values;

        snprintf(names[n_values], sizeof names[0], "v%d", i);
        flat[n_values] = flat[a];
        if (r % 3 == 0) {
            mf_node(m, unary[r / 3 % 4], names[a], names[n_values]);
        } else if (r % 3 == 1 && flat[a] == flat[b]) {
            snprintf(list, sizeof list, "%s,%s", names[a], names[b]);
            mf_node(m, binary[r / 3 % 4], list, names[n_values]);
        } else {
            snprintf(list, sizeof list, "%s,%s", names[a], flat[a] ? "two" : "one");
            mf_node(m, "Reshape", list, names[n_values]);
            flat[n_values] = !flat[a];
        }
        if (i % 7 == 3) mf_out(m, names[n_values]);
        n_values++;
    }
    mf_out(m, names[n_values - 1]);
}

static void reuse_and_views_and_in_place_change_no_result(void **state)
{
    float x[66], u[66];

    (void)state;
    for (int i = 0; i < 66; i++) {
        x[i] = (float)(i % 7) - 3.25f;
        u[i] = (float)(i % 5) * 0.5f - 1;
    }
    for (uint32_t seed = 1; seed <= 150; seed++) {
        mf one = { 0 }, two = { 0 };
        qn_model_options keep = { .cpu = qn_cpu_detect(), .all_values = true };
        qn_model *a, *b;
        qn_session *sa, *sb;
        qn_tensor in[2] = { F32(x, 2, 33), F32(u, 2, 33) }, ya[16], yb[16];
        float x_before[66], u_before[66];

        random_graph(&one, seed, 40);
        random_graph(&two, seed, 40);
        a = mf_load(&one, NULL);
        b = mf_load(&two, &keep);
        sa = session_ok(a);
        sb = session_ok(b);
        memcpy(x_before, x, sizeof x);
        memcpy(u_before, u, sizeof u);
        for (int round = 0; round < 2; round++) {
            run_ok(sa, in, ya);
            run_ok(sb, in, yb);
            assert_memory_equal(x, x_before, sizeof x);
            assert_memory_equal(u, u_before, sizeof u);
            for (int32_t i = 0; i < qn_model_n_outputs(a); i++) {
                assert_int_equal(ya[i].bytes, yb[i].bytes);
                assert_memory_equal(ya[i].data, yb[i].data, ya[i].bytes);
            }
        }
        qn_session_destroy(sa);
        qn_session_destroy(sb);
        qn_model_unref(a);
        qn_model_unref(b);
    }
}

/* -- many buffers --------------------------------------------------------------------------------------------------------- */

static void thousands_of_buffers_are_placed_without_overlap(void **state)
{
    enum { N = 9000 }; /* more than are fitted one by one */
    mf m = { 0 };
    qn_model *model;
    qn_session *s;
    float x[3] = { 1, 2, 3 };
    qn_tensor in = F32(x, 3), out;
    char name[16], list[40], last[16] = "a0";

    (void)state;
    mf_in(&m, "x", ONNX_FLOAT, 1, (int64_t[]){ 3 });
    for (int i = 0; i < N; i++) { /* all of them live until the sum at the end */
        snprintf(name, sizeof name, "a%d", i);
        mf_node(&m, i % 2 ? "Neg" : "Abs", "x", name);
    }
    for (int i = 1; i < N; i++) {
        snprintf(list, sizeof list, "%s,a%d", last, i);
        snprintf(last, sizeof last, "s%d", i);
        mf_node(&m, "Add", list, last);
    }
    mf_out(&m, last);
    model = mf_load(&m, NULL);
    s = session_ok(model);
    run_ok(s, &in, &out);
    for (int i = 0; i < 3; i++) assert_float_equal(((float *)out.data)[i], 0, 0);
    qn_session_destroy(s);
    qn_model_unref(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_runs_in_one_buffer),
        cmocka_unit_test(with_all_values_nothing_shares_memory),
        cmocka_unit_test(batches_are_planned_for_powers_of_two_and_found_again),
        cmocka_unit_test(the_cache_drops_the_oldest_plan_beyond_its_bytes),
        cmocka_unit_test(a_larger_team_gets_a_plan_of_its_own),
        cmocka_unit_test(two_threads_that_ask_at_once_get_one_plan),
        cmocka_unit_test(a_shape_of_fixed_sizes_is_never_computed),
        cmocka_unit_test(what_nobody_reads_is_not_run),
        cmocka_unit_test(an_arena_beyond_the_limit_names_the_node),
        cmocka_unit_test(a_batch_that_fits_is_served_even_if_the_next_power_of_two_does_not),
        cmocka_unit_test(reuse_and_views_and_in_place_change_no_result),
        cmocka_unit_test(thousands_of_buffers_are_placed_without_overlap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
