/* core/tensor/items.c - boxes, lists of boxes, and the meter that counts them. */
#include "core/tensor/items.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

qn_status qn_meter_take(qn_meter *m, uint64_t bytes, qn_error *err)
{
    if (bytes > m->limit_bytes || m->bytes > m->limit_bytes - bytes)
        return qn_error_set(err, QN_ERR_LIMIT, "%" PRIu64 " bytes more in a session of at most %" PRIu64 " (%" PRIu64 " used)", bytes,
                            m->limit_bytes, m->bytes);
    m->bytes += bytes;
    return QN_OK;
}

void qn_meter_give(qn_meter *m, uint64_t bytes) { m->bytes -= bytes; }

/* -- boxes ---------------------------------------------------------------------------------------------------------------- */

/* What a box costs: its tensor, and the box with its place in a list, so that a million empty tensors are not free. */
static uint64_t cost(size_t tensor_bytes) { return (uint64_t)tensor_bytes + sizeof(qn_box) + sizeof(qn_box *); }

/* An empty box that is paid for. */
static qn_status box_create(qn_meter *m, size_t bytes, qn_box **out, qn_error *err)
{
    qn_status st = qn_meter_take(m, cost(bytes), err);

    *out = NULL;
    if (st != QN_OK) return st;
    *out = calloc(1, sizeof **out);
    if (!*out) {
        qn_meter_give(m, cost(bytes));
        return qn_error_set(err, QN_ERR_NOMEM, "an element of %zu bytes", bytes);
    }
    (*out)->meter = m;
    (*out)->refs = 1;
    (*out)->tensor.bytes = bytes;
    return QN_OK;
}

static qn_status finish(qn_box *b, size_t bytes, qn_status st, qn_box **out)
{
    if (st == QN_OK) {
        *out = b;
        return QN_OK;
    }
    *out = NULL;
    b->tensor = (qn_tensor){ .bytes = bytes };
    qn_box_unref(b);
    return st;
}

qn_status qn_box_alloc(qn_meter *m, qn_dtype dtype, int32_t rank, const int64_t *dims, qn_box **out, qn_error *err)
{
    size_t bytes;
    qn_box *b;
    qn_status st = qn_shape_bytes(dtype, rank, dims, &bytes, err);

    *out = NULL;
    if (st == QN_OK) st = box_create(m, bytes, &b, err);
    if (st != QN_OK) return st;
    return finish(b, bytes, qn_tensor_alloc(dtype, rank, dims, &b->tensor, err), out);
}

qn_status qn_box_copy(qn_meter *m, const qn_tensor *src, qn_box **out, qn_error *err)
{
    qn_box *b;
    qn_status st = box_create(m, src->bytes, &b, err);

    *out = NULL;
    if (st != QN_OK) return st;
    return finish(b, src->bytes, qn_tensor_copy(src, &b->tensor, err), out);
}

void qn_box_unref(qn_box *b)
{
    if (!b || --b->refs > 0) return;
    qn_meter_give(b->meter, cost(b->tensor.bytes));
    qn_tensor_free(&b->tensor);
    free(b);
}

/* -- lists ---------------------------------------------------------------------------------------------------------------- */

void qn_items_clear(qn_items *items)
{
    for (int64_t i = 0; i < items->n; i++) qn_box_unref(items->box[i]);
    items->n = 0;
    items->present = false;
}

void qn_items_release(qn_items *items)
{
    qn_items_clear(items);
    free(items->box);
    *items = (qn_items){ 0 };
}

static qn_status reserve(qn_items *items, int64_t n, qn_error *err)
{
    int64_t cap = items->cap ? items->cap : 8;
    qn_box **grown;

    if (n <= items->cap) return QN_OK;
    while (cap < n && cap < INT64_MAX / 4) cap *= 2;
    grown = cap >= n && (uint64_t)cap < SIZE_MAX / sizeof(qn_box *) ? realloc(items->box, (size_t)cap * sizeof(qn_box *)) : NULL;
    if (!grown) return qn_error_set(err, QN_ERR_NOMEM, "a sequence of %" PRId64 " elements", n);
    items->box = grown;
    items->cap = cap;
    return QN_OK;
}

qn_status qn_items_insert(qn_items *items, int64_t at, qn_box *box, qn_error *err)
{
    qn_status st = reserve(items, items->n + 1, err);

    if (st != QN_OK) {
        qn_box_unref(box);
        return st;
    }
    memmove(&items->box[at + 1], &items->box[at], (size_t)(items->n - at) * sizeof(qn_box *));
    items->box[at] = box;
    items->n++;
    return QN_OK;
}

void qn_items_remove(qn_items *items, int64_t at)
{
    qn_box_unref(items->box[at]);
    items->n--;
    memmove(&items->box[at], &items->box[at + 1], (size_t)(items->n - at) * sizeof(qn_box *));
}

qn_status qn_items_share(qn_items *dst, const qn_items *src, qn_error *err)
{
    qn_status st = QN_OK;

    if (dst == src) return QN_OK;
    qn_items_clear(dst);
    st = reserve(dst, src->n, err);
    if (st != QN_OK) return st;
    for (int64_t i = 0; i < src->n; i++) {
        dst->box[i] = src->box[i];
        dst->box[i]->refs++;
    }
    dst->n = src->n;
    dst->present = src->present;
    return QN_OK;
}
