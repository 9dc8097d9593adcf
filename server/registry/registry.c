/* server/registry/registry.c - the table of models, the loader thread, and the arrows of the drawing in registry.h.
 *
 * Lock: registry.mu guards the table (models, their entries) and the queue of actions. It is never held across a load, a run or another
 *       lock; a lookup holds it for one search and one increment.
 * The loader thread is the only one that changes entries, so it may read them between two holds of the lock. */
#include "server/registry/registry.h"

#include "quern/folder.h"
#include "server/registry/scan.h"
#include "server/registry/version.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_ACTIONS 1000

/* One version number of one model. */
typedef struct qn_entry {
    int64_t number;
    qn_version_state state; /* FOUND, LOADING, READY, FAILED; after that the shell says DRAINING or GONE */
    qn_version *version;    /* READY: one ref. Else NULL */
    qn_version *shell;      /* of the version that was retired last, or NULL: one shell reference */
    qn_file_stamp stamp;    /* of the file `version` came from, or that failed */
    char reason[192];
} qn_entry;

typedef struct qn_known_model {
    char *name;
    qn_entry *entries; /* [n] ascending by number */
    int32_t n, cap;
    bool unloaded; /* by request: RELOAD leaves it alone */
} qn_known_model;

typedef struct qn_action {
    qn_registry_action action;
    char *name; /* NULL for RELOAD */
    qn_registry_done *done;
    void *user;
    struct qn_action *next;
} qn_action;

struct qn_registry {
    qn_registry_options opt;
    pthread_mutex_t mu;
    pthread_cond_t wake;
    qn_known_model *models; /* [n_models] sorted by name */
    int32_t n_models, cap_models;
    qn_action *first, **last;
    int32_t n_actions;
    bool stopping, scanned, started;
    pthread_t loader;
};

static uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

/* -- the table (all under mu, or on the loader thread) ------------------------------------------------------------------------------ */

/* Index of name, or where it would stand as -1 - index. */
static int32_t model_find(const qn_registry *r, const char *name)
{
    int32_t lo = 0, hi = r->n_models;

    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        int c = strcmp(r->models[mid].name, name);

        if (c == 0) return mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1 - lo;
}

static qn_known_model *model_add(qn_registry *r, const char *name)
{
    int32_t at = model_find(r, name);

    if (at >= 0) return &r->models[at];
    at = -1 - at;
    if (r->n_models == r->cap_models) {
        int32_t cap = r->cap_models ? 2 * r->cap_models : 8;
        qn_known_model *grown = realloc(r->models, (size_t)cap * sizeof *grown);

        if (!grown) return NULL;
        r->models = grown;
        r->cap_models = cap;
    }
    char *copy = strdup(name);
    if (!copy) return NULL;
    memmove(&r->models[at + 1], &r->models[at], (size_t)(r->n_models - at) * sizeof *r->models);
    r->n_models++;
    r->models[at] = (qn_known_model){ .name = copy };
    return &r->models[at];
}

static qn_entry *entry_find(const qn_known_model *m, int64_t number)
{
    for (int32_t i = 0; i < m->n; i++) {
        if (m->entries[i].number == number) return &m->entries[i];
    }
    return NULL;
}

static qn_entry *entry_add(qn_known_model *m, int64_t number)
{
    qn_entry *e = entry_find(m, number);
    int32_t at = 0;

    if (e) return e;
    if (m->n == m->cap) {
        int32_t cap = m->cap ? 2 * m->cap : 4;
        qn_entry *grown = realloc(m->entries, (size_t)cap * sizeof *grown);

        if (!grown) return NULL;
        m->entries = grown;
        m->cap = cap;
    }
    while (at < m->n && m->entries[at].number < number) at++;
    memmove(&m->entries[at + 1], &m->entries[at], (size_t)(m->n - at) * sizeof *m->entries);
    m->n++;
    m->entries[at] = (qn_entry){ .number = number, .state = QN_VERSION_FOUND };
    return &m->entries[at];
}

static void entry_remove(qn_known_model *m, qn_entry *e)
{
    int32_t at = (int32_t)(e - m->entries);

    memmove(e, e + 1, (size_t)(m->n - at - 1) * sizeof *e);
    m->n--;
}

