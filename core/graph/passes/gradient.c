/* core/graph/passes/gradient.c - ai.onnx.preview.training.Gradient: its node becomes the nodes that compute dy/dx.
 *
 * Gradient(xs.., zs..) names values x and y of the graph around it and is given numbers to put in place of the x and z. Two steps:
 * - bind, before the graph is sorted: the named values become inputs behind the node's own, so that they are kept, renamed and sorted like
 *   whatever else is read.
 * - the pass, once every value is inferred: where the node is given other values than those it names, the nodes between are emitted once
 *   more on the given ones. Then backwards through them, one grad rule a node; gradients that meet are added in the order of the readers.
 * Gradients of gradients need nothing of their own: nodes are taken in order, so the first derivative stands when the second is asked for.
 * Source: ONNX, ai.onnx.preview.training 1, Gradient. */
#include "core/base/checked.h"
#include "core/graph/grad.h"
#include "core/graph/passes/rewrite.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NODES 100000 /* of the whole graph: every order of derivatives is several times the one before */

static bool is_gradient(const qn_node *n)
{
    return !n->dead && strcmp(n->op_type, "Gradient") == 0 && strcmp(n->domain, "ai.onnx.preview.training") == 0;
}

/* -- bind ----------------------------------------------------------------------------------------------------------------- */

static qn_status names_of(const qn_node *n, const char *attr, const qn_attr **out, qn_error *err)
{
    *out = qn_node_attr(n, attr);
    if (*out && (*out)->type != QN_ATTR_STRINGS)
        return qn_error_set(err, QN_ERR_INVALID, "node %.60s (Gradient): attribute '%s' is not a list of names", n->name, attr);
    return QN_OK;
}

static qn_status bind_name(const qn_graph *g, const qn_node *n, const char *name, qn_value_id *out, qn_error *err)
{
    int64_t id = qn_map_get(&g->by_name, name);

    if (id < 0) return qn_error_set(err, QN_ERR_INVALID, "node %.60s (Gradient): there is no value '%.60s' in its graph", n->name, name);
    *out = (qn_value_id)id;
    return QN_OK;
}

static qn_status bind(qn_graph *g, qn_node *n, qn_error *err)
{
    const qn_attr *xs, *zs;
    const char *y = qn_node_str(n, "y", "");
    int64_t total;
    qn_value_id *in;
    qn_status st = names_of(n, "xs", &xs, err);

    if (st == QN_OK) st = names_of(n, "zs", &zs, err);
    if (st != QN_OK) return st;
    total = (xs ? xs->n : 0) + (zs ? zs->n : 0);
    if (!xs || xs->n < 1 || total != n->n_in)
        return qn_error_set(err, QN_ERR_INVALID, "node %.60s (Gradient): %d inputs for %" PRId64 " names in xs and %" PRId64 " in zs",
                            n->name, n->n_in, xs ? xs->n : 0, zs ? zs->n : 0);
    if (n->n_out > xs->n)
        return qn_error_set(err, QN_ERR_INVALID, "node %.60s (Gradient): %d outputs for %" PRId64 " names in xs", n->name, n->n_out, xs->n);
    in = qn_arena_array(&g->arena, 2 * (size_t)total + 1, sizeof *in);
    if (!in) return qn_error_set(err, QN_ERR_NOMEM, "node %.60s", n->name);
    memcpy(in, n->in, (size_t)total * sizeof *in);
    for (int64_t i = 0; i < total; i++) {
        const char *name = i < xs->n ? xs->strings[i] : zs->strings[i - xs->n];

        if (in[i] == QN_NONE) return qn_error_set(err, QN_ERR_INVALID, "node %.60s (Gradient): input %" PRId64 " is left out", n->name, i);
        st = bind_name(g, n, name, &in[total + i], err);
        if (st != QN_OK) return st;
    }
    st = bind_name(g, n, y, &in[2 * total], err);
    if (st != QN_OK) return st;
    n->in = in;
    n->n_in = 2 * (int32_t)total + 1;
    return QN_OK;
}

qn_status qn_pass_bind_gradients(qn_graph *g, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; i < g->n_nodes && st == QN_OK; i++)
        if (is_gradient(&g->nodes[i])) st = bind(g, &g->nodes[i], err);
    return st;
}

