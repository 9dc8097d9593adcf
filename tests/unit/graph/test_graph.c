/* tests/unit/graph/test_graph.c - building, copying, ordering, checking and inferring a graph. */
#include "tests/unit/graph/fake.h"

static qn_graph *small(void)
{
    qn_graph *g = new_graph();

    input(g, "x", QN_F32, "N,4");
    op(g, 13, "Relu", "x", "a", 0);
    op(g, 13, "Add", "a,x", "y", 0);
    output(g, "y");
    return g;
}

static void give_rows(qn_graph *g, qn_stage stage)
{
    for (int32_t i = 0; i < g->n_nodes; i++)
        g->nodes[i].op = qn_op_find(g->ops, g->nodes[i].domain, g->nodes[i].op_type, g->nodes[i].opset, NULL);
    g->stage = stage;
}

/* -- building ------------------------------------------------------------------------------------------------------------- */

static void a_name_is_taken_once(void **state)
{
    qn_graph *g = new_graph();
    qn_value_id v;
    qn_error err = { 0 };

    (void)state;
    assert_int_equal(qn_graph_add_value(g, "x", &v, &err), QN_OK);
    assert_int_equal(qn_graph_add_value(g, "x", &v, &err), QN_ERR_INVALID);
    assert_non_null(strstr(err.message, "x is defined twice"));
    qn_graph_destroy(g);
}

static void temps_have_fresh_names(void **state)
{
    qn_graph *g = new_graph();
    qn_value_id a, b, taken;

    (void)state;
    assert_int_equal(qn_graph_add_value(g, "t/1", &taken, NULL), QN_OK);
    assert_int_equal(qn_graph_add_temp(g, "t", &a, NULL), QN_OK);
    assert_int_equal(qn_graph_add_temp(g, "t", &b, NULL), QN_OK);
    assert_string_not_equal(g->values[a].name, g->values[b].name);
    assert_string_not_equal(g->values[taken].name, g->values[b].name);
    qn_graph_destroy(g);
}

static void emit_needs_a_row(void **state)
{
    qn_graph *g = new_graph();
    qn_value_id x = val(g, "x"), y = val(g, "y");
    qn_node_id id;
    qn_error err = { 0 };

    (void)state;
    assert_int_equal(qn_graph_emit(g, "", "Relu", 13, "r", &x, 1, &y, 1, NULL, 0, &id, &err), QN_OK);
    assert_ptr_equal(g->nodes[id].op, &fake_relu);
    assert_int_equal(g->values[y].producer, id);
    assert_int_equal(qn_graph_emit(g, "", "Frobnicate", 13, "r2", &x, 1, &y, 1, NULL, 0, &id, &err), QN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "Frobnicate"));
    assert_non_null(strstr(err.message, "unsupported"));
    qn_graph_destroy(g);
}

static void uses_count_readers_and_outputs(void **state)
{
    qn_graph *g = small();

    (void)state;
    assert_int_equal(qn_graph_n_uses(g, val(g, "x")), 2);
    assert_int_equal(qn_graph_n_uses(g, val(g, "y")), 1);
    assert_int_equal(qn_graph_only_user(g, val(g, "a")), 1);
    assert_int_equal(qn_graph_only_user(g, val(g, "x")), QN_NONE);
    assert_int_equal(qn_graph_only_user(g, val(g, "y")), QN_NONE);
    qn_graph_replace_uses(g, val(g, "a"), val(g, "x"));
    assert_int_equal(qn_graph_n_uses(g, val(g, "x")), 3);
    qn_graph_destroy(g);
}

static void sweep_takes_what_nothing_needs(void **state)
{
    qn_graph *g = small();

    (void)state;
    scalar(g, "w", 1);
    op(g, 13, "Add", "x,w", "dead1", 0);
    op(g, 13, "Relu", "dead1", "dead2", 0);
    assert_int_equal(qn_graph_sort(g, NULL), QN_OK);
    assert_int_equal(g->n_order, 4);
    qn_graph_sweep(g);
    assert_int_equal(qn_graph_sort(g, NULL), QN_OK);
    assert_ops(g, "Relu Add");
    assert_true(g->values[val(g, "w")].dead);
    assert_null(g->values[val(g, "w")].weight);
    assert_false(g->values[val(g, "a")].dead);
    assert_int_equal(qn_graph_verify(g, NULL), QN_OK);
    qn_graph_destroy(g);
}

