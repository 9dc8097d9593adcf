/* ModelProto -> graph: what is kept, how names find each other, and which graphs are refused. */
#include "pb_build.h"

#include <stdio.h>

static const int64_t dims_n3[] = { -1, 3 };

/* x [N,3] -> Add(x, w) -> y, nodes in the order of `first`. */
static pb add_graph(void)
{
    pb g = { 0 };

    pb_msg(&g, 1, onnx_node("Add", "x,w", "y"));
    pb_str(&g, 2, "main");
    pb_msg(&g, 5, onnx_ones("w", 3));
    pb_msg(&g, 11, onnx_value("x", ONNX_FLOAT, dims_n3, 2));
    pb_msg(&g, 12, onnx_value("y", ONNX_FLOAT, dims_n3, 2));
    return g;
}

static pb graph_of_node(pb node, const char *out)
{
    pb g = { 0 };

    pb_msg(&g, 1, node);
    pb_msg(&g, 11, onnx_value("x", ONNX_FLOAT, dims_n3, 2));
    if (out) pb_msg(&g, 12, onnx_value(out, ONNX_FLOAT, dims_n3, 2));
    return g;
}

static void a_small_model_is_kept_as_written(void **state)
{
    pb m = onnx_model(add_graph()), entry = { 0 };
    qn_onnx_info info;
    qn_graph *g;
    qn_error err;
    int64_t v;

    (void)state;
    pb_str(&entry, 1, "author");
    pb_str(&entry, 2, "somebody");
    pb_msg(&m, 14, entry);
    pb_str(&m, 3, "1.0");
    if (onnx_import_at(&m, NULL, -1, &g, &info, &err)) fail_msg("%s", err.message);
    pb_free(&m);
    assert_int_equal(g->stage, QN_STAGE_IMPORT);
    assert_string_equal(g->name, "main");
    assert_int_equal(g->n_nodes, 1);
    assert_string_equal(g->nodes[0].op_type, "Add");
    assert_string_equal(g->nodes[0].domain, "");
    assert_string_equal(g->nodes[0].name, "y"); /* it had none */
    assert_int_equal(g->nodes[0].opset, 17);
    assert_int_equal(g->n_inputs, 1);
    assert_int_equal(g->n_outputs, 1);
    assert_true(&g->values[g->inputs[0]] == onnx_find(g, "x"));
    assert_true(g->nodes[0].in[0] == g->inputs[0] && g->nodes[0].out[0] == g->outputs[0]);
    assert_int_equal(g->values[g->outputs[0]].producer, 0);
    assert_string_equal(qn_dims_symbol_name(g->dims, onnx_find(g, "x")->type.dims[0]), "N");
    assert_true(qn_dims_value(g->dims, onnx_find(g, "x")->type.dims[1], &v) && v == 3);
    assert_true(onnx_find(g, "x")->type.dims[0] == onnx_find(g, "y")->type.dims[0]);
    assert_int_equal(onnx_find(g, "w")->type.rank, 1);
    assert_int_equal(g->n_opsets, 1);
    assert_string_equal(g->metadata[0].key, "author");
    assert_string_equal(g->metadata[0].value, "somebody");
    assert_true(info.ir_version == 8 && info.opset == 17 && info.n_nodes == 1 && info.n_params == 3 && info.n_weights == 1);
    assert_string_equal(info.producer, "test 1.0");
    assert_int_equal(qn_graph_sort(g, &err), QN_OK);
    if (qn_graph_verify(g, &err)) fail_msg("%s", err.message);
    qn_graph_destroy(g);
}