/* -- builder -------------------------------------------------------------------------------------------------------------- */

struct qn_builder {
    qn_pass *p;
    const char *name;   /* of the Gradient node: what is emitted is named after it */
    qn_node_id id;      /* the node at hand */
    qn_value_id *grad;  /* [n_values] of values that have one so far, else QN_NONE */
    const bool *active; /* [n_values] depends on an x */
    int32_t n_values;   /* before anything was emitted */
    qn_status status;
    qn_error *err;
};

static bool fails(qn_builder *b, qn_status st)
{
    if (st != QN_OK) b->status = st;
    return st != QN_OK;
}

const qn_node *qn_grad_node(const qn_builder *b) { return &b->p->g->nodes[b->id]; }
qn_value_id qn_grad_in(const qn_builder *b, int32_t i) { return qn_node_in(qn_grad_node(b), i); }
qn_value_id qn_grad_out(const qn_builder *b, int32_t i) { return qn_node_out(qn_grad_node(b), i); }
const qn_type *qn_grad_type(const qn_builder *b, qn_value_id v) { return qn_pass_type(b->p, v); }

bool qn_grad_wanted(const qn_builder *b, int32_t i)
{
    qn_value_id v = qn_grad_in(b, i);

    return v != QN_NONE && v < b->n_values && b->active[v];
}

qn_value_id qn_grad_of(const qn_builder *b, int32_t i)
{
    qn_value_id v = qn_grad_out(b, i);

    return v != QN_NONE && v < b->n_values ? b->grad[v] : QN_NONE;
}

void qn_grad_refuse(qn_builder *b, const char *why)
{
    const qn_node *n = qn_grad_node(b);

    if (b->status != QN_OK) return;
    b->status =
        qn_error_set(b->err, QN_ERR_UNSUPPORTED, "node %.60s (Gradient): node %.60s (%.40s): %s", b->name, n->name, n->op_type, why);
}

qn_value_id qn_grad_emit(qn_builder *b, const char *op_type, const qn_value_id *in, int32_t n_in, const qn_attr *attrs, int32_t n_attrs)
{
    qn_value_id out = QN_NONE;

    if (b->status != QN_OK) return QN_NONE;
    if (b->p->g->n_nodes >= MAX_NODES) {
        b->status = qn_error_set(b->err, QN_ERR_LIMIT, "node %.60s (Gradient): more than %d nodes", b->name, MAX_NODES);
        return QN_NONE;
    }
    fails(b, qn_pass_emit(b->p, op_type, 13, b->name, in, n_in, attrs, n_attrs, &out, b->err));
    return b->status == QN_OK ? out : QN_NONE;
}

qn_value_id qn_grad_op1(qn_builder *b, const char *op_type, qn_value_id x) { return qn_grad_emit(b, op_type, &x, 1, NULL, 0); }

qn_value_id qn_grad_op2(qn_builder *b, const char *op_type, qn_value_id x, qn_value_id y)
{
    const qn_value_id in[] = { x, y };

    return qn_grad_emit(b, op_type, in, 2, NULL, 0);
}

qn_value_id qn_grad_op3(qn_builder *b, const char *op_type, qn_value_id x, qn_value_id y, qn_value_id z)
{
    const qn_value_id in[] = { x, y, z };

    return qn_grad_emit(b, op_type, in, 3, NULL, 0);
}

static int64_t onnx_type(qn_dtype d) { return d == QN_F32 ? 1 : d == QN_F64 ? 11 : d == QN_F16 ? 10 : 16; /* TensorProto.DataType */ }
static bool is_real(const qn_type *t)
{
    return t->kind == QN_KIND_TENSOR && (t->dtype == QN_F32 || t->dtype == QN_F64 || t->dtype == QN_F16 || t->dtype == QN_BF16);
}

bool qn_grad_numbers(const qn_builder *b, qn_value_id v, int64_t *vals, int32_t cap, int32_t *n)
{
    return v != QN_NONE && qn_pass_ints(b->p, v, vals, cap, n);
}

