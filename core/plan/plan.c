/* core/plan/plan.c - make a plan: types, steps, kernels, places; and what ops call while they are lowered. */
#include "core/plan/plan.h"

#include "core/base/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* -- packed weights ------------------------------------------------------------------------------------------------------- */

void qn_blob_list_release(qn_blob_list *l)
{
    for (int32_t i = 0; i < l->n; i++) qn_store_drop(l->store, l->blobs[i]);
    free(l->blobs);
    *l = (qn_blob_list){ .store = l->store };
}

static qn_status blob_list_room(qn_blob_list *l, qn_error *err)
{
    int32_t cap = l->cap ? l->cap * 2 : 16;
    const qn_blob **grown;

    if (l->n < l->cap) return QN_OK;
    grown = cap > l->cap && cap < INT32_MAX / 2 ? realloc(l->blobs, (size_t)cap * sizeof(const qn_blob *)) : NULL;
    if (!grown) return qn_error_set(err, QN_ERR_NOMEM, "plan: %" PRId32 " packed weights", cap);
    l->blobs = grown;
    l->cap = cap;
    return QN_OK;
}

qn_status qn_lower_blob(qn_lower *lo, qn_weight *w, const char *form, size_t bytes, qn_pack_fn *pack, void *ctx, const void **data,
                        qn_error *err)
{
    qn_blob_list *l;
    const qn_blob *blob = NULL;
    qn_status st;

    *data = NULL;
    if (!lo->plan) return qn_error_set(err, QN_ERR_UNSUPPORTED, "packing a weight without a plan is unsupported");
    l = &lo->plan->blobs;
    st = blob_list_room(l, err);
    if (st == QN_OK) st = qn_store_get(lo->store, w, form, bytes, pack, ctx, &blob, err);
    if (st != QN_OK) return st;
    l->store = lo->store;
    l->blobs[l->n++] = blob;
    *data = blob->data;
    return QN_OK;
}

#define CONSTANT_WORK (UINT64_C(1) << 28) /* of all constants of a plan: made while a request waits */

/* -- the plan ------------------------------------------------------------------------------------------------------------- */

static qn_status plan_create(const qn_plan_request *rq, qn_plan **out, qn_error *err)
{
    qn_plan *p = calloc(1, sizeof *p);
    int64_t *words = NULL;
    size_t limit = rq->arena_limit < SIZE_MAX ? (size_t)rq->arena_limit : SIZE_MAX;

    *out = NULL;
    if (!p) return qn_error_set(err, QN_ERR_NOMEM, "plan");
    atomic_init(&p->refs, 1);
    qn_arena_init(&p->arena, limit);
    p->blobs.store = rq->store;
    p->graph = rq->graph;
    p->capacity = rq->capacity;
    p->team_size = rq->team_size;
    p->cpu = rq->cpu;
    p->n_values = rq->graph->n_values;
    p->values = qn_arena_array(&p->arena, (size_t)p->n_values, sizeof *p->values);
    words = qn_arena_array(&p->arena, (size_t)rq->key.n, sizeof *words);
    if (!p->values || !words) {
        qn_plan_unref(p);
        return qn_error_set(err, QN_ERR_NOMEM, "plan: %" PRId32 " values", rq->graph->n_values);
    }
    if (rq->key.n > 0) memcpy(words, rq->key.words, (size_t)rq->key.n * sizeof *words);
    p->key = (qn_plan_key){ rq->key.n, words };
    *out = p;
    return QN_OK;
}

static qn_status planner_init(qn_planner *pl, const qn_plan_request *rq, qn_plan *p, qn_error *err)
{
    size_t n_values = (size_t)rq->graph->n_values, n_nodes = (size_t)rq->graph->n_nodes;
    qn_status st;

    *pl = (qn_planner){ .rq = rq, .plan = p, .rows = QN_DIM_UNKNOWN, .batch_free = true, .constant_work = CONSTANT_WORK };
    qn_arena_init(&pl->tmp, 0);
    st = qn_dims_create(&pl->dims, err);
    if (st != QN_OK) return st;
    pl->types = qn_arena_array(&pl->tmp, n_values, sizeof *pl->types);
    pl->known = qn_arena_array(&pl->tmp, n_values, sizeof(qn_known *));
    pl->role = qn_arena_array(&pl->tmp, n_nodes, sizeof *pl->role);
    pl->buffer = qn_arena_array(&pl->tmp, n_values, sizeof *pl->buffer);
    if (rq->capacity > 0) pl->rows = qn_dims_symbol(pl->dims, "rows");
    if (!pl->types || !pl->known || !pl->role || !pl->buffer || (rq->capacity > 0 && pl->rows == QN_DIM_UNKNOWN))
        return qn_error_set(err, QN_ERR_NOMEM, "plan: %zu values", n_values);
    return QN_OK;
}

qn_status qn_plan_make(const qn_plan_request *rq, qn_plan **out, bool *batch_free, qn_error *err)
{
    qn_planner pl = { 0 };
    qn_plan *p = NULL;
    qn_status st = plan_create(rq, &p, err);

    *out = NULL;
    *batch_free = true;
    if (st == QN_OK) st = planner_init(&pl, rq, p, err);
    if (st == QN_OK) {
        st = qn_plan_types(&pl, err);
        /* what fails with a symbol may still be right for a number, and a number says better what is wrong */
        if (rq->capacity > 0 && (st != QN_OK ? st != QN_ERR_NOMEM && st != QN_ERR_IO : !pl.batch_free)) {
            *batch_free = false;
            st = QN_OK;
            goto done;
        }
    }
    if (st == QN_OK) st = qn_plan_roles(&pl, err);
    if (st == QN_OK) st = qn_plan_certify(&pl, err);
    if (st == QN_OK) st = qn_plan_lower(&pl, err);
    if (st == QN_OK) st = qn_plan_place(&pl, err);
    if (st == QN_OK) {
        *out = p;
        p = NULL;
    }
done:
    qn_plan_unref(p);
    qn_dims_destroy(pl.dims);
    qn_arena_release(&pl.tmp);
    return st;
}

qn_plan *qn_plan_ref(qn_plan *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void qn_plan_unref(qn_plan *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1) return;
    qn_blob_list_release(&p->blobs);
    qn_arena_release(&p->arena);
    free(p);
}

uint64_t qn_plan_bytes(const qn_plan *p) { return sizeof *p + p->arena.used_bytes + (size_t)p->blobs.cap * sizeof(const qn_blob *); }