static void every_kind_of_attribute_is_kept(void **state)
{
    pb n = onnx_node("Op", "x", "y"), a, list = { 0 };
    const float f[] = { 1.5f, 2.5f };
    qn_graph *g;
    qn_error err;
    const qn_node *node;
    qn_tensor t;

    (void)state;
    a = onnx_attr("f", 1);
    pb_float(&a, 2, 0.5f);
    pb_msg(&n, 5, a);
    a = onnx_attr("i", 2);
    pb_int(&a, 3, -7);
    pb_msg(&n, 5, a);
    a = onnx_attr("s", 3);
    pb_bytes(&a, 4, "a\0b", 3);
    pb_msg(&n, 5, a);
    a = onnx_attr("t", 4);
    pb_msg(&a, 5, onnx_ones(NULL, 2));
    pb_msg(&n, 5, a);
    a = onnx_attr("floats", 6);
    pb_bytes(&a, 7, f, sizeof f);
    pb_float(&a, 7, 3.5f);
    pb_msg(&n, 5, a);
    a = onnx_attr("ints", 7);
    pb_ints_packed(&a, 8, (int64_t[]){ 1, -1 }, 2);
    pb_int(&a, 8, INT64_MIN);
    pb_msg(&n, 5, a);
    a = onnx_attr("strings", 8);
    pb_str(&a, 9, "one");
    pb_str(&a, 9, "");
    pb_msg(&n, 5, a);
    a = onnx_attr("tensors", 9);
    pb_msg(&a, 10, onnx_ones(NULL, 1));
    pb_msg(&a, 10, onnx_ones(NULL, 2));
    pb_msg(&n, 5, a);
    a = onnx_attr("guessed", 0); /* IR version 1 wrote no type */
    pb_int(&a, 3, 9);
    pb_msg(&n, 5, a);
    a = onnx_attr("none", 7);
    pb_msg(&n, 5, a);
    a = onnx_attr("sparse_value", 11);
    {
        pb s = { 0 }, index = onnx_tensor(NULL, ONNX_INT64, (int64_t[]){ 1 }, 1);

        pb_int(&index, 7, 4);
        pb_msg(&s, 1, onnx_ones("v", 1));
        pb_msg(&s, 2, index);
        pb_int(&s, 3, 5);
        pb_msg(&a, 22, s);
    }
    pb_msg(&n, 5, a);
    pb_free(&list);
    if (onnx_import(onnx_model(graph_of_node(n, "y")), &g, &err)) fail_msg("%s", err.message);
    node = &g->nodes[0];
    assert_int_equal(node->n_attrs, 11);
    assert_true(qn_node_float(node, "f", 0) == 0.5f);
    assert_int_equal(qn_node_int(node, "i", 0), -7);
    assert_int_equal(qn_node_int(node, "guessed", 0), 9);
    assert_int_equal(qn_node_attr(node, "s")->n, 3);
    assert_memory_equal(qn_node_attr(node, "s")->s, "a\0b", 4);
    qn_weight_shape(qn_node_attr(node, "t")->t, &t);
    assert_true(t.rank == 1 && t.dims[0] == 2);
    assert_int_equal(qn_node_attr(node, "floats")->n, 3);
    assert_true(qn_node_attr(node, "floats")->floats[2] == 3.5f);
    assert_int_equal(qn_node_attr(node, "ints")->n, 3);
    assert_true(qn_node_attr(node, "ints")->ints[1] == -1 && qn_node_attr(node, "ints")->ints[2] == INT64_MIN);
    assert_string_equal(qn_node_attr(node, "strings")->strings[0], "one");
    assert_string_equal(qn_node_attr(node, "strings")->strings[1], "");
    assert_int_equal(qn_node_attr(node, "tensors")->n, 2);
    assert_int_equal(qn_node_attr(node, "none")->n, 0);
    assert_int_equal(qn_node_attr(node, "sparse_value")->type, QN_ATTR_TENSOR);
    qn_weight_shape(qn_node_attr(node, "sparse_value")->t, &t);
    assert_true(t.rank == 1 && t.dims[0] == 5 && ((float *)t.data)[4] == 1 && ((float *)t.data)[3] == 0);
    qn_graph_destroy(g);
}