static void a_clone_is_deep_and_shares_weights(void **state)
{
    qn_graph *g = small(), *c, *sub;
    const int64_t three = 3;
    qn_node_id id;
    const qn_attr *a;

    (void)state;
    floats(g, "w", 1, &three, 0);
    id = op(g, 13, "If", "x", "z", 2);
    assert_int_equal(qn_graph_create(&fake_ops, g, "then", &sub, NULL), QN_OK);
    g->nodes[id].attrs[0] = (qn_attr){ .name = "then_branch", .type = QN_ATTR_GRAPH, .g = sub };
    attr_int(g, id, 1, "k", 7);
    val(sub, "inner");
    sub->captures = qn_arena_alloc(&sub->arena, sizeof *sub->captures);
    sub->captures[0].inner = 0;
    sub->captures[0].outer = val(g, "a");
    sub->n_captures = 1;
    assert_int_equal(qn_graph_clone(g, QN_STAGE_CANONICAL, &c, NULL), QN_OK);
    assert_int_equal(qn_graph_n_uses(c, val(c, "a")), 2);
    assert_int_equal(c->stage, QN_STAGE_CANONICAL);
    assert_ptr_equal(c->values[val(c, "w")].weight, g->values[val(g, "w")].weight);
    a = qn_node_attr(&c->nodes[id], "then_branch");
    assert_ptr_not_equal(a->g, sub);
    assert_ptr_equal(a->g->outer, c);
    assert_ptr_equal(a->g->dims, c->dims);
    qn_graph_destroy(g);
    assert_string_equal(a->g->values[0].name, "inner");
    assert_int_equal(qn_node_int(&c->nodes[id], "k", 0), 7);
    qn_graph_destroy(c);
}

static void nesting_ends_at_32(void **state)
{
    qn_graph *g = new_graph(), *outer = g, *sub, *copy;

    (void)state;
    for (int i = 1; i < QN_GRAPH_MAX_DEPTH; i++) {
        qn_node_id id = op(outer, 13, "If", "", "", 1);

        assert_int_equal(qn_graph_create(&fake_ops, outer, "sub", &sub, NULL), QN_OK);
        outer->nodes[id].attrs[0] = (qn_attr){ .name = "body", .type = QN_ATTR_GRAPH, .g = sub };
        outer = sub;
    }
    assert_int_equal(qn_graph_create(&fake_ops, outer, "sub", &sub, NULL), QN_ERR_LIMIT);
    assert_null(sub);
    assert_int_equal(qn_graph_clone(g, QN_STAGE_IMPORT, &copy, NULL), QN_OK);
    qn_graph_destroy(copy);
    qn_graph_destroy(g);
}

/* -- sorting and checking ------------------------------------------------------------------------------------------------- */

static void a_sorted_file_stays_as_it_is(void **state)
{
    qn_graph *g = small();

    (void)state;
    assert_int_equal(qn_graph_sort(g, NULL), QN_OK);
    assert_int_equal(g->order[0], 0);
    assert_int_equal(g->order[1], 1);
    qn_graph_destroy(g);
}

static void a_late_node_runs_before_its_reader(void **state)
{
    qn_graph *g = new_graph();

    (void)state;
    input(g, "x", QN_F32, "N");
    op(g, 13, "Relu", "late", "y", 0);
    op(g, 13, "Erf", "x", "late", 0);
    output(g, "y");
    assert_int_equal(qn_graph_sort(g, NULL), QN_OK);
    assert_ops(g, "Erf Relu");
    qn_graph_destroy(g);
}

static void a_cycle_is_named(void **state)
{
    qn_graph *g = new_graph();
    qn_error err = { 0 };

    (void)state;
    input(g, "x", QN_F32, "N");
    op(g, 13, "Add", "x,c", "b", 0);
    op(g, 13, "Relu", "b", "c", 0);
    output(g, "c");
    assert_int_equal(qn_graph_sort(g, &err), QN_ERR_INVALID);
    assert_non_null(strstr(err.message, "cycle"));
    qn_graph_destroy(g);
}

static void a_missing_producer_is_named(void **state)
{
    qn_graph *g = new_graph();
    qn_error err = { 0 };

    (void)state;
    op(g, 13, "Relu", "nowhere", "y", 0);
    assert_int_equal(qn_graph_sort(g, &err), QN_ERR_INVALID);
    assert_non_null(strstr(err.message, "nowhere"));
    qn_graph_destroy(g);
}