/* The served one: the highest READY. */
static qn_entry *entry_served(const qn_known_model *m)
{
    for (int32_t i = m->n - 1; i >= 0; i--) {
        if (m->entries[i].state == QN_VERSION_READY) return &m->entries[i];
    }
    return NULL;
}

/* -- the arrows --------------------------------------------------------------------------------------------------------------------- */

/* LOADING -> READY: from the next lookup on. Returns what it replaced, for version_retire. */
static qn_version *version_publish(qn_registry *r, qn_entry *e, qn_version *v, const qn_file_stamp *stamp)
{
    qn_version *old;

    pthread_mutex_lock(&r->mu);
    old = e->version;
    atomic_store(&v->state, QN_VERSION_READY);
    e->version = v;
    e->state = QN_VERSION_READY;
    e->stamp = *stamp;
    e->reason[0] = 0;
    pthread_mutex_unlock(&r->mu);
    return old;
}

/* LOADING -> FAILED; an entry that still serves an older file stays READY and keeps the reason. */
static void version_fail(qn_registry *r, qn_entry *e, const qn_file_stamp *stamp, const char *reason)
{
    pthread_mutex_lock(&r->mu);
    if (!e->version) {
        e->state = QN_VERSION_FAILED;
        e->stamp = *stamp;
    }
    snprintf(e->reason, sizeof e->reason, "%s", reason);
    pthread_mutex_unlock(&r->mu);
}

/* READY -> DRAINING: no lookup can see it any more; the last reference frees it. */
static void version_retire(qn_version *v)
{
    int expected = QN_VERSION_READY;

    if (!v) return;
    atomic_compare_exchange_strong(&v->state, &expected, QN_VERSION_DRAINING);
    qn_version_unref(v);
}

/* Take the version out of an entry and retire it; the entry keeps the shell and the reason. */
static void entry_retire(qn_registry *r, qn_entry *e, const char *reason)
{
    qn_version *old, *old_shell;

    pthread_mutex_lock(&r->mu);
    old = e->version;
    old_shell = NULL;
    e->version = NULL;
    e->state = QN_VERSION_GONE;
    if (old) {
        old_shell = e->shell;
        e->shell = old;
        atomic_fetch_add(&old->shells, 1);
    }
    snprintf(e->reason, sizeof e->reason, "%s", reason);
    pthread_mutex_unlock(&r->mu);
    qn_version_shell_unref(old_shell);
    version_retire(old);
}

/* -- actions (loader thread) --------------------------------------------------------------------------------------------------------- */

typedef struct qn_tally {
    qn_registry_report report;
    qn_error worst;
} qn_tally;

static void tally_fail(qn_tally *t, const qn_error *err)
{
    t->report.n_failed++;
    if (t->worst.status == QN_OK) t->worst = *err;
}

static bool same_stamp(const qn_file_stamp *a, const qn_file_stamp *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

/* FOUND -> LOADING -> READY or FAILED. True if `number` is READY afterwards with the file that stands there now. */
static bool load_version(qn_registry *r, int model_fd, const char *name, const qn_scan_version *found, qn_tally *t)
{
    qn_version_source src = { .model_fd = model_fd, .name = name, .number = found->number, .file = found->file, .options = &r->opt };
    qn_version *v = NULL, *old;
    qn_error err = { 0 };
    qn_entry *e;
    qn_status st;
    uint64_t began = now_us();

    pthread_mutex_lock(&r->mu);
    e = entry_add(&r->models[model_find(r, name)], found->number);
    if (e && e->state != QN_VERSION_READY) e->state = QN_VERSION_LOADING;
    pthread_mutex_unlock(&r->mu);
    if (!e) {
        qn_error_set(&err, QN_ERR_NOMEM, "an entry for version %" PRId64 " of model %s", found->number, name);
        tally_fail(t, &err);
        return false;
    }
    st = qn_version_load(&src, &v, &err);
    if (st == QN_OK) {
        old = version_publish(r, e, v, &found->stamp);
        version_retire(old);
        t->report.n_loaded++;
    } else {
        qn_error_prefix(&err, "model %s version %" PRId64, name, found->number);
        version_fail(r, e, &found->stamp, err.message);
        tally_fail(t, &err);
    }
    if (r->opt.on_load) r->opt.on_load(r->opt.user, name, found->number, st, err.message, now_us() - began);
    return st == QN_OK;
}

static bool still_there(int64_t number, const qn_scan_version *found, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        if (found[i].number == number) return true;
    }
    return false;
}

