/* core/ops/gather.c - Gather, GatherElements, GatherND: elements picked by index.
 * Spec   Gather 1 on: out[a.., i.., b..] = data[a.., indices[i..], b..], indices stand at `axis` (default 0).
 *        GatherElements 11 on: out[i..] = data[i..] with place `axis` replaced by indices[i..]; data may be longer than indices.
 *        GatherND 11 on: the last axis of indices holds tuples that pick slices; batch_dims (12 on) leading axes are shared.
 * Range  An index below 0 counts from the end; one outside [-d, d-1] is QN_ERR_RANGE. */
#include "core/graph/cost.h"
#include "core/ops/move.h"

#include "core/base/checked.h"
#include "core/tensor/shape.h"

#include <inttypes.h>
#include <string.h>

/* -- Gather --------------------------------------------------------------------------------------------------------------- */

/* Shape arithmetic: picking from a known list by known numbers. */
static void gather_known(qn_infer *c)
{
    qn_dim picked[QN_KNOWN_MAX];
    int32_t n, m;
    const qn_dim *e = qn_move_known(c, 0, &n), *idx = e ? qn_move_known(c, 1, &m) : NULL;

    if (!idx || m > QN_KNOWN_MAX) return;
    for (int32_t i = 0; i < m; i++) {
        int64_t k;

        picked[i] = QN_DIM_UNKNOWN;
        if (qn_move_number(c, idx[i], &k) && k >= -n && k < n) picked[i] = e[k < 0 ? k + n : k]; /* the run says what is out of range */
    }
    qn_move_set_known(c, c->in[1].rank == 0 ? -1 : m, picked);
}

static qn_status gather_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0], *idx = &c->in[1];
    qn_type *out = &c->out[0];
    int32_t axis, k = 0;
    qn_status st;

    if ((st = qn_move_need(c, 2, err)) != QN_OK || (st = qn_move_need_dtype(c, 1, QN_MOVE_INDEX, err)) != QN_OK) return st;
    qn_move_like(c, 0, out);
    out->rank = -1;
    if (x->rank < 0) return QN_OK;
    if ((st = qn_move_axis(qn_node_int(c->node, "axis", 0), x->rank, &axis, err)) != QN_OK) return st;
    if (idx->rank < 0) return QN_OK;
    if ((st = qn_move_type(out, x->dtype, (int64_t)x->rank - 1 + idx->rank, err)) != QN_OK) return st;
    out->quant = x->quant.axis < 0 ? x->quant : out->quant;
    for (int32_t a = 0; a < axis; a++) out->dims[k++] = x->dims[a];
    for (int32_t a = 0; a < idx->rank; a++) out->dims[k++] = idx->dims[a];
    for (int32_t a = axis + 1; a < x->rank; a++) out->dims[k++] = x->dims[a];
    if (x->rank == 1 && idx->rank <= 1) gather_known(c);
    return QN_OK;
}

static qn_status gather_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *idx = &r->in[1];
    int32_t axis;
    qn_status st = qn_move_axis(qn_node_int(r->node, "axis", 0), x->rank, &axis, err);

    (void)o;
    if (st != QN_OK) return st;
    if (x->rank - 1 + idx->rank > QN_MAX_RANK)
        return qn_error_set(err, QN_ERR_LIMIT, "output of rank %" PRId32 ", at most %d", x->rank - 1 + idx->rank, QN_MAX_RANK);
    if ((st = qn_move_check_indices(idx, axis, x->dims[axis], err)) != QN_OK) return st;
    *rank = 0;
    for (int32_t a = 0; a < axis; a++) dims[(*rank)++] = x->dims[a];
    for (int32_t a = 0; a < idx->rank; a++) dims[(*rank)++] = idx->dims[a];
    for (int32_t a = axis + 1; a < x->rank; a++) dims[(*rank)++] = x->dims[a];
    return QN_OK;
}

static qn_status gather_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *idx = &r->in[1];
    int32_t axis;
    size_t block;
    qn_status st = qn_move_axis(qn_node_int(r->node, "axis", 0), x->rank, &axis, err);

    if (st != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    block = (size_t)qn_move_span(x->dims, axis + 1, x->rank) * qn_dtype_size(x->dtype);
    qn_move_gather(x->data, r->out[0].data, qn_move_span(x->dims, 0, axis), x->dims[axis], block, qn_move_indices(idx),
                   qn_tensor_count(idx), r->team);
    return QN_OK;
}

