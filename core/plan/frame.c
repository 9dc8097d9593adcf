/* core/plan/frame.c - bind a plan to memory and run it. */
#include "core/plan/frame.h"

#include "core/base/checked.h"
#include "core/base/fpu.h"
#include "core/graph/cost.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_FROM    ((size_t)4 << 20) /* arenas from here on ask for huge pages */
#define KEEP_BYTES   ((size_t)1 << 20) /* smaller arenas are never shrunk */
#define SHRINK_AFTER 256               /* runs that used less than a quarter of the arena before the rest is given back */

/* -- memory --------------------------------------------------------------------------------------------------------------- */

static void unmap_arena(qn_frame *f)
{
    if (f->arena) {
        munmap(f->arena, f->arena_cap);
        qn_meter_give(&f->session->meter, f->arena_cap);
    }
    f->arena = NULL;
    f->arena_cap = 0;
    f->bound = false;
}

/* An arena of exactly `bytes`, rounded to pages. */
static qn_status map_arena(qn_frame *f, size_t bytes, qn_error *err)
{
    size_t cap;
    void *p;
    qn_status st;

    unmap_arena(f);
    if (!qn_size_align(bytes ? bytes : 1, 4096, &cap)) return qn_error_set(err, QN_ERR_LIMIT, "arena of %zu bytes", bytes);
    st = qn_meter_take(&f->session->meter, cap, err);
    if (st != QN_OK) return st;
    p = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        qn_meter_give(&f->session->meter, cap);
        return qn_error_set(err, QN_ERR_NOMEM, "arena of %zu bytes", bytes);
    }
    if (cap >= HUGE_FROM) (void)madvise(p, cap, MADV_HUGEPAGE); /* advice only */
    f->arena = p;
    f->arena_cap = cap;
    return QN_OK;
}

/* After a run: a large request must not hold its memory for ever, and a mix of sizes must not map and unmap on every run. */
static void shrink_arena(qn_frame *f)
{
    if (f->arena_cap <= KEEP_BYTES || f->plan->arena_bytes >= f->arena_cap / 4) {
        f->n_small = 0;
        return;
    }
    if (++f->n_small < SHRINK_AFTER) return;
    f->n_small = 0;
    f->give_back = true;
    f->bound = false; /* at the next run, not now: outputs of this one lie in the arena */
}

qn_status qn_frame_create(qn_session *s, const qn_graph *graph, int32_t n_inputs, const qn_value_id *inputs, qn_value_id *own,
                          qn_frame **out, qn_error *err)
{
    qn_frame *f = calloc(1, sizeof *f);

    *out = NULL;
    if (f) {
        f->session = s;
        f->graph = graph;
        f->n_inputs = n_inputs;
        f->inputs = own ? own : inputs;
        f->own_inputs = own;
        f->asked = calloc((size_t)n_inputs + 1, sizeof *f->asked);
        f->values = calloc((size_t)graph->n_values + 1, sizeof *f->values);
    } else {
        free(own);
    }
    if (!f || !f->asked || !f->values) {
        qn_frame_destroy(f);
        return qn_error_set(err, QN_ERR_NOMEM, "session");
    }
    *out = f;
    return QN_OK;
}

static void drop_items(qn_frame *f)
{
    for (int32_t id = 0; f->items && id < f->graph->n_values; id++) qn_items_release(&f->items[id]);
    free(f->items);
    free(f->items_given);
    f->items = NULL;
    f->items_given = NULL;
}

void qn_frame_destroy(qn_frame *f)
{
    if (!f) return;
    qn_frame_drop_dynamics(f);
    qn_frame_drop_slabs(f);
    drop_items(f);
    unmap_arena(f);
    free(f->operands);
    free(f->patches);
    free(f->input_values);
    free(f->values);
    free(f->asked);
    free(f->own_inputs);
    qn_plan_unref(f->plan);
    free(f);
}

/* -- binding -------------------------------------------------------------------------------------------------------------- */

