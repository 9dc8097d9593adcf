/* core/ops/qlinear_softmax.c - com.microsoft QLinearSoftmax.
 * Spec   ONNX Runtime contrib ops 1: X, X_scale, X_zp?, Y_scale, Y_zp? -> Y. Attributes opset (that of the Softmax it stands for; before 13
 *        the shape is flattened at axis) and axis (default -1, before 13: 1).
 * Value  e(d) = exp((d + s) * X_scale) for d = x - max, which lies in -255..0, rounded to f32; s * X_scale = log(FLT_MAX / n) - 5 keeps sums
 *        of n small enough. y = rne(e / sum * floor(1 / Y_scale)) + zero point, saturated; the sum is one chain along the axis. As ONNX
 *        Runtime, which lets an s8 value beyond 127 wrap around where this saturates. */
#include "core/ops/elem.h"
#include "core/ops/qlinear.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

static bool is_flat(const qn_node *n) { return qn_node_int(n, "opset", 13) < 13; }

static qn_status axis_of(const qn_node *n, int32_t rank, int32_t *axis, qn_error *err)
{
    return qn_move_axis(qn_node_int(n, "axis", is_flat(n) ? 1 : -1), rank, axis, err);
}

static qn_status infer(qn_infer *c, qn_error *err)
{
    int32_t axis;
    qn_status st = qn_linear_need(c, 2, err);

    if (st == QN_OK && !qn_infer_has(c, 3)) st = qn_error_set(err, QN_ERR_INVALID, "input 3 is left out, expected a tensor");
    if (st == QN_OK) st = qn_qlinear_infer(c, 0, 1, 2, c->in[0].dtype, err);
    if (st == QN_OK) st = qn_qlinear_infer(c, -1, 3, 4, c->in[0].dtype, err);
    if (st == QN_OK && c->in[0].rank >= 0) st = axis_of(c->node, c->in[0].rank, &axis, err);
    if (st == QN_OK) qn_elem_like(c, 0, 0, c->in[0].dtype);
    return st;
}

static void rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis;

    if (!qn_move_rows_only(c, in_axis, 0) || c->in[0].rank < 0 || axis_of(c->node, c->in[0].rank, &axis, NULL) != QN_OK) return;
    if (is_flat(c->node) ? in_axis[0] < axis : in_axis[0] != axis) out_axis[0] = in_axis[0];
}

/* -- running -------------------------------------------------------------------------------------------------------------- */

typedef struct job {
    float e[256]; /* e[255 + d] */
    float scale;
    qn_qlinear to;
    const uint8_t *x;
    uint8_t *y;
    int64_t n, inner;
} job;

static void fill_table(job *j, float x_scale)
{
    const double shift = fmax(0.0, log((double)(FLT_MAX / (float)j->n)) - 5) / (double)x_scale;

    for (int i = 0; i < 256; i++) j->e[i] = (float)exp(((double)i - 255 + shift) * (double)x_scale);
}

/* One softmax: n elements, inner apart. With its top bit flipped an s8 orders as a u8. */
static void one(const job *j, const uint8_t *x, uint8_t *y)
{
    const uint8_t flip = j->to.is_signed ? 0x80 : 0;
    int most = 0;
    float sum = 0;

    for (int64_t i = 0; i < j->n; i++) most = (x[i * j->inner] ^ flip) > most ? x[i * j->inner] ^ flip : most;
    for (int64_t i = 0; i < j->n; i++) sum += j->e[255 + (x[i * j->inner] ^ flip) - most];
    for (int64_t i = 0; i < j->n; i++) {
        const float v = rintf(j->e[255 + (x[i * j->inner] ^ flip) - most] * j->scale / sum);

        y[i * j->inner] = qn_qlinear_round(v, &j->to);
    }
}

static void each(void *ctx, int64_t lo, int64_t hi, int member)
{
    const job *j = ctx;

    (void)member;
    for (int64_t i = lo; i < hi; i++) {
        const int64_t at = i / j->inner * j->inner * j->n + i % j->inner;

        one(j, j->x + at, j->y + at);
    }
}

static qn_status run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const int64_t count = qn_tensor_count(x);
    int32_t axis;
    qn_qlinear from;
    job j = { .x = x->data, .inner = 1 };
    qn_status st = axis_of(r->node, x->rank, &axis, err);

    if (st == QN_OK) st = qn_qlinear_read(r, 1, 2, x->dtype, &from, err);
    if (st == QN_OK) st = qn_qlinear_read(r, 3, 4, x->dtype, &j.to, err);
    if (st == QN_OK) st = qn_move_output(r, 0, x->dtype, x->rank, x->dims, err);
    if (st != QN_OK || count == 0) return st;
    j.y = r->out[0].data;
    j.n = x->dims[axis];
    j.inner = qn_move_span(x->dims, axis + 1, x->rank);
    if (is_flat(r->node)) {
        j.n *= j.inner;
        j.inner = 1;
    }
    j.scale = floorf(1.0f / j.to.scale);
    fill_table(&j, from.scale);
    qn_elem_ranges(r->team, count / j.n, 1 + 16384 / j.n, each, &j);
    return QN_OK;
}

const qn_op qn_op_ms_qlinear_softmax = {
    .domain = "com.microsoft",
    .name = "QLinearSoftmax",
    .since = 1,
    .min_in = 4,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .infer = infer,
    .rows = rows,
    .run = run,
};
