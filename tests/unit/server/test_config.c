/* tests/unit/server/test_config.c - the daemon's and a model's configuration files. */
#include "server/config/config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static qn_config config; /* several KiB */

static qn_status parse(const char *text, qn_error *err)
{
    memset(err, 0, sizeof *err);
    return qn_config_parse("f.yaml", text, strlen(text), &config, err);
}

/* The text fails, and the message has all of the parts. */
static void refused(const char *text, const char *part1, const char *part2)
{
    qn_error err;

    if (parse(text, &err) == QN_OK) print_error("accepted: %s\n", text);
    assert_int_not_equal(err.status, QN_OK);
    if (!strstr(err.message, part1) || !strstr(err.message, part2)) print_error("%s -> %s\n", text, err.message);
    assert_non_null(strstr(err.message, part1));
    assert_non_null(strstr(err.message, part2));
}

static void every_default_is_inside_its_own_range(void **state)
{
    qn_error err = { 0 };
    qn_buf out;

    (void)state;
    qn_config_init(&config);
    for (size_t i = 0; i < qn_config_n_settings; i++) {
        const qn_setting *row = &qn_config_settings[i];

        assert_int_equal(qn_setting_parse(row, row->initial, &config, &err), QN_OK);
        qn_buf_init(&out, 0);
        qn_setting_print(row, &config, &out);
        assert_string_equal(qn_buf_cstr(&out), row->initial); /* prints what it reads */
        qn_buf_release(&out);
        assert_true(strlen(row->what) > 10);
    }
    assert_string_equal(config.listen, "127.0.0.1:8000");
    assert_int_equal(config.max_body_bytes, 64 * 1024 * 1024);
}

/* config/quern.yaml is the reference an operator copies from: every key, each at its default. */
static void the_shipped_file_names_every_key_with_its_default(void **state)
{
    char *text = NULL, line[256];
    size_t n = 0;
    qn_error err = { 0 };

    (void)state;
    assert_int_equal(qn_config_read(QUERN_SOURCE_DIR "/config/quern.yaml", &config, &err), QN_OK);
    assert_int_equal(qn_settings_slurp(AT_FDCWD, QUERN_SOURCE_DIR "/config/quern.yaml", 1, &text, &n, &err), QN_OK);
    text[n] = '\0';
    for (size_t i = 0; i < qn_config_n_settings; i++) {
        const qn_setting *row = &qn_config_settings[i];
        const char *leaf = strrchr(row->key, '.') + 1;

        snprintf(line, sizeof line, "%s: %s\n", leaf, row->initial[0] ? row->initial : "\"\"");
        if (!strstr(text, line)) print_error("%s\n", row->key);
        assert_non_null(strstr(text, line));
        if (!strstr(text, row->what)) print_error("%s: %s\n", row->key, row->what);
        assert_non_null(strstr(text, row->what));
    }
    free(text);
}

/* Each key alone, in a file of its own, reaches its own field. */
static void every_key_can_be_set(void **state)
{
    char text[256];
    qn_error err;

    (void)state;
    for (size_t i = 0; i < qn_config_n_settings; i++) {
        const qn_setting *row = &qn_config_settings[i];
        char key[64], value[40];
        size_t used = 0;
        char *rest = key, *part;
        int depth = 0;
        qn_buf out;

        snprintf(key, sizeof key, "%s", row->key);
        if (row->type == QN_SETTING_CHOICE)
            snprintf(value, sizeof value, "%s", strchr(row->choices, '|') + 1);
        else if (row->type == QN_SETTING_TEXT)
            snprintf(value, sizeof value, "other");
        else
            snprintf(value, sizeof value, "%lld", (long long)row->min + 1);
        value[strcspn(value, "|")] = '\0';
        while ((part = strsep(&rest, ".")))
            used += (size_t)snprintf(text + used, sizeof text - used, "%*s%s:%s", 2 * depth++, "", part, rest ? "\n" : " ");
        snprintf(text + used, sizeof text - used, "%s\n", value);
        assert_int_equal(parse(text, &err), QN_OK);
        qn_buf_init(&out, 0);
        qn_setting_print(row, &config, &out);
        assert_string_equal(qn_buf_cstr(&out), value);
        qn_buf_release(&out);
    }
}

