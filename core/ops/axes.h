/* core/ops/axes.h - a shape cut into the axes an op reduces (or normalises) over and the axes it keeps.
 * Neighbouring axes of one kind are joined and axes of size 1 dropped, so most reductions become [outer, k] or [outer, k, inner]. */
#ifndef QUERN_OPS_AXES_H
#define QUERN_OPS_AXES_H

#include "core/tensor/broadcast.h"

typedef struct qn_axes {
    int64_t n_kept, k;   /* groups (products of the kept dims); elements of each */
    int64_t inner;       /* kept elements side by side in memory: 1 when the last axis is reduced */
    bool contiguous;     /* the k elements of a group lie in one piece */
    qn_odometer kept;    /* offsets of the groups, in row-major order of the kept axes */
    qn_odometer reduced; /* offsets of the elements of a group, in row-major order of the reduced axes */
} qn_axes;

/* mask: bit i set if axis i is reduced. The product of dims has passed qn_shape_count(). */
void qn_axes_init(qn_axes *a, int32_t rank, const int64_t *dims, uint32_t mask);

/* Offset of group g, 0 <= g < n_kept. */
int64_t qn_axes_group(const qn_axes *a, int64_t g);

/* Reads the elements of one group in order, piece by piece. */
typedef struct qn_axes_reader {
    qn_odometer o;
    int64_t base, at; /* offset of the group; elements of the inner loop that are done */
    bool more;
} qn_axes_reader;

void qn_axes_read(const qn_axes *a, int64_t g, qn_axes_reader *r);
/* Offset of the next element run, its stride and its length (at most `most`); false at the end. */
bool qn_axes_next(qn_axes_reader *r, int64_t most, int64_t *offset, int64_t *step, int64_t *n);

#endif
