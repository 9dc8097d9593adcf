/* core/ops/control.c - If, Loop and Scan: nodes whose body is a graph of its own.
 * Spec   ONNX If 1 on, Loop 1 on, Scan 9 on. A body sees values of the graphs around it by name (captures).
 *   If     runs one of two graphs without inputs
 *   Loop   body(iteration, condition, carried..) -> (condition, carried.., scan outputs..): runs at most M times while the condition
 *          holds; a scan output is stacked along a new first axis
 *   Scan   body(states.., slices..) -> (states.., slices..): once for every element along the scan axes
 * Carried values may change their sizes and not their rank. Iterations alternate between two memories of the body: see qn_run_sub(). */
#include "core/graph/cost.h"
#include "core/ops/move.h"

#include "core/base/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* -- types ---------------------------------------------------------------------------------------------------------------- */

static qn_graph *body_of(const qn_node *n, const char *name)
{
    const qn_attr *a = qn_node_attr(n, name);

    return a && a->type == QN_ATTR_GRAPH ? a->g : NULL;
}

static qn_status need_body(const qn_node *n, const char *name, qn_graph **out, qn_error *err)
{
    *out = body_of(n, name);
    return *out ? QN_OK : qn_error_set(err, QN_ERR_INVALID, "attribute %s is missing, expected a graph", name);
}

/* Type of output i of a body. The planner infers in a table of its own, where only numbers mean the same. */
static void body_type(const qn_infer *c, const qn_graph *sub, int32_t i, qn_type *out)
{
    int64_t v;

    *out = sub->values[sub->outputs[i]].type;
    out->layout = QN_LAYOUT_PLAIN;
    out->quant = (qn_quant){ .scale = QN_NONE, .zero_point = QN_NONE, .axis = -1 };
    for (int32_t d = 0; c->dims != c->graph->dims && d < out->rank; d++)
        out->dims[d] = qn_dims_value(c->graph->dims, out->dims[d], &v) ? qn_dims_const(c->dims, v) : QN_DIM_UNKNOWN;
}

/* What is true of a and of b. */
static qn_status join(const qn_type *a, const qn_type *b, const char *what, int32_t i, qn_type *out, qn_error *err)
{
    if (a->kind == QN_KIND_OPTIONAL && a->of == QN_KIND_SEQUENCE && b->kind == QN_KIND_SEQUENCE) a = b; /* one that is there */
    if (a->kind != b->kind || (a->dtype != b->dtype && a->dtype != QN_DTYPE_NONE && b->dtype != QN_DTYPE_NONE))
        return qn_error_set(err, QN_ERR_DTYPE, "%s %" PRId32 " is %s%s on one way and %s%s on the other", what, i,
                            a->kind == QN_KIND_TENSOR ? "" : "a list of ", qn_dtype_name(a->dtype),
                            b->kind == QN_KIND_TENSOR ? "" : "a list of ", qn_dtype_name(b->dtype));
    *out = *a;
    if (out->dtype == QN_DTYPE_NONE) out->dtype = b->dtype;
    if (b->rank != a->rank) out->rank = -1;
    for (int32_t d = 0; d < out->rank; d++)
        if (a->dims[d] != b->dims[d]) out->dims[d] = QN_DIM_UNKNOWN;
    return QN_OK;
}

static void scalar_type(qn_type *t, qn_dtype dtype)
{
    *t = (qn_type){ .dtype = dtype, .quant = { .scale = QN_NONE, .zero_point = QN_NONE, .axis = -1 } };
}

static void carried_type(const qn_type *from, bool exact, qn_type *to)
{
    *to = *from;
    for (int32_t d = 0; !exact && d < to->rank; d++) to->dims[d] = QN_DIM_UNKNOWN;
}

static qn_status same_rank(const qn_type *in, const qn_type *out, int32_t i, qn_error *err)
{
    if (in->kind != QN_KIND_TENSOR || in->rank < 0 || out->rank < 0 || in->rank == out->rank) return QN_OK;
    return qn_error_set(err, QN_ERR_UNSUPPORTED,
                        "carried value %" PRId32 " has rank %" PRId32 " before an iteration and %" PRId32 " after it", i, in->rank,
                        out->rank);
}

/* -- handing out ---------------------------------------------------------------------------------------------------------- */

static qn_status give(qn_run *r, int32_t i, const qn_tensor *t, const qn_items *items, qn_error *err)
{
    qn_status st;

    if (r->node->out[i] == QN_NONE) return QN_OK;
    if (items) return qn_items_share(qn_run_new_items(r, i), items, err);
    st = qn_run_output(r, i, t->dtype, t->rank, t->dims, t->bytes, err);
    if (st == QN_OK && t->bytes) memcpy(r->out[i].data, t->data, t->bytes);
    return st;
}

