/* Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Concat, Split, Expand, Tile, Shape, Size, ConstantOfShape, Range: values, shapes as
 * expressions, and small integers carried by inference. */
#include "tests/unit/ops/op_harness.h"

#include "core/ops/ops.h"

/* -- helpers -------------------------------------------------------------------------------------------------------------- */

static void iota_f32(float *x, int n)
{
    for (int i = 0; i < n; i++) x[i] = (float)i;
}

static void assert_dims(const qn_tensor *t, int rank, const int64_t *dims)
{
    assert_int_equal(t->rank, rank);
    for (int a = 0; a < rank; a++) assert_int_equal(t->dims[a], dims[a]);
}
#define ASSERT_DIMS(t, ...) assert_dims(t, (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / 8), (const int64_t[]){ __VA_ARGS__ })

static void assert_type(op_test *t, int i, const char *want)
{
    char got[256] = "", one[64];

    for (int a = 0; a < t->out_type[i].rank; a++) {
        if (a) strcat(got, ",");
        strncat(got, qn_dims_print(t->graph.dims, t->out_type[i].dims[a], one, sizeof one), 60);
    }
    assert_string_equal(got, want);
}

static void assert_known(op_test *t, const char *want)
{
    char got[256] = "", one[64];

    assert_non_null(t->out_known[0]);
    for (int a = 0; a < t->out_known[0]->n; a++) {
        if (a) strcat(got, ",");
        strncat(got, qn_dims_print(t->graph.dims, t->out_known[0]->elems[a], one, sizeof one), 60);
    }
    assert_string_equal(got, want);
}

static qn_dim num(op_test *t, int64_t v) { return qn_dims_const(t->graph.dims, v); }
static qn_dim sym(op_test *t, const char *s) { return qn_dims_symbol(t->graph.dims, s); }

/* An input that inference sees only as a type. */
static void in_symbolic(op_test *t, qn_dtype dtype, int rank, const qn_dim *dims)
{
    float x[1] = { 0 };
    qn_tensor one = { .dtype = QN_F32, .rank = 1, .dims = { 1 }, .data = x, .bytes = 4 };
    int i = t->n_in;

    op_in(t, &one);
    t->in_type[i].dtype = dtype;
    t->in_type[i].rank = rank;
    for (int a = 0; a < rank; a++) t->in_type[i].dims[a] = dims[a];
    t->bound = false;
}
#define IN_SYMBOLIC(t, dtype, ...)                                                                                                         \
    in_symbolic(t, dtype, (int)(sizeof((qn_dim[]){ __VA_ARGS__ }) / sizeof(qn_dim)), (const qn_dim[]){ __VA_ARGS__ })

/* An i64 [n] input of which inference knows the elements (an expression, or -1 for unknown). */
static void in_known(op_test *t, int n, const qn_dim *elems)
{
    int i = t->n_in;
    qn_known *k = qn_arena_alloc(&t->graph.arena, sizeof *k);

    in_symbolic(t, QN_I64, n < 0 ? 0 : 1, (const qn_dim[]){ num(t, n) });
    k->rank = n < 0 ? 0 : 1;
    k->n = n < 0 ? 1 : n;
    k->elems = qn_arena_array(&t->graph.arena, (size_t)k->n + 1, sizeof *k->elems);
    for (int e = 0; e < k->n; e++) k->elems[e] = elems[e];
    t->in_known[i] = k;
}
#define IN_KNOWN(t, ...) in_known(t, (int)(sizeof((qn_dim[]){ __VA_ARGS__ }) / sizeof(qn_dim)), (const qn_dim[]){ __VA_ARGS__ })

