/* core/tensor/broadcast.h - shapes that stretch to meet each other, and a walk over several tensors at once.
 *
 * Two shapes are aligned at their last dimensions; a missing dimension counts as 1; sizes agree or one of them is 1.
 * Source:  ONNX, "Multidirectional Broadcasting" (the rules of NumPy). All dims here are numbers: symbols are core/graph's.
 * Threads: pure functions and plain data. */
#ifndef QUERN_TENSOR_BROADCAST_H
#define QUERN_TENSOR_BROADCAST_H

#include "quern/tensor.h"

/* The common shape of a and b, which is for qn_shape_count() to check, into *rank, dims[QN_MAX_RANK]; `dims` may be a or b. Fails with QN_ERR_SHAPE (sizes disagree). */
qn_status qn_broadcast_shape(int32_t a_rank, const int64_t *a, int32_t b_rank, const int64_t *b, int32_t *rank, int64_t *dims,
                             qn_error *err);
/* The common shape of n tensors, n >= 1; those of dtype QN_DTYPE_NONE (left out) are skipped. */
qn_status qn_broadcast_tensors(const qn_tensor *const *t, int32_t n, int32_t *rank, int64_t *dims, qn_error *err);

/* True if `from` may be stretched to `to` (unidirectional broadcasting). */
bool qn_broadcast_fits(int32_t from_rank, const int64_t *from, int32_t to_rank, const int64_t *to);

/* strides[to_rank] in elements of a dense tensor of shape `from` seen in shape `to`: 0 along stretched dimensions.
 * from must fit to. */
void qn_broadcast_strides(int32_t from_rank, const int64_t *from, int32_t to_rank, const int64_t *to, int64_t *strides);

/* A walk in row-major order over a shape, with the offsets of up to QN_ODOMETER_MAX tensors kept beside it. Neighbouring
 * dimensions that every tensor steps through as one are joined, so the inner loop is as long as it can be:
 *
 *     qn_odometer o;
 *     qn_odometer_init(&o, 3, rank, dims, strides);
 *     for (bool more = o.n_outer > 0; more; more = qn_odometer_next(&o))
 *         for (int64_t i = 0; i < o.n_inner; i++)
 *             y[o.at[2] + i * o.step[2]] = x[o.at[0] + i * o.step[0]] + w[o.at[1] + i * o.step[1]]; */
#define QN_ODOMETER_MAX 4
typedef struct qn_odometer {
    int64_t n_outer, n_inner;      /* n_outer * n_inner elements; n_outer is 0 when there are none */
    int64_t at[QN_ODOMETER_MAX];   /* offset in elements of the first element of the inner loop */
    int64_t step[QN_ODOMETER_MAX]; /* stride of the inner loop */
    /* internal */
    int32_t n, rank; /* tensors; outer dimensions left after joining */
    int64_t dims[QN_MAX_RANK], index[QN_MAX_RANK], strides[QN_ODOMETER_MAX][QN_MAX_RANK];
} qn_odometer;

/* strides[n]: each [rank], in elements, any value (0: stretched, negative allowed). */
void qn_odometer_init(qn_odometer *o, int32_t n, int32_t rank, const int64_t *dims, int64_t (*strides)[QN_MAX_RANK]);
/* To the next inner loop; false after the last (then it stands at the first again). */
bool qn_odometer_next(qn_odometer *o);
/* To inner loop i of [0, n_outer): where a tile starts. */
void qn_odometer_seek(qn_odometer *o, int64_t i);

#endif
