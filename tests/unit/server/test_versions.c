/* Which versions are loaded and which is served: policies, labels, promote and rollback, uploads, known answers, the memory cap, polls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_folder.h"

static void put_text(const char *path, const char *text) { write_file(path, text, strlen(text)); }

static bool has(const char *name, int64_t version)
{
    qn_version *v = NULL;
    bool got = qn_registry_lookup(registry, name, version, &v, NULL) == QN_OK;

    qn_version_unref(v);
    return got;
}

static int64_t labelled(const char *name, const char *label)
{
    qn_version *v = NULL;
    int64_t n = 0;

    if (qn_registry_lookup_label(registry, name, label, &v, NULL) == QN_OK) n = qn_version_number(v);
    qn_version_unref(v);
    return n;
}

static bool there(const char *path) { return faccessat(root_fd, path, F_OK, 0) == 0; }

static void four_versions(void)
{
    make_folder("m");
    for (int v = 1; v <= 4; v++) put_model("m", v);
}

static outcome promote(const char *name, int64_t version, const char *label)
{
    return order(&(qn_registry_order){ .action = QN_REGISTRY_PROMOTE, .name = name, .version = version, .label = label });
}

static void the_policy_says_which_versions_are_loaded(void **state)
{
    outcome o;

    (void)state;
    four_versions();
    put_text("m/quern.yaml", "latest_versions: 2\n");
    o = act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(o.n_loaded, 2);
    assert_true(has("m", 4) && has("m", 3) && !has("m", 2));
    put_text("m/quern.yaml", "version_policy: all\n");
    assert_int_equal(act(QN_REGISTRY_RELOAD, NULL).status, QN_OK);
    assert_true(has("m", 1) && has("m", 2) && has("m", 3) && served("m") == 4);
    put_text("m/quern.yaml", "version_policy: specific\nversions: [1, 3]\n");
    o = act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(o.n_retired, 2);
    assert_true(has("m", 1) && !has("m", 2) && has("m", 3) && !has("m", 4) && served("m") == 3);
    put_text("m/quern.yaml", "version_policy: specific\nversions: [1, 9]\n");
    o = act(QN_REGISTRY_RELOAD, NULL); /* what is there is served, what is missing is said */
    assert_int_equal(o.status, QN_ERR_INVALID);
    assert_non_null(strstr(o.message, "version 9"));
    assert_int_equal(served("m"), 1);
}

static void a_policy_counts_versions_that_load(void **state)
{
    (void)state;
    four_versions();
    put_text("m/4/model.onnx", "not a model");
    put_text("m/quern.yaml", "latest_versions: 2\n");
    assert_int_equal(act(QN_REGISTRY_RELOAD, NULL).n_failed, 1);
    assert_true(has("m", 3) && has("m", 2) && !has("m", 1) && served("m") == 3);
}

static void promote_and_rollback_outlive_the_process(void **state)
{
    (void)state;
    four_versions();
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(served("m"), 4);
    assert_int_equal(promote("m", 2, NULL).status, QN_OK);
    assert_int_equal(served("m"), 2);
    assert_true(has("m", 4)); /* the policy still wants it loaded */
    put_model("m", 5);
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(served("m"), 2);
    close_registry();
    assert_int_equal(open_registry(0, 0), 0);
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(served("m"), 2);
    assert_int_equal(promote("m", 3, NULL).status, QN_OK);
    assert_int_equal(act(QN_REGISTRY_ROLLBACK, "m").status, QN_OK);
    assert_int_equal(served("m"), 2);
    assert_int_equal(act(QN_REGISTRY_ROLLBACK, "m").status, QN_OK);
    assert_int_equal(served("m"), 4);
    assert_int_equal(act(QN_REGISTRY_ROLLBACK, "m").status, QN_OK); /* nothing was served before: the next lower number */
    assert_int_equal(served("m"), 3);
    assert_int_equal(promote("m", 0, NULL).status, QN_OK); /* the policy again */
    assert_int_equal(served("m"), 5);
}