bool qn_grad_axes(qn_builder *b, int64_t *axes, int32_t *n)
{
    int64_t len;
    const int64_t *attr = qn_node_ints(qn_grad_node(b), "axes", &len);

    *n = 0;
    if (attr && len <= QN_MAX_RANK) {
        memcpy(axes, attr, (size_t)len * sizeof *axes);
        *n = (int32_t)len;
        return len > 0;
    }
    if (qn_grad_in(b, 1) == QN_NONE) return false;
    if (qn_grad_numbers(b, qn_grad_in(b, 1), axes, QN_MAX_RANK, n)) return *n > 0;
    qn_grad_refuse(b, "no gradient, because its axes are not known");
    return false;
}

qn_value_id qn_grad_cast(qn_builder *b, qn_value_id v, qn_dtype to)
{
    const qn_attr attr = { .name = "to", .type = QN_ATTR_INT, .i = onnx_type(to) };

    return qn_grad_emit(b, "Cast", &v, 1, &attr, 1);
}

qn_value_id qn_grad_number(qn_builder *b, double number, qn_value_id v)
{
    qn_tensor t = { .dtype = QN_F64, .data = &number, .bytes = sizeof number };
    qn_value_id out = QN_NONE;

    if (b->status != QN_OK || fails(b, qn_pass_const(b->p, b->name, &t, &out, b->err)) ||
        fails(b, qn_inferer_source(&b->p->infer, out, b->err)))
        return QN_NONE;
    return qn_grad_type(b, v)->dtype == QN_F64 ? out : qn_grad_cast(b, out, qn_grad_type(b, v)->dtype);
}

qn_value_id qn_grad_ints(qn_builder *b, const int64_t *vals, int32_t n)
{
    qn_value_id out = QN_NONE;

    if (b->status == QN_OK) fails(b, qn_pass_const_ints(b->p, b->name, vals, n, &out, b->err));
    return b->status == QN_OK ? out : QN_NONE;
}

static bool same_shape(const qn_type *a, const qn_type *b)
{
    if (a->rank < 0 || a->rank != b->rank) return false;
    for (int32_t d = 0; d < a->rank; d++)
        if (a->dims[d] != b->dims[d] || a->dims[d] == QN_DIM_UNKNOWN) return false;
    return true;
}

qn_value_id qn_grad_reshape(qn_builder *b, qn_value_id v, qn_value_id like)
{
    if (b->status != QN_OK || same_shape(qn_grad_type(b, v), qn_grad_type(b, like))) return v;
    return qn_grad_op2(b, "Reshape", v, qn_grad_op1(b, "Shape", like));
}

/* The axes of `big` that an operand shaped like `small` was repeated along; false: it cannot be said. */
static bool repeated(const qn_builder *b, const qn_type *big, const qn_type *small, int64_t *axes, int32_t *n)
{
    const int32_t lead = big->rank - small->rank;

    *n = 0;
    if (small->rank < 0 || lead < 0) return false;
    for (int32_t d = 0; d < lead; d++) axes[(*n)++] = d;
    for (int32_t d = 0; d < small->rank; d++) {
        int64_t have;

        if (small->dims[d] == big->dims[lead + d] && small->dims[d] != QN_DIM_UNKNOWN) continue;
        if (!qn_dims_value(b->p->g->dims, small->dims[d], &have)) return false;
        if (have == 1) axes[(*n)++] = lead + d;
    }
    return true;
}

/* dx summed until it has the shape of x. */
static qn_value_id summed(qn_builder *b, qn_value_id dx, qn_value_id x)
{
    int64_t axes[QN_MAX_RANK];
    int32_t n;
    const qn_attr keep = { .name = "keepdims", .type = QN_ATTR_INT, .i = 0 };
    qn_value_id in[2] = { dx };

    if (b->status != QN_OK || same_shape(qn_grad_type(b, dx), qn_grad_type(b, x))) return dx;
    if (!repeated(b, qn_grad_type(b, dx), qn_grad_type(b, x), axes, &n)) {
        qn_grad_refuse(b, "no gradient, because its shapes are not known well enough to tell what is broadcast");
        return QN_NONE;
    }
    if (n == 0) return dx;
    in[1] = qn_grad_ints(b, axes, n);
    return qn_grad_reshape(b, qn_grad_emit(b, "ReduceSum", in, 2, &keep, 1), x);
}

