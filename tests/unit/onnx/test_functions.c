/* tests/unit/onnx/test_functions.c - calls of model-local functions become nodes. Models are written byte by byte and imported; the pass
 * runs on a copy at the import stage, where no op needs a row. */
#include "tests/unit/onnx/pb_build.h"

#include "core/graph/passes/rewrite.h"

#include <stdio.h>

/* FunctionProto "pkg:NAME"; in and out are "a,b" lists. The caller adds nodes (field 7). */
static pb function(const char *name, const char *in, const char *out)
{
    pb f = { 0 }, opset = { 0 }, own = { 0 };

    pb_str(&f, 1, name);
    for (uint32_t k = 0; k < 2; k++) {
        const char *s = k ? out : in;

        while (*s) {
            size_t len = strcspn(s, ",");

            pb_bytes(&f, 4 + k, s, len);
            s += len + (s[len] == ',');
        }
    }
    pb_int(&opset, 2, 13);
    pb_msg(&f, 9, opset);
    pb_str(&own, 1, "pkg");
    pb_int(&own, 2, 1);
    pb_msg(&f, 9, own);
    pb_str(&f, 10, "pkg");
    return f;
}

static pb call(const char *name, const char *in, const char *out)
{
    pb n = onnx_node(name, in, out);

    pb_str(&n, 7, "pkg");
    return n;
}

static void add_ref(pb *node, const char *name, int type, const char *to)
{
    pb a = onnx_attr(name, type);

    pb_str(&a, 21, to);
    pb_msg(node, 5, a);
}

static pb float_attr(const char *name, float v)
{
    pb a = onnx_attr(name, 1);

    pb_float(&a, 2, v);
    return a;
}

/* A graph without inputs: one node, one output. */
static pb subgraph(pb node, const char *out)
{
    pb g = { 0 }, o = { 0 };

    pb_msg(&g, 1, node);
    pb_str(&o, 1, out);
    pb_msg(&g, 12, o);
    return g;
}

/* The model: x [2] -> node -> y. */
static pb model_of(pb node)
{
    pb g = { 0 }, out = { 0 };

    pb_msg(&g, 1, node);
    pb_msg(&g, 11, onnx_value("x", ONNX_FLOAT, (int64_t[]){ 2 }, 1));
    pb_str(&out, 1, "y");
    pb_msg(&g, 12, out);
    return onnx_model(g);
}

static qn_status inlined(pb m, int64_t max_nodes, qn_graph **out, qn_error *err)
{
    qn_limits limits = { .n_nodes = max_nodes };
    qn_graph *import, *g = NULL;
    qn_status st = onnx_import_at(&m, &limits, -1, &import, NULL, err);

    *out = NULL;
    if (st) fail_msg("import: %s", err->message);
    pb_free(&m);
    assert_int_equal(qn_graph_clone(import, QN_STAGE_IMPORT, &g, err), QN_OK);
    st = qn_pass_functions(g, import, err);
    qn_graph_destroy(import); /* what was made needs nothing of it */
    if (!st) st = qn_graph_sort(g, err);
    if (!st) st = qn_graph_verify(g, err);
    if (st) {
        qn_graph_destroy(g);
        return st;
    }
    *out = g;
    return QN_OK;
}

static qn_graph *inlined_ok(pb m)
{
    qn_error err = { 0 };
    qn_graph *g;

    if (inlined(m, 0, &g, &err)) fail_msg("%s", err.message);
    return g;
}

static void refused(pb m, int64_t max_nodes, qn_status want, const char *text)
{
    qn_error err = { 0 };
    qn_graph *g;
    qn_status st = inlined(m, max_nodes, &g, &err);

    if (st != want || !strstr(err.message, text)) print_error("got %d '%s'\n", st, err.message);
    assert_int_equal(st, want);
    assert_non_null(strstr(err.message, text));
}

static const qn_node *nth(const qn_graph *g, int32_t i) { return &g->nodes[g->order[i]]; }

