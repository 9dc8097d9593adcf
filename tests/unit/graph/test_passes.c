/* tests/unit/graph/test_passes.c - each rewrite on a small graph, and each reason not to make it. */
#include "tests/unit/graph/fake.h"

#include "core/graph/eval.h"

static qn_graph *canonical(qn_graph *g)
{
    qn_graph *c;
    qn_error err = { 0 };

    if (qn_graph_canonicalise(g, NULL, &c, &err) != QN_OK) fail_msg("%s", err.message);
    qn_graph_destroy(g);
    return c;
}

static qn_graph *lowered(qn_graph *g)
{
    qn_graph *c = canonical(g), *l;
    qn_error err = { 0 };

    if (qn_graph_lower(c, NULL, 0, QN_BITS_EXACT, false, &l, &err) != QN_OK) fail_msg("%s", err.message);
    qn_graph_destroy(c);
    return l;
}

static void assert_floats(const qn_graph *g, qn_value_id v, const float *want, int64_t n)
{
    float got[64];
    qn_tensor t;

    assert_non_null(g->values[v].weight);
    qn_weight_shape(g->values[v].weight, &t);
    assert_int_equal(qn_tensor_count(&t), n);
    assert_int_equal(qn_weight_read(g->values[v].weight, 0, n, got, NULL), QN_OK);
    for (int64_t i = 0; i < n; i++) assert_float_equal(got[i], want[i], 1e-6f);
}

static void assert_ints(const qn_graph *g, qn_value_id v, const int64_t *want, int32_t n)
{
    int64_t got[64];
    int32_t count;

    assert_true(qn_weight_ints(g->values[v].weight, got, 64, &count));
    assert_int_equal(count, n);
    for (int32_t i = 0; i < n; i++) assert_int_equal(got[i], want[i]);
}

/* -- canonical ------------------------------------------------------------------------------------------------------------ */

static void an_unknown_op_is_named_before_anything_else(void **state)
{
    qn_graph *g = new_graph(), *c;
    qn_error err = { 0 };

    (void)state;
    input(g, "a", QN_F32, "2");
    input(g, "b", QN_F32, "3");
    op(g, 13, "Add", "a,b", "broken", 0);
    op(g, 13, "my.domain:Frobnicate", "broken", "y", 0);
    output(g, "y");
    assert_int_equal(qn_graph_canonicalise(g, NULL, &c, &err), QN_ERR_UNSUPPORTED);
    assert_string_equal(err.message, "node y: op my.domain.Frobnicate (opset 13) is unsupported");
    assert_null(c);
    qn_graph_destroy(g);
}

static void a_node_with_a_subgraph_is_unsupported(void **state)
{
    qn_graph *g = new_graph(), *c, *sub;
    qn_node_id id;
    qn_error err = { 0 };

    (void)state;
    input(g, "x", QN_F32, "2");
    id = op(g, 13, "Relu", "x", "y", 1);
    assert_int_equal(qn_graph_create(&fake_ops, g, "body", &sub, NULL), QN_OK);
    g->nodes[id].attrs[0] = (qn_attr){ .name = "body", .type = QN_ATTR_GRAPH, .g = sub };
    output(g, "y");
    assert_int_equal(qn_graph_canonicalise(g, NULL, &c, &err), QN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "Relu"));
    qn_graph_destroy(g);
}

static void too_few_inputs_are_refused(void **state)
{
    qn_graph *g = new_graph(), *c;
    qn_error err = { 0 };

    (void)state;
    input(g, "x", QN_F32, "2");
    op(g, 13, "Add", "x", "y", 0);
    output(g, "y");
    assert_int_equal(qn_graph_canonicalise(g, NULL, &c, &err), QN_ERR_INVALID);
    qn_graph_destroy(g);
    g = new_graph();
    input(g, "x", QN_F32, "2");
    op(g, 13, "Add", "x,", "y", 0);
    output(g, "y");
    g->nodes[0].n_in = 2;
    g->nodes[0].in = qn_arena_array(&g->arena, 2, sizeof(qn_value_id));
    g->nodes[0].in[1] = QN_NONE;
    assert_int_equal(qn_graph_canonicalise(g, NULL, &c, &err), QN_ERR_INVALID);
    assert_non_null(strstr(err.message, "left out"));
    qn_graph_destroy(g);
}

static void outputs_without_a_name_do_no_harm(void **state)
{
    qn_graph *g = new_graph(), *c;

    (void)state;
    input(g, "x", QN_F32, "N,2");
    op(g, 13, "Erf", "x", "", 1); /* read by nobody, named by nobody */
    attr_int(g, 0, 0, "unset", 0);
    op(g, 13, "Relu", "x", "y", 0);
    output(g, "y");
    g->nodes[0].n_out = 1;
    g->nodes[0].out = qn_arena_array(&g->arena, 1, sizeof(qn_value_id));
    g->nodes[0].out[0] = QN_NONE;
    assert_int_equal(qn_graph_canonicalise(g, NULL, &c, NULL), QN_OK);
    assert_ops(c, "Relu");
    qn_graph_destroy(c);
    g->nodes[0].n_out = 0;
    assert_int_equal(qn_graph_canonicalise(g, NULL, &c, NULL), QN_ERR_INVALID);
    qn_graph_destroy(g);
}

static void a_constant_becomes_a_weight(void **state)
{
    qn_graph *g = new_graph();
    static const float half[] = { 0.5f, 1.5f };
    qn_node_id id;

    (void)state;
    input(g, "x", QN_F32, "N,2");
    id = op(g, 13, "Constant", "", "c", 1);
    g->nodes[id].attrs[0] = (qn_attr){ .name = "value_floats", .type = QN_ATTR_FLOATS, .n = 2, .floats = half };
    op(g, 13, "Add", "x,c", "y", 0);
    output(g, "y");
    g = canonical(g);
    assert_ops(g, "Add");
    assert_floats(g, val(g, "c"), half, 2);
    assert_dims(g, "y", "[N,2]");
    qn_graph_destroy(g);
}

