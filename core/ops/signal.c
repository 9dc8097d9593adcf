/* core/ops/signal.c - DFT and STFT: spectra along one axis, or of windows that slide over a signal.
 * Spec   ONNX DFT 17 (attribute axis, default 1), 20 on (input axis, default -2); STFT 17 on. The last axis has size 1 (real) or 2 (real,
 *        imaginary). onesided: the first n / 2 + 1 bins of a real signal; with inverse, the real signal of such bins (the imaginary parts
 *        of bin 0 and, for even n, bin n / 2 are not read).
 * Value  core/kernels/fft in double whatever the dtype, rounded once; the inverse is divided by n. A signal shorter than dft_length is
 *        followed by zeros, a longer one is cut. STFT: signal as [batch, length] too, as PyTorch exports it; frames are those that fit,
 *        1 + (length - frame_length) / frame_step; without a frame_length it is the window's, without a window either the signal's.
 * Grad   DFT: that of a linear map, the transform with the other sign. */
#include "core/base/checked.h"
#include "core/graph/cost.h"
#include "core/kernels/fft/fft.h"
#include "core/ops/elem.h"

#include <inttypes.h>
#include <string.h>

/* -- lines ---------------------------------------------------------------------------------------------------------------- */

/* Transforms of one length on lines of a tensor. */
typedef struct lines {
    qn_fft fft;
    bool inverse, half_in, half_out; /* half_in: bins 0 .. n/2 stand for all; half_out: only those are stored */
    int64_t n_in, n_out;             /* elements of a line that are read and written */
    int32_t parts_in, parts_out;     /* 1 or 2 */
    int64_t inner;                   /* elements between two of a line; 1 for STFT */
    int64_t in_outer;                /* elements between two outer lines; for STFT between two signals */
    int64_t frames, frame_step;      /* STFT: frames of a signal; else 1 and 0 */
    const qn_tensor *window;         /* or NULL */
    const qn_tensor *x, *y;
    double *work;        /* [members][line and work of the transform] */
    size_t work_doubles; /* of one member */
} lines;

static void store(const qn_tensor *y, int64_t i, double v)
{
    const float f = (float)v;

    qn_elem_store(y->dtype, (char *)y->data + i * (int64_t)qn_dtype_size(y->dtype), 1, y->dtype == QN_F64 ? (const void *)&v : &f);
}

/* Line `at` of x into z [n], complex. */
static void load_line(const lines *l, int64_t at, double *z)
{
    const int64_t n = l->fft.n, outer = at / l->inner / l->frames, frame = at / l->inner % l->frames,
                  base = outer * l->in_outer + frame * l->frame_step + at % l->inner;

    memset(z, 0, (size_t)(2 * n) * sizeof *z);
    for (int64_t k = 0; k < l->n_in; k++) {
        const int64_t i = (base + k * l->inner) * l->parts_in;
        const double w = l->window ? qn_move_real(l->window, k) : 1;

        z[2 * k] = qn_move_real(l->x, i) * w;
        if (l->parts_in == 2) z[2 * k + 1] = qn_move_real(l->x, i + 1) * w;
    }
    if (!l->half_in) return;
    z[1] = 0;
    if (n % 2 == 0) z[n + 1] = 0;
    for (int64_t k = 1; k < n - k; k++) {
        z[2 * (n - k)] = z[2 * k];
        z[2 * (n - k) + 1] = -z[2 * k + 1];
    }
}

static void lines_range(void *ctx, int64_t lo, int64_t hi, int member)
{
    const lines *l = ctx;
    double *z = l->work + (size_t)member * l->work_doubles, *work = z + 2 * l->fft.n;
    const double scale = l->inverse ? 1 / (double)l->fft.n : 1;

    for (int64_t at = lo; at < hi; at++) {
        const int64_t base = at / l->inner * l->n_out * l->inner + at % l->inner;

        load_line(l, at, z);
        qn_fft_run(&l->fft, l->inverse, z, work);
        for (int64_t k = 0; k < l->n_out; k++)
            for (int32_t part = 0; part < l->parts_out; part++)
                store(l->y, (base + k * l->inner) * l->parts_out + part, z[2 * k + part] * scale);
    }
}