static qn_status read_bool(const qn_tensor *t, const char *what, bool *out, qn_error *err)
{
    if (t->dtype != QN_BOOL || qn_tensor_count(t) != 1)
        return qn_error_set(err, QN_ERR_SHAPE, "%s is %s with %" PRId64 " elements, expected one bool", what, qn_dtype_name(t->dtype),
                            t->dtype == QN_DTYPE_NONE ? 0 : qn_tensor_count(t));
    *out = *(const uint8_t *)t->data != 0;
    return QN_OK;
}

/* -- If ------------------------------------------------------------------------------------------------------------------- */

static qn_status if_enter(const qn_infer *c, qn_graph *sub, bool exact, qn_error *err)
{
    (void)c;
    (void)exact;
    if (sub->n_inputs == 0) return QN_OK;
    return qn_error_set(err, QN_ERR_INVALID, "a branch has %" PRId32 " inputs, expected 0", sub->n_inputs);
}

static qn_status if_infer(qn_infer *c, qn_error *err)
{
    qn_graph *yes, *no;
    qn_type a, b;
    qn_status st = need_body(c->node, "then_branch", &yes, err);

    if (st == QN_OK) st = need_body(c->node, "else_branch", &no, err);
    if (st != QN_OK) return st;
    if (yes->n_outputs != c->node->n_out || no->n_outputs != c->node->n_out)
        return qn_error_set(err, QN_ERR_INVALID, "branches of %" PRId32 " and %" PRId32 " outputs, expected %" PRId32, yes->n_outputs,
                            no->n_outputs, c->node->n_out);
    for (int32_t i = 0; i < c->node->n_out && st == QN_OK; i++) {
        body_type(c, yes, i, &a);
        body_type(c, no, i, &b);
        st = join(&a, &b, "output", i, &c->out[i], err);
    }
    return st;
}

static qn_status if_run(qn_run *r, qn_error *err)
{
    bool taken;
    const qn_graph *sub;
    qn_status st = read_bool(&r->in[0], "the condition", &taken, err);

    if (st != QN_OK) return st;
    sub = body_of(r->node, taken ? "then_branch" : "else_branch");
    st = qn_run_sub(r, sub, 0, NULL, NULL, err);
    for (int32_t i = 0; i < r->node->n_out && st == QN_OK; i++) {
        qn_tensor t;
        const qn_items *items;

        qn_run_sub_output(r, sub, 0, i, &t, &items);
        st = give(r, i, &t, items, err);
    }
    return st;
}

const qn_op qn_op_if = {
    .name = "If",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_CONTROL | QN_OP_VARIADIC,
    .infer = if_infer,
    .enter = if_enter,
    .run = if_run,
    .cost = qn_cost_none,
};

/* -- a body that runs again and again ------------------------------------------------------------------------------------- */

/* Operands of one iteration, and what the iterations so far stacked up. */
typedef struct iterations {
    qn_run *r;
    const qn_graph *body;
    qn_tensor *in;          /* [n_inputs of the body] */
    const qn_items **items; /* [n_inputs] */
    qn_items *stacks;       /* [n_stacks] scan outputs, an element for each iteration */
    int32_t n_stacks;
} iterations;

static void iterations_release(iterations *it)
{
    for (int32_t i = 0; it->stacks && i < it->n_stacks; i++) qn_items_release(&it->stacks[i]);
    free(it->in);
    free(it->items);
    free(it->stacks);
}

static qn_status iterations_init(iterations *it, qn_run *r, const qn_graph *body, int32_t n_stacks, qn_error *err)
{
    *it = (iterations){ .r = r, .body = body, .n_stacks = n_stacks };
    it->in = calloc((size_t)body->n_inputs + 1, sizeof *it->in);
    it->items = calloc((size_t)body->n_inputs + 1, sizeof(qn_items *));
    it->stacks = calloc((size_t)n_stacks + 1, sizeof *it->stacks);
    if (it->in && it->items && it->stacks) return QN_OK;
    return qn_error_set(err, QN_ERR_NOMEM, "a body of %" PRId32 " inputs", body->n_inputs);
}

/* Output `from` of the run in `turn` becomes input `to` of the next. */
static void carry(iterations *it, int32_t turn, int32_t from, int32_t to)
{
    qn_run_sub_output(it->r, it->body, turn, from, &it->in[to], &it->items[to]);
}

static qn_status push(iterations *it, int32_t turn, int32_t from, int32_t stack, qn_error *err)
{
    qn_tensor t;
    const qn_items *items;
    qn_box *box = NULL;
    qn_status st;

    qn_run_sub_output(it->r, it->body, turn, from, &t, &items);
    if (items || t.dtype == QN_STRING)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "scan output %" PRId32 " is unsupported: %s", stack, items ? "a list" : "strings");
    st = qn_box_copy(qn_run_meter(it->r), &t, &box, err);
    return st == QN_OK ? qn_items_insert(&it->stacks[stack], it->stacks[stack].n, box, err) : st;
}

/* Bytes before and behind one step along an axis: a tensor is [outer][n][inner bytes]. */
static void around_axis(const qn_tensor *t, int32_t axis, size_t *outer, size_t *inner)
{
    *outer = 1;
    *inner = qn_dtype_size(t->dtype);
    for (int32_t d = 0; d < axis; d++) *outer *= (size_t)t->dims[d];
    for (int32_t d = axis + 1; d < t->rank; d++) *inner *= (size_t)t->dims[d];
}