static void a_promotion_that_fails_changes_nothing(void **state)
{
    outcome o;

    (void)state;
    four_versions();
    put_text("m/1/model.onnx", "not a model");
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_not_equal(promote("m", 1, NULL).status, QN_OK);
    assert_int_equal(promote("m", 9, NULL).status, QN_ERR_NOT_FOUND);
    assert_int_equal(promote("n", 1, NULL).status, QN_ERR_NOT_FOUND);
    assert_int_equal(served("m"), 4);
    assert_false(there("m/pins.json"));
    put_text("m/pins.json", "{\"served\": \"two\"}");
    o = promote("m", 2, NULL);
    assert_int_equal(o.status, QN_ERR_FORMAT);
    assert_non_null(strstr(o.message, "pins.json"));
    assert_int_equal(act(QN_REGISTRY_RELOAD, NULL).status, QN_ERR_FORMAT);
    assert_int_equal(served("m"), 4);
}

static void pins_that_are_not_pins_are_one_clear_error(void **state)
{
    static const char *const bad[] = { "",
                                       "[]",
                                       "{\"served\": 0}",
                                       "{\"served\": -1}",
                                       "{\"served\": \"01\"}",
                                       "{\"served\": 1, \"served\": 2}",
                                       "{\"before\": 3}",
                                       "{\"before\": [null]}",
                                       "{\"labels\": {\"../x\": 1}}",
                                       "{\"labels\": {\"x\": []}}",
                                       "{\"serves\": 1}",
                                       "{\"served\": 99999999999999999999999}" };

    (void)state;
    four_versions();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        outcome o;

        put_text("m/pins.json", bad[i]);
        o = act(QN_REGISTRY_RELOAD, NULL);
        if (o.status != QN_ERR_FORMAT || !strstr(o.message, "pins.json")) fail_msg("%s: %s", bad[i], o.message);
        assert_int_equal(served("m"), 0); /* not a guess at what was meant */
        assert_int_equal(index_of(4).state, QN_VERSION_FAILED);
    }
}

static void a_pinned_version_that_is_gone_is_not_replaced_in_silence(void **state)
{
    qn_version *v = NULL;
    qn_error err = { 0 };

    (void)state;
    four_versions();
    put_text("m/pins.json", "{\"served\": \"7\"}");
    assert_int_equal(act(QN_REGISTRY_RELOAD, NULL).status, QN_ERR_INVALID);
    assert_int_equal(qn_registry_lookup(registry, "m", 0, &v, &err), QN_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.message, "version 7"));
    assert_false(qn_registry_ready(registry));
    assert_int_equal(promote("m", 3, NULL).status, QN_OK);
    assert_int_equal(served("m"), 3);
    put_text("m/pins.json", "{\"served\": \"8\"}"); /* while it serves: goes on */
    assert_int_equal(act(QN_REGISTRY_RELOAD, NULL).status, QN_ERR_INVALID);
    assert_int_equal(served("m"), 3);
}

static void labels_name_versions_and_keep_them_loaded(void **state)
{
    const qn_registry_order bad = { .action = QN_REGISTRY_PROMOTE, .name = "m", .label = "../x" };

    (void)state;
    four_versions();
    put_text("m/quern.yaml", "version_labels: {stable: 2, canary: 4}\n");
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(served("m"), 4);
    assert_int_equal(labelled("m", "stable"), 2);
    assert_int_equal(labelled("m", "canary"), 4);
    assert_int_equal(labelled("m", "nosuch"), 0);
    assert_int_equal(promote("m", 3, "stable").status, QN_OK); /* wins over the file, and lasts */
    assert_int_equal(labelled("m", "stable"), 3);
    assert_false(has("m", 2));
    assert_int_equal(served("m"), 4);
    close_registry();
    assert_int_equal(open_registry(0, 0), 0);
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(labelled("m", "stable"), 3);
    assert_int_equal(promote("m", 0, "stable").status, QN_OK); /* the file's again */
    assert_int_equal(labelled("m", "stable"), 2);
    assert_int_equal(qn_registry_order_submit(registry, &bad, NULL, NULL, NULL), QN_ERR_INVALID);
}

