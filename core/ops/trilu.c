/* core/ops/trilu.c - Trilu: the upper or lower triangle of matrices, zeros elsewhere.
 * Spec   ONNX Trilu 14 on: [.., n, m]; upper keeps column >= row + k, lower keeps column <= row + k. */
#include "core/ops/move.h"

#include <inttypes.h>
#include <string.h>

static qn_status trilu_infer(qn_infer *c, qn_error *err)
{
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = qn_move_need_rank(c, 0, 2, QN_MAX_RANK, err)) != QN_OK) return st;
    if ((st = qn_move_need_dtype(c, 1, 1u << QN_I64, err)) != QN_OK || (st = qn_move_need_rank(c, 1, 0, 1, err)) != QN_OK) return st;
    qn_move_like(c, 0, &c->out[0]);
    for (int32_t a = 0; a < c->in[0].rank; a++) c->out[0].dims[a] = c->in[0].dims[a];
    return QN_OK;
}

static qn_status trilu_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    (void)o;
    if (r->in[0].rank < 2) return qn_error_set(err, QN_ERR_SHAPE, "input has rank %" PRId32 ", expected 2 or more", r->in[0].rank);
    if (qn_move_has(r, 1) && qn_tensor_count(&r->in[1]) != 1)
        return qn_error_set(err, QN_ERR_SHAPE, "k has %" PRId64 " elements, expected 1", qn_tensor_count(&r->in[1]));
    *rank = r->in[0].rank;
    for (int32_t a = 0; a < *rank; a++) dims[a] = r->in[0].dims[a];
    return QN_OK;
}

static qn_status trilu_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const size_t elem = qn_dtype_size(x->dtype);
    const bool upper = qn_node_int(r->node, "upper", 1) != 0;
    int64_t k = qn_move_has(r, 1) ? qn_move_int(&r->in[1], 0) : 0;
    int64_t rows, n = x->dims[x->rank - 2], m = x->dims[x->rank - 1];
    char *y = r->out[0].data;

    (void)err;
    if (qn_tensor_count(x) == 0) return QN_OK;
    if (y != (char *)x->data) memcpy(y, x->data, x->bytes);
    rows = qn_tensor_count(x) / m;
    k = k < -n ? -n : k > m ? m : k; /* further out changes nothing, and cannot overflow below */
    for (int64_t row = 0; row < rows; row++, y += (size_t)m * elem) {
        int64_t cut = row % n + k + (upper ? 0 : 1); /* upper: zeros before it; lower: zeros from it on */

        cut = cut < 0 ? 0 : cut > m ? m : cut;
        if (upper)
            memset(y, 0, (size_t)cut * elem);
        else
            memset(y + (size_t)cut * elem, 0, (size_t)(m - cut) * elem);
    }
    return QN_OK;
}

static qn_status trilu_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, trilu_dims, trilu_fill, err); }

static void trilu_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    if (qn_move_rows_only(c, in_axis, 0) && in_axis[0] < c->in[0].rank - 2) out_axis[0] = in_axis[0];
}

const qn_op qn_op_trilu = {
    .name = "Trilu",
    .since = 14,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = trilu_infer,
    .rows = trilu_rows,
    .run = trilu_run,
};
