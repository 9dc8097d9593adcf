/* core/graph/graph.c - making, copying and changing a graph.
 *
 * Arrays in the arena grow by doubling: the old copy stays behind until the graph goes, so a qn_node * or qn_value * taken
 * before qn_graph_add_*() shows old data afterwards; take ids across such calls.
 * Recursion follows subgraphs only, and qn_graph_create() refuses to nest deeper than QN_GRAPH_MAX_DEPTH. */
#include "core/graph/graph.h"

#include "core/base/checked.h"
#include "core/graph/op.h"
#include "core/graph/weight.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static qn_status no_memory(qn_error *err, const char *what) { return qn_error_set(err, QN_ERR_NOMEM, "%s", what); }

static int32_t depth_of(const qn_graph *g)
{
    int32_t d = 0;

    for (; g; g = g->outer) d++;
    return d;
}

qn_status qn_graph_create(const qn_op_table *ops, qn_graph *outer, const char *name, qn_graph **out, qn_error *err)
{
    qn_graph *g;
    qn_status st = QN_OK;

    *out = NULL;
    if (depth_of(outer) >= QN_GRAPH_MAX_DEPTH)
        return qn_error_set(err, QN_ERR_LIMIT, "subgraph %s: nested deeper than %d", name ? name : "", QN_GRAPH_MAX_DEPTH);
    g = calloc(1, sizeof *g);
    if (!g) return no_memory(err, "graph");
    qn_arena_init(&g->arena, 0);
    qn_map_init(&g->by_name);
    g->ops = ops;
    g->outer = outer;
    g->name = qn_arena_strdup(&g->arena, name ? name : "");
    if (!g->name) st = no_memory(err, "graph");
    if (st == QN_OK && outer) {
        g->dims = outer->dims;
        g->store = outer->store;
        g->stage = outer->stage;
    } else if (st == QN_OK) {
        st = qn_dims_create(&g->dims, err);
    }
    if (st == QN_OK)
        *out = g;
    else
        qn_graph_destroy(g);
    return st;
}

static void release_attr(qn_attr *a)
{
    if (a->type == QN_ATTR_TENSOR) qn_weight_unref(a->t);
    if (a->type == QN_ATTR_GRAPH) qn_graph_destroy(a->g);
    if (a->type == QN_ATTR_TENSORS && a->tensors)
        for (int64_t i = 0; i < a->n; i++) qn_weight_unref(a->tensors[i]);
    if (a->type == QN_ATTR_GRAPHS && a->graphs)
        for (int64_t i = 0; i < a->n; i++) qn_graph_destroy(a->graphs[i]);
    a->type = 0;
}

static void release_attrs(qn_node *n)
{
    for (int32_t i = 0; i < n->n_attrs; i++) release_attr(&n->attrs[i]);
    n->n_attrs = 0;
}

void qn_graph_destroy(qn_graph *g)
{
    if (!g) return;
    for (int32_t i = 0; i < g->n_nodes; i++) release_attrs(&g->nodes[i]);
    for (int32_t i = 0; i < g->n_values; i++) qn_weight_unref(g->values[i].weight);
    for (int32_t i = 0; i < g->n_functions; i++) {
        for (int32_t k = 0; k < g->functions[i].n_defaults; k++) release_attr(&g->functions[i].defaults[k]);
        qn_graph_destroy(g->functions[i].body);
    }
    qn_map_release(&g->by_name);
    if (!g->outer) qn_dims_destroy(g->dims);
    qn_arena_release(&g->arena);
    free(g);
}

/* -- adding --------------------------------------------------------------------------------------------------------------- */

/* Room for one more element in an array of the arena. */
static bool reserve_one(qn_arena *a, void **array, int32_t n, int32_t *cap, size_t size)
{
    int32_t c = *cap ? *cap : 16;
    void *p;

    if (n < *cap) return true;
    if (*cap) {
        if (c > INT32_MAX / 2) return false;
        c *= 2;
    }
    p = qn_arena_array(a, (size_t)c, size);
    if (!p) return false;
    if (n) memcpy(p, *array, (size_t)n * size);
    *array = p;
    *cap = c;
    return true;
}

