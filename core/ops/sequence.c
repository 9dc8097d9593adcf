/* core/ops/sequence.c - SequenceEmpty, SequenceConstruct, SequenceLength, SequenceAt, SequenceInsert, SequenceErase.
 * Spec   ONNX 11 on. A position is one i32 or i64 in [-n, n - 1] (SequenceInsert: [-n, n]) of a sequence of n elements; below 0 it counts
 *        from the end. Left out, SequenceInsert appends and SequenceErase takes the last. Anything else is QN_ERR_RANGE.
 *        The elements of a sequence have one dtype; their shapes may differ.
 * Value  elements are shared between sequences, never copied from one into another: a Loop that appends costs one tensor a step. */
#include "core/ops/items.h"

#include <inttypes.h>

/* A position that input i gives, in [0, top]; `at` keeps its preset if the input is left out. n: what -1 counts back from. */
static qn_status position(const qn_run *r, int32_t i, int64_t n, int64_t top, int64_t *at, qn_error *err)
{
    int64_t given;

    if (!qn_move_has(r, i)) return QN_OK;
    if (qn_tensor_count(&r->in[i]) != 1)
        return qn_error_set(err, QN_ERR_SHAPE, "position has %" PRId64 " elements, expected a scalar", qn_tensor_count(&r->in[i]));
    given = qn_move_int(&r->in[i], 0);
    if (given < -n || given > top)
        return qn_error_set(err, QN_ERR_RANGE, "position %" PRId64 " in a sequence of %" PRId64 " elements, expected %" PRId64 "..%" PRId64,
                            given, n, -n, top);
    *at = given < 0 ? given + n : given;
    return QN_OK;
}

static qn_status need_position(const qn_infer *c, int32_t i, qn_error *err)
{
    qn_status st;

    if (!qn_infer_has(c, i)) return QN_OK;
    if ((st = qn_items_need_tensor(c, i, err)) != QN_OK || (st = qn_move_need_dtype(c, i, QN_MOVE_INDEX, err)) != QN_OK) return st;
    return qn_move_need_rank(c, i, 0, 1, err);
}

/* -- SequenceEmpty -------------------------------------------------------------------------------------------------------- */

static qn_status empty_infer(qn_infer *c, qn_error *err)
{
    const int64_t number = qn_node_int(c->node, "dtype", 1);
    const qn_type elem = { .dtype = qn_move_onnx_dtype(number), .rank = -1 };

    if (elem.dtype == QN_DTYPE_NONE) return qn_error_set(err, QN_ERR_UNSUPPORTED, "a sequence of ONNX data type %" PRId64, number);
    qn_items_type(&c->out[0], QN_KIND_SEQUENCE, QN_KIND_TENSOR, &elem);
    return QN_OK;
}

static qn_status empty_run(qn_run *r, qn_error *err)
{
    (void)err;
    qn_run_new_items(r, 0)->present = true;
    return QN_OK;
}

const qn_op qn_op_sequence_empty = {
    .name = "SequenceEmpty",
    .since = 11,
    .min_in = 0,
    .max_in = 0,
    .min_out = 1,
    .max_out = 1,
    .infer = empty_infer,
    .run = empty_run,
};

/* -- SequenceConstruct ---------------------------------------------------------------------------------------------------- */

static qn_status construct_infer(qn_infer *c, qn_error *err)
{
    qn_status st;

    for (int32_t i = 0; i < c->node->n_in; i++) {
        const qn_type *x = &c->in[i];

        if ((st = qn_items_need_tensor(c, i, err)) != QN_OK) return st;
        if (i == 0) qn_items_type(&c->out[0], QN_KIND_SEQUENCE, QN_KIND_TENSOR, x);
        if (x->dtype != QN_DTYPE_NONE && c->out[0].dtype != QN_DTYPE_NONE && x->dtype != c->out[0].dtype)
            return qn_error_set(err, QN_ERR_DTYPE, "input %" PRId32 " is %s, input 0 is %s: a sequence has one dtype", i,
                                qn_dtype_name(x->dtype), qn_dtype_name(c->out[0].dtype));
        qn_items_join(&c->out[0], x);
    }
    return QN_OK;
}

static qn_status construct_run(qn_run *r, qn_error *err)
{
    qn_items *y = qn_run_new_items(r, 0);
    qn_status st = QN_OK;

    y->present = true;
    for (int32_t i = 0; i < r->node->n_in && st == QN_OK; i++) st = qn_items_put(r, y, i, &r->in[i], err);
    return st;
}

const qn_op qn_op_sequence_construct = {
    .name = "SequenceConstruct",
    .since = 11,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .flags = QN_OP_VARIADIC,
    .infer = construct_infer,
    .run = construct_run,
};

