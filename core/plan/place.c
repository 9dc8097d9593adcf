/* core/plan/place.c - buffers and where they lie in the arena.
 * A buffer is what one value, its views and the values computed in place over it share. Buffers whose lives overlap never overlap in
 * memory. Largest first, each into the lowest gap that fits (greedy by size: Pisarchyk, Lee 2020, arXiv:2001.03288, algorithm 3); that is
 * quadratic, so beyond MAX_FITTED buffers the smallest ones are laid end to end instead.
 * Never reused: outputs, known integers (written once), and with all_values everything. Never in the arena: the caller's inputs, weights. */
#include "core/plan/plan.h"

#include "core/base/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FITTED 8192

typedef struct qn_buffer {
    size_t bytes, offset;
    int32_t first, last;
    int32_t step;      /* scratch of this step; -1: a value's */
    qn_value_id value; /* the one that opens it */
} qn_buffer;

/* -- in place ------------------------------------------------------------------------------------------------------------- */

static bool same_shape(const qn_plan_value *a, const qn_plan_value *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    for (int32_t d = 0; d < a->rank; d++)
        if (a->c0[d] != b->c0[d] || a->c1[d] != b->c1[d]) return false;
    return true;
}

/* True if output 0 of step s may be written over input 0. */
static bool can_overwrite(const qn_planner *pl, const qn_plan_step *s, int32_t at)
{
    const qn_plan *p = pl->plan;
    const qn_node *n = s->node;
    int32_t b;

    if (pl->rq->all_values || s->dynamic || !(n->op->flags & QN_OP_INPLACE) || n->n_in < 1 || n->n_out < 1) return false;
    if (n->in[0] == QN_NONE || n->out[0] == QN_NONE) return false;
    if (p->values[n->in[0]].home != QN_HOME_ARENA || p->values[n->out[0]].home != QN_HOME_ARENA || p->values[n->out[0]].known) return false;
    if (!same_shape(&p->values[n->in[0]], &p->values[n->out[0]])) return false;
    b = pl->buffer[n->in[0]];
    if (p->values[b].last != at) return false; /* somebody reads it later, or after the run */
    for (int32_t i = 1; i < n->n_in; i++)
        if (n->in[i] != QN_NONE && pl->buffer[n->in[i]] == b) return false;
    return true;
}

/* The buffer that id ended up in, through views and joins. Chains are short-circuited, so the walk is linear over all values. */
static int32_t final_buffer(const qn_planner *pl, int32_t *joined, qn_value_id id)
{
    int32_t b = pl->buffer[id], at = b;

    while (joined[at] != at) at = pl->buffer[joined[at]];
    while (joined[b] != b) {
        int32_t next = pl->buffer[joined[b]];

        joined[b] = at;
        b = next;
    }
    return at;
}

/* Join output buffers with input buffers, in step order. Every read of the joined buffer lies before the step that overwrites it, so from
 * then on only the readers of the new value count: they are counted for the buffer it opened, which `joined` leads on from. */
static void join_in_place(qn_planner *pl, int32_t *joined)
{
    qn_plan *p = pl->plan;

    for (int32_t id = 0; id < p->n_values; id++) joined[id] = pl->buffer[id];
    for (int32_t s = 0; s < p->n_steps; s++) {
        const qn_node *n = p->steps[s].node;
        int32_t from, to;

        if (!can_overwrite(pl, &p->steps[s], s)) continue;
        from = n->out[0];
        to = final_buffer(pl, joined, n->in[0]);
        joined[from] = to;
        if (p->values[to].last < p->values[from].last) p->values[to].last = p->values[from].last;
    }
}

/* -- offsets -------------------------------------------------------------------------------------------------------------- */

static int larger_first(const void *a, const void *b)
{
    const qn_buffer *x = *(const qn_buffer *const *)a, *y = *(const qn_buffer *const *)b;

    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x < y ? -1 : 1; /* both lie in one array: a fixed order */
}

static bool overlap_in_time(const qn_buffer *a, const qn_buffer *b) { return a->first <= b->last && b->first <= a->last; }

/* The lowest gap that holds b among `placed`, which is sorted by offset; false on overflow. */
static bool lowest_gap(qn_buffer *const *placed, size_t n, qn_buffer *b)
{
    size_t at = 0, end;

    for (size_t i = 0; i < n; i++) {
        const qn_buffer *o = placed[i];

        if (!overlap_in_time(o, b)) continue;
        if (!qn_size_add(at, b->bytes, &end)) return false;
        if (end <= o->offset) break;
        if (o->offset + o->bytes > at) at = o->offset + o->bytes;
    }
    b->offset = at;
    return qn_size_add(at, b->bytes, &end);
}

