/* server/registry/registry.c - the public face: orders and the loader thread that works them off, lookups, the index. */
#include "server/registry/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_WAITING 1000

uint64_t qn_registry_now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

/* -- orders (loader thread) ------------------------------------------------------------------------------------------------------------ */

static int64_t served_now(const qn_registry *r, const char *name)
{
    const qn_known_model *m = name ? qn_table_find(r, name) : NULL;
    const qn_slot *s = m ? qn_slot_served(m) : NULL;

    return s ? s->number : 0;
}

static void order_run(qn_registry *r, const qn_waiting *w)
{
    const qn_registry_order *o = &w->order;
    qn_tally t = { 0 };

    t.report.before = served_now(r, o->name);
    switch (o->action) {
    case QN_REGISTRY_RELOAD: qn_sync_all(r, QN_SYNC_ASKED, &t); break;
    case QN_REGISTRY_LOAD: qn_sync_by_name(r, o->name, &t); break;
    case QN_REGISTRY_UNLOAD: qn_sync_unload(r, o->name, &t); break;
    case QN_REGISTRY_PROMOTE: qn_lifecycle_promote(r, o, &t); break;
    case QN_REGISTRY_ROLLBACK: qn_lifecycle_rollback(r, o, &t); break;
    case QN_REGISTRY_INSTALL: qn_lifecycle_install(r, o, &t); break;
    case QN_REGISTRY_REMOVE: qn_lifecycle_remove(r, o, &t); break;
    }
    if (o->action == QN_REGISTRY_RELOAD) {
        pthread_mutex_lock(&r->mu);
        r->scanned = true;
        pthread_mutex_unlock(&r->mu);
    }
    t.report.served = served_now(r, o->name);
    t.report.status = t.worst.status;
    t.report.message = t.worst.message;
    if (w->done) w->done(w->user, &t.report);
}

static void waiting_free(qn_waiting *w)
{
    free((char *)w->order.name);
    free((char *)w->order.label);
    free((char *)w->order.staged);
    free(w);
}

static void order_refuse(qn_registry *r, qn_waiting *w)
{
    qn_registry_report report = { .status = QN_ERR_UNAVAILABLE, .message = "the server is shutting down" };

    if (w->order.staged) qn_registry_unstage(r, w->order.staged);
    if (w->done) w->done(w->user, &report);
    waiting_free(w);
}

/* Under the lock. */
static void wait_for_order(qn_registry *r)
{
    struct timespec until = { .tv_sec = (time_t)(r->next_poll_us / 1000000), .tv_nsec = (long)(r->next_poll_us % 1000000) * 1000 };

    if (r->opt.poll_us == 0 || !r->scanned)
        pthread_cond_wait(&r->wake, &r->mu);
    else
        pthread_cond_timedwait(&r->wake, &r->mu, &until);
}

static bool poll_is_due(const qn_registry *r)
{
    return r->opt.poll_us > 0 && r->scanned && !r->first && qn_registry_now_us() >= r->next_poll_us;
}

static void *loader_main(void *arg)
{
    qn_registry *r = arg;

    /* Loading is work that serving must not feel: a nicer thread than the workers. Failure only costs that. */
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
    qn_lifecycle_sweep(r);
    pthread_mutex_lock(&r->mu);
    while (!r->stopping) {
        qn_waiting *w = r->first;

        if (!w && !poll_is_due(r)) {
            wait_for_order(r);
            continue;
        }
        if (w) {
            r->first = w->next;
            if (!r->first) r->last = &r->first;
            r->n_waiting--;
        }
        pthread_mutex_unlock(&r->mu);
        if (w) {
            order_run(r, w);
            waiting_free(w);
        } else {
            qn_tally t = { 0 };

            qn_sync_all(r, QN_SYNC_POLLED, &t);
            r->next_poll_us = qn_registry_now_us() + r->opt.poll_us;
        }
        pthread_mutex_lock(&r->mu);
    }
    pthread_mutex_unlock(&r->mu);
    return NULL;
}

