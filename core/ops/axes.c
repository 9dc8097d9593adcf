/* core/ops/axes.c - see axes.h. */
#include "core/ops/axes.h"

#include "core/tensor/shape.h"

void qn_axes_init(qn_axes *a, int32_t rank, const int64_t *dims, uint32_t mask)
{
    int64_t strides[QN_MAX_RANK], part_dims[2][QN_MAX_RANK], part[2][1][QN_MAX_RANK], count[2] = { 1, 1 };
    int32_t n[2] = { 0, 0 }, last = -1;

    qn_shape_strides(rank, dims, strides);
    for (int32_t i = 0; i < rank; i++) {
        const int which = (int)(mask >> i & 1);

        part_dims[which][n[which]] = dims[i];
        part[which][0][n[which]++] = strides[i];
        count[which] *= dims[i];
        if (dims[i] != 1) last = which;
    }
    *a = (qn_axes){ .n_kept = count[0], .k = count[1], .inner = 1 };
    qn_odometer_init(&a->kept, 1, n[0], part_dims[0], part[0]);
    qn_odometer_init(&a->reduced, 1, n[1], part_dims[1], part[1]);
    if (last == 0) a->inner = a->kept.n_inner;
    a->contiguous = a->reduced.n_outer <= 1 && (a->k <= 1 || a->reduced.step[0] == 1);
}

int64_t qn_axes_group(const qn_axes *a, int64_t g)
{
    qn_odometer o = a->kept;

    qn_odometer_seek(&o, g / o.n_inner);
    return o.at[0] + g % o.n_inner * o.step[0];
}

void qn_axes_read(const qn_axes *a, int64_t g, qn_axes_reader *r)
{
    *r = (qn_axes_reader){ .o = a->reduced, .base = qn_axes_group(a, g), .more = a->reduced.n_outer > 0 };
}

bool qn_axes_next(qn_axes_reader *r, int64_t most, int64_t *offset, int64_t *step, int64_t *n)
{
    if (!r->more) return false;
    *offset = r->base + r->o.at[0] + r->at * r->o.step[0];
    *step = r->o.step[0];
    *n = r->o.n_inner - r->at < most ? r->o.n_inner - r->at : most;
    r->at += *n;
    if (r->at == r->o.n_inner) {
        r->at = 0;
        r->more = qn_odometer_next(&r->o);
    }
    return true;
}
