/* core/plan/steps.c - which nodes become steps, and what each step needs before it can run.
 *
 *   DROP     the result is known (Shape of a fixed shape, and what follows from it), or nobody reads it
 *   VIEW     the output is the input under another shape: no step, the value lives where its input lives
 *   RUN      sizes are known: lowered now
 *   DYNAMIC  a size of its inputs or outputs is known only when it runs: lowered then; strings too, their bytes are data */
#include "core/plan/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool is_output(const qn_graph *g, qn_value_id id) { return g->values[id].is_output; }

/* Output 0 has the bytes of input 0, and may share them. */
static bool can_view(const qn_planner *pl, const qn_node *n)
{
    const qn_plan_value *in, *out;

    if (pl->rq->all_values || !(n->op->flags & QN_OP_VIEW) || n->n_in < 1 || n->in[0] == QN_NONE || n->n_out < 1 || n->out[0] == QN_NONE)
        return false;
    for (int32_t i = 1; i < n->n_out; i++)
        if (n->out[i] != QN_NONE) return false;
    in = &pl->plan->values[n->in[0]];
    out = &pl->plan->values[n->out[0]];
    if (in->dtype == QN_STRING || in->home == QN_HOME_SLAB || in->max_bytes != out->max_bytes) return false;
    /* an output must stay readable after the run, when the caller's input may be gone */
    return !(in->home == QN_HOME_INPUT && is_output(pl->rq->graph, n->out[0]));
}

static uint8_t first_role(qn_planner *pl, const qn_node *n)
{
    bool dynamic = (n->op->flags & QN_OP_CONTROL) != 0, known = !(n->op->flags & QN_OP_RANDOM);

    for (int32_t i = 0; i < n->n_out; i++) {
        if (n->out[i] == QN_NONE) continue;
        if (!pl->plan->values[n->out[i]].fixed || pl->plan->values[n->out[i]].dtype == QN_STRING) dynamic = true;
        if (!pl->plan->values[n->out[i]].known && !pl->plan->values[n->out[i]].computed) known = false;
    }
    if (known) return QN_ROLE_DROP;
    for (int32_t i = 0; i < n->n_in; i++)
        if (n->in[i] != QN_NONE && !pl->plan->values[n->in[i]].fixed) dynamic = true;
    if (dynamic) return QN_ROLE_DYNAMIC;
    return can_view(pl, n) ? QN_ROLE_VIEW : QN_ROLE_RUN;
}

/* Homes of the outputs of a node. */
static void settle(qn_planner *pl, const qn_node *n, uint8_t role)
{
    for (int32_t i = 0; i < n->n_out; i++) {
        qn_plan_value *v;

        if (n->out[i] == QN_NONE) continue;
        v = &pl->plan->values[n->out[i]];
        if (v->computed) continue;
        if (role == QN_ROLE_VIEW) {
            v->home = pl->plan->values[n->in[0]].home;
            v->input = pl->plan->values[n->in[0]].input;
            pl->buffer[n->out[i]] = pl->buffer[n->in[0]];
        } else {
            v->home = v->fixed && v->dtype != QN_STRING ? QN_HOME_ARENA : QN_HOME_SLAB;
            pl->buffer[n->out[i]] = n->out[i]; /* buffers are named by the value that opens them */
        }
    }
}

