/* server/registry/lifecycle.c - orders that change the folder: promote, rollback, install, remove. Loader thread only, but for staging.
 * Each is one rename in the end: before it nothing has changed, after it a crash finds the new state in the folder. */
#include "server/registry/table.h"

#include "quern/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAGING ".quern"
/* A version's folder holds the model, its external data and little else. */
#define MAX_DEPTH 8

static qn_status io_error(qn_error *err, const char *what) { return qn_error_set(err, QN_ERR_IO, "%s: %s", what, strerror(errno)); }

/* -- folders that come and go ---------------------------------------------------------------------------------------------------------- */

/* Delete dir_fd/name and what is in it, following nothing. What cannot be deleted stays for the next sweep. */
static void remove_tree(int dir_fd, const char *name, int depth)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!dir) {
        if (fd >= 0) close(fd);
        (void)unlinkat(dir_fd, name, 0);
        return;
    }
    while (depth < MAX_DEPTH && (e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (unlinkat(fd, e->d_name, 0) != 0) remove_tree(fd, e->d_name, depth + 1);
    }
    closedir(dir);
    (void)unlinkat(dir_fd, name, AT_REMOVEDIR);
}

static int open_staging(const qn_registry *r) { return openat(r->opt.root_fd, STAGING, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW); }

static bool unique_name(const char *kind, char out[QN_STAGED_NAME])
{
    uint64_t random;

    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) return false;
    snprintf(out, QN_STAGED_NAME, "%s-%016" PRIx64, kind, random);
    return true;
}

