/* core/plan/session.c - a model with room to run in: requests checked, the main graph's frame run, outputs handed out. */
#include "core/plan/frame.h"

#include "core/base/fpu.h"
#include "core/base/hash.h"
#include "core/tensor/strings.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

qn_status qn_session_create(qn_model *model, qn_team *team, qn_session **out, qn_error *err)
{
    qn_session *s = calloc(1, sizeof *s);
    qn_status st = QN_OK;

    *out = NULL;
    if (s) {
        s->model = qn_model_ref(model);
        s->team = team;
        s->meter.limit_bytes = model->limits.arena_bytes;
        s->serial = qn_hash_seed(); /* two sessions, two processes: other draws */
        s->items_in = calloc((size_t)model->n_inputs + 1, sizeof *s->items_in);
        s->items_set = calloc((size_t)model->n_inputs + 1, sizeof *s->items_set);
    }
    if (!s || !s->items_in || !s->items_set) st = qn_error_set(err, QN_ERR_NOMEM, "session");
    if (st == QN_OK) st = qn_frame_create(s, model->lowered, model->n_inputs, model->input_values, NULL, &s->main, err);
    if (st != QN_OK) {
        qn_session_destroy(s);
        return st;
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
    qn_frame_destroy(s->main);
    for (int32_t i = 0; s->items_in && i < s->model->n_inputs; i++) qn_items_release(&s->items_in[i]);
    free(s->items_in);
    free(s->items_set);
    qn_model_unref(s->model);
    free(s);
}

/* -- requests ------------------------------------------------------------------------------------------------------------- */

/* Same shapes as in the last run: nothing to look up and nothing to bind. */
static bool same_request(const qn_session *s, const qn_tensor *inputs)
{
    for (int32_t i = 0; i < s->model->n_inputs; i++)
        if (s->model->inputs[i].optional && inputs[i].dtype != QN_DTYPE_NONE) return false;
    return qn_frame_same(s->main, inputs);
}

static qn_status prepare(qn_session *s, const qn_tensor *inputs, qn_error *err)
{
    int64_t rows;
    qn_plan *p = NULL;
    qn_status st;

    if (same_request(s, inputs)) return QN_OK;
    st = qn_model_check_inputs(s->model, inputs, &rows, err);
    if (st != QN_OK) return st;
    if (qn_frame_within(s->main, inputs, rows))
        p = qn_plan_ref(s->main->plan);
    else
        st = qn_model_plan(s->model, inputs, rows, qn_team_size(s->team), &p, err);
    return st == QN_OK ? qn_frame_bind(s->main, p, inputs, rows, err) : st;
}

/* What no shape says: the bytes of bools and strings come from outside, and kernels trust them. */
static qn_status check_bytes(const qn_tensor *t, const char *name, qn_error *err)
{
    qn_status st = t->dtype == QN_STRING ? qn_strings_check(t, err) : QN_OK;

    if (st != QN_OK) {
        qn_error_prefix(err, "input %.80s", name);
        return st;
    }
    for (size_t b = 0; t->dtype == QN_BOOL && b < t->bytes; b++)
        if (((const uint8_t *)t->data)[b] > 1)
            return qn_error_set(err, QN_ERR_RANGE, "input %.80s: bool element %zu is %d, expected 0 or 1", name, b,
                                ((const uint8_t *)t->data)[b]);
    return QN_OK;
}

static qn_status check_elem(const qn_port *p, const qn_tensor *t, qn_error *err)
{
    size_t bytes;
    qn_status st;

    if (t->dtype == QN_DTYPE_NONE || (p->dtype != QN_DTYPE_NONE && t->dtype != p->dtype))
        return qn_error_set(err, QN_ERR_DTYPE, "input %.80s has an element of %s, expected %s", p->name, qn_dtype_name(t->dtype),
                            qn_dtype_name(p->dtype));
    if (t->dtype == QN_STRING) return check_bytes(t, p->name, err);
    st = qn_shape_bytes(t->dtype, t->rank, t->dims, &bytes, err);
    if (st != QN_OK) {
        qn_error_prefix(err, "input %.80s", p->name);
        return st;
    }
    if (bytes != t->bytes || (bytes && !t->data))
        return qn_error_set(err, QN_ERR_SHAPE, "input %.80s has an element of %zu bytes, its shape needs %zu", p->name, t->bytes, bytes);
    return check_bytes(t, p->name, err);
}

qn_status qn_session_set_items(qn_session *s, int32_t input, bool present, const qn_tensor *elems, int64_t n, qn_error *err)
{
    const qn_port *p = qn_model_input(s->model, input);
    qn_items *items;
    qn_status st = QN_OK;

    if (!p || p->kind == QN_PORT_TENSOR) return qn_error_set(err, QN_ERR_INVALID, "input %" PRId32 " takes a tensor, or is none", input);
    if (p->kind == QN_PORT_SEQUENCE && !present) return qn_error_set(err, QN_ERR_INVALID, "input %.80s: a sequence is missing", p->name);
    if (n < 0 || (!present && n > 0) || (p->kind == QN_PORT_OPTIONAL && present && n != 1))
        return qn_error_set(err, QN_ERR_INVALID, "input %.80s has %" PRId64 " elements", p->name, n);
    items = &s->items_in[input];
    qn_items_clear(items);
    s->items_set[input] = false;
    for (int64_t i = 0; i < n && st == QN_OK; i++) {
        qn_box *box = NULL;

        st = check_elem(p, &elems[i], err);
        if (st == QN_OK) st = qn_box_copy(&s->meter, &elems[i], &box, err);
        if (st == QN_OK) st = qn_items_insert(items, items->n, box, err);
    }
    items->present = present;
    s->items_set[input] = st == QN_OK;
    return st;
}

/* [n_inputs] what the main frame reads, or NULL where the model takes tensors only. The caller frees. */
static qn_status gather_items(const qn_session *s, const qn_items ***out, qn_error *err)
{
    const qn_model *m = s->model;

    *out = NULL;
    if (!m->has_items) return QN_OK;
    *out = calloc((size_t)m->n_inputs + 1, sizeof(qn_items *));
    if (!*out) return qn_error_set(err, QN_ERR_NOMEM, "session: %" PRId32 " inputs", m->n_inputs);
    for (int32_t i = 0; i < m->n_inputs; i++) {
        if (m->inputs[i].kind == QN_PORT_TENSOR) continue;
        if (!s->items_set[i]) return qn_error_set(err, QN_ERR_INVALID, "input %.80s is missing", m->inputs[i].name);
        (*out)[i] = &s->items_in[i];
    }
    return QN_OK;
}

static qn_status run_main(qn_session *s, const qn_tensor *inputs, const qn_run_hooks *hooks, qn_error *err)
{
    const qn_items **items = NULL;
    qn_status st = gather_items(s, &items, err);
    unsigned fpu;

    s->hooks = hooks;
    s->steps_left = s->model->limits.loop_steps;
    s->macs = 0;
    s->serial++;
    if (st == QN_OK) {
        fpu = qn_fpu_enter();
        st = qn_frame_run(s->main, inputs, items, err);
        qn_fpu_leave(fpu);
    }
    s->hooks = NULL;
    free(items);
    return st;
}

qn_status qn_session_run(qn_session *s, const qn_tensor *inputs, qn_tensor *outputs, const qn_run_hooks *hooks, qn_error *err)
{
    qn_status st = prepare(s, inputs, err);
    const qn_items *items;

    for (int32_t i = 0; i < s->model->n_inputs && st == QN_OK; i++) st = check_bytes(&inputs[i], s->model->inputs[i].name, err);
    if (st == QN_OK) st = run_main(s, inputs, hooks, err);
    for (int32_t i = 0; i < s->model->n_outputs && st == QN_OK; i++) qn_frame_output(s->main, i, &outputs[i], &items);
    return st;
}

/* -- looking -------------------------------------------------------------------------------------------------------------- */

qn_status qn_session_items(const qn_session *s, int32_t output, bool *present, int64_t *n, qn_error *err)
{
    const qn_items *items = NULL;
    qn_tensor t;

    *present = false;
    *n = 0;
    if (output < 0 || output >= s->model->n_outputs || !s->main->plan) return qn_error_set(err, QN_ERR_INVALID, "no such output");
    qn_frame_output(s->main, output, &t, &items);
    if (!items) return qn_error_set(err, QN_ERR_INVALID, "output %.80s is a tensor", s->model->outputs[output].name);
    *present = items->present;
    *n = items->n;
    return QN_OK;
}

const qn_tensor *qn_session_item(const qn_session *s, int32_t output, int64_t i)
{
    const qn_items *items = NULL;
    qn_tensor t;

    qn_frame_output(s->main, output, &t, &items);
    return items && i >= 0 && i < items->n ? &items->box[i]->tensor : NULL;
}

int32_t qn_session_n_values(const qn_session *s) { return s->model->n_kept; }

void qn_session_value(const qn_session *s, int32_t i, const char **name, qn_tensor *out)
{
    qn_value_id id;

    *name = "";
    *out = (qn_tensor){ .dtype = QN_DTYPE_NONE };
    if (i < 0 || i >= s->model->n_kept) return;
    id = s->model->kept[i];
    *name = s->model->lowered->values[id].name;
    if (s->main->plan) *out = s->main->values[id];
}

void qn_session_step(const qn_session *s, int32_t step, qn_step_info *out)
{
    const qn_plan *plan = s->main->plan;
    const qn_plan_step *p;

    *out = (qn_step_info){ .node = "", .op = "", .kernel = "", .why = "" };
    if (!plan || step < 0 || step >= plan->n_steps) return;
    p = &plan->steps[step];
    *out = (qn_step_info){ .node = p->node->name,
                           .op = p->op,
                           .kernel = p->kernel,
                           .why = p->why,
                           .n_params = p->n_params,
                           .weight_bytes = p->weight_bytes,
                           .macs = p->macs };
    if (p->dynamic && s->main->dynamics[step].lowered) {
        out->kernel = s->main->dynamics[step].kernel;
        out->why = s->main->dynamics[step].why;
    }
}

uint64_t qn_session_bytes(const qn_session *s) { return s->meter.bytes; }