/* Backwards: drop what nobody reads. needed [n_values]. */
static void mark_needed(qn_planner *pl, bool *needed)
{
    const qn_graph *g = pl->rq->graph;

    for (int32_t i = 0; i < g->n_outputs; i++) needed[g->outputs[i]] = true;
    for (int32_t i = g->n_order - 1; i >= 0; i--) {
        const qn_node *n = &g->nodes[g->order[i]];
        uint8_t *role = &pl->role[g->order[i]];
        bool wanted = false;

        for (int32_t o = 0; o < n->n_out; o++)
            if (n->out[o] != QN_NONE && (needed[n->out[o]] || pl->rq->all_values)) wanted = needed[n->out[o]] = true;
        if (!wanted) *role = QN_ROLE_DROP;
        if (*role == QN_ROLE_DROP) continue;
        for (int32_t in = 0; in < (*role == QN_ROLE_VIEW ? 1 : n->n_in); in++)
            if (n->in[in] != QN_NONE) needed[n->in[in]] = true;
        for (int32_t o = 0; o < n->n_out; o++) /* outputs beside a wanted one are written too */
            if (n->out[o] != QN_NONE) needed[n->out[o]] = true;
    }
}

static const char *op_label(qn_planner *pl, const qn_node *n)
{
    char buf[160];

    if (n->domain[0] == '\0') return n->op_type; /* lives as long as the graph */
    snprintf(buf, sizeof buf, "%s.%s", n->domain, n->op_type);
    return qn_arena_strdup(&pl->plan->arena, buf);
}

static void add_operands(qn_plan *p, const qn_node *n, qn_plan_step *s)
{
    s->operands = p->n_operands;
    for (int32_t i = 0; i < n->n_in + n->n_out; i++) {
        qn_value_id id = i < n->n_in ? n->in[i] : n->out[i - n->n_in];

        p->operands[p->n_operands++] = id;
        if (id != QN_NONE && p->values[id].home == QN_HOME_SLAB) s->refill = true;
    }
}

static qn_status make_steps(qn_planner *pl, qn_error *err)
{
    const qn_graph *g = pl->rq->graph;
    qn_plan *p = pl->plan;
    size_t n_steps = 0, n_operands = 0;

    for (int32_t i = 0; i < g->n_order; i++) {
        const qn_node *n = &g->nodes[g->order[i]];
        uint8_t role = pl->role[g->order[i]];

        if (role != QN_ROLE_RUN && role != QN_ROLE_DYNAMIC) continue;
        n_steps++;
        n_operands += (size_t)n->n_in + (size_t)n->n_out;
    }
    if (n_operands > INT32_MAX) return qn_error_set(err, QN_ERR_LIMIT, "plan: %zu operands", n_operands);
    p->steps = qn_arena_array(&p->arena, n_steps, sizeof *p->steps);
    p->operands = qn_arena_array(&p->arena, n_operands, sizeof *p->operands);
    if (!p->steps || !p->operands) return qn_error_set(err, QN_ERR_NOMEM, "plan: %zu steps", n_steps);
    for (int32_t i = 0; i < g->n_order; i++) {
        const qn_node *n = &g->nodes[g->order[i]];
        uint8_t role = pl->role[g->order[i]];
        qn_plan_step *s = &p->steps[p->n_steps];

        if (role != QN_ROLE_RUN && role != QN_ROLE_DYNAMIC) continue;
        *s = (qn_plan_step){ .node = n, .op = op_label(pl, n), .kernel = "plain", .why = "" };
        if (!s->op) return qn_error_set(err, QN_ERR_NOMEM, "plan: step names");
        s->dynamic = s->refill = role == QN_ROLE_DYNAMIC;
        p->dynamic |= s->dynamic;
        add_operands(p, n, s);
        p->n_steps++;
    }
    return QN_OK;
}

/* First and last step of every value, a view's reads counted for the buffer it looks at. */
static void set_lifetimes(qn_planner *pl)
{
    const qn_graph *g = pl->rq->graph;
    qn_plan *p = pl->plan;

    for (int32_t id = 0; id < p->n_values; id++) p->values[id].first = p->values[id].last = -1;
    for (int32_t s = 0; s < p->n_steps; s++) {
        const qn_node *n = p->steps[s].node;

        for (int32_t i = 0; i < n->n_in + n->n_out; i++) {
            qn_value_id id = p->operands[p->steps[s].operands + i];

            if (id == QN_NONE) continue;
            if (i >= n->n_in) p->values[id].first = s;
            p->values[id].last = s;
            if (pl->buffer[id] >= 0 && p->values[pl->buffer[id]].last < s) p->values[pl->buffer[id]].last = s;
        }
    }
    for (int32_t id = 0; id < p->n_values; id++) {
        if (!(is_output(g, id) || p->values[id].known || pl->rq->all_values)) continue;
        p->values[id].last = INT32_MAX;
        if (pl->buffer[id] >= 0) p->values[pl->buffer[id]].last = INT32_MAX;
    }
}