static void nested_calls_pass_their_attributes_on(void **state)
{
    pb inner = function("Inner", "a", "b"), outer = function("Outer", "p", "q"), node = onnx_node("LeakyRelu", "a", "b"), top, m;
    qn_graph *g;

    (void)state;
    add_ref(&node, "alpha", 1, "slope");
    add_ref(&node, "gone", 1, "nobody");
    pb_msg(&inner, 7, node);
    pb_msg(&inner, 11, float_attr("slope", 0.25f));
    node = call("Inner", "p", "t");
    add_ref(&node, "slope", 1, "s");
    pb_msg(&outer, 7, node);
    pb_msg(&outer, 7, call("Inner", "t", "q")); /* the default */
    top = call("Outer", "x", "y");
    pb_msg(&top, 5, float_attr("s", 0.5f));
    m = model_of(top);
    pb_msg(&m, 25, inner);
    pb_msg(&m, 25, outer);
    g = inlined_ok(m);
    assert_int_equal(g->n_order, 2);
    assert_string_equal(nth(g, 0)->op_type, "LeakyRelu");
    assert_int_equal(nth(g, 0)->opset, 13); /* of the function: the model has 17 */
    assert_int_equal(nth(g, 0)->n_attrs, 1);
    assert_true(qn_node_float(nth(g, 0), "alpha", 0) == 0.5f);
    assert_true(qn_node_float(nth(g, 1), "alpha", 0) == 0.25f);
    assert_string_equal(g->values[nth(g, 0)->out[0]].name, "y/t");
    assert_int_equal(nth(g, 1)->out[0], g->outputs[0]);
    qn_graph_destroy(g);
}

static void graphs_in_a_function_read_the_values_of_the_call(void **state)
{
    pb leaky = onnx_node("LeakyRelu", "k", "s"), branch = onnx_node("If", "c", "q"), f = function("F", "c,k", "q"), a, m;
    pb h = function("H", "a", "b");
    qn_graph *g;
    const qn_graph *then;

    (void)state;
    add_ref(&leaky, "alpha", 1, "slope");
    a = onnx_attr("then_branch", 5);
    pb_msg(&a, 6, subgraph(leaky, "s"));
    pb_msg(&branch, 5, a);
    a = onnx_attr("else_branch", 5);
    pb_msg(&a, 6, subgraph(call("H", "k", "e"), "e"));
    pb_msg(&branch, 5, a);
    pb_msg(&f, 7, branch);
    pb_msg(&f, 11, float_attr("slope", 2));
    pb_msg(&h, 7, onnx_node("Neg", "a", "b"));
    m = model_of(call("F", "x,x", "y"));
    pb_msg(&m, 25, f);
    pb_msg(&m, 25, h);
    g = inlined_ok(m);
    assert_int_equal(g->n_order, 1);
    then = nth(g, 0)->attrs[0].g;
    assert_int_equal(then->n_captures, 1);
    assert_string_equal(g->values[then->captures[0].outer].name, "x");
    assert_true(qn_node_float(nth(then, 0), "alpha", 0) == 2);
    assert_string_equal(nth(nth(g, 0)->attrs[1].g, 0)->op_type, "Neg");
    qn_graph_destroy(g);
}

static void inputs_and_outputs_may_be_left_out(void **state)
{
    pb f = function("F", "a,lo,hi", "b,a,b"), m, g1;
    qn_graph *g;
    int identities = 0;

    (void)state;
    pb_msg(&f, 7, onnx_node("Clip", "a,lo,hi", "b"));
    m = model_of(call("F", "x,,x", "y,t,u"));
    pb_msg(&m, 25, f);
    g = inlined_ok(m);
    assert_int_equal(g->n_order, 3);
    for (int32_t i = 0; i < 3; i++) {
        if (strcmp(nth(g, i)->op_type, "Identity") == 0) identities++;
        if (strcmp(nth(g, i)->op_type, "Clip") == 0) assert_int_equal(nth(g, i)->in[1], QN_NONE);
    }
    assert_int_equal(identities, 2);
    qn_graph_destroy(g);

    f = function("F", "a,lo", "b,lo");
    pb_msg(&f, 7, onnx_node("Neg", "a", "b"));
    g1 = model_of(call("F", "x", "y,t"));
    pb_msg(&g1, 25, f);
    refused(g1, 0, QN_ERR_INVALID, "input 'lo' of function 'pkg:F' is left out, but the function gives it back");
}