static void attributes_that_contradict_themselves_are_refused(void **state)
{
    static const struct {
        int type;
        uint32_t field;
        qn_status want;
        const char *text;
    } cases[] = {
        { 2, 2, QN_ERR_FORMAT, "type is int, but it holds float" },
        { 7, 9, QN_ERR_FORMAT, "it holds strings" },
        { 4, 0, QN_ERR_FORMAT, "type is tensor, but it holds none" },
        { 5, 0, QN_ERR_FORMAT, "type is graph, but it holds none" },
        { 0, 0, QN_ERR_FORMAT, "without a type" },
        { 13, 0, QN_ERR_FORMAT, "type is type, but it holds none" },
        { 14, 15, QN_ERR_UNSUPPORTED, "attribute of type types" },
        { 12, 23, QN_ERR_UNSUPPORTED, "sparse tensors" },
        { 15, 0, QN_ERR_FORMAT, "attribute type 15" },
        { -1, 0, QN_ERR_FORMAT, "attribute type -1" },
        { 2, 21, QN_ERR_INVALID, "function" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pb n = onnx_node("Op", "x", "y"), a = onnx_attr("a", cases[i].type);

        if (cases[i].field == 2) pb_float(&a, 2, 1);
        if (cases[i].field > 2) pb_str(&a, cases[i].field, "b");
        pb_msg(&n, 5, a);
        onnx_refuses(onnx_model(graph_of_node(n, "y")), cases[i].want, cases[i].text);
    }
    {
        pb n = onnx_node("Op", "x", "y"), a = onnx_attr("a", 2), b = onnx_attr("a", 2);

        pb_msg(&n, 5, a);
        pb_msg(&n, 5, b);
        onnx_refuses(onnx_model(graph_of_node(n, "y")), QN_ERR_FORMAT, "attribute 'a' is given twice");
        n = onnx_node("Op", "x", "y");
        pb_msg(&n, 5, (pb){ 0 });
        onnx_refuses(onnx_model(graph_of_node(n, "y")), QN_ERR_FORMAT, "attribute without a name");
        n = onnx_node("Op", "x", "y");
        a = onnx_attr("a", 8);
        pb_bytes(&a, 9, "x\0y", 3);
        pb_msg(&n, 5, a);
        onnx_refuses(onnx_model(graph_of_node(n, "y")), QN_ERR_UNSUPPORTED, "NUL");
        n = onnx_node("Op", "x", "y");
        for (int i = 0; i < 65; i++) {
            char name[8];

            snprintf(name, sizeof name, "a%d", i);
            a = onnx_attr(name, 2);
            pb_msg(&n, 5, a);
        }
        onnx_refuses(onnx_model(graph_of_node(n, "y")), QN_ERR_LIMIT, "65 attributes");
    }
}

static void nodes_need_not_be_sorted_and_inputs_may_be_left_out(void **state)
{
    pb g = { 0 };
    qn_graph *graph;
    qn_error err;

    (void)state;
    pb_msg(&g, 1, onnx_node("Neg", "b", "c"));
    pb_msg(&g, 1, onnx_node("Clip", "a,,x", "b"));
    pb_msg(&g, 1, onnx_node("Split", "x", "a,,d"));
    pb_msg(&g, 12, onnx_value("c", ONNX_FLOAT, dims_n3, 2));
    pb_msg(&g, 11, onnx_value("x", ONNX_FLOAT, dims_n3, 2));
    if (onnx_import(onnx_model(g), &graph, &err)) fail_msg("%s", err.message);
    assert_int_equal(graph->nodes[1].n_in, 3);
    assert_int_equal(graph->nodes[1].in[1], QN_NONE);
    assert_int_equal(graph->nodes[2].n_out, 3);
    assert_int_equal(graph->nodes[2].out[1], QN_NONE);
    assert_int_equal(qn_graph_sort(graph, &err), QN_OK);
    assert_int_equal(graph->order[0], 2);
    assert_int_equal(qn_graph_verify(graph, &err), QN_OK);
    qn_graph_destroy(graph);
}

static void names_defined_twice_or_never_are_refused(void **state)
{
    pb g;

    (void)state;
    g = add_graph();
    pb_msg(&g, 1, onnx_node("Neg", "x", "y"));
    onnx_refuses(onnx_model(g), QN_ERR_INVALID, "output 'y'");
    g = add_graph();
    pb_msg(&g, 1, onnx_node("Neg", "x", "x"));
    onnx_refuses(onnx_model(g), QN_ERR_INVALID, "output 'x'");
    g = add_graph();
    pb_msg(&g, 5, onnx_ones("y", 3));
    onnx_refuses(onnx_model(g), QN_ERR_INVALID, "initializer 'y'");
    g = add_graph();
    pb_msg(&g, 5, onnx_ones("w", 3));
    onnx_refuses(onnx_model(g), QN_ERR_INVALID, "initializer 'w'");
    g = add_graph();
    pb_msg(&g, 11, onnx_value("x", ONNX_FLOAT, dims_n3, 2));
    onnx_refuses(onnx_model(g), QN_ERR_INVALID, "graph input 'x'");
    onnx_refuses(onnx_model(graph_of_node(onnx_node("Split", "x", "y,y"), "y")), QN_ERR_INVALID, "'y'");
    onnx_refuses(onnx_model(graph_of_node(onnx_node("Neg", "nowhere", "y"), "y")), QN_ERR_INVALID, "'nowhere' is read by node 'y'");
    onnx_refuses(onnx_model(graph_of_node(onnx_node("Neg", "x", "y"), "z")), QN_ERR_INVALID, "'z' is an output of the graph");
    g = add_graph();
    pb_msg(&g, 5, onnx_ones("", 3));
    onnx_refuses(onnx_model(g), QN_ERR_FORMAT, "without a name");
}

static void value_info_types_what_exists_and_nothing_else(void **state)
{
    pb g = { 0 };
    qn_graph *graph;
    qn_error err;

    (void)state;
    pb_msg(&g, 13, onnx_value("a", ONNX_INT64, dims_n3, 2));
    pb_msg(&g, 13, onnx_value("ghost", ONNX_INT64, dims_n3, 2));
    pb_msg(&g, 1, onnx_node("Shape", "x", "a"));
    pb_msg(&g, 1, onnx_node("Neg", "a", "y"));
    pb_msg(&g, 11, onnx_value("x", ONNX_FLOAT, dims_n3, 2));
    pb_msg(&g, 12, onnx_value("y", ONNX_INT64, dims_n3, 2));
    if (onnx_import(onnx_model(g), &graph, &err)) fail_msg("%s", err.message);
    assert_int_equal(onnx_find(graph, "a")->type.dtype, QN_I64);
    assert_true(onnx_find(graph, "ghost")->dead);
    assert_int_equal(qn_graph_sort(graph, &err), QN_OK);
    assert_int_equal(qn_graph_verify(graph, &err), QN_OK);
    qn_graph_destroy(graph);
}

static void an_initializer_may_be_the_default_of_an_input_it_fits(void **state)
{
    static const struct {
        int type;
        int64_t dims[2];
        size_t rank;
        qn_status want;
        const char *text;
    } cases[] = {
        { ONNX_FLOAT, { 3 }, 1, QN_OK, "" },
        { ONNX_FLOAT, { -1 }, 1, QN_OK, "" },
        { ONNX_FLOAT, { 4 }, 1, QN_ERR_SHAPE, "dimension 0 = 4" },
        { ONNX_FLOAT, { 3, 1 }, 2, QN_ERR_SHAPE, "rank 2" },
        { ONNX_INT64, { 3 }, 1, QN_ERR_DTYPE, "is i64, its initializer f32" },
    };

    (void)state;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        size_t c = i / 2;
        pb g = { 0 };
        qn_graph *graph;
        qn_error err;

        if (i & 1) pb_msg(&g, 5, onnx_ones("w", 3)); /* in either order */
        pb_msg(&g, 11, onnx_value("w", cases[c].type, cases[c].dims, cases[c].rank));
        if (!(i & 1)) pb_msg(&g, 5, onnx_ones("w", 3));
        pb_msg(&g, 1, onnx_node("Neg", "w", "y"));
        pb_msg(&g, 12, onnx_value("y", ONNX_FLOAT, dims_n3, 1));
        if (cases[c].want) {
            onnx_refuses(onnx_model(g), cases[c].want, cases[c].text);
            continue;
        }
        if (onnx_import(onnx_model(g), &graph, &err)) fail_msg("%s", err.message);
        assert_true(onnx_find(graph, "w")->is_input && onnx_find(graph, "w")->weight);
        assert_int_equal(graph->n_inputs, 1);
        qn_graph_destroy(graph);
    }
}

