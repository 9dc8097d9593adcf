/* core/ops/move.h - what the shape, movement and indexing ops share: reading their small integer inputs, and one way to run an op
 * that only moves elements, strings included. Messages name no node: whoever calls an op puts it in front. */
#ifndef QUERN_OPS_MOVE_H
#define QUERN_OPS_MOVE_H

#include "core/graph/op.h"
#include "core/kernels/move/move.h"

/* -- inference ------------------------------------------------------------------------------------------------------------ */

/* The first `required` inputs are given, and every input given is a tensor. Fails with QN_ERR_INVALID, QN_ERR_DTYPE. */
qn_status qn_move_need(const qn_infer *c, int32_t required, qn_error *err);

/* Input i, if its dtype is known, is one of the set bits (1u << QN_I64 | ...). Fails with QN_ERR_DTYPE. */
qn_status qn_move_need_dtype(const qn_infer *c, int32_t i, uint32_t set, qn_error *err);
#define QN_MOVE_INDEX (1u << QN_I32 | 1u << QN_I64)

/* Input i, if its rank is known, has rank lo..hi. Fails with QN_ERR_SHAPE. */
qn_status qn_move_need_rank(const qn_infer *c, int32_t i, int32_t lo, int32_t hi, qn_error *err);

/* *t = a plain tensor; rank -1 or 0..QN_MAX_RANK with every dim unknown. Fails with QN_ERR_LIMIT (rank too high). */
qn_status qn_move_type(qn_type *t, qn_dtype dtype, int64_t rank, qn_error *err);

/* *t = input i with every dim unknown: the same dtype, rank and per-tensor quantization. */
void qn_move_like(const qn_infer *c, int32_t i, qn_type *t);

/* The dtype that an attribute gives as a number of TensorProto.DataType; QN_DTYPE_NONE if Quern has no such one. */
qn_dtype qn_move_onnx_dtype(int64_t number);

/* Elements of input i where it is a known integer of rank 0 or 1, else NULL. */
const qn_dim *qn_move_known(qn_infer *c, int32_t i, int32_t *n);
/* Output 0 is known: n elements (rank 0 when n < 0) copied from elems. Does nothing when they are too many. */
void qn_move_set_known(qn_infer *c, int32_t n, const qn_dim *elems);

/* d as a number, or false. */
static inline bool qn_move_number(const qn_infer *c, qn_dim d, int64_t *v) { return d != QN_DIM_UNKNOWN && qn_dims_value(c->dims, d, v); }

/* Element k of integer input i, if it is known as a number: for rows functions, which see no constants but their knowns. */
bool qn_move_known_at(const qn_infer *c, int32_t i, int32_t k, int64_t *v);

/* a and b, dims of one axis that broadcast (or are equal, when `exact`): the dim they give, UNKNOWN if it cannot be told.
 * false if they provably disagree. */
bool qn_move_join(const qn_infer *c, qn_dim a, qn_dim b, bool exact, qn_dim *out);

/* -- lists of integers: an attribute in older opsets, an input in newer ones ---------------------------------------------- */

#define QN_MOVE_LIST_MAX 64 /* the longest list any op reads this way: begins and ends of Pad are 2 * QN_MAX_RANK */

typedef enum qn_move_how { QN_MOVE_ABSENT, QN_MOVE_UNKNOWN, QN_MOVE_NUMBERS } qn_move_how;

typedef struct qn_move_list {
    qn_move_how how; /* UNKNOWN: given, but the numbers are not known before the run */
    int32_t n;       /* UNKNOWN: -1, or the count if at least that is known */
    int64_t v[QN_MOVE_LIST_MAX];
} qn_move_list;

/* Attribute `attr` if the node has it (NULL: there is none), else input i (-1: there is none).
 * Fails with QN_ERR_LIMIT (too long), QN_ERR_DTYPE, QN_ERR_SHAPE (not rank 0 or 1). */
qn_status qn_move_list_infer(qn_infer *c, const char *attr, int32_t i, qn_move_list *out, qn_error *err);
qn_status qn_move_list_run(const qn_run *r, const char *attr, int32_t i, qn_move_list *out, qn_error *err);