qn_status qn_graph_add_value(qn_graph *g, const char *name, qn_value_id *out, qn_error *err)
{
    void *values = g->values;
    const char *copy;

    *out = QN_NONE;
    if (qn_map_get(&g->by_name, name) >= 0) return qn_error_set(err, QN_ERR_INVALID, "value %s is defined twice", name);
    copy = qn_arena_strdup(&g->arena, name);
    if (!copy || !reserve_one(&g->arena, &values, g->n_values, &g->cap_values, sizeof *g->values)) return no_memory(err, "value");
    g->values = values;
    if (!qn_map_put(&g->by_name, copy, g->n_values)) return no_memory(err, "value");
    g->values[g->n_values] = (qn_value){
        .name = copy,
        .type = { .rank = -1, .quant = { .scale = QN_NONE, .zero_point = QN_NONE, .axis = -1 } },
        .producer = QN_NONE,
    };
    *out = g->n_values++;
    return QN_OK;
}

qn_status qn_graph_add_temp(qn_graph *g, const char *stem, qn_value_id *out, qn_error *err)
{
    char name[160];

    /* A slash and a number that only grows: a loop is needed only where the file itself uses such names. */
    do snprintf(name, sizeof name, "%.120s/%" PRId32, stem, g->n_temps++);
    while (qn_map_get(&g->by_name, name) >= 0);
    return qn_graph_add_value(g, name, out, err);
}

qn_status qn_graph_add_const(qn_graph *g, const char *stem, qn_weight *w, qn_value_id *out, qn_error *err)
{
    qn_status st = qn_graph_add_temp(g, stem, out, err);
    qn_tensor shape;
    qn_type *type;

    if (st != QN_OK) {
        qn_weight_unref(w);
        return st;
    }
    qn_weight_shape(w, &shape);
    type = &g->values[*out].type;
    type->dtype = shape.dtype;
    type->rank = shape.rank;
    for (int32_t d = 0; d < shape.rank; d++) type->dims[d] = qn_dims_const(g->dims, shape.dims[d]);
    g->values[*out].weight = w;
    return qn_dims_status(g->dims, err);
}

qn_status qn_graph_add_ints(qn_graph *g, const char *stem, const int64_t *vals, int32_t n, qn_value_id *out, qn_error *err)
{
    qn_tensor t = { .dtype = QN_I64, .rank = n < 0 ? 0 : 1, .dims = { n < 0 ? 0 : n } };
    qn_weight *w = NULL;
    qn_status st;

    *out = QN_NONE;
    t.data = (void *)(uintptr_t)vals; /* read only: the weight copies */
    t.bytes = (n < 0 ? 1 : (size_t)n) * sizeof *vals;
    st = qn_weight_from_tensor(&t, &w, err);
    return st == QN_OK ? qn_graph_add_const(g, stem, w, out, err) : st;
}

/* "" and "ai.onnx" are one domain; the short name is kept. */
static const char *short_domain(const char *domain) { return strcmp(domain, "ai.onnx") == 0 ? "" : domain; }

qn_status qn_graph_add_node(qn_graph *g, const char *domain, const char *op_type, const char *name, int32_t n_in, int32_t n_out,
                            int32_t n_attrs, qn_node_id *out, qn_error *err)
{
    void *nodes = g->nodes;
    qn_node n = { .n_in = n_in, .n_out = n_out, .n_attrs = n_attrs, .function = QN_NONE };

    *out = QN_NONE;
    if (n_in < 0 || n_out < 0 || n_attrs < 0) return qn_error_set(err, QN_ERR_INVALID, "node with a negative count");
    n.name = qn_arena_strdup(&g->arena, name ? name : "");
    n.domain = qn_arena_strdup(&g->arena, short_domain(domain));
    n.op_type = qn_arena_strdup(&g->arena, op_type);
    n.in = qn_arena_array(&g->arena, (size_t)n_in, sizeof *n.in);
    n.out = qn_arena_array(&g->arena, (size_t)n_out, sizeof *n.out);
    n.attrs = qn_arena_array(&g->arena, (size_t)n_attrs, sizeof *n.attrs);
    if (!n.name || !n.domain || !n.op_type || !n.in || !n.out || !n.attrs ||
        !reserve_one(&g->arena, &nodes, g->n_nodes, &g->cap_nodes, sizeof *g->nodes))
        return no_memory(err, "node");
    for (int32_t i = 0; i < n_in; i++) n.in[i] = QN_NONE;
    for (int32_t i = 0; i < n_out; i++) n.out[i] = QN_NONE;
    g->nodes = nodes;
    g->nodes[g->n_nodes] = n;
    *out = g->n_nodes++;
    return QN_OK;
}