static qn_status too_large(const qn_planner *pl, const qn_buffer *b, qn_error *err)
{
    const qn_plan *p = pl->plan;
    int32_t s = b->step >= 0 ? b->step : b->first;
    char where[160] = "known integers";

    if (s >= 0 && s < p->n_steps) qn_node_label(p->steps[s].node, where, sizeof where);
    return qn_error_set(err, QN_ERR_LIMIT, "%s: %zu bytes more in an arena of at most %" PRIu64 " (limit arena_bytes)", where, b->bytes,
                        pl->rq->arena_limit);
}

static qn_status fit(qn_planner *pl, qn_buffer **order, size_t n, qn_error *err)
{
    qn_buffer **placed = qn_arena_array(&pl->tmp, n < MAX_FITTED ? n : MAX_FITTED, sizeof *placed);
    size_t total = 0, n_placed = 0;

    if (!placed) return qn_error_set(err, QN_ERR_NOMEM, "plan: %zu buffers", n);
    for (size_t i = 0; i < n; i++) {
        qn_buffer *b = order[i];
        size_t end = 0, lo = 0;

        if (i < MAX_FITTED) {
            if (!lowest_gap(placed, n_placed, b)) return too_large(pl, b, err);
            for (size_t hi = n_placed; lo < hi;) {
                size_t mid = lo + (hi - lo) / 2;

                if (placed[mid]->offset <= b->offset)
                    lo = mid + 1;
                else
                    hi = mid;
            }
            memmove(&placed[lo + 1], &placed[lo], (n_placed - lo) * sizeof *placed);
            placed[lo] = b;
            n_placed++;
        } else {
            b->offset = total;
        }
        if (!qn_size_add(b->offset, b->bytes, &end) || end > pl->rq->arena_limit) return too_large(pl, b, err);
        if (end > total) total = end;
    }
    pl->plan->arena_bytes = total;
    return QN_OK;
}

/* Every buffer, scratch of steps included; sizes in whole lines, so that an empty value has an address too. */
static qn_status collect(qn_planner *pl, const int32_t *joined, qn_buffer *buffers, size_t *n, qn_error *err)
{
    qn_plan *p = pl->plan;

    *n = 0;
    for (int32_t id = 0; id < p->n_values; id++) {
        const qn_plan_value *v = &p->values[id];
        qn_buffer *b = &buffers[*n];

        if (v->home != QN_HOME_ARENA || pl->buffer[id] != id || joined[id] != id) continue;
        *b = (qn_buffer){ .first = v->known || pl->rq->all_values ? -1 : v->first, .last = v->last, .step = -1, .value = id };
        if (!qn_size_align(v->max_bytes ? v->max_bytes : 1, QN_PLAN_ALIGN, &b->bytes)) return too_large(pl, b, err);
        (*n)++;
    }
    for (int32_t s = 0; s < p->n_steps; s++) {
        qn_buffer *b = &buffers[*n];

        if (p->steps[s].scratch_bytes == 0) continue;
        *b = (qn_buffer){ .bytes = p->steps[s].scratch_bytes, .first = s, .last = s, .step = s, .value = QN_NONE };
        if (!qn_size_align(b->bytes, QN_PLAN_ALIGN, &b->bytes)) return too_large(pl, b, err);
        (*n)++;
    }
    return QN_OK;
}

qn_status qn_plan_place(qn_planner *pl, qn_error *err)
{
    qn_plan *p = pl->plan;
    size_t room = (size_t)p->n_values + (size_t)p->n_steps, n = 0;
    int32_t *joined = qn_arena_array(&pl->tmp, (size_t)p->n_values, sizeof *joined);
    qn_buffer *buffers = qn_arena_array(&pl->tmp, room, sizeof *buffers);
    qn_buffer **order = qn_arena_array(&pl->tmp, room, sizeof(qn_buffer *));
    qn_status st;

    if (!joined || !buffers || !order) return qn_error_set(err, QN_ERR_NOMEM, "plan: %zu buffers", room);
    join_in_place(pl, joined);
    st = collect(pl, joined, buffers, &n, err);
    if (st != QN_OK) return st;
    for (size_t i = 0; i < n; i++) order[i] = &buffers[i];
    qsort(order, n, sizeof *order, larger_first);
    st = fit(pl, order, n, err);
    if (st != QN_OK) return st;
    for (size_t i = 0; i < n; i++) {
        if (buffers[i].step >= 0)
            p->steps[buffers[i].step].scratch_offset = buffers[i].offset;
        else
            p->values[buffers[i].value].offset = buffers[i].offset;
    }
    for (int32_t id = 0; id < p->n_values; id++)
        if (p->values[id].home == QN_HOME_ARENA) p->values[id].offset = p->values[final_buffer(pl, joined, id)].offset;
    return QN_OK;
}
