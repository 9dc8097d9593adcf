/* server/cli/histogram.h - counts of durations in buckets that are never wider than 1/128 of what they hold.
 * Buckets: 0..127 have one each; every octave [2^e, 2^(e+1)) above has 128 of equal width, up to 2^64 - 1. So a value read back is at most
 *          0.79 % above the one that was added, and never below it. (Idea: log-linear buckets, as in HdrHistogram.)
 * Units:   the caller's; quern load adds nanoseconds.
 * Threads: one at a time; one histogram a thread, merged at the end. */
#ifndef QUERN_SERVER_CLI_HISTOGRAM_H
#define QUERN_SERVER_CLI_HISTOGRAM_H

#include <stdint.h>

#define QN_HISTOGRAM_BITS    7 /* 2^7 buckets an octave */
#define QN_HISTOGRAM_BUCKETS ((64 - QN_HISTOGRAM_BITS + 1) << QN_HISTOGRAM_BITS)

typedef struct qn_histogram { /* all zero: empty */
    uint64_t n;
    uint64_t sum;      /* exact; stays at UINT64_MAX once it would pass it */
    uint64_t min, max; /* exact; 0 while empty */
    uint64_t count[QN_HISTOGRAM_BUCKETS];
} qn_histogram;

void qn_histogram_add(qn_histogram *h, uint64_t value);

/* Everything in `from` is added to h as well. */
void qn_histogram_merge(qn_histogram *h, const qn_histogram *from);

/** The smallest bucket end v so that at least ppm millionths of the values are <= v, but at least one value; never above max.
 *  ppm  0..1000000: 500000 is the median, 999000 the 99.9th percentile. 0 if h is empty. */
uint64_t qn_histogram_percentile(const qn_histogram *h, uint32_t ppm);

/** sum / n; 0 if empty. */
double qn_histogram_mean(const qn_histogram *h);

/* The bucket of a value, and the largest value of a bucket (0..QN_HISTOGRAM_BUCKETS - 1). */
uint32_t qn_histogram_bucket(uint64_t value);
uint64_t qn_histogram_bucket_end(uint32_t bucket);

#endif
