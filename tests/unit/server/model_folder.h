/* tests/unit/server/model_folder.h - a registry over a folder of models of the test's own making. */
#ifndef QUERN_TEST_MODEL_FOLDER_H
#define QUERN_TEST_MODEL_FOLDER_H

#include "server/codec/codec.h"
#include "server/config/config.h"
#include "server/registry/registry.h"
#include "server/registry/scan.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];
static int root_fd = -1;
static qn_registry *registry;

static inline void write_file(const char *path, const void *data, size_t n)
{
    char full[256], tmp[300];
    FILE *f;

    snprintf(full, sizeof full, "%s/%s", root, path);
    snprintf(tmp, sizeof tmp, "%s.new", full);
    f = fopen(tmp, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
    assert_int_equal(rename(tmp, full), 0);
}

static inline void make_folder(const char *path)
{
    char full[256];

    snprintf(full, sizeof full, "%s/%s", root, path);
    assert_int_equal(mkdir(full, 0700), 0);
}

/* The shipped model as a file beneath the root. */
static inline void copy_model(const char *path)
{
    char *data = malloc(1 << 20);
    FILE *f = fopen(QUERN_SOURCE_DIR "/models/fashion/1/model.onnx.zst", "rb");
    size_t n;

    assert_non_null(f);
    assert_non_null(data);
    n = fread(data, 1, 1 << 20, f);
    fclose(f);
    write_file(path, data, n);
    free(data);
}

/* The shipped model as version v of `name`. */
static inline void put_model(const char *name, int v)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%d", name, v);
    make_folder(path);
    snprintf(path, sizeof path, "%s/%d/model.onnx.zst", name, v);
    copy_model(path);
}

typedef struct outcome {
    pthread_mutex_t mu;
    pthread_cond_t cv;
    bool done;
    qn_status status;
    int32_t n_loaded, n_failed, n_retired, n_unchanged;
    char message[192];
} outcome;

static inline void on_done(void *user, const qn_registry_report *r)
{
    outcome *o = user;

    pthread_mutex_lock(&o->mu);
    o->status = r->status;
    o->n_loaded = r->n_loaded;
    o->n_failed = r->n_failed;
    o->n_retired = r->n_retired;
    o->n_unchanged = r->n_unchanged;
    snprintf(o->message, sizeof o->message, "%s", r->message ? r->message : "");
    o->done = true;
    pthread_cond_signal(&o->cv);
    pthread_mutex_unlock(&o->mu);
}

static inline outcome order(const qn_registry_order *o)
{
    outcome out = { .mu = PTHREAD_MUTEX_INITIALIZER, .cv = PTHREAD_COND_INITIALIZER };

    assert_int_equal(qn_registry_order_submit(registry, o, on_done, &out, NULL), QN_OK);
    pthread_mutex_lock(&out.mu);
    while (!out.done) pthread_cond_wait(&out.cv, &out.mu);
    pthread_mutex_unlock(&out.mu);
    return out;
}

static inline outcome act(qn_registry_action action, const char *name)
{
    return order(&(qn_registry_order){ .action = action, .name = name });
}

static int64_t served(const char *name)
{
    qn_version *v = NULL;
    int64_t n = 0;

    if (qn_registry_lookup(registry, name, 0, &v, NULL) == QN_OK) n = qn_version_number(v);
    qn_version_unref(v);
    return n;
}

typedef struct wanted_entry {
    int64_t version;
    qn_version_state state;
    bool found;
    char reason[192];
} wanted_entry;

static inline void look(void *user, const qn_index_entry *e)
{
    wanted_entry *w = user;

    if (e->version != w->version) return;
    w->found = true;
    w->state = e->state;
    snprintf(w->reason, sizeof w->reason, "%s", e->reason);
}

static inline wanted_entry index_of(int64_t version)
{
    wanted_entry w = { .version = version };

    qn_registry_index(registry, look, &w);
    return w;
}

static inline void close_registry(void)
{
    qn_registry_destroy(registry);
    registry = NULL;
}

static inline int open_registry(uint64_t memory_bytes, uint64_t poll_us)
{
    qn_registry_options o = { .cpu = 0,
                              .defaults = { .max_batch_rows = 8, .max_queued = 10, .batching = -1 },
                              .read_settings = qn_config_read_model,
                              .check_answer = qn_known_answer_check,
                              .n_workers = 2,
                              .memory_bytes = memory_bytes,
                              .poll_us = poll_us,
                              .root_fd = root_fd };
    qn_store *store = NULL;

    if (qn_store_create(&store, NULL) != QN_OK) return -1;
    o.store = store;
    if (qn_registry_create(&o, &registry, NULL) != QN_OK) return -1;
    qn_store_unref(store);
    return 0;
}

static inline int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/quern-registry-XXXXXX");
    if (!mkdtemp(root)) return -1;
    root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return root_fd < 0 ? -1 : open_registry(0, 0);
}

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *where)
{
    (void)st;
    (void)flag;
    (void)where;
    return remove(path);
}

static inline int tear_down(void **state)
{
    (void)state;
    close_registry();
    close(root_fd);
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
