/* core/plan/session.c - bind a plan to memory and run it. */
#include "core/plan/session.h"

#include "core/base/checked.h"
#include "core/base/fpu.h"
#include "core/tensor/strings.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_FROM    ((size_t)4 << 20) /* arenas from here on ask for huge pages */
#define KEEP_BYTES   ((size_t)1 << 20) /* smaller arenas are never shrunk */
#define SHRINK_AFTER 256               /* runs that used less than a quarter of the arena before the rest is given back */

/* -- memory --------------------------------------------------------------------------------------------------------------- */

static void unmap_arena(qn_session *s)
{
    if (s->arena) munmap(s->arena, s->arena_cap);
    s->arena = NULL;
    s->arena_cap = 0;
    s->bound = false;
}

/* An arena of exactly `bytes`, rounded to pages. */
static qn_status map_arena(qn_session *s, size_t bytes, qn_error *err)
{
    size_t cap;
    void *p;

    unmap_arena(s);
    if (!qn_size_align(bytes ? bytes : 1, 4096, &cap)) return qn_error_set(err, QN_ERR_LIMIT, "arena of %zu bytes", bytes);
    p = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return qn_error_set(err, QN_ERR_NOMEM, "arena of %zu bytes", bytes);
    if (cap >= HUGE_FROM) (void)madvise(p, cap, MADV_HUGEPAGE); /* advice only */
    s->arena = p;
    s->arena_cap = cap;
    return QN_OK;
}

/* After a run: a large request must not hold its memory for ever, and a mix of sizes must not map and unmap on every run. */
static void shrink_arena(qn_session *s)
{
    if (s->arena_cap <= KEEP_BYTES || s->plan->arena_bytes >= s->arena_cap / 4) {
        s->n_small = 0;
        return;
    }
    if (++s->n_small < SHRINK_AFTER) return;
    s->n_small = 0;
    s->give_back = true;
    s->bound = false; /* at the next run, not now: outputs of this one lie in the arena */
}

qn_status qn_session_create(qn_model *model, qn_team *team, qn_session **out, qn_error *err)
{
    qn_session *s = calloc(1, sizeof *s);

    *out = NULL;
    if (s) {
        s->model = qn_model_ref(model);
        s->team = team;
        s->asked = calloc((size_t)model->n_inputs + 1, sizeof *s->asked);
        s->values = calloc((size_t)model->lowered->n_values + 1, sizeof *s->values);
    }
    if (!s || !s->asked || !s->values) {
        qn_session_destroy(s);
        return qn_error_set(err, QN_ERR_NOMEM, "session");
    }
    *out = s;
    return QN_OK;
}

void qn_session_set_team(qn_session *s, qn_team *team)
{
    assert(qn_team_size(team) == qn_team_size(s->team)); /* scratch and plans are made for a size */
    s->team = team;
}

void qn_session_destroy(qn_session *s)
{
    if (!s) return;
    qn_session_drop_dynamics(s);
    qn_session_drop_slabs(s);
    unmap_arena(s);
    free(s->operands);
    free(s->patches);
    free(s->input_values);
    free(s->values);
    free(s->asked);
    qn_plan_unref(s->plan);
    qn_model_unref(s->model);
    free(s);
}

/* -- binding -------------------------------------------------------------------------------------------------------------- */

