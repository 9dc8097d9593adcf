/* server/batcher/cost.h - how long a run will take, learnt from the runs before it.
 *
 * The measure of a run is the bytes of its inputs: rows and sequence lengths both are in it. One estimate a power of two, since a run has
 * a fixed part and kernels change with the number of rows; and the time of a byte, for work that will share runs.
 * Threads: guarded by whoever owns it. Times in microseconds. */
#ifndef QUERN_SERVER_BATCHER_COST_H
#define QUERN_SERVER_BATCHER_COST_H

#include <stddef.h>
#include <stdint.h>

#define QN_COST_CLASSES 48 /* the last one: 2^47 bytes and more */
#define QN_COST_ENOUGH  8  /* runs before anybody is refused on a prediction */

typedef struct qn_cost {
    double run_us[QN_COST_CLASSES]; /* moving averages; 0: no run yet */
    double byte_us;
    uint64_t n_runs;
} qn_cost;

/* A run over `bytes` of inputs took `us`. One that took far longer than expected (the machine was elsewhere) counts only so much. */
void qn_cost_learn(qn_cost *c, size_t bytes, uint64_t us);
/* What a run over `bytes` takes; 0: nothing is known yet. */
double qn_cost_run(const qn_cost *c, size_t bytes);
/* What `bytes` add to runs that others share. */
double qn_cost_work(const qn_cost *c, uint64_t bytes);

#endif