qn_status qn_plan_roles(qn_planner *pl, qn_error *err)
{
    const qn_graph *g = pl->rq->graph;
    qn_status st;
    bool *needed = qn_arena_array(&pl->tmp, (size_t)g->n_values, sizeof *needed);

    if (!needed) return qn_error_set(err, QN_ERR_NOMEM, "plan: %" PRId32 " values", g->n_values);
    for (int32_t id = 0; id < g->n_values; id++) pl->buffer[id] = -1;
    for (int32_t i = 0; i < g->n_order; i++) {
        const qn_node *n = &g->nodes[g->order[i]];

        pl->role[g->order[i]] = first_role(pl, n);
        settle(pl, n, pl->role[g->order[i]]);
    }
    mark_needed(pl, needed);
    for (int32_t id = 0; id < g->n_values; id++) {
        qn_plan_value *v = &pl->plan->values[id];

        if (!needed[id] && g->values[id].producer != QN_NONE) v->home = QN_HOME_NONE;
        if (v->home == QN_HOME_NONE) v->known = NULL;
    }
    st = make_steps(pl, err);
    if (st == QN_OK) set_lifetimes(pl);
    return st;
}

/* -- kernels and weights -------------------------------------------------------------------------------------------------- */

static qn_status dense_weight(qn_planner *pl, qn_value_id id, qn_error *err)
{
    qn_plan_value *v = &pl->plan->values[id];

    if (v->dense.data || v->dense.bytes == 0) return QN_OK;
    return qn_weight_dense(pl->rq->graph->values[id].weight, pl->rq->store, &v->dense, err);
}

static qn_status lower_step(qn_planner *pl, qn_plan_step *s, qn_tensor *io, qn_weight **weights, qn_error *err)
{
    qn_plan *p = pl->plan;
    const qn_node *n = s->node;
    const qn_value_id *ids = &p->operands[s->operands];
    qn_lower lo = { .arena = &p->arena,
                    .store = pl->rq->store,
                    .cpu = pl->rq->cpu,
                    .bits = pl->rq->bits,
                    .team_size = pl->rq->team_size,
                    .node = n,
                    .in = io,
                    .out = io + n->n_in,
                    .weight = (qn_weight *const *)weights,
                    .plan = p,
                    .kernel = "plain",
                    .why = "" };
    int32_t n_blobs = p->blobs.n;
    qn_status st = QN_OK;
    char where[160];

    for (int32_t i = 0; i < n->n_in + n->n_out; i++) {
        io[i] = (qn_tensor){ .dtype = QN_DTYPE_NONE };
        if (i < n->n_in) weights[i] = NULL;
        if (ids[i] == QN_NONE) continue;
        if (i < n->n_in && p->values[ids[i]].computed) {
            io[i] = p->values[ids[i]].dense;
        } else if (i < n->n_in && p->values[ids[i]].home == QN_HOME_CONST && pl->rq->graph->values[ids[i]].weight) {
            const qn_tensor *small;

            st = qn_plan_small_const(pl->rq, &p->values[ids[i]], ids[i], &small, err);
            if (st != QN_OK) return st;
            io[i] = p->values[ids[i]].dense;
            weights[i] = pl->rq->graph->values[ids[i]].weight;
        } else if (!qn_plan_shape(&p->values[ids[i]], pl->rq->capacity, &io[i])) {
            return qn_error_set(err, QN_ERR_INTERNAL, "%s: shape lost", qn_node_label(n, where, sizeof where));
        }
    }
    if (n->op->lower) st = n->op->lower(&lo, err);
    if (st != QN_OK) {
        qn_error_prefix(err, "%s", qn_node_label(n, where, sizeof where));
        return st;
    }
    s->state = lo.state;
    s->scratch_bytes = lo.scratch_bytes;
    s->kernel = lo.kernel ? lo.kernel : "plain";
    s->why = lo.why ? lo.why : "";
    s->skip_in = lo.skip_in;
    for (int32_t b = n_blobs; b < p->blobs.n; b++) s->weight_bytes += p->blobs.blobs[b]->bytes;
    return QN_OK;
}