/* A staged folder with the shipped model, or with `text` as the model. */
static int stage(char name[QN_STAGED_NAME], const char *text)
{
    char path[128];
    int fd = -1;

    assert_int_equal(qn_registry_stage(registry, name, &fd, NULL), QN_OK);
    snprintf(path, sizeof path, ".quern/%s/model.onnx%s", name, text ? "" : ".zst");
    if (text)
        put_text(path, text);
    else
        copy_model(path);
    return fd;
}

static outcome install(const char *model, int64_t version, const char *text)
{
    char name[QN_STAGED_NAME], path[64];
    int fd = stage(name, text);
    outcome o = order(&(qn_registry_order){ .action = QN_REGISTRY_INSTALL, .name = model, .version = version, .staged = name });

    close(fd);
    snprintf(path, sizeof path, ".quern/%s", name);
    assert_false(there(path)); /* whatever came of it */
    return o;
}

static void an_upload_is_a_version_whole_or_not_at_all(void **state)
{
    (void)state;
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(install("m", 1, NULL).status, QN_OK);
    assert_int_equal(served("m"), 1);
    assert_int_equal(install("m", 1, NULL).status, QN_ERR_CONFLICT);
    assert_int_not_equal(install("m", 2, "not a model").status, QN_OK);
    assert_false(there("m/2"));
    assert_int_equal(served("m"), 1);
    assert_int_not_equal(install("new", 1, "not a model").status, QN_OK);
    assert_false(there("new")); /* no empty folder stays behind */
    assert_int_equal(install("m", 3, NULL).status, QN_OK);
    assert_int_equal(served("m"), 3);
    assert_int_equal(install("m", 2, NULL).n_loaded, 0); /* lower than what is served: stored */
    assert_true(!has("m", 2) && served("m") == 3);
    assert_int_equal(promote("m", 2, NULL).status, QN_OK);
    assert_int_equal(install("m", 4, NULL).status, QN_OK);
    assert_int_equal(served("m"), 2); /* pinned */
}

static void a_version_that_somebody_means_is_not_deleted(void **state)
{
    const qn_registry_order gone[] = { { .action = QN_REGISTRY_REMOVE, .name = "m", .version = 1 },
                                       { .action = QN_REGISTRY_REMOVE, .name = "m", .version = 2 },
                                       { .action = QN_REGISTRY_REMOVE, .name = "m", .version = 4 } };

    (void)state;
    four_versions();
    put_text("m/quern.yaml", "version_labels: {old: 1}\nlatest_versions: 2\n");
    act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(order(&gone[0]).status, QN_ERR_CONFLICT);
    assert_int_equal(order(&gone[2]).status, QN_ERR_CONFLICT);
    assert_int_equal(order(&gone[1]).status, QN_OK);
    assert_false(there("m/2"));
    assert_int_equal(order(&gone[1]).status, QN_ERR_NOT_FOUND);
    assert_int_equal(promote("m", 3, NULL).status, QN_OK);
    assert_int_equal(order(&gone[2]).status, QN_OK); /* READY, but nobody's */
    assert_false(has("m", 4));
    assert_int_equal(served("m"), 3);
}

static void leftovers_of_an_earlier_life_are_swept(void **state)
{
    char left[QN_STAGED_NAME], mine[QN_STAGED_NAME], path[64];
    int fd;

    (void)state;
    close(stage(left, "half of a model")); /* who staged it is gone, and the lock with it */
    fd = stage(mine, "somebody is still at it");
    close_registry();
    assert_int_equal(open_registry(0, 0), 0);
    act(QN_REGISTRY_RELOAD, NULL);
    snprintf(path, sizeof path, ".quern/%s", left);
    assert_false(there(path));
    snprintf(path, sizeof path, ".quern/%s", mine);
    assert_true(there(path));
    close(fd);
}