/* -- types ---------------------------------------------------------------------------------------------------------------- */

static pb value_of_type(const char *name, pb type)
{
    pb v = { 0 };

    pb_str(&v, 1, name);
    pb_msg(&v, 2, type);
    return v;
}

static pb tensor_type(int elem)
{
    pb type = { 0 }, tensor = { 0 };

    pb_int(&tensor, 1, elem);
    pb_msg(&type, 1, tensor);
    return type;
}

static pb wrap_type(uint32_t kind, uint32_t field, pb inside)
{
    pb type = { 0 }, wrapper = { 0 };

    if (kind == 5) pb_int(&wrapper, 1, ONNX_INT64);
    pb_msg(&wrapper, field, inside);
    pb_msg(&type, kind, wrapper);
    return type;
}

static void sequences_optionals_and_maps_keep_their_kind(void **state)
{
    static const qn_kind kinds[] = { QN_KIND_SEQUENCE, QN_KIND_OPTIONAL, QN_KIND_MAP, QN_KIND_OPTIONAL };
    pb types[4], g = { 0 };
    const char *names[] = { "a", "b", "c", "d" };
    qn_graph *graph;
    qn_error err;

    (void)state;
    types[0] = wrap_type(4, 1, tensor_type(ONNX_FLOAT));
    types[1] = wrap_type(9, 1, tensor_type(ONNX_INT32));
    types[2] = wrap_type(5, 2, tensor_type(ONNX_DOUBLE));
    types[3] = wrap_type(9, 1, wrap_type(4, 1, tensor_type(ONNX_UINT8)));
    for (int i = 0; i < 4; i++) pb_msg(&g, 11, value_of_type(names[i], types[i]));
    if (onnx_import(onnx_model(g), &graph, &err)) fail_msg("%s", err.message);
    for (int i = 0; i < 4; i++) assert_int_equal(onnx_find(graph, names[i])->type.kind, kinds[i]);
    assert_int_equal(onnx_find(graph, "a")->type.dtype, QN_F32);
    assert_int_equal(onnx_find(graph, "b")->type.dtype, QN_I32);
    assert_int_equal(onnx_find(graph, "c")->type.dtype, QN_F64);
    assert_int_equal(onnx_find(graph, "d")->type.dtype, QN_U8);
    assert_int_equal(onnx_find(graph, "d")->type.rank, -1);
    assert_int_equal(onnx_find(graph, "d")->type.of, QN_KIND_SEQUENCE);
    assert_int_equal(onnx_find(graph, "b")->type.of, QN_KIND_TENSOR);
    qn_graph_destroy(graph);
}

static void types_quern_does_not_have_are_named(void **state)
{
    pb g = { 0 }, type = { 0 };

    (void)state;
    pb_msg(&g, 11, value_of_type("odd", tensor_type(23)));
    onnx_refuses(onnx_model(g), QN_ERR_UNSUPPORTED, "input 'odd'");
    g = (pb){ 0 };
    pb_msg(&type, 8, (pb){ 0 });
    pb_msg(&g, 11, value_of_type("odd", type));
    onnx_refuses(onnx_model(g), QN_ERR_UNSUPPORTED, "sparse tensor type");
    g = (pb){ 0 };
    pb_msg(&g, 11, value_of_type("odd", tensor_type(0)));
    onnx_refuses(onnx_model(g), QN_ERR_FORMAT, "no element type");
    g = (pb){ 0 };
    type = (pb){ 0 };
    pb_msg(&type, 7, (pb){ 0 });
    pb_msg(&g, 11, value_of_type("odd", type));
    onnx_refuses(onnx_model(g), QN_ERR_UNSUPPORTED, "opaque type");
    g = (pb){ 0 };
    type = tensor_type(1);
    for (int i = 0; i < 100; i++) type = wrap_type(5, 2, type);
    pb_msg(&g, 11, value_of_type("deep", type));
    onnx_refuses(onnx_model(g), QN_ERR_LIMIT, "depth");
    g = (pb){ 0 };
    pb_msg(&g, 11, value_of_type("odd", wrap_type(4, 1, wrap_type(4, 1, tensor_type(1)))));
    onnx_refuses(onnx_model(g), QN_ERR_UNSUPPORTED, "expected tensors");
}