static void recursion_is_refused_by_name(void **state)
{
    for (int i = 0; i < 3; i++) {
        pb a = function("A", "a", "b"), b = function("B", "a", "b"), node, attr, m;

        if (i == 2) { /* hidden in a graph */
            node = onnx_node("If", "a", "b");
            attr = onnx_attr("then_branch", 5);
            pb_msg(&attr, 6, subgraph(call("B", "a", "s"), "s"));
            pb_msg(&node, 5, attr);
        } else {
            node = call(i ? "B" : "A", "a", "b");
        }
        pb_msg(&a, 7, node);
        pb_msg(&b, 7, call("A", "a", "b"));
        m = model_of(call("A", "x", "y"));
        pb_msg(&m, 25, a);
        pb_msg(&m, 25, b);
        refused(m, 0, QN_ERR_INVALID, i ? "function 'pkg:A' calls itself through 'pkg:B'" : "function 'pkg:A' calls itself, expected");
    }
    (void)state;
}

/* n functions, each calling the next one twice: 2^n nodes. */
static pb doubling(int n)
{
    pb m = model_of(call("F0", "x", "y"));
    char name[8], next[8];

    for (int i = 0; i <= n; i++) {
        pb f;

        snprintf(name, sizeof name, "F%d", i);
        snprintf(next, sizeof next, "F%d", i + 1);
        f = function(name, "a", "b");
        pb_msg(&f, 7, i == n ? onnx_node("Neg", "a", "t") : call(next, "a", "t"));
        pb_msg(&f, 7, i == n ? onnx_node("Neg", "t", "b") : call(next, "t", "b"));
        pb_msg(&m, 25, f);
    }
    return m;
}

static void expansion_is_counted_before_it_is_built(void **state)
{
    qn_graph *g;
    qn_error err = { 0 };

    (void)state;
    refused(doubling(30), 0, QN_ERR_LIMIT, "at most 100000 (limit n_nodes)");
    refused(doubling(100), 0, QN_ERR_LIMIT, "more than 18446744073709551615 nodes");
    /* 8 calls deep: 2 * 2^8 leaves, and the calls above them count while they are there */
    refused(doubling(8), 1000, QN_ERR_LIMIT, "has 1023 nodes, at most 1000");
    if (inlined(doubling(8), 1023, &g, &err)) fail_msg("%s", err.message);
    assert_int_equal(g->n_order, 512);
    qn_graph_destroy(g);
}

static void calls_must_fit_their_function(void **state)
{
    pb f = function("F", "a", "b"), m, top;

    (void)state;
    pb_msg(&f, 7, onnx_node("Neg", "a", "b"));
    m = model_of(call("F", "x,x", "y"));
    pb_msg(&m, 25, f);
    refused(m, 0, QN_ERR_INVALID, "'pkg:F' is called with 2 inputs and 1 outputs, it has 1 and 1");

    f = function("F", "a", "b");
    top = onnx_node("LeakyRelu", "a", "b");
    add_ref(&top, "alpha", 2, "s");
    pb_msg(&f, 7, top);
    top = call("F", "x", "y");
    pb_msg(&top, 5, float_attr("s", 1));
    m = model_of(top);
    pb_msg(&m, 25, f);
    refused(m, 0, QN_ERR_INVALID, "attribute 's' has another type");

    f = function("F", "a", "b");
    pb_msg(&f, 7, onnx_node("Add", "a,t", "b"));
    pb_msg(&f, 7, onnx_node("Neg", "b", "t"));
    m = model_of(call("F", "x", "y"));
    pb_msg(&m, 25, f);
    refused(m, 0, QN_ERR_INVALID, "is on a cycle");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nested_calls_pass_their_attributes_on),   cmocka_unit_test(graphs_in_a_function_read_the_values_of_the_call),
        cmocka_unit_test(inputs_and_outputs_may_be_left_out),      cmocka_unit_test(recursion_is_refused_by_name),
        cmocka_unit_test(expansion_is_counted_before_it_is_built), cmocka_unit_test(calls_must_fit_their_function),
    };

    return cmocka_run_group_tests_name("functions", tests, NULL, NULL);
}
