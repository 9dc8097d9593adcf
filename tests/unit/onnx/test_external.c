/* external_data: weights beside the model, and every way to point somewhere else. Each case goes through every field that can hold a tensor. */
#include "pb_build.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

static char root[] = "/tmp/quern-test-external-XXXXXX";
static int dir;
static float numbers[32768]; /* 128 KiB: beyond the inline limit */

static void put(int at, const char *name, const void *data, size_t n)
{
    int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n), (ssize_t)n);
    close(fd);
}

static void entry(pb *t, const char *key, const char *value)
{
    pb e = { 0 };

    pb_str(&e, 1, key);
    pb_str(&e, 2, value);
    pb_msg(t, 13, e);
}

/* f32 [n] "w" in an external file; NULL leaves a key out. */
static pb external(int64_t n, const char *location, const char *offset, const char *length)
{
    pb t = onnx_tensor("w", ONNX_FLOAT, &n, 1);

    if (location) entry(&t, "location", location);
    if (offset) entry(&t, "offset", offset);
    if (length) entry(&t, "length", length);
    pb_int(&t, 14, 1);
    return t;
}

enum { IN_INITIALIZER, IN_ATTRIBUTE, IN_LIST, IN_SPARSE_VALUES, IN_SPARSE_INDICES, IN_SUBGRAPH, N_PLACES };

/* A model that holds tensor (borrowed) in one of the places. */
static pb model_with(const pb *tensor, int place)
{
    pb g = { 0 }, out = { 0 }, copy = { 0 }, s = { 0 }, a, n, sub = { 0 };
    const int64_t one = 1;

    pb_raw(&copy, tensor->data, tensor->len);
    switch (place) {
    case IN_INITIALIZER: pb_msg(&g, 5, copy); break;
    case IN_ATTRIBUTE:
    case IN_LIST:
        n = onnx_node("Constant", NULL, "w");
        a = onnx_attr("value", place == IN_LIST ? 9 : 4);
        pb_msg(&a, place == IN_LIST ? 10 : 5, copy);
        pb_msg(&n, 5, a);
        pb_msg(&g, 1, n);
        break;
    case IN_SPARSE_VALUES:
    case IN_SPARSE_INDICES: {
        pb other = onnx_tensor("w", place == IN_SPARSE_VALUES ? ONNX_INT64 : ONNX_FLOAT, &one, 1);

        pb_bytes(&other, 9, "\0\0\0\0\0\0\0", place == IN_SPARSE_VALUES ? 8 : 4);
        pb_msg(&s, place == IN_SPARSE_VALUES ? 1 : 2, copy);
        pb_msg(&s, place == IN_SPARSE_VALUES ? 2 : 1, other);
        pb_int(&s, 3, 4);
        pb_msg(&g, 15, s);
        break;
    }
    default:
        pb_msg(&sub, 5, copy);
        n = onnx_node("If", NULL, "w");
        a = onnx_attr("then_branch", 5);
        pb_msg(&a, 6, sub);
        pb_msg(&n, 5, a);
        pb_msg(&g, 1, n);
        break;
    }
    pb_str(&out, 1, "w");
    pb_msg(&g, 12, out);
    return onnx_model(g);
}

static void refused_everywhere(pb tensor, qn_status want, const char *text)
{
    for (int place = 0; place < N_PLACES; place++) {
        pb m = model_with(&tensor, place);
        qn_graph *g;
        qn_error err;
        qn_status st = onnx_import_at(&m, NULL, dir, &g, NULL, &err);

        if (st != want || !strstr(err.message, text))
            fail_msg("place %d: got %d '%s', expected %d '%s'", place, st, err.message, want, text);
        assert_null(strstr(err.message, root));
        pb_free(&m);
    }
    pb_free(&tensor);
}