/* -- the public face ------------------------------------------------------------------------------------------------------------------- */

qn_status qn_registry_create(const qn_registry_options *options, qn_registry **out, qn_error *err)
{
    qn_registry *r = calloc(1, sizeof *r);
    pthread_condattr_t clock;
    pthread_attr_t attr;
    int rc;

    *out = NULL;
    if (!r) return qn_error_set(err, QN_ERR_NOMEM, "registry");
    r->opt = *options;
    r->last = &r->first;
    pthread_mutex_init(&r->mu, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &clock);
    pthread_condattr_destroy(&clock);
    qn_store_ref(r->opt.store);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 1024 * 1024);
    rc = pthread_create(&r->loader, &attr, loader_main, r);
    pthread_attr_destroy(&attr);
    if (rc) {
        qn_registry_destroy(r);
        return qn_error_set(err, QN_ERR_IO, "cannot start the loader thread: %s", strerror(rc));
    }
    r->started = true;
    *out = r;
    return QN_OK;
}

void qn_registry_destroy(qn_registry *r)
{
    qn_tally t = { 0 };

    if (!r) return;
    pthread_mutex_lock(&r->mu);
    r->stopping = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->mu);
    if (r->started) pthread_join(r->loader, NULL);
    while (r->first) {
        qn_waiting *next = r->first->next;

        order_refuse(r, r->first);
        r->first = next;
    }
    while (r->n_models > 0) qn_sync_forget(r, &r->models[r->n_models - 1], &t);
    free(r->models);
    qn_store_unref(r->opt.store);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->mu);
    free(r);
}

static char *copy_of(const char *s, bool *failed)
{
    char *copy = s ? strdup(s) : NULL;

    if (s && !copy) *failed = true;
    return copy;
}

static qn_waiting *waiting_create(const qn_registry_order *o, qn_registry_done *done, void *user)
{
    qn_waiting *w = calloc(1, sizeof *w);
    bool failed = false;

    if (!w) return NULL;
    *w = (qn_waiting){ .order = *o, .done = done, .user = user };
    w->order.name = copy_of(o->name, &failed);
    w->order.label = copy_of(o->label, &failed);
    w->order.staged = copy_of(o->staged, &failed);
    if (!failed) return w;
    waiting_free(w);
    return NULL;
}

/* Under the lock. */
static void enqueue(qn_registry *r, qn_waiting *w)
{
    *r->last = w;
    r->last = &w->next;
    r->n_waiting++;
    pthread_cond_signal(&r->wake);
}

static qn_status order_check(const qn_registry_order *o, qn_error *err)
{
    const bool numbered = o->action == QN_REGISTRY_INSTALL || o->action == QN_REGISTRY_REMOVE;

    if (o->action != QN_REGISTRY_RELOAD && (!o->name || !qn_model_name_valid(o->name)))
        return qn_error_set(err, QN_ERR_INVALID,
                            "not a model name: expected letters, digits, '.', '_' or '-', at most 64, beginning with a letter or digit");
    if (o->label && !qn_model_name_valid(o->label))
        return qn_error_set(err, QN_ERR_INVALID,
                            "not a label: expected letters, digits, '.', '_' or '-', at most 64, beginning with a letter or digit");
    if (o->version < 0 || o->version > QN_SCAN_MAX_NUMBER || (numbered && o->version == 0))
        return qn_error_set(err, QN_ERR_INVALID, "%" PRId64 " is no version: 1..%" PRId64 " expected", o->version, QN_SCAN_MAX_NUMBER);
    return QN_OK;
}

