/* core/ops/resample.h - what Resize asks for, in numbers, and the tables that do it. */
#ifndef QUERN_OPS_RESAMPLE_H
#define QUERN_OPS_RESAMPLE_H

#include "core/graph/graph.h"
#include "core/kernels/move/table.h"

typedef enum qn_resample_how { QN_RESAMPLE_NEAREST, QN_RESAMPLE_LINEAR, QN_RESAMPLE_CUBIC } qn_resample_how;

/* coordinate_transformation_mode */
typedef enum qn_resample_coord {
    QN_COORD_HALF_PIXEL,
    QN_COORD_HALF_PIXEL_SYMMETRIC,
    QN_COORD_PYTORCH_HALF_PIXEL,
    QN_COORD_ALIGN_CORNERS,
    QN_COORD_ASYMMETRIC,
    QN_COORD_TF_HALF_PIXEL_FOR_NN,
    QN_COORD_TF_CROP_AND_RESIZE,
} qn_resample_coord;

typedef enum qn_resample_round {
    QN_ROUND_PREFER_FLOOR,
    QN_ROUND_PREFER_CEIL,
    QN_ROUND_FLOOR,
    QN_ROUND_CEIL,
    QN_ROUND_SIMPLE, /* Upsample and Resize 10: up when an axis shrinks, else down */
} qn_resample_round;

typedef struct qn_resample {
    qn_resample_how how;
    qn_resample_coord coord;
    qn_resample_round round;
    double cubic_a, extrapolation;
    bool exclude_outside, antialias;
} qn_resample;

/* One axis. */
typedef struct qn_resample_axis {
    int64_t n_in, n_out;
    double scale;            /* output over input, as asked for: n_out is rounded, this is not */
    double roi_from, roi_to; /* QN_COORD_TF_CROP_AND_RESIZE: in units of the axis, usually 0..1 */
} qn_resample_axis;

/* True if the axis comes out as it went in: asked for scale 1, whatever the mode makes of its coordinates. */
bool qn_resample_is_identity(const qn_resample *r, const qn_resample_axis *a);

/* Source places of nearest, times stride, into from[n_out]. outside (may be NULL) [n_out]: 1 where extrapolation_value belongs. */
void qn_resample_nearest(const qn_resample *r, const qn_resample_axis *a, int64_t stride, int64_t *from, uint8_t *outside);

/* Taps each output place needs; at most 4 * n_in + 8. */
int64_t qn_resample_taps(const qn_resample *r, const qn_resample_axis *a);
/* index[n_out * taps], weight[n_out * taps], outside as above. */
void qn_resample_filter(const qn_resample *r, const qn_resample_axis *a, int64_t *index, double *weight, uint8_t *outside);

#endif
