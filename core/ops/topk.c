/* core/ops/topk.c - TopK: the k largest or smallest elements along an axis, and where they were.
 * Spec   ONNX TopK 1 (attribute k), 10 (input K), 11 on (largest, sorted). Of equal elements the lower index comes first. `sorted = 0`
 *        allows any order; it gets the sorted one too. NaN counts as larger than everything. */
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/kernels/move/key.h"

#include <inttypes.h>
#include <string.h>

static qn_status read_k(const qn_run *r, int64_t *k, qn_error *err)
{
    if (r->node->opset < 10) {
        *k = qn_node_int(r->node, "k", -1);
    } else {
        if (qn_tensor_count(&r->in[1]) != 1)
            return qn_error_set(err, QN_ERR_SHAPE, "K has %" PRId64 " elements, expected 1", qn_tensor_count(&r->in[1]));
        *k = qn_move_int(&r->in[1], 0);
    }
    return QN_OK;
}

static qn_status check_k(int64_t k, int64_t n, int32_t axis, qn_error *err)
{
    if (k >= 0 && k <= n) return QN_OK;
    return qn_error_set(err, QN_ERR_RANGE, "k is %" PRId64 ", axis %" PRId32 " has size %" PRId64, k, axis, n);
}

static qn_status topk_infer(qn_infer *c, qn_error *err)
{
    const bool by_input = c->node->opset >= 10;
    const qn_type *x = &c->in[0];
    qn_dim k = QN_DIM_UNKNOWN;
    int32_t axis, n;
    int64_t vk, vn;
    const qn_dim *e;
    qn_status st;

    if ((st = qn_move_need(c, by_input ? 2 : 1, err)) != QN_OK) return st;
    if ((st = qn_move_need_dtype(c, 0, ~(1u << QN_STRING | 1u << QN_BOOL), err)) != QN_OK) return st;
    if (by_input && (st = qn_move_need_dtype(c, 1, 1u << QN_I64, err)) != QN_OK) return st;
    qn_move_like(c, 0, &c->out[0]);
    if (c->node->n_out > 1 && (st = qn_move_type(&c->out[1], QN_I64, x->rank, err)) != QN_OK) return st;
    if (x->rank < 0) return QN_OK;
    if ((st = qn_move_axis(qn_node_int(c->node, "axis", -1), x->rank, &axis, err)) != QN_OK) return st;
    if (!by_input) {
        if (!qn_node_attr(c->node, "k")) return qn_error_set(err, QN_ERR_INVALID, "attribute k is missing");
        k = qn_dims_const(c->dims, qn_node_int(c->node, "k", -1));
    } else if ((e = qn_move_known(c, 1, &n)) != NULL && n == 1) {
        k = e[0];
    }
    if (qn_move_number(c, k, &vk) && (st = check_k(vk, qn_move_number(c, x->dims[axis], &vn) ? vn : INT64_MAX, axis, err)) != QN_OK)
        return st;
    for (int32_t o = 0; o < c->node->n_out && o < 2; o++)
        for (int32_t a = 0; a < x->rank; a++) c->out[o].dims[a] = a == axis ? k : x->dims[a];
    return QN_OK;
}

static size_t work_bytes(int team, int64_t k)
{
    size_t n;

    return qn_size_mul((size_t)team, (size_t)k, &n) && qn_size_mul(n, sizeof(qn_move_entry), &n) ? n : SIZE_MAX;
}

static qn_status topk_lower(qn_lower *lo, qn_error *err)
{
    int32_t axis;
    qn_status st;

    if (lo->out[0].rank < 0) return QN_OK;
    if ((st = qn_move_axis(qn_node_int(lo->node, "axis", -1), lo->out[0].rank, &axis, err)) != QN_OK) return st;
    return qn_move_lower_work(lo, work_bytes(lo->team_size, lo->out[0].dims[axis]), err);
}

typedef struct job {
    const qn_tensor *x;
    char *values;     /* NULL: not wanted */
    int64_t *indices; /* NULL: not wanted */
    int64_t n, k, inner, lanes, per_tile;
    bool largest;
    size_t elem;
    qn_move_entry *heaps; /* k for each member */
} job;

static void run_tile(void *ctx, int64_t tile, int member)
{
    const job *j = ctx;
    qn_move_entry *heap = j->heaps + (int64_t)member * j->k;
    int64_t last = (tile + 1) * j->per_tile < j->lanes ? (tile + 1) * j->per_tile : j->lanes;

    for (int64_t lane = tile * j->per_tile; lane < last; lane++) {
        int64_t from = lane / j->inner * j->n * j->inner + lane % j->inner, to = lane / j->inner * j->k * j->inner + lane % j->inner;
        const char *x = (const char *)j->x->data + (size_t)from * j->elem;

        qn_move_top(j->x->dtype, x, j->n, j->inner, j->largest, j->k, heap);
        for (int64_t i = 0; i < j->k; i++) {
            size_t at = (size_t)(to + i * j->inner);

            if (j->values) memcpy(j->values + at * j->elem, x + (size_t)(heap[i].place * j->inner) * j->elem, j->elem);
            if (j->indices) j->indices[at] = heap[i].place;
        }
    }
}

static qn_status topk_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    int64_t dims[QN_MAX_RANK], k = 0;
    int32_t axis;
    job j = { .x = x, .elem = qn_dtype_size(x->dtype), .largest = qn_node_int(r->node, "largest", 1) != 0 };
    qn_move_work work;
    qn_status st;

    if ((st = qn_move_axis(qn_node_int(r->node, "axis", -1), x->rank, &axis, err)) != QN_OK || (st = read_k(r, &k, err)) != QN_OK)
        return st;
    if ((st = check_k(k, x->dims[axis], axis, err)) != QN_OK) return st;
    memcpy(dims, x->dims, sizeof dims);
    dims[axis] = k;
    if ((st = qn_move_output(r, 0, x->dtype, x->rank, dims, err)) != QN_OK ||
        (st = qn_move_output(r, 1, QN_I64, x->rank, dims, err)) != QN_OK)
        return st;
    j.n = x->dims[axis];
    j.k = k;
    j.inner = qn_move_span(x->dims, axis + 1, x->rank);
    j.lanes = qn_move_span(x->dims, 0, axis) * j.inner;
    if (j.lanes == 0 || k == 0) return QN_OK;
    if (qn_move_wants(r, 0)) j.values = r->out[0].data;
    if (qn_move_wants(r, 1)) j.indices = r->out[1].data;
    if ((st = qn_move_work_begin(r, work_bytes(qn_team_size(r->team), k), &work, err)) != QN_OK) return st;
    j.heaps = work.mem;
    j.per_tile = j.n >= 16384 ? 1 : 16384 / j.n; /* some 50 us of comparing */
    qn_team_run(r->team, (j.lanes + j.per_tile - 1) / j.per_tile, run_tile, &j);
    qn_move_work_end(&work);
    return QN_OK;
}

static void topk_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis;

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0) return;
    if (qn_move_axis(qn_node_int(c->node, "axis", -1), c->in[0].rank, &axis, NULL) != QN_OK || axis == in_axis[0]) return;
    for (int32_t i = 0; i < c->node->n_out; i++) out_axis[i] = in_axis[0];
}

const qn_op qn_op_topk = {
    .name = "TopK",
    .since = 1,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 2,
    .infer = topk_infer,
    .rows = topk_rows,
    .lower = topk_lower,
    .run = topk_run,
    .kernels = "move",
};
