/* Sequences and optionals: every op by hand, the limits of positions, shapes and dtypes, and what inference knows. */
#include "tests/unit/ops/op_harness.h"

#include "core/ops/ops.h"

/* -- helpers -------------------------------------------------------------------------------------------------------------- */

/* A sequence input of i64 vectors: element k is [k * 10, ..., of length k + 1]. */
static void in_steps(op_test *t, int n)
{
    qn_items *s = op_in_items(t, QN_KIND_SEQUENCE, QN_KIND_TENSOR, QN_I64);
    int64_t v[16];

    for (int k = 0; k < n; k++) {
        qn_tensor x = op_view(QN_I64, v, 1, k + 1);

        for (int i = 0; i <= k; i++) v[i] = k * 10 + i;
        op_push(t, s, &x);
    }
}

static void in_position(op_test *t, int64_t at) { op_in_i64(t, &at, 0); }

/* The first numbers of the elements of output 0. */
static void assert_firsts(op_test *t, int64_t n, const int64_t *want)
{
    assert_true(t->items_out[0].present);
    assert_int_equal(t->items_out[0].n, n);
    for (int64_t i = 0; i < n; i++) assert_int_equal(*(const int64_t *)t->items_out[0].box[i]->tensor.data, want[i]);
}
#define ASSERT_FIRSTS(t, ...) assert_firsts(t, (int64_t)(sizeof((int64_t[]){ __VA_ARGS__ }) / 8), (const int64_t[]){ __VA_ARGS__ })

static void assert_refused(op_test *t, qn_status want, const char *text)
{
    qn_error err = { 0 };

    assert_int_equal(op_run(t, 1, &err), want);
    if (!strstr(err.message, text)) fail_msg("\"%s\" does not say \"%s\"", err.message, text);
    op_end(t);
}

static void assert_dims(const qn_tensor *t, int rank, const int64_t *dims)
{
    assert_int_equal(t->rank, rank);
    for (int a = 0; a < rank; a++) assert_int_equal(t->dims[a], dims[a]);
}
#define ASSERT_DIMS(t, ...) assert_dims(t, (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / 8), (const int64_t[]){ __VA_ARGS__ })

/* -- making and taking ---------------------------------------------------------------------------------------------------- */

static void an_empty_sequence_is_of_float_unless_it_says_so(void **state)
{
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_sequence_empty, 11);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].kind, QN_KIND_SEQUENCE);
    assert_int_equal(t.out_type[0].dtype, QN_F32);
    assert_firsts(&t, 0, NULL);
    op_end(&t);
    op_begin(&t, &qn_op_sequence_empty, 11);
    op_attr_int(&t, "dtype", 8);
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].dtype, QN_STRING);
    op_end(&t);
    op_begin(&t, &qn_op_sequence_empty, 11);
    op_attr_int(&t, "dtype", 14);
    assert_refused(&t, QN_ERR_UNSUPPORTED, "data type 14");
}

static void a_constructed_sequence_keeps_order_and_unlike_shapes(void **state)
{
    const float a[6] = { 1, 2, 3, 4, 5, 6 }, b[2] = { 7, 8 };
    const int64_t one = 1;
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_sequence_construct, 11);
    op_in_f32(&t, a, 2, 2, 3);
    op_in_f32(&t, b, 2, 2, 1);
    op_in_f32(&t, b, 1, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].rank, -1);
    assert_int_equal(t.items_out[0].n, 3);
    ASSERT_DIMS(&t.items_out[0].box[0]->tensor, 2, 3);
    assert_memory_equal(t.items_out[0].box[0]->tensor.data, a, sizeof a);
    assert_memory_equal(t.items_out[0].box[1]->tensor.data, b, sizeof b);
    ASSERT_DIMS(&t.items_out[0].box[2]->tensor, 0);
    op_end(&t);

    op_begin(&t, &qn_op_sequence_construct, 11);
    op_in_f32(&t, a, 2, 2, 3);
    op_in_f32(&t, a, 2, 2, 1);
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].rank, 2);
    assert_int_equal(t.out_type[0].dims[0], qn_dims_const(t.graph.dims, 2)); /* all agree */
    assert_int_equal(t.out_type[0].dims[1], QN_DIM_UNKNOWN);
    op_end(&t);

    op_begin(&t, &qn_op_sequence_construct, 11);
    op_in_f32(&t, a, 1, 6);
    op_in_i64(&t, &one, 1, 1);
    assert_refused(&t, QN_ERR_DTYPE, "input 1 is i64, input 0 is f32");
}