static void meet(qn_builder *b, qn_value_id x, qn_value_id dx)
{
    if (b->status == QN_OK) b->grad[x] = b->grad[x] == QN_NONE ? dx : qn_grad_op2(b, "Add", b->grad[x], dx);
}

void qn_grad_give(qn_builder *b, int32_t i, qn_value_id dx)
{
    if (b->status != QN_OK || !qn_grad_wanted(b, i)) return;
    dx = summed(b, dx, qn_grad_in(b, i));
    if (b->status == QN_OK) meet(b, qn_grad_in(b, i), dx);
}

/* -- from y back to the x ------------------------------------------------------------------------------------------------- */

typedef struct path {
    qn_pass *p;
    qn_node_id at;        /* the Gradient node */
    int32_t n_x, n_given; /* its xs; its xs and zs */
    const char *name;
    int32_t n_values, n_nodes; /* of the graph when it was looked at */
    bool *stop;                /* [n_values] an x or a z: what made it is of no interest */
    bool *active;              /* [n_values] an x, or a real that comes of one */
    uint8_t *seen;             /* [n_nodes] */
    qn_node_id *order;         /* [n_nodes] from the x to y */
    int32_t n_order;
} path;

static const qn_node *gradient_of(const path *w) { return &w->p->g->nodes[w->at]; }
static qn_value_id given(const path *w, int32_t i) { return gradient_of(w)->in[i]; }
static qn_value_id named(const path *w, int32_t i) { return gradient_of(w)->in[w->n_given + i]; }
static qn_value_id target(const path *w) { return gradient_of(w)->in[2 * w->n_given]; }

static qn_node_id maker(const path *w, qn_value_id v) { return v == QN_NONE || w->stop[v] ? QN_NONE : w->p->g->values[v].producer; }

/* Nodes that y is made by, each behind those that it reads: depth first, without recursion. */
static qn_status collect(path *w, qn_value_id y, qn_error *err)
{
    const qn_graph *g = w->p->g;
    int32_t depth = 0;
    qn_node_id *stack = malloc(((size_t)w->n_nodes + 1) * sizeof *stack);
    int32_t *next = calloc((size_t)w->n_nodes + 1, sizeof *next);
    qn_node_id id = maker(w, y);

    if (!stack || !next) {
        free(stack);
        free(next);
        return qn_error_set(err, QN_ERR_NOMEM, "gradient of %d nodes", w->n_nodes);
    }
    if (id != QN_NONE) {
        w->seen[id] = 1;
        stack[depth++] = id;
    }
    while (depth > 0) {
        const qn_node *n = &g->nodes[stack[depth - 1]];
        int32_t *k = &next[stack[depth - 1]];
        qn_node_id m;

        if (*k == n->n_in) {
            w->order[w->n_order++] = stack[--depth];
            continue;
        }
        m = maker(w, n->in[(*k)++]);
        if (m == QN_NONE || w->seen[m]) continue;
        w->seen[m] = 1;
        stack[depth++] = m;
    }
    free(stack);
    free(next);
    return QN_OK;
}

static void mark_active(path *w)
{
    const qn_graph *g = w->p->g;

    for (int32_t i = 0; i < w->n_order; i++) {
        const qn_node *n = &g->nodes[w->order[i]];
        bool any = false;

        for (int32_t k = 0; k < n->n_in && !any; k++) any = n->in[k] != QN_NONE && w->active[n->in[k]];
        for (int32_t k = 0; k < n->n_out && any; k++)
            if (n->out[k] != QN_NONE && is_real(&g->values[n->out[k]].type)) w->active[n->out[k]] = true;
    }
}