/* -- copying -------------------------------------------------------------------------------------------------------------- */

static void *copy_bytes(qn_arena *a, const void *src, size_t n, size_t size, bool *ok)
{
    void *p = qn_arena_array(a, n, size);

    if (!p)
        *ok = false;
    else if (n)
        memcpy(p, src, n * size);
    return p;
}

static const char *copy_text(qn_arena *a, const char *s, bool *ok)
{
    char *p = s ? qn_arena_strdup(a, s) : NULL;

    if (s && !p) *ok = false;
    return p;
}

static qn_status clone_into(const qn_graph *src, qn_graph *outer, qn_stage stage, qn_graph **out, qn_error *err);

static qn_status clone_graph_attr(qn_attr *to, const qn_attr *from, qn_graph *g, qn_error *err)
{
    qn_status st = QN_OK;

    if (from->type == QN_ATTR_GRAPH) return clone_into(from->g, g, g->stage, &to->g, err);
    to->graphs = qn_arena_array(&g->arena, (size_t)from->n, sizeof *to->graphs);
    if (!to->graphs) return no_memory(err, "copy of a graph");
    for (int64_t i = 0; i < from->n && st == QN_OK; i++) st = clone_into(from->graphs[i], g, g->stage, &to->graphs[i], err);
    return st;
}

/* `to` is zeroed; on failure it holds only what may be released. */
static qn_status clone_attr(qn_attr *to, const qn_attr *from, qn_graph *g, qn_error *err)
{
    qn_arena *a = &g->arena;
    size_t n = from->n > 0 ? (size_t)from->n : 0;
    bool ok = true;

    to->name = copy_text(a, from->name, &ok);
    to->ref = copy_text(a, from->ref, &ok);
    if (!ok) return no_memory(err, "copy of a graph");
    if (from->ref) {
        to->type = from->type;
        return QN_OK;
    }
    switch (from->type) {
    case QN_ATTR_FLOAT: to->f = from->f; break;
    case QN_ATTR_INT: to->i = from->i; break;
    case QN_ATTR_STRING:
        to->s = qn_arena_strndup(a, from->s, n);
        ok = to->s != NULL;
        break;
    case QN_ATTR_TENSOR: to->t = from->t ? qn_weight_ref(from->t) : NULL; break;
    case QN_ATTR_FLOATS: to->floats = copy_bytes(a, from->floats, n, sizeof *to->floats, &ok); break;
    case QN_ATTR_INTS: to->ints = copy_bytes(a, from->ints, n, sizeof *to->ints, &ok); break;
    case QN_ATTR_STRINGS:
        to->strings = qn_arena_array(a, n, sizeof *to->strings);
        ok = to->strings != NULL;
        for (size_t i = 0; i < n && ok; i++) to->strings[i] = copy_text(a, from->strings[i], &ok);
        break;
    case QN_ATTR_TENSORS:
        to->tensors = qn_arena_array(a, n, sizeof *to->tensors);
        ok = to->tensors != NULL;
        for (size_t i = 0; i < n && ok; i++) to->tensors[i] = from->tensors[i] ? qn_weight_ref(from->tensors[i]) : NULL;
        break;
    case QN_ATTR_TYPE: to->ty = copy_bytes(a, from->ty, 1, sizeof *to->ty, &ok); break;
    case QN_ATTR_GRAPH:
    case QN_ATTR_GRAPHS: {
        qn_status st;

        to->n = from->n;
        to->type = from->type; /* before the copy: what was made of it is released with the node */
        st = clone_graph_attr(to, from, g, err);
        if (st != QN_OK && from->type == QN_ATTR_GRAPHS && !to->graphs) to->n = 0;
        return st;
    }
    }
    if (!ok) return no_memory(err, "copy of a graph");
    to->n = from->n;
    to->type = from->type;
    return QN_OK;
}

qn_status qn_graph_copy_attr(qn_graph *g, const qn_attr *from, qn_attr *to, qn_error *err) { return clone_attr(to, from, g, err); }