static void constants_of_text_keep_their_bytes(void **state)
{
    qn_graph *g = new_graph();
    static const char *const words[] = { "ab", "", "cde" };
    qn_node_id id;
    qn_tensor t;

    (void)state;
    id = op(g, 13, "Constant", "", "c", 1);
    g->nodes[id].attrs[0] =
        (qn_attr){ .name = "value_strings", .type = QN_ATTR_STRINGS, .n = 3, .strings = (const char **)(uintptr_t)words };
    output(g, "c");
    g = canonical(g);
    qn_weight_shape(g->values[val(g, "c")].weight, &t);
    assert_int_equal(t.dtype, QN_STRING);
    assert_int_equal(t.bytes, 4 * 8 + 5);
    assert_memory_equal((char *)t.data + 32, "abcde", 5);
    qn_graph_destroy(g);
}

static void an_attribute_of_another_type_is_refused(void **state)
{
    qn_graph *g = new_graph(), *c;
    qn_error err = { 0 };

    (void)state;
    attr_int(g, op(g, 13, "Constant", "", "c", 1), 0, "sparse_value", 0);
    output(g, "c");
    assert_int_equal(qn_graph_canonicalise(g, NULL, &c, &err), QN_ERR_INVALID);
    assert_non_null(strstr(err.message, "Constant"));
    assert_non_null(strstr(err.message, "'sparse_value' is an integer, expected a tensor"));
    qn_graph_destroy(g);
}

static void list_attributes_become_inputs(void **state)
{
    qn_graph *g = new_graph();
    static const int64_t axes[] = { 1, 2 };

    (void)state;
    input(g, "x", QN_F32, "N,2,3");
    attr_ints(g, op(g, 11, "ReduceSum", "x", "y", 1), 0, "axes", 2, axes);
    output(g, "y");
    g = canonical(g);
    assert_int_equal(producer(g, "y")->opset, 13);
    assert_int_equal(producer(g, "y")->n_in, 2);
    assert_int_equal(producer(g, "y")->n_attrs, 0);
    assert_ints(g, producer(g, "y")->in[1], axes, 2);
    qn_graph_destroy(g);
}

static void clip_bounds_become_inputs(void **state)
{
    qn_graph *g = new_graph();
    const float six = 6.0f;

    (void)state;
    input(g, "x", QN_F32, "N,2");
    attr_float(g, op(g, 6, "Clip", "x", "y", 1), 0, "max", six);
    output(g, "y");
    g = canonical(g);
    assert_int_equal(producer(g, "y")->n_in, 3);
    assert_int_equal(producer(g, "y")->in[1], QN_NONE);
    assert_floats(g, producer(g, "y")->in[2], &six, 1);
    qn_graph_destroy(g);
}

static void old_softmax_flattens_from_its_axis(void **state)
{
    qn_graph *g = new_graph();

    (void)state;
    input(g, "x", QN_F32, "N,2,3");
    op(g, 11, "Softmax", "x", "y", 0); /* axis 1 */
    output(g, "y");
    g = canonical(g);
    assert_ops(g, "Flatten Softmax Shape Reshape");
    assert_dims(g, "y", "[N,2,3]");
    assert_true(qn_graph_rows_independent(g));
    qn_graph_destroy(g);
}

static void old_softmax_on_the_last_axis_stays_one_node(void **state)
{
    qn_graph *g = new_graph();

    (void)state;
    input(g, "x", QN_F32, "N,3");
    op(g, 11, "Softmax", "x", "y", 0);
    output(g, "y");
    g = canonical(g);
    assert_ops(g, "Softmax");
    assert_int_equal(producer(g, "y")->opset, 13);
    qn_graph_destroy(g);
}

static void sixteen_bits_are_widened_around_an_op_that_has_none(void **state)
{
    static const qn_dtype narrow[] = { QN_F16, QN_BF16 };

    (void)state;
    for (int i = 0; i < 2; i++) {
        qn_graph *g = new_graph();

        input(g, "x", narrow[i], "N,3,8,8");
        input(g, "w", narrow[i], "4,3,1,1");
        op(g, 13, "Conv", "x,w", "a", 0);
        op(g, 13, "Relu", "a", "b", 0); /* has 16 bits of its own */
        op(g, 13, "Conv", "x,w", "y", 0);
        output(g, "b");
        output(g, "y");
        g = canonical(g);
        assert_ops(g, "Cast Cast Conv Cast Relu Conv Cast"); /* x and w are cast once */
        assert_int_equal(g->values[val(g, "a")].type.dtype, narrow[i]);
        assert_int_equal(g->values[val(g, "y")].type.dtype, narrow[i]);
        assert_dims(g, "y", "[N,4,8,8]");
        qn_graph_destroy(g);
    }
}

static void what_is_wrong_beside_the_width_is_still_said(void **state)
{
    qn_graph *g = new_graph(), *c;
    qn_error err = { 0 };

    (void)state;
    input(g, "x", QN_F16, "N,3,8,8");
    input(g, "w", QN_I64, "4,3,1,1");
    op(g, 13, "Conv", "x,w", "y", 0);
    output(g, "y");
    assert_int_equal(qn_graph_canonicalise(g, NULL, &c, &err), QN_ERR_DTYPE);
    assert_non_null(strstr(err.message, "Conv takes f32"));
    qn_graph_destroy(g);
}