static qn_status grow_operands(qn_session *s, qn_error *err)
{
    const qn_plan *p = s->plan;
    int32_t n_inputs = 0, n_patches = 0;

    if (p->n_operands > s->cap_operands || !s->operands) {
        free(s->operands);
        s->operands = calloc((size_t)p->n_operands + 1, sizeof *s->operands);
        s->cap_operands = s->operands ? p->n_operands : 0;
    }
    for (int32_t id = 0; id < p->n_values; id++) n_inputs += p->values[id].home == QN_HOME_INPUT;
    for (int32_t o = 0; o < p->n_operands; o++) n_patches += p->operands[o] != QN_NONE && p->values[p->operands[o]].home == QN_HOME_INPUT;
    free(s->patches);
    free(s->input_values);
    s->n_patches = s->n_input_values = 0;
    s->patches = calloc((size_t)n_patches + 1, sizeof *s->patches);
    s->input_values = calloc((size_t)n_inputs + 1, sizeof *s->input_values);
    if (!s->operands || !s->patches || !s->input_values)
        return qn_error_set(err, QN_ERR_NOMEM, "session: %" PRId32 " operands", p->n_operands);
    for (int32_t id = 0; id < p->n_values; id++)
        if (p->values[id].home == QN_HOME_INPUT) s->input_values[s->n_input_values++] = id;
    for (int32_t o = 0; o < p->n_operands; o++)
        if (p->operands[o] != QN_NONE && p->values[p->operands[o]].home == QN_HOME_INPUT)
            s->patches[s->n_patches++] = (struct qn_patch){ o, p->values[p->operands[o]].input };
    return QN_OK;
}

static qn_status bind_value(qn_session *s, int32_t id, qn_error *err)
{
    const qn_plan_value *v = &s->plan->values[id];
    qn_tensor *t = &s->values[id];

    *t = (qn_tensor){ .dtype = QN_DTYPE_NONE };
    if (v->home == QN_HOME_NONE) return QN_OK;
    if (v->home == QN_HOME_CONST) {
        *t = v->dense;
        return QN_OK;
    }
    if (!v->fixed) return QN_OK; /* its step says */
    if (!qn_plan_shape(v, s->rows, t))
        return qn_error_set(err, QN_ERR_LIMIT, "value %.80s: its size does not fit for %" PRId64 " rows", s->plan->graph->values[id].name,
                            s->rows);
    if (v->home == QN_HOME_ARENA) t->data = s->arena + v->offset;
    for (int32_t i = 0; v->known && i < v->known->n; i++)
        qn_plan_store_int(v->dtype, t->data, i, v->known->c0[i] + v->known->c1[i] * s->rows);
    return QN_OK;
}

static void fill_operands(qn_session *s, int32_t from, int32_t n)
{
    for (int32_t o = from; o < from + n; o++)
        s->operands[o] = s->plan->operands[o] == QN_NONE ? (qn_tensor){ .dtype = QN_DTYPE_NONE } : s->values[s->plan->operands[o]];
}

static qn_status bind(qn_session *s, qn_error *err)
{
    qn_status st = QN_OK;

    s->bound = false;
    if (!s->arena || s->plan->arena_bytes > s->arena_cap || (s->give_back && s->plan->arena_bytes < s->arena_cap / 4))
        st = map_arena(s, s->plan->arena_bytes, err);
    s->give_back = false;
    for (int32_t id = 0; id < s->plan->n_values && st == QN_OK; id++) st = bind_value(s, id, err);
    if (st != QN_OK) return st;
    fill_operands(s, 0, s->plan->n_operands);
    s->bound = true;
    return QN_OK;
}

static qn_status use_plan(qn_session *s, qn_plan *p, qn_error *err)
{
    qn_status st;

    qn_session_drop_dynamics(s); /* their state belongs to the steps of the old plan */
    qn_plan_unref(s->plan);
    s->plan = p;
    s->bound = false;
    st = grow_operands(s, err);
    if (st == QN_OK && p->dynamic) {
        s->dynamics = calloc((size_t)p->n_steps, sizeof *s->dynamics);
        s->n_dynamics = s->dynamics ? p->n_steps : 0;
        if (!s->dynamics) st = qn_error_set(err, QN_ERR_NOMEM, "session: %" PRId32 " steps", p->n_steps);
    }
    if (st != QN_OK) { /* half made: the next run starts from nothing */
        qn_plan_unref(s->plan);
        s->plan = NULL;
    }
    return st;
}

/* -- inputs --------------------------------------------------------------------------------------------------------------- */

static bool same_dims(const qn_tensor *a, const qn_tensor *b, int32_t from)
{
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    for (int32_t d = from; d < a->rank; d++)
        if (a->dims[d] != b->dims[d]) return false;
    return true;
}

