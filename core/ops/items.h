/* core/ops/items.h - what the ops on sequences and optionals share. Messages name no node: whoever calls an op puts it in front. */
#ifndef QUERN_OPS_ITEMS_H
#define QUERN_OPS_ITEMS_H

#include "core/ops/move.h"

/* *t = a sequence, or an optional that holds `of`, of elements like *elem (dtype, rank, dims). */
void qn_items_type(qn_type *t, qn_kind kind, qn_kind of, const qn_type *elem);
/* *t = a plain tensor like the elements of *items. */
void qn_items_element(qn_type *t, const qn_type *items);
/* Elements like *elem join those of *t: what is not the same in both is unknown afterwards. Any two ranks may share a sequence. */
void qn_items_join(qn_type *t, const qn_type *elem);

/* Input i is a sequence / a tensor. Fails with QN_ERR_INVALID (left out), QN_ERR_DTYPE. */
qn_status qn_items_need_sequence(const qn_infer *c, int32_t i, qn_error *err);
qn_status qn_items_need_tensor(const qn_infer *c, int32_t i, qn_error *err);

/* Output i = a copy of t; strings too. Fails with QN_ERR_DTYPE, QN_ERR_SHAPE (not what the plan expected), and as qn_run_output() does. */
qn_status qn_items_give(qn_run *r, int32_t i, const qn_tensor *t, qn_error *err);

/* Put a copy of t before element `at` of items. Fails as qn_box_copy() and qn_items_insert() do. */
qn_status qn_items_put(qn_run *r, qn_items *items, int64_t at, const qn_tensor *t, qn_error *err);

/* Before n boxes are made one by one: is there room for them at all? Fails with QN_ERR_LIMIT. */
qn_status qn_items_afford(qn_run *r, int64_t n, qn_error *err);

#endif
