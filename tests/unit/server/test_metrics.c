/* tests/unit/server/test_metrics.c - the Prometheus text, its numbers, and log lines. */
#include "server/metrics/log.h"
#include "server/metrics/metrics.h"

#include <ctype.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const routes[] = { "GET /a", "POST /b\"\\\n", "none" };

static qn_metrics *make(void)
{
    qn_metrics *m = NULL;
    qn_error err = { 0 };

    assert_int_equal(qn_metrics_create(routes, 3, &m, &err), QN_OK);
    return m;
}

static char *render(qn_metrics *m, const qn_metrics_view *view)
{
    qn_buf out;
    char *text;
    size_t n = 0;

    qn_buf_init(&out, 0);
    qn_metrics_render(m, view, &out);
    assert_non_null(qn_buf_cstr(&out));
    text = strdup(out.data);
    (void)n;
    qn_buf_release(&out);
    assert_non_null(text);
    return text;
}

static const qn_metrics_model model = { .name = "m",
                                        .version = 3,
                                        .waiting = 2,
                                        .n_success = 5,
                                        .n_rows = 50,
                                        .n_batches = 4,
                                        .queue_us = 1500000,
                                        .run_us = 250000,
                                        .oldest_us = 750000,
                                        .weight_bytes = 4096 };

static qn_metrics_view view_of(int32_t n_models)
{
    return (qn_metrics_view){
        .version = "0.1.0", .isa = "avx2", .ready = true, .connections = 3, .bytes_in_flight = 77, .models = &model, .n_models = n_models
    };
}

static bool is_name(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!(isalnum((unsigned char)s[i]) || s[i] == '_') || (i == 0 && isdigit((unsigned char)s[i]))) return false;
    }
    return n > 0;
}

/* {name="value",..}: returns what follows, NULL if it is not that. */
static const char *labels_end(const char *s)
{
    do {
        size_t n = strcspn(++s, "=");

        if (!is_name(s, n) || s[n] != '=' || s[n + 1] != '"') return NULL;
        for (s += n + 2; *s && *s != '"'; s++) {
            if (*s == '\\' && !strchr("\\\"n", *++s)) return NULL;
        }
        if (*s++ != '"') return NULL;
    } while (*s == ',');
    return *s == '}' ? s + 1 : NULL;
}

/* Each line is a HELP, its TYPE, or a sample of the family just announced; families are sorted and come once. */
static void the_text_is_well_formed_and_sorted(void **state)
{
    qn_metrics *m = make();
    const qn_metrics_view view = view_of(1);
    char *text, *line, *rest, family[100] = "", type[20] = "";
    bool want_type = false;
    int n_samples = 0;

    (void)state;
    qn_metrics_request(m, 0, 200, 1000);
    qn_metrics_request(m, 1, 777, 1000); /* a code of no slot, and a label to escape */
    text = render(m, &view);
    rest = text;
    while ((line = strsep(&rest, "\n")) && (*line || rest)) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            size_t n = strcspn(line + 7, " ");

            assert_false(want_type);
            assert_true(is_name(line + 7, n));
            line[7 + n] = '\0';
            assert_true(strcmp(family, line + 7) < 0);
            snprintf(family, sizeof family, "%s", line + 7);
            want_type = true;
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            assert_true(want_type);
            assert_int_equal(strncmp(line + 7, family, strlen(family)), 0);
            snprintf(type, sizeof type, "%s", line + 7 + strlen(family) + 1);
            assert_true(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 || strcmp(type, "histogram") == 0);
            assert_int_equal(strcmp(type, "counter") == 0, strlen(family) > 6 && strcmp(family + strlen(family) - 6, "_total") == 0);
            want_type = false;
        } else {
            size_t n = strcspn(line, "{ ");
            const char *after = line + n;
            char *end = NULL;

            assert_false(want_type);
            assert_true(is_name(line, n));
            assert_int_equal(strncmp(line, family, strlen(family)), 0);
            if (strcmp(type, "histogram") != 0) assert_int_equal(n, strlen(family));
            if (*after == '{') after = labels_end(after);
            if (!after || *after != ' ') print_error("%s\n", line);
            assert_non_null(after);
            assert_int_equal(*after, ' ');
            strtod(after + 1, &end);
            assert_int_equal(*end, '\0');
            n_samples++;
        }
    }
    assert_true(n_samples > 50);
    free(text);
    qn_metrics_destroy(m);
}

