/* core/kernels/move/table.h - resampling: every axis of the output has a table that says where its places come from.
 * Threads: team may be NULL; work is cut by shape alone. */
#ifndef QUERN_KERNELS_MOVE_TABLE_H
#define QUERN_KERNELS_MOVE_TABLE_H

#include "core/kernels/kernel.h"
#include "quern/tensor.h"

typedef struct qn_move_tables {
    int32_t rank; /* 1 or more */
    int64_t dims[QN_MAX_RANK];
    const int64_t *from[QN_MAX_RANK]; /* [dims[a]] source offset in elements that place i of axis a adds */
} qn_move_tables;

/* dst, dense, [dims]: the element at the sum of its axes' offsets. Elements of 1, 2, 4 or 8 bytes. */
void qn_move_by_table(const qn_move_tables *t, size_t elem, const void *src, void *dst, qn_team *team);

/* One axis as weighted sums: place j of the output is sum over t of weight[j * taps + t] * place index[j * taps + t] of the input,
 * added in the order of t. */
typedef struct qn_move_filter {
    int64_t n_in, n_out, taps;
    const int64_t *index; /* [n_out, taps] in [0, n_in) */
    const double *weight; /* [n_out, taps]; as f32 in the f32 kernel */
} qn_move_filter;

/* src [outer, n_in, inner] -> dst [outer, n_out, inner]. */
void qn_move_filter_f32(const qn_move_filter *f, const float *src, float *dst, int64_t outer, int64_t inner, qn_team *team);
void qn_move_filter_f64(const qn_move_filter *f, const double *src, double *dst, int64_t outer, int64_t inner, qn_team *team);

#endif
