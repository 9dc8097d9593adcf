/* core/ops/splitsequence.c - SplitToSequence, ConcatFromSequence: a tensor cut along an axis into a sequence, and back.
 * Spec   ONNX 11 on. SplitToSequence: a scalar `split` is the length of every piece but the last, which may be shorter; a list has the length
 *        of each and adds up to the axis (0 makes an empty piece). Without `split` the pieces have length 1, and keepdims = 0 takes the
 *        axis out of them; with it keepdims says nothing.
 *        ConcatFromSequence: new_axis = 0 joins along `axis` in [-r, r - 1]; new_axis = 1 stacks along a new axis in [-r - 1, r]. A sequence
 *        without elements has no shape to give: QN_ERR_SHAPE. */
#include "core/ops/items.h"

#include "core/base/checked.h"
#include "core/tensor/strings.h"

#include <inttypes.h>
#include <string.h>

/* [outer, axis, inner] of a tensor. */
typedef struct cut {
    int64_t outer, size, inner;
} cut;

static cut cut_at(const qn_tensor *t, int32_t axis)
{
    return (cut){ qn_move_span(t->dims, 0, axis), t->dims[axis], qn_move_span(t->dims, axis + 1, t->rank) };
}

/* -- strings -------------------------------------------------------------------------------------------------------------- */

/* Bytes of strings [from, from + n) of t. */
static uint64_t text_bytes(const qn_tensor *t, int64_t from, int64_t n)
{
    const uint64_t *off = qn_strings_offsets(t);

    return n > 0 ? off[from + n] - off[from] : 0;
}

/* Strings [from, from + n) of src to place `at` of dst, whose offsets are right up to there. */
static void copy_text(const qn_tensor *src, int64_t from, int64_t n, const qn_tensor *dst, int64_t at)
{
    const uint64_t *a = qn_strings_offsets(src);
    uint64_t *b = qn_strings_offsets(dst);

    if (n <= 0) return;
    memcpy(qn_strings_blob(dst) + b[at], qn_strings_blob(src) + a[from], (size_t)(a[from + n] - a[from]));
    for (int64_t i = 0; i < n; i++) b[at + i + 1] = b[at + i] + (a[from + i + 1] - a[from + i]);
}

/* -- SplitToSequence ------------------------------------------------------------------------------------------------------ */

static bool drops_axis(const qn_node *node, bool has_split) { return !has_split && qn_node_int(node, "keepdims", 1) == 0; }

static qn_status split_infer(qn_infer *c, qn_error *err)
{
    const qn_type *x = &c->in[0];
    qn_type elem = *x;
    const bool drop = drops_axis(c->node, qn_infer_has(c, 1));
    int32_t axis;
    qn_status st;

    if ((st = qn_items_need_tensor(c, 0, err)) != QN_OK) return st;
    if (qn_infer_has(c, 1) &&
        ((st = qn_items_need_tensor(c, 1, err)) != QN_OK || (st = qn_move_need_dtype(c, 1, QN_MOVE_INDEX, err)) != QN_OK ||
         (st = qn_move_need_rank(c, 1, 0, 1, err)) != QN_OK))
        return st;
    if (x->rank >= 0) {
        if ((st = qn_move_axis(qn_node_int(c->node, "axis", 0), x->rank, &axis, err)) != QN_OK) return st;
        elem.dims[axis] = qn_infer_has(c, 1) ? QN_DIM_UNKNOWN : qn_dims_const(c->dims, 1);
        for (int32_t a = axis; drop && a + 1 < x->rank; a++) elem.dims[a] = x->dims[a + 1];
        elem.rank -= drop;
    }
    qn_items_type(&c->out[0], QN_KIND_SEQUENCE, QN_KIND_TENSOR, &elem);
    return QN_OK;
}

/* Pieces of an axis of `size`, all of them checked. */
static qn_status count_pieces(const qn_run *r, int64_t size, int64_t *n, qn_error *err)
{
    const qn_tensor *split = &r->in[1];
    int64_t total = 0, len;

    *n = size;
    if (!qn_move_has(r, 1)) return QN_OK;
    if (split->rank == 0) {
        len = qn_move_int(split, 0);
        if (len <= 0) return qn_error_set(err, QN_ERR_SHAPE, "split is %" PRId64 ", expected 1 or more", len);
        *n = size / len + (size % len != 0);
        return QN_OK;
    }
    *n = qn_tensor_count(split);
    for (int64_t i = 0; i < *n; i++) {
        len = qn_move_int(split, i);
        if (len < 0 || !qn_i64_add(total, len, &total))
            return qn_error_set(err, QN_ERR_SHAPE, "split[%" PRId64 "] is %" PRId64 ", the axis has size %" PRId64, i, len, size);
    }
    if (total == size) return QN_OK;
    return qn_error_set(err, QN_ERR_SHAPE, "the lengths in split add up to %" PRId64 ", the axis has size %" PRId64, total, size);
}

