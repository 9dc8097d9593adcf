/* core/ops/max_unpool.c - MaxUnpool: values go back to where MaxPool found them; everything else is 0.
 * Spec   ONNX MaxUnpool, opsets 9, 11, 22: X, I (indices of MaxPool, row-major over the whole tensor it pooled), optional output_shape.
 *        Without it the output has the inferred size, stride * (in - 1) + kernel - pads. Indices always count in the inferred size;
 *        output_shape only says where the values are put: at the same coordinates of a larger tensor.
 * f32, f64, f16, i8, u8. A later value at the same index wins. */
#include "core/base/checked.h"
#include "core/ops/linear.h"
#include "core/ops/spatial.h"

#include <inttypes.h>
#include <string.h>

/* Size of spatial dimension d without output_shape. */
static qn_status natural(const qn_spatial *s, int32_t d, int64_t in, int64_t *out, qn_error *err)
{
    if (!qn_i64_mul(in - 1, s->stride[d], out) || !qn_i64_add(*out, s->kernel[d] - s->pad[d] - s->pad_end[d], out) || *out < 1)
        return qn_error_set(err, QN_ERR_SHAPE, "spatial dimension %d: %" PRId64 " cannot be unpooled by these windows", (int)d, in);
    return QN_OK;
}

static qn_status unpool_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_dim dims[QN_MAX_RANK];
    const qn_dim *given;
    int32_t n_given;
    qn_spatial s;
    qn_status st = qn_linear_need(c, 2, err);

    if (st == QN_OK) st = qn_linear_dtype(c, 0, 1u << QN_F32 | 1u << QN_F64 | 1u << QN_F16 | QN_LINEAR_BYTES, err);
    if (st == QN_OK) st = qn_linear_dtype(c, 1, 1u << QN_I64, err);
    if (st == QN_OK && qn_infer_has(c, 2)) st = qn_linear_dtype(c, 2, 1u << QN_I64, err);
    if (st != QN_OK) return st;
    c->out[0].dtype = x->dtype;
    if (x->rank < 0) return QN_OK;
    st = qn_spatial_read(c->node, x->rank, NULL, &s, err);
    if (st != QN_OK) return st;
    if (c->in[1].rank >= 0 && c->in[1].rank != x->rank)
        return qn_error_set(err, QN_ERR_SHAPE, "indices have rank %d, values %d", (int)c->in[1].rank, (int)x->rank);
    dims[0] = x->dims[0];
    dims[1] = x->dims[1];
    for (int32_t d = 0; d < s.n; d++) {
        const int64_t plus = s.kernel[d] - s.pad[d] - s.pad_end[d] - s.stride[d];
        int64_t v, n;

        if (qn_dims_value(c->dims, x->dims[2 + d], &v)) {
            st = natural(&s, d, v, &n, err);
            if (st != QN_OK) return st;
        }
        dims[2 + d] =
            qn_dims_add(c->dims, qn_dims_mul(c->dims, x->dims[2 + d], qn_dims_const(c->dims, s.stride[d])), qn_dims_const(c->dims, plus));
    }
    if (qn_infer_has(c, 2)) {
        given = qn_infer_ints(c, 2, &n_given);
        if (given && n_given != x->rank)
            return qn_error_set(err, QN_ERR_SHAPE, "output_shape has %d values, expected %d", (int)n_given, (int)x->rank);
        for (int32_t d = 0; d < x->rank; d++) dims[d] = given ? given[d] : QN_DIM_UNKNOWN;
    }
    qn_linear_output(c, x->dtype, x->rank, dims);
    return QN_OK;
}

/* The shape indices count in, and the shape that is written. */
static qn_status shapes_of(const qn_run *r, int64_t *from, int64_t *to, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    qn_spatial s;
    qn_status st = qn_spatial_read(r->node, x->rank, NULL, &s, err);

    if (st != QN_OK) return st;
    memcpy(from, x->dims, sizeof x->dims);
    for (int32_t d = 0; d < s.n && st == QN_OK; d++) st = natural(&s, d, x->dims[2 + d], &from[2 + d], err);
    memcpy(to, from, sizeof x->dims);
    if (st != QN_OK || r->node->n_in < 3 || r->in[2].dtype == QN_DTYPE_NONE) return st;
    if (qn_tensor_count(&r->in[2]) != x->rank)
        return qn_error_set(err, QN_ERR_SHAPE, "output_shape has %" PRId64 " values, expected %d", qn_tensor_count(&r->in[2]),
                            (int)x->rank);
    for (int32_t d = 0; d < x->rank; d++) {
        to[d] = ((const int64_t *)r->in[2].data)[d];
        if (to[d] < from[d])
            return qn_error_set(err, QN_ERR_SHAPE, "output_shape[%d] is %" PRId64 ", the windows need %" PRId64, (int)d, to[d], from[d]);
    }
    return QN_OK;
}

/* Place of element i of `from` in `to`. */
static int64_t move(int32_t rank, const int64_t *from, const int64_t *to, int64_t i)
{
    int64_t at = 0, step = 1;

    for (int32_t d = rank - 1; d >= 0; d--) {
        at += i % from[d] * step;
        i /= from[d];
        step *= to[d];
    }
    return at;
}

static bool has_shape(const qn_tensor *t, int32_t rank, const int64_t *dims)
{
    bool same = t->rank == rank;

    for (int32_t d = 0; same && d < rank; d++) same = t->dims[d] == dims[d];
    return same;
}

static qn_status unpool_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const size_t size = qn_dtype_size(x->dtype);
    const int64_t n = qn_tensor_count(x), *indices = r->in[1].data;
    int64_t from[QN_MAX_RANK], to[QN_MAX_RANK], count;
    qn_status st = shapes_of(r, from, to, err);

    if (st == QN_OK && qn_tensor_count(&r->in[1]) != n)
        st = qn_error_set(err, QN_ERR_SHAPE, "%" PRId64 " indices for %" PRId64 " values", qn_tensor_count(&r->in[1]), n);
    if (st == QN_OK && !r->out[0].data && !has_shape(&r->out[0], x->rank, to)) st = qn_run_output(r, 0, x->dtype, x->rank, to, 0, err);
    if (st == QN_OK) st = qn_shape_count(x->rank, from, &count, err);
    if (st != QN_OK) return st;
    if (!has_shape(&r->out[0], x->rank, to)) return qn_error_set(err, QN_ERR_SHAPE, "output_shape is not the shape that was planned");
    if (r->out[0].bytes) memset(r->out[0].data, 0, r->out[0].bytes);
    for (int64_t i = 0; i < n; i++) {
        if (indices[i] < 0 || indices[i] >= count)
            return qn_error_set(err, QN_ERR_RANGE, "index %" PRId64 ", expected 0..%" PRId64, indices[i], count - 1);
        memcpy((char *)r->out[0].data + (size_t)move(x->rank, from, to, indices[i]) * size, (const char *)x->data + (size_t)i * size, size);
    }
    return QN_OK;
}

const qn_op qn_op_max_unpool = {
    .domain = "",
    .name = "MaxUnpool",
    .since = 9,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = unpool_infer,
    .run = unpool_run, /* no rows: an index counts over the batch */
};