static void a_chain_of_100000_nodes_sorts_and_sweeps(void **state)
{
    qn_graph *g = new_graph();
    qn_op_index ops;
    char a[24] = "x", b[24];

    (void)state;
    input(g, "x", QN_F32, "N");
    for (int i = 0; i < 100000; i++) {
        snprintf(b, sizeof b, "v%d", i);
        op(g, 13, "Relu", a, b, 0);
        memcpy(a, b, sizeof a);
    }
    output(g, a);
    for (int i = 0; i < g->n_nodes / 2; i++) { /* the worst order for a recursive walk */
        qn_node n = g->nodes[i];

        g->nodes[i] = g->nodes[g->n_nodes - 1 - i];
        g->nodes[g->n_nodes - 1 - i] = n;
    }
    for (int i = 0; i < g->n_nodes; i++) g->values[g->nodes[i].out[0]].producer = i;
    assert_int_equal(qn_graph_sort(g, NULL), QN_OK);
    qn_graph_sweep(g);
    assert_int_equal(qn_graph_sort(g, NULL), QN_OK);
    assert_int_equal(g->n_order, 100000);
    assert_int_equal(qn_op_index_init(&ops, &fake_ops, NULL), QN_OK);
    for (int i = 0; i < g->n_nodes; i++) g->nodes[i].op = qn_op_index_find(&ops, "", g->nodes[i].op_type, 13, NULL);
    qn_op_index_release(&ops);
    assert_int_equal(qn_graph_infer(g, NULL), QN_OK);
    assert_int_equal(qn_graph_verify(g, NULL), QN_OK);
    assert_true(qn_graph_rows_independent(g));
    qn_graph_destroy(g);
}

/* Each breaks one thing in a good graph and says what the message must contain. */
static void break_range(qn_graph *g) { g->nodes[0].in[0] = 99; }
static void break_dead(qn_graph *g) { g->values[val(g, "x")].dead = true; }
static void break_order(qn_graph *g)
{
    g->order[0] = 1;
    g->order[1] = 0;
}
static void break_twice(qn_graph *g) { g->nodes[1].out[0] = val(g, "a"); }
static void break_producer(qn_graph *g) { g->values[val(g, "y")].producer = 0; }
static void break_listed(qn_graph *g) { g->n_order = 1; }
static void break_repeat(qn_graph *g) { g->order[1] = 0; }
static void break_row(qn_graph *g) { g->nodes[0].op = NULL; }
static void break_wrong_row(qn_graph *g) { g->nodes[0].op = &fake_erf; }
static void break_arity(qn_graph *g) { g->nodes[1].n_in = 1; }
static void break_left_out(qn_graph *g) { g->nodes[1].in[1] = QN_NONE; }
static void break_opset(qn_graph *g) { g->nodes[1].opset = 6; }
static void break_layout(qn_graph *g) { g->values[val(g, "y")].type.layout = (qn_layout)7; }
static void break_output(qn_graph *g) { g->outputs[0] = val(g, "nowhere"); }
static void break_input(qn_graph *g) { g->values[val(g, "x")].is_input = false; }
static void break_rank(qn_graph *g) { g->values[val(g, "a")].type.rank = 9; }
static void break_both(qn_graph *g) { g->values[val(g, "a")].is_input = true; }
static void break_attr(qn_graph *g)
{
    g->nodes[0].attrs = qn_arena_alloc(&g->arena, sizeof *g->nodes[0].attrs);
    g->nodes[0].n_attrs = 1;
}

