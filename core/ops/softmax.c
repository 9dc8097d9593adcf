/* core/ops/softmax.c - Softmax, LogSoftmax, Hardmax along one axis, or over a flattened tail.
 * Spec   ONNX, opset 13 on: one axis, default -1.  Before 13: `axis` (default 1) cuts the shape in two, [before, from axis on], and the
 *        function works on the rows of that matrix; both are done here.
 * Value  y_i = exp(x_i - m) / sum_j exp(x_j - m),  m = max_j x_j, so exp never sees a positive number; the log form subtracts log(sum).
 *        Hardmax: 1 at the first of the largest, 0 elsewhere.  f16 and bf16 are computed in f32.
 * Grad   Softmax: dx = y (dy - sum(y dy)).  LogSoftmax: dx = dy - exp(y) sum(dy).  Both need y and not x, so y may overwrite x. */
#include "core/kernels/softmax/softmax.h"
#include "core/graph/grad.h"
#include "core/ops/axes.h"
#include "core/ops/elem.h"

#include "core/base/checked.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef enum form { FORM_SOFT, FORM_LOG, FORM_HARD } form;

/* First reduced axis and one past the last. */
static qn_status span(const qn_node *node, int32_t rank, int32_t *from, int32_t *to, qn_error *err)
{
    const bool flat = node->opset < 13;
    const int64_t axis = qn_node_int(node, "axis", flat ? 1 : -1);

    if (flat && axis == rank) { /* the matrix then has one column */
        *from = *to = rank;
        return QN_OK;
    }
    if (rank == 0 && (axis == 0 || axis == -1)) {
        *from = *to = 0;
        return QN_OK;
    }
    if (axis < -(int64_t)rank || axis >= rank) return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId64 ", rank %d", axis, (int)rank);
    *from = (int32_t)(axis < 0 ? axis + rank : axis);
    *to = flat ? rank : *from + 1;
    return QN_OK;
}

static qn_status softmax_infer(qn_infer *c, qn_error *err)
{
    int32_t from, to;
    qn_status st = qn_elem_infer(c, 1, QN_SET_FLOAT, QN_DTYPE_NONE, err);

    return st == QN_OK && c->in[0].rank >= 0 ? span(c->node, c->in[0].rank, &from, &to, err) : st;
}

static void softmax_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t from, to;

    if (c->in[0].rank < 0 || span(c->node, c->in[0].rank, &from, &to, NULL) != QN_OK) return;
    if (in_axis[0] < from || in_axis[0] >= to) out_axis[0] = in_axis[0];
}

/* -- one row -------------------------------------------------------------------------------------------------------------- */

static void hard_f32(const float *x, float *y, int64_t n)
{
    int64_t best = 0;

    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    for (int64_t i = 0; i < n; i++) y[i] = i == best ? 1.0f : 0.0f;
}

static void hard_f64(const double *x, double *y, int64_t n)
{
    int64_t best = 0;

    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    for (int64_t i = 0; i < n; i++) y[i] = i == best ? 1.0 : 0.0;
}

