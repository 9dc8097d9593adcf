/* The registry over real files: what is served, what a bad version changes, what the index says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

/* -- a folder of models to play with ------------------------------------------------------------------------------------------------ */

static char root[64];
static int root_fd = -1;
static qn_registry *registry;

static void write_file(const char *path, const void *data, size_t n)
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

static void make_folder(const char *path)
{
    char full[256];

    snprintf(full, sizeof full, "%s/%s", root, path);
    assert_int_equal(mkdir(full, 0700), 0);
}

/* The shipped model as version v of `name`. */
static void put_model(const char *name, int v)
{
    char path[128];
    char *data = malloc(1 << 20);
    FILE *f = fopen(QUERN_SOURCE_DIR "/models/fashion/1/model.onnx.zst", "rb");
    size_t n;

    assert_non_null(f);
    assert_non_null(data);
    n = fread(data, 1, 1 << 20, f);
    fclose(f);
    snprintf(path, sizeof path, "%s/%d", name, v);
    make_folder(path);
    snprintf(path, sizeof path, "%s/%d/model.onnx.zst", name, v);
    write_file(path, data, n);
    free(data);
}

typedef struct outcome {
    pthread_mutex_t mu;
    pthread_cond_t cv;
    bool done;
    qn_status status;
    int32_t n_loaded, n_failed, n_retired, n_unchanged;
    char message[192];
} outcome;

static void on_done(void *user, const qn_registry_report *r)
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

