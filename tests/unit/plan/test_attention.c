/* tests/unit/plan/test_attention.c - attention written as nodes becomes quern.Attention, with the same bits as the nodes give when the scores
 * are an output of the model, which keeps them apart. */
#include "tests/unit/plan/model_file.h"

#include "quern/team.h"

#include <math.h>
#include <stdio.h>

typedef enum scaling { NO_SCALE, MUL, DIV } scaling;
typedef enum filling { NO_FILL, KEEP, FILL } filling;

typedef struct layout {
    int64_t b, h, m, n, d, e; /* of the scores [b, h, m, n] */
    bool heads;               /* Q, K, V are [b, rows, h, depth] and turned, and so is the output */
    scaling scale;
    filling fill;
    int64_t mask[4]; /* 0: no mask */
    bool lonely_k;   /* K and V have batch 1 */
} layout;

static uint64_t seed;

static float next_float(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(seed >> 40) / 8388608.0 - 1.0);
}

static float *floats(const int64_t *dims, int rank, bool some_inf)
{
    size_t n = 1;
    float *x;

    for (int i = 0; i < rank; i++) n *= (size_t)dims[i];
    x = malloc(n * sizeof *x + 1);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        x[i] = next_float();
        if (some_inf && x[i] < -0.5f) x[i] = -INFINITY;
    }
    return x;
}

static void turn(mf *m, const char *in, const char *out, const int64_t *perm)
{
    mf_node(m, "Transpose", in, out);
    mf_attr_ints(m, "perm", 4, perm);
}

static void port(const layout *l, int which, int64_t *dims)
{
    const int64_t b = which > 0 && l->lonely_k ? 1 : l->b, rows = which ? l->n : l->m, depth = which == 2 ? l->e : l->d;

    memcpy(dims, l->heads ? (int64_t[]){ b, rows, l->h, depth } : (int64_t[]){ b, l->h, rows, depth }, 4 * sizeof *dims);
}

/* free: sizes are not in the file; apart: the scores are an output too. */
static qn_model *model_of(const layout *l, bool free_sizes, bool apart)
{
    static const char *const names[] = { "q", "k", "v" };
    const float c = 0.3f, low = -1e9f;
    const int64_t open[] = { -2, -2, -2, -2 };
    mf m = { 0 };
    int64_t dims[4];

    for (int i = 0; i < 3; i++) {
        port(l, i, dims);
        mf_in(&m, names[i], ONNX_FLOAT, 4, free_sizes ? open : dims);
    }
    if (l->mask[0]) mf_in(&m, "mask", ONNX_FLOAT, 4, free_sizes ? open : l->mask);
    if (l->fill) mf_in(&m, "condition", ONNX_BOOL, 2, free_sizes ? open : (int64_t[]){ l->m, l->n });
    mf_f32(&m, "c", 0, NULL, &c);
    mf_f32(&m, "low", 0, NULL, &low);
    if (l->heads) {
        turn(&m, "q", "qt", (int64_t[]){ 0, 2, 1, 3 });
        turn(&m, "k", "kt", (int64_t[]){ 0, 2, 3, 1 });
        turn(&m, "v", "vt", (int64_t[]){ 0, 2, 1, 3 });
    } else {
        turn(&m, "k", "kt", (int64_t[]){ 0, 1, 3, 2 });
    }
    mf_node(&m, "MatMul", l->heads ? "qt,kt" : "q,kt", "s0");
    mf_node(&m, l->scale == MUL ? "Mul" : l->scale == DIV ? "Div" : "Identity", l->scale ? "s0,c" : "s0", "s1");
    mf_node(&m, l->fill ? "Where" : "Identity", l->fill == KEEP ? "condition,s1,low" : l->fill ? "condition,low,s1" : "s1", "s2");
    mf_node(&m, l->mask[0] ? "Add" : "Identity", l->mask[0] ? "mask,s2" : "s2", "s3");
    mf_node(&m, "Softmax", "s3", "p");
    mf_node(&m, "MatMul", l->heads ? "p,vt" : "p,v", "o");
    if (l->heads) turn(&m, "o", "y", (int64_t[]){ 0, 2, 1, 3 });
    mf_out(&m, l->heads ? "y" : "o");
    if (apart) mf_out(&m, "p");
    return mf_load(&m, NULL);
}

static bool has_attention(qn_model *m)
{
    qn_step_info *steps;
    int32_t n;
    bool found = false;

    assert_int_equal(qn_model_steps(m, 2, &steps, &n, NULL), QN_OK);
    for (int32_t i = 0; i < n; i++) found |= strcmp(steps[i].op, "quern.Attention") == 0;
    free(steps);
    return found;
}

static void *answer(qn_model *m, const qn_tensor *in, int threads, qn_tensor *out)
{
    qn_team *team = NULL;
    qn_session *s = NULL;
    qn_tensor outs[2];
    void *copy;

    if (threads > 1) assert_int_equal(qn_team_create(threads, &team, NULL), QN_OK);
    assert_int_equal(qn_session_create(m, team, &s, NULL), QN_OK);
    run_ok(s, in, outs);
    *out = outs[0];
    copy = malloc(outs[0].bytes + 1);
    assert_non_null(copy);
    if (outs[0].bytes) memcpy(copy, outs[0].data, outs[0].bytes);
    qn_session_destroy(s);
    qn_team_destroy(team);
    return copy;
}