static void counters_and_histograms_add_up(void **state)
{
    qn_metrics *m = make();
    const qn_metrics_view view = view_of(1);
    char *text;

    (void)state;
    for (int i = 0; i < 10; i++) qn_metrics_request(m, 0, 200, 100);
    qn_metrics_request(m, 0, 404, 101);
    qn_metrics_request(m, 0, 503, 3600000000u);
    qn_metrics_request(m, -1, 404, 5);
    qn_metrics_request(m, 99, 404, 5);
    qn_metrics_batch(m, 1, 10, 0);
    qn_metrics_batch(m, 3, 10, 1);
    qn_metrics_batch(m, 5000, 10, 1);
    qn_metrics_load(m, true);
    qn_metrics_load(m, false);
    qn_metrics_load(m, false);
    qn_metrics_queued(m, 40);
    qn_metrics_times(m, (const uint64_t[QN_TIME_COUNT]){ 90, 0, 3000, 100000000 });
    for (int i = -1; i < 9; i++) qn_metrics_refused(m, i);
    text = render(m, &view);
    assert_non_null(strstr(text, "quern_requests_total{route=\"GET /a\",code=\"200\"} 10\n"));
    assert_non_null(strstr(text, "quern_requests_total{route=\"GET /a\",code=\"404\"} 1\n"));
    assert_non_null(strstr(text, "quern_requests_total{route=\"none\",code=\"404\"} 2\n"));
    assert_non_null(strstr(text, "quern_request_duration_seconds_bucket{route=\"GET /a\",le=\"0.0001\"} 10\n"));
    assert_non_null(strstr(text, "quern_request_duration_seconds_bucket{route=\"GET /a\",le=\"0.00025\"} 11\n"));
    assert_non_null(strstr(text, "quern_request_duration_seconds_bucket{route=\"GET /a\",le=\"60\"} 11\n"));
    assert_non_null(strstr(text, "quern_request_duration_seconds_bucket{route=\"GET /a\",le=\"+Inf\"} 12\n"));
    assert_non_null(strstr(text, "quern_request_duration_seconds_count{route=\"GET /a\"} 12\n"));
    assert_non_null(strstr(text, "quern_request_duration_seconds_sum{route=\"GET /a\"} 3600.0011"));
    assert_non_null(strstr(text, "quern_batch_rows_bucket{le=\"2\"} 1\n"));
    assert_non_null(strstr(text, "quern_batch_rows_bucket{le=\"4\"} 2\n"));
    assert_non_null(strstr(text, "quern_batch_rows_sum 5004\n"));
    assert_non_null(strstr(text, "quern_batch_rows_count 3\n"));
    assert_non_null(strstr(text, "quern_batches_left_total{reason=\"full\"} 1\nquern_batches_left_total{reason=\"drained\"} 2\n"));
    assert_non_null(strstr(text, "quern_calls_refused_total{cause=\"queue_full\"} 1\n"));
    assert_non_null(strstr(text, "quern_calls_refused_total{cause=\"stopping\"} 1\n"));
    assert_non_null(strstr(text, "quern_stage_duration_seconds_bucket{stage=\"body\",le=\"0.0001\"} 1\n"));
    assert_non_null(strstr(text, "quern_stage_duration_seconds_sum{stage=\"run\"} 0.003\n"));
    assert_non_null(strstr(text, "quern_stage_duration_seconds_bucket{stage=\"encode\",le=\"60\"} 0\n"));
    assert_non_null(strstr(text, "quern_queue_oldest_seconds{model=\"m\",version=\"3\"} 0.75\n"));
    assert_non_null(strstr(text, "quern_model_weight_bytes{model=\"m\",version=\"3\"} 4096\n"));
    assert_non_null(strstr(text, "quern_model_loads_total{result=\"ok\"} 1\n"));
    assert_non_null(strstr(text, "quern_model_loads_total{result=\"failed\"} 2\n"));
    assert_non_null(strstr(text, "quern_queue_duration_seconds_count 1\n"));
    assert_non_null(strstr(text, "quern_inference_rows_total{model=\"m\",version=\"3\"} 50\n"));
    assert_non_null(strstr(text, "quern_batches_total{model=\"m\",version=\"3\"} 4\n"));
    assert_non_null(strstr(text, "quern_queue_waiting{model=\"m\",version=\"3\"} 2\n"));
    assert_non_null(strstr(text, "quern_queue_seconds_total{model=\"m\",version=\"3\"} 1.5\n"));
    assert_non_null(strstr(text, "quern_run_seconds_total{model=\"m\",version=\"3\"} 0.25\n"));
    assert_non_null(strstr(text, "quern_calls_total{model=\"m\",version=\"3\",result=\"success\"} 5\n"));
    assert_non_null(strstr(text, "quern_bytes_in_flight 77\n"));
    assert_non_null(strstr(text, "quern_build_info{version=\"0.1.0\",isa=\"avx2\"} 1\n"));
    free(text);
    qn_metrics_destroy(m);
}

