/* core/ops/resample.c - where an output place lies in the input, and with what weights.
 * Source  ONNX Resize 19, "coordinate_transformation_mode"; cubic: Keys 1981, eq. 15, with a free a; antialias: the same functions
 *         stretched by 1/scale where the axis shrinks.
 * A weight that falls outside the input goes to the border place, or with exclude_outside to nobody. Weights then add up to 1. */
#include "core/ops/resample.h"

#include <math.h>

bool qn_resample_is_identity(const qn_resample *r, const qn_resample_axis *a)
{
    if (a->n_in != a->n_out || a->scale != 1.0) return false;
    return r->coord != QN_COORD_TF_CROP_AND_RESIZE || (a->roi_from == 0.0 && a->roi_to == 1.0);
}

/* Where output place j lies in the input. In f32, as ONNX Runtime has it: 1.5 / 0.6f is then 2.5 and not a little less, and what floor
 * and ceil make of it is what the numbers in the file mean. */
static double original(const qn_resample *r, const qn_resample_axis *a, int64_t j)
{
    const float x = (float)j, scale = (float)a->scale, n_in = (float)a->n_in, n_out = (float)a->n_out;
    const float width = scale * n_in; /* as asked for, before rounding to n_out */
    const float from = (float)a->roi_from, to = (float)a->roi_to;
    float v = x;

    switch (r->coord) {
    case QN_COORD_HALF_PIXEL: v = (x + 0.5f) / scale - 0.5f; break;
    case QN_COORD_HALF_PIXEL_SYMMETRIC: v = n_in / 2 * (1 - n_out / width) + (x + 0.5f) / scale - 0.5f; break;
    case QN_COORD_PYTORCH_HALF_PIXEL: v = a->n_out > 1 ? (x + 0.5f) / scale - 0.5f : 0; break;
    case QN_COORD_ALIGN_CORNERS: v = a->n_out > 1 ? x * (n_in - 1) / (width - 1) : 0; break;
    case QN_COORD_ASYMMETRIC: v = x / scale; break;
    case QN_COORD_TF_HALF_PIXEL_FOR_NN: v = (x + 0.5f) / scale; break;
    case QN_COORD_TF_CROP_AND_RESIZE:
        if (a->n_out <= 1)
            v = 0.5f * (from + to) * (n_in - 1);
        else
            v = from * (n_in - 1) + x * (to - from) * (n_in - 1) / (n_out - 1);
        break;
    }
    return (double)v;
}

static bool is_outside(const qn_resample *r, const qn_resample_axis *a, double place)
{
    return r->coord == QN_COORD_TF_CROP_AND_RESIZE && !(place >= 0 && place <= (double)(a->n_in - 1));
}

static int64_t into(double place, int64_t n)
{
    if (!(place > 0)) return 0;
    return place < (double)n ? (int64_t)place : n - 1;
}

void qn_resample_nearest(const qn_resample *r, const qn_resample_axis *a, int64_t stride, int64_t *from, uint8_t *outside)
{
    const bool same = qn_resample_is_identity(r, a);

    for (int64_t j = 0; j < a->n_out; j++) {
        double x = same ? (double)j : original(r, a, j);

        if (outside) outside[j] = is_outside(r, a, x);
        switch (r->round) {
        case QN_ROUND_PREFER_FLOOR: x = ceil(x - 0.5); break;
        case QN_ROUND_PREFER_CEIL: x = floor(x + 0.5); break;
        case QN_ROUND_FLOOR: x = floor(x); break;
        case QN_ROUND_CEIL: x = ceil(x); break;
        case QN_ROUND_SIMPLE: x = a->scale < 1 ? ceil(x) : floor(x); break;
        }
        from[j] = into(x, a->n_in) * stride;
    }
}

/* How far the function reaches to one side of a place, in input places: the stretch is 1 unless the axis shrinks with antialias. */
static double stretch(const qn_resample *r, const qn_resample_axis *a) { return r->antialias && a->scale < 1 ? a->scale : 1; }

static int64_t first_tap(const qn_resample *r, const qn_resample_axis *a)
{
    return (int64_t)floor((r->how == QN_RESAMPLE_LINEAR ? -1 : -2) / stretch(r, a)) + 1;
}

int64_t qn_resample_taps(const qn_resample *r, const qn_resample_axis *a) { return 2 - 2 * first_tap(r, a); }

static double cubic(double x, double a)
{
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    return 0;
}

static double weight_at(const qn_resample *r, double distance)
{
    if (r->how == QN_RESAMPLE_CUBIC) return cubic(distance, r->cubic_a);
    return fabs(distance) < 1 ? 1 - fabs(distance) : 0;
}

void qn_resample_filter(const qn_resample *r, const qn_resample_axis *a, int64_t *index, double *weight, uint8_t *outside)
{
    const int64_t first = first_tap(r, a), taps = qn_resample_taps(r, a);
    const double s = stretch(r, a);

    for (int64_t j = 0; j < a->n_out; j++, index += taps, weight += taps) {
        double x = original(r, a, j), base, sum = 0;

        if (outside) outside[j] = is_outside(r, a, x);
        if (!(fabs(x) < 0x1p52)) x = 0; /* a scale or roi out of all proportion: any place will do, and none overflows */
        base = floor(x);
        for (int64_t t = 0; t < taps; t++) {
            double place = base + (double)(first + t);
            bool in = place >= 0 && place < (double)a->n_in;

            weight[t] = !in && r->exclude_outside ? 0 : weight_at(r, s * (place - x));
            index[t] = into(place, a->n_in);
            sum += weight[t];
        }
        for (int64_t t = 0; sum != 0 && t < taps; t++) weight[t] /= sum;
    }
}
