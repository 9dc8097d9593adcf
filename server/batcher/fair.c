/* server/batcher/fair.c - lanes by virtual time. */
#include "server/batcher/fair.h"

/* A class gets four times the time of the one below it while both wait. */
static const double weights[QN_PRIORITY_COUNT] = { [QN_PRIORITY_HIGH] = 16, [QN_PRIORITY_NORMAL] = 4, [QN_PRIORITY_LOW] = 1 };

void qn_lane_init(qn_lane *lane, qn_queue *queue, qn_priority priority)
{
    *lane = (qn_lane){ .weight = weights[priority], .queue = queue };
    lane->tail = &lane->head;
}

void qn_fair_add(qn_fair *f, qn_lane *lane)
{
    if (lane->ready) return;
    lane->ready = true;
    if (lane->vtime < f->clock) lane->vtime = f->clock;
    lane->prev = NULL;
    lane->next = f->ready;
    if (f->ready) f->ready->prev = lane;
    f->ready = lane;
    f->weight += lane->weight;
}

void qn_fair_remove(qn_fair *f, qn_lane *lane)
{
    if (!lane->ready) return;
    lane->ready = false;
    if (lane->prev)
        lane->prev->next = lane->next;
    else
        f->ready = lane->next;
    if (lane->next) lane->next->prev = lane->prev;
    lane->prev = lane->next = NULL;
    f->weight -= lane->weight; /* weights are small whole numbers: the sum stays exact */
}

/* Of equal virtual times, as of lanes that were idle, the higher class; then the call that waits longest. */
static bool before(const qn_lane *a, const qn_lane *b)
{
    if (a->vtime != b->vtime) return a->vtime < b->vtime;
    if (a->weight != b->weight) return a->weight > b->weight;
    return a->head && b->head && a->head->queued_us < b->head->queued_us;
}

qn_lane *qn_fair_next(qn_fair *f, bool (*may)(void *user, qn_lane *lane), void *user)
{
    qn_lane *best = NULL;

    for (qn_lane *l = f->ready; l; l = l->next) {
        if (may && !may(user, l)) continue;
        if (!best || before(l, best)) best = l;
    }
    if (best && best->vtime > f->clock) f->clock = best->vtime;
    return best;
}

void qn_lane_charge(qn_lane *lane, double us) { lane->vtime += us / lane->weight; }

double qn_fair_share(const qn_fair *f, const qn_lane *lane)
{
    const double all = f->weight + (lane->ready ? 0 : lane->weight);

    return lane->weight / all;
}