static void a_family_without_samples_is_left_out(void **state)
{
    qn_metrics *m = make();
    const qn_metrics_view view = view_of(0);
    char *text = render(m, &view);

    (void)state;
    assert_null(strstr(text, "quern_queue_waiting"));
    assert_null(strstr(text, "quern_requests_total"));
    assert_non_null(strstr(text, "# TYPE quern_connections gauge\nquern_connections 3\n"));
    free(text);
    qn_metrics_destroy(m);
}

static void *count_many(void *arg)
{
    for (int i = 0; i < 10000; i++) qn_metrics_request(arg, 0, 200, 10);
    return NULL;
}

static void threads_lose_no_count(void **state)
{
    qn_metrics *m = make();
    const qn_metrics_view view = view_of(0);
    pthread_t threads[10];
    char *text;

    (void)state;
    for (int i = 0; i < 10; i++) assert_int_equal(pthread_create(&threads[i], NULL, count_many, m), 0);
    for (int i = 0; i < 10; i++) pthread_join(threads[i], NULL);
    text = render(m, &view);
    assert_non_null(strstr(text, "quern_requests_total{route=\"GET /a\",code=\"200\"} 100000\n"));
    free(text);
    qn_metrics_destroy(m);
}

static void a_client_cannot_forge_a_log_line(void **state)
{
    int fds[2];
    char got[4096];
    ssize_t n;
    qn_log log = { .level = QN_LOG_INFO };
    qn_log_line line;
    char *huge = malloc(10000);

    (void)state;
    assert_non_null(huge);
    assert_int_equal(pipe(fds), 0);
    log.fd = fds[1];
    qn_log_begin(&line, &log, QN_LOG_INFO, "request");
    qn_log_text(&line, "path", "/a\" level=error\nmsg=\x01\xff\\");
    qn_log_number(&line, "n", -5);
    qn_log_end(&line);
    qn_log_begin(&line, &log, QN_LOG_DEBUG, "not shown");
    qn_log_end(&line);
    n = read(fds[0], got, sizeof got - 1);
    assert_true(n > 0);
    got[n] = '\0';
    assert_non_null(strstr(got, " level=info msg=request path=\"/a\\\" level=error\\x0amsg=\\x01\\xff\\\\\" n=-5\n"));
    assert_ptr_equal(strchr(got, '\n'), got + n - 1);

    memset(huge, 'x', 9999);
    huge[9999] = '\0';
    qn_log_begin(&line, &log, QN_LOG_INFO, "request");
    qn_log_text(&line, "path", huge);
    qn_log_end(&line);
    n = read(fds[0], got, sizeof got - 1);
    assert_true(n > 1000 && n <= 2048);
    assert_int_equal(got[n - 1], '\n');
    close(fds[0]);
    close(fds[1]);
    free(huge);
}

/* As JSON: the same, and a line that is cut is still an object. */
static void a_json_line_is_an_object_whatever_is_in_it(void **state)
{
    int fds[2];
    char got[4096], huge[6000];
    ssize_t n;
    qn_log log = { .level = QN_LOG_INFO, .json = true };
    qn_log_line line;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    log.fd = fds[1];
    qn_log_begin(&line, &log, QN_LOG_INFO, "request");
    qn_log_text(&line, "path", "/a\"}\n\x01\xff\\");
    qn_log_number(&line, "n", -5);
    qn_log_end(&line);
    n = read(fds[0], got, sizeof got - 1);
    assert_true(n > 0);
    got[n] = '\0';
    assert_memory_equal(got, "{\"time\":\"", 9);
    assert_non_null(strstr(got, "Z\",\"level\":\"info\",\"msg\":\"request\",\"path\":\"/a\\\"}\\u000a\\u0001\\u00ff\\\\\",\"n\":-5}\n"));

    for (size_t len = 1900; len < 2100; len++) { /* the end of the room falls everywhere */
        memset(huge, '"', len);
        huge[len / 2] = '\0';
        qn_log_begin(&line, &log, QN_LOG_INFO, "request");
        qn_log_text(&line, "path", huge);
        qn_log_text(&line, "more", "\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02");
        qn_log_number(&line, "last", INT64_MIN);
        qn_log_end(&line);
        n = read(fds[0], got, sizeof got - 1);
        assert_true(n > 1000 && n <= 2048);
        got[n] = '\0';
        assert_true(strcmp(got + n - 2, "}\n") == 0 && (got[n - 3] == '"' || isdigit((unsigned char)got[n - 3])));
        assert_true(got[n - 3] != '"' || got[n - 4] != '\\' || got[n - 5] == '\\');
    }
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_is_well_formed_and_sorted),   cmocka_unit_test(counters_and_histograms_add_up),
        cmocka_unit_test(a_family_without_samples_is_left_out), cmocka_unit_test(threads_lose_no_count),
        cmocka_unit_test(a_client_cannot_forge_a_log_line),     cmocka_unit_test(a_json_line_is_an_object_whatever_is_in_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