static void an_attribute_may_be_a_type(void **state)
{
    pb g = { 0 }, n = onnx_node("Optional", NULL, "y"), a = onnx_attr("type", 13);
    qn_graph *graph;
    qn_error err;
    const qn_attr *got;

    (void)state;
    pb_msg(&a, 14, wrap_type(4, 1, tensor_type(ONNX_FLOAT)));
    pb_msg(&n, 5, a);
    pb_msg(&g, 1, n);
    pb_msg(&g, 12, value_of_type("y", wrap_type(9, 1, wrap_type(4, 1, tensor_type(ONNX_FLOAT)))));
    if (onnx_import(onnx_model(g), &graph, &err)) fail_msg("%s", err.message);
    got = qn_node_attr(&graph->nodes[0], "type");
    assert_non_null(got);
    assert_int_equal(got->type, QN_ATTR_TYPE);
    assert_int_equal(got->ty->kind, QN_KIND_SEQUENCE);
    assert_int_equal(got->ty->dtype, QN_F32);
    qn_graph_destroy(graph);
}

static void free_dimensions_of_inputs_get_symbols_and_negative_ones_are_refused(void **state)
{
    pb g = { 0 }, type, tensor, shape, dim;
    qn_graph *graph;
    qn_error err;
    const qn_type *t;

    (void)state;
    for (int bad = 0; bad < 2; bad++) {
        static const char *const params[] = { "", "?", "batch" };

        g = (pb){ 0 };
        type = tensor = shape = (pb){ 0 };
        pb_msg(&shape, 1, (pb){ 0 }); /* neither value nor name */
        for (int i = 0; i < 3; i++) {
            dim = (pb){ 0 };
            pb_str(&dim, 2, params[i]);
            pb_msg(&shape, 1, dim);
        }
        dim = (pb){ 0 };
        pb_int(&dim, 1, bad ? -2 : -1);
        pb_msg(&shape, 1, dim);
        pb_int(&tensor, 1, ONNX_FLOAT);
        pb_msg(&tensor, 2, shape);
        pb_msg(&type, 1, tensor);
        pb_msg(&g, 11, value_of_type("x", type));
        if (bad) {
            onnx_refuses(onnx_model(g), QN_ERR_FORMAT, "dimension 4 is -2");
            break;
        }
        if (onnx_import(onnx_model(g), &graph, &err)) fail_msg("%s", err.message);
        t = &onnx_find(graph, "x")->type;
        assert_int_equal(t->rank, 5);
        assert_string_equal(qn_dims_symbol_name(graph->dims, t->dims[0]), "x[0]");
        assert_string_equal(qn_dims_symbol_name(graph->dims, t->dims[1]), "x[1]");
        assert_string_equal(qn_dims_symbol_name(graph->dims, t->dims[2]), "x[2]");
        assert_string_equal(qn_dims_symbol_name(graph->dims, t->dims[3]), "batch");
        assert_string_equal(qn_dims_symbol_name(graph->dims, t->dims[4]), "x[4]");
        qn_graph_destroy(graph);
    }
}

/* -- model ---------------------------------------------------------------------------------------------------------------- */

