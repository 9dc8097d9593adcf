/* core/ops/affinegrid.c - AffineGrid: where GridSample shall look when a picture is turned, scaled and moved.
 * Spec   ONNX AffineGrid 20 on. theta [n, 2, 3] with size (n, c, h, w) -> [n, h, w, 2]; theta [n, 3, 4] with (n, c, d, h, w) ->
 *        [n, d, h, w, 3]. Coordinates x first.
 * Value  theta (x, y, [z,] 1) in double, rounded once. Place i of n along an axis: align_corners: -1 + 2 i / (n - 1), and 0 for n = 1, as
 *        PyTorch has it (ONNX says nothing);
 *        else (2 i + 1) / n - 1.
 * Grad   theta: the sum over the places of dgrid times their coordinates. */
#include "core/ops/elem.h"

#include <inttypes.h>

static qn_status grid_infer(qn_infer *c, qn_error *err)
{
    const qn_type *theta = &c->in[0];
    const qn_dim *size;
    int32_t n = -1, k = -1;
    int64_t v;
    qn_status st = qn_move_need(c, 2, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_FLOAT, err);
    if (st == QN_OK) st = qn_move_need_dtype(c, 1, 1u << QN_I64, err);
    if (st == QN_OK) st = qn_move_need_rank(c, 0, 3, 3, err);
    if (st == QN_OK) st = qn_move_need_rank(c, 1, 1, 1, err);
    if (st != QN_OK) return st;
    size = qn_infer_ints(c, 1, &n);
    if (size)
        k = n - 2;
    else if (c->in[1].rank == 1 && qn_move_number(c, c->in[1].dims[0], &v))
        k = v >= 0 && v < 8 ? (int32_t)v - 2 : 0;
    else if (theta->rank == 3 && qn_move_number(c, theta->dims[1], &v))
        k = v >= 0 && v < 8 ? (int32_t)v : 0;
    if (k < 0) return qn_move_type(&c->out[0], theta->dtype, -1, err);
    if (k != 2 && k != 3) return qn_error_set(err, QN_ERR_SHAPE, "%" PRId32 " spatial axes, expected 2 or 3", k);
    for (int32_t a = 1; a < 3 && theta->rank == 3; a++)
        if (qn_move_number(c, theta->dims[a], &v) && v != k + a - 1)
            return qn_error_set(err, QN_ERR_SHAPE, "theta has %" PRId64 " on axis %" PRId32 ", expected %" PRId32, v, a, k + a - 1);
    if ((st = qn_move_type(&c->out[0], theta->dtype, k + 2, err)) != QN_OK) return st;
    if (theta->rank == 3) c->out[0].dims[0] = theta->dims[0];
    for (int32_t a = 0; a < k && size; a++) {
        if (qn_move_number(c, size[2 + a], &v) && v < 0)
            return qn_error_set(err, QN_ERR_SHAPE, "size[%" PRId32 "] is %" PRId64 ", expected 0 or more", 2 + a, v);
        c->out[0].dims[1 + a] = size[2 + a];
    }
    c->out[0].dims[k + 1] = qn_dims_const(c->dims, k);
    return QN_OK;
}

static double place(int64_t i, int64_t n, bool align)
{
    if (!align) return (double)(2 * i + 1) / (double)n - 1;
    return n > 1 ? 2 * (double)i / (double)(n - 1) - 1 : 0;
}

typedef struct job {
    const qn_tensor *theta, *grid;
    int32_t k;
    bool align;
} job;

/* Places [lo, hi) of all rows. */
static void grid_range(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;
    const qn_tensor *y = j->grid;
    const int32_t k = j->k;
    const int64_t places = qn_move_span(y->dims, 1, k + 1), size = (int64_t)qn_dtype_size(y->dtype);

    (void)member;
    for (int64_t p = lo; p < hi; p++) {
        const int64_t row = p / places * k * (k + 1);
        double at[4] = { 0 };
        int64_t rest = p % places;

        for (int32_t a = k - 1; a >= 0; a--) {
            at[k - 1 - a] = place(rest % y->dims[1 + a], y->dims[1 + a], j->align);
            rest /= y->dims[1 + a];
        }
        at[k] = 1;
        for (int32_t o = 0; o < k; o++) {
            double sum = 0;
            float f;

            for (int32_t i = 0; i <= k; i++) sum += qn_move_real(j->theta, row + o * (k + 1) + i) * at[i];
            f = (float)sum;
            qn_elem_store(y->dtype, (char *)y->data + (p * k + o) * size, 1, y->dtype == QN_F64 ? (const void *)&sum : &f);
        }
    }
}

static qn_status grid_run(qn_run *r, qn_error *err)
{
    const qn_tensor *theta = &r->in[0], *size = &r->in[1];
    job j = { .theta = theta, .align = qn_node_int(r->node, "align_corners", 0) != 0 };
    int64_t dims[5], n = qn_tensor_count(size);
    qn_status st;

    j.k = n == 4 || n == 5 ? (int32_t)n - 2 : 0;
    if (j.k == 0 || theta->rank != 3 || theta->dims[1] != j.k || theta->dims[2] != j.k + 1)
        return qn_error_set(err, QN_ERR_SHAPE, "theta and a size of %" PRId64 " numbers do not go together", n);
    if (qn_move_int(size, 0) != theta->dims[0])
        return qn_error_set(err, QN_ERR_SHAPE, "size[0] is %" PRId64 ", theta has %" PRId64 " rows", qn_move_int(size, 0), theta->dims[0]);
    dims[0] = theta->dims[0];
    for (int32_t a = 0; a < j.k; a++) {
        dims[1 + a] = qn_move_int(size, 2 + a);
        if (dims[1 + a] < 0)
            return qn_error_set(err, QN_ERR_SHAPE, "size[%" PRId32 "] is %" PRId64 ", expected 0 or more", 2 + a, dims[1 + a]);
    }
    dims[j.k + 1] = j.k;
    if ((st = qn_move_output(r, 0, theta->dtype, j.k + 2, dims, err)) != QN_OK) return st;
    j.grid = &r->out[0];
    qn_elem_ranges(r->team, qn_tensor_count(j.grid) / j.k, 4096, grid_range, &j);
    return QN_OK;
}

static void grid_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    (void)c;
    if (in_axis[0] == 0) out_axis[0] = 0; /* size names the batch, and only that may follow the rows: run compares the two */
}

const qn_op qn_op_affine_grid = {
    .name = "AffineGrid",
    .domain = "",
    .since = 20,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = grid_infer,
    .rows = grid_rows,
    .run = grid_run,
};
