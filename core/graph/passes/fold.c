/* core/graph/passes/fold.c - what does not depend on any input is computed once, at load.
 *
 * Two ways: a node whose inputs are all constants is run by qn_node_eval(); a value whose elements inference knows as numbers
 * (Shape of fixed dimensions, arithmetic on it) becomes a constant whatever it was computed from.
 * A file decides what is folded, so each result, their sum and the work are bounded; what is beyond runs with the model instead.
 * So does a node that fails here: its error then comes from the run, if it is ever reached. */
#include "core/graph/eval.h"
#include "core/graph/passes/rewrite.h"

#include "core/base/checked.h"

#include <stdlib.h>
#include <string.h>

#define MAX_NODE_BYTES  ((size_t)16 << 20)  /* of one node's outputs */
#define MAX_TOTAL_BYTES ((size_t)256 << 20) /* of all */
#define MAX_NODE_WORK   (UINT64_C(1) << 31) /* as core/graph/cost.h counts */
#define MAX_TOTAL_WORK  (UINT64_C(1) << 33)

typedef struct folder {
    qn_pass *p;
    bool keep_dq;
    size_t bytes_left;
    uint64_t work_left;
} folder;

/* -- known integers ------------------------------------------------------------------------------------------------------- */

static qn_status weight_of_known(qn_pass *p, qn_value_id v, bool *done, qn_error *err)
{
    const qn_known *k = p->g->values[v].known;
    qn_dtype dtype = qn_pass_type(p, v)->dtype;
    qn_tensor t = { .dtype = dtype, .rank = k->rank, .dims = { k->n } };
    int64_t *wide;
    qn_status st;

    *done = false;
    if (dtype != QN_I64 && dtype != QN_I32 && dtype != QN_BOOL) return QN_OK;
    wide = malloc(((size_t)k->n + 1) * sizeof *wide);
    if (!wide) return qn_error_set(err, QN_ERR_NOMEM, "constant %s", p->g->values[v].name);
    t.data = wide;
    for (int32_t i = 0; i < k->n; i++) {
        int64_t x;

        if (!qn_dims_value(p->g->dims, k->elems[i], &x) || (dtype == QN_I32 && x != (int32_t)x)) {
            free(wide);
            return QN_OK;
        }
        if (dtype == QN_I64) wide[i] = x;
        if (dtype == QN_I32) ((int32_t *)t.data)[i] = (int32_t)x;
        if (dtype == QN_BOOL) ((uint8_t *)t.data)[i] = x != 0;
    }
    t.bytes = (size_t)k->n * qn_dtype_size(dtype);
    st = qn_weight_from_tensor(&t, &p->g->values[v].weight, err);
    free(wide);
    *done = st == QN_OK;
    return st;
}

/* A node with one output that is fully known. */
static qn_status fold_known(folder *f, qn_node_id id, bool *done, qn_error *err)
{
    qn_pass *p = f->p;
    qn_node *n = &p->g->nodes[id];
    qn_value_id v = qn_node_out(n, 0);
    qn_status st;

    *done = false;
    if (n->n_out != 1 || v == QN_NONE || !p->g->values[v].known || (n->op->flags & QN_OP_RANDOM)) return QN_OK;
    st = weight_of_known(p, v, done, err);
    if (st == QN_OK && *done) qn_uses_kill(&p->uses, p->g, id);
    return st;
}

/* -- running a node ------------------------------------------------------------------------------------------------------- */

static bool feeds_quantized_op(qn_pass *p, const qn_node *n)
{
    if (!qn_pass_is(n, "DequantizeLinear")) return false;
    for (int32_t l = p->uses.head[n->out[0]]; l >= 0; l = p->uses.links[l].next) {
        const qn_node *user = &p->g->nodes[p->uses.links[l].node];

        if (qn_pass_is(user, "Conv") || qn_pass_is(user, "MatMul") || qn_pass_is(user, "Gemm") || qn_pass_is(user, "Add")) return true;
    }
    return false;
}

static bool all_const(const qn_pass *p, const qn_node *n)
{
    for (int32_t i = 0; i < n->n_in; i++)
        if (n->in[i] != QN_NONE && !qn_value_is_const(&p->g->values[n->in[i]])) return false;
    return true;
}

static void free_inputs(qn_tensor *in, void **own, int32_t n)
{
    for (int32_t i = 0; own && i < n; i++) free(own[i]);
    free(own);
    free(in);
}

