/* core/plan/types.c - the shape of every value of a plan: inference once more, with the numbers of the request.
 * The batch stays a symbol when the plan has a capacity; afterwards every dimension is c0 + c1 * rows, and the table of expressions
 * can go. A dimension that even numbers do not settle (NonZero, a Reshape to values of the request) stays unknown until the run. */
#include "core/plan/plan.h"

#include "core/base/checked.h"
#include "core/graph/infer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *qn_node_label(const qn_node *n, char *buf, size_t cap)
{
    snprintf(buf, cap, "node %.80s (%.40s)", n->name, n->op_type);
    return buf;
}

static bool is_integer(qn_dtype t)
{
    return t == QN_I64 || t == QN_I32 || t == QN_I16 || t == QN_I8 || t == QN_U64 || t == QN_U32 || t == QN_U16 || t == QN_U8 ||
           t == QN_I4 || t == QN_U4 || t == QN_BOOL;
}

qn_status qn_plan_small_const(const qn_plan_request *rq, qn_plan_value *v, qn_value_id id, const qn_tensor **out, qn_error *err)
{
    qn_weight *w = rq->graph->values[id].weight;
    int64_t count;
    qn_status st;

    *out = v->computed ? &v->dense : NULL;
    if (!w || v->computed) return QN_OK;
    count = qn_tensor_count(&v->dense);
    if (count > (is_integer(v->dtype) ? QN_PLAN_CONST_INTS : QN_PLAN_CONST_ANY)) return QN_OK;
    if (!v->dense.data) {
        st = qn_weight_dense(w, rq->store, &v->dense, err);
        if (st != QN_OK) return st;
    }
    *out = &v->dense;
    return QN_OK;
}

static void set_const_type(qn_planner *pl, qn_value_id id)
{
    qn_plan_value *v = &pl->plan->values[id];
    qn_type *t = &pl->types[id];

    qn_weight_shape(pl->rq->graph->values[id].weight, &v->dense); /* data too where it is in memory anyway */
    v->home = QN_HOME_CONST;
    v->dtype = t->dtype = v->dense.dtype;
    v->rank = t->rank = v->dense.rank;
    v->fixed = true;
    v->max_bytes = v->dense.bytes;
    for (int32_t d = 0; d < v->rank; d++) {
        v->c0[d] = v->dense.dims[d];
        t->dims[d] = qn_dims_const(pl->dims, v->dense.dims[d]);
    }
}

static void set_input_type(qn_planner *pl, int32_t input)
{
    const qn_tensor *shape = &pl->rq->shapes[input];
    qn_value_id id = pl->rq->inputs[input];
    qn_type *t;

    if (id == QN_NONE || pl->rq->graph->values[id].weight) return;
    t = &pl->types[id];
    pl->plan->values[id].home = QN_HOME_INPUT;
    pl->plan->values[id].input = input;
    if (pl->rq->graph->values[id].type.kind != QN_KIND_TENSOR) {
        const qn_type *said = &pl->rq->graph->values[id].type;

        t->kind = said->kind;
        t->of = said->of;
        t->dtype = said->dtype;
        return;
    }
    t->dtype = shape->dtype;
    t->rank = shape->rank;
    for (int32_t d = 0; d < shape->rank; d++)
        t->dims[d] = d == 0 && pl->rq->capacity > 0 ? pl->rows : qn_dims_const(pl->dims, shape->dims[d]);
}

/* One dimension as numbers; false if it is neither known nor allowed to be unknown. */
static bool number_dim(const qn_planner *pl, qn_dim dim, int64_t *c0, int64_t *c1)
{
    *c0 = -1;
    *c1 = 0;
    if (pl->rq->capacity > 0) {
        if (dim == QN_DIM_UNKNOWN || !qn_dims_affine(pl->dims, dim, pl->rows, c0, c1)) return false;
        return *c0 >= 0 && *c1 >= 0; /* then the capacity needs the most room */
    }
    if (dim != QN_DIM_UNKNOWN && !qn_dims_value(pl->dims, dim, c0)) *c0 = -1;
    return true;
}

/* c0 + c1 * rows fits the dtype for every number of rows. */
static bool in_range(const qn_planner *pl, qn_dtype dtype, int64_t c0, int64_t c1)
{
    int64_t most;

    if (!qn_i64_mul(c1, pl->rq->capacity, &most) || !qn_i64_add(most, c0, &most)) return false;
    return dtype == QN_I64 || (c0 == (int32_t)c0 && most == (int32_t)most);
}

