/* server/batcher/cost.c - moving averages of run times by the size of the inputs, and what they miss. */
#include "server/batcher/cost.h"

#define KEEP     0.875 /* of the old average: about the last eight runs count */
#define MOST     8.0   /* times the expected time: a run beyond that counts as that */
#define LEAST_US 0.5   /* clocks tick in microseconds: a run of none took some */
#define STEP     0.05  /* of `late`, towards what is seen */
#define LATEST   4.0   /* `late` at most */

static int class_of(size_t bytes)
{
    int k = bytes > 1 ? 63 - __builtin_clzll((unsigned long long)bytes) : 0;

    return k < QN_COST_CLASSES ? k : QN_COST_CLASSES - 1;
}

static double average(double old, double now)
{
    if (old == 0) return now;
    return KEEP * old + (1 - KEEP) * (now < MOST * old ? now : MOST * old);
}

void qn_cost_learn(qn_cost *c, size_t bytes, uint64_t us, bool whole)
{
    const double took = us > 0 ? (double)us : LEAST_US, size = bytes > 0 ? (double)bytes : 1;
    const int k = class_of(bytes);

    if (!whole && took <= qn_cost_run(c, bytes)) return;
    c->run_us[k] = average(c->run_us[k], took);
    c->run_bytes[k] = average(c->run_bytes[k], size);
    c->known |= (uint64_t)1 << k;
    c->byte_us = average(c->byte_us, took / size);
    c->n_runs++;
    if (whole) c->n_doubted = 0;
}

double qn_cost_run(const qn_cost *c, size_t bytes)
{
    const double size = bytes > 0 ? (double)bytes : 1;
    const int k = class_of(bytes);
    const uint64_t here = (uint64_t)1 << k;
    uint64_t below = c->known & (here - 1), above = c->known & ~(here - 1) & ~here;
    int lo, hi;

    if (c->known & here) {
        if (c->run_bytes[k] <= size)
            below = here;
        else
            above = here;
    }
    if (!below && !above) return 0;
    hi = above ? __builtin_ctzll(above) : 0;
    if (!below) return c->run_us[hi]; /* an upper bound */
    lo = 63 - __builtin_clzll(below);
    if (!above) return c->run_us[lo] * (size / c->run_bytes[lo]); /* grows with the bytes at most */
    return c->run_us[lo] + (c->run_us[hi] - c->run_us[lo]) * (size - c->run_bytes[lo]) / (c->run_bytes[hi] - c->run_bytes[lo]);
}

double qn_cost_work(const qn_cost *c, uint64_t bytes) { return c->byte_us * (double)bytes; }

double qn_cost_answer(const qn_cost *c, double free_us, uint64_t ahead, size_t own, double most_us, double rate)
{
    const double together = qn_cost_run(c, ahead < SIZE_MAX - own ? (size_t)ahead + own : SIZE_MAX);
    const double alone = qn_cost_run(c, own);
    const double last = most_us > alone ? most_us : alone;
    double before;

    if (together <= last) return free_us + together; /* a worker takes all of it at once */
    before = qn_cost_work(c, ahead) + alone - last;
    return free_us + (before > 0 ? before / rate : 0) + last;
}

/* A quantile without a memory of the values: a step up for each that is above it, and steps down as much smaller as those below it are to be
 * more, so that it stands still where the parts are as wanted (Robbins and Monro 1951). */
void qn_cost_answered(qn_cost *c, double predicted, double took)
{
    const double now = c->late > 0 ? c->late : 1;

    c->late = now + (took > now * predicted ? STEP * (1 - QN_COST_LATE) : -STEP * QN_COST_LATE);
    if (c->late < 1) c->late = 1;
    if (c->late > LATEST) c->late = LATEST;
}

double qn_cost_late(const qn_cost *c, double predicted) { return c->late > 1 ? c->late * predicted : predicted; }

bool qn_cost_doubt(qn_cost *c)
{
    if (c->n_doubted < QN_COST_DOUBT) {
        c->n_doubted++;
        return true;
    }
    c->n_doubted = 0;
    return false;
}