/* The elements of a stack along a new axis of output `to`, the last one first if `backwards`. */
static qn_status unstack(iterations *it, int32_t stack, int32_t to, int64_t axis, bool backwards, const qn_type *none, qn_error *err)
{
    const qn_items *s = &it->stacks[stack];
    qn_tensor t = { .dtype = none->dtype, .rank = none->rank }, y = { 0 };
    size_t outer, inner;
    qn_status st;

    if (it->r->node->out[to] == QN_NONE) return QN_OK;
    if (s->n > 0)
        t = s->box[0]->tensor;
    else
        for (int32_t d = 0; d < t.rank; d++)
            if (!qn_dims_value(it->body->dims, none->dims[d], &t.dims[d])) t.dims[d] = 0;
    if (t.rank < 0 || t.rank >= QN_MAX_RANK)
        return qn_error_set(err, QN_ERR_SHAPE, "scan output %" PRId32 " has rank %" PRId32 ", expected 0..%d", stack, t.rank,
                            QN_MAX_RANK - 1);
    if (axis < -t.rank - 1 || axis > t.rank)
        return qn_error_set(err, QN_ERR_SHAPE, "scan output %" PRId32 " of rank %" PRId32 " along axis %" PRId64, stack, t.rank, axis);
    if (axis < 0) axis += t.rank + 1;
    y.rank = t.rank + 1;
    for (int32_t d = 0; d < y.rank; d++) y.dims[d] = d < axis ? t.dims[d] : d == axis ? s->n : t.dims[d - 1];
    for (int64_t i = 1; i < s->n; i++) {
        const qn_tensor *e = &s->box[i]->tensor;

        if (e->dtype != t.dtype || e->rank != t.rank || memcmp(e->dims, t.dims, (size_t)t.rank * sizeof t.dims[0]) != 0)
            return qn_error_set(err, QN_ERR_SHAPE, "scan output %" PRId32 " changes its shape in iteration %" PRId64, stack, i);
    }
    st = qn_run_output(it->r, to, t.dtype, y.rank, y.dims, 0, err);
    if (st != QN_OK) return st;
    around_axis(&it->r->out[to], (int32_t)axis, &outer, &inner);
    for (int64_t i = 0; i < s->n; i++) {
        const char *src = s->box[backwards ? s->n - 1 - i : i]->tensor.data;
        char *dst = (char *)it->r->out[to].data + (size_t)i * inner;

        for (size_t o = 0; inner > 0 && o < outer; o++) memcpy(dst + o * (size_t)s->n * inner, src + o * inner, inner);
    }
    return QN_OK;
}

/* -- Loop ----------------------------------------------------------------------------------------------------------------- */

static qn_status loop_body(const qn_node *n, qn_graph **body, qn_error *err)
{
    qn_status st = need_body(n, "body", body, err);

    if (st != QN_OK) return st;
    if ((*body)->n_inputs < 2 || (*body)->n_inputs > n->n_in)
        return qn_error_set(err, QN_ERR_INVALID, "the body has %" PRId32 " inputs, expected 2..%" PRId32, (*body)->n_inputs, n->n_in);
    if ((*body)->n_outputs - 1 < (*body)->n_inputs - 2 || n->n_out > (*body)->n_outputs - 1)
        return qn_error_set(err, QN_ERR_INVALID, "the body has %" PRId32 " inputs and %" PRId32 " outputs, the node %" PRId32 " outputs",
                            (*body)->n_inputs, (*body)->n_outputs, n->n_out);
    return QN_OK;
}

static qn_status loop_enter(const qn_infer *c, qn_graph *sub, bool exact, qn_error *err)
{
    qn_graph *body;
    qn_status st = loop_body(c->node, &body, err);

    if (st != QN_OK) return st;
    scalar_type(&sub->values[sub->inputs[0]].type, QN_I64);
    scalar_type(&sub->values[sub->inputs[1]].type, QN_BOOL);
    for (int32_t i = 2; i < sub->n_inputs; i++) carried_type(&c->in[i], exact, &sub->values[sub->inputs[i]].type);
    return QN_OK;
}

static int32_t loop_carried(const qn_node *n, int32_t *in, int32_t *out)
{
    const qn_graph *body = body_of(n, "body");

    *in = 2;
    *out = 1;
    return body ? body->n_inputs - 2 : 0;
}