/* Retire what is older than the served version, and drop entries whose folder is gone. `served` 0: nothing is READY. */
static void retire_others(qn_registry *r, const char *name, int64_t served, const qn_scan_version *found, int32_t n, qn_tally *t)
{
    qn_known_model *m = &r->models[model_find(r, name)];

    for (int32_t i = m->n - 1; i >= 0; i--) {
        qn_entry *e = &m->entries[i];
        bool there = still_there(e->number, found, n);

        if (e->number == served) continue;
        if (e->version && (served || !there)) {
            entry_retire(r, e, there ? "a newer version is served" : "removed from the folder");
            t->report.n_retired++;
        }
        if (!there) {
            qn_version *shell = e->shell;

            pthread_mutex_lock(&r->mu);
            entry_remove(m, e);
            pthread_mutex_unlock(&r->mu);
            qn_version_shell_unref(shell);
        }
    }
}

/* Bring one model to what its folder says: the highest version that loads is served, lower ones only until then. */
static void sync_model(qn_registry *r, int model_fd, const char *name, qn_tally *t)
{
    qn_scan_version *found = NULL;
    int32_t n = 0;
    int64_t served = 0;
    qn_error err = { 0 };

    if (qn_scan_versions(model_fd, &found, &n, &err) != QN_OK) {
        qn_error_prefix(&err, "model %s", name);
        tally_fail(t, &err);
        return;
    }
    for (int32_t i = 0; i < n && !served; i++) {
        qn_entry *e = entry_find(&r->models[model_find(r, name)], found[i].number);
        bool have = e && e->version;

        if (have && same_stamp(&e->stamp, &found[i].stamp)) {
            t->report.n_unchanged++;
            served = found[i].number;
        } else if (load_version(r, model_fd, name, &found[i], t) || have) {
            served = found[i].number; /* a changed file that does not load: the old content goes on serving */
        }
    }
    if (!served) { /* nothing in the folder loads: whatever is still READY goes on, if its folder is there */
        qn_entry *e = entry_served(&r->models[model_find(r, name)]);

        if (e && still_there(e->number, found, n)) served = e->number;
    }
    retire_others(r, name, served, found, n, t);
    free(found);
}

static void sync_by_name(qn_registry *r, const char *name, qn_tally *t)
{
    int fd = -1;
    qn_error err = { 0 };
    qn_known_model *m;

    if (qn_folder_open(r->opt.root_fd, name, &fd, &err) != QN_OK) {
        if (err.status == QN_ERR_NOT_FOUND || err.status == QN_ERR_INVALID)
            qn_error_set(&err, QN_ERR_NOT_FOUND, "no model named %s in the folder of models", name);
        tally_fail(t, &err);
        return;
    }
    pthread_mutex_lock(&r->mu);
    m = model_add(r, name);
    if (m) m->unloaded = false;
    pthread_mutex_unlock(&r->mu);
    if (m) {
        sync_model(r, fd, name, t);
    } else {
        qn_error_set(&err, QN_ERR_NOMEM, "an entry for model %s", name);
        tally_fail(t, &err);
    }
    close(fd);
}

static void unload_model(qn_registry *r, const char *name, const char *reason, qn_tally *t)
{
    int32_t at = model_find(r, name);

    if (at < 0) {
        qn_error err = { 0 };

        qn_error_set(&err, QN_ERR_NOT_FOUND, "no model named %s", name);
        tally_fail(t, &err);
        return;
    }
    pthread_mutex_lock(&r->mu);
    r->models[at].unloaded = true;
    pthread_mutex_unlock(&r->mu);
    for (int32_t i = 0; i < r->models[at].n; i++) {
        if (r->models[at].entries[i].version) t->report.n_retired++;
        entry_retire(r, &r->models[at].entries[i], reason);
    }
}

/* A model whose folder is gone leaves the table. */
static void forget_model(qn_registry *r, int32_t at, qn_tally *t)
{
    qn_known_model gone;

    for (int32_t i = 0; i < r->models[at].n; i++) {
        if (r->models[at].entries[i].version) t->report.n_retired++;
        entry_retire(r, &r->models[at].entries[i], "removed from the folder");
    }
    pthread_mutex_lock(&r->mu);
    gone = r->models[at];
    memmove(&r->models[at], &r->models[at + 1], (size_t)(r->n_models - at - 1) * sizeof gone);
    r->n_models--;
    pthread_mutex_unlock(&r->mu);
    for (int32_t i = 0; i < gone.n; i++) qn_version_shell_unref(gone.entries[i].shell);
    free(gone.entries);
    free(gone.name);
}