/* axis in [-rank, rank - 1] -> [0, rank - 1]. Fails with QN_ERR_SHAPE. */
qn_status qn_move_axis(int64_t axis, int32_t rank, int32_t *out, qn_error *err);
/* The same for a list, each axis once; list->v becomes normalized. */
qn_status qn_move_axes(qn_move_list *list, int32_t rank, qn_error *err);

/* -- running -------------------------------------------------------------------------------------------------------------- */

/* True if input i is there. */
static inline bool qn_move_has(const qn_run *r, int32_t i) { return i < r->node->n_in && r->in[i].dtype != QN_DTYPE_NONE; }
static inline bool qn_move_wants(const qn_run *r, int32_t i) { return i < r->node->n_out && r->node->out[i] != QN_NONE; }

/* Element i of an integer or bool tensor. */
int64_t qn_move_int(const qn_tensor *t, int64_t i);
/* Element i of a floating point tensor (F16, BF16, F32, F64). */
double qn_move_real(const qn_tensor *t, int64_t i);

static inline qn_move_index qn_move_indices(const qn_tensor *t) { return (qn_move_index){ t->data, t->dtype == QN_I64 }; }

/* Fails with QN_ERR_RANGE, naming index, axis and size, unless every element of t lies in [-size, size - 1]. */
qn_status qn_move_check_indices(const qn_tensor *t, int32_t axis, int64_t size, qn_error *err);

/* Memory for output i of this shape: checks what the plan placed, or asks for it. Not for QN_STRING. */
qn_status qn_move_output(qn_run *r, int32_t i, qn_dtype dtype, int32_t rank, const int64_t *dims, qn_error *err);

/* Shape of output i from the inputs, all of it checked, and then the elements: fill() finds r->out[] in place. */
typedef qn_status qn_move_dims_fn(const qn_run *r, int32_t i, int32_t *rank, int64_t *dims, qn_error *err);
typedef qn_status qn_move_fill_fn(qn_run *r, qn_error *err);

/* Run an op that moves elements: every output has the dtype of input `data`. Strings go through fill() as numbers: it sees i64
 * tensors of ordinals (0 is the empty string), and what it moved says which strings come out where. */
qn_status qn_move_run(qn_run *r, int32_t data, qn_move_dims_fn *dims, qn_move_fill_fn *fill, qn_error *err);

/* Work memory: what lower asked for when that is enough, else from the heap (the shape was not known then). */
typedef struct qn_move_work {
    void *mem;
    void *heap; /* NULL if mem is the plan's */
} qn_move_work;

/* For lower: scratch of `bytes`, remembered for qn_move_work_begin(). */
qn_status qn_move_lower_work(qn_lower *lo, size_t bytes, qn_error *err);
qn_status qn_move_work_begin(const qn_run *r, size_t bytes, qn_move_work *w, qn_error *err);
void qn_move_work_end(qn_move_work *w);

/* Work memory cut into pieces: a first walk with mem NULL counts, a second with `at` bytes of memory hands out, in the same order. */
typedef struct qn_move_pieces {
    char *mem; /* NULL: only counting, and every piece is NULL */
    size_t at;
    bool failed; /* a size overflowed */
} qn_move_pieces;
void *qn_move_piece(qn_move_pieces *p, int64_t n, size_t size);

/* Product of dims[from .. to). */
int64_t qn_move_span(const int64_t *dims, int32_t from, int32_t to);
/* m = rank axes of dims, row-major in both. */
void qn_move_dense(qn_move *m, int32_t rank, const int64_t *dims);

/* A view: output 0 has the bytes of input 0. */
qn_status qn_move_same_bytes(qn_run *r, qn_error *err);

/* -- rows ----------------------------------------------------------------------------------------------------------------- */

/* True if input i carries the rows and no other input does. */
bool qn_move_rows_only(const qn_infer *c, const int32_t *in_axis, int32_t i);

#endif