static qn_status gather_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, gather_dims, gather_fill, err); }

/* Either the data has rows and the indices are the same for all, or the other way round (an embedding). */
static void gather_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis;

    if (c->in[0].rank < 0 || c->in[1].rank < 0) return;
    if (qn_move_axis(qn_node_int(c->node, "axis", 0), c->in[0].rank, &axis, NULL) != QN_OK) return;
    if (qn_move_rows_only(c, in_axis, 1))
        out_axis[0] = axis + in_axis[1];
    else if (qn_move_rows_only(c, in_axis, 0) && in_axis[0] != axis)
        out_axis[0] = in_axis[0] < axis ? in_axis[0] : in_axis[0] - 1 + c->in[1].rank;
}

const qn_op qn_op_gather = {
    .name = "Gather",
    .since = 1,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = gather_infer,
    .rows = gather_rows,
    .run = gather_run,
    .cost = qn_cost_selected,
    .kernels = "move",
};

/* -- GatherElements ------------------------------------------------------------------------------------------------------- */

static qn_status elements_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0], *idx = &c->in[1];
    int32_t axis;
    qn_status st;

    if ((st = qn_move_need(c, 2, err)) != QN_OK || (st = qn_move_need_dtype(c, 1, QN_MOVE_INDEX, err)) != QN_OK) return st;
    qn_move_like(c, 0, &c->out[0]);
    if (x->rank >= 0 && (st = qn_move_axis(qn_node_int(c->node, "axis", 0), x->rank, &axis, err)) != QN_OK) return st;
    if (x->rank >= 0 && idx->rank >= 0 && x->rank != idx->rank)
        return qn_error_set(err, QN_ERR_SHAPE, "indices have rank %" PRId32 ", data has rank %" PRId32, idx->rank, x->rank);
    if (idx->rank >= 0) {
        c->out[0].rank = idx->rank;
        for (int32_t a = 0; a < idx->rank; a++) c->out[0].dims[a] = idx->dims[a];
    }
    return QN_OK;
}

static qn_status elements_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *idx = &r->in[1];
    int32_t axis;
    qn_status st = qn_move_axis(qn_node_int(r->node, "axis", 0), x->rank, &axis, err);

    (void)o;
    if (st != QN_OK) return st;
    if (x->rank != idx->rank)
        return qn_error_set(err, QN_ERR_SHAPE, "indices have rank %" PRId32 ", data has rank %" PRId32, idx->rank, x->rank);
    *rank = x->rank;
    for (int32_t a = 0; a < x->rank; a++) {
        dims[a] = idx->dims[a];
        if (a != axis && dims[a] > x->dims[a])
            return qn_error_set(err, QN_ERR_SHAPE, "indices have size %" PRId64 " on axis %" PRId32 ", data has %" PRId64, dims[a], a,
                                x->dims[a]);
    }
    return qn_move_check_indices(idx, axis, x->dims[axis], err);
}

#define PICK(type)                                                                                                                         \
    for (int64_t i = 0; i < n; i++) {                                                                                                      \
        int64_t k = qn_move_at(index, first + i);                                                                                          \
                                                                                                                                           \
        ((type *)r->out[0].data)[first + i] = ((const type *)x->data)[base + i * step + (k < 0 ? k + size : k) * along];                   \
    }

static qn_status elements_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *idx = &r->in[1];
    const int64_t count = qn_tensor_count(idx);
    qn_move_index index = qn_move_indices(idx);
    int64_t strides[QN_MAX_RANK], at[QN_MAX_RANK] = { 0 }, n, size, along, step, base = 0;
    int32_t axis, last = x->rank - 1;
    qn_status st = qn_move_axis(qn_node_int(r->node, "axis", 0), x->rank, &axis, err);

    if (st != QN_OK || count == 0) return st;
    qn_shape_strides(x->rank, x->dims, strides);
    n = idx->dims[last];
    size = x->dims[axis];
    along = strides[axis];
    strides[axis] = 0; /* the index says where on this axis, not the place in the output */
    step = strides[last];
    for (int64_t first = 0; first < count; first += n) {
        switch (qn_dtype_size(x->dtype)) {
        case 1: PICK(uint8_t) break;
        case 2: PICK(uint16_t) break;
        case 4: PICK(uint32_t) break;
        default: PICK(uint64_t) break;
        }
        for (int32_t a = last - 1; a >= 0; a--) {
            base += strides[a];
            if (++at[a] < idx->dims[a]) break;
            base -= strides[a] * idx->dims[a];
            at[a] = 0;
        }
    }
    return QN_OK;
}