/* What the shipped model answers now, its last probability changed. */
static void write_answer(const char *path, double change)
{
    const int64_t dims[4] = { 1, 1, 28, 28 };
    qn_tensor in = { 0 }, out[4] = { 0 };
    qn_session *session = NULL;
    qn_version *v = NULL;
    qn_buf text;

    qn_buf_init(&text, 0);
    assert_int_equal(qn_registry_lookup(registry, "m", 0, &v, NULL), QN_OK);
    assert_int_equal(qn_tensor_alloc(QN_F32, 4, dims, &in, NULL), QN_OK);
    for (int i = 0; i < 784; i++) ((float *)in.data)[i] = (float)(i % 7) / 8;
    assert_int_equal(qn_session_create(qn_version_model(v), NULL, &session, NULL), QN_OK);
    assert_int_equal(qn_session_run(session, &in, out, NULL, NULL), QN_OK);
    qn_buf_puts(&text, "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"FP32\",\"shape\":[1,1,28,28],\"data\":[");
    for (int i = 0; i < 784; i++) qn_buf_printf(&text, "%s%g", i ? "," : "", (double)((float *)in.data)[i]);
    qn_buf_puts(&text, "]}],\"outputs\":[{\"name\":\"probs\",\"datatype\":\"FP32\",\"shape\":[1,10],\"data\":[");
    for (int i = 0; i < 10; i++)
        qn_buf_printf(&text, "%s%.9g", i ? "," : "", (double)((const float *)out[0].data)[i] + (i == 9 ? change : 0));
    qn_buf_puts(&text, "]}]}");
    put_text(path, qn_buf_cstr(&text));
    qn_buf_release(&text);
    qn_session_destroy(session);
    qn_tensor_free(&in);
    qn_version_unref(v);
}

static void a_version_must_give_its_known_answer(void **state)
{
    static const char *const bad[] = { "",
                                       "[]",
                                       "{\"inputs\":[],\"outputs\":[]}",
                                       "{\"inputs\":[],\"outputs\":[{\"name\":\"probs\"}]}",
                                       "{\"input\":[]}",
                                       "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[" };
    outcome o;

    (void)state;
    make_folder("m");
    put_model("m", 1);
    act(QN_REGISTRY_RELOAD, NULL);
    write_answer("m/1/known_answer.json", 0);
    o = act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(o.status, QN_OK);
    assert_int_equal(o.n_loaded, 1); /* the file is part of the version */
    put_model("m", 2);
    write_answer("m/2/known_answer.json", 0.25);
    o = act(QN_REGISTRY_RELOAD, NULL);
    assert_int_equal(o.status, QN_ERR_CONFLICT);
    assert_non_null(strstr(o.message, "element 9"));
    assert_int_equal(served("m"), 1);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put_text("m/2/known_answer.json", bad[i]);
        o = act(QN_REGISTRY_RELOAD, NULL);
        assert_int_not_equal(o.status, QN_OK);
        assert_non_null(strstr(o.message, "known_answer.json"));
        assert_int_equal(served("m"), 1);
    }
}

static void add_bytes(void *user, const qn_index_entry *e) { *(uint64_t *)user += e->weight_bytes; }

static uint64_t all_bytes(void)
{
    uint64_t n = 0;

    qn_registry_index(registry, add_bytes, &n);
    return n;
}

static bool loaded(const char *name)
{
    qn_version *v = NULL;
    bool got = qn_registry_peek(registry, name, 0, &v, NULL) == QN_OK;

    qn_version_unref(v);
    return got;
}

/* Ask until it is there. */
static void ask_for(const char *name)
{
    qn_error err = { 0 };
    qn_version *v = NULL;
    qn_status st;

    while ((st = qn_registry_lookup(registry, name, 0, &v, &err)) != QN_OK) {
        if (st != QN_ERR_UNAVAILABLE) fail_msg("%s", err.message);
        usleep(1000);
    }
    qn_version_unref(v);
}

