/* core/graph/infer.c - types and small integers, from the inputs and weights through every node. */
#include "core/graph/infer.h"

#include "core/base/checked.h"
#include "core/graph/weight.h"

#include <stdlib.h>
#include <string.h>

static const qn_type no_type = { .rank = -1, .quant = { .scale = QN_NONE, .zero_point = QN_NONE, .axis = -1 } };

/* -- one node ------------------------------------------------------------------------------------------------------------- */

static qn_status check_output(const qn_dims *dims, int32_t i, const qn_type *t, qn_error *err)
{
    int64_t v;

    if (t->rank < -1 || t->rank > QN_MAX_RANK)
        return qn_error_set(err, QN_ERR_SHAPE, "output %d has rank %d, at most %d is supported", i, t->rank, QN_MAX_RANK);
    for (int32_t d = 0; d < t->rank; d++)
        if (qn_dims_value(dims, t->dims[d], &v) && v < 0)
            return qn_error_set(err, QN_ERR_SHAPE, "output %d: dimension %d is %lld", i, d, (long long)v);
    return QN_OK;
}

/* A known that contradicts the type it comes with is forgotten: others index by the type. */
static qn_known *check_known(const qn_dims *dims, qn_known *k, const qn_type *t)
{
    int64_t v;

    if (!k || t->kind != QN_KIND_TENSOR || k->rank != t->rank) return NULL;
    if (k->rank == 1 && !(qn_dims_value(dims, t->dims[0], &v) && v == k->n)) return NULL;
    return k;
}

qn_status qn_infer_node(qn_graph *g, const qn_node *n, qn_dims *dims, qn_arena *arena, const qn_type *in, const qn_known *const *in_known,
                        const qn_tensor *const *in_const, qn_type *out, qn_known **out_known, qn_error *err)
{
    qn_infer c = { .graph = g,
                   .node = n,
                   .dims = dims,
                   .arena = arena,
                   .in = in,
                   .in_known = in_known,
                   .in_const = in_const,
                   .out = out,
                   .out_known = out_known };
    qn_error own = { 0 };
    qn_status st;

    for (int32_t i = 0; i < n->n_out; i++) {
        out[i] = no_type;
        out_known[i] = NULL;
    }
    st = n->op && n->op->infer ? n->op->infer(&c, &own) : qn_error_set(&own, QN_ERR_UNSUPPORTED, "op %s is unsupported", n->op_type);
    if (st == QN_OK) st = qn_dims_status(dims, &own);
    for (int32_t i = 0; i < n->n_out && st == QN_OK; i++) {
        if (out[i].kind == QN_KIND_TENSOR) st = check_output(dims, i, &out[i], &own);
        out_known[i] = check_known(dims, out_known[i], &out[i]);
    }
    if (st == QN_OK) return QN_OK;
    own.status = st;
    qn_dims_clear(dims);
    qn_error_prefix(&own, "node %.60s (%.40s)", n->name, n->op_type);
    if (err) *err = own;
    return st;
}

/* -- a graph -------------------------------------------------------------------------------------------------------------- */

void qn_inferer_init(qn_inferer *x, qn_graph *g)
{
    *x = (qn_inferer){ .g = g };
    qn_arena_init(&x->scratch, 0);
}

void qn_inferer_release(qn_inferer *x)
{
    qn_arena_release(&x->scratch);
    free(x->consts);
    free(x->asked);
    free(x->room);
    *x = (qn_inferer){ 0 };
}

static bool reserve_consts(qn_inferer *x)
{
    int32_t n = x->g->n_values + x->g->n_values / 2 + 16; /* passes add values: not one realloc for each */
    qn_tensor *c;
    bool *a;

    if (x->g->n_values <= x->n_consts) return true;
    c = realloc(x->consts, (size_t)n * sizeof *c);
    if (!c) return false;
    x->consts = c;
    a = realloc(x->asked, (size_t)n * sizeof *a);
    if (!a) return false;
    x->asked = a;
    memset(c + x->n_consts, 0, (size_t)(n - x->n_consts) * sizeof *c);
    memset(a + x->n_consts, 0, (size_t)(n - x->n_consts) * sizeof *a);
    x->n_consts = n;
    return true;
}