/* Known elements as numbers; NULL unless all of them are. */
static qn_status number_known(const qn_planner *pl, const qn_known *k, const qn_plan_value *v, qn_plan_known **out, qn_error *err)
{
    qn_plan_known *n;

    *out = NULL;
    if (!k || (v->dtype != QN_I64 && v->dtype != QN_I32 && v->dtype != QN_BOOL) || !v->fixed || k->rank != v->rank || k->rank > 1)
        return QN_OK;
    if (k->rank == 1 && (v->c0[0] != k->n || v->c1[0] != 0)) return QN_OK;
    n = qn_arena_alloc(&pl->plan->arena, sizeof *n);
    if (n) n->c0 = qn_arena_array(&pl->plan->arena, (size_t)k->n, sizeof *n->c0);
    if (n) n->c1 = qn_arena_array(&pl->plan->arena, (size_t)k->n, sizeof *n->c1);
    if (!n || !n->c0 || !n->c1) return qn_error_set(err, QN_ERR_NOMEM, "plan: %" PRId32 " known elements", k->n);
    n->n = k->n;
    for (int32_t i = 0; i < k->n; i++) {
        if (k->elems[i] == QN_DIM_UNKNOWN) return QN_OK;
        if (qn_dims_value(pl->dims, k->elems[i], &n->c0[i])) {
            n->c1[i] = 0;
        } else if (pl->rq->capacity <= 0 || !qn_dims_affine(pl->dims, k->elems[i], pl->rows, &n->c0[i], &n->c1[i])) {
            return QN_OK;
        }
        if (!in_range(pl, v->dtype, n->c0[i], n->c1[i])) return QN_OK;
    }
    *out = n;
    return QN_OK;
}

void qn_plan_store_int(qn_dtype dtype, void *at, int32_t i, int64_t v)
{
    if (dtype == QN_I64)
        ((int64_t *)at)[i] = v;
    else if (dtype == QN_I32)
        ((int32_t *)at)[i] = (int32_t)v;
    else
        ((uint8_t *)at)[i] = v != 0;
}

bool qn_plan_shape(const qn_plan_value *v, int64_t rows, qn_tensor *out)
{
    out->dtype = v->dtype;
    out->rank = v->rank;
    for (int32_t d = 0; d < v->rank; d++)
        if (!qn_i64_mul(v->c1[d], rows, &out->dims[d]) || !qn_i64_add(out->dims[d], v->c0[d], &out->dims[d])) return false;
    if (v->dtype == QN_STRING) return qn_shape_count(v->rank, out->dims, &(int64_t){ 0 }, NULL) == QN_OK;
    return qn_shape_bytes(v->dtype, v->rank, out->dims, &out->bytes, NULL) == QN_OK;
}

/* Types of a value -> numbers. */
static qn_status number_value(qn_planner *pl, qn_value_id id, qn_error *err)
{
    const qn_value *gv = &pl->rq->graph->values[id];
    const qn_type *t = &pl->types[id];
    qn_plan_value *v = &pl->plan->values[id];
    qn_tensor largest = { 0 };

    v->kind = t->kind;
    if (t->kind != QN_KIND_TENSOR) {
        v->rank = -1;
        pl->plan->has_items = true;
        if (pl->rq->capacity > 0) pl->batch_free = false;
        return QN_OK;
    }
    v->dtype = t->dtype;
    v->rank = t->rank;
    v->fixed = t->rank >= 0 && t->dtype != QN_DTYPE_NONE;
    for (int32_t d = 0; d < t->rank; d++) {
        if (!number_dim(pl, t->dims[d], &v->c0[d], &v->c1[d])) pl->batch_free = false;
        if (v->c0[d] < 0) v->fixed = false;
    }
    if (pl->rq->capacity > 0 && !v->fixed) pl->batch_free = false;
    if (!v->fixed || !pl->batch_free) return QN_OK;
    if (!qn_plan_shape(v, pl->rq->capacity, &largest))
        return qn_error_set(err, QN_ERR_LIMIT, "value %.80s: %" PRId32 " dimensions whose product does not fit", gv->name, v->rank);
    v->max_bytes = v->dtype == QN_STRING ? 0 : largest.bytes;
    return number_known(pl, pl->known[id], v, &v->known, err);
}

/* What qn_infer_node() wants, as wide as the widest node. */
typedef struct qn_infer_room {
    qn_type *in, *out;
    const qn_known **in_known;
    const qn_tensor **in_const;
    qn_known **out_known;
} qn_infer_room;