static void elements_are_reached_from_both_ends(void **state)
{
    op_test t;

    (void)state;
    for (int64_t at = -3; at < 3; at++) {
        const int64_t k = at < 0 ? at + 3 : at;

        op_begin(&t, &qn_op_sequence_at, 11);
        in_steps(&t, 3);
        in_position(&t, at);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        ASSERT_DIMS(&t.out[0], k + 1);
        assert_int_equal(op_out_i64(&t, 0)[k], k * 10 + k);
        op_end(&t);
    }
}

static void a_position_outside_is_refused_and_never_clamped(void **state)
{
    static const struct {
        const qn_op *op;
        int n;
        int64_t at;
    } cases[] = { { &qn_op_sequence_at, 3, 3 },     { &qn_op_sequence_at, 3, -4 },        { &qn_op_sequence_at, 0, 0 },
                  { &qn_op_sequence_at, 0, -1 },    { &qn_op_sequence_at, 3, INT64_MAX }, { &qn_op_sequence_at, 3, INT64_MIN },
                  { &qn_op_sequence_erase, 3, 3 },  { &qn_op_sequence_erase, 3, -4 },     { &qn_op_sequence_erase, 0, 0 },
                  { &qn_op_sequence_insert, 3, 4 }, { &qn_op_sequence_insert, 3, -4 },    { &qn_op_sequence_insert, 0, 1 },
                  { &qn_op_sequence_insert, 0, -1 } };
    const int64_t x = 99;
    op_test t;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        op_begin(&t, cases[i].op, 11);
        in_steps(&t, cases[i].n);
        if (cases[i].op == &qn_op_sequence_insert) op_in_i64(&t, &x, 1, 1);
        in_position(&t, cases[i].at);
        assert_refused(&t, QN_ERR_RANGE, "position");
    }
    op_begin(&t, &qn_op_sequence_at, 11);
    in_steps(&t, 3);
    op_in_i64(&t, (const int64_t[]){ 0, 1 }, 1, 2);
    assert_refused(&t, QN_ERR_SHAPE, "position has 2 elements");
    op_begin(&t, &qn_op_sequence_at, 11);
    in_steps(&t, 3);
    op_in_f32(&t, (const float[]){ 0 }, 0);
    assert_refused(&t, QN_ERR_DTYPE, "f32");
}

static void inserting_shares_what_was_there(void **state)
{
    const int64_t x = 99;
    const int32_t back = -1;
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_sequence_insert, 11);
    in_steps(&t, 3);
    op_in_i64(&t, &x, 1, 1);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_FIRSTS(&t, 0, 10, 20, 99);
    assert_ptr_equal(t.items_out[0].box[1], t.items_in[0].box[1]);
    assert_int_equal(t.items_in[0].n, 3);
    op_end(&t);

    op_begin(&t, &qn_op_sequence_insert, 11);
    in_steps(&t, 3);
    op_in_i64(&t, &x, 1, 1);
    in_position(&t, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_FIRSTS(&t, 99, 0, 10, 20);
    op_end(&t);

    op_begin(&t, &qn_op_sequence_insert, 11);
    in_steps(&t, 3);
    op_in_i64(&t, &x, 1, 1);
    op_in_i32(&t, &back, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_FIRSTS(&t, 0, 10, 99, 20);
    op_end(&t);

    op_begin(&t, &qn_op_sequence_insert, 11);
    in_steps(&t, 3);
    op_in_f32(&t, (const float[]){ 1 }, 1, 1);
    assert_refused(&t, QN_ERR_DTYPE, "a tensor of f32 into a sequence of i64");

    op_begin(&t, &qn_op_sequence_insert, 11);
    op_in_i64(&t, &x, 1, 1);
    op_in_i64(&t, &x, 1, 1);
    assert_refused(&t, QN_ERR_DTYPE, "input 0 is a tensor, expected a sequence");
}

static void an_insert_beyond_the_memory_of_the_session_is_refused(void **state)
{
    static const int64_t x[1000];
    qn_error err = { 0 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_sequence_insert, 11);
    in_steps(&t, 1);
    op_in_i64(&t, x, 1, 1000);
    t.meter.limit_bytes = t.meter.bytes + 1000;
    assert_int_equal(op_run(&t, 1, &err), QN_ERR_LIMIT);
    op_end(&t);
}

static void erasing_takes_the_last_one_by_default(void **state)
{
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_sequence_erase, 11);
    in_steps(&t, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_FIRSTS(&t, 0, 10);
    op_end(&t);
    op_begin(&t, &qn_op_sequence_erase, 11);
    in_steps(&t, 3);
    in_position(&t, -2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_FIRSTS(&t, 0, 20);
    op_end(&t);
    op_begin(&t, &qn_op_sequence_erase, 11);
    in_steps(&t, 0);
    assert_refused(&t, QN_ERR_RANGE, "empty");
}

static void the_length_is_a_scalar(void **state)
{
    op_test t;

    (void)state;
    for (int n = 0; n < 4; n++) {
        op_begin(&t, &qn_op_sequence_length, 11);
        in_steps(&t, n);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].rank, 0);
        assert_int_equal(op_out_i64(&t, 0)[0], n);
        op_end(&t);
    }
}