static void opsets_are_required_and_unique(void **state)
{
    static const struct {
        int64_t ir, versions[2];
        const char *domains[2];
        const char *node_domain;
        qn_status want;
        const char *text;
    } cases[] = {
        { 8, { 17, 0 }, { "", NULL }, "", QN_OK, "" },
        { 8, { 17, 17 }, { "", "ai.onnx" }, "ai.onnx", QN_OK, "" },
        { 2, { 0, 0 }, { NULL, NULL }, "", QN_OK, "" },
        { 3, { 0, 0 }, { NULL, NULL }, "", QN_ERR_FORMAT, "imports no opset" },
        { 0, { 17, 0 }, { "", NULL }, "", QN_ERR_FORMAT, "not an ONNX model" },
        { -1, { 17, 0 }, { "", NULL }, "", QN_ERR_FORMAT, "not an ONNX model" },
        { 8, { 17, 13 }, { "", "ai.onnx" }, "", QN_ERR_FORMAT, "both imported" },
        { 8, { 0, 0 }, { "", NULL }, "", QN_ERR_FORMAT, "positive version" },
        { 8, { -5, 0 }, { "", NULL }, "", QN_ERR_FORMAT, "positive version" },
        { 8, { 1, 0 }, { "com.microsoft", NULL }, "", QN_ERR_INVALID, "does not import" },
        { 8, { 17, 0 }, { "", NULL }, "com.microsoft", QN_ERR_INVALID, "'com.microsoft'" },
        { 8, { 17, 3 }, { "", "com.microsoft" }, "com.microsoft", QN_OK, "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pb m = { 0 }, node = onnx_node("Neg", "x", "y");
        qn_graph *g;
        qn_error err;

        pb_str(&node, 7, cases[i].node_domain);
        pb_int(&m, 1, cases[i].ir);
        pb_msg(&m, 7, graph_of_node(node, "y"));
        for (int k = 0; k < 2 && cases[i].domains[k]; k++) {
            pb opset = { 0 };

            pb_str(&opset, 1, cases[i].domains[k]);
            pb_int(&opset, 2, cases[i].versions[k]);
            pb_msg(&m, 8, opset);
        }
        if (cases[i].want) {
            onnx_refuses(m, cases[i].want, cases[i].text);
            continue;
        }
        if (onnx_import(m, &g, &err)) fail_msg("case %zu: %s", i, err.message);
        assert_int_equal(g->nodes[0].opset, cases[i].ir == 2 ? 1 : cases[i].versions[*cases[i].node_domain == 'c']);
        qn_graph_destroy(g);
    }
}

static pb function_of(const char *domain, const char *name, pb node)
{
    pb f = { 0 }, opset = { 0 };

    pb_str(&f, 1, name);
    pb_str(&f, 4, "a");
    pb_str(&f, 5, "b");
    pb_msg(&f, 7, node);
    pb_int(&opset, 2, 13);
    pb_msg(&f, 9, opset); /* behind the nodes that need it, as serializers write it */
    pb_str(&f, 10, domain);
    return f;
}

static void functions_are_read_when_a_node_calls_them(void **state)
{
    for (int used = 0; used < 2; used++) {
        pb m = onnx_model(graph_of_node(onnx_node(used ? "Gelu2" : "Neg", "x", "y"), "y"));
        qn_graph *g;
        qn_error err;

        pb_msg(&m, 25, function_of("ai.onnx", "Gelu2", onnx_node("Erf", "a", "b")));
        if (onnx_import(m, &g, &err)) fail_msg("%s", err.message);
        assert_int_equal(g->n_functions, used);
        assert_int_equal(g->nodes[0].function, used ? 0 : QN_NONE);
        if (used) {
            const qn_graph *body = g->functions[0].body;

            assert_string_equal(g->functions[0].label, ":Gelu2");
            assert_int_equal(body->n_inputs, 1);
            assert_int_equal(body->n_outputs, 1);
            assert_string_equal(body->nodes[0].op_type, "Erf");
            assert_int_equal(body->nodes[0].opset, 13);
            assert_int_equal(body->n_captures, 0);
        }
        qn_graph_destroy(g);
    }
    (void)state;
}

static void functions_that_are_not_well_formed_are_refused(void **state)
{
    for (int i = 0; i < 7; i++) {
        static const struct {
            qn_status want;
            const char *text;
        } want[] = { { QN_ERR_INVALID, "function ':F' is defined twice" },
                     { QN_ERR_INVALID, "function ':F': 'x' is read by node 'b'" },
                     { QN_ERR_INVALID, "does not import the opset of domain 'other'" },
                     { QN_ERR_FORMAT, "a function without a name" },
                     { QN_ERR_FORMAT, "has a value too" },
                     { QN_ERR_UNSUPPORTED, "reference to an attribute of type graph" },
                     { QN_ERR_INVALID, "input 'a': the name is taken" } };
        pb m = onnx_model(graph_of_node(onnx_node("F", "x", "y"), "y")), node = onnx_node("Erf", i == 1 ? "x" : "a", "b"), f, attr;

        if (i == 2) pb_str(&node, 7, "other");
        if (i == 4 || i == 5) {
            attr = onnx_attr("k", i == 4 ? 2 : 5);
            pb_str(&attr, 21, "k");
            if (i == 4) pb_int(&attr, 3, 1);
            pb_msg(&node, 5, attr);
        }
        f = function_of("", i == 3 ? "" : "F", node);
        if (i == 6) pb_str(&f, 4, "a");
        pb_msg(&m, 25, f);
        if (i == 0) pb_msg(&m, 25, function_of("ai.onnx", "F", onnx_node("Erf", "a", "b")));
        onnx_refuses(m, want[i].want, want[i].text);
    }
    (void)state;
}

static void names_must_be_text(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = { { "a\0b", 3 },     { "\xff", 1 }, { "\xc0\xaf", 2 }, { "\xed\xa0\x80", 3 }, { "\xf4\x90\x80\x80", 4 },
                { "\xe2\x82", 2 }, { "\x80", 1 } };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pb n = onnx_node("Neg", "x", "y"), g;

        pb_bytes(&n, 3, bad[i].bytes, bad[i].n);
        onnx_refuses(onnx_model(graph_of_node(n, "y")), QN_ERR_FORMAT, "not UTF-8");
        n = onnx_node("Neg", NULL, "y");
        pb_bytes(&n, 1, bad[i].bytes, bad[i].n);
        onnx_refuses(onnx_model(graph_of_node(n, "y")), QN_ERR_FORMAT, "not UTF-8");
        g = add_graph();
        {
            pb t = onnx_ones(NULL, 1);

            pb_bytes(&t, 8, bad[i].bytes, bad[i].n);
            pb_msg(&g, 5, t);
        }
        onnx_refuses(onnx_model(g), QN_ERR_FORMAT, "not UTF-8");
    }
    {
        pb n = onnx_node("Neg", "x", "y");
        char *longer = calloc(1, 70001);
        qn_graph *g;
        qn_error err;

        assert_non_null(longer);
        memset(longer, 'a', 70000);
        pb_str(&n, 3, longer);
        onnx_refuses(onnx_model(graph_of_node(n, "y")), QN_ERR_LIMIT, "65536");
        n = onnx_node("Neg", "x", "y");
        pb_str(&n, 3, "\xf0\x9f\x8c\xbe grain \xe2\x82\xac");
        assert_int_equal(onnx_import(onnx_model(graph_of_node(n, "y")), &g, &err), QN_OK);
        qn_graph_destroy(g);
        free(longer);
    }
}