/* Table and work of transforms of length n by `members` threads. */
static bool lines_bytes(int64_t n, int members, size_t *per_member, size_t *bytes)
{
    size_t doubles;

    *per_member = (size_t)(2 * n) + qn_fft_work_doubles(n);
    return qn_size_mul(*per_member, (size_t)members, &doubles) && qn_size_add(doubles, qn_fft_table_doubles(n), &doubles) &&
           qn_size_mul(doubles, sizeof(double), bytes);
}

static qn_status check_length(int64_t n, qn_error *err)
{
    if (n >= 1 && n <= QN_FFT_MAX) return QN_OK;
    return qn_error_set(err, n > QN_FFT_MAX ? QN_ERR_LIMIT : QN_ERR_SHAPE, "a transform of length %" PRId64 ", expected 1..%" PRId64, n,
                        QN_FFT_MAX);
}

/* Transform `count` lines of x to output 0, which is in place. */
static qn_status lines_run(qn_run *r, lines *l, int64_t n, int64_t count, qn_error *err)
{
    qn_move_work work;
    size_t bytes;
    qn_status st;

    if (count == 0) return QN_OK;
    if (!lines_bytes(n, qn_team_size(r->team), &l->work_doubles, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "a length of %" PRId64, n);
    if ((st = qn_move_work_begin(r, bytes, &work, err)) != QN_OK) return st;
    qn_fft_init(&l->fft, n, work.mem);
    l->work = (double *)work.mem + qn_fft_table_doubles(n);
    l->x = &r->in[0];
    l->y = &r->out[0];
    qn_elem_ranges(r->team, count, 1 + 16384 / n, lines_range, l);
    qn_move_work_end(&work);
    return QN_OK;
}

/* The only element of integer input i. */
static qn_status scalar_at(const qn_run *r, int32_t i, const char *what, int64_t *v, qn_error *err)
{
    if (qn_tensor_count(&r->in[i]) != 1)
        return qn_error_set(err, QN_ERR_SHAPE, "%s has %" PRId64 " elements, expected 1", what, qn_tensor_count(&r->in[i]));
    *v = qn_move_int(&r->in[i], 0);
    return QN_OK;
}

/* Integer input i as a dim where it has one known element. */
static qn_dim scalar_dim(qn_infer *c, int32_t i)
{
    int32_t n;
    const qn_dim *e = qn_infer_has(c, i) ? qn_infer_ints(c, i, &n) : NULL;

    return e && n == 1 ? e[0] : QN_DIM_UNKNOWN;
}

/* -- DFT ------------------------------------------------------------------------------------------------------------------ */

typedef struct dft {
    bool inverse, onesided;
    int32_t axis;
} dft;

static qn_status dft_axis(int64_t axis, int32_t rank, int32_t *out, qn_error *err)
{
    if (rank < 2) return qn_error_set(err, QN_ERR_SHAPE, "input has rank %" PRId32 ", expected [..., signal, 1 or 2]", rank);
    if (axis < -rank || axis == -1 || axis > rank - 2)
        return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId64 ", expected %" PRId32 "..-2 or 0..%" PRId32, axis, -rank, rank - 2);
    *out = (int32_t)(axis < 0 ? axis + rank : axis);
    return QN_OK;
}

static qn_status dft_parts(const dft *d, int64_t parts, qn_error *err)
{
    if (parts != 1 && parts != 2) return qn_error_set(err, QN_ERR_SHAPE, "the last axis has size %" PRId64 ", expected 1 or 2", parts);
    if (d->onesided && parts != (d->inverse ? 2 : 1))
        return qn_error_set(err, QN_ERR_SHAPE, "onesided %s needs a %s input", d->inverse ? "inverse" : "transform",
                            d->inverse ? "complex" : "real");
    return QN_OK;
}

static qn_dim half_of(qn_infer *c, qn_dim n)
{
    return qn_dims_add(c->dims, qn_dims_floordiv(c->dims, n, qn_dims_const(c->dims, 2)), qn_dims_const(c->dims, 1));
}