static int32_t rows_of(op_test *t, const int32_t *in_axis)
{
    int32_t out[OP_MAX_IO];
    const qn_known *known[OP_MAX_IO];
    const qn_tensor *consts[OP_MAX_IO] = { NULL };
    qn_infer c = { .graph = &t->graph, .node = &t->node, .dims = t->graph.dims, .arena = &t->graph.arena };

    for (int i = 0; i < OP_MAX_IO; i++) out[i] = QN_ROWS_MIXED;
    for (int i = 0; i < t->n_in; i++) known[i] = t->in_known[i];
    c.in = t->in_type;
    c.in_known = known;
    c.in_const = consts;
    c.out = t->out_type;
    c.out_known = t->out_known;
    t->op->rows(&c, in_axis, out);
    return out[0];
}
#define ROWS(t, ...) rows_of(t, (const int32_t[]){ __VA_ARGS__ })

/* -- Reshape -------------------------------------------------------------------------------------------------------------- */

static void reshape_numbers(const int64_t *shape, int n, int64_t allowzero, qn_status want, op_test *t)
{
    float x[24];

    iota_f32(x, 24);
    op_begin(t, &qn_op_reshape, 14);
    op_in_f32(t, x, 3, 2, 3, 4);
    op_in_i64(t, shape, 1, n);
    op_attr_int(t, "allowzero", allowzero);
    assert_int_equal(op_run(t, 1, NULL), want);
}

static void a_reshape_fills_minus_one_and_keeps_zeros(void **state)
{
    static op_test t;

    (void)state;
    reshape_numbers((const int64_t[]){ 0, -1 }, 2, 0, QN_OK, &t);
    ASSERT_DIMS(&t.out[0], 2, 12);
    for (int i = 0; i < 24; i++) assert_float_equal(op_out_f32(&t, 0)[i], (float)i, 0);
    op_end(&t);
    reshape_numbers((const int64_t[]){ 4, 0, -1, 1 }, 4, 0, QN_OK, &t);
    ASSERT_DIMS(&t.out[0], 4, 3, 2, 1);
    op_end(&t);
}

static void a_reshape_that_cannot_be_is_refused_before_the_run_and_at_it(void **state)
{
    static const struct {
        int64_t shape[4];
        int n;
        int64_t allowzero;
    } bad[] = {
        { { -1, -1 }, 2, 0 },
        { { 5, -1 }, 2, 0 },
        { { 5, 5 }, 2, 0 },
        { { 2, 3, 4, 0 }, 4, 0 },
        { { 0, -1 }, 2, 1 },
        { { -2, -12 }, 2, 0 },
        { { INT64_MAX, INT64_MAX }, 2, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        qn_error err = { 0 };
        static op_test t;

        reshape_numbers(bad[i].shape, bad[i].n, bad[i].allowzero, QN_ERR_SHAPE, &t); /* inference sees the numbers */
        op_end(&t);
        if (i == 4) continue; /* -1 beside a 0 that is meant: only inference says it, the run finds 24 elements too many */
        op_begin(&t, &qn_op_reshape, 14);
        op_in_f32(&t, (float[24]){ 0 }, 3, 2, 3, 4);
        op_in_i64(&t, bad[i].shape, 1, bad[i].n);
        t.bound = false; /* now only the run does */
        assert_int_equal(op_run(&t, 1, &err), QN_ERR_SHAPE);
        assert_true(strlen(err.message) > 10);
        op_end(&t);
    }
}

static void allowzero_makes_an_empty_tensor(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_reshape, 14);
    op_in_f32(&t, (float[1]){ 0 }, 3, 2, 0, 4);
    op_in_i64(&t, (const int64_t[]){ 0, 7 }, 1, 2);
    op_attr_int(&t, "allowzero", 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 0, 7);
    op_end(&t);
}