static void messages_name_the_node_even_if_its_name_is_long(void **state)
{
    pb n = onnx_node("Neg", "nowhere", "y"), a = onnx_attr("axis", 2);
    char longer[301];

    (void)state;
    memset(longer, 'n', 300);
    longer[300] = 0;
    pb_str(&n, 3, longer);
    pb_float(&a, 2, 1);
    pb_msg(&n, 5, a);
    onnx_refuses(onnx_model(graph_of_node(n, "y")), QN_ERR_FORMAT, "...' (Neg): attribute 'axis': type is int");
}

/* -- nested graphs -------------------------------------------------------------------------------------------------------- */

/* If with one branch, `then`. */
static pb if_node(const char *cond, const char *out, pb then)
{
    pb n = onnx_node("If", cond, out), a = onnx_attr("then_branch", 5);

    pb_msg(&a, 6, then);
    pb_msg(&n, 5, a);
    return n;
}

/* A branch: out = Add(a, b). */
static pb branch(const char *ins, const char *out)
{
    pb g = { 0 };

    pb_msg(&g, 1, onnx_node("Add", ins, out));
    pb_msg(&g, 12, onnx_value(out, ONNX_FLOAT, dims_n3, 2));
    return g;
}

static qn_graph *then_of(qn_graph *g, int node) { return g->nodes[node].attrs[0].g; }

static void a_nested_graph_captures_what_it_does_not_define(void **state)
{
    pb g = graph_of_node(if_node("c", "y", branch("x,w", "t")), "y");
    qn_graph *graph, *then;
    qn_error err;

    (void)state;
    pb_msg(&g, 11, onnx_value("c", ONNX_BOOL, NULL, 0));
    pb_msg(&g, 5, onnx_ones("w", 3));
    if (onnx_import(onnx_model(g), &graph, &err)) fail_msg("%s", err.message);
    then = then_of(graph, 0);
    assert_true(then->outer == graph);
    assert_int_equal(then->n_captures, 2);
    for (int32_t i = 0; i < 2; i++)
        assert_string_equal(then->values[then->captures[i].inner].name, graph->values[then->captures[i].outer].name);
    assert_int_equal(onnx_find(then, "x")->type.dtype, QN_F32);
    assert_int_equal(onnx_find(then, "w")->type.rank, 1);
    assert_int_equal(qn_graph_sort(graph, &err), QN_OK);
    if (qn_graph_verify(graph, &err)) fail_msg("%s", err.message);
    qn_graph_destroy(graph);
}

static void a_capture_goes_through_the_graphs_in_between(void **state)
{
    pb inner = branch("x,x", "deep"), middle = { 0 }, g;
    qn_graph *graph, *mid, *in;
    qn_error err;

    (void)state;
    pb_msg(&middle, 1, if_node("c", "m", inner));
    pb_msg(&middle, 12, onnx_value("m", ONNX_FLOAT, dims_n3, 2));
    g = graph_of_node(if_node("c", "y", middle), "y");
    pb_msg(&g, 11, onnx_value("c", ONNX_BOOL, NULL, 0));
    if (onnx_import(onnx_model(g), &graph, &err)) fail_msg("%s", err.message);
    mid = then_of(graph, 0);
    in = then_of(mid, 0);
    assert_int_equal(mid->n_captures, 2); /* c for itself, x for the graph inside */
    assert_int_equal(in->n_captures, 1);
    assert_string_equal(mid->values[in->captures[0].outer].name, "x");
    assert_int_equal(mid->captures[1].inner, in->captures[0].outer);
    assert_int_equal(mid->captures[1].outer, graph->inputs[0]);
    assert_int_equal(qn_graph_sort(graph, &err), QN_OK);
    if (qn_graph_verify(graph, &err)) fail_msg("%s", err.message);
    qn_graph_destroy(graph);
}

static void an_inner_name_hides_the_outer_one_and_never_leaks_out(void **state)
{
    pb then = branch("x,x", "t"), g;
    qn_graph *graph;
    qn_error err;

    (void)state;
    pb_msg(&then, 5, onnx_ones("x", 3)); /* its own x */
    g = graph_of_node(if_node("c", "y", then), "y");
    pb_msg(&g, 11, onnx_value("c", ONNX_BOOL, NULL, 0));
    assert_int_equal(onnx_import(onnx_model(g), &graph, &err), QN_OK);
    assert_int_equal(then_of(graph, 0)->n_captures, 0);
    qn_graph_destroy(graph);

    g = graph_of_node(if_node("c", "y", branch("x,x", "t")), "y");
    pb_msg(&g, 11, onnx_value("c", ONNX_BOOL, NULL, 0));
    pb_msg(&g, 1, onnx_node("Neg", "t", "z")); /* t lives inside only */
    onnx_refuses(onnx_model(g), QN_ERR_INVALID, "'t' is read");

    g = graph_of_node(if_node("c", "y", branch("x,nowhere", "t")), "y");
    pb_msg(&g, 11, onnx_value("c", ONNX_BOOL, NULL, 0));
    onnx_refuses(onnx_model(g), QN_ERR_INVALID, "'nowhere' is read");
}

