/* server/registry/sync.c - the arrows of the drawing in registry.h, and what makes the table agree with the folder. Loader thread only. */
#include "server/registry/table.h"

#include "quern/folder.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void qn_tally_fail(qn_tally *t, const qn_error *err)
{
    t->report.n_failed++;
    if (t->worst.status == QN_OK) t->worst = *err;
}

static bool same_stamp(const qn_file_stamp *a, const qn_file_stamp *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

/* -- the arrows --------------------------------------------------------------------------------------------------------------------- */

/* LOADING -> READY: from the next lookup on. Returns what it replaced, for version_retire. */
static qn_version *version_publish(qn_registry *r, qn_slot *s, qn_version *v, const qn_file_stamp *stamp)
{
    qn_version *old;

    pthread_mutex_lock(&r->mu);
    old = s->version;
    atomic_store(&v->state, QN_VERSION_READY);
    s->version = v;
    s->state = QN_VERSION_READY;
    s->stamp = *stamp;
    s->reason[0] = 0;
    pthread_mutex_unlock(&r->mu);
    return old;
}

/* LOADING -> FAILED; a slot that still serves an older file stays READY and keeps the reason. */
static void version_fail(qn_registry *r, qn_slot *s, const qn_file_stamp *stamp, const char *reason)
{
    pthread_mutex_lock(&r->mu);
    if (!s->version) {
        s->state = QN_VERSION_FAILED;
        s->stamp = *stamp;
    }
    snprintf(s->reason, sizeof s->reason, "%s", reason);
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

/* Take the version out of a slot and retire it; the slot keeps the shell and the reason. */
static void slot_retire(qn_registry *r, qn_slot *s, const char *reason, qn_tally *t)
{
    qn_version *old, *old_shell;

    pthread_mutex_lock(&r->mu);
    old = s->version;
    old_shell = NULL;
    s->version = NULL;
    s->state = QN_VERSION_GONE;
    s->chosen = false;
    if (old) {
        old_shell = s->shell;
        s->shell = old;
        atomic_fetch_add(&old->shells, 1);
        t->report.n_retired++;
    }
    snprintf(s->reason, sizeof s->reason, "%s", reason);
    pthread_mutex_unlock(&r->mu);
    qn_version_shell_unref(old_shell);
    version_retire(old);
}

static void model_retire(qn_registry *r, qn_known_model *m, const char *reason, qn_tally *t)
{
    for (int32_t i = 0; i < m->n; i++) slot_retire(r, &m->slots[i], reason, t);
}

/* -- memory ------------------------------------------------------------------------------------------------------------------------- */

static uint64_t model_bytes(const qn_known_model *m)
{
    uint64_t n = 0;

    for (int32_t i = 0; i < m->n; i++) {
        if (m->slots[i].version) n += qn_model_weight_bytes(m->slots[i].version->model);
    }
    return n;
}

static uint64_t resident(const qn_registry *r)
{
    uint64_t n = 0;

    for (int32_t i = 0; i < r->n_models; i++) n += model_bytes(&r->models[i]);
    return n;
}

/* The model asked for least recently that holds memory, other than `name`. */
static qn_known_model *coldest(qn_registry *r, const char *name)
{
    qn_known_model *best = NULL;

    pthread_mutex_lock(&r->mu);
    for (int32_t i = 0; i < r->n_models; i++) {
        qn_known_model *m = &r->models[i];

        if (strcmp(m->name, name) == 0 || m->away != QN_AWAY_NO || model_bytes(m) == 0) continue;
        if (!best || m->asked < best->asked) best = m;
    }
    pthread_mutex_unlock(&r->mu);
    return best;
}

/* Make `bytes` fit beside what is READY: other models leave, the coldest first. `own` are bytes that leave with the load anyway. `shy`: a
 * model that nobody asked for makes nobody leave, it waits (QN_ERR_UNAVAILABLE) as if it had left. */
static qn_status make_room(qn_registry *r, const char *name, uint64_t bytes, uint64_t own, bool shy, qn_tally *t, qn_error *err)
{
    const qn_known_model *self = qn_table_find(r, name);
    uint64_t mine = (self ? model_bytes(self) : 0) - own;

    if (r->opt.memory_bytes == 0) return QN_OK;
    if (bytes > r->opt.memory_bytes || mine > r->opt.memory_bytes - bytes)
        return qn_error_set(err, QN_ERR_LIMIT,
                            "%" PRIu64 " bytes of weights beside %" PRIu64 " of its other versions, models.memory_bytes is %" PRIu64, bytes,
                            mine, r->opt.memory_bytes);
    while (resident(r) - own + bytes > r->opt.memory_bytes) {
        qn_known_model *m = shy && mine == 0 ? NULL : coldest(r, name);

        if (!m) {
            pthread_mutex_lock(&r->mu);
            qn_table_find(r, name)->away = QN_AWAY_EVICTED;
            pthread_mutex_unlock(&r->mu);
            return qn_error_set(err, QN_ERR_UNAVAILABLE, "no room beside the other models: loaded when it is asked for");
        }
        pthread_mutex_lock(&r->mu);
        m->away = QN_AWAY_EVICTED;
        pthread_mutex_unlock(&r->mu);
        if (r->opt.on_evict) r->opt.on_evict(r->opt.user, m->name, model_bytes(m));
        model_retire(r, m, "left for want of memory, asked for least recently", t);
    }
    return QN_OK;
}

/* -- one version ---------------------------------------------------------------------------------------------------------------------- */

typedef struct sync_run {
    qn_registry *r;
    int model_fd;
    const char *name;
    qn_sync_mode mode;
    bool unload_first, shy;
    qn_preloaded *pre;
    qn_tally *t;
    qn_scan_version *found; /* [n] highest first */
    int32_t n;
    bool *kept, *chosen; /* [n] READY and wanted; READY and wanted by the policy */
} sync_run;

static qn_known_model *model_of(const sync_run *s) { return qn_table_find(s->r, s->name); }

/* make_room() for a version of s; at the cap its older versions leave first if the operator wants it so. */
static qn_status room_for(const sync_run *s, int64_t number, uint64_t bytes, qn_error *err)
{
    const qn_slot *slot = qn_slot_find(model_of(s), number);
    const uint64_t own = slot && slot->version ? qn_model_weight_bytes(slot->version->model) : 0;
    qn_status st = make_room(s->r, s->name, bytes, own, s->shy, s->t, err);

    if (st != QN_ERR_LIMIT || !s->unload_first) return st;
    model_retire(s->r, model_of(s), "unloaded to make room for its next version", s->t);
    return make_room(s->r, s->name, bytes, 0, s->shy, s->t, err);
}

/* Room is made twice: before, by the size of the file, so that a load does not need twice the cap; then by what it came to. */
static qn_status load_contents(const sync_run *s, const qn_scan_version *found, qn_version **v, qn_error *err)
{
    qn_version_source src = { .settings_fd = s->model_fd,
                              .file_fd = s->model_fd,
                              .name = s->name,
                              .number = found->number,
                              .file = found->file,
                              .answer = found->answer,
                              .options = &s->r->opt };
    qn_status st;

    if (s->pre && s->pre->version && s->pre->number == found->number) {
        *v = s->pre->version;
        s->pre->version = NULL;
    } else {
        st = room_for(s, found->number, (uint64_t)found->stamp.size, err);
        if (st == QN_OK) st = qn_version_load(&src, v, err);
        if (st != QN_OK) return st;
    }
    st = room_for(s, found->number, qn_model_weight_bytes((*v)->model), err);
    if (st != QN_OK) {
        qn_version_unref(*v);
        *v = NULL;
    }
    return st;
}

/* FOUND -> LOADING -> READY or FAILED. */
static qn_status load_version(const sync_run *s, const qn_scan_version *found, qn_error *err)
{
    qn_registry *r = s->r;
    qn_version *v = NULL;
    qn_slot *slot;
    qn_status st;
    uint64_t began = qn_registry_now_us();

    pthread_mutex_lock(&r->mu);
    slot = qn_slot_add(model_of(s), found->number);
    if (slot && slot->state != QN_VERSION_READY) slot->state = QN_VERSION_LOADING;
    pthread_mutex_unlock(&r->mu);
    if (!slot) return qn_error_set(err, QN_ERR_NOMEM, "an entry for version %" PRId64 " of model %s", found->number, s->name);
    st = load_contents(s, found, &v, err);
    if (st == QN_OK) {
        version_retire(version_publish(r, slot, v, &found->stamp));
        s->t->report.n_loaded++;
    } else if (st == QN_ERR_UNAVAILABLE && model_of(s)->away == QN_AWAY_EVICTED) {
        version_fail(r, slot, &(qn_file_stamp){ 0 }, err->message);
        return st;
    } else {
        qn_error_prefix(err, "model %s version %" PRId64, s->name, found->number);
        version_fail(r, slot, &found->stamp, err->message);
    }
    if (r->opt.on_load)
        r->opt.on_load(r->opt.user, s->name, found->number, st, st == QN_OK ? "" : err->message, qn_registry_now_us() - began);
    return st;
}

/* A poll loads a file when two looks find it the same, and does not try again what failed until it changes. True: leave it. */
static bool not_settled(const sync_run *s, const qn_scan_version *found)
{
    qn_slot *slot;
    bool leave;

    if (s->mode != QN_SYNC_POLLED) return false;
    pthread_mutex_lock(&s->r->mu);
    slot = qn_slot_add(model_of(s), found->number);
    leave =
        !slot || !same_stamp(&slot->seen, &found->stamp) || (slot->state == QN_VERSION_FAILED && same_stamp(&slot->stamp, &found->stamp));
    if (slot) slot->seen = found->stamp;
    pthread_mutex_unlock(&s->r->mu);
    return leave;
}

/* READY afterwards? With the file that stands there now, or with what it was if that does not load. */
static bool ready_version(const sync_run *s, int32_t i)
{
    const qn_scan_version *found = &s->found[i];
    const qn_slot *slot = qn_slot_find(model_of(s), found->number);
    qn_error err = { 0 };

    if (s->kept[i]) return true;
    if (slot && slot->version && same_stamp(&slot->stamp, &found->stamp)) {
        s->t->report.n_unchanged++;
        return true;
    }
    if (model_of(s)->away == QN_AWAY_NO && !not_settled(s, found) && load_version(s, found, &err) != QN_OK &&
        model_of(s)->away == QN_AWAY_NO)
        qn_tally_fail(s->t, &err);
    slot = qn_slot_find(model_of(s), found->number);
    return slot && slot->version;
}

/* -- one model ------------------------------------------------------------------------------------------------------------------------ */

static int32_t found_index(const sync_run *s, int64_t number)
{
    for (int32_t i = 0; i < s->n; i++) {
        if (s->found[i].number == number) return i;
    }
    return -1;
}

/* A version that somebody names must be there. */
static void keep_named(const sync_run *s, int64_t number, const char *who, bool chosen)
{
    int32_t i = found_index(s, number);
    qn_error err = { 0 };

    if (i < 0) {
        qn_error_set(&err, QN_ERR_INVALID, "model %s: %s names version %" PRId64 ", which is not in the folder", s->name, who, number);
        qn_tally_fail(s->t, &err);
        return;
    }
    s->kept[i] = ready_version(s, i);
    if (chosen) s->chosen[i] = s->kept[i];
}

static void keep_by_policy(const sync_run *s, const qn_version_policy *p)
{
    int32_t left = p->rule == QN_VERSIONS_ALL ? s->n : p->n_latest > 0 ? p->n_latest : 1;

    if (p->rule == QN_VERSIONS_SPECIFIC) {
        for (int32_t i = 0; i < p->n_numbers; i++) keep_named(s, p->numbers[i], "versions", true);
        return;
    }
    for (int32_t i = 0; i < s->n && left > 0; i++) {
        s->kept[i] = s->chosen[i] = ready_version(s, i);
        if (s->kept[i]) left--;
    }
}

/* Labels of quern.yaml and of the pins, which win. On no memory the labels that were in force stay. */
static void merge_labels(const qn_version_policy *p, const qn_pins *pins, qn_version_label **out, int32_t *n)
{
    int32_t room = p->n_labels + pins->n_labels;
    qn_version_label *l = calloc((size_t)room + 1, sizeof *l);

    *n = 0;
    *out = l;
    for (int32_t i = 0; l && i < room; i++) {
        const qn_version_label *from = i < pins->n_labels ? &pins->labels[i] : &p->labels[i - pins->n_labels];

        if (qn_label_version(l, *n, from->name)) continue;
        l[*n].name = strdup(from->name);
        l[*n].version = from->version;
        if (!l[*n].name) {
            qn_version_labels_release(l, *n);
            *out = NULL;
            return;
        }
        (*n)++;
    }
}

/* From here on lookups go by the new choice: all of it at once. */
static void publish_choice(const sync_run *s, const qn_pins *pins, qn_version_label *labels, int32_t n_labels)
{
    qn_known_model *m = model_of(s);
    const qn_slot *was = qn_slot_served(m);
    int32_t at = pins->served ? found_index(s, pins->served) : -1;
    int64_t stays = 0;
    bool any = false;

    for (int32_t i = 0; i < s->n; i++) any = any || s->chosen[i];
    if (was && (pins->served ? at < 0 || !s->kept[at] : !any)) {
        /* what should be served is not to be had: what is goes on, if its folder is there */
        int32_t i = found_index(s, was->number);

        if (i >= 0) s->kept[i] = s->chosen[i] = true;
        stays = was->number;
    }
    pthread_mutex_lock(&s->r->mu);
    for (int32_t i = 0; i < m->n; i++) {
        int32_t k = found_index(s, m->slots[i].number);

        m->slots[i].chosen = k >= 0 && s->chosen[k];
    }
    m->pin = pins->served && stays ? stays : pins->served;
    if (labels) {
        qn_version_label *old = m->labels;
        int32_t n_old = m->n_labels;

        m->labels = labels;
        m->n_labels = n_labels;
        labels = old;
        n_labels = n_old;
    }
    pthread_mutex_unlock(&s->r->mu);
    if (labels) qn_version_labels_release(labels, n_labels);
}

/* Retire what nobody wants, and drop slots whose folder is gone. */
static void retire_others(const sync_run *s)
{
    qn_known_model *m = model_of(s);
    const qn_slot *served = qn_slot_served(m);
    const int64_t now = served ? served->number : 0;

    for (int32_t i = m->n - 1; i >= 0; i--) {
        qn_slot *slot = &m->slots[i];
        int32_t k = found_index(s, slot->number);

        if (k >= 0 && s->kept[k]) continue;
        if (slot->version)
            slot_retire(s->r, slot,
                        k < 0                ? "removed from the folder"
                        : slot->number < now ? "a newer version is served"
                                             : "not among the versions that are wanted",
                        s->t);
        if (k < 0) {
            qn_version *shell = slot->shell;

            pthread_mutex_lock(&s->r->mu);
            qn_slot_remove(m, slot);
            pthread_mutex_unlock(&s->r->mu);
            qn_version_shell_unref(shell);
        }
    }
}

/* What stands around the versions cannot be read: nothing changes, and a model that serves nothing says why. */
static void fail_model(const sync_run *s, const qn_error *err)
{
    qn_known_model *m = model_of(s);
    qn_error shown = *err;
    qn_slot *slot;

    if (s->n > 0)
        qn_error_prefix(&shown, "model %s version %" PRId64, s->name, s->found[0].number);
    else
        qn_error_prefix(&shown, "model %s", s->name);
    qn_tally_fail(s->t, &shown);
    if (s->n == 0) return;
    pthread_mutex_lock(&s->r->mu);
    slot = qn_slot_served(m) ? qn_slot_find(m, s->found[0].number) : qn_slot_add(m, s->found[0].number);
    pthread_mutex_unlock(&s->r->mu);
    if (slot && s->mode == QN_SYNC_POLLED && strcmp(slot->reason, shown.message) == 0) return; /* said before */
    if (slot) version_fail(s->r, slot, &s->found[0].stamp, shown.message);
    if (s->r->opt.on_load) s->r->opt.on_load(s->r->opt.user, s->name, s->found[0].number, shown.status, shown.message, 0);
}

static void sync_by_choice(sync_run *s, const qn_version_policy *policy, const qn_pins *pins)
{
    qn_version_label *labels = NULL;
    int32_t n_labels = 0;
    qn_error err = { 0 };

    s->kept = calloc((size_t)s->n + 1, 2 * sizeof *s->kept);
    merge_labels(policy, pins, &labels, &n_labels);
    if (!s->kept || !labels) {
        qn_error_set(&err, QN_ERR_NOMEM, "the versions of model %s", s->name);
        qn_tally_fail(s->t, &err);
        if (labels) qn_version_labels_release(labels, n_labels);
        free(s->kept);
        return;
    }
    s->chosen = s->kept + s->n + 1;
    if (pins->served) keep_named(s, pins->served, "pins.json", false);
    keep_by_policy(s, policy);
    for (int32_t i = 0; i < n_labels; i++) keep_named(s, labels[i].version, "a label", false);
    publish_choice(s, pins, labels, n_labels);
    retire_others(s);
    free(s->kept);
}

void qn_sync_model(qn_registry *r, int model_fd, const char *name, qn_sync_mode mode, const qn_pins *pins, qn_preloaded *pre, qn_tally *t)
{
    sync_run s = { .r = r, .model_fd = model_fd, .name = name, .mode = mode, .shy = mode != QN_SYNC_NAMED, .pre = pre, .t = t };
    qn_model_settings settings = r->opt.defaults;
    qn_pins own = { 0 };
    qn_error err = { 0 };
    qn_status st = qn_scan_versions(model_fd, &s.found, &s.n, &err);

    if (st == QN_OK && r->opt.read_settings) st = r->opt.read_settings(model_fd, &settings, &err);
    if (st == QN_OK && !pins) st = qn_pins_read(model_fd, &own, &err);
    s.unload_first = settings.unload_first;
    if (st == QN_OK)
        sync_by_choice(&s, &settings.versions, pins ? pins : &own);
    else
        fail_model(&s, &err);
    qn_pins_release(&own);
    qn_model_settings_release(&settings);
    free(s.found);
}

qn_status qn_sync_one(qn_registry *r, int model_fd, const char *name, const qn_scan_version *found, qn_tally *t, qn_error *err)
{
    sync_run s = { .r = r, .model_fd = model_fd, .name = name, .t = t };
    const qn_slot *slot = qn_slot_find(model_of(&s), found->number);

    if (slot && slot->version && same_stamp(&slot->stamp, &found->stamp)) return QN_OK;
    return load_version(&s, found, err);
}

/* -- all models ----------------------------------------------------------------------------------------------------------------------- */

static void sync_folder(qn_registry *r, const char *name, qn_sync_mode mode, qn_tally *t)
{
    int fd = -1;
    qn_error err = { 0 };
    qn_known_model *m;

    if (qn_folder_open(r->opt.root_fd, name, &fd, &err) != QN_OK) {
        if (err.status == QN_ERR_NOT_FOUND || err.status == QN_ERR_INVALID)
            qn_error_set(&err, QN_ERR_NOT_FOUND, "no model named %s in the folder of models", name);
        qn_tally_fail(t, &err);
        return;
    }
    pthread_mutex_lock(&r->mu);
    m = qn_table_add(r, name);
    if (m) {
        m->away = QN_AWAY_NO;
        m->coming = false;
        if (m->asked == 0) m->asked = ++r->n_asked;
    }
    pthread_mutex_unlock(&r->mu);
    if (m) {
        qn_sync_model(r, fd, name, mode, NULL, NULL, t);
    } else {
        qn_error_set(&err, QN_ERR_NOMEM, "an entry for model %s", name);
        qn_tally_fail(t, &err);
    }
    close(fd);
}

void qn_sync_by_name(qn_registry *r, const char *name, qn_tally *t) { sync_folder(r, name, QN_SYNC_NAMED, t); }

void qn_sync_unload(qn_registry *r, const char *name, qn_tally *t)
{
    qn_known_model *m = qn_table_find(r, name);

    if (!m) {
        qn_error err = { 0 };

        qn_error_set(&err, QN_ERR_NOT_FOUND, "no model named %s", name);
        qn_tally_fail(t, &err);
        return;
    }
    pthread_mutex_lock(&r->mu);
    m->away = QN_AWAY_UNLOADED;
    pthread_mutex_unlock(&r->mu);
    model_retire(r, m, "unloaded", t);
}

void qn_sync_forget(qn_registry *r, qn_known_model *m, qn_tally *t)
{
    model_retire(r, m, "removed from the folder", t);
    qn_table_remove(r, m);
}

void qn_sync_all(qn_registry *r, qn_sync_mode mode, qn_tally *t)
{
    char **names = NULL;
    int32_t n = 0;
    qn_error err = { 0 };

    if (qn_scan_models(r->opt.root_fd, &names, &n, &err) != QN_OK) {
        qn_tally_fail(t, &err);
        return;
    }
    for (int32_t i = r->n_models - 1; i >= 0; i--) {
        bool there = false;

        for (int32_t k = 0; k < n && !there; k++) there = strcmp(names[k], r->models[i].name) == 0;
        if (!there) qn_sync_forget(r, &r->models[i], t);
    }
    for (int32_t i = 0; i < n; i++) {
        const qn_known_model *m = qn_table_find(r, names[i]);

        if (m && m->away != QN_AWAY_NO) continue;
        sync_folder(r, names[i], mode, t);
    }
    qn_scan_free_names(names, n);
}