static void reshape_keeps_the_batch_symbol(void **state)
{
    static op_test t;
    qn_dim n;

    (void)state;
    op_begin(&t, &qn_op_reshape, 13); /* x.view(x.size(0), -1) */
    n = sym(&t, "N");
    IN_SYMBOLIC(&t, QN_F32, n, num(&t, 16), num(&t, 5), num(&t, 5));
    IN_KNOWN(&t, n, num(&t, -1));
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_type(&t, 0, "N,400");
    assert_int_equal(ROWS(&t, 0, QN_ROWS_NONE), 0);
    op_end(&t);

    op_begin(&t, &qn_op_reshape, 13); /* attention heads: [N,S,H*64] -> [N,S,H,64] with an unknown element for H */
    n = sym(&t, "N");
    IN_SYMBOLIC(&t, QN_F32, n, sym(&t, "S"), num(&t, 768));
    IN_KNOWN(&t, n, sym(&t, "S"), QN_DIM_UNKNOWN, num(&t, 64));
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_type(&t, 0, "N,S,12,64");
    assert_int_equal(ROWS(&t, 0, QN_ROWS_NONE), 0);
    op_end(&t);

    op_begin(&t, &qn_op_reshape, 13); /* 0 keeps, -1 divides symbols */
    IN_SYMBOLIC(&t, QN_F32, sym(&t, "N"), sym(&t, "S"), num(&t, 6));
    IN_KNOWN(&t, num(&t, 0), num(&t, -1), num(&t, 2));
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_type(&t, 0, "N,3*S,2");
    op_end(&t);

    op_begin(&t, &qn_op_reshape, 13); /* rows folded into one axis are not rows any more */
    IN_SYMBOLIC(&t, QN_F32, num(&t, 4), sym(&t, "N"), num(&t, 6));
    IN_KNOWN(&t, num(&t, -1), num(&t, 6));
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_type(&t, 0, "4*N,6");
    assert_int_equal(ROWS(&t, 1, QN_ROWS_NONE), QN_ROWS_MIXED);
    op_end(&t);
}

static void two_unknown_dims_stay_unknown(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_reshape, 13);
    IN_SYMBOLIC(&t, QN_F32, sym(&t, "N"), num(&t, 6));
    IN_KNOWN(&t, QN_DIM_UNKNOWN, QN_DIM_UNKNOWN);
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_type(&t, 0, "?,?");
    op_end(&t);
}

static void a_view_of_strings_keeps_the_strings(void **state)
{
    const char *const s[] = { "a", "", "three", "four" };
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_reshape, 13);
    op_in_strings(&t, s, 4);
    op_in_i64(&t, (const int64_t[]){ 2, -1 }, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 2);
    for (int i = 0; i < 4; i++) assert_true(op_string_is(&t.out[0], i, s[i]));
    op_end(&t);
}

static void flatten_splits_at_any_axis(void **state)
{
    static const int64_t want[][3] = { { -3, 1, 24 }, { -1, 6, 4 }, { 0, 1, 24 }, { 1, 2, 12 }, { 2, 6, 4 }, { 3, 24, 1 } };
    static op_test t;

    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        op_begin(&t, &qn_op_flatten, 13);
        op_attr_int(&t, "axis", want[i][0]);
        op_in_f32(&t, (float[24]){ 0 }, 3, 2, 3, 4);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        ASSERT_DIMS(&t.out[0], want[i][1], want[i][2]);
        op_end(&t);
    }
    op_begin(&t, &qn_op_flatten, 13);
    op_attr_int(&t, "axis", 4);
    op_in_f32(&t, (float[24]){ 0 }, 3, 2, 3, 4);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

