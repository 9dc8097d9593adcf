/* Every model of ONNX's backend test data (Debian: libonnx-testdata) imports, sorts and verifies, or is refused with a clear reason. Skipped where
 * the data is not installed. */
#include "pb_build.h"

#include "core/onnx/testdata.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static const char data[] = "/usr/share/libonnx-testdata/data";
static const char *const groups[] = { "node", "simple", "pytorch-converted", "pytorch-operator" };

typedef struct tally {
    int imported, refused, tensors, tensors_refused;
} tally;

/* An error a person can act on: the status of a limit of Quern, not of a broken file, for data that is not broken. */
static void check_refusal(const char *what, const qn_error *err)
{
    if (err->status != QN_ERR_UNSUPPORTED) fail_msg("%s: %d %s", what, err->status, err->message);
    assert_true(strlen(err->message) > 10);
}

static qn_kind kind_of(const qn_graph *g, const char *file)
{
    bool input = strncmp(file, "input_", 6) == 0;
    int i = atoi(strchr(file, '_') + 1);

    if (i >= (input ? g->n_inputs : g->n_outputs)) return QN_KIND_TENSOR;
    return g->values[input ? g->inputs[i] : g->outputs[i]].type.kind;
}

static void read_tensors(int set, const qn_graph *g, const char *test, tally *n)
{
    DIR *d = fdopendir(set);
    struct dirent *e;

    assert_non_null(d);
    while ((e = readdir(d))) {
        const char *dot = strrchr(e->d_name, '.');
        qn_tensor t;
        qn_error err;

        if (!dot || strcmp(dot, ".pb") != 0) continue;
        if (kind_of(g, e->d_name) != QN_KIND_TENSOR) {
            qn_meter m = { .limit_bytes = (uint64_t)1 << 30 };
            qn_items list = { 0 };

            if (qn_onnx_read_items(dirfd(d), e->d_name, kind_of(g, e->d_name), &m, &list, NULL, &err))
                fail_msg("%s: %s", test, err.message);
            n->tensors += (int)list.n;
            qn_items_release(&list);
            continue;
        }
        if (qn_onnx_read_tensor(dirfd(d), e->d_name, &t, NULL, &err)) {
            check_refusal(test, &err);
            n->tensors_refused++;
            continue;
        }
        n->tensors++;
        qn_tensor_free(&t);
    }
    closedir(d);
}

static void import_folder(int group, const char *test, tally *n)
{
    int dir = openat(group, test, O_RDONLY | O_DIRECTORY | O_CLOEXEC), set;
    qn_onnx_info info;
    qn_graph *g;
    qn_error err;

    if (dir < 0 || faccessat(dir, "model.onnx", R_OK, 0)) { /* some folders hold data for a model that is elsewhere */
        if (dir >= 0) close(dir);
        return;
    }
    if (qn_onnx_load(dir, "model.onnx", NULL, NULL, &g, &info, &err)) {
        check_refusal(test, &err);
        n->refused++;
    } else {
        n->imported++;
        if (qn_graph_sort(g, &err)) fail_msg("%s: %s", test, err.message);
        if (qn_graph_verify(g, &err)) fail_msg("%s: %s", test, err.message);
        assert_true(info.opset > 0 || g->n_opsets > 0);
        set = openat(dir, "test_data_set_0", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (set >= 0) read_tensors(set, g, test, n); /* which closes it */
        qn_graph_destroy(g);
        info.source->unref(info.source);
    }
    close(dir);
}

static void every_backend_model_imports_or_says_why_not(void **state)
{
    tally n = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        char path[128];
        DIR *d;
        struct dirent *e;

        snprintf(path, sizeof path, "%s/%s", data, groups[i]);
        d = opendir(path);
        if (!d) continue;
        while ((e = readdir(d))) {
            if (e->d_name[0] != '.') import_folder(dirfd(d), e->d_name, &n);
        }
        closedir(d);
    }
    if (n.imported + n.refused == 0) skip();
    print_message("%d models imported, %d refused; %d tensors read, %d refused\n", n.imported, n.refused, n.tensors, n.tensors_refused);
    assert_true(n.imported > 10 * n.refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_backend_model_imports_or_says_why_not) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