/* The same node on other values; outputs are fresh. */
static qn_status again(path *w, const qn_node *like, qn_value_id *now, qn_error *err)
{
    qn_graph *g = w->p->g;
    const int32_t n_in = like->n_in, n_out = like->n_out, n_attrs = like->n_attrs;
    qn_value_id *in = qn_arena_array(&g->arena, (size_t)n_in + 1, sizeof *in),
                *out = qn_arena_array(&g->arena, (size_t)n_out + 1, sizeof *out);
    const qn_value_id *old_out = like->out;
    const qn_attr *attrs = like->attrs;
    const char *domain = like->domain, *op_type = like->op_type;
    const int64_t opset = like->opset;
    qn_node_id id;
    qn_status st = in && out ? QN_OK : qn_error_set(err, QN_ERR_NOMEM, "node %.60s", w->name);

    if (st == QN_OK && g->n_nodes >= MAX_NODES)
        st = qn_error_set(err, QN_ERR_LIMIT, "node %.60s (Gradient): more than %d nodes", w->name, MAX_NODES);
    for (int32_t i = 0; i < n_in && st == QN_OK; i++) in[i] = like->in[i] == QN_NONE ? QN_NONE : now[like->in[i]];
    for (int32_t i = 0; i < n_attrs && st == QN_OK; i++)
        if (attrs[i].type == QN_ATTR_GRAPH || attrs[i].type == QN_ATTR_GRAPHS)
            st = qn_error_set(err, QN_ERR_UNSUPPORTED, "node %.60s (Gradient): no gradient through %.40s", w->name, op_type);
    for (int32_t i = 0; i < n_out && st == QN_OK; i++) {
        out[i] = QN_NONE;
        if (old_out[i] != QN_NONE) st = qn_graph_add_temp(g, w->name, &out[i], err);
    }
    if (st == QN_OK) st = qn_graph_emit(g, domain, op_type, opset, w->name, in, n_in, out, n_out, attrs, n_attrs, &id, err);
    if (st != QN_OK) return st;
    qn_uses_add_node(&w->p->uses, g, id);
    for (int32_t i = 0; i < n_out; i++)
        if (old_out[i] != QN_NONE) now[old_out[i]] = out[i];
    return qn_inferer_node(&w->p->infer, id, err);
}

/* y as it is for the given values; the nodes between are emitted on them. */
static qn_status restate(path *w, qn_value_id *y, bool *changed, qn_error *err)
{
    qn_graph *g = w->p->g;
    qn_value_id *now;
    qn_status st = QN_OK;

    *y = target(w);
    *changed = false;
    for (int32_t i = 0; i < w->n_given; i++) *changed |= given(w, i) != named(w, i);
    if (!*changed) return QN_OK;
    now = malloc(((size_t)w->n_values + 1) * sizeof *now);
    if (!now) return qn_error_set(err, QN_ERR_NOMEM, "gradient of %d nodes", w->n_nodes);
    for (qn_value_id v = 0; v < w->n_values; v++) now[v] = v;
    for (int32_t i = 0; i < w->n_given; i++) now[named(w, i)] = given(w, i);
    for (int32_t i = 0; i < w->n_order && st == QN_OK; i++) {
        bool moved = false;

        for (int32_t k = 0; k < g->nodes[w->order[i]].n_in && !moved; k++) {
            const qn_value_id v = g->nodes[w->order[i]].in[k];

            moved = v != QN_NONE && now[v] != v;
        }
        if (moved) st = again(w, &g->nodes[w->order[i]], now, err);
    }
    *y = now[*y];
    free(now);
    return st;
}

static void release_path(path *w)
{
    free(w->stop);
    free(w->active);
    free(w->seen);
    free(w->order);
}

static qn_status look(path *w, bool at_given, qn_value_id y, qn_error *err)
{
    const qn_graph *g = w->p->g;

    release_path(w);
    w->n_values = g->n_values;
    w->n_nodes = g->n_nodes;
    w->n_order = 0;
    w->stop = calloc((size_t)w->n_values + 1, sizeof *w->stop);
    w->active = calloc((size_t)w->n_values + 1, sizeof *w->active);
    w->seen = calloc((size_t)w->n_nodes + 1, sizeof *w->seen);
    w->order = malloc(((size_t)w->n_nodes + 1) * sizeof *w->order);
    if (!w->stop || !w->active || !w->seen || !w->order) return qn_error_set(err, QN_ERR_NOMEM, "gradient of %d nodes", w->n_nodes);
    for (int32_t i = 0; i < w->n_given; i++) {
        const qn_value_id v = at_given ? given(w, i) : named(w, i);

        w->stop[v] = true;
        if (i < w->n_x) w->active[v] = true;
    }
    return collect(w, y, err);
}

static qn_value_id filled(qn_builder *b, double number, qn_value_id like)
{
    return qn_grad_op2(b, "Expand", qn_grad_number(b, number, like), qn_grad_op1(b, "Shape", like));
}