static void verify_finds_every_fault(void **state)
{
    static const struct {
        void (*break_it)(qn_graph *g);
        const char *says;
    } cases[] = {
        { break_range, "value 99" },
        { break_dead, "removed" },
        { break_order, "before anything gives it" },
        { break_twice, "given twice" },
        { break_producer, "its producer" },
        { break_listed, "lists 1 nodes" },
        { break_repeat, "listed before" },
        { break_row, "no row" },
        { break_wrong_row, "row of Erf" },
        { break_arity, "has 1 inputs" },
        { break_left_out, "left out" },
        { break_opset, "opset 6" },
        { break_layout, "layout" },
        { break_output, "nowhere" },
        { break_input, "x" },
        { break_rank, "rank 9" },
        { break_both, "and from outside" },
        { break_attr, "not filled in" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qn_graph *g = small();
        qn_error err = { 0 };

        give_rows(g, QN_STAGE_CANONICAL);
        assert_int_equal(qn_graph_sort(g, NULL), QN_OK);
        assert_int_equal(qn_graph_verify(g, &err), QN_OK);
        cases[i].break_it(g);
        assert_int_equal(qn_graph_verify(g, &err), QN_ERR_INVALID);
        if (!strstr(err.message, cases[i].says)) fail_msg("case %zu says \"%s\", expected \"%s\"", i, err.message, cases[i].says);
        qn_graph_destroy(g);
    }
}

/* -- inference ------------------------------------------------------------------------------------------------------------ */

static void shape_arithmetic_is_carried_as_expressions(void **state)
{
    qn_graph *g = new_graph();
    const int64_t minus[] = { -1, 8 };

    (void)state;
    input(g, "x", QN_F32, "N,2,4");
    ints(g, "s", 2, minus);
    op(g, 13, "Reshape", "x,s", "y", 0);
    op(g, 13, "Shape", "y", "sh", 0);
    op(g, 13, "Identity", "sh", "sh2", 0);
    op(g, 13, "Reshape", "x,sh2", "z", 0);
    output(g, "z");
    give_rows(g, QN_STAGE_CANONICAL);
    assert_int_equal(qn_graph_sort(g, NULL), QN_OK);
    assert_int_equal(qn_graph_infer(g, NULL), QN_OK);
    assert_dims(g, "y", "[N,8]");
    assert_dims(g, "z", "[N,8]");
    assert_int_equal(g->values[val(g, "sh2")].known->elems[0], qn_dims_symbol(g->dims, "N"));
    qn_graph_destroy(g);
}

static void broadcast_follows_numpy(void **state)
{
    static const struct {
        const char *a, *b, *out;
    } cases[] = {
        { "N,4", "4", "[N,4]" },   { "N,1", "1,M", "[N,M]" }, { "N,1", "N,5", "[N,5]" }, { "", "N", "[N]" },  { "N", "M", "[?]" },
        { "3,?", "3,1", "[3,?]" }, { "N", "3", "[3]" },       { "2,3", "4,3", NULL },    { "0", "1", "[0]" }, { "0", "3", NULL }
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qn_graph *g = new_graph();
        qn_error err = { 0 };
        qn_status st;

        input(g, "a", QN_F32, cases[i].a);
        input(g, "b", QN_F32, cases[i].b);
        op(g, 13, "Add", "a,b", "y", 0);
        output(g, "y");
        give_rows(g, QN_STAGE_CANONICAL);
        assert_int_equal(qn_graph_sort(g, NULL), QN_OK);
        st = qn_graph_infer(g, &err);
        assert_int_equal(st, cases[i].out ? QN_OK : QN_ERR_SHAPE);
        if (cases[i].out)
            assert_dims(g, "y", cases[i].out);
        else
            assert_non_null(strstr(err.message, "node y (Add): "));
        qn_graph_destroy(g);
    }
}

static void a_declared_output_that_cannot_be_is_refused(void **state)
{
    static const struct {
        qn_dtype dtype;
        const char *dims;
        qn_status st;
    } cases[] = { { QN_F32, "N,4", QN_OK },        { QN_F32, "M,?", QN_OK },      { QN_F32, "1,4", QN_OK },
                  { QN_F32, "N,5", QN_ERR_SHAPE }, { QN_F32, "N", QN_ERR_SHAPE }, { QN_I64, "N,4", QN_ERR_DTYPE } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qn_graph *g = small(), *c;

        set_type(g, val(g, "y"), cases[i].dtype, cases[i].dims);
        give_rows(g, QN_STAGE_CANONICAL);
        assert_int_equal(qn_graph_sort(g, NULL), QN_OK);
        assert_int_equal(qn_graph_canonicalise(g, NULL, &c, NULL), cases[i].st);
        qn_graph_destroy(c);
        assert_int_equal(qn_graph_infer(g, NULL), cases[i].st);
        qn_graph_destroy(g);
    }
}

static qn_status negative_infer(qn_infer *c, qn_error *err)
{
    (void)err;
    c->out[0] = c->in[0];
    c->out[0].dims[0] = qn_dims_const(c->dims, -2);
    return QN_OK;
}

static qn_status overflow_infer(qn_infer *c, qn_error *err)
{
    (void)err;
    c->out[0] = c->in[0];
    c->out[0].dims[0] = qn_dims_mul(c->dims, qn_dims_const(c->dims, INT64_MAX), qn_dims_const(c->dims, 3));
    return QN_OK;
}

static void sizes_that_cannot_be_stop_inference(void **state)
{
    const qn_op bad[] = { { .name = "Relu", .domain = "", .infer = negative_infer },
                          { .name = "Relu", .domain = "", .infer = overflow_infer } };
    const qn_status want[] = { QN_ERR_SHAPE, QN_ERR_RANGE };

    (void)state;
    for (int i = 0; i < 2; i++) {
        qn_graph *g = small();
        qn_error err = { 0 };

        give_rows(g, QN_STAGE_CANONICAL);
        g->nodes[0].op = &bad[i];
        assert_int_equal(qn_graph_sort(g, NULL), QN_OK);
        assert_int_equal(qn_graph_infer(g, &err), want[i]);
        assert_non_null(strstr(err.message, "node a (Relu): "));
        assert_int_equal(qn_dims_status(g->dims, NULL), QN_OK);
        qn_graph_destroy(g);
    }
}

static void a_node_is_inferred_again_with_numbers(void **state)
{
    qn_graph *g = small();
    qn_dims *dims;
    qn_arena arena;
    qn_type in[2], out[1];
    const qn_known *known[2] = { NULL, NULL };
    const qn_tensor *consts[2] = { NULL, NULL };
    qn_known *out_known[1];

    (void)state;
    give_rows(g, QN_STAGE_LOWERED);
    assert_int_equal(qn_graph_sort(g, NULL), QN_OK);
    assert_int_equal(qn_graph_infer(g, NULL), QN_OK);
    assert_int_equal(qn_dims_create(&dims, NULL), QN_OK);
    qn_arena_init(&arena, 0);
    in[0] = in[1] = g->values[val(g, "x")].type;
    for (int i = 0; i < 2; i++) {
        in[i].dims[0] = qn_dims_const(dims, 5);
        in[i].dims[1] = qn_dims_const(dims, 4);
    }
    assert_int_equal(qn_infer_node(g, &g->nodes[1], dims, &arena, in, known, consts, out, out_known, NULL), QN_OK);
    assert_int_equal(out[0].dims[0], in[0].dims[0]);
    assert_dims(g, "y", "[N,4]");
    qn_arena_release(&arena);
    qn_dims_destroy(dims);
    qn_graph_destroy(g);
}

static void a_row_is_found_by_opset_and_domain(void **state)
{
    bool known;

    (void)state;
    assert_ptr_equal(qn_op_find(&fake_ops, "ai.onnx", "Add", 7, &known), &fake_add);
    assert_null(qn_op_find(&fake_ops, "", "Add", 6, &known));
    assert_true(known);
    assert_null(qn_op_find(&fake_ops, "", "Nope", 6, &known));
    assert_false(known);
    assert_ptr_equal(qn_op_find(&fake_ops, "com.microsoft", "QGemm", 1, NULL), &fake_qgemm);
    assert_null(qn_op_find(&fake_ops, "quern", "QGemm", 1, NULL));
    assert_null(qn_op_find(NULL, "", "Add", 7, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_taken_once),
        cmocka_unit_test(temps_have_fresh_names),
        cmocka_unit_test(emit_needs_a_row),
        cmocka_unit_test(uses_count_readers_and_outputs),
        cmocka_unit_test(sweep_takes_what_nothing_needs),
        cmocka_unit_test(a_clone_is_deep_and_shares_weights),
        cmocka_unit_test(nesting_ends_at_32),
        cmocka_unit_test(a_sorted_file_stays_as_it_is),
        cmocka_unit_test(a_late_node_runs_before_its_reader),
        cmocka_unit_test(a_cycle_is_named),
        cmocka_unit_test(a_missing_producer_is_named),
        cmocka_unit_test(a_chain_of_100000_nodes_sorts_and_sweeps),
        cmocka_unit_test(verify_finds_every_fault),
        cmocka_unit_test(shape_arithmetic_is_carried_as_expressions),
        cmocka_unit_test(broadcast_follows_numpy),
        cmocka_unit_test(a_declared_output_that_cannot_be_is_refused),
        cmocka_unit_test(sizes_that_cannot_be_stop_inference),
        cmocka_unit_test(a_node_is_inferred_again_with_numbers),
        cmocka_unit_test(a_row_is_found_by_opset_and_domain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