static qn_status loop_infer(qn_infer *c, qn_error *err)
{
    qn_graph *body;
    qn_status st = loop_body(c->node, &body, err);

    for (int32_t i = 0; st == QN_OK && i < c->node->n_out; i++) {
        bool carried = i < body->n_inputs - 2;
        qn_type t;

        body_type(c, body, i + 1, &t);
        if (carried) {
            st = same_rank(&body->values[body->inputs[i + 2]].type, &t, i, err);
            if (st == QN_OK) st = join(&c->in[i + 2], &t, "carried value", i, &c->out[i], err);
        } else {
            c->out[i] = t;
            if (t.rank < 0) continue;
            if (t.rank >= QN_MAX_RANK) return qn_error_set(err, QN_ERR_SHAPE, "scan output %" PRId32 " has rank %" PRId32, i, t.rank);
            memmove(&c->out[i].dims[1], &t.dims[0], (size_t)t.rank * sizeof t.dims[0]);
            c->out[i].dims[0] = QN_DIM_UNKNOWN;
            c->out[i].rank++;
        }
    }
    return st;
}

static qn_status trip_count(const qn_tensor *t, int64_t *out, qn_error *err)
{
    *out = INT64_MAX;
    if (t->dtype == QN_DTYPE_NONE) return QN_OK;
    if ((t->dtype != QN_I64 && t->dtype != QN_I32) || qn_tensor_count(t) != 1)
        return qn_error_set(err, QN_ERR_SHAPE, "the trip count is %s with %" PRId64 " elements, expected one int64",
                            qn_dtype_name(t->dtype), qn_tensor_count(t));
    *out = qn_move_int(t, 0);
    return QN_OK;
}

static qn_status loop_run(qn_run *r, qn_error *err)
{
    const qn_graph *body = body_of(r->node, "body");
    int32_t n_carried = body->n_inputs - 2, turn = 0;
    int64_t most, i = 0;
    bool go = true;
    uint8_t cond;
    iterations it;
    qn_status st = iterations_init(&it, r, body, r->node->n_out > n_carried ? r->node->n_out - n_carried : 0, err);

    if (st == QN_OK) st = trip_count(&r->in[0], &most, err);
    if (st == QN_OK && r->in[1].dtype != QN_DTYPE_NONE) st = read_bool(&r->in[1], "the condition", &go, err);
    for (int32_t k = 2; st == QN_OK && k < body->n_inputs; k++) {
        it.in[k] = r->in[k];
        it.items[k] = qn_run_items(r, k);
    }
    for (; st == QN_OK && go && i < most; i++) {
        qn_tensor t;
        const qn_items *none;

        turn = (int32_t)(i & 1);
        cond = go;
        it.in[0] = (qn_tensor){ .dtype = QN_I64, .data = &i, .bytes = sizeof i };
        it.in[1] = (qn_tensor){ .dtype = QN_BOOL, .data = &cond, .bytes = 1 };
        st = qn_run_sub(r, body, turn, it.in, it.items, err);
        if (st != QN_OK) break;
        qn_run_sub_output(r, body, turn, 0, &t, &none);
        st = read_bool(&t, "the body's condition", &go, err);
        for (int32_t k = 0; k < n_carried && st == QN_OK; k++) carry(&it, turn, k + 1, k + 2);
        for (int32_t k = 0; k < it.n_stacks && st == QN_OK; k++) st = push(&it, turn, n_carried + 1 + k, k, err);
    }
    for (int32_t k = 0; k < r->node->n_out && st == QN_OK; k++) {
        if (k < n_carried)
            st = give(r, k, &it.in[k + 2], it.items[k + 2], err);
        else
            st = unstack(&it, k - n_carried, k, 0, false, &body->values[body->outputs[k + 1]].type, err);
    }
    iterations_release(&it);
    return st;
}

const qn_op qn_op_loop = {
    .name = "Loop",
    .since = 1,
    .min_in = 0,
    .max_in = 2,
    .min_out = 0,
    .max_out = 1,
    .flags = QN_OP_CONTROL | QN_OP_VARIADIC,
    .infer = loop_infer,
    .enter = loop_enter,
    .carried = loop_carried,
    .run = loop_run,
    .cost = qn_cost_none,
};

/* -- Scan ----------------------------------------------------------------------------------------------------------------- */

typedef struct scan {
    qn_graph *body;
    int32_t n_states, n_in, n_out; /* scan inputs and outputs */
} scan;

static qn_status scan_read(const qn_node *n, scan *s, qn_error *err)
{
    int64_t n_scan = qn_node_int(n, "num_scan_inputs", 0);
    qn_status st = need_body(n, "body", &s->body, err);

    if (st != QN_OK) return st;
    if (s->body->n_inputs > n->n_in || n_scan < 1 || n_scan > s->body->n_inputs)
        return qn_error_set(err, QN_ERR_INVALID, "num_scan_inputs is %" PRId64 ", the body has %" PRId32 " inputs and the node %" PRId32,
                            n_scan, s->body->n_inputs, n->n_in);
    s->n_in = (int32_t)n_scan;
    s->n_states = s->body->n_inputs - s->n_in;
    s->n_out = s->body->n_outputs - s->n_states;
    if (s->n_out < 0 || n->n_out > s->body->n_outputs)
        return qn_error_set(err, QN_ERR_INVALID, "the body has %" PRId32 " outputs and %" PRId32 " states, the node %" PRId32 " outputs",
                            s->body->n_outputs, s->n_states, n->n_out);
    return QN_OK;
}

