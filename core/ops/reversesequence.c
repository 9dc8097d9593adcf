/* core/ops/reversesequence.c - ReverseSequence: the first sequence_lens[b] steps of each batch entry in reverse order.
 * Spec   ONNX ReverseSequence 10 on: time_axis (default 0) and batch_axis (default 1) are 0 and 1 in either order. */
#include "core/ops/move.h"

#include <inttypes.h>
#include <string.h>

static qn_status axes_of(const qn_node *node, int32_t *time, int32_t *batch, qn_error *err)
{
    int64_t t = qn_node_int(node, "time_axis", 0), b = qn_node_int(node, "batch_axis", 1);

    if (!((t == 0 && b == 1) || (t == 1 && b == 0)))
        return qn_error_set(err, QN_ERR_SHAPE, "time_axis %" PRId64 ", batch_axis %" PRId64 ", expected 0 and 1 or 1 and 0", t, b);
    *time = (int32_t)t;
    *batch = (int32_t)b;
    return QN_OK;
}

static qn_status reverse_infer(qn_infer *c, qn_error *err)
{
    int32_t time, batch;
    qn_dim ignored;
    qn_status st;

    if ((st = qn_move_need(c, 2, err)) != QN_OK || (st = axes_of(c->node, &time, &batch, err)) != QN_OK) return st;
    if ((st = qn_move_need_rank(c, 0, 2, QN_MAX_RANK, err)) != QN_OK || (st = qn_move_need_rank(c, 1, 1, 1, err)) != QN_OK) return st;
    if ((st = qn_move_need_dtype(c, 1, 1u << QN_I64, err)) != QN_OK) return st;
    qn_move_like(c, 0, &c->out[0]);
    for (int32_t a = 0; a < c->in[0].rank; a++) c->out[0].dims[a] = c->in[0].dims[a];
    if (c->in[0].rank >= 2 && c->in[1].rank == 1 && !qn_move_join(c, c->in[0].dims[batch], c->in[1].dims[0], true, &ignored))
        return qn_error_set(err, QN_ERR_SHAPE, "sequence_lens does not have one length for each batch entry");
    return QN_OK;
}

static qn_status reverse_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *lens = &r->in[1];
    int32_t time, batch;
    qn_status st = axes_of(r->node, &time, &batch, err);

    (void)o;
    if (st != QN_OK) return st;
    if (x->rank < 2 || lens->rank != 1 || lens->dims[0] != x->dims[batch])
        return qn_error_set(err, QN_ERR_SHAPE, "sequence_lens does not have one length for each batch entry");
    for (int64_t i = 0; i < lens->dims[0]; i++) {
        int64_t n = qn_move_int(lens, i);

        if (n < 0 || n > x->dims[time])
            return qn_error_set(err, QN_ERR_RANGE, "sequence_lens[%" PRId64 "] is %" PRId64 ", axis %" PRId32 " has size %" PRId64, i, n,
                                time, x->dims[time]);
    }
    *rank = x->rank;
    for (int32_t a = 0; a < x->rank; a++) dims[a] = x->dims[a];
    return QN_OK;
}

static qn_status reverse_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    int32_t time, batch;
    size_t block;
    qn_status st = axes_of(r->node, &time, &batch, err);

    if (st != QN_OK || qn_tensor_count(x) == 0) return st;
    block = (size_t)qn_move_span(x->dims, 2, x->rank) * qn_dtype_size(x->dtype);
    for (int64_t i = 0; i < x->dims[0]; i++) {
        for (int64_t j = 0; j < x->dims[1]; j++) {
            int64_t t = time == 0 ? i : j, n = qn_move_int(&r->in[1], time == 0 ? j : i), from = t < n ? n - 1 - t : t;
            int64_t src = time == 0 ? from * x->dims[1] + j : i * x->dims[1] + from;

            memcpy((char *)r->out[0].data + (size_t)(i * x->dims[1] + j) * block, (const char *)x->data + (size_t)src * block, block);
        }
    }
    return QN_OK;
}

static qn_status reverse_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, reverse_dims, reverse_fill, err); }

static void reverse_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t time, batch;

    if (axes_of(c->node, &time, &batch, NULL) != QN_OK) return;
    if (in_axis[0] == batch && in_axis[1] == 0)
        out_axis[0] = batch;
    else if (qn_move_rows_only(c, in_axis, 0) && in_axis[0] >= 2)
        out_axis[0] = in_axis[0];
}

const qn_op qn_op_reverse_sequence = {
    .name = "ReverseSequence",
    .since = 10,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = reverse_infer,
    .rows = reverse_rows,
    .run = reverse_run,
};