static qn_status clone_nodes(qn_graph *g, const qn_graph *src, qn_error *err)
{
    bool ok = true;
    qn_status st = QN_OK;

    g->nodes = qn_arena_array(&g->arena, (size_t)src->n_nodes, sizeof *g->nodes);
    if (!g->nodes) return no_memory(err, "copy of a graph");
    g->cap_nodes = src->n_nodes;
    for (int32_t i = 0; i < src->n_nodes && st == QN_OK; i++) {
        const qn_node *from = &src->nodes[i];
        qn_node *to = &g->nodes[i];

        g->n_nodes = i + 1;
        *to = *from;
        to->n_attrs = 0; /* counted up, so that a failure releases what is there and no more */
        to->name = copy_text(&g->arena, from->name, &ok);
        to->domain = copy_text(&g->arena, from->domain, &ok);
        to->op_type = copy_text(&g->arena, from->op_type, &ok);
        to->in = copy_bytes(&g->arena, from->in, (size_t)from->n_in, sizeof *to->in, &ok);
        to->out = copy_bytes(&g->arena, from->out, (size_t)from->n_out, sizeof *to->out, &ok);
        to->attrs = qn_arena_array(&g->arena, (size_t)from->n_attrs, sizeof *to->attrs);
        if (!ok || !to->attrs) return no_memory(err, "copy of a graph");
        for (int32_t k = 0; k < from->n_attrs && st == QN_OK; k++) {
            to->n_attrs = k + 1;
            st = clone_attr(&to->attrs[k], &from->attrs[k], g, err);
        }
    }
    return st;
}

static qn_status clone_values(qn_graph *g, const qn_graph *src, qn_error *err)
{
    bool ok = true;

    g->values = qn_arena_array(&g->arena, (size_t)src->n_values, sizeof *g->values);
    if (!g->values) return no_memory(err, "copy of a graph");
    g->cap_values = src->n_values;
    for (int32_t i = 0; i < src->n_values; i++) {
        const qn_value *from = &src->values[i];
        qn_value *to = &g->values[i];

        *to = *from;
        to->weight = from->weight ? qn_weight_ref(from->weight) : NULL;
        g->n_values = i + 1;
        to->name = copy_text(&g->arena, from->name, &ok);
        if (from->known) {
            to->known = copy_bytes(&g->arena, from->known, 1, sizeof *to->known, &ok);
            if (ok) to->known->elems = copy_bytes(&g->arena, from->known->elems, (size_t)from->known->n, sizeof(qn_dim), &ok);
        }
        if (!ok || (!to->dead && !qn_map_put(&g->by_name, to->name, i))) return no_memory(err, "copy of a graph");
    }
    return QN_OK;
}

static qn_status clone_rest(qn_graph *g, const qn_graph *src, qn_error *err)
{
    qn_arena *a = &g->arena;
    bool ok = true;

    g->order = copy_bytes(a, src->order, (size_t)src->n_order, sizeof *g->order, &ok);
    g->inputs = copy_bytes(a, src->inputs, (size_t)src->n_inputs, sizeof *g->inputs, &ok);
    g->outputs = copy_bytes(a, src->outputs, (size_t)src->n_outputs, sizeof *g->outputs, &ok);
    g->captures = copy_bytes(a, src->captures, (size_t)src->n_captures, sizeof *g->captures, &ok);
    g->opsets = copy_bytes(a, src->opsets, (size_t)src->n_opsets, sizeof *g->opsets, &ok);
    g->metadata = copy_bytes(a, src->metadata, (size_t)src->n_metadata, sizeof *g->metadata, &ok);
    for (int32_t i = 0; i < src->n_opsets && ok; i++) g->opsets[i].domain = copy_text(a, src->opsets[i].domain, &ok);
    for (int32_t i = 0; i < src->n_metadata && ok; i++) {
        g->metadata[i].key = copy_text(a, src->metadata[i].key, &ok);
        g->metadata[i].value = copy_text(a, src->metadata[i].value, &ok);
    }
    if (!ok) return no_memory(err, "copy of a graph");
    g->n_order = src->n_order;
    g->n_inputs = src->n_inputs;
    g->n_outputs = src->n_outputs;
    g->n_captures = src->n_captures;
    g->n_opsets = src->n_opsets;
    g->n_metadata = src->n_metadata;
    g->max_nodes = src->max_nodes;
    g->n_temps = src->n_temps;
    return QN_OK;
}

