/* core/ops/loss.c - NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss.
 * Spec   ONNX 12 on. x [n, c, d...], target [n, d...] (i32 or i64), weight [c] or none; reduction none, mean (default), sum; positions
 *        whose target is ignore_index count nothing. SoftmaxCrossEntropyLoss takes scores, and gives log_prob as output 1.
 * Value  l = -w[t] log_prob[t];  mean: sum of l over sum of w[t].  f32, f16 and bf16 in f32, sums by 16 lanes; f64 in f64. A target outside
 *        0..c-1 that is not ignore_index fails with QN_ERR_RANGE.
 * Grad   NLL: dx[t] = -dl w[t] / W.  SCE: dx = dl w[t] (softmax(x) - onehot(t)) / W;  W the sum of weights for mean, else 1. */
#include "core/base/checked.h"
#include "core/kernels/reduce/reduce.h"
#include "core/kernels/softmax/softmax.h"
#include "core/ops/elem.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

typedef enum how { HOW_NONE, HOW_MEAN, HOW_SUM, HOW_BAD } how;

static how reduction(const qn_node *node)
{
    const char *s = qn_node_str(node, "reduction", "mean");

    return strcmp(s, "mean") == 0 ? HOW_MEAN : strcmp(s, "sum") == 0 ? HOW_SUM : strcmp(s, "none") == 0 ? HOW_NONE : HOW_BAD;
}