qn_status qn_registry_order_submit(qn_registry *r, const qn_registry_order *order, qn_registry_done *done, void *user, qn_error *err)
{
    qn_status st = order_check(order, err);
    qn_waiting *w;

    if (st != QN_OK) return st;
    w = waiting_create(order, done, user);
    if (!w) return qn_error_set(err, QN_ERR_NOMEM, "an order for the loader");
    pthread_mutex_lock(&r->mu);
    if (r->stopping || r->n_waiting >= MAX_WAITING) {
        st = qn_error_set(err, QN_ERR_UNAVAILABLE, r->stopping ? "the server is shutting down" : "%d loads and reloads wait already",
                          MAX_WAITING);
    } else {
        enqueue(r, w);
        w = NULL;
    }
    pthread_mutex_unlock(&r->mu);
    if (w) waiting_free(w);
    return st;
}

qn_status qn_registry_submit(qn_registry *r, qn_registry_action action, const char *name, qn_registry_done *done, void *user, qn_error *err)
{
    const qn_registry_order o = { .action = action, .name = name };

    return qn_registry_order_submit(r, &o, done, user, err);
}

/* Under the lock: a model that left for want of memory comes back when it is asked for. Without memory for that, the next one asks. */
static qn_status call_back(qn_registry *r, qn_known_model *m, qn_error *err)
{
    if (!m->coming && !r->stopping && r->n_waiting < MAX_WAITING) {
        const qn_registry_order o = { .action = QN_REGISTRY_LOAD, .name = m->name };
        qn_waiting *w = waiting_create(&o, NULL, NULL);

        if (w) {
            m->coming = true;
            enqueue(r, w);
        }
    }
    return qn_error_set(err, QN_ERR_UNAVAILABLE, "model %s had left for want of memory and is being loaded", m->name);
}

/* Under the lock: why (name, version) cannot be had. */
static qn_status lookup_failure(qn_registry *r, qn_known_model *m, int64_t version, qn_error *err)
{
    const qn_slot *s = qn_slot_find(m, version ? version : m->pin);
    const qn_slot *served = qn_slot_served(m);

    if (m->away == QN_AWAY_EVICTED) return call_back(r, m, err);
    if (!s && !version && !m->pin && m->n > 0) s = &m->slots[m->n - 1];
    if (s && s->state == QN_VERSION_LOADING)
        return qn_error_set(err, QN_ERR_UNAVAILABLE, "model %s version %" PRId64 " is loading", m->name, s->number);
    if (version && served)
        return qn_error_set(err, QN_ERR_NOT_FOUND, "model %s has no version %" PRId64 " to serve; version %" PRId64 " is served", m->name,
                            version, served->number);
    if (version) return qn_error_set(err, QN_ERR_NOT_FOUND, "model %s has no version %" PRId64 " to serve", m->name, version);
    if (m->away == QN_AWAY_UNLOADED) return qn_error_set(err, QN_ERR_NOT_FOUND, "model %s is unloaded", m->name);
    if (m->pin && !(s && s->reason[0]))
        return qn_error_set(err, QN_ERR_UNAVAILABLE, "model %s is pinned to version %" PRId64 ", which is not there", m->name, m->pin);
    return qn_error_set(err, QN_ERR_UNAVAILABLE, "model %s has no version that loads%s%s", m->name, s && s->reason[0] ? ": " : "",
                        s ? s->reason : "");
}

/* Under the lock. label NULL: by version. */
static qn_status lookup(qn_registry *r, const char *name, int64_t version, const char *label, qn_version **out, qn_error *err)
{
    qn_known_model *m = qn_table_find(r, name);
    const qn_slot *s;

    if (!m && !r->scanned) return qn_error_set(err, QN_ERR_UNAVAILABLE, "models are still being loaded");
    if (!m) return qn_error_set(err, QN_ERR_NOT_FOUND, "no model named %.64s", name);
    m->asked = ++r->n_asked;
    if (label) {
        version = qn_label_version(m->labels, m->n_labels, label);
        if (!version) return qn_error_set(err, QN_ERR_NOT_FOUND, "model %s has no label %.64s", m->name, label);
    }
    s = version ? qn_slot_find(m, version) : qn_slot_served(m);
    if (!s || s->state != QN_VERSION_READY) return lookup_failure(r, m, version, err);
    *out = qn_version_ref(s->version);
    return QN_OK;
}