static void reload_all(qn_registry *r, qn_tally *t)
{
    char **names = NULL;
    int32_t n = 0;
    qn_error err = { 0 };

    if (qn_scan_models(r->opt.root_fd, &names, &n, &err) != QN_OK) {
        tally_fail(t, &err);
        return;
    }
    for (int32_t i = r->n_models - 1; i >= 0; i--) {
        bool there = false;

        for (int32_t k = 0; k < n && !there; k++) there = strcmp(names[k], r->models[i].name) == 0;
        if (!there) forget_model(r, i, t);
    }
    for (int32_t i = 0; i < n; i++) {
        int32_t at = model_find(r, names[i]);

        if (at >= 0 && r->models[at].unloaded) continue;
        sync_by_name(r, names[i], t);
    }
    qn_scan_free_names(names, n);
}

static void action_run(qn_registry *r, const qn_action *a)
{
    qn_tally t = { 0 };

    switch (a->action) {
    case QN_REGISTRY_RELOAD: reload_all(r, &t); break;
    case QN_REGISTRY_LOAD: sync_by_name(r, a->name, &t); break;
    case QN_REGISTRY_UNLOAD: unload_model(r, a->name, "unloaded", &t); break;
    }
    if (a->action == QN_REGISTRY_RELOAD) {
        pthread_mutex_lock(&r->mu);
        r->scanned = true;
        pthread_mutex_unlock(&r->mu);
    }
    t.report.status = t.worst.status;
    t.report.message = t.worst.message;
    if (a->done) a->done(a->user, &t.report);
}

static void action_refuse(qn_action *a)
{
    qn_registry_report report = { .status = QN_ERR_UNAVAILABLE, .message = "the server is shutting down" };

    if (a->done) a->done(a->user, &report);
    free(a->name);
    free(a);
}

static void *loader_main(void *arg)
{
    qn_registry *r = arg;

    /* Loading is work that serving must not feel: a nicer thread than the workers. Failure only costs that. */
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
    pthread_mutex_lock(&r->mu);
    while (!r->stopping) {
        qn_action *a = r->first;

        if (!a) {
            pthread_cond_wait(&r->wake, &r->mu);
            continue;
        }
        r->first = a->next;
        if (!r->first) r->last = &r->first;
        r->n_actions--;
        pthread_mutex_unlock(&r->mu);
        action_run(r, a);
        free(a->name);
        free(a);
        pthread_mutex_lock(&r->mu);
    }
    pthread_mutex_unlock(&r->mu);
    return NULL;
}

/* -- the public face ------------------------------------------------------------------------------------------------------------------- */

qn_status qn_registry_create(const qn_registry_options *options, qn_registry **out, qn_error *err)
{
    qn_registry *r = calloc(1, sizeof *r);
    pthread_attr_t attr;
    int rc;

    *out = NULL;
    if (!r) return qn_error_set(err, QN_ERR_NOMEM, "registry");
    r->opt = *options;
    r->last = &r->first;
    pthread_mutex_init(&r->mu, NULL);
    pthread_cond_init(&r->wake, NULL);
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
        qn_action *next = r->first->next;

        action_refuse(r->first);
        r->first = next;
    }
    while (r->n_models > 0) forget_model(r, r->n_models - 1, &t);
    free(r->models);
    qn_store_unref(r->opt.store);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->mu);
    free(r);
}

