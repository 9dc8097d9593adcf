/* server/cli/histogram.c - log-linear buckets. */
#include "server/cli/histogram.h"

#define PER_OCTAVE (1u << QN_HISTOGRAM_BITS)

uint32_t qn_histogram_bucket(uint64_t value)
{
    uint32_t shift;

    if (value < PER_OCTAVE) return (uint32_t)value;
    shift = 63u - (uint32_t)__builtin_clzll(value) - QN_HISTOGRAM_BITS;
    return (shift << QN_HISTOGRAM_BITS) + (uint32_t)(value >> shift); /* value >> shift is 128..255, so octaves follow without a gap */
}

uint64_t qn_histogram_bucket_end(uint32_t bucket)
{
    uint32_t shift;

    if (bucket < 2 * PER_OCTAVE) return bucket;
    shift = (bucket >> QN_HISTOGRAM_BITS) - 1;
    return (((uint64_t)(bucket & (PER_OCTAVE - 1)) + PER_OCTAVE) << shift) + (((uint64_t)1 << shift) - 1);
}

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
    uint64_t r;

    return __builtin_add_overflow(a, b, &r) ? UINT64_MAX : r;
}

void qn_histogram_add(qn_histogram *h, uint64_t value)
{
    if (h->n == 0 || value < h->min) h->min = value;
    if (value > h->max) h->max = value;
    h->n++;
    h->sum = add_saturating(h->sum, value);
    h->count[qn_histogram_bucket(value)]++;
}

void qn_histogram_merge(qn_histogram *h, const qn_histogram *from)
{
    if (from->n == 0) return;
    if (h->n == 0 || from->min < h->min) h->min = from->min;
    if (from->max > h->max) h->max = from->max;
    h->n += from->n;
    h->sum = add_saturating(h->sum, from->sum);
    for (uint32_t i = 0; i < QN_HISTOGRAM_BUCKETS; i++) h->count[i] += from->count[i];
}

uint64_t qn_histogram_percentile(const qn_histogram *h, uint32_t ppm)
{
    /* ceil(n * ppm / 10^6) without the product, which would not fit */
    uint64_t rank = h->n / 1000000 * ppm + (h->n % 1000000 * ppm + 999999) / 1000000, seen = 0;

    if (h->n == 0) return 0;
    if (rank == 0) rank = 1;
    for (uint32_t i = 0; i < QN_HISTOGRAM_BUCKETS; i++) {
        seen += h->count[i];
        if (seen >= rank) {
            uint64_t end = qn_histogram_bucket_end(i);

            return end < h->max ? end : h->max;
        }
    }
    return h->max;
}

double qn_histogram_mean(const qn_histogram *h) { return h->n ? (double)h->sum / (double)h->n : 0.0; }