qn_status qn_registry_stage(qn_registry *r, char name[QN_STAGED_NAME], int *fd, qn_error *err)
{
    int staging = -1;
    qn_status st = QN_OK;

    *fd = -1;
    if (mkdirat(r->opt.root_fd, STAGING, 0700) != 0 && errno != EEXIST) return io_error(err, "the folder of models takes no uploads");
    staging = open_staging(r);
    if (staging < 0 || !unique_name("upload", name) || mkdirat(staging, name, 0700) != 0) {
        st = io_error(err, "the folder of models takes no uploads");
        goto done;
    }
    *fd = openat(staging, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (*fd < 0 || flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        st = io_error(err, "the folder of models takes no uploads");
        if (*fd >= 0) close(*fd);
        *fd = -1;
        (void)unlinkat(staging, name, AT_REMOVEDIR);
    }
done:
    if (staging >= 0) close(staging);
    return st;
}

void qn_registry_unstage(qn_registry *r, const char *name)
{
    int staging = open_staging(r);

    if (staging < 0) return;
    remove_tree(staging, name, 0);
    close(staging);
}

/* Folders that no living process holds the lock of: another daemon may share the folder of models while one takes over from the other. */
void qn_lifecycle_sweep(qn_registry *r)
{
    int staging = open_staging(r);
    DIR *dir = staging < 0 ? NULL : fdopendir(staging);
    struct dirent *e;

    if (!dir) {
        if (staging >= 0) close(staging);
        return;
    }
    while ((e = readdir(dir)) != NULL) {
        int fd;

        if (strncmp(e->d_name, "upload-", 7) != 0 && strncmp(e->d_name, "trash-", 6) != 0) continue;
        fd = openat(staging, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0) remove_tree(staging, e->d_name, 0);
        if (fd >= 0) close(fd);
    }
    closedir(dir);
}

/* -- promote, rollback ------------------------------------------------------------------------------------------------------------------ */

/* What promote and rollback look at. */
typedef struct scene {
    int model_fd;
    qn_scan_version *found;
    int32_t n;
    qn_pins pins;
} scene;

static void scene_close(scene *s)
{
    if (s->model_fd >= 0) close(s->model_fd);
    free(s->found);
    qn_pins_release(&s->pins);
}

static qn_status scene_open(qn_registry *r, const char *name, scene *s, qn_error *err)
{
    qn_known_model *m = qn_table_find(r, name);
    qn_status st = QN_OK;

    *s = (scene){ .model_fd = -1 };
    if (!m) return qn_error_set(err, QN_ERR_NOT_FOUND, "no model named %s", name);
    if (m->away == QN_AWAY_UNLOADED) return qn_error_set(err, QN_ERR_CONFLICT, "model %s is unloaded: load it first", name);
    st = qn_folder_open(r->opt.root_fd, name, &s->model_fd, err);
    if (st == QN_OK) st = qn_scan_versions(s->model_fd, &s->found, &s->n, err);
    if (st == QN_OK) st = qn_pins_read(s->model_fd, &s->pins, err);
    if (st != QN_OK) {
        qn_error_prefix(err, "model %s", name);
    } else if (m->away == QN_AWAY_EVICTED) { /* this is asking for it */
        pthread_mutex_lock(&r->mu);
        m->away = QN_AWAY_NO;
        pthread_mutex_unlock(&r->mu);
    }
    return st;
}

static const qn_scan_version *scene_find(const scene *s, int64_t number)
{
    for (int32_t i = 0; i < s->n; i++) {
        if (s->found[i].number == number) return &s->found[i];
    }
    return NULL;
}

static int64_t served(qn_registry *r, const char *name)
{
    const qn_known_model *m = qn_table_find(r, name);
    const qn_slot *s = m ? qn_slot_served(m) : NULL;

    return s ? s->number : 0;
}

/* The version loads first, then the decision is made durable, then it takes effect. */
static void decide(qn_registry *r, const char *name, scene *s, const qn_scan_version *next, qn_tally *t)
{
    qn_error err = { 0 };
    qn_status st = next ? qn_sync_one(r, s->model_fd, name, next, t, &err) : QN_OK;

    if (st == QN_OK && (st = qn_pins_write(s->model_fd, &s->pins, &err)) != QN_OK) qn_error_prefix(&err, "model %s", name);
    if (st == QN_OK)
        qn_sync_model(r, s->model_fd, name, QN_SYNC_NAMED, &s->pins, NULL, t);
    else
        qn_tally_fail(t, &err);
    if (st != QN_OK && next)
        qn_sync_model(r, s->model_fd, name, QN_SYNC_POLLED, NULL, NULL, &(qn_tally){ 0 }); /* back to what was wanted */
}

void qn_lifecycle_promote(qn_registry *r, const qn_registry_order *o, qn_tally *t)
{
    const qn_scan_version *next = NULL;
    qn_error err = { 0 };
    scene s;
    qn_status st = scene_open(r, o->name, &s, &err);

    if (st == QN_OK && o->version && !(next = scene_find(&s, o->version)))
        st = qn_error_set(&err, QN_ERR_NOT_FOUND, "model %s has no version %" PRId64 " in its folder", o->name, o->version);
    if (st == QN_OK && o->label) {
        st = qn_pins_label(&s.pins, o->label, o->version, &err);
    } else if (st == QN_OK) {
        if (served(r, o->name) != o->version) qn_pins_push(&s.pins, served(r, o->name));
        s.pins.served = o->version;
    }
    if (st == QN_OK)
        decide(r, o->name, &s, next, t);
    else
        qn_tally_fail(t, &err);
    scene_close(&s);
}

/* What was served before the present one and is still in the folder; else the next lower number. */
static const qn_scan_version *earlier(scene *s, int64_t now)
{
    while (s->pins.n_before > 0) {
        const qn_scan_version *v = scene_find(s, s->pins.before[--s->pins.n_before]);

        if (v && v->number != now) return v;
    }
    for (int32_t i = 0; i < s->n; i++) { /* highest first */
        if (s->found[i].number < now) return &s->found[i];
    }
    return NULL;
}

void qn_lifecycle_rollback(qn_registry *r, const qn_registry_order *o, qn_tally *t)
{
    const qn_scan_version *next = NULL;
    qn_error err = { 0 };
    scene s;
    qn_status st = scene_open(r, o->name, &s, &err);
    int64_t now = served(r, o->name);

    if (st == QN_OK && !(next = earlier(&s, now)))
        st = qn_error_set(&err, QN_ERR_CONFLICT, "model %s: nothing was served before version %" PRId64, o->name, now);
    if (st == QN_OK) {
        s.pins.served = next->number;
        decide(r, o->name, &s, next, t);
    } else {
        qn_tally_fail(t, &err);
    }
    scene_close(&s);
}

/* -- install ------------------------------------------------------------------------------------------------------------------------------ */

static bool exists(int fd, const char *name)
{
    struct stat st;

    return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Everything in the folder (no deeper: an upload is flat) and the folder itself reach the disk. */
static bool sync_files(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *e;
    bool ok = dir != NULL;

    if (!dir && copy >= 0) close(copy);
    while (ok && (e = readdir(dir)) != NULL) {
        int file;

        if (e->d_name[0] == '.') continue;
        file = openat(fd, e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        ok = file >= 0 && fsync(file) == 0;
        if (file >= 0) close(file);
    }
    if (dir) closedir(dir);
    return ok && fsync(fd) == 0;
}

/* The staged version loads, warms and answers, or it does not come in. */
static qn_status load_staged(qn_registry *r, const qn_registry_order *o, int model_fd, int staged_fd, qn_version **v, qn_error *err)
{
    qn_version_source src = { .settings_fd = model_fd,
                              .file_fd = staged_fd,
                              .name = o->name,
                              .number = o->version,
                              .file = exists(staged_fd, "model.onnx") ? "model.onnx" : "model.onnx.zst",
                              .answer = "known_answer.json",
                              .options = &r->opt };

    return qn_version_load(&src, v, err);
}

/* root/.quern/<staged> -> root/<name>/<version>, unless that is there. */
static qn_status move_in(qn_registry *r, const qn_registry_order *o, int model_fd, int staged_fd, qn_error *err)
{
    int staging = open_staging(r);
    char number[24];
    qn_status st = QN_OK;

    snprintf(number, sizeof number, "%" PRId64, o->version);
    if (staging < 0 || !sync_files(staged_fd) || fchmod(staged_fd, 0755) != 0 ||
        renameat2(staging, o->staged, model_fd, number, RENAME_NOREPLACE) != 0 || fsync(model_fd) != 0 || fsync(r->opt.root_fd) != 0) {
        st = errno == EEXIST || errno == ENOTEMPTY ? qn_error_set(err, QN_ERR_CONFLICT, "version %s is there already", number)
                                                   : io_error(err, "the version cannot be put into the folder");
    }
    if (staging >= 0) close(staging);
    return st;
}

static qn_status install(qn_registry *r, const qn_registry_order *o, int model_fd, int staged_fd, qn_tally *t, qn_error *err)
{
    qn_preloaded pre = { .number = o->version };
    qn_known_model *m;
    char number[24];
    qn_status st;

    snprintf(number, sizeof number, "%" PRId64, o->version);
    if (exists(model_fd, number)) return qn_error_set(err, QN_ERR_CONFLICT, "version %s is there already: versions never change", number);
    st = load_staged(r, o, model_fd, staged_fd, &pre.version, err);
    if (st == QN_OK) st = move_in(r, o, model_fd, staged_fd, err);
    if (st == QN_OK) {
        pthread_mutex_lock(&r->mu);
        m = qn_table_add(r, o->name);
        pthread_mutex_unlock(&r->mu);
        if (m && m->away == QN_AWAY_NO)
            qn_sync_model(r, model_fd, o->name, QN_SYNC_NAMED, NULL, &pre, t);
        else if (!m)
            st = qn_error_set(err, QN_ERR_NOMEM, "an entry for model %s", o->name);
    }
    qn_version_unref(pre.version); /* the policy may not want it */
    return st;
}

void qn_lifecycle_install(qn_registry *r, const qn_registry_order *o, qn_tally *t)
{
    int model_fd = -1, staging = open_staging(r), staged_fd = -1;
    bool made = false;
    qn_error err = { 0 };
    qn_status st = QN_OK;
    const qn_slot *slot;

    if (staging >= 0) staged_fd = openat(staging, o->staged, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (staged_fd < 0) st = io_error(&err, "the upload is not there");
    made = st == QN_OK && mkdirat(r->opt.root_fd, o->name, 0755) == 0;
    if (st == QN_OK && !made && errno != EEXIST) st = io_error(&err, "a folder for the model");
    if (st == QN_OK) st = qn_folder_open(r->opt.root_fd, o->name, &model_fd, &err);
    if (st == QN_OK) st = install(r, o, model_fd, staged_fd, t, &err);
    if (st != QN_OK) {
        qn_error_prefix(&err, "model %s version %" PRId64, o->name, o->version);
        qn_tally_fail(t, &err);
        if (made) (void)unlinkat(r->opt.root_fd, o->name, AT_REMOVEDIR); /* not empty if it did come in */
    }
    slot = qn_table_find(r, o->name) ? qn_slot_find(qn_table_find(r, o->name), o->version) : NULL;
    t->report.ready = slot && slot->state == QN_VERSION_READY;
    if (staged_fd >= 0) close(staged_fd);
    if (model_fd >= 0) close(model_fd);
    if (staging >= 0) close(staging);
    qn_registry_unstage(r, o->staged);
}

/* -- remove -------------------------------------------------------------------------------------------------------------------------------- */

/* Whoever means this version, or NULL. */
static const char *who_means(qn_registry *r, const qn_registry_order *o, const scene *s)
{
    const qn_known_model *m = qn_table_find(r, o->name);
    const qn_slot *slot = m ? qn_slot_find(m, o->version) : NULL;

    if (s->pins.served == o->version) return "pinned";
    if (slot && slot == qn_slot_served(m)) return "served";
    for (int32_t i = 0; i < s->pins.n_labels; i++) {
        if (s->pins.labels[i].version == o->version) return "labelled";
    }
    for (int32_t i = 0; m && i < m->n_labels; i++) {
        if (m->labels[i].version == o->version) return "labelled";
    }
    return NULL;
}

static qn_status move_out(qn_registry *r, const scene *s, const qn_registry_order *o, char trash[QN_STAGED_NAME], qn_error *err)
{
    char number[24];
    int staging;
    qn_status st = QN_OK;

    snprintf(number, sizeof number, "%" PRId64, o->version);
    if (mkdirat(r->opt.root_fd, STAGING, 0700) != 0 && errno != EEXIST) return io_error(err, "the version cannot be removed");
    staging = open_staging(r);
    if (staging < 0 || !unique_name("trash", trash) || renameat(s->model_fd, number, staging, trash) != 0 || fsync(s->model_fd) != 0)
        st = io_error(err, "the version cannot be removed");
    if (staging >= 0) close(staging);
    return st;
}

void qn_lifecycle_remove(qn_registry *r, const qn_registry_order *o, qn_tally *t)
{
    char trash[QN_STAGED_NAME];
    const qn_known_model *m = qn_table_find(r, o->name);
    const char *who = NULL;
    qn_error err = { 0 };
    scene s = { .model_fd = -1 };
    qn_status st = m ? QN_OK : qn_error_set(&err, QN_ERR_NOT_FOUND, "no model named %s", o->name);

    if (st == QN_OK) st = qn_folder_open(r->opt.root_fd, o->name, &s.model_fd, &err);
    if (st == QN_OK) st = qn_scan_versions(s.model_fd, &s.found, &s.n, &err);
    if (st == QN_OK) st = qn_pins_read(s.model_fd, &s.pins, &err);
    if (st == QN_OK && !scene_find(&s, o->version))
        st = qn_error_set(&err, QN_ERR_NOT_FOUND, "model %s has no version %" PRId64 " in its folder", o->name, o->version);
    if (st == QN_OK && (who = who_means(r, o, &s)))
        st = qn_error_set(&err, QN_ERR_CONFLICT, "model %s version %" PRId64 " is %s: promote another first", o->name, o->version, who);
    if (st == QN_OK) st = move_out(r, &s, o, trash, &err);
    if (st == QN_OK) {
        if (m->away == QN_AWAY_NO) qn_sync_model(r, s.model_fd, o->name, QN_SYNC_ASKED, NULL, NULL, t);
        qn_registry_unstage(r, trash);
    } else {
        qn_tally_fail(t, &err);
    }
    scene_close(&s);
}