/* The constant behind an input, through views: a weight or something computed. */
static qn_value_id const_root(const qn_planner *pl, qn_value_id id)
{
    const qn_graph *g = pl->rq->graph;

    while (!g->values[id].weight && !pl->plan->values[id].computed) id = g->nodes[g->values[id].producer].in[0];
    return id;
}

static qn_status read_dense(qn_planner *pl, qn_plan_step *s, qn_error *err)
{
    qn_plan *p = pl->plan;
    const qn_node *n = s->node;

    for (int32_t i = 0; i < n->n_in; i++) {
        qn_value_id id = n->in[i], root;
        qn_status st;

        if (id == QN_NONE || p->values[id].home != QN_HOME_CONST) continue;
        root = const_root(pl, id);
        if (p->values[root].computed) continue;
        s->n_params += qn_tensor_count(&p->values[root].dense);
        if (s->dynamic || (i < 64 && root == id && (s->skip_in >> i & 1))) continue;
        st = dense_weight(pl, root, err);
        if (st != QN_OK) return st;
        s->weight_bytes += p->values[root].dense.bytes;
    }
    return QN_OK;
}

/* Views of constants, and constants that are outputs, point at the dense bytes. */
static qn_status finish_consts(qn_planner *pl, qn_error *err)
{
    const qn_graph *g = pl->rq->graph;
    qn_plan *p = pl->plan;

    for (int32_t id = 0; id < p->n_values; id++) {
        qn_plan_value *v = &p->values[id];
        qn_value_id root;
        qn_status st;

        if (v->home != QN_HOME_CONST) continue;
        root = const_root(pl, id);
        if (!p->values[root].computed && (is_output(g, id) || root != id)) {
            st = dense_weight(pl, root, err);
            if (st != QN_OK) return st;
        }
        if (root == id) continue;
        if (!qn_plan_shape(v, 0, &v->dense)) return qn_error_set(err, QN_ERR_INTERNAL, "value %.80s: shape lost", g->values[id].name);
        v->dense.data = p->values[root].dense.data;
    }
    for (int32_t id = 0; id < p->n_values; id++)
        if (g->values[id].weight && p->values[id].dense.data) p->dense_bytes += p->values[id].dense.bytes;
    return QN_OK;
}

qn_status qn_plan_lower(qn_planner *pl, qn_error *err)
{
    qn_plan *p = pl->plan;
    qn_tensor *io = qn_arena_array(&pl->tmp, 2 * (size_t)p->max_io, sizeof *io);
    qn_weight **weights = qn_arena_array(&pl->tmp, (size_t)p->max_io, sizeof *weights);
    qn_status st = QN_OK;

    if (!io || !weights) return qn_error_set(err, QN_ERR_NOMEM, "plan: room to lower in");
    for (int32_t s = 0; s < p->n_steps && st == QN_OK; s++)
        if (!p->steps[s].dynamic) st = lower_step(pl, &p->steps[s], io, weights, err);
    for (int32_t s = 0; s < p->n_steps && st == QN_OK; s++) st = read_dense(pl, &p->steps[s], err);
    if (st == QN_OK) st = finish_consts(pl, err);
    return st;
}