static void squeeze_and_unsqueeze_take_axes_from_attribute_or_input(void **state)
{
    const int64_t axes[] = { 0, -1 };
    static op_test t;

    (void)state;
    for (int old = 0; old < 2; old++) {
        op_begin(&t, &qn_op_squeeze, old ? 11 : 13);
        op_in_f32(&t, (float[]){ 1, 2, 3 }, 4, 1, 3, 1, 1);
        if (old)
            op_attr_ints(&t, "axes", axes, 2);
        else
            op_in_i64(&t, axes, 1, 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        ASSERT_DIMS(&t.out[0], 3, 1);
        op_end(&t);
        op_begin(&t, &qn_op_unsqueeze, old ? 11 : 13);
        op_in_f32(&t, (float[]){ 1, 2, 3 }, 1, 3);
        if (old)
            op_attr_ints(&t, "axes", axes, 2);
        else
            op_in_i64(&t, axes, 1, 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        ASSERT_DIMS(&t.out[0], 1, 3, 1);
        op_end(&t);
    }
    op_begin(&t, &qn_op_squeeze, 13); /* no axes: every 1 */
    op_in_f32(&t, (float[]){ 1, 2, 3 }, 4, 1, 3, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 3);
    op_end(&t);
}

static void bad_axes_are_refused(void **state)
{
    static const int64_t bad[][2] = { { 1, 0 }, { 0, 0 }, { 0, 9 }, { 0, -5 } }; /* size 3; twice; out of range */
    static op_test t;

    (void)state;
    for (int i = 0; i < 4; i++) {
        for (int bound = 0; bound < 2; bound++) {
            op_begin(&t, &qn_op_squeeze, 13);
            op_in_f32(&t, (float[]){ 1, 2, 3 }, 4, 1, 3, 1, 1);
            op_in_i64(&t, bad[i], 1, 2);
            t.bound = bound;
            assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
            op_end(&t);
        }
    }
}

/* -- Transpose, Concat, Split --------------------------------------------------------------------------------------------- */

static void transpose_moves_elements_and_the_batch_axis(void **state)
{
    const int64_t perm[] = { 2, 0, 1 };
    float x[24];
    static op_test t;

    (void)state;
    iota_f32(x, 24);
    op_begin(&t, &qn_op_transpose, 13);
    op_attr_ints(&t, "perm", perm, 3);
    op_in_f32(&t, x, 3, 2, 3, 4);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 4, 2, 3);
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 3; j++) assert_float_equal(op_out_f32(&t, 0)[(k * 2 + i) * 3 + j], x[(i * 3 + j) * 4 + k], 0);
    assert_int_equal(ROWS(&t, 0), 1);
    assert_int_equal(ROWS(&t, 2), 0);
    op_end(&t);
}

static void a_perm_that_is_none_is_refused(void **state)
{
    static const int64_t bad[][3] = { { 0, 1, 1 }, { 0, 1, 3 }, { 0, -1, 2 } };
    static op_test t;

    (void)state;
    for (int i = 0; i < 3; i++) {
        op_begin(&t, &qn_op_transpose, 13);
        op_attr_ints(&t, "perm", bad[i], 3);
        op_in_f32(&t, (float[24]){ 0 }, 3, 2, 3, 4);
        assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
        op_end(&t);
    }
}

static void transposed_strings_come_out_in_their_new_places(void **state)
{
    const char *const s[] = { "00", "01", "02", "10", "11", "12" }, *const want[] = { "00", "10", "01", "11", "02", "12" };
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_transpose, 13);
    op_in_strings(&t, s, 6);
    t.in[0].rank = t.in_type[0].rank = 2;
    t.in[0].dims[0] = 2, t.in[0].dims[1] = 3;
    t.in_type[0].dims[0] = num(&t, 2), t.in_type[0].dims[1] = num(&t, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 3, 2);
    for (int i = 0; i < 6; i++) assert_true(op_string_is(&t.out[0], i, want[i]));
    op_end(&t);
}