static int64_t piece_length(const qn_run *r, int64_t i, int64_t left)
{
    int64_t len = 1;

    if (qn_move_has(r, 1)) len = qn_move_int(&r->in[1], r->in[1].rank == 0 ? 0 : i);
    return len < left ? len : left;
}

/* Places [at, at + len) of x's axis as a tensor of shape dims. */
static qn_status make_piece(qn_run *r, const cut *c, int64_t at, int64_t len, int32_t rank, const int64_t *dims, qn_box **box,
                            qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const size_t elem = qn_dtype_size(x->dtype);
    const int64_t run = len * c->inner, step = c->size * c->inner, first = at * c->inner;
    qn_move m = { .rank = 2, .dims = { c->outer, run }, .src = { step, 1 }, .dst = { run, 1 } };
    uint64_t text = 0;
    qn_tensor t;
    qn_status st;

    if (x->dtype != QN_STRING) {
        st = qn_box_alloc(qn_run_meter(r), x->dtype, rank, dims, box, err);
        if (st == QN_OK) qn_move_copy(&m, elem, (const char *)x->data + (size_t)first * elem, (*box)->tensor.data, r->team);
        return st;
    }
    for (int64_t o = 0; o < c->outer; o++) text += text_bytes(x, o * step + first, run);
    if ((st = qn_strings_alloc(rank, dims, text, &t, err)) != QN_OK) return st;
    for (int64_t o = 0; o < c->outer; o++) copy_text(x, o * step + first, run, &t, o * run);
    st = qn_box_copy(qn_run_meter(r), &t, box, err);
    qn_tensor_free(&t);
    return st;
}

static qn_status split_run(qn_run *r, qn_error *err)
{
    const qn_tensor *x = &r->in[0];
    const bool drop = drops_axis(r->node, qn_move_has(r, 1));
    qn_items *y = qn_run_new_items(r, 0);
    int64_t dims[QN_MAX_RANK], n, at = 0;
    int32_t axis;
    cut c;
    qn_status st = qn_move_axis(qn_node_int(r->node, "axis", 0), x->rank, &axis, err);

    if (st != QN_OK) return st;
    c = cut_at(x, axis);
    if ((st = count_pieces(r, c.size, &n, err)) != QN_OK || (st = qn_items_afford(r, n, err)) != QN_OK) return st;
    if (qn_tensor_count(x) == 0) c.outer = 0; /* nothing to move, and no strides to go by */
    y->present = true;
    for (int64_t i = 0; i < n && st == QN_OK; i++) {
        const int64_t len = piece_length(r, i, c.size - at);
        qn_box *box;

        for (int32_t a = 0; a < x->rank; a++) dims[drop && a > axis ? a - 1 : a] = x->dims[a];
        if (!drop) dims[axis] = len;
        st = make_piece(r, &c, at, len, x->rank - drop, dims, &box, err);
        if (st == QN_OK) st = qn_items_insert(y, i, box, err);
        at += len;
    }
    return st;
}

const qn_op qn_op_split_to_sequence = {
    .name = "SplitToSequence",
    .since = 11,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .infer = split_infer,
    .run = split_run,
    .kernels = "move",
};

/* -- ConcatFromSequence --------------------------------------------------------------------------------------------------- */

/* The axis of the output, and whether it is a new one; rank: of the elements. */
static qn_status concat_axis(const qn_node *node, int32_t rank, int32_t *axis, bool *stack, qn_error *err)
{
    const int64_t flag = qn_node_int(node, "new_axis", 0);

    *stack = flag != 0;
    if (!qn_node_attr(node, "axis")) return qn_error_set(err, QN_ERR_INVALID, "attribute axis is missing");
    if (flag != 0 && flag != 1) return qn_error_set(err, QN_ERR_INVALID, "new_axis is %" PRId64 ", expected 0 or 1", flag);
    return qn_move_axis(qn_node_int(node, "axis", 0), rank + *stack, axis, err);
}

static qn_status concat_infer(qn_infer *c, qn_error *err)
{
    const qn_type *s = &c->in[0];
    int32_t axis;
    bool stack;
    qn_status st = qn_items_need_sequence(c, 0, err);

    if (st != QN_OK) return st;
    qn_items_element(&c->out[0], s);
    if (s->rank < 0) return QN_OK;
    if ((st = concat_axis(c->node, s->rank, &axis, &stack, err)) != QN_OK) return st;
    if ((st = qn_move_type(&c->out[0], s->dtype, s->rank + stack, err)) != QN_OK) return st;
    for (int32_t a = 0; a < s->rank; a++) c->out[0].dims[stack && a >= axis ? a + 1 : a] = s->dims[a];
    c->out[0].dims[axis] = QN_DIM_UNKNOWN;
    return QN_OK;
}