/* Dense inputs; own[i] is a copy to free, because a weight that is read only here should not stay in memory dense. */
static qn_status load_inputs(qn_pass *p, const qn_node *n, qn_tensor *in, void **own, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; i < n->n_in && st == QN_OK; i++) {
        qn_weight *w = n->in[i] == QN_NONE ? NULL : p->g->values[n->in[i]].weight;

        if (!w) continue;
        qn_weight_shape(w, &in[i]);
        if (in[i].data || in[i].bytes == 0) continue;
        if (in[i].dtype == QN_STRING) {
            st = qn_weight_dense(w, p->store, &in[i], err);
            continue;
        }
        own[i] = aligned_alloc(64, (in[i].bytes + 63) & ~(size_t)63);
        if (!own[i]) return qn_error_set(err, QN_ERR_NOMEM, "constant of %zu bytes", in[i].bytes);
        in[i].data = own[i];
        st = qn_weight_read(w, 0, qn_tensor_count(&in[i]), own[i], err);
    }
    return st;
}

/* The tensors become the weights of n's outputs, and n goes. */
static qn_status adopt(folder *f, qn_node_id id, const qn_tensor *out, qn_error *err)
{
    qn_pass *p = f->p;
    qn_node *n = &p->g->nodes[id];
    qn_status st = QN_OK;

    for (int32_t i = 0; i < n->n_out && st == QN_OK; i++) {
        if (n->out[i] == QN_NONE) continue;
        f->bytes_left -= out[i].bytes;
        st = qn_weight_from_tensor(&out[i], &p->g->values[n->out[i]].weight, err);
    }
    if (st != QN_OK) return st;
    qn_uses_kill(&p->uses, p->g, id);
    for (int32_t i = 0; i < n->n_out && st == QN_OK; i++)
        if (n->out[i] != QN_NONE) st = qn_inferer_source(&p->infer, n->out[i], err);
    return st;
}

static qn_status run_node(folder *f, qn_node_id id, qn_error *err)
{
    qn_pass *p = f->p;
    qn_node *n = &p->g->nodes[id];
    const uint64_t work = f->work_left < MAX_NODE_WORK ? f->work_left : MAX_NODE_WORK;
    qn_eval_budget budget = { .bytes = f->bytes_left < MAX_NODE_BYTES ? f->bytes_left : MAX_NODE_BYTES, .work = work };
    qn_tensor *in = calloc((size_t)n->n_in + 1, sizeof *in), *out = calloc((size_t)n->n_out + 1, sizeof *out);
    void **own = calloc((size_t)n->n_in + 1, sizeof *own);
    qn_status st;

    if (!in || !out || !own) {
        st = qn_error_set(err, QN_ERR_NOMEM, "constants of node %.60s", n->name);
        goto done;
    }
    st = load_inputs(p, n, in, own, err); /* a file that cannot be read is an error, an op that will not run is not */
    if (st != QN_OK) goto done;
    if (qn_node_eval(p->g, n, in, p->store, p->cpu, p->bits, &budget, out, NULL) == QN_OK) st = adopt(f, id, out, err);
    f->work_left -= work - budget.work;
    for (int32_t i = 0; i < n->n_out; i++) qn_tensor_free(&out[i]);
done:
    free_inputs(in, own, n->n_in);
    free(out);
    return st;
}

/* Something about the outputs is not known, and may be now that an input has become a constant. */
static bool open_ended(const qn_pass *p, const qn_node *n)
{
    for (int32_t i = 0; i < n->n_out; i++) {
        const qn_value *v = n->out[i] == QN_NONE ? NULL : &p->g->values[n->out[i]];

        if (!v) continue;
        if (v->type.rank < 0 || (!v->known && v->type.rank <= 1 && (v->type.dtype == QN_I64 || v->type.dtype == QN_I32))) return true;
        for (int32_t d = 0; d < v->type.rank; d++)
            if (v->type.dims[d] == QN_DIM_UNKNOWN) return true;
        for (int32_t k = 0; v->known && k < v->known->n; k++)
            if (v->known->elems[k] == QN_DIM_UNKNOWN) return true;
    }
    return false;
}

static qn_status fold_one(folder *f, qn_node_id id, qn_error *err)
{
    qn_node *n = &f->p->g->nodes[id];
    bool done = false;
    qn_status st = open_ended(f->p, n) ? qn_inferer_node(&f->p->infer, id, err) : QN_OK;

    if (st == QN_OK) st = fold_known(f, id, &done, err);
    if (st != QN_OK || done || n->n_out < 1 || !n->op->run || (n->op->flags & QN_OP_RANDOM) || !all_const(f->p, n)) return st;
    if (f->keep_dq && feeds_quantized_op(f->p, n)) return QN_OK;
    return run_node(f, id, err);
}

static qn_status fold(qn_pass *p, bool keep_dq, qn_error *err)
{
    folder f = { p, keep_dq, MAX_TOTAL_BYTES, MAX_TOTAL_WORK };
    qn_status st = QN_OK;

    for (int32_t i = 0; i < p->g->n_order && st == QN_OK; i++) st = fold_one(&f, p->g->order[i], err);
    return st;
}

qn_status qn_pass_fold_keep_dq(qn_pass *p, qn_error *err) { return fold(p, true, err); }

qn_status qn_pass_fold(qn_pass *p, qn_error *err) { return fold(p, false, err); }