qn_status qn_registry_submit(qn_registry *r, qn_registry_action action, const char *name, qn_registry_done *done, void *user, qn_error *err)
{
    qn_status st = QN_OK;
    qn_action *a;

    if (action != QN_REGISTRY_RELOAD && (!name || !qn_model_name_valid(name)))
        return qn_error_set(err, QN_ERR_INVALID,
                            "not a model name: expected letters, digits, '.', '_' or '-', at most 64, beginning with a letter or digit");
    a = calloc(1, sizeof *a);
    if (a && name) a->name = strdup(name);
    if (!a || (name && !a->name)) {
        free(a);
        return qn_error_set(err, QN_ERR_NOMEM, "an action for the loader");
    }
    a->action = action;
    a->done = done;
    a->user = user;
    pthread_mutex_lock(&r->mu);
    if (r->stopping || r->n_actions >= MAX_ACTIONS) {
        st = qn_error_set(err, QN_ERR_UNAVAILABLE, r->stopping ? "the server is shutting down" : "%d loads and reloads wait already",
                          MAX_ACTIONS);
    } else {
        *r->last = a;
        r->last = &a->next;
        r->n_actions++;
        pthread_cond_signal(&r->wake);
        a = NULL;
    }
    pthread_mutex_unlock(&r->mu);
    if (a) free(a->name);
    free(a);
    return st;
}

/* Under the lock: why (name, version) cannot be had. */
static qn_status lookup_failure(const qn_known_model *m, int64_t version, qn_error *err)
{
    const qn_entry *e = version ? entry_find(m, version) : m->n ? &m->entries[m->n - 1] : NULL;
    const qn_entry *served = entry_served(m);

    if (e && e->state == QN_VERSION_LOADING)
        return qn_error_set(err, QN_ERR_UNAVAILABLE, "model %s version %" PRId64 " is loading", m->name, e->number);
    if (version && served)
        return qn_error_set(err, QN_ERR_NOT_FOUND, "model %s has no version %" PRId64 " to serve; version %" PRId64 " is served", m->name,
                            version, served->number);
    if (version) return qn_error_set(err, QN_ERR_NOT_FOUND, "model %s has no version %" PRId64 " to serve", m->name, version);
    if (m->unloaded) return qn_error_set(err, QN_ERR_NOT_FOUND, "model %s is unloaded", m->name);
    return qn_error_set(err, QN_ERR_UNAVAILABLE, "model %s has no version that loads%s%s", m->name, e && e->reason[0] ? ": " : "",
                        e ? e->reason : "");
}

qn_status qn_registry_lookup(qn_registry *r, const char *name, int64_t version, qn_version **out, qn_error *err)
{
    qn_status st = QN_OK;
    int32_t at;

    *out = NULL;
    pthread_mutex_lock(&r->mu);
    at = model_find(r, name);
    if (at < 0 && !r->scanned) {
        st = qn_error_set(err, QN_ERR_UNAVAILABLE, "models are still being loaded");
    } else if (at < 0) {
        st = qn_error_set(err, QN_ERR_NOT_FOUND, "no model named %.64s", name);
    } else {
        const qn_known_model *m = &r->models[at];
        const qn_entry *e = version ? entry_find(m, version) : entry_served(m);

        if (e && e->state == QN_VERSION_READY)
            *out = qn_version_ref(e->version);
        else
            st = lookup_failure(m, version, err);
    }
    pthread_mutex_unlock(&r->mu);
    return st;
}

static qn_index_entry index_entry(const qn_known_model *m, const qn_entry *e)
{
    qn_index_entry x = { .model = m->name, .version = e->number, .state = e->state, .reason = e->reason };

    if (e->state == QN_VERSION_GONE && e->shell) x.state = (qn_version_state)atomic_load(&e->shell->state);
    if (e->version) x.weight_bytes = qn_model_weight_bytes(e->version->model);
    x.served = e == entry_served(m);
    return x;
}

void qn_registry_index(qn_registry *r, void (*visit)(void *user, const qn_index_entry *e), void *user)
{
    pthread_mutex_lock(&r->mu);
    for (int32_t i = 0; i < r->n_models; i++) {
        const qn_known_model *m = &r->models[i];

        for (int32_t k = 0; k < m->n; k++) {
            qn_index_entry x = index_entry(m, &m->entries[k]);

            visit(user, &x);
        }
        if (m->n == 0) visit(user, &(qn_index_entry){ .model = m->name, .state = QN_VERSION_FOUND, .reason = "" });
    }
    pthread_mutex_unlock(&r->mu);
}

bool qn_registry_ready(qn_registry *r)
{
    bool ready;

    pthread_mutex_lock(&r->mu);
    ready = r->scanned;
    for (int32_t i = 0; i < r->n_models && ready; i++) {
        if (!r->models[i].unloaded && r->models[i].n > 0 && !entry_served(&r->models[i])) ready = false;
    }
    pthread_mutex_unlock(&r->mu);
    return ready;
}