static qn_status load_const(qn_inferer *x, qn_weight *w, qn_tensor *t, qn_error *err)
{
    qn_status st;

    if (x->g->store) return qn_weight_dense(w, x->g->store, t, err);
    if (t->dtype == QN_STRING) { /* no op infers from strings */
        t->dtype = QN_DTYPE_NONE;
        return QN_OK;
    }
    st = qn_shape_bytes(t->dtype, t->rank, t->dims, &t->bytes, err);
    if (st != QN_OK) return st;
    t->data = qn_arena_alloc(&x->scratch, t->bytes);
    if (!t->data) return qn_error_set(err, QN_ERR_NOMEM, "constant of %zu bytes", t->bytes);
    return qn_weight_read(w, 0, qn_tensor_count(t), t->data, err);
}

const qn_tensor *qn_inferer_const(qn_inferer *x, qn_value_id v, qn_status *st, qn_error *err)
{
    const qn_value *val;
    qn_tensor shape;

    *st = QN_OK;
    if (v == QN_NONE || !qn_value_is_const(&x->g->values[v])) return NULL;
    val = &x->g->values[v];
    if (!reserve_consts(x)) {
        *st = qn_error_set(err, QN_ERR_NOMEM, "constants");
        return NULL;
    }
    if (!x->asked[v]) {
        x->asked[v] = true;
        qn_weight_shape(val->weight, &shape);
        if (qn_tensor_count(&shape) <= QN_INFER_CONST_MAX) {
            *st = load_const(x, val->weight, &shape, err);
            if (*st != QN_OK) {
                qn_error_prefix(err, "initializer %s", val->name);
                return NULL;
            }
            x->consts[v] = shape;
        }
    }
    return x->consts[v].dtype == QN_DTYPE_NONE ? NULL : &x->consts[v];
}

qn_status qn_inferer_source(qn_inferer *x, qn_value_id id, qn_error *err)
{
    qn_value *v = &x->g->values[id];
    const qn_tensor *t;
    qn_tensor shape;
    qn_status st = QN_OK;

    qn_weight_shape(v->weight, &shape);
    v->type.kind = QN_KIND_TENSOR;
    v->type.dtype = shape.dtype;
    v->type.rank = shape.rank;
    for (int32_t d = 0; d < shape.rank; d++) v->type.dims[d] = qn_dims_const(x->g->dims, shape.dims[d]);
    if (v->known || shape.rank > 1 || (shape.dtype != QN_I64 && shape.dtype != QN_I32 && shape.dtype != QN_BOOL)) return QN_OK;
    t = qn_inferer_const(x, id, &st, err);
    v->known = qn_known_from_tensor(t, x->g->dims, &x->g->arena);
    return st;
}

qn_status qn_inferer_sources(qn_inferer *x, qn_error *err)
{
    qn_graph *g = x->g;
    qn_status st = QN_OK;

    for (int32_t i = 0; i < g->n_values && st == QN_OK; i++) {
        qn_value *v = &g->values[i];

        if (v->dead || !v->weight) continue;
        if (v->is_input && v->type.rank >= 0 && v->type.dtype != QN_DTYPE_NONE) continue; /* only a default: the declaration holds */
        st = qn_inferer_source(x, i, err);
        if (st == QN_OK && v->is_input) v->known = NULL;
    }
    if (st == QN_OK) st = qn_dims_status(g->dims, err);
    return st;
}

/* The inputs of a node as infer wants them, and room for its outputs; all in x->room. */
typedef struct gathered {
    qn_type *in;
    const qn_known **known;
    const qn_tensor **consts;
    qn_type *out;
    qn_known **out_known;
} gathered;

static bool make_room(qn_inferer *x, const qn_node *n, gathered *o)
{
    size_t n_in = (size_t)n->n_in, n_out = (size_t)n->n_out, in_bytes, out_bytes, bytes;
    char *p;

    if (!qn_size_mul(n_in, sizeof *o->in + sizeof *o->known + sizeof *o->consts, &in_bytes) ||
        !qn_size_mul(n_out, sizeof *o->out + sizeof *o->out_known, &out_bytes) || !qn_size_add(in_bytes, out_bytes, &bytes) ||
        !qn_size_add(bytes, 64, &bytes))
        return false;
    if (bytes > x->room_bytes) {
        p = realloc(x->room, bytes);
        if (!p) return false;
        x->room = p;
        x->room_bytes = bytes;
    }
    memset(x->room, 0, bytes);
    p = x->room; /* pointers first: they are the most strictly aligned */
    o->known = (const qn_known **)(void *)p;
    o->consts = (const qn_tensor **)(void *)(p += n_in * sizeof *o->known);
    o->out_known = (qn_known **)(void *)(p += n_in * sizeof *o->consts);
    o->in = (qn_type *)(void *)(p += n_out * sizeof *o->out_known);
    o->out = (qn_type *)(void *)(p + n_in * sizeof *o->in);
    return true;
}

