/* tests/fuzz/fuzz_onnx.c - any bytes as a model file: import says no, or gives a graph that sorts (unless it has a cycle) and then verifies and
 * can be copied. The size of the input picks small or large limits. */
#include "core/graph/graph.h"
#include "core/onnx/import.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must not happen, whatever the bytes. */
static void demand(bool ok, const char *what, const qn_error *err)
{
    if (ok) return;
    fprintf(stderr, "%s: %d %s\n", what, (int)err->status, err->message);
    abort();
}

static void use(qn_graph *g)
{
    qn_error err = { 0 };
    qn_graph *copy = NULL;

    if (qn_graph_sort(g, &err)) return; /* a cycle */
    demand(qn_graph_verify(g, &err) == QN_OK, "a sorted import does not verify", &err);
    demand(qn_graph_clone(g, QN_STAGE_IMPORT, &copy, &err) == QN_OK, "an import cannot be copied", &err);
    demand(qn_graph_verify(copy, &err) == QN_OK, "a copy does not verify", &err);
    qn_graph_destroy(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const qn_limits small = { .file_bytes = 1 << 16, .weight_bytes = 1 << 12, .n_nodes = 16, .depth = 8 };
    static const qn_limits large = { .file_bytes = 1 << 24, .weight_bytes = 1 << 22, .n_nodes = 4096 };
    qn_source *src = NULL;
    qn_graph *g = NULL;
    qn_onnx_info info;
    qn_error err = { 0 };
    qn_status st;

    if (qn_file_from_memory(data, size, &src, &err)) return 0;
    st = qn_onnx_import(src, size, NULL, size % 4 == 3 ? &small : &large, -1, &g, &info, &err);
    src->unref(src); /* weights that are not read yet hold it */
    demand((st == QN_OK) == (g != NULL), "status and graph disagree", &err);
    demand(st == QN_OK || (err.status == st && err.message[0]), "no message", &err);
    demand(st != QN_ERR_INTERNAL, "internal error", &err);
    if (g) use(g);
    qn_graph_destroy(g);
    return 0;
}