/* Element i of a list attribute that may be left out; *ok false where the list is too short. */
static int64_t listed(const qn_node *n, const char *name, int32_t i, bool *ok)
{
    int64_t len;
    const int64_t *v = qn_node_ints(n, name, &len);

    if (!v || len == 0) return 0;
    if (i >= len) *ok = false;
    return i < len ? v[i] : 0;
}

/* Axis of scan input i in a tensor of this rank. */
static qn_status scan_axis(const qn_node *n, int32_t i, int32_t rank, int32_t *axis, bool *backwards, qn_error *err)
{
    bool ok = true;
    int64_t a = listed(n, "scan_input_axes", i, &ok), dir = listed(n, "scan_input_directions", i, &ok);

    if (!ok || dir < 0 || dir > 1 || a < -rank || a >= rank)
        return qn_error_set(err, QN_ERR_SHAPE, "scan input %" PRId32 " of rank %" PRId32 ": axis %" PRId64 ", direction %" PRId64, i, rank,
                            a, dir);
    *axis = (int32_t)(a < 0 ? a + rank : a);
    *backwards = dir == 1;
    return QN_OK;
}

static qn_status scan_enter(const qn_infer *c, qn_graph *sub, bool exact, qn_error *err)
{
    scan s;
    qn_status st = scan_read(c->node, &s, err);

    for (int32_t i = 0; st == QN_OK && i < sub->n_inputs; i++) {
        qn_type *t = &sub->values[sub->inputs[i]].type;
        int32_t axis;
        bool backwards;

        carried_type(&c->in[i], exact || i >= s.n_states, t);
        if (i < s.n_states || t->rank < 0) continue;
        st = scan_axis(c->node, i - s.n_states, t->rank, &axis, &backwards, err);
        if (st != QN_OK) return st;
        memmove(&t->dims[axis], &t->dims[axis + 1], (size_t)(t->rank - axis - 1) * sizeof t->dims[0]);
        t->rank--;
    }
    return st;
}

static int32_t scan_carried(const qn_node *n, int32_t *in, int32_t *out)
{
    scan s;

    *in = *out = 0;
    return scan_read(n, &s, NULL) == QN_OK ? s.n_states : 0;
}

static qn_status scan_infer(qn_infer *c, qn_error *err)
{
    scan s;
    qn_dim len = QN_DIM_UNKNOWN;
    int32_t axis;
    bool backwards, ok = true;
    qn_status st = scan_read(c->node, &s, err);

    for (int32_t i = 0; st == QN_OK && i < s.n_in; i++) {
        const qn_type *t = &c->in[s.n_states + i];

        if (t->rank < 0) continue;
        st = scan_axis(c->node, i, t->rank, &axis, &backwards, err);
        if (st == QN_OK && len == QN_DIM_UNKNOWN) len = t->dims[axis];
    }
    for (int32_t i = 0; st == QN_OK && i < c->node->n_out; i++) {
        qn_type t;
        int64_t at;

        body_type(c, s.body, i, &t);
        if (i < s.n_states) {
            st = same_rank(&s.body->values[s.body->inputs[i]].type, &t, i, err);
            if (st == QN_OK) st = join(&c->in[i], &t, "state", i, &c->out[i], err);
            continue;
        }
        c->out[i] = t;
        if (t.rank < 0) continue;
        at = listed(c->node, "scan_output_axes", i - s.n_states, &ok);
        if (!ok || t.rank >= QN_MAX_RANK || at < -t.rank - 1 || at > t.rank)
            return qn_error_set(err, QN_ERR_SHAPE, "scan output %" PRId32 " of rank %" PRId32 ": axis %" PRId64, i - s.n_states, t.rank,
                                at);
        if (at < 0) at += t.rank + 1;
        memmove(&c->out[i].dims[at + 1], &t.dims[at], (size_t)(t.rank - at) * sizeof t.dims[0]);
        c->out[i].dims[at] = len;
        c->out[i].rank++;
    }
    return st;
}

/* One scan input while it is walked. */
typedef struct slices {
    const qn_tensor *from;
    qn_box *box; /* room for one slice, unless slices are contiguous */
    size_t outer, inner;
    int64_t n;
    bool backwards;
    qn_tensor shape; /* of a slice */
} slices;

static qn_status slices_init(qn_run *r, slices *s, int32_t i, const qn_tensor *from, qn_error *err)
{
    int32_t axis;
    qn_status st = from->dtype == QN_STRING || from->dtype == QN_DTYPE_NONE
                       ? qn_error_set(err, QN_ERR_UNSUPPORTED, "scan input %" PRId32 " is unsupported: %s", i, qn_dtype_name(from->dtype))
                       : scan_axis(r->node, i, from->rank, &axis, &s->backwards, err);

    if (st != QN_OK) return st;
    s->from = from;
    s->n = from->dims[axis];
    around_axis(from, axis, &s->outer, &s->inner);
    s->shape = (qn_tensor){ .dtype = from->dtype, .rank = from->rank - 1, .bytes = s->outer * s->inner };
    for (int32_t d = 0, o = 0; d < from->rank; d++)
        if (d != axis) s->shape.dims[o++] = from->dims[d];
    return s->outer == 1 ? QN_OK : qn_box_alloc(qn_run_meter(r), from->dtype, s->shape.rank, s->shape.dims, &s->box, err);
}

