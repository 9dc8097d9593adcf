/* server/batcher/fair.h - whose turn it is: one fair queue, in microseconds of work, over models and priority classes.
 *
 * A lane holds the waiting calls of one class of one model. Each lane has a virtual time: the microseconds of work done for it, divided
 * by the weight of its class. The ready lane with the smallest is served next, so busy lanes of one class share the workers' time, not
 * their number of requests, and no class starves. A lane that was empty starts at the time of the others: idleness earns no credit.
 * Source   start-time fair queueing (Goyal, Vin, Cheng 1996).
 * Threads: guarded by the batcher's mutex. */
#ifndef QUERN_SERVER_BATCHER_FAIR_H
#define QUERN_SERVER_BATCHER_FAIR_H

#include "server/batcher/batcher.h"

typedef struct qn_lane {
    qn_call *head, **tail; /* waiting calls in order of arrival */
    int64_t n_waiting;
    uint64_t bytes_waiting; /* of their inputs */
    double weight, vtime;
    bool ready; /* in the list below: it has waiting calls */
    struct qn_lane *prev, *next;
    qn_queue *queue; /* that it belongs to */
} qn_lane;

typedef struct qn_fair {
    qn_lane *ready; /* lanes with waiting calls, in no order: there are as many as busy models */
    double clock;   /* virtual time of the lane served last */
    double weight;  /* sum over the ready lanes */
} qn_fair;

void qn_lane_init(qn_lane *lane, qn_queue *queue, qn_priority priority);
/* It has waiting calls from now on; nothing if it had some before. */
void qn_fair_add(qn_fair *f, qn_lane *lane);
/* It has none any more; nothing if it had none. */
void qn_fair_remove(qn_fair *f, qn_lane *lane);
/* The lane whose turn it is among those that `may` allows (NULL: all), or NULL. */
qn_lane *qn_fair_next(qn_fair *f, bool (*may)(void *user, qn_lane *lane), void *user);
/* `us` of work is done for it, or, below 0, was charged too much. */
void qn_lane_charge(qn_lane *lane, double us);
/* Part of the workers' time that the lane gets while all that are ready now stay so; 0..1. */
double qn_fair_share(const qn_fair *f, const qn_lane *lane);

#endif