static void soft_f64(const double *x, double *y, int64_t n, bool log_form)
{
    double m = -(double)INFINITY, sum = 0;

    for (int64_t i = 0; i < n; i++) m = m != m || x[i] > m || x[i] != x[i] ? (m != m ? m : x[i]) : m;
    for (int64_t i = 0; i < n; i++) sum += exp(x[i] - m);
    for (int64_t i = 0; i < n; i++) y[i] = log_form ? x[i] - m - log(sum) : exp(x[i] - m) / sum;
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

#define COLS 16 /* rows that are gathered together when they do not lie in one piece */

typedef struct job {
    const qn_softmax_kernel *kernel;
    form form;
    qn_dtype dtype;
    int64_t n, inner; /* elements of a row, and their stride */
    int64_t n_rows;
    const char *x;
    char *y;
    char *work; /* row_bytes for each member: COLS rows of the class; NULL if not needed */
    size_t row_bytes;
} job;

static void one_row(const job *j, const void *x, void *y)
{
    if (j->dtype == QN_F64) {
        if (j->form == FORM_HARD)
            hard_f64(x, y, j->n);
        else
            soft_f64(x, y, j->n, j->form == FORM_LOG);
    } else if (j->form == FORM_HARD) {
        hard_f32(x, y, j->n);
    } else {
        j->kernel->run(x, y, 1, j->n, j->form == FORM_LOG);
    }
}

/* Rows in one piece, f32 or f64. */
static void dense_rows(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;
    const int64_t bytes = j->n * (int64_t)qn_dtype_size(j->dtype);

    (void)member;
    for (int64_t r = lo; r < hi; r++) one_row(j, j->x + r * bytes, j->y + r * bytes);
}

/* Element (row, i) of the block that starts at row `first` of rows side by side. */
static int64_t place(const job *j, int64_t row, int64_t i) { return (row / j->inner * j->n + i) * j->inner + row % j->inner; }

/* Rows with a stride, or to be converted: into work memory, computed there, and back. */
static void gathered_rows(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;
    const int64_t size = (int64_t)qn_dtype_size(j->dtype), class_size = j->dtype == QN_F64 ? 8 : 4;
    char *work = j->work + (size_t)member * j->row_bytes;
    qn_elem_buf buf;

    for (int64_t first = lo; first < hi; first += COLS) {
        const int64_t m = hi - first < COLS ? hi - first : COLS;

        for (int64_t i = 0; i < j->n; i++)
            for (int64_t c = 0; c < m; c++)
                memcpy(work + (c * j->n + i) * class_size, qn_elem_load(j->dtype, j->x + place(j, first + c, i) * size, 1, 1, &buf),
                       (size_t)class_size);
        for (int64_t c = 0; c < m; c++) one_row(j, work + c * j->n * class_size, work + c * j->n * class_size);
        for (int64_t i = 0; i < j->n; i++)
            for (int64_t c = 0; c < m; c++)
                qn_elem_store(j->dtype, j->y + place(j, first + c, i) * size, 1, work + (c * j->n + i) * class_size);
    }
}

static bool is_dense(qn_dtype dtype, int64_t inner) { return inner == 1 && (dtype == QN_F32 || dtype == QN_F64); }

/* COLS rows of n for one member. */
static bool work_bytes(int64_t n, qn_dtype dtype, size_t *row)
{
    return qn_i64_to_size(n, row) && qn_size_mul(*row, COLS * (dtype == QN_F64 ? 8 : 4), row) && qn_size_align(*row, 64, row);
}

static qn_status softmax_lower(qn_lower *lo, qn_error *err)
{
    const qn_tensor *x = &lo->in[0];
    int32_t from = 0, to = 0;
    size_t row, all;
    qn_status st;

    if (x->dtype == QN_F32) lo->kernel = qn_softmax_pick(lo->cpu)->name;
    if (x->rank < 0) return QN_OK;
    if ((st = span(lo->node, x->rank, &from, &to, err)) != QN_OK) return st;
    if (is_dense(x->dtype, qn_move_span(x->dims, to, x->rank))) return QN_OK;
    if (!work_bytes(qn_move_span(x->dims, from, to), x->dtype, &row) || !qn_size_mul(row, (size_t)lo->team_size, &all))
        return qn_error_set(err, QN_ERR_LIMIT, "work memory does not fit");
    return qn_move_lower_work(lo, all, err);
}

static qn_status run(qn_run *r, form which, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    job j = { .kernel = qn_softmax_pick(r->cpu), .form = which, .dtype = x->dtype, .x = x->data };
    qn_move_work w;
    int32_t from = 0, to = 0;
    size_t all;
    qn_status st = span(r->node, x->rank, &from, &to, err);

    if (st == QN_OK) st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err);
    if (st != QN_OK) return st;
    j.y = r->out[0].data;
    j.n = qn_move_span(x->dims, from, to);
    j.inner = qn_move_span(x->dims, to, x->rank);
    j.n_rows = qn_move_span(x->dims, 0, from) * j.inner;
    if (j.n_rows == 0 || j.n == 0) return QN_OK;
    if (is_dense(j.dtype, j.inner)) {
        qn_elem_ranges(r->team, j.n_rows, 8192 / j.n, dense_rows, &j);
        return QN_OK;
    }
    if (!work_bytes(j.n, j.dtype, &j.row_bytes) || !qn_size_mul(j.row_bytes, (size_t)qn_team_size(r->team), &all))
        return qn_error_set(err, QN_ERR_LIMIT, "work memory does not fit");
    if ((st = qn_move_work_begin(r, all, &w, err)) != QN_OK) return st;
    j.work = w.mem;
    qn_elem_ranges(r->team, j.n_rows, COLS * (1 + 512 / j.n), gathered_rows, &j);
    qn_move_work_end(&w);
    return QN_OK;
}

static qn_value_id along_axis(qn_builder *b, qn_value_id v)
{
    const int64_t axis = qn_node_int(qn_grad_node(b), "axis", -1);

    return qn_grad_op2(b, "ReduceSum", v, qn_grad_ints(b, &axis, 1));
}

static void softmax_grad(qn_builder *b)
{
    const qn_value_id y = qn_grad_out(b, 0), dy = qn_grad_of(b, 0);

    qn_grad_give(b, 0, qn_grad_op2(b, "Mul", y, qn_grad_op2(b, "Sub", dy, along_axis(b, qn_grad_op2(b, "Mul", y, dy)))));
}

static void log_softmax_grad(qn_builder *b)
{
    const qn_value_id dy = qn_grad_of(b, 0), e = qn_grad_op1(b, "Exp", qn_grad_out(b, 0));

    qn_grad_give(b, 0, qn_grad_op2(b, "Sub", dy, qn_grad_op2(b, "Mul", e, along_axis(b, dy))));
}

#define SOFTMAX(id, NAME, FORM, GRAD)                                                                                                      \
    static qn_status id##_run(qn_run *r, qn_error *err) { return run(r, FORM, err); }                                                      \
    const qn_op qn_op_##id = {                                                                                                             \
        .name = NAME,                                                                                                                      \
        .domain = "",                                                                                                                      \
        .since = 1,                                                                                                                        \
        .min_in = 1,                                                                                                                       \
        .max_in = 1,                                                                                                                       \
        .min_out = 1,                                                                                                                      \
        .max_out = 1,                                                                                                                      \
        .flags = QN_OP_INPLACE,                                                                                                            \
        .infer = softmax_infer,                                                                                                            \
        .rows = softmax_rows,                                                                                                              \
        .lower = softmax_lower,                                                                                                            \
        .run = id##_run,                                                                                                                   \
        .grad = GRAD,                                                                                                                      \
        .kernels = "softmax",                                                                                                              \
    };

SOFTMAX(softmax, "Softmax", FORM_SOFT, softmax_grad)
SOFTMAX(log_softmax, "LogSoftmax", FORM_LOG, log_softmax_grad)
SOFTMAX(hardmax, "Hardmax", FORM_HARD, NULL)