static void what_all_elements_share_is_known_of_one(void **state)
{
    op_test t;
    qn_dim n;

    (void)state;
    op_begin(&t, &qn_op_sequence_at, 11);
    op_in_items(&t, QN_KIND_SEQUENCE, QN_KIND_TENSOR, QN_F16);
    n = qn_dims_symbol(t.graph.dims, "N");
    t.in_type[0].rank = 2;
    t.in_type[0].dims[0] = n;
    t.in_type[0].dims[1] = QN_DIM_UNKNOWN;
    in_position(&t, 0);
    assert_int_equal(op_infer(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].kind, QN_KIND_TENSOR);
    assert_int_equal(t.out_type[0].dtype, QN_F16);
    assert_int_equal(t.out_type[0].rank, 2);
    assert_int_equal(t.out_type[0].dims[0], n);
    op_end(&t);
}

/* -- cutting and joining -------------------------------------------------------------------------------------------------- */

static void begin_split(op_test *t, int64_t axis)
{
    static const float x[15] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 };

    op_begin(t, &qn_op_split_to_sequence, 11);
    op_attr_int(t, "axis", axis);
    op_in_f32(t, x, 2, 3, 5);
}

static void split_of_one_length_leaves_a_short_last_piece(void **state)
{
    const int64_t two = 2, five = 5, nine = 9;
    op_test t;

    (void)state;
    begin_split(&t, 1);
    op_in_i64(&t, &two, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].rank, 2);
    assert_int_equal(t.items_out[0].n, 3);
    ASSERT_DIMS(&t.items_out[0].box[1]->tensor, 3, 2);
    assert_memory_equal(t.items_out[0].box[1]->tensor.data, ((const float[]){ 2, 3, 7, 8, 12, 13 }), 24);
    ASSERT_DIMS(&t.items_out[0].box[2]->tensor, 3, 1);
    assert_memory_equal(t.items_out[0].box[2]->tensor.data, ((const float[]){ 4, 9, 14 }), 12);
    op_end(&t);
    for (int i = 0; i < 2; i++) {
        begin_split(&t, -1);
        op_attr_int(&t, "keepdims", 0); /* says nothing beside split */
        op_in_i64(&t, i ? &nine : &five, 0);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.items_out[0].n, 1);
        ASSERT_DIMS(&t.items_out[0].box[0]->tensor, 3, 5);
        op_end(&t);
    }
}

static void split_by_a_list_must_add_up(void **state)
{
    static const struct {
        int32_t v[3];
        qn_status st;
        const char *text;
    } bad[] = { { { 1, 1, 2 }, QN_ERR_SHAPE, "add up to 4" },
                { { 6, -1, 0 }, QN_ERR_SHAPE, "split[1] is -1" },
                { { 2, 2, 2 }, QN_ERR_SHAPE, "add up to 6" } };
    op_test t;

    (void)state;
    begin_split(&t, 1);
    op_in_i32(&t, (const int32_t[]){ 4, 0, 1 }, 1, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.items_out[0].n, 3);
    ASSERT_DIMS(&t.items_out[0].box[0]->tensor, 3, 4);
    ASSERT_DIMS(&t.items_out[0].box[1]->tensor, 3, 0);
    assert_memory_equal(t.items_out[0].box[2]->tensor.data, ((const float[]){ 4, 9, 14 }), 12);
    op_end(&t);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        begin_split(&t, 1);
        op_in_i32(&t, bad[i].v, 1, 3);
        assert_refused(&t, bad[i].st, bad[i].text);
    }
    for (int64_t v = 0; v > -2; v--) {
        begin_split(&t, 1);
        op_in_i64(&t, &v, 0);
        assert_refused(&t, QN_ERR_SHAPE, "expected 1 or more");
    }
}