qn_status qn_registry_lookup(qn_registry *r, const char *name, int64_t version, qn_version **out, qn_error *err)
{
    qn_status st;

    *out = NULL;
    pthread_mutex_lock(&r->mu);
    st = lookup(r, name, version, NULL, out, err);
    pthread_mutex_unlock(&r->mu);
    return st;
}

qn_status qn_registry_peek(qn_registry *r, const char *name, int64_t version, qn_version **out, qn_error *err)
{
    const qn_known_model *m;
    const qn_slot *s;

    *out = NULL;
    pthread_mutex_lock(&r->mu);
    m = qn_table_find(r, name);
    s = !m ? NULL : version ? qn_slot_find(m, version) : qn_slot_served(m);
    if (s && s->state == QN_VERSION_READY) *out = qn_version_ref(s->version);
    pthread_mutex_unlock(&r->mu);
    return *out ? QN_OK : qn_error_set(err, QN_ERR_NOT_FOUND, "model %.64s has no such version to serve", name);
}

qn_status qn_registry_lookup_label(qn_registry *r, const char *name, const char *label, qn_version **out, qn_error *err)
{
    qn_status st;

    *out = NULL;
    pthread_mutex_lock(&r->mu);
    st = lookup(r, name, 0, label, out, err);
    pthread_mutex_unlock(&r->mu);
    return st;
}

static qn_index_entry index_entry(const qn_known_model *m, const qn_slot *e)
{
    qn_index_entry x = { .model = m->name, .version = e->number, .state = e->state, .reason = e->reason };

    if (e->state == QN_VERSION_GONE && e->shell) x.state = (qn_version_state)atomic_load(&e->shell->state);
    if (e->version) x.weight_bytes = qn_model_weight_bytes(e->version->model);
    x.served = e == qn_slot_served(m);
    x.pinned = e->number == m->pin;
    return x;
}

void qn_registry_index(qn_registry *r, void (*visit)(void *user, const qn_index_entry *e), void *user)
{
    pthread_mutex_lock(&r->mu);
    for (int32_t i = 0; i < r->n_models; i++) {
        const qn_known_model *m = &r->models[i];

        for (int32_t k = 0; k < m->n; k++) {
            qn_index_entry x = index_entry(m, &m->slots[k]);

            visit(user, &x);
        }
        if (m->n == 0) visit(user, &(qn_index_entry){ .model = m->name, .state = QN_VERSION_FOUND, .reason = "" });
    }
    pthread_mutex_unlock(&r->mu);
}

void qn_registry_labels(qn_registry *r, const char *name, void (*visit)(void *user, const char *label, int64_t version), void *user)
{
    const qn_known_model *m;

    pthread_mutex_lock(&r->mu);
    m = qn_table_find(r, name);
    for (int32_t i = 0; m && i < m->n_labels; i++) visit(user, m->labels[i].name, m->labels[i].version);
    pthread_mutex_unlock(&r->mu);
}

/* Should it be served, and has it been tried in vain? */
static bool lacks_a_version(const qn_known_model *m)
{
    bool tried = false;

    if (m->away != QN_AWAY_NO || qn_slot_served(m)) return false;
    for (int32_t i = 0; i < m->n; i++) tried = tried || m->slots[i].state == QN_VERSION_FAILED;
    return tried || m->pin;
}

bool qn_registry_ready(qn_registry *r)
{
    bool ready;

    pthread_mutex_lock(&r->mu);
    ready = r->scanned;
    for (int32_t i = 0; i < r->n_models && ready; i++) ready = !lacks_a_version(&r->models[i]);
    pthread_mutex_unlock(&r->mu);
    return ready;
}
