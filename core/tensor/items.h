/* core/tensor/items.h - a runtime value that is no tensor: a sequence of tensors, or an optional.
 *
 * An element is a box: a tensor with a reference count, so that a sequence grown by one element shares the others with the one it was
 * made from. Boxes are never written after they are made.
 *   sequence            present is true, n elements
 *   optional(tensor)    present says whether there is one; then n is 1
 *   optional(sequence)  present says whether there is one; then n elements
 * Every box is counted in the meter it was made with, for as long as it lives: the meter must outlive it.
 * Threads: items, boxes and meter belong to one session: one thread at a time. */
#ifndef QUERN_TENSOR_ITEMS_H
#define QUERN_TENSOR_ITEMS_H

#include "quern/tensor.h"

/* Bytes in use against a cap. */
typedef struct qn_meter {
    uint64_t bytes, limit_bytes;
} qn_meter;

/* Take or give back bytes. Fails with QN_ERR_LIMIT ("N bytes more in a session of at most M"); then nothing was taken. */
qn_status qn_meter_take(qn_meter *m, uint64_t bytes, qn_error *err);
void qn_meter_give(qn_meter *m, uint64_t bytes);

typedef struct qn_box {
    qn_meter *meter;
    int64_t refs;
    qn_tensor tensor; /* owned, dense; QN_STRING too */
} qn_box;

/* A box with zeroed room for a tensor of a fixed-size dtype, or a deep copy of src; one reference, the caller's.
 * Fail with QN_ERR_LIMIT, QN_ERR_NOMEM, or like qn_shape_bytes(). */
qn_status qn_box_alloc(qn_meter *m, qn_dtype dtype, int32_t rank, const int64_t *dims, qn_box **out, qn_error *err);
qn_status qn_box_copy(qn_meter *m, const qn_tensor *src, qn_box **out, qn_error *err);
void qn_box_unref(qn_box *b); /* NULL allowed */

typedef struct qn_items {
    bool present;
    int64_t n, cap;
    qn_box **box; /* [n], one reference each; owned */
} qn_items;

/* No elements, not present; memory of the list is kept. */
void qn_items_clear(qn_items *items);
/* The same, and the list is freed. */
void qn_items_release(qn_items *items);
/* Put box before element `at` (0..n), taking over the caller's reference, also when it fails. Fails with QN_ERR_NOMEM. */
qn_status qn_items_insert(qn_items *items, int64_t at, qn_box *box, qn_error *err);
/* Take out element `at` (0..n-1). */
void qn_items_remove(qn_items *items, int64_t at);
/* Become the same elements as src, shared. dst and src may be the same. Fails with QN_ERR_NOMEM. */
qn_status qn_items_share(qn_items *dst, const qn_items *src, qn_error *err);

#endif
