/* core/plan/cache.c - the plans of one model: a list, most recently used first, cut at a number of bytes.
 * A list, because a model has a handful of plans: powers of two of the batch, a few sequence lengths. The newest plan always stays, so
 * that packed weights outlive a change of shape. Plans are made outside the lock; of two equal ones made at once the first in stays. */
#include "core/plan/model.h"

#include <string.h>

void qn_plan_cache_init(qn_plan_cache *c, uint64_t limit_bytes)
{
    *c = (qn_plan_cache){ .limit_bytes = limit_bytes };
    pthread_mutex_init(&c->mu, NULL);
}

static void unlink_plan(qn_plan_cache *c, qn_plan *p)
{
    if (p->newer)
        p->newer->older = p->older;
    else
        c->newest = p->older;
    if (p->older)
        p->older->newer = p->newer;
    else
        c->oldest = p->newer;
    p->newer = p->older = NULL;
}

static void push_plan(qn_plan_cache *c, qn_plan *p)
{
    p->older = c->newest;
    p->newer = NULL;
    if (c->newest)
        c->newest->newer = p;
    else
        c->oldest = p;
    c->newest = p;
}

void qn_plan_cache_release(qn_plan_cache *c)
{
    while (c->newest) {
        qn_plan *p = c->newest;

        unlink_plan(c, p);
        qn_plan_unref(p);
    }
    pthread_mutex_destroy(&c->mu);
}

static qn_plan *find_locked(qn_plan_cache *c, const qn_plan_key *key)
{
    for (qn_plan *p = c->newest; p; p = p->older) {
        if (p->key.n != key->n || memcmp(p->key.words, key->words, (size_t)key->n * sizeof *key->words) != 0) continue;
        unlink_plan(c, p);
        push_plan(c, p);
        return qn_plan_ref(p);
    }
    return NULL;
}

qn_plan *qn_plan_cache_find(qn_plan_cache *c, const qn_plan_key *key)
{
    qn_plan *p;

    pthread_mutex_lock(&c->mu);
    p = find_locked(c, key);
    pthread_mutex_unlock(&c->mu);
    return p;
}

qn_plan *qn_plan_cache_add(qn_plan_cache *c, qn_plan *p)
{
    qn_plan *first, *out = NULL;

    pthread_mutex_lock(&c->mu);
    first = find_locked(c, &p->key);
    if (!first) {
        push_plan(c, p); /* the caller's reference is the cache's now */
        c->bytes += qn_plan_bytes(p);
        first = qn_plan_ref(p);
        p = NULL;
    }
    while (c->bytes > c->limit_bytes && c->oldest != c->newest) {
        qn_plan *old = c->oldest;

        c->bytes -= qn_plan_bytes(old);
        unlink_plan(c, old);
        old->older = out;
        out = old;
    }
    pthread_mutex_unlock(&c->mu);
    while (out) { /* freed outside the lock: the last reference may free packed weights */
        qn_plan *next = out->older;

        out->older = NULL;
        qn_plan_unref(out);
        out = next;
    }
    qn_plan_unref(p);
    return first;
}
