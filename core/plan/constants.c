/* core/plan/constants.c - what of a graph needs no data once the shapes are numbers.
 * Exported models compute paddings, masks and target shapes from Shape; inference follows integers of rank 0 and 1 only. When every input of a
 * node is a constant of this plan - a weight, known integers, something computed here - it is run now, once per plan, by qn_node_eval().
 * Only small results: larger ones cost memory in every plan and are no shapes. */
#include "core/graph/eval.h"
#include "core/plan/plan.h"

#include <inttypes.h>
#include <string.h>

qn_status qn_plan_known_tensor(qn_planner *pl, qn_value_id id, const qn_tensor **out, qn_error *err)
{
    const qn_plan_value *v = &pl->plan->values[id];
    qn_tensor *t;

    *out = NULL;
    if (!v->known) return QN_OK;
    for (int32_t i = 0; i < v->known->n; i++)
        if (v->known->c1[i] != 0) return QN_OK;
    t = qn_arena_alloc(&pl->tmp, sizeof *t);
    if (t) t->data = qn_arena_array(&pl->tmp, (size_t)v->known->n, sizeof(int64_t));
    if (!t || !t->data) return qn_error_set(err, QN_ERR_NOMEM, "plan: %" PRId32 " known elements", v->known->n);
    if (!qn_plan_shape(v, 0, t)) return QN_OK;
    for (int32_t i = 0; i < v->known->n; i++) qn_plan_store_int(v->dtype, t->data, i, v->known->c0[i]);
    *out = t;
    return QN_OK;
}

/* All inputs are at hand, and all outputs are small and of one size for every number of rows. */
static bool can_compute(const qn_planner *pl, const qn_node *n, const qn_tensor *const *in_const)
{
    bool wanted = false;

    if ((n->op->flags & QN_OP_RANDOM) || !n->op->run) return false;
    for (int32_t i = 0; i < n->n_in; i++)
        if (n->in[i] != QN_NONE && !in_const[i]) return false;
    for (int32_t i = 0; i < n->n_out; i++) {
        const qn_plan_value *v;

        if (n->out[i] == QN_NONE) continue;
        v = &pl->plan->values[n->out[i]];
        if (!v->fixed || v->dtype == QN_STRING || v->max_bytes > QN_PLAN_CONST_ANY * sizeof(int64_t)) return false;
        for (int32_t d = 0; d < v->rank; d++)
            if (v->c1[d] != 0) return false;
        wanted |= !v->known;
    }
    return wanted;
}

static qn_status keep_result(qn_planner *pl, qn_value_id id, const qn_tensor *t, qn_error *err)
{
    qn_plan_value *v = &pl->plan->values[id];
    void *data = qn_arena_alloc(&pl->plan->arena, t->bytes);

    if (!data) return qn_error_set(err, QN_ERR_NOMEM, "plan: a constant of %zu bytes", t->bytes);
    if (t->bytes) memcpy(data, t->data, t->bytes);
    v->dense = *t;
    v->dense.data = data;
    v->home = QN_HOME_CONST;
    v->computed = true;
    v->known = NULL;
    return QN_OK;
}

qn_status qn_plan_compute(qn_planner *pl, const qn_node *n, const qn_tensor *const *in_const, qn_error *err)
{
    qn_eval_budget budget = { .bytes = (size_t)1 << 20, .work = pl->constant_work };
    qn_tensor *in, *out;
    qn_status st = QN_OK;

    if (!can_compute(pl, n, in_const)) return QN_OK;
    in = qn_arena_array(&pl->tmp, (size_t)n->n_in, sizeof *in);
    out = qn_arena_array(&pl->tmp, (size_t)n->n_out, sizeof *out);
    if (!in || !out) return qn_error_set(err, QN_ERR_NOMEM, "plan: constants");
    for (int32_t i = 0; i < n->n_in; i++)
        if (in_const[i]) in[i] = *in_const[i];
    st = qn_node_eval(pl->rq->graph, n, in, pl->rq->store, pl->rq->cpu, pl->rq->bits, &budget, out, NULL);
    pl->constant_work = budget.work;
    if (st != QN_OK) return QN_OK; /* the run will say why, if it comes to it */
    for (int32_t i = 0; i < n->n_out && st == QN_OK; i++)
        if (n->out[i] != QN_NONE && out[i].dtype != QN_DTYPE_NONE) st = keep_result(pl, n->out[i], &out[i], err);
    for (int32_t i = 0; i < n->n_out; i++) qn_tensor_free(&out[i]);
    return st;
}