static qn_tensor slice_at(const slices *s, int64_t i)
{
    qn_tensor t = s->shape;
    const char *src = (const char *)s->from->data + (size_t)(s->backwards ? s->n - 1 - i : i) * s->inner;

    if (!s->box) {
        t.data = (void *)(uintptr_t)src;
        return t;
    }
    t.data = s->box->tensor.data;
    for (size_t o = 0; s->inner > 0 && o < s->outer; o++)
        memcpy((char *)t.data + o * s->inner, src + o * (size_t)s->n * s->inner, s->inner);
    return t;
}

static qn_status scan_iterate(iterations *it, const scan *s, const slices *in, int64_t n, qn_error *err)
{
    qn_status st = QN_OK;

    for (int64_t i = 0; i < n && st == QN_OK; i++) {
        int32_t turn = (int32_t)(i & 1);

        for (int32_t k = 0; k < s->n_in; k++) it->in[s->n_states + k] = slice_at(&in[k], i);
        st = qn_run_sub(it->r, s->body, turn, it->in, it->items, err);
        for (int32_t k = 0; k < s->n_states && st == QN_OK; k++) carry(it, turn, k, k);
        for (int32_t k = 0; k < it->n_stacks && st == QN_OK; k++) st = push(it, turn, s->n_states + k, k, err);
    }
    return st;
}

static qn_status scan_run(qn_run *r, qn_error *err)
{
    scan s;
    slices *in = NULL;
    iterations it = { 0 };
    bool ok = true;
    qn_status st = scan_read(r->node, &s, err);

    if (st != QN_OK) return st;
    st = iterations_init(&it, r, s.body, r->node->n_out > s.n_states ? r->node->n_out - s.n_states : 0, err);
    if (st == QN_OK) in = calloc((size_t)s.n_in, sizeof *in);
    if (st == QN_OK && !in) st = qn_error_set(err, QN_ERR_NOMEM, "scan inputs");
    for (int32_t i = 0; i < s.n_states && st == QN_OK; i++) {
        it.in[i] = r->in[i];
        it.items[i] = qn_run_items(r, i);
    }
    for (int32_t i = 0; i < s.n_in && st == QN_OK; i++) {
        st = slices_init(r, &in[i], i, &r->in[s.n_states + i], err);
        if (st == QN_OK && in[i].n != in[0].n)
            st = qn_error_set(err, QN_ERR_SHAPE, "scan input %" PRId32 " has %" PRId64 " slices, the first has %" PRId64, i, in[i].n,
                              in[0].n);
    }
    if (st == QN_OK) st = scan_iterate(&it, &s, in, in[0].n, err);
    for (int32_t i = 0; i < r->node->n_out && st == QN_OK; i++) {
        int32_t k = i - s.n_states;

        if (k < 0)
            st = give(r, i, &it.in[i], it.items[i], err);
        else
            st = unstack(&it, k, i, listed(r->node, "scan_output_axes", k, &ok), listed(r->node, "scan_output_directions", k, &ok) == 1,
                         &s.body->values[s.body->outputs[i]].type, err);
    }
    for (int32_t i = 0; in && i < s.n_in; i++) qn_box_unref(in[i].box);
    free(in);
    iterations_release(&it);
    return st;
}

/* -- Scan 8 --------------------------------------------------------------------------------------------------------------- */

/* Every tensor has a batch before everything else, and input 0 may say how long each sequence is. The body sees one batch element. */
static qn_status scan8_enter(const qn_infer *c, qn_graph *sub, bool exact, qn_error *err)
{
    int64_t n_scan = qn_node_int(c->node, "num_scan_inputs", 0);

    if (sub->n_inputs + 1 > c->node->n_in || n_scan < 1 || n_scan > sub->n_inputs)
        return qn_error_set(err, QN_ERR_INVALID, "num_scan_inputs is %" PRId64 ", the body has %" PRId32 " inputs and the node %" PRId32,
                            n_scan, sub->n_inputs, c->node->n_in);
    for (int32_t i = 0; i < sub->n_inputs; i++) {
        qn_type *t = &sub->values[sub->inputs[i]].type;
        int32_t drop = i < sub->n_inputs - n_scan ? 1 : 2;

        carried_type(&c->in[i + 1], exact || drop == 2, t);
        if (t->rank < 0) continue;
        if (t->rank < drop) return qn_error_set(err, QN_ERR_SHAPE, "input %" PRId32 " has rank %" PRId32, i + 1, t->rank);
        memmove(t->dims, t->dims + drop, (size_t)(t->rank - drop) * sizeof t->dims[0]);
        t->rank -= drop;
    }
    return QN_OK;
}

