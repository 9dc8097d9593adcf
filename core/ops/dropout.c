/* core/ops/dropout.c - Dropout as inference sees it: nothing is dropped.
 * Spec   ONNX Dropout 1 on; from 12 ratio and training_mode are inputs. Output 1 is the mask: all true (before 10: all ones, of x's
 *        dtype). training_mode = true with a ratio above 0 is the training engine's and is refused here.
 * Grad   dx = dy mask / (1 - ratio). */
#include "core/ops/elem.h"

#include <string.h>

static qn_status dropout_infer(qn_infer *c, qn_error *err)
{
    qn_status st = qn_move_need(c, 1, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_FLOAT, err);
    if (st != QN_OK) return st;
    qn_elem_like(c, 0, 0, c->in[0].dtype);
    if (c->node->n_out > 1) qn_elem_like(c, 0, 1, c->node->opset < 10 ? c->in[0].dtype : QN_BOOL);
    return QN_OK;
}

static void dropout_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    for (int32_t i = 0; i < c->node->n_out; i++) out_axis[i] = in_axis[0];
}

static void fill_ones(const qn_tensor *t)
{
    const int64_t n = qn_tensor_count(t), size = (int64_t)qn_dtype_size(t->dtype);
    const double one64 = 1;
    const float one32 = 1;

    if (t->dtype == QN_BOOL) {
        if (n > 0) memset(t->data, 1, (size_t)n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        qn_elem_store(t->dtype, (char *)t->data + i * size, 1, t->dtype == QN_F64 ? (const void *)&one64 : (const void *)&one32);
}

static qn_status dropout_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    double ratio = 0.5;
    bool train = false;
    qn_status st;

    if (r->node->opset >= 12) {
        if (qn_move_has(r, 1) && qn_tensor_count(&r->in[1]) == 1) ratio = qn_move_real(&r->in[1], 0);
        train = qn_move_has(r, 2) && qn_tensor_count(&r->in[2]) == 1 && qn_move_int(&r->in[2], 0) != 0;
    }
    if (train && ratio != 0)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "training_mode is true with ratio %g: a served model drops nothing", ratio);
    if ((st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err)) != QN_OK) return st;
    if ((st = qn_move_output(r, 1, r->node->opset < 10 ? x->dtype : QN_BOOL, x->rank, x->dims, err)) != QN_OK) return st;
    if (qn_move_wants(r, 1)) fill_ones(&r->out[1]);
    return qn_move_same_bytes(r, err);
}

const qn_op qn_op_dropout_1 = {
    .name = "Dropout",
    .domain = "",
    .since = 1,
    .until = 11,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 2,
    .flags = QN_OP_INPLACE | QN_OP_VIEW,
    .infer = dropout_infer,
    .rows = dropout_rows,
    .run = dropout_run,
};
const qn_op qn_op_dropout = {
    /* no view: training_mode is looked at when it runs */
    .name = "Dropout",      .domain = "",           .since = 12,          .min_in = 1,        .max_in = 3, .min_out = 1, .max_out = 2,
    .flags = QN_OP_INPLACE, .infer = dropout_infer, .rows = dropout_rows, .run = dropout_run,
};