static qn_status elements_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, elements_dims, elements_fill, err); }

/* Data and indices both have the rows, on an axis that is not picked from. */
static void elements_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t axis;

    if (c->in[0].rank < 0 || in_axis[0] < 0 || in_axis[1] != in_axis[0]) return;
    if (qn_move_axis(qn_node_int(c->node, "axis", 0), c->in[0].rank, &axis, NULL) == QN_OK && axis != in_axis[0]) out_axis[0] = in_axis[0];
}

const qn_op qn_op_gather_elements = {
    .name = "GatherElements",
    .since = 11,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = elements_infer,
    .rows = elements_rows,
    .run = elements_run,
    .cost = qn_cost_selected,
};

/* -- GatherND ------------------------------------------------------------------------------------------------------------- */

/* The number of leading axes that data and indices share. Fails with QN_ERR_SHAPE. */
static qn_status nd_batch(const qn_node *node, int32_t x_rank, int32_t idx_rank, int32_t *batch, qn_error *err)
{
    int64_t b = qn_node_int(node, "batch_dims", 0);

    if (x_rank == 0 || idx_rank == 0)
        return qn_error_set(err, QN_ERR_SHAPE, "data has rank %" PRId32 ", indices %" PRId32 ", expected 1 or more", x_rank, idx_rank);
    if (b < 0 || b >= x_rank || b >= idx_rank)
        return qn_error_set(err, QN_ERR_SHAPE, "batch_dims %" PRId64 ", data has rank %" PRId32 ", indices %" PRId32, b, x_rank, idx_rank);
    *batch = (int32_t)b;
    return QN_OK;
}

static qn_status nd_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0], *idx = &c->in[1];
    int32_t batch, k = 0;
    int64_t tuple;
    qn_status st;

    if ((st = qn_move_need(c, 2, err)) != QN_OK || (st = qn_move_need_dtype(c, 1, QN_MOVE_INDEX, err)) != QN_OK) return st;
    qn_move_like(c, 0, &c->out[0]);
    c->out[0].rank = -1;
    if (x->rank < 0 || idx->rank < 0) return QN_OK;
    if ((st = nd_batch(c->node, x->rank, idx->rank, &batch, err)) != QN_OK) return st;
    if (!qn_move_number(c, idx->dims[idx->rank - 1], &tuple)) return QN_OK;
    if (tuple < 1 || tuple > x->rank - batch)
        return qn_error_set(err, QN_ERR_SHAPE, "indices hold tuples of %" PRId64 ", expected 1..%" PRId32, tuple, x->rank - batch);
    if ((st = qn_move_type(&c->out[0], x->dtype, idx->rank - 1 + x->rank - batch - tuple, err)) != QN_OK) return st;
    for (int32_t a = 0; a < idx->rank - 1; a++) {
        c->out[0].dims[k] = idx->dims[a];
        if (a < batch && !qn_move_join(c, idx->dims[a], x->dims[a], true, &c->out[0].dims[k]))
            return qn_error_set(err, QN_ERR_SHAPE, "data and indices differ on batch axis %" PRId32, a);
        k++;
    }
    for (int32_t a = batch + (int32_t)tuple; a < x->rank; a++) c->out[0].dims[k++] = x->dims[a];
    return QN_OK;
}

/* Every tuple lies inside data. */
static qn_status nd_check(const qn_tensor *x, const qn_tensor *idx, int32_t batch, qn_error *err)
{
    const int64_t n = qn_tensor_count(idx), tuple = idx->dims[idx->rank - 1];
    qn_move_index index = qn_move_indices(idx);

    for (int64_t i = 0; i < n; i++) {
        int32_t axis = batch + (int32_t)(i % tuple);
        int64_t k = qn_move_at(index, i);

        if (k < -x->dims[axis] || k >= x->dims[axis])
            return qn_error_set(err, QN_ERR_RANGE,
                                "index %" PRId64 " (element %" PRId64 " of the indices), axis %" PRId32 " has size %" PRId64, k, i, axis,
                                x->dims[axis]);
    }
    return QN_OK;
}