static void concat_joins_and_adds_symbols(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_concat, 13);
    op_attr_int(&t, "axis", -1);
    op_in_f32(&t, (float[]){ 1, 2, 3, 4 }, 2, 2, 2);
    op_in_f32(&t, (float[]){ 5, 6 }, 2, 2, 1);
    op_in_f32(&t, (float[1]){ 0 }, 2, 2, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 3);
    assert_memory_equal(t.out[0].data, ((const float[]){ 1, 2, 5, 3, 4, 6 }), 24);
    op_end(&t);

    op_begin(&t, &qn_op_concat, 13);
    op_attr_int(&t, "axis", 1);
    IN_SYMBOLIC(&t, QN_F32, sym(&t, "N"), sym(&t, "S"), QN_DIM_UNKNOWN);
    IN_SYMBOLIC(&t, QN_F32, sym(&t, "N"), num(&t, 1), num(&t, 8));
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_type(&t, 0, "N,S+1,8");
    assert_int_equal(ROWS(&t, 0, 0), 0);
    assert_int_equal(ROWS(&t, 0, QN_ROWS_NONE), QN_ROWS_MIXED);
    op_end(&t);
}

static void concat_of_unlike_shapes_is_refused(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_concat, 13);
    op_attr_int(&t, "axis", 0);
    op_in_f32(&t, (float[]){ 1, 2, 3, 4 }, 2, 2, 2);
    op_in_f32(&t, (float[]){ 5, 6, 7 }, 2, 1, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
    op_begin(&t, &qn_op_concat, 13); /* axis is required */
    op_in_f32(&t, (float[]){ 1, 2 }, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_INVALID);
    op_end(&t);
}

static void split_by_lengths_in_equal_parts_and_with_a_short_last_part(void **state)
{
    const float x[] = { 0, 1, 2, 3, 4, 5, 6 };
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_split, 13);
    op_in_f32(&t, x, 1, 7);
    op_in_i64(&t, (const int64_t[]){ 4, 0, 3 }, 1, 3);
    assert_int_equal(op_run(&t, 3, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 4);
    ASSERT_DIMS(&t.out[1], 0);
    assert_memory_equal(t.out[2].data, x + 4, 12);
    op_end(&t);

    op_begin(&t, &qn_op_split, 18);
    op_attr_int(&t, "num_outputs", 4);
    op_in_f32(&t, x, 1, 7);
    assert_int_equal(op_run(&t, 4, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2);
    ASSERT_DIMS(&t.out[3], 1);
    assert_float_equal(op_out_f32(&t, 3)[0], 6, 0);
    op_end(&t);

    op_begin(&t, &qn_op_split, 13);
    op_in_f32(&t, x, 2, 1, 6);
    op_attr_int(&t, "axis", 1);
    assert_int_equal(op_run(&t, 2, NULL), QN_OK);
    ASSERT_DIMS(&t.out[1], 1, 3);
    assert_memory_equal(t.out[1].data, x + 3, 12);
    op_end(&t);
}

static void lengths_that_do_not_add_up_are_refused(void **state)
{
    static const int64_t bad[][2] = { { 3, 3 }, { -1, 8 }, { INT64_MAX, 8 } };
    static op_test t;

    (void)state;
    for (int i = 0; i < 6; i++) {
        op_begin(&t, &qn_op_split, 13);
        op_in_f32(&t, (float[7]){ 0 }, 1, 7);
        op_in_i64(&t, bad[i / 2], 1, 2);
        t.bound = i & 1;
        assert_int_equal(op_run(&t, 2, NULL), QN_ERR_SHAPE);
        op_end(&t);
    }
    op_begin(&t, &qn_op_split, 13); /* 7 into 2 equal parts */
    op_in_f32(&t, (float[7]){ 0 }, 1, 7);
    assert_int_equal(op_run(&t, 2, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

/* -- Expand, Tile --------------------------------------------------------------------------------------------------------- */

static void expand_stretches_both_ways(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_expand, 13);
    op_in_f32(&t, (float[]){ 1, 2, 3 }, 2, 3, 1);
    op_in_i64(&t, (const int64_t[]){ 2, 1, 2 }, 1, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 3, 2);
    assert_memory_equal(t.out[0].data, ((const float[]){ 1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3 }), 48);
    op_end(&t);

    op_begin(&t, &qn_op_expand, 13);
    op_in_f32(&t, (float[]){ 1, 2, 3 }, 1, 3);
    op_in_i64(&t, (const int64_t[]){ 2 }, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_SHAPE);
    op_end(&t);
}

static void expand_to_a_symbol_is_that_symbol(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_expand, 13); /* a class token for every row */
    IN_SYMBOLIC(&t, QN_F32, num(&t, 1), num(&t, 1), num(&t, 768));
    IN_KNOWN(&t, sym(&t, "N"), num(&t, -1), num(&t, -1));
    assert_int_equal(op_infer(&t, 1, NULL), QN_ERR_SHAPE); /* -1 has no meaning in Expand */
    op_end(&t);
    op_begin(&t, &qn_op_expand, 13);
    IN_SYMBOLIC(&t, QN_F32, num(&t, 1), num(&t, 1), num(&t, 768));
    IN_KNOWN(&t, sym(&t, "N"), num(&t, 1), num(&t, 1));
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_type(&t, 0, "N,1,768");
    op_end(&t);
}

static void tile_repeats_along_each_axis(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_tile, 13);
    op_in_i8(&t, (const int8_t[]){ 1, 2, 3, 4 }, 2, 2, 2);
    op_in_i64(&t, (const int64_t[]){ 2, 3 }, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 4, 6);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 6; j++) assert_int_equal(op_out_i8(&t, 0)[i * 6 + j], 1 + i % 2 * 2 + j % 2);
    op_end(&t);

    op_begin(&t, &qn_op_tile, 13); /* a bomb is told before it is laid out */
    op_in_f32(&t, (float[4]){ 0 }, 2, 2, 2);
    op_in_i64(&t, (const int64_t[]){ INT64_MAX, 2 }, 1, 2);
    t.bound = false;
    assert_int_not_equal(op_run(&t, 1, NULL), QN_OK);
    op_end(&t);
}

