/* core/ops/depthtospace.c - DepthToSpace and SpaceToDepth: channels become pixels of a b x b block, and back.
 * Spec   DepthToSpace 1 on (mode DCR: channel = (by, bx, c); CRD, 11 on: channel = (c, by, bx)), SpaceToDepth 1 on (by, bx, c).
 * Both are one move over six axes. */
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/tensor/shape.h"

#include <inttypes.h>
#include <string.h>

static qn_status read_block(const qn_node *node, int64_t *b, qn_error *err)
{
    *b = qn_node_int(node, "blocksize", 0);
    if (*b >= 1 && *b <= INT32_MAX) return QN_OK;
    return qn_error_set(err, QN_ERR_INVALID, "blocksize is %" PRId64 ", expected 1 or more", *b);
}

static qn_status read_mode(const qn_node *node, bool *crd, qn_error *err)
{
    const char *s = qn_node_str(node, "mode", "DCR");

    *crd = strcmp(s, "CRD") == 0;
    if (*crd || strcmp(s, "DCR") == 0) return QN_OK;
    return qn_error_set(err, QN_ERR_INVALID, "mode is \"%.32s\", expected DCR or CRD", s);
}

/* d must be a multiple of k where both are numbers. */
static qn_status quotient(const qn_infer *c, qn_dim d, int64_t k, int32_t axis, qn_dim *out, qn_error *err)
{
    int64_t v;

    if (qn_move_number(c, d, &v) && v % k != 0)
        return qn_error_set(err, QN_ERR_SHAPE, "axis %" PRId32 " has size %" PRId64 ", expected a multiple of %" PRId64, axis, v, k);
    *out = qn_dims_floordiv(c->dims, d, qn_dims_const(c->dims, k));
    return QN_OK;
}

static qn_status infer(qn_infer *c, bool to_space, qn_error *err)
{
    const qn_dim *x = c->in[0].dims;
    qn_dim *y = c->out[0].dims;
    int64_t b;
    bool crd;
    qn_status st;

    if ((st = qn_move_need(c, 1, err)) != QN_OK || (st = qn_move_need_rank(c, 0, 4, 4, err)) != QN_OK) return st;
    if ((st = read_block(c->node, &b, err)) != QN_OK || (to_space && (st = read_mode(c->node, &crd, err)) != QN_OK)) return st;
    qn_move_like(c, 0, &c->out[0]);
    c->out[0].rank = 4;
    if (c->in[0].rank < 0) return QN_OK;
    y[0] = x[0];
    if (!to_space) {
        y[1] = qn_dims_mul(c->dims, x[1], qn_dims_const(c->dims, b * b));
        if ((st = quotient(c, x[2], b, 2, &y[2], err)) != QN_OK) return st;
        return quotient(c, x[3], b, 3, &y[3], err);
    }
    y[2] = qn_dims_mul(c->dims, x[2], qn_dims_const(c->dims, b));
    y[3] = qn_dims_mul(c->dims, x[3], qn_dims_const(c->dims, b));
    return quotient(c, x[1], b * b, 1, &y[1], err);
}

static qn_status space_infer(qn_infer *c, qn_error *err) { return infer(c, true, err); }
static qn_status depth_infer(qn_infer *c, qn_error *err) { return infer(c, false, err); }

static qn_status dims_of(const qn_run *r, bool to_space, int32_t *rank, int64_t *y, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    int64_t b, bb;
    qn_status st = read_block(r->node, &b, err);

    if (st != QN_OK) return st;
    if (x->rank != 4) return qn_error_set(err, QN_ERR_SHAPE, "input has rank %" PRId32 ", expected 4", x->rank);
    *rank = 4;
    bb = b * b;
    y[0] = x->dims[0];
    if (to_space ? x->dims[1] % bb != 0 : x->dims[2] % b != 0 || x->dims[3] % b != 0)
        return qn_error_set(err, QN_ERR_SHAPE, "[%" PRId64 ",%" PRId64 ",%" PRId64 "] is not a multiple of blocksize %" PRId64, x->dims[1],
                            x->dims[2], x->dims[3], b);
    y[1] = x->dims[1] / bb;
    y[2] = x->dims[2] / b;
    y[3] = x->dims[3] / b;
    if (to_space ? !qn_i64_mul(x->dims[2], b, &y[2]) || !qn_i64_mul(x->dims[3], b, &y[3]) : !qn_i64_mul(x->dims[1], bb, &y[1]))
        return qn_error_set(err, QN_ERR_LIMIT, "blocksize %" PRId64 " overflows a dimension", b);
    return QN_OK;
}

static qn_status space_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *y, qn_error *err)
{
    (void)o;
    return dims_of(r, true, rank, y, err);
}

static qn_status depth_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *y, qn_error *err)
{
    (void)o;
    return dims_of(r, false, rank, y, err);
}

/* Output order (n, c, y, by, x, bx). */
static qn_status space_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *out = &r->out[0];
    int64_t b, c = out->dims[1], h = x->dims[2], w = x->dims[3], hw = h * w;
    bool crd;
    qn_move m = { .rank = 6 };
    qn_status st;

    if ((st = read_block(r->node, &b, err)) != QN_OK || (st = read_mode(r->node, &crd, err)) != QN_OK) return st;
    if (qn_tensor_count(x) == 0) return QN_OK;
    memcpy(m.dims, (const int64_t[]){ x->dims[0], c, h, b, w, b }, 6 * sizeof *m.dims);
    memcpy(m.src, (const int64_t[]){ x->dims[1] * hw, crd ? b * b * hw : hw, w, crd ? b * hw : b * c * hw, 1, crd ? hw : c * hw },
           6 * sizeof *m.src);
    qn_shape_strides(6, m.dims, m.dst);
    qn_move_copy(&m, qn_dtype_size(x->dtype), x->data, out->data, r->team);
    return QN_OK;
}

/* Output order (n, by, bx, c, y, x). */
static qn_status depth_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *out = &r->out[0];
    int64_t b, h = out->dims[2], w = out->dims[3], W = x->dims[3], HW = x->dims[2] * W;
    qn_move m = { .rank = 6 };
    qn_status st = read_block(r->node, &b, err);

    if (st != QN_OK || qn_tensor_count(x) == 0) return st;
    memcpy(m.dims, (const int64_t[]){ x->dims[0], b, b, x->dims[1], h, w }, 6 * sizeof *m.dims);
    memcpy(m.src, (const int64_t[]){ x->dims[1] * HW, W, 1, HW, b * W, b }, 6 * sizeof *m.src);
    qn_shape_strides(6, m.dims, m.dst);
    qn_move_copy(&m, qn_dtype_size(x->dtype), x->data, out->data, r->team);
    return QN_OK;
}

static qn_status space_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, space_dims, space_fill, err); }
static qn_status depth_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, depth_dims, depth_fill, err); }

const qn_op qn_op_depth_to_space = {
    .name = "DepthToSpace",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = space_infer,
    .rows = qn_rows_leading,
    .run = space_run,
    .kernels = "move",
};

const qn_op qn_op_space_to_depth = {
    .name = "SpaceToDepth",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = depth_infer,
    .rows = qn_rows_leading,
    .run = depth_run,
    .kernels = "move",
};