static qn_status grow_operands(qn_frame *f, qn_error *err)
{
    const qn_plan *p = f->plan;
    int32_t n_inputs = 0, n_patches = 0;

    if (p->n_operands > f->cap_operands || !f->operands) {
        free(f->operands);
        f->operands = calloc((size_t)p->n_operands + 1, sizeof *f->operands);
        f->cap_operands = f->operands ? p->n_operands : 0;
    }
    for (int32_t id = 0; id < p->n_values; id++) n_inputs += p->values[id].home == QN_HOME_INPUT;
    for (int32_t o = 0; o < p->n_operands; o++) n_patches += p->operands[o] != QN_NONE && p->values[p->operands[o]].home == QN_HOME_INPUT;
    free(f->patches);
    free(f->input_values);
    f->n_patches = f->n_input_values = 0;
    f->patches = calloc((size_t)n_patches + 1, sizeof *f->patches);
    f->input_values = calloc((size_t)n_inputs + 1, sizeof *f->input_values);
    if (!f->operands || !f->patches || !f->input_values)
        return qn_error_set(err, QN_ERR_NOMEM, "session: %" PRId32 " operands", p->n_operands);
    for (int32_t id = 0; id < p->n_values; id++)
        if (p->values[id].home == QN_HOME_INPUT) f->input_values[f->n_input_values++] = id;
    for (int32_t o = 0; o < p->n_operands; o++)
        if (p->operands[o] != QN_NONE && p->values[p->operands[o]].home == QN_HOME_INPUT)
            f->patches[f->n_patches++] = (struct qn_patch){ o, p->values[p->operands[o]].input };
    return QN_OK;
}

static qn_status bind_value(qn_frame *f, int32_t id, qn_error *err)
{
    const qn_plan_value *v = &f->plan->values[id];
    qn_tensor *t = &f->values[id];

    *t = (qn_tensor){ .dtype = QN_DTYPE_NONE };
    if (v->home == QN_HOME_NONE || v->kind != QN_KIND_TENSOR) return QN_OK;
    if (v->home == QN_HOME_CONST) {
        *t = v->dense;
        return QN_OK;
    }
    if (!v->fixed) return QN_OK; /* its step says */
    if (!qn_plan_shape(v, f->rows, t))
        return qn_error_set(err, QN_ERR_LIMIT, "value %.80s: its size does not fit for %" PRId64 " rows", f->graph->values[id].name,
                            f->rows);
    if (v->home == QN_HOME_ARENA) t->data = f->arena + v->offset;
    for (int32_t i = 0; v->known && i < v->known->n; i++)
        qn_plan_store_int(v->dtype, t->data, i, v->known->c0[i] + v->known->c1[i] * f->rows);
    return QN_OK;
}

static void fill_operands(qn_frame *f, int32_t from, int32_t n)
{
    for (int32_t o = from; o < from + n; o++)
        f->operands[o] = f->plan->operands[o] == QN_NONE ? (qn_tensor){ .dtype = QN_DTYPE_NONE } : f->values[f->plan->operands[o]];
}

/* The plan is certified at its capacity; a run is charged for its own rows. Only dynamic steps make a difference of it. */
static void count_work(qn_frame *f)
{
    f->macs = f->plan->macs;
    if (f->plan->capacity <= 0 || !f->plan->dynamic) return;
    f->macs = 0;
    for (int32_t i = 0; i < f->plan->n_steps; i++) {
        const qn_plan_step *s = &f->plan->steps[i];

        if (!s->dynamic)
            f->macs = qn_cost_add(f->macs, qn_cost_of(s->node, &f->operands[s->operands], &f->operands[s->operands + s->node->n_in]));
    }
}

static qn_status bind_values(qn_frame *f, qn_error *err)
{
    qn_status st = QN_OK;

    f->bound = false;
    if (!f->arena || f->plan->arena_bytes > f->arena_cap || (f->give_back && f->plan->arena_bytes < f->arena_cap / 4))
        st = map_arena(f, f->plan->arena_bytes, err);
    f->give_back = false;
    for (int32_t id = 0; id < f->plan->n_values && st == QN_OK; id++) st = bind_value(f, id, err);
    if (st != QN_OK) return st;
    fill_operands(f, 0, f->plan->n_operands);
    count_work(f);
    f->bound = true;
    return QN_OK;
}

