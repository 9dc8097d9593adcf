/* server/batcher/cost.h - how long a run will take, learnt from the runs before it, and when a call that comes now would be answered.
 *
 * The measure of a run is the bytes of its inputs: rows and sequence lengths both are in it. One point (bytes, time) a power of two,
 * since a run has a fixed part and kernels change with the number of rows; between points the time is interpolated. And the time of a
 * byte, for work that will share runs.
 * Threads: guarded by whoever owns it. Times in microseconds. */
#ifndef QUERN_SERVER_BATCHER_COST_H
#define QUERN_SERVER_BATCHER_COST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QN_COST_CLASSES 48 /* the last one: 2^47 bytes and more */
#define QN_COST_ENOUGH  8  /* runs before anybody is refused on a prediction */
#define QN_COST_DOUBT   16 /* calls turned away on predictions, with no run in between, before one is let through to try them */

typedef struct qn_cost {
    double run_us[QN_COST_CLASSES], run_bytes[QN_COST_CLASSES]; /* moving averages */
    uint64_t known;                                             /* bit k: class k had a run */
    double byte_us;
    uint64_t n_runs;
    double late;       /* times the predicted time within which nearly all are answered (1 - QN_COST_LATE of them); 0: as 1 */
    int32_t n_doubted; /* calls turned away since a run ended */
} qn_cost;

#define QN_COST_LATE 0.02 /* part of the calls that may take longer than `late` times the prediction */

/* A run over `bytes` of inputs took `us`. One that took far longer than expected (the machine was elsewhere) counts only so much. A run
 * that was not `whole`, stopped or failed, says only that a whole one takes no less. */
void qn_cost_learn(qn_cost *c, size_t bytes, uint64_t us, bool whole);
/* What a run over `bytes` takes; 0: nothing is known yet. */
double qn_cost_run(const qn_cost *c, size_t bytes);
/* What `bytes` add to runs that others share. */
double qn_cost_work(const qn_cost *c, uint64_t bytes);

/* Time from now until a call is answered, before the margin for what predictions miss.
 *  free_us  until a worker takes something again
 *  ahead    input bytes of the calls that wait before it; own: its own, not in `ahead`
 *  most_us  the longest run that it would share
 *  rate     workers that serve its lane, may be a part of one, > 0 */
double qn_cost_answer(const qn_cost *c, double free_us, uint64_t ahead, size_t own, double most_us, double rate);

/* A call that was to be answered in `predicted` was answered in `took`, or given up (took: INFINITY). */
void qn_cost_answered(qn_cost *c, double predicted, double took);
/* The time to reckon with where `predicted` is the time to be expected. */
double qn_cost_late(const qn_cost *c, double predicted);

/* A call is about to be turned away because of a prediction: false if it is the one to try it instead. A server that turns everybody away
 * would never find out that its prediction was wrong. */
bool qn_cost_doubt(qn_cost *c);

#endif