static void old_broadcast_gets_its_dimensions(void **state)
{
    static const struct {
        int64_t axis;
        const char *ops; /* NULL: refused */
    } cases[] = { { 1, "Unsqueeze Add" }, { -2, "Unsqueeze Add" }, { 2, NULL }, { 3, NULL }, { 9, NULL } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qn_graph *g = new_graph(), *c;
        const int64_t three = 3;
        qn_node_id id;

        input(g, "x", QN_F32, "N,3,4");
        floats(g, "b", 1, &three, 0);
        id = op(g, 6, "Add", "x,b", "y", 2);
        attr_int(g, id, 0, "broadcast", 1);
        attr_int(g, id, 1, "axis", cases[i].axis);
        output(g, "y");
        assert_int_equal(qn_graph_canonicalise(g, NULL, &c, NULL), cases[i].ops ? QN_OK : QN_ERR_SHAPE);
        if (cases[i].ops) {
            assert_ops(c, cases[i].ops);
            assert_dims(c, "y", "[N,3,4]");
        }
        qn_graph_destroy(c);
        qn_graph_destroy(g);
    }
}

static void identity_goes_and_the_output_keeps_its_name(void **state)
{
    qn_graph *g = new_graph();

    (void)state;
    input(g, "x", QN_F32, "N");
    op(g, 13, "Identity", "x", "a", 0);
    op(g, 13, "Relu", "a", "b", 0);
    op(g, 13, "Identity", "b", "y", 0);
    output(g, "y");
    g = canonical(g);
    assert_ops(g, "Relu");
    assert_int_equal(producer(g, "y")->in[0], val(g, "x"));
    qn_graph_destroy(g);
}

static void identity_from_input_to_output_stays(void **state)
{
    qn_graph *g = new_graph();

    (void)state;
    input(g, "x", QN_F32, "N");
    op(g, 13, "Identity", "x", "y", 0);
    op(g, 13, "Relu", "x", "r", 0);
    op(g, 13, "Identity", "r", "u1", 0);
    op(g, 13, "Identity", "r", "u2", 0); /* two names for one value: one Identity has to stay */
    output(g, "y");
    output(g, "u1");
    output(g, "u2");
    g = canonical(g);
    assert_ops(g, "Identity Relu Identity");
    qn_graph_destroy(g);
}

static void dropout_goes_unless_its_mask_is_read(void **state)
{
    (void)state;
    for (int masked = 0; masked < 2; masked++) {
        qn_graph *g = new_graph();

        input(g, "x", QN_F32, "N");
        op(g, 9, "Dropout", "x", "d,mask", 0);
        op(g, 13, "Relu", "d", "y", 0);
        output(g, "y");
        if (masked) {
            set_type(g, val(g, "mask"), QN_DTYPE_NONE, "");
            output(g, "mask");
        }
        g = canonical(g);
        assert_ops(g, masked ? "Dropout Relu" : "Relu");
        qn_graph_destroy(g);
    }
}

/* ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add over [N,8] as PyTorch writes it; opset 17 and axes as an attribute. */
static qn_graph *layernorm(float exponent, bool second_reader)
{
    static const int64_t last = -1, eight = 8;
    qn_graph *g = new_graph();

    input(g, "x", QN_F32, "N,8");
    scalar(g, "two", exponent);
    scalar(g, "eps", 1e-5f);
    floats(g, "gamma", 1, &eight, 1);
    floats(g, "beta", 1, &eight, 0);
    attr_ints(g, op(g, 17, "ReduceMean", "x", "mean", 1), 0, "axes", 1, &last);
    op(g, 17, "Sub", "x,mean", "d", 0);
    op(g, 17, "Pow", "d,two", "sq", 0);
    attr_ints(g, op(g, 17, "ReduceMean", "sq", "var", 1), 0, "axes", 1, &last);
    op(g, 17, "Add", "var,eps", "ve", 0);
    op(g, 17, "Sqrt", "ve", "sd", 0);
    op(g, 17, "Div", "d,sd", "n", 0);
    op(g, 17, "Mul", "n,gamma", "m", 0);
    op(g, 17, "Add", "m,beta", "y", 0);
    output(g, "y");
    if (second_reader) output(g, "n");
    return canonical(g);
}

static void layernorm_is_recognised(void **state)
{
    qn_graph *g = layernorm(2.0f, false);

    (void)state;
    assert_ops(g, "LayerNormalization");
    assert_int_equal(qn_node_int(producer(g, "y"), "axis", 0), -1);
    assert_float_equal(qn_node_float(producer(g, "y"), "epsilon", 0), 1e-5f, 1e-12f);
    assert_int_equal(producer(g, "y")->in[2], val(g, "beta"));
    qn_graph_destroy(g);
}

static void what_only_looks_like_layernorm_stays(void **state)
{
    qn_graph *g = layernorm(3.0f, false);

    (void)state;
    assert_int_equal(g->n_order, 9);
    qn_graph_destroy(g);
    g = layernorm(2.0f, true); /* the normalised value is an output */
    assert_int_equal(g->n_order, 9);
    qn_graph_destroy(g);
}

static void gelu_is_recognised_in_every_order(void **state)
{
    (void)state;
    for (int order = 0; order < 4; order++) {
        qn_graph *g = new_graph();

        input(g, "x", QN_F32, "N,8");
        scalar(g, "r2", order == 3 ? 1.5f : 1.41421354f);
        scalar(g, "one", 1);
        scalar(g, "half", 0.5f);
        op(g, 14, "Div", "x,r2", "u", 0);
        op(g, 14, "Erf", "u", "e", 0);
        op(g, 14, "Add", "e,one", "a", 0);
        op(g, 14, "Mul", order == 1 ? "x,half" : order == 2 ? "a,half" : "x,a", "h", 0);
        op(g, 14, "Mul", order == 1 ? "h,a" : order == 2 ? "x,h" : "h,half", "y", 0);
        output(g, "y");
        g = canonical(g);
        assert_ops(g, order == 3 ? "Div Erf Add Mul Mul" : "Gelu");
        qn_graph_destroy(g);
    }
}