static void a_value_info_in_between_does_not_hide_the_outer_value(void **state)
{
    pb inner = branch("x,x", "deep"), middle = { 0 }, g;
    qn_graph *graph;
    qn_error err;

    (void)state;
    pb_msg(&middle, 13, onnx_value("x", ONNX_FLOAT, dims_n3, 2));
    pb_msg(&middle, 1, if_node("c", "m", inner));
    pb_msg(&middle, 12, onnx_value("m", ONNX_FLOAT, dims_n3, 2));
    g = graph_of_node(if_node("c", "y", middle), "y");
    pb_msg(&g, 11, onnx_value("c", ONNX_BOOL, NULL, 0));
    assert_int_equal(onnx_import(onnx_model(g), &graph, &err), QN_OK);
    assert_false(onnx_find(then_of(graph, 0), "x")->dead);
    assert_int_equal(qn_graph_sort(graph, &err), QN_OK);
    if (qn_graph_verify(graph, &err)) fail_msg("%s", err.message);
    qn_graph_destroy(graph);
}

static void nesting_is_bounded_and_costs_no_stack(void **state)
{
    static const int levels[] = { 5, 31, 33, 2000 };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        pb g = branch("x,x", "t");
        qn_graph *graph;
        qn_error err;

        for (int k = 0; k < levels[i]; k++) {
            pb outer = { 0 };

            pb_msg(&outer, 1, if_node("c", "t", g));
            pb_msg(&outer, 12, onnx_value("t", ONNX_FLOAT, dims_n3, 2));
            g = outer;
        }
        pb_msg(&g, 11, onnx_value("c", ONNX_BOOL, NULL, 0));
        pb_msg(&g, 11, onnx_value("x", ONNX_FLOAT, dims_n3, 2));
        if (levels[i] > 31) {
            onnx_refuses(onnx_model(g), QN_ERR_LIMIT, "nested");
            continue;
        }
        if (onnx_import(onnx_model(g), &graph, &err)) fail_msg("%s", err.message);
        assert_int_equal(qn_graph_sort(graph, &err), QN_OK);
        if (qn_graph_verify(graph, &err)) fail_msg("%s", err.message);
        qn_graph_destroy(graph);
    }
}

static void nodes_are_counted_through_all_graphs(void **state)
{
    pb g = graph_of_node(if_node("c", "y", branch("x,x", "t")), "y"), m;
    qn_limits limits = { .n_nodes = 1 };
    qn_graph *graph;
    qn_error err;

    (void)state;
    pb_msg(&g, 11, onnx_value("c", ONNX_BOOL, NULL, 0));
    m = onnx_model(g);
    assert_int_equal(onnx_import_at(&m, &limits, -1, &graph, NULL, &err), QN_ERR_LIMIT);
    limits.n_nodes = 2;
    assert_int_equal(onnx_import_at(&m, &limits, -1, &graph, NULL, &err), QN_OK);
    qn_graph_destroy(graph);
    pb_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_model_is_kept_as_written),
        cmocka_unit_test(every_kind_of_attribute_is_kept),
        cmocka_unit_test(attributes_that_contradict_themselves_are_refused),
        cmocka_unit_test(nodes_need_not_be_sorted_and_inputs_may_be_left_out),
        cmocka_unit_test(names_defined_twice_or_never_are_refused),
        cmocka_unit_test(value_info_types_what_exists_and_nothing_else),
        cmocka_unit_test(an_initializer_may_be_the_default_of_an_input_it_fits),
        cmocka_unit_test(sequences_optionals_and_maps_keep_their_kind),
        cmocka_unit_test(types_quern_does_not_have_are_named),
        cmocka_unit_test(an_attribute_may_be_a_type),
        cmocka_unit_test(free_dimensions_of_inputs_get_symbols_and_negative_ones_are_refused),
        cmocka_unit_test(opsets_are_required_and_unique),
        cmocka_unit_test(functions_are_read_when_a_node_calls_them),
        cmocka_unit_test(functions_that_are_not_well_formed_are_refused),
        cmocka_unit_test(names_must_be_text),
        cmocka_unit_test(messages_name_the_node_even_if_its_name_is_long),
        cmocka_unit_test(a_nested_graph_captures_what_it_does_not_define),
        cmocka_unit_test(a_capture_goes_through_the_graphs_in_between),
        cmocka_unit_test(an_inner_name_hides_the_outer_one_and_never_leaks_out),
        cmocka_unit_test(a_value_info_in_between_does_not_hide_the_outer_value),
        cmocka_unit_test(nesting_is_bounded_and_costs_no_stack),
        cmocka_unit_test(nodes_are_counted_through_all_graphs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