static void at_the_memory_cap_the_coldest_model_leaves(void **state)
{
    uint64_t one;

    (void)state;
    make_folder("a");
    put_model("a", 1);
    act(QN_REGISTRY_RELOAD, NULL);
    one = all_bytes();
    assert_true(one > 0);
    make_folder("b");
    put_model("b", 1);
    make_folder("c");
    put_model("c", 1);
    close_registry();
    assert_int_equal(open_registry(2 * one + one / 2, 0), 0);
    assert_int_equal(act(QN_REGISTRY_RELOAD, NULL).status, QN_OK);
    assert_true(loaded("a") && loaded("b") && !loaded("c")); /* the third waits until somebody wants it */
    assert_true(qn_registry_ready(registry));
    ask_for("b");
    ask_for("a");
    ask_for("c"); /* b was asked for least recently */
    assert_true(loaded("a") && !loaded("b") && loaded("c"));
    assert_int_equal(all_bytes(), 2 * one);
    ask_for("b");
    assert_true(!loaded("a") && loaded("b") && loaded("c"));
    assert_int_equal(act(QN_REGISTRY_RELOAD, NULL).status, QN_OK); /* does not bring it back by itself */
    assert_true(!loaded("a") && loaded("b") && loaded("c"));
    assert_int_equal(promote("a", 1, NULL).status, QN_OK); /* but who promotes it wants it */
    assert_true(loaded("a"));
    assert_int_equal(all_bytes(), 2 * one);
}

static void a_model_at_the_cap_keeps_or_leaves_as_it_says(void **state)
{
    uint64_t one;
    outcome o;

    (void)state;
    make_folder("a");
    put_model("a", 1);
    act(QN_REGISTRY_RELOAD, NULL);
    one = all_bytes();
    close_registry();
    assert_int_equal(open_registry(one + one / 2, 0), 0);
    act(QN_REGISTRY_RELOAD, NULL);
    put_model("a", 2);
    o = act(QN_REGISTRY_LOAD, "a");
    assert_int_equal(o.status, QN_ERR_LIMIT);
    assert_non_null(strstr(o.message, "models.memory_bytes"));
    assert_int_equal(served("a"), 1);
    put_text("a/quern.yaml", "at_memory_cap: unload_first\n");
    assert_int_equal(act(QN_REGISTRY_LOAD, "a").status, QN_OK);
    assert_int_equal(served("a"), 2);
    assert_int_equal(all_bytes(), one);
}

static void a_poll_loads_what_has_settled(void **state)
{
    (void)state;
    close_registry();
    assert_int_equal(open_registry(0, 1000), 0);
    act(QN_REGISTRY_RELOAD, NULL);
    make_folder("m");
    put_model("m", 1);
    while (served("m") != 1) usleep(1000);
    put_text("m/1/model.onnx", "not a model"); /* stands before the .zst: fails, and the old content serves on */
    while (!index_of(1).reason[0]) usleep(1000);
    assert_int_equal(served("m"), 1);
    make_folder("m/2");
    put_text("m/2/model.onnx", "not a model");
    while (index_of(2).state != QN_VERSION_FAILED) usleep(1000);
    assert_true(qn_registry_ready(registry));
    put_model("m", 3);
    while (served("m") != 3) usleep(1000);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(the_policy_says_which_versions_are_loaded),     T(a_policy_counts_versions_that_load),
        T(promote_and_rollback_outlive_the_process),      T(a_promotion_that_fails_changes_nothing),
        T(pins_that_are_not_pins_are_one_clear_error),    T(a_pinned_version_that_is_gone_is_not_replaced_in_silence),
        T(labels_name_versions_and_keep_them_loaded),     T(an_upload_is_a_version_whole_or_not_at_all),
        T(a_version_that_somebody_means_is_not_deleted),  T(leftovers_of_an_earlier_life_are_swept),
        T(a_version_must_give_its_known_answer),          T(at_the_memory_cap_the_coldest_model_leaves),
        T(a_model_at_the_cap_keeps_or_leaves_as_it_says), T(a_poll_loads_what_has_settled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