static void split_without_lengths_may_take_the_axis_out(void **state)
{
    op_test t;

    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        begin_split(&t, 0);
        op_attr_int(&t, "keepdims", keep);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out_type[0].rank, keep ? 2 : 1);
        assert_int_equal(t.items_out[0].n, 3);
        if (keep)
            ASSERT_DIMS(&t.items_out[0].box[2]->tensor, 1, 5);
        else
            ASSERT_DIMS(&t.items_out[0].box[2]->tensor, 5);
        assert_memory_equal(t.items_out[0].box[2]->tensor.data, ((const float[]){ 10, 11, 12, 13, 14 }), 20);
        op_end(&t);
    }
    begin_split(&t, 2);
    assert_refused(&t, QN_ERR_SHAPE, "axis");
    op_begin(&t, &qn_op_split_to_sequence, 11);
    op_in_f32(&t, (const float[]){ 1 }, 0);
    assert_refused(&t, QN_ERR_SHAPE, "axis");
}

static void an_axis_of_nothing_gives_no_pieces_and_a_long_one_is_bounded(void **state)
{
    op_test t;
    qn_tensor huge = { .dtype = QN_F32, .rank = 2, .dims = { (int64_t)1 << 40, 0 } };

    (void)state;
    op_begin(&t, &qn_op_split_to_sequence, 11);
    op_in_f32(&t, NULL, 2, 0, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_firsts(&t, 0, NULL);
    op_end(&t);
    op_begin(&t, &qn_op_split_to_sequence, 11);
    op_in(&t, &huge);
    assert_refused(&t, QN_ERR_LIMIT, "session");
}

static void strings_are_cut_and_joined(void **state)
{
    const char *const words[] = { "a", "", "ccc", "dd", "e", "ffff" };
    const int64_t two = 2;
    static op_test t, u; /* two are too much for a frame */

    (void)state;
    op_begin(&t, &qn_op_split_to_sequence, 11);
    op_attr_int(&t, "axis", 1);
    op_in_strings(&t, words, 6);
    t.in[0].rank = t.in_type[0].rank = 2;
    t.in[0].dims[0] = 2;
    t.in[0].dims[1] = 3;
    for (int a = 0; a < 2; a++) t.in_type[0].dims[a] = qn_dims_const(t.graph.dims, t.in[0].dims[a]);
    op_in_i64(&t, &two, 0);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.items_out[0].n, 2);
    ASSERT_DIMS(&t.items_out[0].box[0]->tensor, 2, 2);
    assert_true(op_string_is(&t.items_out[0].box[0]->tensor, 0, "a"));
    assert_true(op_string_is(&t.items_out[0].box[0]->tensor, 2, "dd"));
    assert_true(op_string_is(&t.items_out[0].box[1]->tensor, 0, "ccc"));
    assert_true(op_string_is(&t.items_out[0].box[1]->tensor, 1, "ffff"));

    op_begin(&u, &qn_op_concat_from_sequence, 11);
    op_attr_int(&u, "axis", -1);
    op_in_items(&u, QN_KIND_SEQUENCE, QN_KIND_TENSOR, QN_STRING);
    for (int i = 0; i < 2; i++) op_push(&u, &u.items_in[0], &t.items_out[0].box[i]->tensor);
    assert_int_equal(op_run(&u, 1, NULL), QN_OK);
    ASSERT_DIMS(&u.out[0], 2, 3);
    for (int i = 0; i < 6; i++) assert_true(op_string_is(&u.out[0], i, words[i]));
    op_end(&u);
    op_end(&t);
}

/* A sequence of two f32 [2, 3] tensors, the second from 6 on; narrow: it is [2, 2]. */
static void begin_concat(op_test *t, int64_t axis, int64_t new_axis, bool narrow)
{
    static const float x[12] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 };
    qn_tensor a = op_view(QN_F32, x, 2, 2, 3), b = op_view(QN_F32, x + 6, 2, 2, narrow ? 2 : 3);
    qn_items *s;

    op_begin(t, &qn_op_concat_from_sequence, 11);
    op_attr_int(t, "axis", axis);
    op_attr_int(t, "new_axis", new_axis);
    s = op_in_items(t, QN_KIND_SEQUENCE, QN_KIND_TENSOR, QN_F32);
    op_push(t, s, &a);
    op_push(t, s, &b);
}