static qn_status make_room(qn_planner *pl, qn_infer_room *room, qn_error *err)
{
    const qn_graph *g = pl->rq->graph;
    size_t n = 1;

    for (int32_t i = 0; i < g->n_order; i++) {
        const qn_node *node = &g->nodes[g->order[i]];

        if ((size_t)node->n_in > n) n = (size_t)node->n_in;
        if ((size_t)node->n_out > n) n = (size_t)node->n_out;
    }
    pl->plan->max_io = (int32_t)n;
    room->in = qn_arena_array(&pl->tmp, n, sizeof *room->in);
    room->out = qn_arena_array(&pl->tmp, n, sizeof *room->out);
    room->in_known = qn_arena_array(&pl->tmp, n, sizeof *room->in_known);
    room->in_const = qn_arena_array(&pl->tmp, n, sizeof *room->in_const);
    room->out_known = qn_arena_array(&pl->tmp, n, sizeof *room->out_known);
    if (!room->in || !room->out || !room->in_known || !room->in_const || !room->out_known)
        return qn_error_set(err, QN_ERR_NOMEM, "plan: a node of %zu inputs", n);
    return QN_OK;
}

static qn_status infer_step(qn_planner *pl, const qn_node *n, qn_infer_room *room, qn_error *err)
{
    qn_status st;

    for (int32_t i = 0; i < n->n_in; i++) {
        qn_value_id id = n->in[i];

        room->in[i] = (qn_type){ .rank = -1, .quant = { .scale = QN_NONE, .zero_point = QN_NONE, .axis = -1 } };
        room->in_known[i] = NULL;
        room->in_const[i] = NULL;
        if (id == QN_NONE) continue;
        room->in[i] = pl->types[id];
        room->in_known[i] = pl->known[id];
        st = qn_plan_small_const(pl->rq, &pl->plan->values[id], id, &room->in_const[i], err);
        if (st == QN_OK && !room->in_const[i]) st = qn_plan_known_tensor(pl, id, &room->in_const[i], err);
        if (st != QN_OK) return st;
    }
    for (int32_t i = 0; i < n->n_out; i++) {
        room->out[i] = (qn_type){ .rank = -1, .quant = { .scale = QN_NONE, .zero_point = QN_NONE, .axis = -1 } };
        room->out_known[i] = NULL;
    }
    /* the graph is only read; infer's type is not const because other callers build while they infer */
    st = qn_infer_node((qn_graph *)(uintptr_t)pl->rq->graph, n, pl->dims, &pl->tmp, room->in, room->in_known, room->in_const, room->out,
                       room->out_known, err);
    if (st == QN_OK) st = qn_dims_status(pl->dims, err);
    if (st != QN_OK) return st;
    for (int32_t i = 0; i < n->n_out; i++) {
        qn_value_id id = n->out[i];

        if (id == QN_NONE) continue;
        pl->types[id] = room->out[i];
        pl->known[id] = room->out_known[i];
        st = number_value(pl, id, err);
        if (st != QN_OK) {
            char label[160];

            qn_error_prefix(err, "%s", qn_node_label(n, label, sizeof label));
            return st;
        }
    }
    return pl->batch_free ? qn_plan_compute(pl, n, room->in_const, err) : QN_OK;
}

qn_status qn_plan_types(qn_planner *pl, qn_error *err)
{
    const qn_graph *g = pl->rq->graph;
    qn_infer_room room = { 0 };
    qn_status st = make_room(pl, &room, err);

    for (qn_value_id id = 0; id < g->n_values && st == QN_OK; id++) {
        pl->types[id] = (qn_type){ .rank = -1, .quant = { .scale = QN_NONE, .zero_point = QN_NONE, .axis = -1 } };
        pl->plan->values[id].rank = -1;
        if (g->values[id].weight && !g->values[id].dead) set_const_type(pl, id);
    }
    for (int32_t i = 0; i < pl->rq->n_inputs && st == QN_OK; i++) {
        set_input_type(pl, i);
        if (pl->rq->inputs[i] != QN_NONE && pl->plan->values[pl->rq->inputs[i]].home == QN_HOME_INPUT)
            st = number_value(pl, pl->rq->inputs[i], err);
    }
    for (int32_t i = 0; i < g->n_order && st == QN_OK && pl->batch_free; i++) st = infer_step(pl, &g->nodes[g->order[i]], &room, err);
    return st;
}