static void an_empty_file_is_all_defaults(void **state)
{
    qn_error err;

    (void)state;
    assert_int_equal(parse("", &err), QN_OK);
    assert_int_equal(parse("# nothing\n", &err), QN_OK);
    assert_int_equal(parse("---\n", &err), QN_OK);
    assert_int_equal(parse("server:\nmodels:\n  # dir: x\n", &err), QN_OK);
    assert_string_equal(config.models_dir, "models");
}

static void errors_name_file_line_and_key(void **state)
{
    (void)state;
    refused("server:\n  listn: x\n", "f.yaml:2", "server.listn");
    refused("serve:\n  listen: x\n", "f.yaml:1", "serve");
    refused("server:\n  http_threads: 1\n  http_threads: 2\n", "f.yaml:3", "first in line 2");
    refused("server:\n  http_threads: 1\nmodels:\n  dir: x\nserver:\n  idle_timeout_ms: 100\n", "f.yaml:5", "first in line 1");
    refused("server:\n  http_threads: 65\n", "f.yaml:2", "0..64");
    refused("server:\n  http_threads: -1\n", "f.yaml:2", "server.http_threads");
    refused("server:\n  http_threads: 1.5\n", "f.yaml:2", "server.http_threads");
    refused("server:\n  http_threads: 0x1\n", "f.yaml:2", "'0x1'");
    refused("server:\n  http_threads: 1KiB\n", "f.yaml:2", "1KiB");
    refused("server:\n  http_threads: 99999999999999999999\n", "f.yaml:2", "http_threads");
    refused("server:\n  max_body_bytes: 99999999999GiB\n", "f.yaml:2", "max_body_bytes");
    refused("server:\n  max_body_bytes: 64MB\n", "f.yaml:2", "64MiB");
    refused("models:\n  isa: sse\n", "f.yaml:2", "auto|scalar");
    refused("models:\n  dir: ''\n", "f.yaml:2", "models.dir");
    refused("server: 3\n", "f.yaml:1", "section");
    refused("server:\n  listen:\n    a: b\n", "f.yaml:3", "a value expected");
    refused("server:\n  listen: [a]\n", "f.yaml:2", "no list");
    refused("server:\n  - listen\n", "f.yaml:2", "no list");
    refused("- server\n", "f.yaml:1", "mapping");
    refused("server\n", "f.yaml:1", "mapping");
    refused("server.listen: x\n", "f.yaml:1", "nested");
    refused("? [a]\n: b\n", "f.yaml:1", "key");
    refused("server:\n  listen: &a x\n", "f.yaml:2", "anchors");
    refused("server: &a\n  listen: x\n", "f.yaml:1", "anchors");
    refused("server:\n  listen: *a\n", "f.yaml:2", "aliases");
    refused("server:\n  http_threads: !!int 3\n", "f.yaml:2", "tags");
    refused("---\nlog:\n---\nlog:\n", "f.yaml:3", "second document");
    refused("server: {listen: x\n", "f.yaml", "");
    refused("server:\n\tlisten: x\n", "f.yaml", "");
    refused("server:\n  listen: \"a\\0b\"\n", "f.yaml:2", "NUL");
}

static void deep_and_large_files_are_cheap_errors(void **state)
{
    char *text = malloc(QN_SETTINGS_FILE_MAX + 2);
    qn_error err = { 0 };

    (void)state;
    assert_non_null(text);
    memset(text, '[', QN_SETTINGS_FILE_MAX + 1);
    assert_int_equal(qn_config_parse("f.yaml", text, QN_SETTINGS_FILE_MAX + 1, &config, &err), QN_ERR_LIMIT);
    assert_int_not_equal(qn_config_parse("f.yaml", text, QN_SETTINGS_FILE_MAX, &config, &err), QN_OK);
    memset(text, ' ', QN_SETTINGS_FILE_MAX);
    assert_int_equal(qn_config_parse("f.yaml", text, QN_SETTINGS_FILE_MAX, &config, &err), QN_OK);
    free(text);
}