static void the_import_graph_is_not_changed(void **state)
{
    qn_graph *g = new_graph(), *c;

    (void)state;
    input(g, "x", QN_F32, "N");
    op(g, 13, "Identity", "x", "a", 0);
    op(g, 13, "Relu", "a", "y", 0);
    output(g, "y");
    assert_int_equal(qn_graph_canonicalise(g, NULL, &c, NULL), QN_OK);
    assert_int_equal(c->n_order, 1);
    assert_false(g->nodes[0].dead);
    assert_null(g->nodes[0].op);
    assert_int_equal(g->nodes[1].in[0], val(g, "a"));
    qn_graph_destroy(c);
    qn_graph_destroy(g);
}

/* -- folding -------------------------------------------------------------------------------------------------------------- */

static void constants_are_folded_through_chains(void **state)
{
    qn_graph *g = new_graph();
    const int64_t two = 2;
    const float want[] = { 3, 6 }; /* (1 + 1) + 1, (2 + 2) + 2 */

    (void)state;
    input(g, "x", QN_F32, "N,2");
    floats(g, "w", 1, &two, 1);
    op(g, 13, "Add", "w,w", "a", 0);
    op(g, 13, "Add", "a,w", "b", 0);
    op(g, 13, "Sub", "x,b", "y", 0);
    output(g, "y");
    g = lowered(g);
    assert_ops(g, "Sub");
    assert_floats(g, producer(g, "y")->in[1], want, 2);
    qn_graph_destroy(g);
}

static void shapes_of_fixed_size_are_folded(void **state)
{
    qn_graph *g = new_graph();
    const int64_t want[] = { 2, 3 };

    (void)state;
    input(g, "x", QN_F32, "2,3");
    input(g, "z", QN_F32, "3,2");
    op(g, 13, "Shape", "x", "s", 0);
    op(g, 13, "Reshape", "z,s", "y", 0);
    output(g, "y");
    g = lowered(g);
    assert_ops(g, "Reshape");
    assert_ints(g, producer(g, "y")->in[1], want, 2);
    qn_graph_destroy(g);
}

static void what_folding_made_known_is_used_further_on(void **state)
{
    qn_graph *g = new_graph();
    const int64_t a[] = { 2, 1 }, b[] = { 1, 5 }, want[] = { 3, 6 };

    (void)state;
    input(g, "x", QN_F32, "1,6");
    ints(g, "a", 2, a);
    ints(g, "b", 2, b);
    op(g, 13, "Add", "a,b", "sum", 0); /* inference carries nothing through the fake Add: only folding knows */
    op(g, 13, "Expand", "x,sum", "y", 0);
    op(g, 13, "Shape", "y", "s", 0);
    output(g, "s");
    g = lowered(g);
    assert_ops(g, "");
    assert_ints(g, val(g, "s"), want, 2);
    qn_graph_destroy(g);
}

static void random_and_overridable_values_are_not_folded(void **state)
{
    qn_graph *g = new_graph();
    const int64_t two = 2;

    (void)state;
    floats(g, "w", 1, &two, 1);
    floats(g, "d", 1, &two, 1);
    input(g, "d", QN_F32, "2"); /* an initializer that a caller may override */
    op(g, 13, "RandomNormalLike", "w", "r", 0);
    op(g, 13, "Add", "r,w", "y", 0);
    op(g, 13, "Add", "d,w", "u", 0);
    output(g, "y");
    output(g, "u");
    g = lowered(g);
    assert_ops(g, "RandomNormalLike Add Add");
    qn_graph_destroy(g);
}

static void a_large_result_is_left_to_the_run(void **state)
{
    qn_graph *g = new_graph();
    const int64_t column[] = { 3000, 1 }, row[] = { 1, 3000 }; /* 36 MB, over the limit of 16 MiB */

    (void)state;
    floats(g, "c", 2, column, 0);
    floats(g, "r", 2, row, 0);
    op(g, 13, "Add", "c,r", "y", 0);
    output(g, "y");
    g = lowered(g);
    assert_ops(g, "Add");
    qn_graph_destroy(g);
}

static void a_node_runs_alone(void **state)
{
    qn_graph *g = new_graph();
    float a[] = { 1, 2 }, b[] = { 10, 20 };
    qn_tensor in[] = { { .dtype = QN_F32, .rank = 1, .dims = { 2 }, .data = a, .bytes = sizeof a },
                       { .dtype = QN_F32, .rank = 1, .dims = { 2 }, .data = b, .bytes = sizeof b } },
              out[1];

    (void)state;
    op(g, 13, "Add", "a,b", "y", 0);
    g->nodes[0].op = &fake_add;
    assert_int_equal(qn_node_eval(g, &g->nodes[0], in, NULL, 0, QN_BITS_EXACT, &(qn_eval_budget){ 1 << 20, 1000 }, out, NULL), QN_OK);
    assert_float_equal(((float *)out[0].data)[1], 22, 0);
    qn_tensor_free(&out[0]);
    assert_int_equal(qn_node_eval(g, &g->nodes[0], in, NULL, 0, QN_BITS_EXACT, &(qn_eval_budget){ 7, 1000 }, out, NULL), QN_ERR_LIMIT);
    in[1].dims[0] = 3;
    assert_int_equal(qn_node_eval(g, &g->nodes[0], in, NULL, 0, QN_BITS_EXACT, &(qn_eval_budget){ 1 << 20, 1000 }, out, NULL),
                     QN_ERR_SHAPE);
    g->nodes[0].op = &fake_sub; /* no run */
    assert_int_equal(qn_node_eval(g, &g->nodes[0], in, NULL, 0, QN_BITS_EXACT, &(qn_eval_budget){ 1 << 20, 1000 }, out, NULL),
                     QN_ERR_UNSUPPORTED);
    qn_graph_destroy(g);
}