static void check(const layout *l, bool free_sizes)
{
    qn_model *fused = model_of(l, free_sizes, false), *apart = model_of(l, free_sizes, true);
    qn_tensor in[5], want, got;
    int64_t dims[4];
    int n = 0;
    void *expected;

    seed = (uint64_t)(l->m * 131 + l->n);
    for (int i = 0; i < 3; i++) {
        port(l, i, dims);
        in[n++] = tensor_of(QN_F32, 4, dims, floats(dims, 4, false));
    }
    if (l->mask[0]) in[n++] = tensor_of(QN_F32, 4, l->mask, floats(l->mask, 4, true));
    if (l->fill) {
        unsigned char *c = malloc((size_t)(l->m * l->n) + 1);

        assert_non_null(c);
        for (int64_t i = 0; i < l->m * l->n; i++) c[i] = next_float() < 0.3f;
        in[n++] = tensor_of(QN_BOOL, 2, (int64_t[]){ l->m, l->n }, c);
    }
    assert_true(has_attention(fused));
    assert_false(has_attention(apart));
    expected = answer(apart, in, 1, &want);
    for (int threads = 1; threads <= 3; threads++) {
        void *y = answer(fused, in, threads, &got);

        assert_int_equal(got.rank, want.rank);
        assert_memory_equal(got.dims, want.dims, 4 * sizeof *got.dims);
        assert_int_equal(got.bytes, want.bytes);
        if (got.bytes && memcmp(y, expected, got.bytes) != 0)
            fail_msg("other bits: b %d h %d m %d n %d d %d e %d, %d threads", (int)l->b, (int)l->h, (int)l->m, (int)l->n, (int)l->d,
                     (int)l->e, threads);
        free(y);
    }
    for (int i = 0; i < n; i++) free(in[i].data);
    free(expected);
    qn_model_unref(fused);
    qn_model_unref(apart);
}

static void attention_has_the_bits_of_its_nodes(void **state)
{
    static const layout cases[] = {
        { 2, 3, 5, 7, 4, 6, false, NO_SCALE, NO_FILL, { 0 }, false },
        { 2, 3, 5, 7, 4, 6, true, MUL, NO_FILL, { 0 }, false },
        { 1, 2, 60, 33, 17, 16, true, DIV, NO_FILL, { 1, 1, 60, 33 }, false },
        { 2, 2, 1, 19, 8, 8, true, DIV, NO_FILL, { 2, 1, 1, 19 }, false },
        { 2, 2, 57, 57, 8, 1, true, DIV, KEEP, { 2, 1, 1, 57 }, false },
        { 2, 2, 16, 16, 1, 8, true, MUL, FILL, { 0 }, false },
        { 1, 1, 113, 1, 3, 5, false, MUL, NO_FILL, { 1, 1, 113, 1 }, false },
        { 3, 2, 9, 11, 5, 5, true, MUL, NO_FILL, { 3, 2, 9, 11 }, true },
        { 3, 2, 9, 11, 5, 5, false, NO_SCALE, KEEP, { 1, 1, 1, 1 }, true },
        { 1, 2, 4, 11, 5, 5, false, NO_SCALE, NO_FILL, { 6, 1, 1, 11 }, false }, /* the mask makes the batch */
        { 1, 1, 3, 3000, 16, 16, true, MUL, NO_FILL, { 1, 1, 1, 3000 }, false }, /* rows longer than a tile likes */
        { 1, 2, 130, 128, 130, 129, true, MUL, NO_FILL, { 0 }, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check(&cases[i], false);
        check(&cases[i], true);
    }
}

static void no_rows_and_no_batch_give_nothing(void **state)
{
    const layout no_rows = { 2, 2, 0, 5, 4, 4, true, MUL, NO_FILL, { 0 }, false },
                 no_batch = { 0, 2, 3, 5, 4, 4, true, MUL, NO_FILL, { 0 }, false };

    (void)state;
    check(&no_rows, true);
    check(&no_batch, true);
}

static void sizes_that_clash_at_run_time_are_an_error(void **state)
{
    const layout l = { 2, 3, 5, 7, 4, 6, false, MUL, NO_FILL, { 1, 1, 5, 7 }, false };
    qn_model *m = model_of(&l, true, false);
    qn_session *s = session_ok(m);
    const float zeros[2 * 3 * 7 * 6] = { 0 };
    qn_error err = { 0 };
    qn_tensor out, in[4] = { F32(zeros, 2, 3, 5, 4), F32(zeros, 2, 3, 7, 4), F32(zeros, 2, 3, 7, 6), F32(zeros, 1, 1, 5, 7) };

    (void)state;
    assert_int_equal(qn_session_run(s, in, &out, NULL, &err), QN_OK);
    in[3] = F32(zeros, 1, 1, 5, 6);
    assert_int_equal(qn_session_run(s, in, &out, NULL, &err), QN_ERR_SHAPE);
    in[3] = F32(zeros, 1, 1, 5, 7);
    in[2] = F32(zeros, 2, 3, 6, 6);
    assert_int_equal(qn_session_run(s, in, &out, NULL, &err), QN_ERR_SHAPE);
    in[2] = F32(zeros, 2, 3, 7, 6);
    in[1] = F32(zeros, 2, 3, 7, 3);
    assert_int_equal(qn_session_run(s, in, &out, NULL, &err), QN_ERR_SHAPE);
    qn_session_destroy(s);
    qn_model_unref(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_has_the_bits_of_its_nodes),
        cmocka_unit_test(no_rows_and_no_batch_give_nothing),
        cmocka_unit_test(sizes_that_clash_at_run_time_are_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