static const qn_model_settings defaults = { .max_batch_rows = 32, .max_queued = 1000, .bits = QN_BITS_EXACT, .batching = -1 };

static void a_models_file_overrides_the_defaults(void **state)
{
    static const char text[] =
        "max_batch_rows: 8\nmax_queue_delay_us: 500\nbits: fast\nbatching: always\nlabels:\n  - cat\n  - 'a dog'\n  - 3\n";
    qn_model_settings s = defaults;
    qn_error err = { 0 };

    (void)state;
    assert_int_equal(qn_config_parse_model("quern.yaml", text, sizeof text - 1, &s, &err), QN_OK);
    assert_int_equal(s.max_batch_rows, 8);
    assert_int_equal(s.max_queue_delay_us, 500);
    assert_int_equal(s.max_queued, 1000);
    assert_int_equal(s.bits, QN_BITS_FAST);
    assert_int_equal(s.batching, 1);
    assert_int_equal(s.n_labels, 3);
    assert_string_equal(s.labels[1], "a dog");
    assert_string_equal(s.labels[2], "3");
    qn_model_settings_release(&s);
    assert_int_equal(qn_config_parse_model("quern.yaml", "batching: never\n", 16, &s, &err), QN_OK);
    assert_int_equal(s.batching, 0);
    assert_int_equal(qn_config_parse_model("quern.yaml", "bits: exact\n", 12, &s, &err), QN_OK);
    assert_int_equal(s.batching, 0); /* what is not named stays */
    assert_int_equal(s.bits, QN_BITS_EXACT);
}

static void a_models_file_says_which_versions(void **state)
{
    static const char text[] = "version_policy: specific\nversions: [3, 12]\nversion_labels:\n  stable: 3\n  canary: 12\nwarm_up: never\n";
    qn_model_settings s = defaults;
    qn_error err = { 0 };

    (void)state;
    assert_int_equal(qn_config_parse_model("quern.yaml", text, sizeof text - 1, &s, &err), QN_OK);
    assert_int_equal(s.versions.rule, QN_VERSIONS_SPECIFIC);
    assert_int_equal(s.versions.n_numbers, 2);
    assert_int_equal(s.versions.numbers[1], 12);
    assert_int_equal(s.versions.n_labels, 2);
    assert_string_equal(s.versions.labels[0].name, "stable");
    assert_int_equal(s.versions.labels[1].version, 12);
    assert_true(s.no_warm_up);
    assert_int_equal(qn_config_parse_model("quern.yaml", "version_labels: {a: 1}\n", 23, &s, &err), QN_OK); /* replaced, not added */
    assert_int_equal(s.versions.rule, QN_VERSIONS_LATEST);
    assert_int_equal(s.versions.n_latest, 1);
    assert_int_equal(s.versions.n_labels, 1);
    qn_model_settings_release(&s);
}

static void a_models_file_says_what_is_filled_up(void **state)
{
    static const char text[] = "padding: {input_ids: 0, attention_mask: -1.5e2}\npadding_multiple: 8\n";
    qn_model_settings s = defaults;
    qn_error err = { 0 };

    (void)state;
    assert_int_equal(qn_config_parse_model("quern.yaml", text, sizeof text - 1, &s, &err), QN_OK);
    assert_int_equal(s.n_paddings, 2);
    assert_string_equal(s.paddings[1].name, "attention_mask");
    assert_true(s.paddings[1].value == -150.0);
    assert_int_equal(s.padding_multiple, 8);
    assert_int_equal(qn_config_parse_model("quern.yaml", "bits: exact\n", 12, &s, &err), QN_OK);
    assert_int_equal(s.n_paddings, 0);
    qn_model_settings_release(&s);
}

static void refused_model(const char *text, const char *where, const char *what)
{
    qn_model_settings s = defaults;
    qn_error err = { 0 };

    assert_int_not_equal(qn_config_parse_model("quern.yaml", text, strlen(text), &s, &err), QN_OK);
    if (!strstr(err.message, where) || !strstr(err.message, what)) fail_msg("%s", err.message);
    assert_memory_equal(&s, &defaults, sizeof s);
}