/* -- BatchNormalization and epilogues ------------------------------------------------------------------------------------- */

static qn_graph *conv_graph(void)
{
    static const int64_t w[] = { 2, 1, 1, 1 };
    qn_graph *g = new_graph();

    input(g, "x", QN_F32, "N,1,4,4");
    floats(g, "w", 4, w, 2); /* 2, 3 */
    op(g, 13, "Conv", "x,w", "c", 0);
    return g;
}

static void batchnorm(qn_graph *g, const char *ins, const char *out)
{
    static const int64_t two = 2;
    const float var[] = { 4, 9 }, mean[] = { 1, 1 };

    floats(g, "scale", 1, &two, 1); /* 1, 2 */
    floats(g, "B", 1, &two, 5);     /* 5, 6 */
    weight(g, "mean", QN_F32, 1, &two, mean);
    weight(g, "var", QN_F32, 1, &two, var);
    attr_float(g, op(g, 9, "BatchNormalization", ins, out, 1), 0, "epsilon", 0);
}

static void batchnorm_moves_into_conv(void **state)
{
    qn_graph *g = conv_graph();
    const float w[] = { 1, 2 }, b[] = { 4.5f, 6 - 2.0f / 3 }; /* s = 1/2, 2/3; b = B - mean * s */

    (void)state;
    batchnorm(g, "c,scale,B,mean,var", "y");
    output(g, "y");
    g = lowered(g);
    assert_ops(g, "Conv");
    assert_floats(g, producer(g, "y")->in[1], w, 2);
    assert_floats(g, producer(g, "y")->in[2], b, 2);
    qn_graph_destroy(g);
}

static void batchnorm_stays_where_conv_is_read_twice(void **state)
{
    qn_graph *g = conv_graph();

    (void)state;
    batchnorm(g, "c,scale,B,mean,var", "y");
    op(g, 13, "Sqrt", "c", "u", 0);
    output(g, "y");
    output(g, "u");
    g = lowered(g);
    assert_ops(g, "Conv BatchNormalization Sqrt");
    qn_graph_destroy(g);
}

static void conv_takes_bias_residual_and_relu(void **state)
{
    qn_graph *g = conv_graph();
    const int64_t b[] = { 2, 1, 1 };
    const float want[] = { 7, 8 };

    (void)state;
    input(g, "r", QN_F32, "N,2,4,4");
    floats(g, "b", 3, b, 7);
    op(g, 13, "Add", "c,b", "cb", 0);
    op(g, 13, "Add", "r,cb", "s", 0);
    op(g, 13, "Relu", "s", "y", 0);
    output(g, "y");
    g = lowered(g);
    assert_ops(g, "quern:FusedConv");
    assert_string_equal(qn_node_str(producer(g, "y"), "act", ""), "relu");
    assert_int_equal(producer(g, "y")->in[3], val(g, "r"));
    assert_floats(g, producer(g, "y")->in[2], want, 2);
    qn_graph_destroy(g);
}

static void conv_takes_clip_with_its_bounds(void **state)
{
    qn_graph *g = conv_graph();

    (void)state;
    scalar(g, "lo", 0);
    scalar(g, "hi", 6);
    op(g, 13, "Clip", "c,lo,hi", "y", 0);
    output(g, "y");
    g = lowered(g);
    assert_ops(g, "quern:FusedConv");
    assert_string_equal(qn_node_str(producer(g, "y"), "act", ""), "clip");
    assert_float_equal(qn_node_float(producer(g, "y"), "hi", 0), 6, 0);
    qn_graph_destroy(g);
}

static void an_intermediate_that_is_an_output_is_not_fused_away(void **state)
{
    qn_graph *g = conv_graph();

    (void)state;
    op(g, 13, "Relu", "c", "y", 0);
    output(g, "y");
    output(g, "c");
    g = lowered(g);
    assert_ops(g, "Conv Relu");
    qn_graph_destroy(g);
}

static void a_bias_along_the_wrong_axis_is_not_taken(void **state)
{
    qn_graph *g = conv_graph();
    const int64_t b = 4; /* along the width */

    (void)state;
    floats(g, "b", 1, &b, 7);
    op(g, 13, "Add", "c,b", "y", 0);
    output(g, "y");
    g = lowered(g);
    assert_ops(g, "Conv Add");
    qn_graph_destroy(g);
}

static void matmul_with_bias_becomes_gemm(void **state)
{
    (void)state;
    for (int relu = 0; relu < 2; relu++) {
        qn_graph *g = new_graph();
        const int64_t w[] = { 4, 3 }, b[] = { 3 };

        input(g, "x", QN_F32, "N,4");
        floats(g, "w", 2, w, 0);
        floats(g, "b", 1, b, 0);
        op(g, 13, "MatMul", "x,w", "m", 0);
        op(g, 13, "Add", "b,m", relu ? "a" : "y", 0);
        if (relu) op(g, 13, "Relu", "a", "y", 0);
        output(g, "y");
        g = lowered(g);
        assert_ops(g, relu ? "quern:FusedGemm" : "Gemm");
        assert_int_equal(producer(g, "y")->in[2], val(g, "b"));
        qn_graph_destroy(g);
    }
}

static void a_higher_rank_is_folded_around_gemm(void **state)
{
    static const struct {
        const char *dims, *ops;
    } cases[] = { { "N,5,4", "Reshape quern:FusedGemm Reshape" }, { "N,T,4", "Shape Slice Concat Reshape quern:FusedGemm Reshape" } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qn_graph *g = new_graph();
        const int64_t w[] = { 4, 3 }, b[] = { 3 };
        char want[16];

        input(g, "x", QN_F32, cases[i].dims);
        floats(g, "w", 2, w, 0);
        floats(g, "b", 1, b, 0);
        op(g, 13, "MatMul", "x,w", "m", 0);
        op(g, 13, "Add", "b,m", "a", 0);
        op(g, 13, "Relu", "a", "y", 0);
        output(g, "y");
        g = lowered(g);
        if (i == 0)
            assert_ops(g, cases[i].ops);
        else
            assert_int_equal(g->n_order, 6); /* the order of the shape arithmetic is of no matter */
        snprintf(want, sizeof want, "[%.4s3]", cases[i].dims);
        assert_dims(g, "y", want);
        qn_graph_destroy(g);
    }
}