static void sequences_are_joined_along_an_axis_or_stacked_on_a_new_one(void **state)
{
    op_test t;

    (void)state;
    begin_concat(&t, 1, 0, true);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 5);
    assert_memory_equal(t.out[0].data, ((const float[]){ 0, 1, 2, 6, 7, 3, 4, 5, 8, 9 }), 40);
    op_end(&t);
    begin_concat(&t, -3, 1, false);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2, 2, 3);
    assert_memory_equal(t.out[0].data, ((const float[]){ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 }), 48);
    op_end(&t);
    begin_concat(&t, 2, 1, false);
    t.in_type[0].rank = 2;
    t.in_type[0].dims[0] = t.in_type[0].dims[1] = QN_DIM_UNKNOWN;
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].rank, 3);
    ASSERT_DIMS(&t.out[0], 2, 3, 2);
    assert_memory_equal(t.out[0].data, ((const float[]){ 0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11 }), 48);
    op_end(&t);
}

static void what_does_not_join_is_refused(void **state)
{
    op_test t;

    (void)state;
    begin_concat(&t, 0, 0, true);
    assert_refused(&t, QN_ERR_SHAPE, "element 1 is f32 [2,2], which does not join f32 [2,3] along axis 0");
    begin_concat(&t, 1, 1, true);
    assert_refused(&t, QN_ERR_SHAPE, "does not join");
    begin_concat(&t, 2, 0, false);
    assert_refused(&t, QN_ERR_SHAPE, "axis");
    begin_concat(&t, 3, 1, false);
    assert_refused(&t, QN_ERR_SHAPE, "axis");
    begin_concat(&t, 0, 2, false);
    assert_refused(&t, QN_ERR_INVALID, "new_axis is 2");
    begin_concat(&t, 0, 0, false);
    qn_items_clear(&t.items_in[0]);
    assert_refused(&t, QN_ERR_SHAPE, "empty");
    begin_concat(&t, 0, 0, false);
    t.attrs[0].name = "other";
    assert_refused(&t, QN_ERR_INVALID, "attribute axis is missing");
}

/* -- optionals ------------------------------------------------------------------------------------------------------------ */

static void an_optional_holds_a_tensor_a_sequence_or_nothing(void **state)
{
    const float x[2] = { 1, 2 };
    qn_type held = { .kind = QN_KIND_SEQUENCE, .dtype = QN_F32, .rank = -1 };
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_optional, 15);
    op_in_f32(&t, x, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].kind, QN_KIND_OPTIONAL);
    assert_int_equal(t.out_type[0].of, QN_KIND_TENSOR);
    assert_true(t.items_out[0].present);
    assert_int_equal(t.items_out[0].n, 1);
    op_end(&t);

    op_begin(&t, &qn_op_optional, 15);
    in_steps(&t, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].of, QN_KIND_SEQUENCE);
    ASSERT_FIRSTS(&t, 0, 10, 20);
    op_end(&t);

    op_begin(&t, &qn_op_optional, 15);
    op_attr(&t, "type", QN_ATTR_TYPE, 0)->ty = &held;
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].kind, QN_KIND_OPTIONAL);
    assert_int_equal(t.out_type[0].of, QN_KIND_SEQUENCE);
    assert_false(t.items_out[0].present);
    op_end(&t);

    op_begin(&t, &qn_op_optional, 15);
    assert_refused(&t, QN_ERR_INVALID, "neither an input nor the attribute type");
    op_begin(&t, &qn_op_optional, 15);
    op_in_items(&t, QN_KIND_OPTIONAL, QN_KIND_TENSOR, QN_F32);
    assert_refused(&t, QN_ERR_DTYPE, "an optional that holds an optional");
}