static outcome act(qn_registry_action action, const char *name)
{
    outcome o = { .mu = PTHREAD_MUTEX_INITIALIZER, .cv = PTHREAD_COND_INITIALIZER };

    assert_int_equal(qn_registry_submit(registry, action, name, on_done, &o, NULL), QN_OK);
    pthread_mutex_lock(&o.mu);
    while (!o.done) pthread_cond_wait(&o.cv, &o.mu);
    pthread_mutex_unlock(&o.mu);
    return o;
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

static void look(void *user, const qn_index_entry *e)
{
    wanted_entry *w = user;

    if (e->version != w->version) return;
    w->found = true;
    w->state = e->state;
    snprintf(w->reason, sizeof w->reason, "%s", e->reason);
}

static wanted_entry index_of(int64_t version)
{
    wanted_entry w = { .version = version };

    qn_registry_index(registry, look, &w);
    return w;
}

static int set_up(void **state)
{
    qn_registry_options o = { .cpu = 0, .defaults = { .max_batch_rows = 8, .max_queued = 10, .batching = -1 }, .n_workers = 2 };
    qn_store *store = NULL;

    (void)state;
    snprintf(root, sizeof root, "/tmp/quern-registry-XXXXXX");
    if (!mkdtemp(root)) return -1;
    root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0 || qn_store_create(&store, NULL) != QN_OK) return -1;
    o.root_fd = root_fd;
    o.store = store;
    if (qn_registry_create(&o, &registry, NULL) != QN_OK) return -1;
    qn_store_unref(store);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *where)
{
    (void)st;
    (void)flag;
    (void)where;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    qn_registry_destroy(registry);
    close(root_fd);
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* -- tests ------------------------------------------------------------------------------------------------------------------------------ */

static void names_that_are_paths_are_no_names(void **state)
{
    const char *bad[] = { "",    ".",        "..",   "a/b", "/a",
                          ".a",  "a..b",     "-a",   "_a",  "a b",
                          "a\n", "\xc3\xa4", "a\\b", "a:b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
    const char *good[] = { "a", "A9", "a.b-c_d", "0", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (qn_model_name_valid(bad[i])) fail_msg("accepted: \"%s\"", bad[i]);
        if (bad[i][0]) assert_int_equal(qn_registry_submit(registry, QN_REGISTRY_LOAD, bad[i], NULL, NULL, NULL), QN_ERR_INVALID);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) assert_true(qn_model_name_valid(good[i]));
}

static void the_highest_version_is_served(void **state)
{
    outcome o;

    (void)state;
    assert_false(qn_registry_ready(registry));
    make_folder("m");
    put_model("m", 1);
    put_model("m", 10);
    put_model("m", 9);
    make_folder("m/x");
    make_folder("m/007");
    o = act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(o.status, QN_OK);
    assert_int_equal(o.n_loaded, 1);
    assert_int_equal(served("m"), 10);
    assert_true(qn_registry_ready(registry));
    put_model("m", 11);
    o = act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(o.n_loaded, 1);
    assert_int_equal(o.n_retired, 1);
    assert_int_equal(served("m"), 11);
    assert_int_equal(index_of(10).state, QN_VERSION_GONE);
    o = act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(o.n_loaded, 0);
    assert_int_equal(o.n_unchanged, 1);
}

static void a_bad_version_leaves_the_older_one_serving(void **state)
{
    outcome o;

    (void)state;
    make_folder("m");
    put_model("m", 1);
    act(QN_REGISTRY_RELOAD, NULL);
    make_folder("m/2");
    write_file("m/2/model.onnx", "not onnx", 8);
    o = act(QN_REGISTRY_RELOAD, NULL);
    assert_int_not_equal(o.status, QN_OK);
    assert_int_equal(o.n_failed, 1);
    assert_non_null(strstr(o.message, "model m version 2"));
    assert_null(strstr(o.message, root));
    assert_int_equal(served("m"), 1);
    assert_int_equal(index_of(2).state, QN_VERSION_FAILED);
    assert_true(index_of(2).reason[0] != 0);
    /* the served file overwritten by rubbish: its loaded content stays */
    write_file("m/1/model.onnx.zst", "rubbish", 7);
    o = act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(o.n_failed, 2);
    assert_int_equal(served("m"), 1);
    assert_int_equal(index_of(1).state, QN_VERSION_READY);
}

static void a_held_version_drains_until_its_last_reference(void **state)
{
    qn_version *v = NULL;

    (void)state;
    make_folder("m");
    put_model("m", 1);
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(qn_registry_lookup(registry, "m", 0, &v, NULL), QN_OK);
    put_model("m", 2);
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(index_of(1).state, QN_VERSION_DRAINING);
    assert_int_equal(qn_model_n_inputs(qn_version_model(v)), 1); /* still whole */
    qn_version_unref(v);
    assert_int_equal(index_of(1).state, QN_VERSION_GONE);
    assert_int_equal(served("m"), 2);
}

static void unload_holds_through_reload(void **state)
{
    qn_error err = { 0 };
    qn_version *v = NULL;

    (void)state;
    make_folder("m");
    put_model("m", 1);
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(act(QN_REGISTRY_UNLOAD, "m").n_retired, 1);
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(qn_registry_lookup(registry, "m", 0, &v, &err), QN_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "unloaded"));
    assert_true(qn_registry_ready(registry));
    assert_int_equal(act(QN_REGISTRY_LOAD, "m").n_loaded, 1);
    assert_int_equal(served("m"), 1);
    assert_int_equal(act(QN_REGISTRY_LOAD, "nosuch").status, QN_ERR_NOT_FOUND);
    assert_int_equal(act(QN_REGISTRY_UNLOAD, "nosuch").status, QN_ERR_NOT_FOUND);
}

static void what_leaves_the_folder_leaves_the_registry(void **state)
{
    char from[128], to[128];

    (void)state;
    make_folder("m");
    put_model("m", 1);
    act(QN_REGISTRY_RELOAD, NULL);
    snprintf(from, sizeof from, "%s/m", root);
    snprintf(to, sizeof to, "%s/.gone", root);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(act(QN_REGISTRY_RELOAD, NULL).n_retired, 1);
    assert_int_equal(served("m"), 0);
    assert_false(index_of(1).found);
}

static void links_are_not_followed(void **state)
{
    char from[128];

    (void)state;
    make_folder("m");
    put_model("m", 1);
    snprintf(from, sizeof from, "%s/link", root);
    assert_int_equal(symlink("m", from), 0);
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(served("link"), 0);
    assert_int_equal(act(QN_REGISTRY_LOAD, "link").status, QN_ERR_NOT_FOUND);
}

static void *look_up_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3000; i++) {
        qn_version *v = NULL;

        if (qn_registry_lookup(registry, "m", 0, &v, NULL) != QN_OK) return &registry; /* went dark */
        if (qn_version_number(v) < 1 || !qn_version_model(v)) return &registry;
        qn_version_unref(v);
    }
    return NULL;
}

static void a_served_name_never_goes_dark(void **state)
{
    pthread_t t[2];
    void *dark;

    (void)state;
    make_folder("m");
    put_model("m", 1);
    act(QN_REGISTRY_RELOAD, NULL);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, look_up_many, NULL), 0);
    for (int v = 2; v < 12; v++) {
        put_model("m", v);
        assert_int_equal(act(QN_REGISTRY_RELOAD, NULL).status, QN_OK);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(t[i], &dark);
        assert_null(dark);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(names_that_are_paths_are_no_names),
        T(the_highest_version_is_served),
        T(a_bad_version_leaves_the_older_one_serving),
        T(a_held_version_drains_until_its_last_reference),
        T(unload_holds_through_reload),
        T(what_leaves_the_folder_leaves_the_registry),
        T(links_are_not_followed),
        T(a_served_name_never_goes_dark),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