/* Shape of the output; every element agrees with the first where it must. */
static qn_status concat_dims(const qn_items *s, int32_t axis, bool stack, int64_t *dims, qn_error *err)
{
    const qn_tensor *first = &s->box[0]->tensor;
    int64_t along = stack ? s->n : 0;

    for (int64_t i = 0; i < s->n; i++) {
        const qn_tensor *t = &s->box[i]->tensor;
        bool same = t->rank == first->rank && t->dtype == first->dtype;
        char a[96], b[96];

        for (int32_t d = 0; same && d < t->rank; d++) same = t->dims[d] == first->dims[d] || (!stack && d == axis);
        if (!same)
            return qn_error_set(err, QN_ERR_SHAPE, "element %" PRId64 " is %s %s, which does not join %s %s along axis %" PRId32, i,
                                qn_dtype_name(t->dtype), qn_shape_print(t->rank, t->dims, a, sizeof a), qn_dtype_name(first->dtype),
                                qn_shape_print(first->rank, first->dims, b, sizeof b), axis);
        if (!stack && !qn_i64_add(along, t->dims[axis], &along)) return qn_error_set(err, QN_ERR_LIMIT, "axis %" PRId32 " overflows", axis);
    }
    for (int32_t d = 0; d < first->rank; d++) dims[stack && d >= axis ? d + 1 : d] = first->dims[d];
    dims[axis] = along;
    return QN_OK;
}

static qn_status concat_strings(qn_run *r, const qn_items *s, int32_t rank, const int64_t *dims, int32_t axis, qn_error *err)
{
    const int64_t outer = qn_move_span(dims, 0, axis), inner = qn_move_span(dims, axis + 1, rank);
    int64_t count, at = 0;
    size_t text = 0, bytes;
    uint64_t *off;
    qn_status st = qn_shape_count(rank, dims, &count, err);

    if (st != QN_OK) return st;
    for (int64_t i = 0; i < s->n; i++) {
        const qn_tensor *t = &s->box[i]->tensor;

        if (!qn_size_add(text, (size_t)text_bytes(t, 0, qn_tensor_count(t)), &text)) text = SIZE_MAX;
    }
    if (!qn_strings_bytes(count, text, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "strings of the output");
    if ((st = qn_run_output(r, 0, QN_STRING, rank, dims, bytes, err)) != QN_OK) return st;
    off = qn_strings_offsets(&r->out[0]);
    off[0] = 0;
    for (int64_t o = 0; count > 0 && o < outer; o++) {
        for (int64_t i = 0; i < s->n; i++) {
            const qn_tensor *t = &s->box[i]->tensor;
            const int64_t run = (t->rank == rank ? t->dims[axis] : 1) * inner;

            copy_text(t, o * run, run, &r->out[0], at);
            at += run;
        }
    }
    return QN_OK;
}

static qn_status concat_run(qn_run *r, qn_error *err)
{
    const qn_items *s = qn_run_items(r, 0);
    const qn_tensor *first = s->n > 0 ? &s->box[0]->tensor : NULL;
    int64_t dims[QN_MAX_RANK] = { 0 }, inner, at = 0;
    int32_t axis, rank;
    size_t elem;
    bool stack;
    qn_status st;

    if (!first) return qn_error_set(err, QN_ERR_SHAPE, "the sequence is empty, expected tensors to join");
    if ((st = concat_axis(r->node, first->rank, &axis, &stack, err)) != QN_OK) return st;
    rank = first->rank + stack;
    if (rank > QN_MAX_RANK) return qn_error_set(err, QN_ERR_LIMIT, "output of rank %" PRId32 ", at most %d", rank, QN_MAX_RANK);
    if ((st = concat_dims(s, axis, stack, dims, err)) != QN_OK) return st;
    if (first->dtype == QN_STRING) return concat_strings(r, s, rank, dims, axis, err);
    if ((st = qn_move_output(r, 0, first->dtype, rank, dims, err)) != QN_OK) return st;
    if (qn_tensor_count(&r->out[0]) == 0) return QN_OK;
    elem = qn_dtype_size(first->dtype);
    inner = qn_move_span(dims, axis + 1, rank);
    for (int64_t i = 0; i < s->n; i++) {
        const qn_tensor *t = &s->box[i]->tensor;
        const int64_t run = (stack ? 1 : t->dims[axis]) * inner;
        qn_move m = { .rank = 2, .dims = { qn_move_span(dims, 0, axis), run }, .src = { run, 1 }, .dst = { dims[axis] * inner, 1 } };

        qn_move_copy(&m, elem, t->data, (char *)r->out[0].data + (size_t)at * elem, r->team);
        at += run;
    }
    return QN_OK;
}

const qn_op qn_op_concat_from_sequence = {
    .name = "ConcatFromSequence",
    .since = 11,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = concat_infer,
    .run = concat_run,
    .kernels = "move",
};