static qn_status dft_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    dft d = { .inverse = qn_node_int(c->node, "inverse", 0) != 0, .onesided = qn_node_int(c->node, "onesided", 0) != 0 };
    const bool input = c->node->opset >= 20 && qn_infer_has(c, 2);
    int64_t axis = qn_node_int(c->node, "axis", 1), v;
    int32_t count = 1;
    qn_dim n;
    qn_status st = qn_move_need(c, 1, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_FLOAT, err);
    for (int32_t i = 1; i < 3 && st == QN_OK; i++) st = qn_move_need_dtype(c, i, QN_MOVE_INDEX, err);
    if (st == QN_OK) st = qn_move_type(&c->out[0], x->dtype, x->rank, err);
    if (st != QN_OK || x->rank < 0) return st;
    if (x->rank >= 2 && qn_move_number(c, x->dims[x->rank - 1], &v) && (st = dft_parts(&d, v, err)) != QN_OK) return st;
    c->out[0].dims[x->rank > 0 ? x->rank - 1 : 0] = qn_dims_const(c->dims, d.inverse && d.onesided ? 1 : 2);
    if (c->node->opset >= 20) axis = -2;
    if (input && !qn_infer_numbers(c, 2, &axis, 1, &count)) return QN_OK;
    if (count != 1) return qn_error_set(err, QN_ERR_SHAPE, "axis has %" PRId32 " elements, expected 1", count);
    if ((st = dft_axis(axis, x->rank, &d.axis, err)) != QN_OK) return st;
    for (int32_t i = 0; i < x->rank - 1; i++) c->out[0].dims[i] = x->dims[i];
    n = qn_infer_has(c, 1) ? scalar_dim(c, 1) : x->dims[d.axis];
    if (!qn_infer_has(c, 1) && d.inverse && d.onesided)
        n = qn_dims_mul(c->dims, qn_dims_const(c->dims, 2), qn_dims_sub(c->dims, n, qn_dims_const(c->dims, 1)));
    if (qn_move_number(c, n, &v) && (st = check_length(v, err)) != QN_OK) return st;
    c->out[0].dims[d.axis] = d.onesided && !d.inverse ? half_of(c, n) : n;
    return QN_OK;
}

static qn_status dft_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    dft d = { .inverse = qn_node_int(r->node, "inverse", 0) != 0, .onesided = qn_node_int(r->node, "onesided", 0) != 0 };
    const bool real_out = d.inverse && d.onesided;
    int64_t dims[QN_MAX_RANK] = { 0 }, axis = r->node->opset >= 20 ? -2 : qn_node_int(r->node, "axis", 1), n, have;
    lines l = { .inverse = d.inverse, .half_in = real_out, .half_out = d.onesided && !d.inverse, .frames = 1 };
    qn_status st = QN_OK;

    if (r->node->opset >= 20 && qn_move_has(r, 2)) st = scalar_at(r, 2, "axis", &axis, err);
    if (st == QN_OK) st = dft_axis(axis, x->rank, &d.axis, err);
    if (st == QN_OK) st = dft_parts(&d, x->dims[x->rank - 1], err);
    if (st != QN_OK) return st;
    have = x->dims[d.axis];
    n = real_out ? 2 * (have - 1) : have;
    if (qn_move_has(r, 1)) st = scalar_at(r, 1, "dft_length", &n, err);
    if (st == QN_OK) st = check_length(n, err);
    if (st != QN_OK) return st;
    memcpy(dims, x->dims, (size_t)x->rank * sizeof *dims);
    dims[d.axis] = l.n_out = l.half_out ? n / 2 + 1 : n;
    l.parts_in = (int32_t)x->dims[x->rank - 1];
    dims[x->rank - 1] = l.parts_out = real_out ? 1 : 2;
    if ((st = qn_move_output(r, 0, x->dtype, x->rank, dims, err)) != QN_OK) return st;
    l.n_in = real_out ? n / 2 + 1 : n;
    if (l.n_in > have) l.n_in = have;
    l.inner = qn_move_span(dims, d.axis + 1, x->rank - 1);
    l.in_outer = have * l.inner;
    return lines_run(r, &l, n, qn_move_span(dims, 0, d.axis) * l.inner, err);
}