static qn_status gather(qn_inferer *x, const qn_node *n, gathered *o, qn_error *err)
{
    qn_status st = QN_OK;

    if (!make_room(x, n, o)) return qn_error_set(err, QN_ERR_NOMEM, "inference");
    for (int32_t i = 0; i < n->n_in && st == QN_OK; i++) {
        o->in[i] = no_type;
        if (n->in[i] == QN_NONE) continue;
        o->in[i] = x->g->values[n->in[i]].type;
        o->known[i] = x->g->values[n->in[i]].known;
        o->consts[i] = qn_inferer_const(x, n->in[i], &st, err);
    }
    return st;
}

static void merge(qn_type *declared, const qn_type *found)
{
    int32_t rank = declared->rank;

    *declared = *found;
    if (found->kind != QN_KIND_TENSOR || found->rank >= 0 || rank < 0) return;
    declared->rank = rank;
    for (int32_t d = 0; d < rank; d++) declared->dims[d] = QN_DIM_UNKNOWN;
}

qn_graph *qn_node_subgraph(const qn_node *n, int32_t i)
{
    for (int32_t k = 0; k < n->n_attrs; k++) {
        const qn_attr *a = &n->attrs[k];
        int64_t n_graphs = a->type == QN_ATTR_GRAPH ? 1 : a->type == QN_ATTR_GRAPHS ? a->n : 0;

        if (i < n_graphs) return a->type == QN_ATTR_GRAPH ? a->g : a->graphs[i];
        i -= (int32_t)n_graphs;
    }
    return NULL;
}

qn_status qn_inferer_enter(qn_inferer *x, qn_node_id id, bool exact, qn_error *err)
{
    const qn_node *n = &x->g->nodes[id];
    gathered o;
    qn_status st = gather(x, n, &o, err);
    qn_infer c = { .graph = x->g, .node = n, .dims = x->g->dims, .arena = &x->g->arena };
    qn_graph *sub;

    if (st != QN_OK) return st;
    c.in = o.in;
    c.in_known = o.known;
    c.in_const = (const qn_tensor *const *)o.consts;
    for (int32_t i = 0; (sub = qn_node_subgraph(n, i)) && st == QN_OK; i++) {
        for (int32_t k = 0; k < sub->n_captures; k++) {
            const qn_value *from = &x->g->values[sub->captures[k].outer];
            qn_value *to = &sub->values[sub->captures[k].inner];

            to->type = from->type;
            to->known = from->known; /* of the outer graph's arena, which lives longer */
        }
        for (int32_t k = 0; k < sub->n_inputs; k++) sub->values[sub->inputs[k]].known = NULL;
        st = n->op->enter ? n->op->enter(&c, sub, exact, err)
                          : qn_error_set(err, QN_ERR_INVALID, "a graph attribute that %s does not have", n->op_type);
        if (st != QN_OK) qn_error_prefix(err, "node %.60s (%.40s)", n->name, n->op_type);
    }
    return st;
}

/* Sizes that an iteration changes are unknown from the second try on. Deep nests start there: two tries a level would double the work with
 * every level. */
static qn_status infer_subgraphs(qn_inferer *x, qn_node_id id, qn_error *err)
{
    const qn_node *n = &x->g->nodes[id];
    bool exact = !x->g->outer || !x->g->outer->outer, again;
    qn_graph *sub;
    qn_status st;

    do {
        st = qn_inferer_enter(x, id, exact, err);
        for (int32_t i = 0; (sub = qn_node_subgraph(n, i)) && st == QN_OK; i++) st = qn_graph_infer(sub, err);
        again = exact && st == QN_OK && !qn_op_carried_hold(n);
        exact = false;
    } while (again);
    return st;
}

