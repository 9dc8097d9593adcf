/* core/graph/eval.c - infer, lower and run one node with everything known. */
#include "core/graph/eval.h"

#include "core/base/checked.h"
#include "core/base/fpu.h"
#include "core/graph/cost.h"
#include "core/graph/infer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct eval {
    const qn_graph *g;
    const qn_node *n;
    qn_dims *dims;
    qn_arena arena; /* everything but the outputs */
    const qn_tensor *in;
    qn_type *out_type;
    qn_tensor *out;
    void *scratch;
} eval;

static qn_status unsupported(const eval *e, const char *why, qn_error *err)
{
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "node %s (%s) cannot be run alone: %s", e->n->name, e->n->op_type, why);
}

static qn_status infer(eval *e, qn_error *err)
{
    size_t n_in = (size_t)e->n->n_in, n_out = (size_t)e->n->n_out;
    qn_type *in = qn_arena_array(&e->arena, n_in, sizeof *in);
    const qn_known **known = qn_arena_array(&e->arena, n_in, sizeof *known);
    const qn_tensor **consts = qn_arena_array(&e->arena, n_in, sizeof *consts);
    qn_known **out_known = qn_arena_array(&e->arena, n_out, sizeof *out_known);

    e->out_type = qn_arena_array(&e->arena, n_out, sizeof *e->out_type);
    if (!in || !known || !consts || !out_known || !e->out_type) return qn_error_set(err, QN_ERR_NOMEM, "node %s", e->n->name);
    for (int32_t i = 0; i < e->n->n_in; i++) {
        const qn_tensor *t = &e->in[i];

        in[i].quant = (qn_quant){ .scale = QN_NONE, .zero_point = QN_NONE, .axis = -1 };
        in[i].dtype = t->dtype;
        in[i].rank = t->dtype == QN_DTYPE_NONE ? -1 : t->rank;
        for (int32_t d = 0; d < in[i].rank; d++) in[i].dims[d] = qn_dims_const(e->dims, t->dims[d]);
        if (t->dtype == QN_DTYPE_NONE) continue;
        consts[i] = t;
        known[i] = qn_known_from_tensor(t, e->dims, &e->arena);
    }
    return qn_infer_node((qn_graph *)(uintptr_t)e->g, e->n, e->dims, &e->arena, in, known, consts, e->out_type, out_known, err);
}

/* Dims of the outputs as inferred, no storage yet. */
static qn_status size_outputs(eval *e, size_t max_bytes, qn_error *err)
{
    size_t total = 0;
    qn_status st = QN_OK;

    for (int32_t i = 0; i < e->n->n_out && st == QN_OK; i++) {
        const qn_type *t = &e->out_type[i];
        qn_tensor *out = &e->out[i];

        if (e->n->out[i] == QN_NONE) continue;
        if (t->kind != QN_KIND_TENSOR || t->dtype == QN_DTYPE_NONE || t->dtype == QN_STRING || t->rank < 0)
            return unsupported(e, "it gives no tensor of known rank", err);
        for (int32_t d = 0; d < t->rank; d++)
            if (!qn_dims_value(e->dims, t->dims[d], &out->dims[d])) return unsupported(e, "its size depends on data", err);
        out->dtype = t->dtype;
        out->rank = t->rank;
        st = qn_shape_bytes(t->dtype, t->rank, out->dims, &out->bytes, err);
        if (st == QN_OK && (!qn_size_add(total, out->bytes, &total) || total > max_bytes))
            st = qn_error_set(err, QN_ERR_LIMIT, "node %s gives more than %zu bytes", e->n->name, max_bytes);
    }
    return st;
}

static qn_status spend(eval *e, qn_eval_budget *budget, qn_error *err)
{
    uint64_t work = qn_cost_of(e->n, e->in, e->out);

    if (work > budget->work)
        return qn_error_set(err, QN_ERR_LIMIT, "node %s takes %" PRIu64 " multiply-adds, %" PRIu64 " are left", e->n->name, work,
                            budget->work);
    budget->work -= work;
    return QN_OK;
}

static qn_status alloc_outputs(eval *e, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; i < e->n->n_out && st == QN_OK; i++) {
        qn_tensor sized = e->out[i];

        if (sized.dtype == QN_DTYPE_NONE) continue;
        e->out[i] = (qn_tensor){ 0 };
        st = qn_tensor_alloc(sized.dtype, sized.rank, sized.dims, &e->out[i], err);
    }
    return st;
}

static qn_status lower_and_run(eval *e, qn_store *store, unsigned cpu, qn_bits bits, qn_error *err)
{
    const qn_op *op = e->n->op;
    qn_lower lo = { .arena = &e->arena,
                    .store = store,
                    .cpu = cpu,
                    .bits = bits,
                    .team_size = 1,
                    .node = e->n,
                    .in = e->in,
                    .out = e->out,
                    .kernel = "plain",
                    .why = "" };
    qn_run r = { .node = e->n, .in = e->in, .out = e->out, .cpu = cpu };
    size_t scratch;
    unsigned mode;
    qn_status st = QN_OK;

    lo.weight = qn_arena_array(&e->arena, (size_t)e->n->n_in, sizeof *lo.weight);
    if (!lo.weight) return qn_error_set(err, QN_ERR_NOMEM, "node %s", e->n->name);
    if (op->lower) st = op->lower(&lo, err);
    if (st != QN_OK) return st;
    if (!qn_size_align(lo.scratch_bytes, 64, &scratch)) return qn_error_set(err, QN_ERR_LIMIT, "node %s: scratch memory", e->n->name);
    e->scratch = scratch ? aligned_alloc(64, scratch) : NULL;
    if (scratch && !e->scratch) return qn_error_set(err, QN_ERR_NOMEM, "node %s: %zu bytes", e->n->name, scratch);
    r.state = lo.state;
    r.scratch = e->scratch;
    mode = qn_fpu_enter(); /* the bits must not depend on whether a node was folded */
    st = op->run(&r, err);
    qn_fpu_leave(mode);
    return st;
}

qn_status qn_node_eval(const qn_graph *g, const qn_node *n, const qn_tensor *in, qn_store *store, unsigned cpu, qn_bits bits,
                       qn_eval_budget *budget, qn_tensor *out, qn_error *err)
{
    eval e = { .g = g, .n = n, .in = in, .out = out };
    qn_status st;

    for (int32_t i = 0; i < n->n_out; i++) out[i] = (qn_tensor){ 0 };
    if (!n->op || !n->op->run || !n->op->infer) return unsupported(&e, "it has no row", err);
    qn_arena_init(&e.arena, 0);
    st = qn_dims_create(&e.dims, err);
    if (st == QN_OK) st = infer(&e, err);
    if (st == QN_OK) st = size_outputs(&e, budget->bytes, err);
    if (st == QN_OK) st = spend(&e, budget, err);
    if (st == QN_OK) st = alloc_outputs(&e, err);
    if (st == QN_OK) st = lower_and_run(&e, store, cpu, bits, err);
    if (st != QN_OK)
        for (int32_t i = 0; i < n->n_out; i++) qn_tensor_free(&out[i]);
    free(e.scratch);
    qn_dims_destroy(e.dims);
    qn_arena_release(&e.arena);
    return st;
}