/* Same shapes as in the last run: nothing to look up and nothing to bind. */
static bool same_request(const qn_session *s, const qn_tensor *inputs)
{
    if (!s->plan || !s->bound) return false;
    for (int32_t i = 0; i < s->model->n_inputs; i++) {
        if (s->model->inputs[i].optional && inputs[i].dtype != QN_DTYPE_NONE) return false;
        if (!same_dims(&inputs[i], &s->asked[i], 0)) return false;
        if (inputs[i].dtype != QN_STRING && inputs[i].bytes != s->asked[i].bytes) return false;
        if (inputs[i].bytes && !inputs[i].data) return false;
    }
    return true;
}

/* The plan at hand serves these rows too. Far fewer rows than it was made for get a plan of their own: kernels were chosen for many. */
static bool within_capacity(const qn_session *s, const qn_tensor *inputs, int64_t rows)
{
    if (!s->plan || s->plan->capacity <= 0 || rows > s->plan->capacity || rows <= s->plan->capacity / 8) return false;
    for (int32_t i = 0; i < s->model->n_inputs; i++)
        if (!s->model->inputs[i].optional && !same_dims(&inputs[i], &s->asked[i], 1)) return false;
    return true;
}

static qn_status prepare(qn_session *s, const qn_tensor *inputs, qn_error *err)
{
    int64_t rows;
    qn_plan *p = NULL;
    qn_status st;

    if (same_request(s, inputs)) return QN_OK;
    st = qn_model_check_inputs(s->model, inputs, &rows, err);
    if (st != QN_OK) return st;
    if (!within_capacity(s, inputs, rows)) {
        st = qn_model_plan(s->model, inputs, rows, qn_team_size(s->team), &p, err);
        if (st == QN_OK && p == s->plan)
            qn_plan_unref(p);
        else if (st == QN_OK)
            st = use_plan(s, p, err);
        if (st != QN_OK) return st;
    }
    s->rows = rows > 0 ? rows : 0;
    st = bind(s, err);
    for (int32_t i = 0; i < s->model->n_inputs && st == QN_OK; i++) {
        s->asked[i] = inputs[i];
        s->asked[i].data = NULL;
    }
    return st;
}

/* What no shape says: the bytes of bools and strings come from outside, and kernels trust them. */
static qn_status check_bytes(const qn_session *s, const qn_tensor *inputs, qn_error *err)
{
    for (int32_t i = 0; i < s->model->n_inputs; i++) {
        const qn_tensor *t = &inputs[i];
        const char *name = s->model->inputs[i].name;

        if (t->dtype == QN_STRING && qn_strings_check(t, err) != QN_OK) return qn_error_prefix(err, "input %.80s", name);
        for (size_t b = 0; t->dtype == QN_BOOL && b < t->bytes; b++)
            if (((const uint8_t *)t->data)[b] > 1)
                return qn_error_set(err, QN_ERR_RANGE, "input %.80s: bool element %zu is %d, expected 0 or 1", name, b,
                                    ((const uint8_t *)t->data)[b]);
    }
    return QN_OK;
}