static qn_status nd_dims(const qn_run *r, int32_t o, int32_t *rank, int64_t *dims, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *idx = &r->in[1];
    int32_t batch;
    int64_t tuple;
    qn_status st = nd_batch(r->node, x->rank, idx->rank, &batch, err);

    (void)o;
    if (st != QN_OK) return st;
    tuple = idx->dims[idx->rank - 1];
    if (tuple < 1 || tuple > x->rank - batch)
        return qn_error_set(err, QN_ERR_SHAPE, "indices hold tuples of %" PRId64 ", expected 1..%" PRId32, tuple, x->rank - batch);
    if (idx->rank - 1 + x->rank - batch - tuple > QN_MAX_RANK)
        return qn_error_set(err, QN_ERR_LIMIT, "output of rank above %d", QN_MAX_RANK);
    for (int32_t a = 0; a < batch; a++) {
        if (x->dims[a] != idx->dims[a])
            return qn_error_set(err, QN_ERR_SHAPE, "batch axis %" PRId32 " has size %" PRId64 " in data, %" PRId64 " in indices", a,
                                x->dims[a], idx->dims[a]);
    }
    if ((st = nd_check(x, idx, batch, err)) != QN_OK) return st;
    *rank = 0;
    for (int32_t a = 0; a < idx->rank - 1; a++) dims[(*rank)++] = idx->dims[a];
    for (int32_t a = batch + (int32_t)tuple; a < x->rank; a++) dims[(*rank)++] = x->dims[a];
    return QN_OK;
}

static qn_status nd_fill(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0], *idx = &r->in[1];
    const int64_t tuple = idx->dims[idx->rank - 1];
    const size_t elem = qn_dtype_size(x->dtype);
    qn_move_index index = qn_move_indices(idx);
    int64_t strides[QN_MAX_RANK], n, slice, groups, per_group;
    int32_t batch;
    qn_status st = nd_batch(r->node, x->rank, idx->rank, &batch, err);

    if (st != QN_OK || qn_tensor_count(&r->out[0]) == 0) return st;
    qn_shape_strides(x->rank, x->dims, strides);
    n = qn_tensor_count(idx) / tuple;
    slice = qn_move_span(x->dims, batch + (int32_t)tuple, x->rank);
    groups = qn_move_span(x->dims, 0, batch);
    per_group = n / groups;
    for (int64_t i = 0; i < n; i++) {
        int64_t from = i / per_group * qn_move_span(x->dims, batch, x->rank);

        for (int32_t t = 0; t < tuple; t++) {
            int64_t k = qn_move_at(index, i * tuple + t);

            from += (k < 0 ? k + x->dims[batch + t] : k) * strides[batch + t];
        }
        memcpy((char *)r->out[0].data + (size_t)(i * slice) * elem, (const char *)x->data + (size_t)from * elem, (size_t)slice * elem);
    }
    return QN_OK;
}

static qn_status nd_run(qn_run *r, qn_error *err) { return qn_move_run(r, 0, nd_dims, nd_fill, err); }

static void nd_rows(const qn_infer *c, const int32_t *in_axis, int32_t *out_axis)
{
    int32_t batch;

    if (c->in[0].rank < 0 || c->in[1].rank < 0 || nd_batch(c->node, c->in[0].rank, c->in[1].rank, &batch, NULL) != QN_OK) return;
    if (in_axis[0] >= 0 && in_axis[0] == in_axis[1] && in_axis[0] < batch)
        out_axis[0] = in_axis[0];
    else if (qn_move_rows_only(c, in_axis, 1) && in_axis[1] >= batch && in_axis[1] < c->in[1].rank - 1)
        out_axis[0] = in_axis[1];
}

const qn_op qn_op_gather_nd = {
    .name = "GatherND",
    .since = 11,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = nd_infer,
    .rows = nd_rows,
    .run = nd_run,
    .cost = qn_cost_selected,
    .kernels = "move",
};
