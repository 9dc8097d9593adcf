/* core/plan/work.c - the certificate of a plan: multiply-adds of each step and of all, from shapes, before anything is packed, placed or run.
 * A plan is certified at its capacity, so every request it serves takes at most that. Dynamic steps and the frames of subgraphs are counted
 * against the same limit as they run (frame.c, dynamic.c), each before it allocates. */
#include "core/graph/cost.h"
#include "core/plan/plan.h"

#include <inttypes.h>

qn_status qn_macs_spend(uint64_t *spent, uint64_t macs, uint64_t limit, qn_error *err)
{
    uint64_t total = qn_cost_add(*spent, macs);

    if (total <= limit && total < QN_COST_MAX) {
        *spent = total;
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_LIMIT,
                        "%s%" PRIu64 " multiply-adds make it %s%" PRIu64 " in a run of at most %" PRIu64 " (limit run_macs)",
                        macs == QN_COST_MAX ? "over " : "", macs, total == QN_COST_MAX ? "over " : "", total, limit);
}

qn_status qn_plan_certify(qn_planner *pl, qn_error *err)
{
    qn_plan *p = pl->plan;
    qn_tensor *io = qn_arena_array(&pl->tmp, 2 * (size_t)p->max_io, sizeof *io);
    qn_status st = QN_OK;

    if (!io) return qn_error_set(err, QN_ERR_NOMEM, "plan: room to count in");
    for (int32_t i = 0; i < p->n_steps && st == QN_OK; i++) {
        qn_plan_step *s = &p->steps[i];
        const qn_node *n = s->node;
        char where[160];

        if (s->dynamic) continue;
        for (int32_t k = 0; k < n->n_in + n->n_out; k++) {
            qn_value_id id = p->operands[s->operands + k];

            io[k] = (qn_tensor){ .dtype = QN_DTYPE_NONE, .rank = -1 };
            if (id == QN_NONE || p->values[id].kind != QN_KIND_TENSOR) continue;
            if (p->values[id].home == QN_HOME_ARENA && p->values[id].max_bytes > pl->rq->arena_limit)
                return qn_error_set(err, QN_ERR_LIMIT, "%s: a value of %zu bytes in an arena of at most %" PRIu64 " (limit arena_bytes)",
                                    qn_node_label(n, where, sizeof where), p->values[id].max_bytes, pl->rq->arena_limit);
            if (!qn_plan_shape(&p->values[id], pl->rq->capacity, &io[k]))
                return qn_error_set(err, QN_ERR_INTERNAL, "%s: shape lost", qn_node_label(n, where, sizeof where));
        }
        s->macs = qn_cost_of(n, io, io + n->n_in);
        st = qn_macs_spend(&p->macs, s->macs, pl->rq->macs_limit, err);
        if (st != QN_OK) qn_error_prefix(err, "%s", qn_node_label(n, where, sizeof where));
    }
    return st;
}