static qn_status scan8_read(const qn_node *n, scan *s, qn_error *err)
{
    qn_status st = need_body(n, "body", &s->body, err);

    if (st != QN_OK) return st;
    s->n_in = (int32_t)qn_node_int(n, "num_scan_inputs", 0);
    s->n_states = s->body->n_inputs - s->n_in;
    s->n_out = s->body->n_outputs - s->n_states;
    if (s->n_in < 1 || s->n_states < 0 || s->n_out < 0 || n->n_out > s->body->n_outputs || n->n_in < s->body->n_inputs + 1)
        return qn_error_set(err, QN_ERR_INVALID, "the body has %" PRId32 " inputs and %" PRId32 " outputs, %" PRId32 " of them scanned",
                            s->body->n_inputs, s->body->n_outputs, s->n_in);
    return QN_OK;
}

static int32_t scan8_carried(const qn_node *n, int32_t *in, int32_t *out)
{
    scan s;

    *in = *out = 0;
    return scan8_read(n, &s, NULL) == QN_OK ? s.n_states : 0;
}

static qn_status scan8_infer(qn_infer *c, qn_error *err)
{
    scan s;
    qn_status st = scan8_read(c->node, &s, err);

    for (int32_t i = 0; st == QN_OK && i < c->node->n_out; i++) {
        int32_t more = i < s.n_states ? 1 : 2;
        const qn_type *x = &c->in[1 + s.n_states];
        qn_type t;

        body_type(c, s.body, i, &t);
        c->out[i] = t;
        if (t.rank < 0) continue;
        if (t.rank + more > QN_MAX_RANK) return qn_error_set(err, QN_ERR_SHAPE, "output %" PRId32 " has rank %" PRId32, i, t.rank + more);
        memmove(&c->out[i].dims[more], &t.dims[0], (size_t)t.rank * sizeof t.dims[0]);
        for (int32_t d = 0; d < more; d++) c->out[i].dims[d] = d < x->rank ? x->dims[d] : QN_DIM_UNKNOWN;
        c->out[i].rank += more;
    }
    return st;
}

/* Element b of the batch, as a view. */
static qn_status batch_view(const qn_tensor *t, int64_t b, int32_t drop, qn_tensor *out, qn_error *err)
{
    if (t->dtype == QN_STRING || t->rank < drop || b >= t->dims[0])
        return qn_error_set(err, QN_ERR_SHAPE, "%s of rank %" PRId32 " has no batch element %" PRId64, qn_dtype_name(t->dtype), t->rank, b);
    *out = *t;
    out->rank = t->rank - 1;
    memmove(out->dims, t->dims + 1, (size_t)out->rank * sizeof t->dims[0]);
    out->bytes = t->bytes / (size_t)t->dims[0];
    if (t->bytes) out->data = (char *)t->data + (size_t)b * out->bytes;
    return QN_OK;
}

/* Give output i its place when the first batch element is done, and write element b. */
static qn_status batch_store(qn_run *r, int32_t i, int64_t b, int64_t batch, const qn_tensor *t, qn_error *err)
{
    qn_tensor y = { .rank = t->rank + 1 };
    qn_status st = QN_OK;

    if (r->node->out[i] == QN_NONE) return QN_OK;
    if (y.rank > QN_MAX_RANK) return qn_error_set(err, QN_ERR_SHAPE, "output %" PRId32 " has rank %" PRId32, i, y.rank);
    y.dims[0] = batch;
    memcpy(&y.dims[1], t->dims, (size_t)t->rank * sizeof t->dims[0]);
    if (b == 0)
        st = qn_run_output(r, i, t->dtype, y.rank, y.dims, 0, err);
    else if (r->out[i].rank != y.rank || memcmp(r->out[i].dims, y.dims, (size_t)y.rank * sizeof y.dims[0]) != 0)
        st = qn_error_set(err, QN_ERR_SHAPE, "output %" PRId32 " changes its shape in batch element %" PRId64, i, b);
    if (st == QN_OK && t->bytes) memcpy((char *)r->out[i].data + (size_t)b * t->bytes, t->data, t->bytes);
    return st;
}

/* A stack of `used` slices in room for `most`, zeros behind them. */
static qn_status stack_to_tensor(iterations *it, int32_t stack, int64_t most, qn_box **out, qn_error *err)
{
    const qn_items *s = &it->stacks[stack];
    int64_t dims[QN_MAX_RANK] = { most };
    const qn_tensor *e = s->n > 0 ? &s->box[0]->tensor : NULL;
    qn_status st;

    if (!e || e->rank >= QN_MAX_RANK) return qn_error_set(err, QN_ERR_SHAPE, "scan output %" PRId32 " of an empty sequence", stack);
    memcpy(&dims[1], e->dims, (size_t)e->rank * sizeof dims[0]);
    st = qn_box_alloc(qn_run_meter(it->r), e->dtype, e->rank + 1, dims, out, err);
    for (int64_t i = 0; i < s->n && st == QN_OK; i++) {
        if (s->box[i]->tensor.bytes != e->bytes)
            st = qn_error_set(err, QN_ERR_SHAPE, "scan output %" PRId32 " changes its shape in iteration %" PRId64, stack, i);
        else if (e->bytes)
            memcpy((char *)(*out)->tensor.data + (size_t)i * e->bytes, s->box[i]->tensor.data, e->bytes);
    }
    return st;
}

