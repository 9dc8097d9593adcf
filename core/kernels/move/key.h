/* core/kernels/move/key.h - elements of any numeric type as unsigned integers of the same order, so that sorting knows one type.
 * -0 and +0 have one key; every NaN has the largest, above infinity. */
#ifndef QUERN_KERNELS_MOVE_KEY_H
#define QUERN_KERNELS_MOVE_KEY_H

#include "quern/tensor.h"

/* Key of element i of data, which holds dtype: not QN_STRING. */
uint64_t qn_move_key(qn_dtype dtype, const void *data, int64_t i);

/* The k best of the n keys of elements data[0], data[step], data[2 * step], ...: their places 0..n-1, best first; of equal ones the
 * lower place first. 0 <= k <= n. heap: room for k entries, work memory. */
typedef struct qn_move_entry {
    uint64_t key;
    int64_t place;
} qn_move_entry;
void qn_move_top(qn_dtype dtype, const void *data, int64_t n, int64_t step, bool largest, int64_t k, qn_move_entry *heap);

#endif