static void a_matmul_of_one_reader_and_no_bias_is_left(void **state)
{
    qn_graph *g = new_graph();
    const int64_t w[] = { 4, 3 };

    (void)state;
    input(g, "x", QN_F32, "N,5,4");
    floats(g, "w", 2, w, 0);
    op(g, 13, "MatMul", "x,w", "y", 0);
    output(g, "y");
    g = lowered(g);
    assert_ops(g, "MatMul");
    qn_graph_destroy(g);
}

/* -- Q/DQ ----------------------------------------------------------------------------------------------------------------- */

static void u8(qn_graph *g, const char *name, uint8_t v) { weight(g, name, QN_U8, 0, NULL, &v); }

/* x -> Q -> DQ -> xd, with sx = 0.5, zx = 128; wd = DQ of an s8 weight along `axis`, scales 0.25, 0.5, .. */
static qn_graph *quantized(const char *x_dims, int32_t rank, const int64_t *w_dims, int32_t axis)
{
    qn_graph *g = new_graph();
    int8_t w[64];
    float sw[8];
    int64_t n = w_dims[axis];

    for (int i = 0; i < 64; i++) w[i] = (int8_t)(i - 20);
    for (int i = 0; i < 8; i++) sw[i] = 0.25f * (float)(1 + i);
    input(g, "x", QN_F32, x_dims);
    scalar(g, "sx", 0.5f);
    u8(g, "zx", 128);
    weight(g, "wq", QN_I8, rank, w_dims, w);
    weight(g, "sw", QN_F32, 1, &n, sw);
    scalar(g, "sy", 0.125f);
    u8(g, "zy", 0);
    op(g, 13, "QuantizeLinear", "x,sx,zx", "xq", 0);
    op(g, 13, "DequantizeLinear", "xq,sx,zx", "xd", 0);
    attr_int(g, op(g, 13, "DequantizeLinear", "wq,sw", "wd", 1), 0, "axis", axis);
    return g;
}

static void s32_bias(qn_graph *g, float scale_factor)
{
    static const int64_t two = 2;
    const int32_t b[] = { 100, -200 };
    const float s[] = { 0.125f * scale_factor, 0.25f * scale_factor };

    weight(g, "bq", QN_I32, 1, &two, b);
    weight(g, "bs", QN_F32, 1, &two, s);
    attr_int(g, op(g, 13, "DequantizeLinear", "bq,bs", "bd", 1), 0, "axis", 0);
}

static void finish_q(qn_graph *g, const char *v)
{
    char ins[32];

    snprintf(ins, sizeof ins, "%s,sy,zy", v);
    op(g, 13, "QuantizeLinear", ins, "yq", 0);
    op(g, 13, "DequantizeLinear", "yq,sy,zy", "y", 0);
    output(g, "y");
}

static const int64_t conv_w[] = { 2, 1, 2, 2 }, gemm_w[] = { 4, 2 };

static void conv_between_dq_and_q_is_integer(void **state)
{
    qn_graph *g = quantized("N,1,4,4", 4, conv_w, 0);

    (void)state;
    s32_bias(g, 1);
    op(g, 13, "Conv", "xd,wd,bd", "c", 0);
    op(g, 13, "Relu", "c", "r", 0); /* zy = 0: Q saturates there anyway */
    finish_q(g, "r");
    g = lowered(g);
    assert_ops(g, "QuantizeLinear QLinearConv DequantizeLinear");
    assert_int_equal(producer(g, "yq")->in[0], val(g, "xq"));
    assert_int_equal(producer(g, "yq")->in[8], val(g, "bq"));
    assert_int_equal(g->values[producer(g, "yq")->in[5]].type.dtype, QN_I8); /* the zero point nobody wrote */
    qn_graph_destroy(g);
}

static void a_float_bias_is_rounded_as_the_peer_does(void **state)
{
    qn_graph *g = quantized("N,1,4,4", 4, conv_w, 0);
    const int64_t two = 2, want[] = { 8, -6 }; /* 1 / 0.125 = 8; -1.6 / 0.25 = -6.4 */
    const float b[] = { 1.0f, -1.6f };

    (void)state;
    weight(g, "b", QN_F32, 1, &two, b);
    op(g, 13, "Conv", "xd,wd,b", "c", 0);
    finish_q(g, "c");
    g = lowered(g);
    assert_ops(g, "QuantizeLinear QLinearConv DequantizeLinear");
    assert_ints(g, producer(g, "yq")->in[8], want, 2);
    qn_graph_destroy(g);
}

static void what_the_peer_leaves_in_float_stays(void **state)
{
    enum { BIAS_SCALE, RELU_ABOVE_ZERO, TWO_READERS, NO_Q, CASES };

    (void)state;
    for (int k = 0; k < CASES; k++) {
        qn_graph *g = quantized("N,1,4,4", 4, conv_w, 0);

        s32_bias(g, k == BIAS_SCALE ? 2 : 1);
        if (k == RELU_ABOVE_ZERO) u8(g, "z100", 100);
        op(g, 13, "Conv", "xd,wd,bd", "c", 0);
        if (k == RELU_ABOVE_ZERO) op(g, 13, "Relu", "c", "r", 0);
        if (k == RELU_ABOVE_ZERO) {
            op(g, 13, "QuantizeLinear", "r,sy,z100", "yq", 0);
            output(g, "yq");
        } else if (k == NO_Q) {
            output(g, "c");
        } else {
            finish_q(g, "c");
        }
        if (k == TWO_READERS) output(g, "c");
        g = lowered(g);
        for (int32_t i = 0; i < g->n_order; i++) assert_string_not_equal(g->nodes[g->order[i]].op_type, "QLinearConv");
        qn_graph_destroy(g);
    }
}