static qn_status make_room(qn_frame *f, qn_error *err)
{
    const qn_plan *p = f->plan;
    qn_status st = grow_operands(f, err);

    if (st == QN_OK && p->dynamic) {
        f->dynamics = calloc((size_t)p->n_steps, sizeof *f->dynamics);
        f->n_dynamics = f->dynamics ? p->n_steps : 0;
        if (!f->dynamics) st = qn_error_set(err, QN_ERR_NOMEM, "session: %" PRId32 " steps", p->n_steps);
    }
    if (st == QN_OK && p->has_items && !f->items) {
        f->items = calloc((size_t)p->n_values + 1, sizeof *f->items);
        f->items_given = calloc((size_t)p->n_values + 1, sizeof(qn_items *));
        if (!f->items || !f->items_given) st = qn_error_set(err, QN_ERR_NOMEM, "session: %" PRId32 " values", p->n_values);
    }
    return st;
}

/* Frames of subgraphs outlive a change of plan where the steps are the same: they hold plans of their own. */
static qn_status use_plan(qn_frame *f, qn_plan *p, qn_error *err)
{
    qn_status st;

    qn_frame_drop_dynamics(f); /* their state belongs to the steps of the old plan */
    qn_plan_unref(f->plan);
    f->plan = p;
    f->bound = false;
    st = make_room(f, err);
    if (st != QN_OK) { /* half made: the next run starts from nothing */
        qn_plan_unref(f->plan);
        f->plan = NULL;
    }
    return st;
}

static bool same_dims(const qn_tensor *a, const qn_tensor *b, int32_t from)
{
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    for (int32_t d = from; d < a->rank; d++)
        if (a->dims[d] != b->dims[d]) return false;
    return true;
}

bool qn_frame_same(const qn_frame *f, const qn_tensor *in)
{
    if (!f->plan || !f->bound) return false;
    for (int32_t i = 0; i < f->n_inputs; i++) {
        if (!same_dims(&in[i], &f->asked[i], 0)) return false;
        if (in[i].dtype != QN_STRING && in[i].bytes != f->asked[i].bytes) return false;
        if (in[i].bytes && !in[i].data) return false;
    }
    return true;
}

/* Far fewer rows than the plan was made for get a plan of their own: kernels were chosen for many. */
bool qn_frame_within(const qn_frame *f, const qn_tensor *in, int64_t rows)
{
    if (!f->plan || f->plan->capacity <= 0 || rows > f->plan->capacity || rows <= f->plan->capacity / 8) return false;
    for (int32_t i = 0; i < f->n_inputs; i++)
        if (f->inputs[i] != QN_NONE && !f->graph->values[f->inputs[i]].weight && !same_dims(&in[i], &f->asked[i], 1)) return false;
    return true;
}