static void an_optional_says_whether_it_holds_something(void **state)
{
    const float x[2] = { 1, 2 };
    qn_tensor e = op_view(QN_F32, x, 1, 2);
    op_test t;

    (void)state;
    for (int i = 0; i < 6; i++) {
        op_begin(&t, &qn_op_optional_has_element, i < 2 ? 15 : 18);
        if (i == 0) op_in_items(&t, QN_KIND_OPTIONAL, QN_KIND_TENSOR, QN_F32);
        if (i == 1) op_push(&t, op_in_items(&t, QN_KIND_OPTIONAL, QN_KIND_TENSOR, QN_F32), &e);
        if (i == 2) op_in_none(&t);
        if (i == 3) in_steps(&t, 0); /* an empty sequence is there */
        if (i == 4) op_in_f32(&t, x, 1, 2);
        assert_int_equal(op_run(&t, 1, NULL), QN_OK);
        assert_int_equal(t.out[0].rank, 0);
        assert_int_equal(op_out_bool(&t, 0)[0], i == 1 || i == 3 || i == 4);
        op_end(&t);
    }
}

static void what_an_optional_holds_comes_out_as_it_went_in(void **state)
{
    const float x[2] = { 1, 2 };
    qn_tensor e = op_view(QN_F32, x, 1, 2);
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_optional_get_element, 15);
    op_push(&t, op_in_items(&t, QN_KIND_OPTIONAL, QN_KIND_TENSOR, QN_F32), &e);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    ASSERT_DIMS(&t.out[0], 2);
    assert_memory_equal(t.out[0].data, x, sizeof x);
    op_end(&t);

    op_begin(&t, &qn_op_optional_get_element, 15);
    in_steps(&t, 3);
    t.in_type[0].kind = QN_KIND_OPTIONAL;
    t.in_type[0].of = QN_KIND_SEQUENCE;
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].kind, QN_KIND_SEQUENCE);
    ASSERT_FIRSTS(&t, 0, 10, 20);
    op_end(&t);

    op_begin(&t, &qn_op_optional_get_element, 18);
    op_in_f32(&t, x, 1, 2);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_memory_equal(t.out[0].data, x, sizeof x);
    op_end(&t);

    op_begin(&t, &qn_op_optional_get_element, 18);
    op_in_items(&t, QN_KIND_OPTIONAL, QN_KIND_TENSOR, QN_F32);
    assert_refused(&t, QN_ERR_INVALID, "empty");
    op_begin(&t, &qn_op_optional_get_element, 18);
    op_in_none(&t);
    assert_refused(&t, QN_ERR_INVALID, "left out");
}

static void identity_passes_sequences_and_optionals(void **state)
{
    op_test t;

    (void)state;
    op_begin(&t, &qn_op_identity, 16);
    in_steps(&t, 3);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].kind, QN_KIND_SEQUENCE);
    ASSERT_FIRSTS(&t, 0, 10, 20);
    op_end(&t);
    op_begin(&t, &qn_op_identity, 16);
    op_in_items(&t, QN_KIND_OPTIONAL, QN_KIND_SEQUENCE, QN_F32);
    assert_int_equal(op_run(&t, 1, NULL), QN_OK);
    assert_int_equal(t.out_type[0].of, QN_KIND_SEQUENCE);
    assert_false(t.items_out[0].present);
    op_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_sequence_is_of_float_unless_it_says_so),
        cmocka_unit_test(a_constructed_sequence_keeps_order_and_unlike_shapes),
        cmocka_unit_test(elements_are_reached_from_both_ends),
        cmocka_unit_test(a_position_outside_is_refused_and_never_clamped),
        cmocka_unit_test(inserting_shares_what_was_there),
        cmocka_unit_test(an_insert_beyond_the_memory_of_the_session_is_refused),
        cmocka_unit_test(erasing_takes_the_last_one_by_default),
        cmocka_unit_test(the_length_is_a_scalar),
        cmocka_unit_test(what_all_elements_share_is_known_of_one),
        cmocka_unit_test(split_of_one_length_leaves_a_short_last_piece),
        cmocka_unit_test(split_by_a_list_must_add_up),
        cmocka_unit_test(split_without_lengths_may_take_the_axis_out),
        cmocka_unit_test(an_axis_of_nothing_gives_no_pieces_and_a_long_one_is_bounded),
        cmocka_unit_test(strings_are_cut_and_joined),
        cmocka_unit_test(sequences_are_joined_along_an_axis_or_stacked_on_a_new_one),
        cmocka_unit_test(what_does_not_join_is_refused),
        cmocka_unit_test(an_optional_holds_a_tensor_a_sequence_or_nothing),
        cmocka_unit_test(an_optional_says_whether_it_holds_something),
        cmocka_unit_test(what_an_optional_holds_comes_out_as_it_went_in),
        cmocka_unit_test(identity_passes_sequences_and_optionals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
