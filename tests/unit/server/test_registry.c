/* The registry over real files: what is served, what a bad version changes, what the index says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_folder.h"

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