static qn_status clone_into(const qn_graph *src, qn_graph *outer, qn_stage stage, qn_graph **out, qn_error *err)
{
    qn_graph *g;
    qn_status st = qn_graph_create(src->ops, outer, src->name, &g, err);

    *out = NULL;
    if (st != QN_OK) return st;
    g->stage = stage;
    g->store = src->store;
    if (!outer) {
        qn_dims_destroy(g->dims);
        st = qn_dims_clone(src->dims, &g->dims, err);
    }
    if (st == QN_OK) st = clone_values(g, src, err);
    if (st == QN_OK) st = clone_nodes(g, src, err);
    if (st == QN_OK) st = clone_rest(g, src, err);
    if (st == QN_OK)
        *out = g;
    else
        qn_graph_destroy(g);
    return st;
}

qn_status qn_graph_clone(const qn_graph *g, qn_stage stage, qn_graph **out, qn_error *err)
{
    assert(!g->outer); /* a subgraph lives only inside its outer graph */
    return clone_into(g, NULL, stage, out, err);
}

qn_status qn_graph_emit(qn_graph *g, const char *domain, const char *op_type, int64_t opset, const char *name, const qn_value_id *in,
                        int32_t n_in, const qn_value_id *out, int32_t n_out, const qn_attr *attrs, int32_t n_attrs, qn_node_id *id,
                        qn_error *err)
{
    const qn_op *op = qn_op_find(g->ops, domain, op_type, opset, NULL);
    qn_node *n;
    qn_node_id made;
    qn_status st;

    if (id) *id = QN_NONE;
    if (!op)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "node %.60s: op %.24s.%.40s (opset %" PRId64 ") is unsupported", name,
                            *domain ? domain : "ai.onnx", op_type, opset);
    st = qn_graph_add_node(g, domain, op_type, name, n_in, n_out, n_attrs, &made, err);
    if (st != QN_OK) return st;
    n = &g->nodes[made];
    n->op = op;
    n->opset = opset;
    n->n_attrs = 0;
    for (int32_t i = 0; i < n_attrs && st == QN_OK; i++) {
        n->n_attrs = i + 1;
        st = clone_attr(&n->attrs[i], &attrs[i], g, err);
    }
    if (st != QN_OK) {
        release_attrs(n);
        n->dead = true;
        return st;
    }
    for (int32_t i = 0; i < n_in; i++) n->in[i] = in[i];
    for (int32_t i = 0; i < n_out; i++) {
        n->out[i] = out[i];
        if (out[i] != QN_NONE) g->values[out[i]].producer = made;
    }
    if (id) *id = made;
    return QN_OK;
}

/* -- changing ------------------------------------------------------------------------------------------------------------- */

/* Call fn for every graph in the attributes of n. */
static void each_subgraph(const qn_node *n, void (*fn)(qn_graph *sub, void *ctx), void *ctx)
{
    for (int32_t k = 0; k < n->n_attrs; k++) {
        const qn_attr *a = &n->attrs[k];

        if (a->type == QN_ATTR_GRAPH && a->g) fn(a->g, ctx);
        if (a->type == QN_ATTR_GRAPHS)
            for (int64_t i = 0; i < a->n; i++)
                if (a->graphs[i]) fn(a->graphs[i], ctx);
    }
}

static void move_captures(qn_graph *sub, void *ctx)
{
    const qn_value_id *move = ctx;

    for (int32_t i = 0; i < sub->n_captures; i++)
        if (sub->captures[i].outer == move[0]) sub->captures[i].outer = move[1];
}

void qn_graph_replace_uses(qn_graph *g, qn_value_id from, qn_value_id to)
{
    qn_value_id move[2] = { from, to };

    for (int32_t i = 0; i < g->n_nodes; i++) {
        qn_node *n = &g->nodes[i];

        if (n->dead) continue;
        for (int32_t k = 0; k < n->n_in; k++)
            if (n->in[k] == from) n->in[k] = to;
        each_subgraph(n, move_captures, move);
    }
}

void qn_graph_kill_node(qn_graph *g, qn_node_id id)
{
    qn_node *n = &g->nodes[id];

    n->dead = true;
    for (int32_t i = 0; i < n->n_out; i++)
        if (n->out[i] != QN_NONE && g->values[n->out[i]].producer == id) g->values[n->out[i]].producer = QN_NONE;
}

