/* tests/unit/server/test_routes.c - the table of routes and how paths match it. */
#include "server/routes/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool match(const char *pattern, const char *path, qn_path *out) { return qn_path_match(pattern, path, strlen(path), out); }

/* The row that answers, as the dispatcher finds it; -1: none. */
static int find(const char *method, const char *path, qn_path *out)
{
    for (int32_t i = 0; i < qn_n_routes; i++) {
        if (strcmp(qn_routes[i].method, method) == 0 && match(qn_routes[i].pattern, path, out)) return i;
    }
    return -1;
}

static void placeholders_take_one_decoded_segment(void **state)
{
    qn_path p;

    (void)state;
    assert_true(match("/v2/models/{model}", "/v2/models/a%2Fb%20c", &p));
    assert_string_equal(p.model, "a/b c"); /* no such model can exist; the slash made no segment */
    assert_true(match("/v2/models/{model}/versions/{version}/infer", "/v2/models/m/versions/9223372036854775807/infer", &p));
    assert_int_equal(p.version, INT64_MAX);
    assert_true(match("/v1/models/{model}:predict", "/v1/models/m:predict", &p));
    assert_string_equal(p.model, "m");
    assert_true(match("/v1/models/{model}/versions/{version}:predict", "/v1/models/m/versions/3:predict", &p));
    assert_int_equal(p.version, 3);
    assert_true(match("/v1/models/{model}:predict", "/v1/models/m%3apredict", &p));
    assert_true(match("/v2", "/%76%32", &p));
    assert_true(match("/v1/models/{model}/labels/{label}:predict", "/v1/models/m/labels/can%61ry:predict", &p));
    assert_string_equal(p.label, "canary");
    assert_string_equal(p.model, "m");
    assert_int_equal(p.version, 0);
}

static void what_does_not_match(void **state)
{
    static const char *const pattern = "/v2/models/{model}/versions/{version}";
    static const char *const paths[] = { "/v2/models/m/versions/",
                                         "/v2/models/m/versions/0",
                                         "/v2/models/m/versions/-1",
                                         "/v2/models/m/versions/1x",
                                         "/v2/models/m/versions/9223372036854775808",
                                         "/v2/models//versions/1",
                                         "/v2/models/m/versions/1/",
                                         "//v2/models/m/versions/1",
                                         "/v2/models/m/version/1",
                                         "/V2/models/m/versions/1",
                                         "",
                                         "/",
                                         "*" };
    char longest[QN_MAX_NAME + 32];
    qn_path p;

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) assert_false(match(pattern, paths[i], &p));
    assert_false(match("/v2", "/v2/", &p));
    assert_false(match("/v2/models/{model}", "/v2/models/m:predict", &p));
    assert_false(match("/v1/models/{model}:predict", "/v1/models/:predict", &p));
    for (size_t extra = 0; extra < 2; extra++) {
        size_t n = QN_MAX_NAME - 1 + extra;

        memcpy(longest, "/v2/models/", 11);
        memset(longest + 11, 'm', n);
        longest[11 + n] = '\0';
        assert_int_equal(match("/v2/models/{model}", longest, &p), extra == 0);
    }
}

static void every_route_is_reachable(void **state)
{
    (void)state;
    for (int32_t i = 0; i < qn_n_routes; i++) {
        char path[256];
        size_t n = 0;
        qn_path p;
        int got;

        for (const char *c = qn_routes[i].pattern; *c && n < sizeof path - 1; c++) {
            if (strncmp(c, "{model}", 7) == 0) {
                path[n++] = 'm';
                c += 6;
            } else if (strncmp(c, "{label}", 7) == 0) {
                path[n++] = 'l';
                c += 6;
            } else if (strncmp(c, "{version}", 9) == 0) {
                path[n++] = '1';
                c += 8;
            } else {
                path[n++] = *c;
            }
        }
        path[n] = '\0';
        got = find(qn_routes[i].method, path, &p);
        if (got != i) print_error("%s %s is answered by row %d\n", qn_routes[i].method, path, got);
        assert_int_equal(got, i);
        assert_non_null(qn_routes[i].endpoint->handler.end);
        assert_non_null(strstr(" GET POST PUT DELETE ", qn_routes[i].method));
    }
}

/* Keys do not exist yet, but what would need one says so: only these rows are for everybody. */
static void only_health_and_the_servers_name_need_no_scope(void **state)
{
    (void)state;
    for (int32_t i = 0; i < qn_n_routes; i++) {
        const char *p = qn_routes[i].pattern;
        bool open = strcmp(p, "/openapi.json") == 0 || strcmp(p, "/healthz") == 0 || strcmp(p, "/v2/health/live") == 0 ||
                    strcmp(p, "/v2/health/ready") == 0 || strcmp(p, "/v2") == 0;

        assert_int_equal(qn_routes[i].scope == QN_SCOPE_NONE, open);
        if (strncmp(p, "/v2/repository", 14) == 0 || strncmp(p, "/admin", 6) == 0) assert_int_equal(qn_routes[i].scope, QN_SCOPE_ADMIN);
    }
}

static void no_status_a_client_can_cause_is_a_500(void **state)
{
    static const qn_status theirs[] = { QN_ERR_INVALID, QN_ERR_SHAPE, QN_ERR_DTYPE,     QN_ERR_FORMAT,  QN_ERR_UNSUPPORTED,
                                        QN_ERR_LIMIT,   QN_ERR_RANGE, QN_ERR_NOT_FOUND, QN_ERR_CONFLICT };

    (void)state;
    for (size_t i = 0; i < sizeof theirs / sizeof theirs[0]; i++) {
        for (int loading = 0; loading < 2; loading++) {
            assert_true(qn_reply_status(theirs[i], loading) >= 400);
            assert_true(qn_reply_status(theirs[i], loading) < 500);
        }
    }
    assert_int_equal(qn_reply_status(QN_ERR_UNAVAILABLE, false), 503);
    assert_int_equal(qn_reply_status(QN_ERR_NOMEM, false), 503);
    assert_int_equal(qn_reply_status(QN_ERR_DEADLINE, false), 504);
    assert_int_equal(qn_reply_status(QN_ERR_LIMIT, false), 413);
    assert_int_equal(qn_reply_status(QN_ERR_LIMIT, true), 400);
    assert_int_equal(qn_reply_status(QN_OK, false), 200);
}

static void route_names_are_method_and_pattern(void **state)
{
    const char **names = NULL;
    qn_error err = { 0 };

    (void)state;
    assert_int_equal(qn_routes_names(&names, &err), QN_OK);
    assert_string_equal(names[0], "GET /healthz");
    assert_string_equal(names[qn_n_routes], "none");
    free(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(placeholders_take_one_decoded_segment),
        cmocka_unit_test(what_does_not_match),
        cmocka_unit_test(every_route_is_reachable),
        cmocka_unit_test(only_health_and_the_servers_name_need_no_scope),
        cmocka_unit_test(no_status_a_client_can_cause_is_a_500),
        cmocka_unit_test(route_names_are_method_and_pattern),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
