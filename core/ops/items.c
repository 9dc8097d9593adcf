/* core/ops/items.c - see items.h. */
#include "core/ops/items.h"

#include "core/base/checked.h"

#include <inttypes.h>
#include <string.h>

void qn_items_type(qn_type *t, qn_kind kind, qn_kind of, const qn_type *elem)
{
    qn_items_element(t, elem);
    t->kind = kind;
    t->of = of;
}

void qn_items_element(qn_type *t, const qn_type *items)
{
    const qn_type from = *items; /* t may be items */

    *t = (qn_type){ .dtype = from.dtype, .rank = from.rank, .quant = { QN_NONE, QN_NONE, -1, 0 } };
    for (int32_t a = 0; a < QN_MAX_RANK; a++) t->dims[a] = a < from.rank ? from.dims[a] : QN_DIM_UNKNOWN;
}

void qn_items_join(qn_type *t, const qn_type *elem)
{
    if (t->dtype == QN_DTYPE_NONE) t->dtype = elem->dtype;
    if (t->rank != elem->rank) t->rank = -1;
    for (int32_t a = 0; a < t->rank; a++)
        if (t->dims[a] != elem->dims[a]) t->dims[a] = QN_DIM_UNKNOWN;
}

qn_status qn_items_need_sequence(const qn_infer *c, int32_t i, qn_error *err)
{
    if (!qn_infer_has(c, i)) return qn_error_set(err, QN_ERR_INVALID, "input %" PRId32 " is left out, expected a sequence", i);
    if (c->in[i].kind == QN_KIND_SEQUENCE) return QN_OK;
    return qn_error_set(err, QN_ERR_DTYPE, "input %" PRId32 " is %s, expected a sequence", i,
                        c->in[i].kind == QN_KIND_TENSOR ? "a tensor" : "an optional or map");
}

qn_status qn_items_need_tensor(const qn_infer *c, int32_t i, qn_error *err)
{
    if (!qn_infer_has(c, i)) return qn_error_set(err, QN_ERR_INVALID, "input %" PRId32 " is left out, expected a tensor", i);
    if (c->in[i].kind == QN_KIND_TENSOR) return QN_OK;
    return qn_error_set(err, QN_ERR_DTYPE, "input %" PRId32 " is %s, expected a tensor", i,
                        c->in[i].kind == QN_KIND_SEQUENCE ? "a sequence" : "an optional or map");
}

qn_status qn_items_give(qn_run *r, int32_t i, const qn_tensor *t, qn_error *err)
{
    qn_status st;

    if (!qn_move_wants(r, i)) return QN_OK;
    if (r->out[i].dtype != QN_DTYPE_NONE && r->out[i].dtype != t->dtype)
        return qn_error_set(err, QN_ERR_DTYPE, "the element is %s, the plan expected %s", qn_dtype_name(t->dtype),
                            qn_dtype_name(r->out[i].dtype));
    if (t->dtype == QN_STRING)
        st = qn_run_output(r, i, QN_STRING, t->rank, t->dims, t->bytes, err);
    else
        st = qn_move_output(r, i, t->dtype, t->rank, t->dims, err);
    if (st == QN_OK && t->bytes) memcpy(r->out[i].data, t->data, t->bytes);
    return st;
}

qn_status qn_items_put(qn_run *r, qn_items *items, int64_t at, const qn_tensor *t, qn_error *err)
{
    qn_box *box;
    qn_status st = qn_box_copy(qn_run_meter(r), t, &box, err);

    return st == QN_OK ? qn_items_insert(items, at, box, err) : st;
}

qn_status qn_items_afford(qn_run *r, int64_t n, qn_error *err)
{
    size_t bytes;
    qn_status st;

    if (!qn_i64_to_size(n, &bytes) || !qn_size_mul(bytes, sizeof(qn_box), &bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "a sequence of %" PRId64 " elements", n);
    st = qn_meter_take(qn_run_meter(r), bytes, err);
    if (st == QN_OK) qn_meter_give(qn_run_meter(r), bytes);
    return st;
}
