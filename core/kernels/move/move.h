/* core/kernels/move/move.h - copies of n-dimensional blocks: transpose, slice, concat, expand, gather are all one of these.
 * Elements are 1, 2, 4 or 8 bytes and never looked at. Strides count elements, may be negative, and 0 repeats an element.
 * Bounds are the caller's: every offset reached from src and dst lies inside their memory, src and dst do not overlap.
 * Threads: team may be NULL; work is cut by shape alone. */
#ifndef QUERN_KERNELS_MOVE_MOVE_H
#define QUERN_KERNELS_MOVE_MOVE_H

#include "core/kernels/kernel.h"

#define QN_MOVE_MAX_RANK 16 /* twice QN_MAX_RANK: Tile and DepthToSpace split every axis in two */

typedef struct qn_move {
    int32_t rank;                   /* 0 copies one element */
    int64_t dims[QN_MOVE_MAX_RANK]; /* >= 0, in the order of dst: writes stream when dst strides fall from left to right */
    int64_t src[QN_MOVE_MAX_RANK];  /* step of one along each axis */
    int64_t dst[QN_MOVE_MAX_RANK];
} qn_move;

/* dst[sum i_a dst_a] = src[sum i_a src_a] for all i in dims. */
void qn_move_copy(const qn_move *m, size_t elem, const void *src, void *dst, qn_team *team);

/* dst[0 .. n) = *value. */
void qn_move_fill(void *dst, int64_t n, size_t elem, const void *value);

/* Integers as an op reads them: 32 or 64 bits. */
typedef struct qn_move_index {
    const void *data;
    bool wide; /* i64, else i32 */
} qn_move_index;

static inline int64_t qn_move_at(qn_move_index x, int64_t i)
{
    return x.wide ? ((const int64_t *)x.data)[i] : ((const int32_t *)x.data)[i];
}

/* src [outer, axis, block bytes] -> dst [outer, n, block bytes]: dst[o][i] = src[o][index[i]], an index below 0 counts from the end.
 * Every index lies in [-axis, axis - 1]. */
void qn_move_gather(const void *src, void *dst, int64_t outer, int64_t axis, size_t block, qn_move_index index, int64_t n, qn_team *team);

#endif