static qn_status loss_infer(qn_infer *c, qn_error *err)
{
    qn_status st = qn_move_need(c, 2, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_FLOAT, err);
    if (st == QN_OK) st = qn_move_need_dtype(c, 1, QN_MOVE_INDEX, err);
    if (st == QN_OK) st = qn_move_need_dtype(c, 2, QN_SET_FLOAT, err);
    if (st == QN_OK) st = qn_move_need_rank(c, 0, 2, QN_MAX_RANK, err);
    if (st == QN_OK && c->in[0].rank >= 0) st = qn_move_need_rank(c, 1, c->in[0].rank - 1, c->in[0].rank - 1, err);
    if (st == QN_OK) st = qn_move_need_rank(c, 2, 1, 1, err);
    if (st != QN_OK) return st;
    if (reduction(c->node) == HOW_BAD)
        return qn_error_set(err, QN_ERR_INVALID, "reduction is \"%.20s\", expected none, mean or sum",
                            qn_node_str(c->node, "reduction", ""));
    if (reduction(c->node) == HOW_NONE)
        qn_elem_like(c, 1, 0, c->in[0].dtype);
    else
        st = qn_move_type(&c->out[0], c->in[0].dtype, 0, err);
    if (c->node->n_out > 1) qn_elem_like(c, 0, 1, c->in[0].dtype);
    return st;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

typedef struct job {
    const qn_run *run;
    const qn_softmax_kernel *softmax; /* NULL: x holds logarithms already */
    qn_dtype dtype;
    int64_t classes, inner, n; /* x is [.., classes, inner]; n positions */
    char *row;                 /* classes elements of the class for each member */
    size_t row_bytes;
    char *losses, *weights; /* [n] of the class */
    _Atomic int64_t bad;    /* position + 1 of a target out of range */
} job;

static int64_t at(const job *j, int64_t p, int64_t c) { return (p / j->inner * j->classes + c) * j->inner + p % j->inner; }

static void log_softmax_f64(double *x, int64_t n)
{
    double m = x[0], s = 0;

    for (int64_t i = 1; i < n; i++) m = x[i] > m ? x[i] : m;
    for (int64_t i = 0; i < n; i++) s += exp(x[i] - m);
    for (int64_t i = 0; i < n; i++) x[i] = x[i] - m - log(s);
}

/* Logarithms of the probabilities at position p, in row; written to log_prob if it is wanted. */
static void log_probs(const job *j, int64_t p, void *row)
{
    const qn_run *r = j->run;
    const int64_t size = (int64_t)qn_dtype_size(j->dtype), class_size = j->dtype == QN_F64 ? 8 : 4;
    qn_elem_buf buf;

    for (int64_t c = 0; c < j->classes; c++)
        memcpy((char *)row + c * class_size, qn_elem_load(j->dtype, (const char *)r->in[0].data + at(j, p, c) * size, 1, 1, &buf),
               (size_t)class_size);
    if (!j->softmax) return;
    if (j->dtype == QN_F64)
        log_softmax_f64(row, j->classes);
    else
        j->softmax->run(row, row, 1, j->classes, true);
    if (!qn_move_wants(r, 1)) return;
    for (int64_t c = 0; c < j->classes; c++)
        qn_elem_store(j->dtype, (char *)r->out[1].data + at(j, p, c) * size, 1, (const char *)row + c * class_size);
}

static void positions(void *ctx, int64_t lo, int64_t hi, int member)
{
    job *j = ctx;
    const qn_run *r = j->run;
    void *row = j->row + (size_t)member * j->row_bytes;
    const bool weighted = qn_move_has(r, 2), ignores = qn_node_attr(r->node, "ignore_index") != NULL;
    const int64_t ignored = qn_node_int(r->node, "ignore_index", 0);

    for (int64_t p = lo; p < hi; p++) {
        const int64_t t = qn_move_int(&r->in[1], p);
        const bool skip = (ignores && t == ignored) || t < 0 || t >= j->classes;
        const double w = skip ? 0.0 : weighted ? qn_move_real(&r->in[2], t) : 1.0;

        if (skip && !(ignores && t == ignored)) atomic_store_explicit(&j->bad, p + 1, memory_order_relaxed);
        log_probs(j, p, row);
        if (j->dtype == QN_F64) {
            ((double *)(void *)j->losses)[p] = skip ? 0.0 : -((double *)row)[t] * w;
            ((double *)(void *)j->weights)[p] = w;
        } else {
            ((float *)(void *)j->losses)[p] = skip ? 0.0f : -((float *)row)[t] * (float)w;
            ((float *)(void *)j->weights)[p] = (float)w;
        }
    }
}

static void finish(const job *j)
{
    const qn_run *r = j->run;
    const qn_reduce_kernel *k = qn_reduce_pick(r->cpu);
    const bool mean = reduction(r->node) == HOW_MEAN;

    if (reduction(r->node) == HOW_NONE) {
        qn_elem_store(j->dtype, r->out[0].data, j->n, j->losses);
    } else if (j->dtype == QN_F64) {
        const double *l = (const double *)(const void *)j->losses, *w = (const double *)(const void *)j->weights;
        double sum = 0, all = 0;

        for (int64_t i = 0; i < j->n; i++) {
            sum += l[i];
            all += w[i];
        }
        *(double *)r->out[0].data = mean ? sum / all : sum;
    } else {
        float l[QN_REDUCE_LANES] = { 0 }, w[QN_REDUCE_LANES] = { 0 }, y;

        k->feed[QN_REDUCE_SUM](l, (const float *)(const void *)j->losses, j->n);
        k->feed[QN_REDUCE_SUM](w, (const float *)(const void *)j->weights, j->n);
        y = qn_reduce_finish(QN_REDUCE_SUM, l);
        if (mean) y = y / qn_reduce_finish(QN_REDUCE_SUM, w);
        qn_elem_store(j->dtype, r->out[0].data, 1, &y);
    }
}

/* One row for each member, then losses, then weights. */
static bool work_bytes(int64_t classes, int64_t n, int team_size, size_t *row, size_t *list, size_t *all)
{
    size_t two;

    if (!qn_i64_to_size(classes, row) || !qn_size_mul(*row, 8, row) || !qn_size_align(*row, 64, row)) return false;
    if (!qn_i64_to_size(n, list) || !qn_size_mul(*list, 8, list) || !qn_size_align(*list, 64, list)) return false;
    return qn_size_mul(*row, (size_t)team_size, all) && qn_size_mul(*list, 2, &two) && qn_size_add(*all, two, all);
}

static qn_status loss_lower(qn_lower *lo, qn_error *err)
{
    size_t row, list, all;

    if (lo->in[0].rank < 2 || lo->in[1].rank < 0) return QN_OK;
    if (!work_bytes(lo->in[0].dims[1], qn_tensor_count(&lo->in[1]), lo->team_size, &row, &list, &all))
        return qn_error_set(err, QN_ERR_LIMIT, "work memory does not fit");
    return qn_move_lower_work(lo, all, err);
}

static qn_status check_shapes(const qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *t = &r->in[1];
    char a[64], b[64];
    bool same = x->rank >= 2 && t->rank == x->rank - 1;

    for (int32_t d = 0; same && d < x->rank; d++)
        if (d != 1 && x->dims[d] != t->dims[d == 0 ? 0 : d - 1]) same = false;
    if (!same)
        return qn_error_set(err, QN_ERR_SHAPE, "x is %s, target is %s, expected the same without axis 1",
                            qn_shape_print(x->rank, x->dims, a, sizeof a), qn_shape_print(t->rank, t->dims, b, sizeof b));
    if (qn_move_has(r, 2) && qn_tensor_count(&r->in[2]) != x->dims[1])
        return qn_error_set(err, QN_ERR_SHAPE, "weight has %" PRId64 " elements, x has %" PRId64 " classes", qn_tensor_count(&r->in[2]),
                            x->dims[1]);
    return QN_OK;
}

static qn_status loss_run(qn_run *r, bool scores, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *t = &r->in[1];
    const bool none = reduction(r->node) == HOW_NONE;
    job j = { .run = r, .softmax = scores ? qn_softmax_pick(r->cpu) : NULL, .dtype = x->dtype };
    qn_move_work w;
    size_t list, all;
    qn_status st = check_shapes(r, err);

    if (st == QN_OK) st = qn_move_output(r, 0, x->dtype, none ? t->rank : 0, t->dims, err);
    if (st == QN_OK && scores) st = qn_move_output(r, 1, x->dtype, x->rank, x->dims, err);
    if (st != QN_OK) return st;
    j.classes = x->dims[1];
    j.inner = qn_move_span(x->dims, 2, x->rank);
    j.n = qn_tensor_count(t);
    if (!work_bytes(j.classes, j.n, qn_team_size(r->team), &j.row_bytes, &list, &all))
        return qn_error_set(err, QN_ERR_LIMIT, "work memory does not fit");
    if ((st = qn_move_work_begin(r, all, &w, err)) != QN_OK) return st;
    j.losses = w.mem;
    j.weights = j.losses + list;
    j.row = j.weights + list;
    qn_elem_ranges(r->team, j.n, 8192 / (j.classes + 1), positions, &j);
    finish(&j);
    qn_move_work_end(&w);
    if (j.bad)
        return qn_error_set(err, QN_ERR_RANGE, "target %" PRId64 " (element %" PRId64 "), expected 0..%" PRId64, qn_move_int(t, j.bad - 1),
                            j.bad - 1, j.classes - 1);
    return QN_OK;
}

static qn_status nll_run(qn_run *r, qn_error *err) { return loss_run(r, false, err); }
static qn_status sce_run(qn_run *r, qn_error *err) { return loss_run(r, true, err); }

const qn_op qn_op_nll_loss = {
    .name = "NegativeLogLikelihoodLoss",
    .domain = "",
    .since = 12,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = loss_infer,
    .lower = loss_lower,
    .run = nll_run,
    .kernels = "softmax",
};
const qn_op qn_op_sce_loss = {
    .name = "SoftmaxCrossEntropyLoss",
    .domain = "",
    .since = 12,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 2,
    .infer = loss_infer,
    .lower = loss_lower,
    .run = sce_run,
    .kernels = "softmax",
};
