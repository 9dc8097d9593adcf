/* core/ops/arg.c - ArgMax, ArgMin: where along one axis the largest (smallest) element is, as i64.
 * Spec   ONNX 1 on; axis default 0, keepdims default 1; select_last_index from 12.
 * Value  of equal elements the first, or the last if asked. A NaN counts as the largest (smallest), as it does in Max and Min.
 * Grad   none. */
#include "core/ops/axes.h"
#include "core/ops/elem.h"

#include <string.h>

static qn_status arg_infer(qn_infer *c, qn_error *err)
{
    const bool keep = qn_node_int(c->node, "keepdims", 1) != 0;
    const qn_type *x = &c->in[0];
    qn_type *y = &c->out[0];
    int32_t axis = 0;
    qn_status st = qn_move_need(c, 1, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_NUMERIC, err);
    if (st != QN_OK) return st;
    qn_elem_like(c, 0, 0, QN_I64);
    if (x->rank < 0) return QN_OK;
    if ((st = qn_move_axis(qn_node_int(c->node, "axis", 0), x->rank, &axis, err)) != QN_OK) return st;
    y->rank = 0;
    for (int32_t i = 0; i < x->rank; i++) {
        if (i != axis)
            y->dims[y->rank++] = x->dims[i];
        else if (keep)
            y->dims[y->rank++] = qn_dims_const(c->dims, 1);
    }
    return QN_OK;
}

static void arg_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis = 0;

    if (c->in[0].rank < 0 || qn_move_axis(qn_node_int(c->node, "axis", 0), c->in[0].rank, &axis, NULL) != QN_OK || axis == in_axis[0])
        return;
    out_axis[0] = in_axis[0] - (axis < in_axis[0] && qn_node_int(c->node, "keepdims", 1) == 0);
}

typedef struct job {
    qn_axes axes;
    qn_dtype dtype;
    bool smallest, last;
    const char *x;
    int64_t *y;
} job;

/* Is v better than the best so far? */
#define BETTER(T)                                                                                                                          \
    do {                                                                                                                                   \
        const T best = *(const T *)have, v = *(const T *)next;                                                                             \
                                                                                                                                           \
        if (best != best || v != v) return best == best || (last && v != v);                                                               \
        if (best == v) return last;                                                                                                        \
        return smallest ? v < best : v > best;                                                                                             \
    } while (0)

static bool better(qn_elem_class cls, const void *have, const void *next, bool smallest, bool last)
{
    switch (cls) {
    case QN_ELEM_F32: BETTER(float);
    case QN_ELEM_F64: BETTER(double);
    case QN_ELEM_I64: BETTER(int64_t);
    default: BETTER(uint64_t);
    }
}

static void groups(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;
    const int64_t size = (int64_t)qn_dtype_size(j->dtype);
    const qn_elem_class cls = qn_elem_class_of(j->dtype);
    const size_t class_size = cls == QN_ELEM_F32 ? 4 : 8;

    (void)member;
    for (int64_t g = lo; g < hi; g++) {
        qn_axes_reader r;
        qn_elem_buf buf;
        uint64_t best = 0;
        int64_t at = 0, seen = 0, offset, step, n;

        qn_axes_read(&j->axes, g, &r);
        while (qn_axes_next(&r, QN_ELEM_CHUNK, &offset, &step, &n)) {
            const char *p = qn_elem_load(j->dtype, j->x + offset * size, step, n, &buf);

            for (int64_t i = 0; i < n; i++, seen++, p += class_size) {
                if (seen && !better(cls, &best, p, j->smallest, j->last)) continue;
                memcpy(&best, p, class_size);
                at = seen;
            }
        }
        j->y[g] = at;
    }
}

static qn_status arg_run(qn_run *r, bool smallest, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const bool keep = qn_node_int(r->node, "keepdims", 1) != 0;
    job j = { .dtype = x->dtype, .smallest = smallest, .last = qn_node_int(r->node, "select_last_index", 0) != 0, .x = x->data };
    int64_t dims[QN_MAX_RANK] = { 0 };
    int32_t axis = 0, rank = 0;
    qn_status st = qn_move_axis(qn_node_int(r->node, "axis", 0), x->rank, &axis, err);

    if (st != QN_OK) return st;
    for (int32_t i = 0; i < x->rank; i++) {
        if (i != axis)
            dims[rank++] = x->dims[i];
        else if (keep)
            dims[rank++] = 1;
    }
    if ((st = qn_move_output(r, 0, QN_I64, rank, dims, err)) != QN_OK) return st;
    qn_axes_init(&j.axes, x->rank, x->dims, 1u << axis);
    if (j.axes.n_kept > 0 && j.axes.k == 0) return qn_error_set(err, QN_ERR_SHAPE, "axis %d has size 0: nothing to choose from", (int)axis);
    j.y = r->out[0].data;
    qn_elem_ranges(r->team, j.axes.n_kept, 32768 / (j.axes.k + 1), groups, &j);
    return QN_OK;
}

static qn_status arg_max_run(qn_run *r, qn_error *err) { return arg_run(r, false, err); }
static qn_status arg_min_run(qn_run *r, qn_error *err) { return arg_run(r, true, err); }

const qn_op qn_op_arg_max = {
    .name = "ArgMax",
    .domain = "",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = arg_infer,
    .rows = arg_rows,
    .run = arg_max_run,
};
const qn_op qn_op_arg_min = {
    .name = "ArgMin",
    .domain = "",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = arg_infer,
    .rows = arg_rows,
    .run = arg_min_run,
};