/* -- known integers ------------------------------------------------------------------------------------------------------- */

static void shape_takes_part_of_the_dims(void **state)
{
    static const struct {
        int64_t start, end;
        const char *want;
    } cases[] = { { 0, 99, "N,3,4" }, { 1, 99, "3,4" }, { -1, 99, "4" }, { 0, -1, "N,3" }, { 2, 1, "" }, { -9, 1, "N" } };
    static op_test t;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        op_begin(&t, &qn_op_shape, 15);
        op_attr_int(&t, "start", cases[i].start);
        op_attr_int(&t, "end", cases[i].end);
        IN_SYMBOLIC(&t, QN_F32, sym(&t, "N"), num(&t, 3), num(&t, 4));
        assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
        assert_known(&t, cases[i].want);
        op_end(&t);
    }
    op_begin(&t, &qn_op_shape, 15);
    op_in_f32(&t, (float[6]){ 0 }, 2, 2, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const int64_t[]){ 2, 3 }), 16);
    op_end(&t);
}

static void size_is_the_product(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_size, 13);
    IN_SYMBOLIC(&t, QN_F32, sym(&t, "N"), num(&t, 3), num(&t, 4));
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_known(&t, "12*N");
    op_end(&t);
}

/* Shape -> Gather -> Unsqueeze -> Concat -> Slice, as PyTorch writes x.view(x.size(0), ...). */
static void shape_arithmetic_carries_expressions(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_gather, 13);
    IN_KNOWN(&t, sym(&t, "N"), num(&t, 3), sym(&t, "S"));
    in_known(&t, -1, (const qn_dim[]){ num(&t, -1) });
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_known(&t, "S");
    assert_int_equal(t.out_known[0]->rank, 0);
    op_end(&t);

    op_begin(&t, &qn_op_unsqueeze, 11);
    op_attr_ints(&t, "axes", (const int64_t[]){ 0 }, 1);
    in_known(&t, -1, (const qn_dim[]){ sym(&t, "S") });
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_known(&t, "S");
    assert_int_equal(t.out_known[0]->rank, 1);
    op_end(&t);

    op_begin(&t, &qn_op_concat, 13);
    op_attr_int(&t, "axis", 0);
    IN_KNOWN(&t, sym(&t, "N"));
    IN_SYMBOLIC(&t, QN_I64, num(&t, 2)); /* two elements nobody knows */
    IN_KNOWN(&t, num(&t, -1), num(&t, 7));
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_known(&t, "N,?,?,-1,7");
    op_end(&t);

    op_begin(&t, &qn_op_slice, 13);
    IN_KNOWN(&t, num(&t, 1), num(&t, 2), sym(&t, "N"), num(&t, 4));
    IN_KNOWN(&t, num(&t, -1));
    IN_KNOWN(&t, num(&t, INT64_MIN));
    IN_KNOWN(&t, num(&t, 0));
    IN_KNOWN(&t, num(&t, -2));
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_type(&t, 0, "2");
    assert_known(&t, "4,2");
    op_end(&t);

    op_begin(&t, &qn_op_squeeze, 11);
    IN_KNOWN(&t, sym(&t, "N"));
    op_attr_ints(&t, "axes", (const int64_t[]){ 0 }, 1);
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_known(&t, "N");
    assert_int_equal(t.out_known[0]->rank, 0);
    op_end(&t);
}