static void labels_of_versions_are_names_with_one_number_each(void **state)
{
    (void)state;
    refused_model("version_labels: [a]\n", "quern.yaml:1", "no list");
    refused_model("version_labels: a\n", "quern.yaml:1", "names with a value");
    refused_model("version_labels: {a: 1, a: 2}\n", "version_labels.a", "twice");
    refused_model("version_labels: {a: 1}\nversion_labels: {b: 2}\n", "quern.yaml:2", "first in line 1");
    refused_model("version_labels:\n  a: [1]\n", "quern.yaml:2", "no list");
    refused_model("version_labels:\n  a:\n    b: 1\n", "version_labels", "plain value");
    refused_model("version_labels: {a: x}\n", "version_labels", "'x'");
    refused_model("version_labels: {a: 0}\n", "version_labels", "1..");
    refused_model("version_labels: {../a: 1}\n", "version_labels", "'../a'");
    refused_model("version_labels: {'a=b': 1}\n", "version_labels", "'='");
    refused_model("padding: {x: one}\n", "padding.x", "'one'");
    refused_model("padding: {x: nan}\n", "padding.x", "'nan'");
    refused_model("padding: {x: }\n", "padding.x", "''");
    refused_model("version_policy: specific\n", "quern.yaml", "names none");
    refused_model("versions: [1]\n", "quern.yaml", "not specific");
    refused_model("version_policy: specific\nversions: [one]\n", "versions", "'one'");
}

static void a_bad_models_file_changes_nothing(void **state)
{
    static const char *const bad[] = { "labels: [a, b]\nbits: slow\n", "labels: cat\n",  "labels: [[a]]\n",
                                       "labels: [a]\nlabels: [b]\n",   "labels: ['']\n", "max_batch_rows: 0\n" };
    qn_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        qn_model_settings s = defaults;

        assert_int_not_equal(qn_config_parse_model("quern.yaml", bad[i], strlen(bad[i]), &s, &err), QN_OK);
        assert_memory_equal(&s, &defaults, sizeof s);
    }
}

static void the_reader_takes_regular_files_only(void **state)
{
    char dir[] = "/tmp/quern-config-XXXXXX";
    qn_model_settings s = defaults;
    qn_error err = { 0 };
    int dir_fd, fd;

    (void)state;
    assert_non_null(mkdtemp(dir));
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(qn_config_read_model(dir_fd, &s, &err), QN_OK); /* no file */
    assert_int_equal(mkfifoat(dir_fd, "quern.yaml", 0600), 0);
    assert_int_equal(qn_config_read_model(dir_fd, &s, &err), QN_ERR_IO); /* and does not wait for a writer */
    unlinkat(dir_fd, "quern.yaml", 0);
    assert_int_equal(symlinkat("/dev/null", dir_fd, "quern.yaml"), 0);
    assert_int_equal(qn_config_read_model(dir_fd, &s, &err), QN_ERR_IO);
    unlinkat(dir_fd, "quern.yaml", 0);
    fd = openat(dir_fd, "quern.yaml", O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "max_queued: 7\n", 14), 14);
    close(fd);
    assert_int_equal(qn_config_read_model(dir_fd, &s, &err), QN_OK);
    assert_int_equal(s.max_queued, 7);
    unlinkat(dir_fd, "quern.yaml", 0);
    close(dir_fd);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_inside_its_own_range),
        cmocka_unit_test(the_shipped_file_names_every_key_with_its_default),
        cmocka_unit_test(every_key_can_be_set),
        cmocka_unit_test(an_empty_file_is_all_defaults),
        cmocka_unit_test(errors_name_file_line_and_key),
        cmocka_unit_test(deep_and_large_files_are_cheap_errors),
        cmocka_unit_test(a_models_file_overrides_the_defaults),
        cmocka_unit_test(a_models_file_says_which_versions),
        cmocka_unit_test(a_models_file_says_what_is_filled_up),
        cmocka_unit_test(labels_of_versions_are_names_with_one_number_each),
        cmocka_unit_test(a_bad_models_file_changes_nothing),
        cmocka_unit_test(the_reader_takes_regular_files_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
