/* core/ops/dropout.c - Dropout: each element zero with probability `ratio`, the others grown by 1 / (1 - ratio).
 * Spec   ONNX Dropout 1 on; from 12 ratio and training_mode are inputs and seed is an attribute. Nothing is dropped unless training_mode
 *        is true; before 12 never: the file is served, whatever is_test says. Output 1 is the mask (before 10 of x's dtype, then bool).
 * Value  element i is dropped if u_i < ratio, u_i element i of the node's stream (draw.h); with a seed the same in every run.
 *        A dropped element is 0, also where x is NaN or infinite.
 * Grad   dx = dy mask / (1 - ratio). */
#include "core/ops/draw.h"
#include "core/ops/elem.h"

#include <inttypes.h>
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

typedef struct job {
    qn_random stream;
    double ratio, scale;
    qn_dtype dtype;
    const char *x;
    char *y;
    uint8_t *mask; /* may be NULL */
} job;

static void drop_range(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;
    const int64_t size = (int64_t)qn_dtype_size(j->dtype);

    (void)member;
    for (int64_t i = lo; i < hi; i++) {
        const bool keep = qn_random_uniform(&j->stream, (uint64_t)i, 53) >= j->ratio;
        qn_elem_buf in;
        const void *x = qn_elem_load(j->dtype, j->x + i * size, 1, 1, &in);
        const double d = keep && j->dtype == QN_F64 ? *(const double *)x * j->scale : 0;
        const float f = keep && j->dtype != QN_F64 ? *(const float *)x * (float)j->scale : 0;

        qn_elem_store(j->dtype, j->y + i * size, 1, j->dtype == QN_F64 ? (const void *)&d : (const void *)&f);
        if (j->mask) j->mask[i] = keep;
    }
}

/* ratio in [0, 1), and whether to drop at all. */
static qn_status read_mode(const qn_run *r, double *ratio, bool *train, qn_error *err)
{
    *ratio = 0.5;
    *train = false;
    if (r->node->opset < 12) return QN_OK;
    for (int32_t i = 1; i < 3; i++)
        if (qn_move_has(r, i) && qn_tensor_count(&r->in[i]) != 1)
            return qn_error_set(err, QN_ERR_SHAPE, "%s has %" PRId64 " elements, expected 1", i == 1 ? "ratio" : "training_mode",
                                qn_tensor_count(&r->in[i]));
    if (qn_move_has(r, 1)) *ratio = qn_move_real(&r->in[1], 0);
    if (qn_move_has(r, 2)) *train = qn_move_int(&r->in[2], 0) != 0;
    if (*train && !(*ratio >= 0 && *ratio < 1)) return qn_error_set(err, QN_ERR_RANGE, "ratio is %g, expected 0 <= ratio < 1", *ratio);
    *train = *train && *ratio > 0;
    return QN_OK;
}

static qn_status dropout_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    job j = { .dtype = x->dtype, .x = x->data };
    bool train;
    qn_status st = read_mode(r, &j.ratio, &train, err);

    if (st != QN_OK) return st;
    if ((st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err)) != QN_OK) return st;
    if ((st = qn_move_output(r, 1, r->node->opset < 10 ? x->dtype : QN_BOOL, x->rank, x->dims, err)) != QN_OK) return st;
    if (!train) {
        if (qn_move_wants(r, 1)) fill_ones(&r->out[1]);
        return qn_move_same_bytes(r, err);
    }
    j.scale = 1 / (1 - j.ratio);
    j.stream = qn_draw_stream(r);
    j.y = r->out[0].data;
    if (qn_move_wants(r, 1)) j.mask = r->out[1].data;
    qn_elem_ranges(r->team, qn_tensor_count(x), 8192, drop_range, &j);
    return QN_OK;
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
/* No view: training_mode is looked at when it runs. No rows: where an element lies decides whether it is dropped. */
const qn_op qn_op_dropout = {
    .name = "Dropout",
    .domain = "",
    .since = 12,
    .min_in = 1,
    .max_in = 3,
    .min_out = 1,
    .max_out = 2,
    .flags = QN_OP_INPLACE | QN_OP_RANDOM,
    .infer = dropout_infer,
    .run = dropout_run,
};