static void patch_inputs(qn_session *s, const qn_tensor *inputs)
{
    for (int32_t i = 0; i < s->n_input_values; i++) {
        qn_tensor *t = &s->values[s->input_values[i]];

        t->data = inputs[s->plan->values[s->input_values[i]].input].data;
        if (t->dtype == QN_STRING) t->bytes = inputs[s->plan->values[s->input_values[i]].input].bytes;
    }
    for (int32_t i = 0; i < s->n_patches; i++) {
        s->operands[s->patches[i].operand].data = inputs[s->patches[i].input].data;
        if (s->operands[s->patches[i].operand].dtype == QN_STRING)
            s->operands[s->patches[i].operand].bytes = inputs[s->patches[i].input].bytes;
    }
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

static qn_status run_step(qn_session *s, int32_t i, qn_error *err)
{
    const qn_plan_step *step = &s->plan->steps[i];
    const qn_node *n = step->node;
    qn_run r = { .node = n,
                 .in = s->operands + step->operands,
                 .out = s->operands + step->operands + n->n_in,
                 .state = step->state,
                 .scratch = step->scratch_bytes ? s->arena + step->scratch_offset : NULL,
                 .team = s->team,
                 .cpu = s->plan->cpu,
                 .frame = (struct qn_frame *)(void *)s };
    char where[160];
    qn_status st;

    s->step = i;
    if (step->refill) fill_operands(s, step->operands, n->n_in + n->n_out);
    st = step->dynamic ? qn_session_run_dynamic(s, i, &r, err) : n->op->run(&r, err);
    return st == QN_OK ? QN_OK : qn_error_prefix(err, "%s", qn_node_label(n, where, sizeof where));
}

static qn_status run_steps(qn_session *s, const qn_run_hooks *hooks, qn_error *err)
{
    for (int32_t i = 0; i < s->plan->n_steps; i++) {
        qn_status st;

        if (hooks && hooks->cancelled && hooks->cancelled(hooks->user))
            return qn_error_set(err, QN_ERR_CANCELLED, "cancelled before step %" PRId32 " of %" PRId32, i, s->plan->n_steps);
        if (hooks && hooks->step) hooks->step(hooks->user, i, false);
        st = run_step(s, i, err);
        if (hooks && hooks->step) hooks->step(hooks->user, i, true);
        if (st != QN_OK) return st;
    }
    return QN_OK;
}

/* An output that is an input is copied: what a session hands out never depends on the caller's memory. */
static qn_status give_outputs(qn_session *s, qn_tensor *outputs, qn_error *err)
{
    const qn_graph *g = s->plan->graph;

    for (int32_t i = 0; i < g->n_outputs; i++) {
        qn_value_id id = g->outputs[i];
        qn_tensor t = s->values[id];

        if (s->plan->values[id].home == QN_HOME_INPUT) {
            qn_status st = qn_session_slab(s, id, t.bytes, &t.data, err);

            if (st != QN_OK) return st;
            if (t.bytes) memcpy(t.data, s->values[id].data, t.bytes);
        }
        if (t.dtype == QN_DTYPE_NONE) return qn_error_set(err, QN_ERR_INTERNAL, "output %.80s was not computed", g->values[id].name);
        outputs[i] = t;
    }
    return QN_OK;
}

qn_status qn_session_run(qn_session *s, const qn_tensor *inputs, qn_tensor *outputs, const qn_run_hooks *hooks, qn_error *err)
{
    qn_status st = prepare(s, inputs, err);
    unsigned fpu;

    if (st == QN_OK) st = check_bytes(s, inputs, err);
    if (st != QN_OK) return st;
    patch_inputs(s, inputs);
    fpu = qn_fpu_enter();
    st = run_steps(s, hooks, err);
    qn_fpu_leave(fpu);
    if (st == QN_OK) st = give_outputs(s, outputs, err);
    shrink_arena(s);
    return st;
}

/* -- looking -------------------------------------------------------------------------------------------------------------- */

int32_t qn_session_n_values(const qn_session *s) { return s->model->n_kept; }

void qn_session_value(const qn_session *s, int32_t i, const char **name, qn_tensor *out)
{
    qn_value_id id;

    *name = "";
    *out = (qn_tensor){ .dtype = QN_DTYPE_NONE };
    if (i < 0 || i >= s->model->n_kept) return;
    id = s->model->kept[i];
    *name = s->model->lowered->values[id].name;
    if (s->plan) *out = s->values[id];
}

void qn_session_step(const qn_session *s, int32_t step, qn_step_info *out)
{
    const qn_plan_step *p;

    *out = (qn_step_info){ .node = "", .op = "", .kernel = "", .why = "" };
    if (!s->plan || step < 0 || step >= s->plan->n_steps) return;
    p = &s->plan->steps[step];
    *out = (qn_step_info){
        .node = p->node->name, .op = p->op, .kernel = p->kernel, .why = p->why, .n_params = p->n_params, .weight_bytes = p->weight_bytes
    };
    if (p->dynamic && s->dynamics[step].lowered) {
        out->kernel = s->dynamics[step].kernel;
        out->why = s->dynamics[step].why;
    }
}

uint64_t qn_session_bytes(const qn_session *s) { return s->arena_cap + s->slab_bytes + s->scratch_cap; }