static void split_expand_tile_and_constants_carry_known_elements(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_split, 11);
    op_attr_ints(&t, "split", (const int64_t[]){ 1, 2 }, 2);
    IN_KNOWN(&t, sym(&t, "N"), num(&t, 3), num(&t, 4));
    assert_int_equal(op_infer(&t, 2, NULL), QN_OK);
    assert_known(&t, "N");
    assert_int_equal(t.out_known[1]->n, 2);
    op_end(&t);

    op_begin(&t, &qn_op_constant_of_shape, 13);
    IN_KNOWN(&t, num(&t, 3));
    op_attr_tensor(&t, "value", &(qn_tensor){ .dtype = QN_I64, .rank = 1, .dims = { 1 }, .data = &(int64_t){ -1 }, .bytes = 8 });
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_known(&t, "-1,-1,-1");
    op_end(&t);

    op_begin(&t, &qn_op_expand, 13);
    IN_KNOWN(&t, sym(&t, "N"));
    IN_KNOWN(&t, num(&t, 2));
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_known(&t, "N,N");
    op_end(&t);

    op_begin(&t, &qn_op_tile, 13);
    IN_KNOWN(&t, sym(&t, "N"), num(&t, 5));
    IN_KNOWN(&t, num(&t, 2));
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_known(&t, "N,5,N,5");
    op_end(&t);
}

static void a_range_over_a_symbol_has_its_length(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_range, 13); /* position ids */
    in_known(&t, -1, (const qn_dim[]){ num(&t, 0) });
    in_known(&t, -1, (const qn_dim[]){ sym(&t, "S") });
    in_known(&t, -1, (const qn_dim[]){ num(&t, 1) });
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_type(&t, 0, "S");
    op_end(&t);

    op_begin(&t, &qn_op_range, 13);
    in_known(&t, -1, (const qn_dim[]){ num(&t, 10) });
    in_known(&t, -1, (const qn_dim[]){ num(&t, 3) });
    in_known(&t, -1, (const qn_dim[]){ num(&t, -3) });
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_known(&t, "10,7,4");
    op_end(&t);
}