/* The axis must be known, or it could be that of the rows. */
static void dft_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int64_t axis = c->node->opset >= 20 ? -2 : qn_node_int(c->node, "axis", 1);

    if (!qn_move_rows_only(c, in_axis, 0) || in_axis[0] < 0 || in_axis[0] == c->in[0].rank - 1) return;
    if (c->node->opset >= 20 && qn_infer_has(c, 2) && !qn_move_known_at(c, 2, 0, &axis)) return;
    if (axis < 0) axis += c->in[0].rank;
    if (axis != in_axis[0]) out_axis[0] = in_axis[0];
}

static qn_status fft_lower(qn_lower *lo, qn_error *err)
{
    const qn_tensor *y = &lo->out[0];
    const int64_t n = y->rank >= 3 ? qn_node_int(lo->node, "onesided", 0) ? 2 * y->dims[y->rank - 2] : y->dims[y->rank - 2] : 0;
    size_t per, bytes;

    lo->kernel = "f64_fft";
    /* a guess where the axis is another: run then asks the heap */
    if (n < 1 || n > QN_FFT_MAX || !lines_bytes(n, lo->team_size, &per, &bytes)) return QN_OK;
    return qn_move_lower_work(lo, bytes, err);
}

/* A transform takes 16 log2 of its length for each bin, that of a length which is no power of two (three longer ones) included. Lines
 * run along some axis of x or y: the longest one is taken. */
static uint64_t fft_cost(const qn_node *n, const qn_tensor *in, const qn_tensor *out)
{
    uint64_t elems = qn_cost_add(qn_cost_elements(&in[0]), qn_cost_elements(&out[0])), longest = 1, log2 = 1;

    (void)n;
    for (int32_t d = 0; d < in[0].rank; d++) longest = qn_cost_dim(&in[0], d) > longest ? qn_cost_dim(&in[0], d) : longest;
    for (int32_t d = 0; d < out[0].rank; d++) longest = qn_cost_dim(&out[0], d) > longest ? qn_cost_dim(&out[0], d) : longest;
    while (log2 < 63 && (UINT64_C(1) << log2) < longest) log2++;
    return qn_cost_mul(elems, 16 * log2);
}

const qn_op qn_op_dft_17 = {
    .name = "DFT",
    .domain = "",
    .since = 17,
    .until = 19,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = dft_infer,
    .rows = dft_rows,
    .lower = fft_lower,
    .run = dft_run,
    .cost = fft_cost,
    .kernels = "fft",
};
const qn_op qn_op_dft = {
    .name = "DFT",
    .domain = "",
    .since = 20,
    .min_in = 1,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = dft_infer,
    .rows = dft_rows,
    .lower = fft_lower,
    .run = dft_run,
    .cost = fft_cost,
    .kernels = "fft",
};

/* -- STFT ----------------------------------------------------------------------------------------------------------------- */

static qn_status stft_parts(bool onesided, int64_t parts, qn_error *err)
{
    if (parts != 1 && parts != 2) return qn_error_set(err, QN_ERR_SHAPE, "the signal has %" PRId64 " parts, expected 1 or 2", parts);
    if (onesided && parts == 2) return qn_error_set(err, QN_ERR_SHAPE, "a complex signal has no onesided spectrum");
    return QN_OK;
}

static qn_status stft_sizes(int64_t length, int64_t n, int64_t step, qn_error *err)
{
    qn_status st = check_length(n, err);

    if (st != QN_OK) return st;
    if (step < 1) return qn_error_set(err, QN_ERR_INVALID, "frame_step is %" PRId64 ", expected 1 or more", step);
    if (length < n) return qn_error_set(err, QN_ERR_SHAPE, "a signal of length %" PRId64 " holds no frame of %" PRId64, length, n);
    return QN_OK;
}