static void gemm_and_matmul_become_integer(void **state)
{
    static const struct {
        const char *op;
        int bias; /* 1: s32 DQ, 2: float */
        bool q;
        const char *want;
    } cases[] = {
        { "Gemm", 1, true, "QuantizeLinear com.microsoft:QGemm DequantizeLinear" },
        { "Gemm", 2, true, "QuantizeLinear com.microsoft:QGemm DequantizeLinear" },
        { "Gemm", 0, true, "QuantizeLinear com.microsoft:QGemm DequantizeLinear" },
        { "Gemm", 1, false, "QuantizeLinear com.microsoft:QGemm" },
        { "MatMul", 0, true, "QuantizeLinear QLinearMatMul DequantizeLinear" },
        { "MatMul", 1, true, "QuantizeLinear com.microsoft:QGemm DequantizeLinear" },
        { "MatMul", 2, true, "QuantizeLinear com.microsoft:QGemm DequantizeLinear" },
        { "MatMul", 0, false, "QuantizeLinear com.microsoft:MatMulIntegerToFloat" },
    };
    const int64_t two = 2;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qn_graph *g = quantized("N,4", 2, gemm_w, 1);
        const char *b = cases[i].bias == 1 ? "bd" : "b";
        char ins[32];
        bool gemm = strcmp(cases[i].op, "Gemm") == 0;

        if (cases[i].bias == 1) s32_bias(g, 1);
        if (cases[i].bias == 2) floats(g, "b", 1, &two, 3);
        snprintf(ins, sizeof ins, gemm && cases[i].bias ? "xd,wd,%s" : "xd,wd", b);
        op(g, 13, cases[i].op, ins, "c", 0);
        snprintf(ins, sizeof ins, "c,%s", b);
        if (!gemm && cases[i].bias) op(g, 13, "Add", ins, "s", 0);
        if (cases[i].q)
            finish_q(g, !gemm && cases[i].bias ? "s" : "c");
        else
            output(g, "c");
        g = lowered(g);
        assert_ops(g, cases[i].want);
        qn_graph_destroy(g);
    }
}

static void a_quantized_matmul_of_rank_3_is_folded_too(void **state)
{
    qn_graph *g = quantized("N,5,4", 2, gemm_w, 1);

    (void)state;
    s32_bias(g, 1);
    op(g, 13, "MatMul", "xd,wd", "c", 0);
    op(g, 13, "Add", "c,bd", "s", 0);
    finish_q(g, "s");
    g = lowered(g);
    assert_ops(g, "QuantizeLinear Reshape com.microsoft:QGemm Reshape DequantizeLinear");
    assert_dims(g, "y", "[N,5,2]");
    assert_int_equal(g->values[val(g, "yq")].type.dtype, QN_U8);
    qn_graph_destroy(g);
}

static void a_transposed_weight_is_still_quantized(void **state)
{
    qn_graph *g = quantized("N,4", 2, (const int64_t[]){ 2, 4 }, 0); /* [2,4], a scale per row: per column once transposed */

    (void)state;
    op(g, 13, "Transpose", "wd", "wt", 0);
    op(g, 13, "MatMul", "xd,wt", "c", 0);
    finish_q(g, "c");
    g = lowered(g);
    assert_ops(g, "QuantizeLinear Transpose QLinearMatMul DequantizeLinear"); /* the fake Transpose cannot be folded */
    assert_dims(g, "y", "[N,2]");
    qn_graph_destroy(g);
}

static void a_float_bias_without_q_keeps_gemm_in_float(void **state)
{
    qn_graph *g = quantized("N,4", 2, gemm_w, 1);
    const int64_t two = 2;

    (void)state;
    floats(g, "b", 1, &two, 3);
    op(g, 13, "Gemm", "xd,wd,b", "y", 0);
    output(g, "y");
    g = lowered(g);
    assert_ops(g, "QuantizeLinear DequantizeLinear DequantizeLinear Gemm");
    qn_graph_destroy(g);
}

static void two_activations_without_q_are_multiplied_as_integers(void **state)
{
    qn_graph *g = new_graph();

    (void)state;
    input(g, "x", QN_F32, "N,3,4");
    input(g, "z", QN_F32, "N,4,5");
    scalar(g, "sx", 0.5f);
    scalar(g, "sz", 0.25f);
    u8(g, "zero", 128);
    op(g, 13, "QuantizeLinear", "x,sx,zero", "xq", 0);
    op(g, 13, "DequantizeLinear", "xq,sx,zero", "xd", 0);
    op(g, 13, "QuantizeLinear", "z,sz,zero", "zq", 0);
    op(g, 13, "DequantizeLinear", "zq,sz,zero", "zd", 0);
    op(g, 13, "MatMul", "xd,zd", "y", 0);
    output(g, "y");
    g = lowered(g);
    assert_ops(g, "QuantizeLinear QuantizeLinear com.microsoft:MatMulIntegerToFloat");
    assert_int_equal(producer(g, "y")->in[3], val(g, "sz"));
    qn_graph_destroy(g);
}

static void moving_ops_work_on_integers(void **state)
{
    (void)state;
    for (int same = 0; same < 2; same++) {
        qn_graph *g = quantized("N,1,4,4", 4, conv_w, 0);

        op(g, 13, "MaxPool", "xd", "p", 0);
        op(g, 13, "QuantizeLinear", same ? "p,sx,zx" : "p,sy,zy", "pq", 0);
        output(g, "pq");
        g = lowered(g);
        assert_ops(g, same ? "QuantizeLinear MaxPool" : "QuantizeLinear DequantizeLinear MaxPool QuantizeLinear");
        qn_graph_destroy(g);
    }
}