typedef struct marking {
    qn_graph *g;
    bool *live;         /* [n_values] something needs it */
    qn_value_id *stack; /* [n_values] live, its producer not yet followed */
    int32_t n;
} marking;

static void mark(marking *m, qn_value_id v)
{
    if (v == QN_NONE || m->live[v]) return;
    m->live[v] = true;
    m->stack[m->n++] = v;
}

static void mark_captures(qn_graph *sub, void *ctx)
{
    for (int32_t i = 0; i < sub->n_captures; i++) mark(ctx, sub->captures[i].outer);
}

static void bury(qn_graph *g, const bool *live, const bool *node_live)
{
    for (int32_t i = 0; i < g->n_nodes; i++) {
        qn_node *n = &g->nodes[i];

        if (!n->dead && node_live[i]) continue; /* with all its outputs: an op may need room for one that nobody reads */
        if (!n->dead) qn_graph_kill_node(g, i);
        release_attrs(n);
    }
    for (int32_t i = 0; i < g->n_values; i++) {
        qn_value *v = &g->values[i];

        if (live[i] || v->dead || v->is_input || v->is_output || v->producer != QN_NONE) continue;
        v->dead = true;
        qn_weight_unref(v->weight);
        v->weight = NULL;
        v->known = NULL;
    }
}

void qn_graph_sweep(qn_graph *g)
{
    marking m = { .g = g };
    bool *node_live = calloc((size_t)g->n_nodes + 1, sizeof *node_live);

    m.live = calloc((size_t)g->n_values + 1, sizeof *m.live);
    m.stack = calloc((size_t)g->n_values + 1, sizeof *m.stack);
    if (!m.live || !m.stack || !node_live) goto done; /* nothing is removed: the graph is larger, not wrong */
    for (int32_t i = 0; i < g->n_outputs; i++) mark(&m, g->outputs[i]);
    for (int32_t i = 0; i < g->n_inputs; i++) mark(&m, g->inputs[i]);
    for (int32_t i = 0; i < g->n_captures; i++) mark(&m, g->captures[i].inner);
    while (m.n > 0) {
        const qn_value *v = &g->values[m.stack[--m.n]];
        const qn_node *n;

        mark(&m, v->type.quant.scale);
        mark(&m, v->type.quant.zero_point);
        if (v->producer == QN_NONE || node_live[v->producer]) continue;
        node_live[v->producer] = true;
        n = &g->nodes[v->producer];
        for (int32_t k = 0; k < n->n_in; k++) mark(&m, n->in[k]);
        each_subgraph(n, mark_captures, &m);
    }
    bury(g, m.live, node_live);
done:
    free(m.live);
    free(m.stack);
    free(node_live);
}

/* -- asking --------------------------------------------------------------------------------------------------------------- */

typedef struct counting {
    qn_value_id v;
    int32_t n;
} counting;

static void count_captures(qn_graph *sub, void *ctx)
{
    counting *c = ctx;

    for (int32_t i = 0; i < sub->n_captures; i++) c->n += sub->captures[i].outer == c->v;
}

/* Readers of v among the inputs of n and the captures of its subgraphs. */
static int32_t reads(const qn_node *n, qn_value_id v)
{
    counting c = { v, 0 };

    for (int32_t k = 0; k < n->n_in; k++) c.n += n->in[k] == v;
    each_subgraph(n, count_captures, &c);
    return c.n;
}

int32_t qn_graph_n_uses(const qn_graph *g, qn_value_id v)
{
    int32_t n = 0;

    for (int32_t i = 0; i < g->n_nodes; i++)
        if (!g->nodes[i].dead) n += reads(&g->nodes[i], v);
    for (int32_t i = 0; i < g->n_outputs; i++) n += g->outputs[i] == v;
    return n;
}

qn_node_id qn_graph_only_user(const qn_graph *g, qn_value_id v)
{
    qn_node_id user = QN_NONE;

    for (int32_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i] == v) return QN_NONE;
    for (int32_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].dead || reads(&g->nodes[i], v) == 0) continue;
        if (user != QN_NONE) return QN_NONE;
        user = i;
    }
    return user;
}