/* -- SequenceLength ------------------------------------------------------------------------------------------------------- */

static qn_status length_infer(qn_infer *c, qn_error *err)
{
    const qn_status st = qn_items_need_sequence(c, 0, err);

    return st == QN_OK ? qn_move_type(&c->out[0], QN_I64, 0, err) : st;
}

static qn_status length_run(qn_run *r, qn_error *err)
{
    const qn_status st = qn_move_output(r, 0, QN_I64, 0, NULL, err);

    if (st == QN_OK) *(int64_t *)r->out[0].data = qn_run_items(r, 0)->n;
    return st;
}

const qn_op qn_op_sequence_length = {
    .name = "SequenceLength",
    .since = 11,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = length_infer,
    .run = length_run,
};

/* -- SequenceAt ----------------------------------------------------------------------------------------------------------- */

static qn_status at_infer(qn_infer *c, qn_error *err)
{
    qn_status st;

    if ((st = qn_items_need_sequence(c, 0, err)) != QN_OK || (st = qn_items_need_tensor(c, 1, err)) != QN_OK) return st;
    if ((st = need_position(c, 1, err)) != QN_OK) return st;
    qn_items_element(&c->out[0], &c->in[0]);
    return QN_OK;
}

static qn_status at_run(qn_run *r, qn_error *err)
{
    const qn_items *x = qn_run_items(r, 0);
    int64_t at = 0;
    const qn_status st = position(r, 1, x->n, x->n - 1, &at, err);

    return st == QN_OK ? qn_items_give(r, 0, &x->box[at]->tensor, err) : st;
}

const qn_op qn_op_sequence_at = {
    .name = "SequenceAt",
    .since = 11,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = at_infer,
    .run = at_run,
};

/* -- SequenceInsert ------------------------------------------------------------------------------------------------------- */

static qn_status insert_infer(qn_infer *c, qn_error *err)
{
    const qn_type *s = &c->in[0], *x = &c->in[1];
    qn_status st;

    if ((st = qn_items_need_sequence(c, 0, err)) != QN_OK || (st = qn_items_need_tensor(c, 1, err)) != QN_OK) return st;
    if ((st = need_position(c, 2, err)) != QN_OK) return st;
    if (s->dtype != QN_DTYPE_NONE && x->dtype != QN_DTYPE_NONE && s->dtype != x->dtype)
        return qn_error_set(err, QN_ERR_DTYPE, "a tensor of %s into a sequence of %s", qn_dtype_name(x->dtype), qn_dtype_name(s->dtype));
    qn_items_type(&c->out[0], QN_KIND_SEQUENCE, QN_KIND_TENSOR, s);
    qn_items_join(&c->out[0], x);
    return QN_OK;
}

static qn_status insert_run(qn_run *r, qn_error *err)
{
    const qn_items *x = qn_run_items(r, 0);
    qn_items *y = qn_run_new_items(r, 0);
    int64_t at = x->n;
    qn_status st = position(r, 2, x->n, x->n, &at, err);

    if (st == QN_OK) st = qn_items_share(y, x, err);
    return st == QN_OK ? qn_items_put(r, y, at, &r->in[1], err) : st;
}

const qn_op qn_op_sequence_insert = {
    .name = "SequenceInsert",
    .since = 11,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .infer = insert_infer,
    .run = insert_run,
};

/* -- SequenceErase -------------------------------------------------------------------------------------------------------- */

static qn_status erase_infer(qn_infer *c, qn_error *err)
{
    qn_status st = qn_items_need_sequence(c, 0, err);

    if (st == QN_OK) st = need_position(c, 1, err);
    if (st == QN_OK) qn_items_type(&c->out[0], QN_KIND_SEQUENCE, QN_KIND_TENSOR, &c->in[0]);
    return st;
}

static qn_status erase_run(qn_run *r, qn_error *err)
{
    const qn_items *x = qn_run_items(r, 0);
    qn_items *y = qn_run_new_items(r, 0);
    int64_t at = x->n - 1;
    qn_status st = position(r, 1, x->n, x->n - 1, &at, err);

    if (st == QN_OK && x->n == 0) st = qn_error_set(err, QN_ERR_RANGE, "the sequence is empty, expected an element to erase");
    if (st == QN_OK) st = qn_items_share(y, x, err);
    if (st == QN_OK) qn_items_remove(y, at);
    return st;
}

const qn_op qn_op_sequence_erase = {
    .name = "SequenceErase",
    .since = 11,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = erase_infer,
    .run = erase_run,
};