static void q_of_dq_is_nothing(void **state)
{
    qn_graph *g = quantized("N,1,4,4", 4, conv_w, 0);

    (void)state;
    op(g, 13, "QuantizeLinear", "xd,sx,zx", "again", 0);
    output(g, "again");
    g = lowered(g);
    assert_ops(g, "QuantizeLinear");
    assert_string_equal(g->values[g->outputs[0]].name, "again");
    qn_graph_destroy(g);
}

static void a_clip_inside_the_quantizer_s_range_stays(void **state)
{
    static const float hi[] = { 30.0f, 255 * 0.125f, 40.0f };
    static const bool stays[] = { true, false, false };

    (void)state;
    for (int i = 0; i < 3; i++) {
        qn_graph *g = new_graph();

        input(g, "x", QN_F32, "N");
        scalar(g, "lo", 0);
        scalar(g, "hi", hi[i]);
        scalar(g, "sy", 0.125f);
        u8(g, "zy", 0);
        op(g, 13, "Clip", "x,lo,hi", "c", 0);
        finish_q(g, "c");
        g = lowered(g);
        assert_ops(g, stays[i] ? "Clip QuantizeLinear DequantizeLinear" : "QuantizeLinear DequantizeLinear");
        qn_graph_destroy(g);
    }
}

static void a_hundred_thousand_nodes_take_no_quadratic_time(void **state)
{
    qn_graph *g = new_graph();
    char ins[40], a[16] = "x", b[16];

    (void)state;
    input(g, "x", QN_F32, "N,2");
    scalar(g, "c", 1); /* one constant with 50,000 readers */
    for (int i = 0; i < 50000; i++) {
        snprintf(ins, sizeof ins, "%s,c", a);
        snprintf(b, sizeof b, "s%d", i);
        op(g, 13, "Add", ins, b, 0);
        snprintf(a, sizeof a, "i%d", i);
        op(g, 13, "Identity", b, a, 0);
    }
    op(g, 13, "Relu", a, "y", 0);
    output(g, "y");
    g = lowered(g);
    assert_int_equal(g->n_order, 50001);
    qn_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_op_is_named_before_anything_else),
        cmocka_unit_test(a_node_with_a_subgraph_is_unsupported),
        cmocka_unit_test(too_few_inputs_are_refused),
        cmocka_unit_test(outputs_without_a_name_do_no_harm),
        cmocka_unit_test(a_constant_becomes_a_weight),
        cmocka_unit_test(constants_of_text_keep_their_bytes),
        cmocka_unit_test(an_attribute_of_another_type_is_refused),
        cmocka_unit_test(list_attributes_become_inputs),
        cmocka_unit_test(clip_bounds_become_inputs),
        cmocka_unit_test(old_softmax_flattens_from_its_axis),
        cmocka_unit_test(old_softmax_on_the_last_axis_stays_one_node),
        cmocka_unit_test(sixteen_bits_are_widened_around_an_op_that_has_none),
        cmocka_unit_test(what_is_wrong_beside_the_width_is_still_said),
        cmocka_unit_test(old_broadcast_gets_its_dimensions),
        cmocka_unit_test(identity_goes_and_the_output_keeps_its_name),
        cmocka_unit_test(identity_from_input_to_output_stays),
        cmocka_unit_test(dropout_goes_unless_its_mask_is_read),
        cmocka_unit_test(layernorm_is_recognised),
        cmocka_unit_test(what_only_looks_like_layernorm_stays),
        cmocka_unit_test(gelu_is_recognised_in_every_order),
        cmocka_unit_test(the_import_graph_is_not_changed),
        cmocka_unit_test(constants_are_folded_through_chains),
        cmocka_unit_test(shapes_of_fixed_size_are_folded),
        cmocka_unit_test(what_folding_made_known_is_used_further_on),
        cmocka_unit_test(random_and_overridable_values_are_not_folded),
        cmocka_unit_test(a_large_result_is_left_to_the_run),
        cmocka_unit_test(a_node_runs_alone),
        cmocka_unit_test(batchnorm_moves_into_conv),
        cmocka_unit_test(batchnorm_stays_where_conv_is_read_twice),
        cmocka_unit_test(conv_takes_bias_residual_and_relu),
        cmocka_unit_test(conv_takes_clip_with_its_bounds),
        cmocka_unit_test(an_intermediate_that_is_an_output_is_not_fused_away),
        cmocka_unit_test(a_bias_along_the_wrong_axis_is_not_taken),
        cmocka_unit_test(matmul_with_bias_becomes_gemm),
        cmocka_unit_test(a_higher_rank_is_folded_around_gemm),
        cmocka_unit_test(a_matmul_of_one_reader_and_no_bias_is_left),
        cmocka_unit_test(a_quantized_matmul_of_rank_3_is_folded_too),
        cmocka_unit_test(conv_between_dq_and_q_is_integer),
        cmocka_unit_test(a_float_bias_is_rounded_as_the_peer_does),
        cmocka_unit_test(what_the_peer_leaves_in_float_stays),
        cmocka_unit_test(gemm_and_matmul_become_integer),
        cmocka_unit_test(a_transposed_weight_is_still_quantized),
        cmocka_unit_test(a_float_bias_without_q_keeps_gemm_in_float),
        cmocka_unit_test(two_activations_without_q_are_multiplied_as_integers),
        cmocka_unit_test(moving_ops_work_on_integers),
        cmocka_unit_test(q_of_dq_is_nothing),
        cmocka_unit_test(a_clip_inside_the_quantizer_s_range_stays),
        cmocka_unit_test(a_hundred_thousand_nodes_take_no_quadratic_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