static qn_status stft_infer(qn_infer *c, qn_error *err)
{
    const bool onesided = qn_node_int(c->node, "onesided", 1) != 0;
    const qn_type *x = &c->in[0];
    int64_t parts, length, size, by;
    qn_dim n = QN_DIM_UNKNOWN, step;
    qn_status st = qn_move_need(c, 2, err);

    if (st == QN_OK) st = qn_move_need_dtype(c, 0, QN_SET_FLOAT, err);
    if (st == QN_OK) st = qn_move_need_dtype(c, 1, QN_MOVE_INDEX, err);
    if (st == QN_OK) st = qn_move_need_dtype(c, 2, QN_SET_FLOAT, err);
    if (st == QN_OK) st = qn_move_need_dtype(c, 3, QN_MOVE_INDEX, err);
    if (st == QN_OK) st = qn_move_need_rank(c, 0, 2, 3, err);
    if (st == QN_OK) st = qn_move_need_rank(c, 2, 1, 1, err);
    if (st == QN_OK) st = qn_move_type(&c->out[0], x->dtype, 4, err);
    if (st != QN_OK) return st;
    c->out[0].dims[3] = qn_dims_const(c->dims, 2);
    if (x->rank < 0) return QN_OK;
    if (x->rank == 3 && qn_move_number(c, x->dims[2], &parts) && (st = stft_parts(onesided, parts, err)) != QN_OK) return st;
    c->out[0].dims[0] = x->dims[0];
    if (qn_infer_has(c, 3))
        n = scalar_dim(c, 3);
    else if (!qn_infer_has(c, 2))
        n = x->dims[1];
    else if (c->in[2].rank == 1)
        n = c->in[2].dims[0];
    step = scalar_dim(c, 1);
    c->out[0].dims[2] = onesided ? half_of(c, n) : n;
    if (!qn_move_number(c, n, &size) || !qn_move_number(c, step, &by)) return QN_OK;
    if ((st = stft_sizes(qn_move_number(c, x->dims[1], &length) ? length : INT64_MAX, size, by, err)) != QN_OK) return st;
    c->out[0].dims[1] =
        qn_dims_add(c->dims, qn_dims_floordiv(c->dims, qn_dims_sub(c->dims, x->dims[1], n), step), qn_dims_const(c->dims, 1));
    return QN_OK;
}

static qn_status stft_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const bool onesided = qn_node_int(r->node, "onesided", 1) != 0;
    lines l = { .half_out = onesided, .inner = 1, .parts_in = 1, .parts_out = 2, .window = qn_move_has(r, 2) ? &r->in[2] : NULL };
    int64_t n;
    qn_status st;

    if (x->rank != 2 && x->rank != 3) return qn_error_set(err, QN_ERR_SHAPE, "the signal has rank %" PRId32 ", expected 2 or 3", x->rank);
    if (x->rank == 3) l.parts_in = x->dims[2] == 1 || x->dims[2] == 2 ? (int32_t)x->dims[2] : 0;
    if ((st = stft_parts(onesided, l.parts_in, err)) != QN_OK) return st;
    n = l.window ? qn_tensor_count(l.window) : x->dims[1];
    st = scalar_at(r, 1, "frame_step", &l.frame_step, err);
    if (st == QN_OK && qn_move_has(r, 3)) st = scalar_at(r, 3, "frame_length", &n, err);
    if (st == QN_OK) st = stft_sizes(x->dims[1], n, l.frame_step, err);
    if (st != QN_OK) return st;
    if (l.window && qn_tensor_count(l.window) != n)
        return qn_error_set(err, QN_ERR_SHAPE, "the window has %" PRId64 " elements, a frame %" PRId64, qn_tensor_count(l.window), n);
    l.frames = (x->dims[1] - n) / l.frame_step + 1;
    l.n_in = n;
    l.n_out = onesided ? n / 2 + 1 : n;
    l.in_outer = x->dims[1];
    if ((st = qn_move_output(r, 0, x->dtype, 4, (const int64_t[]){ x->dims[0], l.frames, l.n_out, 2 }, err)) != QN_OK) return st;
    return lines_run(r, &l, n, x->dims[0] * l.frames, err);
}

static void stft_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    if (qn_move_rows_only(c, in_axis, 0) && in_axis[0] == 0) out_axis[0] = 0;
}

const qn_op qn_op_stft = {
    .name = "STFT",
    .domain = "",
    .since = 17,
    .min_in = 2,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .infer = stft_infer,
    .rows = stft_rows,
    .lower = fft_lower,
    .run = stft_run,
    .cost = fft_cost,
    .kernels = "fft",
};