qn_status qn_frame_bind(qn_frame *f, qn_plan *p, const qn_tensor *in, int64_t rows, qn_error *err)
{
    qn_status st = QN_OK;

    if (p == f->plan)
        qn_plan_unref(p);
    else
        st = use_plan(f, p, err);
    if (st != QN_OK) return st;
    f->rows = rows > 0 ? rows : 0;
    st = bind_values(f, err);
    for (int32_t i = 0; i < f->n_inputs && st == QN_OK; i++) {
        f->asked[i] = in[i];
        f->asked[i].data = NULL;
    }
    return st;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

static void patch_inputs(qn_frame *f, const qn_tensor *in, const qn_items *const *items)
{
    for (int32_t i = 0; i < f->n_input_values; i++) {
        int32_t id = f->input_values[i], from = f->plan->values[id].input;
        qn_tensor *t = &f->values[id];

        if (f->plan->values[id].kind != QN_KIND_TENSOR) {
            f->items_given[id] = items ? items[from] : NULL;
            continue;
        }
        t->data = in[from].data;
        if (t->dtype == QN_STRING) t->bytes = in[from].bytes;
    }
    for (int32_t i = 0; i < f->n_patches; i++) {
        qn_tensor *o = &f->operands[f->patches[i].operand];

        o->data = in[f->patches[i].input].data;
        if (o->dtype == QN_STRING) o->bytes = in[f->patches[i].input].bytes;
    }
}

static qn_status run_step(qn_frame *f, int32_t i, qn_error *err)
{
    const qn_plan_step *step = &f->plan->steps[i];
    const qn_node *n = step->node;
    qn_run r = { .node = n,
                 .in = f->operands + step->operands,
                 .out = f->operands + step->operands + n->n_in,
                 .state = step->state,
                 .scratch = step->scratch_bytes ? f->arena + step->scratch_offset : NULL,
                 .team = f->session->team,
                 .cpu = f->plan->cpu,
                 .serial = f->session->serial,
                 .frame = f };
    char where[160];
    qn_status st;

    f->step = i;
    if (step->refill) fill_operands(f, step->operands, n->n_in + n->n_out);
    st = step->dynamic ? qn_frame_run_dynamic(f, i, &r, err) : n->op->run(&r, err);
    if (st != QN_OK) qn_error_prefix(err, "%s", qn_node_label(n, where, sizeof where));
    return st;
}

/* Steps of subgraphs are counted: a file or a request may ask for any number of iterations. */
static qn_status spend_step(qn_session *s, qn_error *err)
{
    if (s->steps_left-- > 0) return QN_OK;
    return qn_error_set(err, QN_ERR_LIMIT, "control flow took more than %" PRId64 " steps (limit loop_steps)", s->model->limits.loop_steps);
}

static qn_status run_steps(qn_frame *f, qn_error *err)
{
    const qn_run_hooks *hooks = f->session->hooks;
    bool main = f == f->session->main;
    qn_status st = main ? QN_OK : spend_step(f->session, err);

    if (st == QN_OK) st = qn_macs_spend(&f->session->macs, f->macs, f->session->model->limits.run_macs, err);
    for (int32_t i = 0; i < f->plan->n_steps && st == QN_OK; i++) {
        if (hooks && hooks->cancelled && hooks->cancelled(hooks->user))
            return qn_error_set(err, QN_ERR_CANCELLED, "cancelled before step %" PRId32 " of %" PRId32, i, f->plan->n_steps);
        if (main && hooks && hooks->step) hooks->step(hooks->user, i, false);
        if (!main) st = spend_step(f->session, err);
        if (st == QN_OK) st = run_step(f, i, err);
        if (main && hooks && hooks->step) hooks->step(hooks->user, i, true);
    }
    return st;
}

/* What a frame hands out never depends on the caller's memory: an output that is an input is copied, or shared. */
static qn_status settle_output(qn_frame *f, qn_value_id id, qn_error *err)
{
    const qn_plan_value *v = &f->plan->values[id];
    qn_tensor t = f->values[id];
    qn_status st;

    if (v->kind != QN_KIND_TENSOR) {
        if (!f->items_given[id]) return qn_error_set(err, QN_ERR_INTERNAL, "output %.80s was not computed", f->graph->values[id].name);
        return v->home == QN_HOME_INPUT ? qn_items_share(&f->items[id], f->items_given[id], err) : QN_OK;
    }
    if (t.dtype == QN_DTYPE_NONE) return qn_error_set(err, QN_ERR_INTERNAL, "output %.80s was not computed", f->graph->values[id].name);
    if (v->home != QN_HOME_INPUT) return QN_OK;
    st = qn_frame_slab(f, id, t.bytes, &t.data, err);
    if (st == QN_OK && t.bytes) memcpy(t.data, f->values[id].data, t.bytes);
    return st;
}

qn_status qn_frame_run(qn_frame *f, const qn_tensor *in, const qn_items *const *items, qn_error *err)
{
    qn_status st;

    patch_inputs(f, in, items);
    st = run_steps(f, err);
    for (int32_t i = 0; i < f->graph->n_outputs && st == QN_OK; i++) st = settle_output(f, f->graph->outputs[i], err);
    shrink_arena(f);
    return st;
}

void qn_frame_output(const qn_frame *f, int32_t i, qn_tensor *t, const qn_items **items)
{
    qn_value_id id = f->graph->outputs[i];
    const qn_plan_value *v = &f->plan->values[id];

    *t = f->values[id];
    *items = NULL;
    if (v->kind != QN_KIND_TENSOR)
        *items = v->home == QN_HOME_INPUT ? &f->items[id] : f->items_given[id];
    else if (v->home == QN_HOME_INPUT)
        t->data = f->slabs[id].data;
}

qn_status qn_frame_run_sub(qn_frame *f, const qn_tensor *in, const qn_items *const *items, qn_error *err)
{
    qn_session *s = f->session;
    qn_plan *p = NULL;
    qn_status st = QN_OK;

    if (!qn_frame_same(f, in)) {
        st = qn_model_plan_sub(s->model, f->graph, f->n_inputs, f->inputs, in, qn_team_size(s->team), &p, err);
        if (st == QN_OK) st = qn_frame_bind(f, p, in, 0, err);
    }
    return st == QN_OK ? qn_frame_run(f, in, items, err) : st;
}