static qn_status scan8_element(qn_run *r, const scan *s, int64_t b, int64_t batch, int64_t n, int64_t most, slices *in, qn_error *err)
{
    iterations it;
    qn_tensor *whole = calloc((size_t)s->n_in, sizeof *whole);
    qn_status st = iterations_init(&it, r, s->body, r->node->n_out > s->n_states ? r->node->n_out - s->n_states : 0, err);

    if (st == QN_OK && !whole) st = qn_error_set(err, QN_ERR_NOMEM, "scan inputs");
    for (int32_t k = 0; k < s->n_states && st == QN_OK; k++) st = batch_view(&r->in[1 + k], b, 1, &it.in[k], err);
    for (int32_t k = 0; k < s->n_in && st == QN_OK; k++) {
        bool ok = true;
        int64_t dir = listed(r->node, "directions", k, &ok);

        st = batch_view(&r->in[1 + s->n_states + k], b, 2, &whole[k], err);
        if (st != QN_OK) break;
        if (!ok || dir < 0 || dir > 1 || whole[k].dims[0] != most)
            st =
                qn_error_set(err, QN_ERR_SHAPE, "scan input %" PRId32 ": direction %" PRId64 ", length %" PRId64, k, dir, whole[k].dims[0]);
        in[k] = (slices){ .from = &whole[k], .outer = 1, .n = n, .backwards = dir == 1, .shape = whole[k] };
        in[k].inner = in[k].shape.bytes = most > 0 ? whole[k].bytes / (size_t)most : 0;
        in[k].shape.rank--;
        memmove(in[k].shape.dims, whole[k].dims + 1, (size_t)in[k].shape.rank * sizeof whole[k].dims[0]);
    }
    if (st == QN_OK) st = scan_iterate(&it, s, in, n, err);
    for (int32_t i = 0; i < r->node->n_out && st == QN_OK; i++) {
        qn_box *box = NULL;

        if (i >= s->n_states) st = stack_to_tensor(&it, i - s->n_states, most, &box, err);
        if (st == QN_OK) st = batch_store(r, i, b, batch, box ? &box->tensor : &it.in[i], err);
        qn_box_unref(box);
    }
    free(whole);
    iterations_release(&it);
    return st;
}

static qn_status scan8_run(qn_run *r, qn_error *err)
{
    scan s;
    const qn_tensor *x, *lens = &r->in[0];
    slices *in = NULL;
    qn_status st = scan8_read(r->node, &s, err);

    if (st != QN_OK) return st;
    x = &r->in[1 + s.n_states];
    if (x->rank < 2 || x->dims[0] < 1) return qn_error_set(err, QN_ERR_SHAPE, "scan input 0 has rank %" PRId32 " or no batch", x->rank);
    if (lens->dtype != QN_DTYPE_NONE && (lens->dtype != QN_I64 || qn_tensor_count(lens) != x->dims[0]))
        return qn_error_set(err, QN_ERR_SHAPE, "%" PRId64 " sequence lengths for a batch of %" PRId64, qn_tensor_count(lens), x->dims[0]);
    in = calloc((size_t)s.n_in, sizeof *in);
    if (!in) return qn_error_set(err, QN_ERR_NOMEM, "scan inputs");
    for (int64_t b = 0; b < x->dims[0] && st == QN_OK; b++) {
        int64_t n = lens->dtype == QN_DTYPE_NONE ? x->dims[1] : ((const int64_t *)lens->data)[b];

        if (n < 0 || n > x->dims[1])
            st = qn_error_set(err, QN_ERR_RANGE, "sequence length %" PRId64 " of %" PRId64, n, x->dims[1]);
        else
            st = scan8_element(r, &s, b, x->dims[0], n, x->dims[1], in, err);
    }
    free(in);
    return st;
}

const qn_op qn_op_scan_8 = {
    .name = "Scan",
    .since = 8,
    .until = 8,
    .min_in = 0,
    .max_in = 1,
    .min_out = 0,
    .max_out = 1,
    .flags = QN_OP_CONTROL | QN_OP_VARIADIC,
    .infer = scan8_infer,
    .enter = scan8_enter,
    .carried = scan8_carried,
    .run = scan8_run,
    .cost = qn_cost_none,
};

const qn_op qn_op_scan = {
    .name = "Scan",
    .since = 9,
    .min_in = 1,
    .max_in = 1,
    .min_out = 0,
    .max_out = 1,
    .flags = QN_OP_CONTROL | QN_OP_VARIADIC,
    .infer = scan_infer,
    .enter = scan_enter,
    .carried = scan_carried,
    .run = scan_run,
    .cost = qn_cost_none,
};