qn_status qn_inferer_node(qn_inferer *x, qn_node_id id, qn_error *err)
{
    qn_status st = QN_OK;

    if (x->g->nodes[id].op && (x->g->nodes[id].op->flags & QN_OP_CONTROL)) st = infer_subgraphs(x, id, err);
    return st == QN_OK ? qn_inferer_outputs(x, id, err) : st;
}

qn_status qn_inferer_outputs(qn_inferer *x, qn_node_id id, qn_error *err)
{
    const qn_node *n = &x->g->nodes[id];
    gathered o;
    qn_status st = gather(x, n, &o, err);

    if (st == QN_OK)
        st = qn_infer_node(x->g, n, x->g->dims, &x->g->arena, o.in, o.known, (const qn_tensor *const *)o.consts, o.out, o.out_known, err);
    for (int32_t i = 0; i < n->n_out && st == QN_OK; i++) {
        if (n->out[i] == QN_NONE) continue;
        merge(&x->g->values[n->out[i]].type, &o.out[i]);
        x->g->values[n->out[i]].known = o.out_known[i];
    }
    return st;
}

bool qn_inferer_accepts(qn_inferer *x, const qn_node *n, qn_value_id like)
{
    const qn_type *want = &x->g->values[like].type;
    gathered o;

    if (!n->op || gather(x, n, &o, NULL) != QN_OK) return false;
    if (qn_infer_node(x->g, n, x->g->dims, &x->g->arena, o.in, o.known, (const qn_tensor *const *)o.consts, o.out, o.out_known, NULL) !=
        QN_OK)
        return false;
    if (o.out[0].kind != want->kind || o.out[0].dtype != want->dtype || o.out[0].rank != want->rank) return false;
    for (int32_t d = 0; d < want->rank; d++)
        if (qn_dims_differ(x->g->dims, o.out[0].dims[d], want->dims[d])) return false;
    return true;
}

qn_status qn_infer_check_output(qn_graph *g, qn_value_id id, const qn_type *said, qn_error *err)
{
    const qn_value *v = &g->values[id];
    char a[64], b[64];

    if (said->kind != v->type.kind || v->type.kind != QN_KIND_TENSOR || said->dtype == QN_DTYPE_NONE || v->type.dtype == QN_DTYPE_NONE)
        return QN_OK;
    if (said->dtype != v->type.dtype)
        return qn_error_set(err, QN_ERR_DTYPE, "output %s is declared as %s, but its node gives %s", v->name, qn_dtype_name(said->dtype),
                            qn_dtype_name(v->type.dtype));
    if (said->rank < 0 || v->type.rank < 0) return QN_OK;
    if (said->rank != v->type.rank)
        return qn_error_set(err, QN_ERR_SHAPE, "output %s is declared with rank %d, but its node gives rank %d", v->name, said->rank,
                            v->type.rank);
    for (int32_t d = 0; d < said->rank; d++)
        if (qn_dims_differ(g->dims, said->dims[d], v->type.dims[d]))
            return qn_error_set(err, QN_ERR_SHAPE, "output %s: dimension %d is declared as %s, but its node gives %s", v->name, d,
                                qn_dims_print(g->dims, said->dims[d], a, sizeof a), qn_dims_print(g->dims, v->type.dims[d], b, sizeof b));
    return QN_OK;
}

qn_status qn_graph_infer(qn_graph *g, qn_error *err)
{
    qn_inferer x;
    qn_type *said = malloc(((size_t)g->n_outputs + 1) * sizeof *said);
    qn_status st = QN_OK;

    qn_inferer_init(&x, g);
    if (!said) {
        st = qn_error_set(err, QN_ERR_NOMEM, "inference");
        goto done;
    }
    for (int32_t i = 0; i < g->n_outputs; i++) said[i] = g->values[g->outputs[i]].type;
    st = qn_inferer_sources(&x, err);
    for (int32_t i = 0; i < g->n_order && st == QN_OK; i++) st = qn_inferer_node(&x, g->order[i], err);
    for (int32_t i = 0; i < g->n_outputs && st == QN_OK; i++)
        if (g->values[g->outputs[i]].producer != QN_NONE) st = qn_infer_check_output(g, g->outputs[i], &said[i], err);
done:
    free(said);
    qn_inferer_release(&x);
    return st;
}
