/* server/batcher/cost.c - moving averages of run times by the size of the inputs. */
#include "server/batcher/cost.h"

#define KEEP     0.875 /* of the old average: about the last eight runs count */
#define MOST     8.0   /* times the expected time: a run beyond that counts as that */
#define LEAST_US 0.5   /* clocks tick in microseconds: a run of none took some */

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

void qn_cost_learn(qn_cost *c, size_t bytes, uint64_t us)
{
    const double took = us > 0 ? (double)us : LEAST_US;
    double *run = &c->run_us[class_of(bytes)];

    *run = average(*run, took);
    c->byte_us = average(c->byte_us, took / (double)(bytes > 0 ? bytes : 1));
    c->n_runs++;
}

double qn_cost_run(const qn_cost *c, size_t bytes)
{
    const int k = class_of(bytes);

    if (c->n_runs == 0) return 0;
    for (int d = 0; d < QN_COST_CLASSES; d++) {
        /* A smaller run's time grows with the bytes at most; a larger one's is an upper bound. */
        if (k - d >= 0 && c->run_us[k - d] > 0) return c->run_us[k - d] * (double)((uint64_t)1 << d);
        if (k + d < QN_COST_CLASSES && c->run_us[k + d] > 0) return c->run_us[k + d];
    }
    return 0;
}

double qn_cost_work(const qn_cost *c, uint64_t bytes) { return c->byte_us * (double)bytes; }
