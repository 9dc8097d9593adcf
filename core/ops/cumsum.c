/* core/ops/cumsum.c - CumSum: sums of everything up to each element, along one axis.
 * Spec   ONNX CumSum 11 on; the axis is a scalar input; exclusive leaves the element itself out, reverse starts at the end.
 * Value  one chain of additions in the order of the axis; f16 and bf16 are summed in f32 and rounded once; integers wrap.
 * Grad   dx = cumsum(dy) with `reverse` turned over and the same `exclusive`. */
#include "core/ops/axes.h"
#include "core/ops/elem.h"

static bool axis_of_run(const qn_run *r, int32_t *axis, qn_status *st, qn_error *err)
{
    qn_move_list l;

    *st = qn_move_list_run(r, NULL, 1, &l, err);
    if (*st == QN_OK && l.n != 1) *st = qn_error_set(err, QN_ERR_SHAPE, "axis has %d elements, expected a scalar", (int)l.n);
    if (*st == QN_OK) *st = qn_move_axis(l.v[0], r->in[0].rank, axis, err);
    return *st == QN_OK;
}

static qn_status cumsum_infer(qn_infer *c, qn_error *err)
{
    qn_move_list l;
    int32_t axis;
    qn_status st = qn_move_need(c, 2, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_NUMERIC, err);
    if (st == QN_OK) st = qn_move_list_infer(c, NULL, 1, &l, err);
    if (st == QN_OK && l.how == QN_MOVE_NUMBERS && l.n == 1 && c->in[0].rank >= 0) st = qn_move_axis(l.v[0], c->in[0].rank, &axis, err);
    if (st == QN_OK) qn_elem_like(c, 0, 0, c->in[0].dtype);
    return st;
}

static void cumsum_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    qn_infer own = *c;
    qn_move_list l;
    int32_t axis = 0;

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0) return;
    if (qn_move_list_infer(&own, NULL, 1, &l, NULL) != QN_OK || l.how != QN_MOVE_NUMBERS || l.n != 1) return;
    if (qn_move_axis(l.v[0], c->in[0].rank, &axis, NULL) == QN_OK && axis != in_axis[0]) out_axis[0] = in_axis[0];
}

typedef struct job {
    qn_axes axes;
    qn_dtype dtype;
    bool exclusive, reverse;
    int64_t step; /* elements from one to the next along the axis */
    const char *x;
    char *y;
} job;

#define CHAIN(T)                                                                                                                           \
    do {                                                                                                                                   \
        T sum = 0;                                                                                                                         \
                                                                                                                                           \
        for (int64_t i = 0; i < j->axes.k; i++) {                                                                                          \
            const int64_t at = base + (j->reverse ? j->axes.k - 1 - i : i) * j->step;                                                      \
            const T v = *(const T *)qn_elem_load(j->dtype, j->x + at * size, 1, 1, &buf);                                                  \
            const T next = sum + v, out = j->exclusive ? sum : next;                                                                       \
                                                                                                                                           \
            qn_elem_store(j->dtype, j->y + at * size, 1, &out);                                                                            \
            sum = next;                                                                                                                    \
        }                                                                                                                                  \
    } while (0)

static void groups(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;
    const int64_t size = (int64_t)qn_dtype_size(j->dtype);
    qn_elem_buf buf;

    (void)member;
    for (int64_t g = lo; g < hi; g++) {
        const int64_t base = qn_axes_group(&j->axes, g);

        switch (qn_elem_class_of(j->dtype)) {
        case QN_ELEM_F32: CHAIN(float); break;
        case QN_ELEM_F64: CHAIN(double); break;
        default: CHAIN(uint64_t); break;
        }
    }
}

static qn_status cumsum_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    job j = { .dtype = x->dtype,
              .exclusive = qn_node_int(r->node, "exclusive", 0) != 0,
              .reverse = qn_node_int(r->node, "reverse", 0) != 0,
              .step = 1,
              .x = x->data };
    int32_t axis = 0;
    qn_status st;

    if (!axis_of_run(r, &axis, &st, err)) return st;
    if ((st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err)) != QN_OK) return st;
    qn_axes_init(&j.axes, x->rank, x->dims, 1u << axis);
    for (int32_t i = axis + 1; i < x->rank; i++) j.step *= x->dims[i];
    j.y = r->out[0].data;
    qn_elem_ranges(r->team, j.axes.n_kept, 32768 / (j.axes.k + 1), groups, &j);
    return QN_OK;
}

const qn_op qn_op_cumsum = {
    .name = "CumSum",
    .domain = "",
    .since = 11,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_INPLACE,
    .infer = cumsum_infer,
    .rows = cumsum_rows,
    .run = cumsum_run,
};
