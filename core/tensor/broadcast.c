/* core/tensor/broadcast.c - broadcasting and the odometer. */
#include "core/tensor/broadcast.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* Size of dimension i of a shape seen with `rank` dimensions. */
static int64_t aligned_dim(int32_t own_rank, const int64_t *dims, int32_t rank, int32_t i)
{
    return i < rank - own_rank ? 1 : dims[i - (rank - own_rank)];
}

qn_status qn_broadcast_shape(int32_t a_rank, const int64_t *a, int32_t b_rank, const int64_t *b, int32_t *rank, int64_t *dims,
                             qn_error *err)
{
    const int32_t r = a_rank > b_rank ? a_rank : b_rank;
    int64_t out[QN_MAX_RANK];
    char a_text[64], b_text[64];

    assert(r >= 0 && r <= QN_MAX_RANK);
    for (int32_t i = 0; i < r; i++) {
        const int64_t da = aligned_dim(a_rank, a, r, i), db = aligned_dim(b_rank, b, r, i);

        if (da != db && da != 1 && db != 1) {
            return qn_error_set(err, QN_ERR_SHAPE, "shapes %s and %s do not broadcast: %" PRId64 " against %" PRId64,
                                qn_shape_print(a_rank, a, a_text, sizeof a_text), qn_shape_print(b_rank, b, b_text, sizeof b_text), da, db);
        }
        out[i] = da == 1 ? db : da;
    }
    *rank = r;
    if (r) memcpy(dims, out, (size_t)r * sizeof *dims);
    return QN_OK;
}

qn_status qn_broadcast_tensors(const qn_tensor *const *t, int32_t n, int32_t *rank, int64_t *dims, qn_error *err)
{
    qn_status st = QN_OK;

    *rank = 0;
    for (int32_t i = 0; i < n && !st; i++) {
        if (t[i]->dtype != QN_DTYPE_NONE) st = qn_broadcast_shape(*rank, dims, t[i]->rank, t[i]->dims, rank, dims, err);
    }
    return st;
}

bool qn_broadcast_fits(int32_t from_rank, const int64_t *from, int32_t to_rank, const int64_t *to)
{
    if (from_rank > to_rank) return false;
    for (int32_t i = 0; i < from_rank; i++) {
        const int64_t d = to[to_rank - from_rank + i];

        if (from[i] != d && from[i] != 1) return false;
    }
    return true;
}

void qn_broadcast_strides(int32_t from_rank, const int64_t *from, int32_t to_rank, const int64_t *to, int64_t *strides)
{
    int64_t step = 1;

    assert(qn_broadcast_fits(from_rank, from, to_rank, to));
    (void)to;
    for (int32_t i = to_rank - 1; i >= 0; i--) {
        const int64_t d = aligned_dim(from_rank, from, to_rank, i);

        strides[i] = d == 1 ? 0 : step;
        if (d > 0) step *= d;
    }
}

/* True if one step of `outer` goes as far as dims steps of `inner` in every tensor: then the two are one dimension. */
static bool joins(int32_t n, int64_t (*strides)[QN_MAX_RANK], int32_t outer, const int64_t *inner_step, int64_t inner_dim)
{
    for (int32_t k = 0; k < n; k++) {
        int64_t run;

        if (__builtin_mul_overflow(inner_step[k], inner_dim, &run) || strides[k][outer] != run) return false;
    }
    return true;
}

void qn_odometer_init(qn_odometer *o, int32_t n, int32_t rank, const int64_t *dims, int64_t (*strides)[QN_MAX_RANK])
{
    int64_t joined_dim[QN_MAX_RANK], joined_step[QN_MAX_RANK][QN_ODOMETER_MAX];
    int32_t m = 0; /* joined dimensions so far, innermost first */

    assert(n >= 0 && n <= QN_ODOMETER_MAX && rank >= 0 && rank <= QN_MAX_RANK);
    *o = (qn_odometer){ .n = n, .n_outer = 1, .n_inner = 1 };
    for (int32_t i = rank - 1; i >= 0; i--) {
        if (dims[i] == 0) o->n_outer = 0;
        if (dims[i] <= 1) continue; /* no step is ever taken along it */
        if (m > 0 && joins(n, strides, i, joined_step[m - 1], joined_dim[m - 1])) {
            joined_dim[m - 1] *= dims[i];
            continue;
        }
        joined_dim[m] = dims[i];
        for (int32_t k = 0; k < n; k++) joined_step[m][k] = strides[k][i];
        m++;
    }
    if (m == 0 || o->n_outer == 0) return;
    o->n_inner = joined_dim[0];
    for (int32_t k = 0; k < n; k++) o->step[k] = joined_step[0][k];
    o->rank = m - 1;
    for (int32_t i = 0; i < o->rank; i++) {
        o->dims[i] = joined_dim[m - 1 - i];
        o->n_outer *= o->dims[i];
        for (int32_t k = 0; k < n; k++) o->strides[k][i] = joined_step[m - 1 - i][k];
    }
}

bool qn_odometer_next(qn_odometer *o)
{
    for (int32_t i = o->rank - 1; i >= 0; i--) {
        if (++o->index[i] < o->dims[i]) {
            for (int32_t k = 0; k < o->n; k++) o->at[k] += o->strides[k][i];
            return true;
        }
        o->index[i] = 0;
        for (int32_t k = 0; k < o->n; k++) o->at[k] -= o->strides[k][i] * (o->dims[i] - 1);
    }
    return false;
}

void qn_odometer_seek(qn_odometer *o, int64_t i)
{
    assert(i >= 0 && (i < o->n_outer || i == 0));
    for (int32_t k = 0; k < o->n; k++) o->at[k] = 0;
    for (int32_t d = o->rank - 1; d >= 0; d--) {
        o->index[d] = i % o->dims[d];
        i /= o->dims[d];
        for (int32_t k = 0; k < o->n; k++) o->at[k] += o->strides[k][d] * o->index[d];
    }
}