static void ranges_of_every_type(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_range, 13);
    op_in_f32(&t, (float[]){ 1 }, 0);
    op_in_f32(&t, (float[]){ 5 }, 0);
    op_in_f32(&t, (float[]){ 1.5f }, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 3);
    assert_memory_equal(t.out[0].data, ((const float[]){ 1, 2.5f, 4 }), 12);
    op_end(&t);

    op_begin(&t, &qn_op_range, 13);
    op_in_i64(&t, (int64_t[]){ INT64_MIN }, 0);
    op_in_i64(&t, (int64_t[]){ INT64_MAX }, 0);
    op_in_i64(&t, (int64_t[]){ INT64_MAX }, 0);
    t.bound = false;
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, ((const int64_t[]){ INT64_MIN, -1, INT64_MAX - 1 }), 24);
    op_end(&t);

    op_begin(&t, &qn_op_range, 13); /* no step: refused, bound or not */
    op_in_i32(&t, (int32_t[]){ 0 }, 0);
    op_in_i32(&t, (int32_t[]){ 3 }, 0);
    op_in_i32(&t, (int32_t[]){ 0 }, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_INVALID);
    t.bound = false;
    assert_int_equal(op_run(&t, 1, NULL), QN_ERR_INVALID);
    op_end(&t);
}

static void constants_of_a_shape_known_only_at_run_time(void **state)
{
    static op_test t;

    (void)state;
    op_begin(&t, &qn_op_constant_of_shape, 13);
    op_in_i64(&t, (const int64_t[]){ 2, 3 }, 1, 2);
    op_attr_tensor(&t, "value", &(qn_tensor){ .dtype = QN_F32, .rank = 1, .dims = { 1 }, .data = &(float){ 2.5f }, .bytes = 4 });
    t.bound = false;
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_true(t.run_made[0]);
    ASSERT_DIMS(&t.out[0], 2, 3);
    for (int i = 0; i < 6; i++) assert_float_equal(op_out_f32(&t, 0)[i], 2.5f, 0);
    op_end(&t);

    op_begin(&t, &qn_op_constant_of_shape, 13);
    op_in_i64(&t, (const int64_t[]){ INT64_MAX, INT64_MAX, 3 }, 1, 3);
    t.bound = false;
    assert_int_not_equal(op_run(&t, 1, NULL), QN_OK);
    op_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reshape_fills_minus_one_and_keeps_zeros),
        cmocka_unit_test(a_reshape_that_cannot_be_is_refused_before_the_run_and_at_it),
        cmocka_unit_test(allowzero_makes_an_empty_tensor),
        cmocka_unit_test(reshape_keeps_the_batch_symbol),
        cmocka_unit_test(two_unknown_dims_stay_unknown),
        cmocka_unit_test(a_view_of_strings_keeps_the_strings),
        cmocka_unit_test(flatten_splits_at_any_axis),
        cmocka_unit_test(squeeze_and_unsqueeze_take_axes_from_attribute_or_input),
        cmocka_unit_test(bad_axes_are_refused),
        cmocka_unit_test(transpose_moves_elements_and_the_batch_axis),
        cmocka_unit_test(a_perm_that_is_none_is_refused),
        cmocka_unit_test(transposed_strings_come_out_in_their_new_places),
        cmocka_unit_test(concat_joins_and_adds_symbols),
        cmocka_unit_test(concat_of_unlike_shapes_is_refused),
        cmocka_unit_test(split_by_lengths_in_equal_parts_and_with_a_short_last_part),
        cmocka_unit_test(lengths_that_do_not_add_up_are_refused),
        cmocka_unit_test(expand_stretches_both_ways),
        cmocka_unit_test(expand_to_a_symbol_is_that_symbol),
        cmocka_unit_test(tile_repeats_along_each_axis),
        cmocka_unit_test(shape_takes_part_of_the_dims),
        cmocka_unit_test(size_is_the_product),
        cmocka_unit_test(shape_arithmetic_carries_expressions),
        cmocka_unit_test(split_expand_tile_and_constants_carry_known_elements),
        cmocka_unit_test(a_range_over_a_symbol_has_its_length),
        cmocka_unit_test(ranges_of_every_type),
        cmocka_unit_test(constants_of_a_shape_known_only_at_run_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