static void external_weights_are_read_from_beside_the_model(void **state)
{
    static const struct {
        const char *location, *offset, *length;
        int64_t n;
        float first;
    } cases[] = {
        { "weights.bin", NULL, NULL, 32768, 0 }, { "weights.bin", "0", "131072", 32768, 0 },   { "weights.bin", "4096", "40", 10, 1024 },
        { "sub/more.bin", "4", NULL, 20000, 1 }, { "./weights.bin", "131068", "4", 1, 32767 }, { "weights.bin", "131072", "0", 0, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pb t = external(cases[i].n, cases[i].location, cases[i].offset, cases[i].length), m;
        qn_graph *g;
        qn_error err;
        float got = -1;

        entry(&t, "checksum", "da39a3ee5e6b4b0d3255bfef95601890afd80709"); /* allowed, not looked at */
        m = model_with(&t, IN_INITIALIZER);
        if (onnx_import_at(&m, NULL, dir, &g, NULL, &err)) fail_msg("%s", err.message);
        if (cases[i].n) {
            assert_int_equal(qn_weight_read(onnx_find(g, "w")->weight, 0, 1, &got, &err), QN_OK);
            assert_true(got == cases[i].first);
        }
        qn_graph_destroy(g);
        pb_free(&m);
        pb_free(&t);
    }
}

static void locations_that_leave_the_folder_or_are_no_plain_file_are_refused(void **state)
{
    static const struct {
        const char *location;
        qn_status want;
    } cases[] = {
        { "../secret.bin", QN_ERR_INVALID },
        { "../../etc/passwd", QN_ERR_INVALID },
        { "sub/../../secret.bin", QN_ERR_INVALID },
        { "sub/../weights.bin", QN_ERR_INVALID },
        { "./../secret.bin", QN_ERR_INVALID },
        { "sub/./.././../secret.bin", QN_ERR_INVALID },
        { "..", QN_ERR_INVALID },
        { ".", QN_ERR_INVALID },
        { "/etc/passwd", QN_ERR_INVALID },
        { "//etc/passwd", QN_ERR_INVALID },
        { "/proc/self/mem", QN_ERR_INVALID },
        { "/dev/zero", QN_ERR_INVALID },
        { "link.bin", QN_ERR_INVALID },
        { "link-out.bin", QN_ERR_INVALID },
        { "link-dir/more.bin", QN_ERR_INVALID },
        { "link-proc/self/mem", QN_ERR_INVALID },
        { "hard.bin", QN_ERR_INVALID },
        { "sub", QN_ERR_INVALID },
        { "sub/", QN_ERR_INVALID },
        { "fifo", QN_ERR_INVALID },
        { "weights.bin/", QN_ERR_NOT_FOUND },
        { "missing.bin", QN_ERR_NOT_FOUND },
        { "..\\secret.bin", QN_ERR_NOT_FOUND },
        { "file:///etc/passwd", QN_ERR_NOT_FOUND },
        { "*ORT_MEM_ADDR*", QN_ERR_NOT_FOUND },
        { " weights.bin", QN_ERR_NOT_FOUND },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused_everywhere(external(1, cases[i].location, NULL, NULL), cases[i].want, "external_data");
}

static void keys_offsets_and_lengths_that_lie_are_refused(void **state)
{
    static const struct {
        const char *offset, *length;
    } cases[] = {
        { "-1", NULL },
        { NULL, "-1" },
        { "0x10", NULL },
        { "", NULL },
        { NULL, "" },
        { " 4", NULL },
        { "4 ", NULL },
        { "1e3", NULL },
        { "+4", NULL },
        { "131072", NULL },
        { "131069", NULL },
        { "18446744073709551615", NULL },
        { "18446744073709551616", NULL },
        { "99999999999999999999999999", NULL },
        { NULL, "3" },
        { NULL, "5" },
        { NULL, "0" },
        { NULL, "18446744073709551615" },
        { "9223372036854775808", "4" },
        { "18446744073709551612", "4" },
    };
    static const char *const keys[] = { "basepath", "Location", "locatio", "path", "", "offset ", "length\xc2\xa0" };
    pb t;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused_everywhere(external(1, "weights.bin", cases[i].offset, cases[i].length), QN_ERR_FORMAT, "external_data");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        t = external(1, "weights.bin", NULL, NULL);
        entry(&t, keys[i], "0");
        refused_everywhere(t, QN_ERR_FORMAT, "has the key");
    }
    refused_everywhere(external(1, NULL, "0", NULL), QN_ERR_FORMAT, "no location");
    refused_everywhere(external(1, "", "0", NULL), QN_ERR_FORMAT, "no location");
    t = external(1, "weights.bin", "0", NULL);
    entry(&t, "location", "other.bin");
    refused_everywhere(t, QN_ERR_FORMAT, "twice");
    t = external(1, "weights.bin", NULL, NULL);
    pb_bytes(&t, 9, "\0\0\0\0", 4);
    refused_everywhere(t, QN_ERR_FORMAT, "contradict");
    t = external(1, "weights.bin", NULL, NULL);
    pb_float(&t, 4, 1);
    refused_everywhere(t, QN_ERR_FORMAT, "both");
    t = external(1, "weights.bin", NULL, NULL);
    pb_int(&t, 14, 0);
    refused_everywhere(t, QN_ERR_FORMAT, "contradict");
    t = onnx_tensor("w", ONNX_FLOAT, (int64_t[]){ 1 }, 1);
    pb_int(&t, 14, 1);
    refused_everywhere(t, QN_ERR_FORMAT, "contradict");
    t = external(1, "weights.bin", NULL, NULL);
    pb_int(&t, 14, 2);
    refused_everywhere(t, QN_ERR_FORMAT, "data_location 2");
    refused_everywhere(external(1ll << 40, "weights.bin", NULL, NULL), QN_ERR_LIMIT, "weight_bytes");
    refused_everywhere(external(1ll << 30, "weights.bin", NULL, NULL), QN_ERR_FORMAT, "beyond the end");
}

static void a_model_without_a_folder_has_no_external_data(void **state)
{
    pb t = external(1, "weights.bin", NULL, NULL), m = model_with(&t, IN_INITIALIZER);
    qn_graph *g;
    qn_error err;

    (void)state;
    assert_int_equal(onnx_import_at(&m, NULL, -1, &g, NULL, &err), QN_ERR_UNSUPPORTED);
    pb_free(&m);
    pb_free(&t);
}

static void a_file_is_opened_once_and_not_too_many_of_them(void **state)
{
    for (int files = 1; files <= 257; files += 256) {
        pb g = { 0 }, m;
        qn_graph *graph;
        qn_error err;
        qn_status st;

        for (int i = 0; i < 300; i++) {
            char name[32], location[600] = "";
            pb t = onnx_tensor(NULL, ONNX_FLOAT, (int64_t[]){ 1 }, 1);

            for (int k = 0; k < i % files; k++)
                strncat(location, "./", sizeof location - strlen(location) - 1); /* the same file, spelled anew */
            strncat(location, "weights.bin", sizeof location - strlen(location) - 1);
            snprintf(name, sizeof name, "w%d", i);
            pb_str(&t, 8, name);
            entry(&t, "location", location);
            pb_int(&t, 14, 1);
            pb_msg(&g, 5, t);
        }
        m = onnx_model(g);
        st = onnx_import_at(&m, NULL, dir, &graph, NULL, &err);
        assert_int_equal(st, files == 1 ? QN_OK : QN_ERR_LIMIT);
        if (!st) qn_graph_destroy(graph);
        pb_free(&m);
    }
    (void)state;
}

static void a_weight_that_changes_after_the_import_is_refused(void **state)
{
    struct timespec later[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
    pb t = external(32768, "changing.bin", NULL, NULL), m = model_with(&t, IN_INITIALIZER);
    qn_graph *g;
    qn_error err;
    float got;

    (void)state;
    put(dir, "changing.bin", numbers, sizeof numbers);
    assert_int_equal(onnx_import_at(&m, NULL, dir, &g, NULL, &err), QN_OK);
    assert_int_equal(qn_weight_read(onnx_find(g, "w")->weight, 5, 1, &got, &err), QN_OK);
    assert_int_equal(utimensat(dir, "changing.bin", later, 0), 0);
    assert_int_equal(qn_weight_read(onnx_find(g, "w")->weight, 5, 1, &got, &err), QN_ERR_FORMAT);
    qn_graph_destroy(g);
    pb_free(&m);
    pb_free(&t);
}

/* qn_onnx_load(): the model file itself, plain and compressed, with weights beside it. */
static void a_model_is_loaded_from_a_folder_or_a_path(void **state)
{
    pb t = external(32768, "weights.bin", NULL, NULL), m = model_with(&t, IN_INITIALIZER), z = { 0 };
    char path[96];
    qn_onnx_info info;
    qn_graph *g;
    qn_error err;

    (void)state;
    z.cap = ZSTD_compressBound(m.len);
    z.data = malloc(z.cap);
    assert_non_null(z.data);
    z.len = ZSTD_compress(z.data, z.cap, m.data, m.len, 3);
    put(dir, "model.onnx", m.data, m.len);
    put(dir, "model.onnx.zst", z.data, z.len);
    snprintf(path, sizeof path, "%s/model.onnx", root);
    assert_int_equal(qn_onnx_load(AT_FDCWD, path, NULL, NULL, &g, &info, &err), QN_OK);
    assert_true(info.file.stored_bytes == m.len && info.file.bytes == m.len && info.n_params == 32768);
    info.source->unref(info.source);
    qn_graph_destroy(g);
    assert_int_equal(qn_onnx_load(dir, "model.onnx", NULL, NULL, &g, &info, &err), QN_OK);
    info.source->unref(info.source);
    qn_graph_destroy(g);
    assert_int_equal(qn_onnx_load(dir, "model.onnx.zst", NULL, NULL, &g, &info, &err), QN_OK);
    assert_true(info.file.stored_bytes == z.len && info.file.bytes == m.len && info.file.compressed);
    { /* after a trim the bytes come back from the file */
        unsigned char head[16];

        info.source->trim(info.source);
        assert_int_equal(info.source->read(info.source, m.len - 16, head, 16, &err), QN_OK);
        assert_memory_equal(head, m.data + m.len - 16, 16);
        info.source->unref(info.source);
    }
    qn_graph_destroy(g);
    assert_int_equal(qn_onnx_load(dir, "sub/model.onnx", NULL, NULL, &g, &info, &err), QN_ERR_NOT_FOUND);
    assert_null(g);
    pb_free(&m);
    pb_free(&t);
    pb_free(&z);
}

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < 32768; i++) numbers[i] = (float)i;
    if (!mkdtemp(root)) return -1;
    dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || mkdirat(dir, "sub", 0700)) return -1;
    put(dir, "weights.bin", numbers, sizeof numbers);
    put(dir, "sub/more.bin", numbers, sizeof numbers);
    put(dir, "first.bin", numbers, sizeof numbers);
    return linkat(dir, "first.bin", dir, "hard.bin", 0) || symlinkat("weights.bin", dir, "link.bin") ||
           symlinkat("/etc/passwd", dir, "link-out.bin") || symlinkat("sub", dir, "link-dir") || symlinkat("/proc", dir, "link-proc") ||
           mkfifoat(dir, "fifo", 0600);
}

static int teardown(void **state)
{
    static const char *const names[] = { "weights.bin", "sub/more.bin", "first.bin", "hard.bin",     "link.bin",   "link-out.bin",
                                         "link-dir",    "link-proc",    "fifo",      "changing.bin", "model.onnx", "model.onnx.zst" };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlinkat(dir, names[i], 0);
    unlinkat(dir, "sub", AT_REMOVEDIR);
    close(dir);
    return rmdir(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(external_weights_are_read_from_beside_the_model),
        cmocka_unit_test(locations_that_leave_the_folder_or_are_no_plain_file_are_refused),
        cmocka_unit_test(keys_offsets_and_lengths_that_lie_are_refused),
        cmocka_unit_test(a_model_without_a_folder_has_no_external_data),
        cmocka_unit_test(a_file_is_opened_once_and_not_too_many_of_them),
        cmocka_unit_test(a_weight_that_changes_after_the_import_is_refused),
        cmocka_unit_test(a_model_is_loaded_from_a_folder_or_a_path),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