static void backwards(qn_builder *b, const path *w)
{
    for (int32_t i = w->n_order - 1; i >= 0 && b->status == QN_OK; i--) {
        bool flows = false, wanted = false;

        b->id = w->order[i];
        for (int32_t k = 0; k < qn_grad_node(b)->n_out; k++) flows |= qn_grad_of(b, k) != QN_NONE;
        for (int32_t k = 0; k < qn_grad_node(b)->n_in; k++) wanted |= qn_grad_wanted(b, k);
        if (!flows || !wanted) continue;
        if (qn_grad_node(b)->op->grad)
            qn_grad_node(b)->op->grad(b);
        else
            qn_grad_refuse(b, "this op has no gradient");
    }
}

/* The outputs of the Gradient node become those of Identity, which the next pass takes out. */
static qn_status hand_out(qn_builder *b, const path *w)
{
    qn_graph *g = w->p->g;
    qn_value_id *dx = qn_arena_array(&g->arena, (size_t)w->n_x, sizeof *dx), *out = gradient_of(w)->out;
    const int32_t n_out = gradient_of(w)->n_out;
    qn_status st = QN_OK;

    if (!dx) return qn_error_set(b->err, QN_ERR_NOMEM, "node %.60s", w->name);
    for (int32_t i = 0; i < n_out && b->status == QN_OK; i++) {
        const qn_value_id x = given(w, i);

        dx[i] = b->grad[x] != QN_NONE ? b->grad[x] : filled(b, 0, x);
    }
    if (b->status != QN_OK) return b->status;
    qn_uses_kill(&w->p->uses, g, w->at);
    for (int32_t i = 0; i < n_out && st == QN_OK; i++) {
        qn_node_id id;

        if (out[i] == QN_NONE) continue;
        st = qn_graph_emit(g, "", "Identity", 13, w->name, &dx[i], 1, &out[i], 1, NULL, 0, &id, b->err);
        if (st == QN_OK) qn_uses_add_node(&w->p->uses, g, id);
        if (st == QN_OK) st = qn_inferer_node(&w->p->infer, id, b->err);
    }
    return st;
}

static qn_status differentiate(path *w, qn_error *err)
{
    qn_builder b = { .p = w->p, .name = w->name, .err = err };
    bool changed;
    qn_value_id y;
    qn_status st = look(w, false, target(w), err);

    if (st == QN_OK) st = restate(w, &y, &changed, err);
    if (st == QN_OK && changed) st = look(w, true, y, err);
    if (st != QN_OK) return st;
    mark_active(w);
    if (!is_real(qn_pass_type(w->p, y)))
        return qn_error_set(err, QN_ERR_DTYPE, "node %.60s (Gradient): y is %s, expected reals", w->name,
                            qn_dtype_name(qn_pass_type(w->p, y)->dtype));
    b.active = w->active;
    b.n_values = w->n_values;
    b.grad = malloc(((size_t)w->n_values + 1) * sizeof *b.grad);
    if (!b.grad) return qn_error_set(err, QN_ERR_NOMEM, "gradient of %d nodes", w->n_nodes);
    for (int32_t v = 0; v < w->n_values; v++) b.grad[v] = QN_NONE;
    if (w->active[y]) b.grad[y] = filled(&b, 1, y);
    backwards(&b, w);
    if (b.status == QN_OK) b.status = hand_out(&b, w);
    free(b.grad);
    return b.status;
}

qn_status qn_pass_gradient(qn_pass *p, qn_error *err)
{
    const int32_t n_order = p->g->n_order;
    const qn_node_id *order = p->g->order;
    qn_status st = QN_OK;

    for (int32_t i = 0; i < n_order && st == QN_OK; i++) {
        const qn_node *n = &p->g->nodes[order[i]];
        const qn_attr *xs;
        path w = { .p = p, .at = order[i], .name = n->name, .n_given = (n->n_in - 1) / 2 };

        if (!is_gradient(n)) continue;
        xs = qn_node_attr(n, "xs");
        w.n_x = xs ? (int32_t)xs->n : 0;
        st = differentiate(&w, err);
        release_path(&w);
    }
    return st;
}
