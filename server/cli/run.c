/* server/cli/run.c - quern run: .npy files in, one .npy per output (or per value) out; a sequence is a file per element. */
#include "server/cli/cli.h"
#include "server/cli/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_INPUT_BYTES ((size_t)8 << 30)

static const char usage[] =
    "usage: quern run MODEL.onnx --input NAME=FILE.npy ... --output-dir DIR [--threads N] [--isa scalar|avx2|avx512|vnni]\n"
    "                 [--all-values]\n"
    "       a sequence takes one --input for each element, in order, and is written as NAME.0.npy, NAME.1.npy, ...\n";

/* The files given for one input: one, or as many as a sequence has elements. */
typedef struct files {
    qn_tensor *tensors; /* owned, with what they hold */
    int32_t n;
} files;

/* -- inputs --------------------------------------------------------------------------------------------------------------- */

/* Nor has it 4-bit integers: they travel as bytes, which must be in range. */
static int as_nibbles(const qn_cli_options *o, const char *path, qn_dtype want, qn_tensor *t)
{
    const int lo = want == QN_I4 ? -8 : 0;
    qn_error err = { 0 };

    if (!(want == QN_I4 && t->dtype == QN_I8) && !(want == QN_U4 && t->dtype == QN_U8)) return QN_EXIT_OK;
    for (size_t i = 0; i < t->bytes; i++) {
        const int v = want == QN_I4 ? ((const int8_t *)t->data)[i] : ((const uint8_t *)t->data)[i];

        if (v >= lo && v < lo + 16) continue;
        qn_error_set(&err, QN_ERR_RANGE, "element %zu is %d, expected %d..%d for %s", i, v, lo, lo + 15, qn_dtype_name(want));
        return qn_cli_fail(o, path, &err);
    }
    t->dtype = want;
    return QN_EXIT_OK;
}

static int read_input(const qn_cli_options *o, const qn_model *m, const char *pair, files *inputs)
{
    const char *path;
    int32_t i = qn_cli_input_pair(m, pair, &path);
    qn_error err = { 0 };
    qn_tensor *grown, *t;

    if (i < 0) {
        fprintf(stderr, "quern run: %s: the model has no such input; its inputs are", pair);
        for (int32_t k = 0; k < qn_model_n_inputs(m); k++) fprintf(stderr, "%s %s", k ? "," : "", qn_model_input(m, k)->name);
        fputc('\n', stderr);
        return QN_EXIT_ERROR;
    }
    if (inputs[i].n > 0 && qn_model_input(m, i)->kind == QN_PORT_TENSOR) {
        fprintf(stderr, "quern run: input %s is given twice\n", qn_model_input(m, i)->name);
        return QN_EXIT_ERROR;
    }
    grown = realloc(inputs[i].tensors, (size_t)(inputs[i].n + 1) * sizeof *grown);
    if (!grown) {
        fprintf(stderr, "quern run: out of memory\n");
        return QN_EXIT_ERROR;
    }
    inputs[i].tensors = grown;
    t = &grown[inputs[i].n];
    if (qn_npy_read(path, MAX_INPUT_BYTES, t, &err) != QN_OK) return qn_cli_fail(o, path, &err);
    inputs[i].n++;
    /* NumPy has no bfloat16: its bits travel as uint16, both ways */
    if (qn_model_input(m, i)->dtype == QN_BF16 && t->dtype == QN_U16) t->dtype = QN_BF16;
    return as_nibbles(o, path, qn_model_input(m, i)->dtype, t);
}

/* A sequence that was not given is empty, an optional nothing. */
static qn_status hand_over(const qn_model *m, qn_session *s, const files *inputs, qn_tensor *tensors, qn_error *err)
{
    qn_status st = QN_OK;

    for (int32_t i = 0; st == QN_OK && i < qn_model_n_inputs(m); i++) {
        if (qn_model_input(m, i)->kind != QN_PORT_TENSOR)
            st = qn_session_set_items(s, i, inputs[i].n > 0 || qn_model_input(m, i)->kind == QN_PORT_SEQUENCE, inputs[i].tensors,
                                      inputs[i].n, err);
        else if (inputs[i].n > 0)
            tensors[i] = inputs[i].tensors[0];
    }
    return st;
}

/* -- outputs -------------------------------------------------------------------------------------------------------------- */

typedef struct named {
    const char *name; /* in the model */
    int64_t at;       /* of a sequence's element; -1: the whole */
    char *file;       /* owned: "DIR/NAME.npy", "DIR/NAME.AT.npy" */
    qn_tensor tensor;
} named;

static bool plain(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

static char *file_name(const char *dir, const char *name, int64_t at)
{
    size_t n_dir = strlen(dir), n = strlen(name), cap = n_dir + n + 27;
    char *s = malloc(cap);

    if (!s) return NULL;
    if (at < 0)
        snprintf(s, cap, "%s/%s.npy", dir, name);
    else
        snprintf(s, cap, "%s/%s.%" PRId64 ".npy", dir, name, at);
    for (size_t i = 0; i < n; i++)
        if (!plain(name[i])) s[n_dir + 1 + i] = '_';
    return s;
}

static int by_file(const void *a, const void *b) { return strcmp(((const named *)a)->file, ((const named *)b)->file); }

/* Two names may become one file name: then nothing is written, rather than one of them lost. */
static int write_all(const qn_cli_options *o, named *all, int64_t n)
{
    qn_error err = { 0 };

    qsort(all, (size_t)n, sizeof *all, by_file);
    for (int64_t i = 1; i < n; i++) {
        if (strcmp(all[i - 1].file, all[i].file) != 0 || strcmp(all[i - 1].name, all[i].name) == 0) continue;
        fprintf(stderr, "quern run: '%s' and '%s' would both be written to %s\n", all[i - 1].name, all[i].name, all[i].file);
        return QN_EXIT_ERROR;
    }
    if (mkdir(o->output_dir, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "quern run: %s: %s\n", o->output_dir, strerror(errno));
        return QN_EXIT_ERROR;
    }
    for (int64_t i = 0; i < n; i++)
        if (qn_npy_write(all[i].file, &all[i].tensor, &err) != QN_OK) return qn_cli_fail(o, all[i].file, &err);
    return QN_EXIT_OK;
}

/* How many files output i becomes: an optional that is nothing is none. */
static int64_t pieces(const qn_model *m, const qn_session *s, int32_t i)
{
    qn_error err = { 0 };
    bool present = false;
    int64_t n = 0;

    if (qn_model_output(m, i)->kind == QN_PORT_TENSOR) return 1;
    return qn_session_items(s, i, &present, &n, &err) == QN_OK ? n : 0;
}

static void name_pieces(const qn_model *m, const qn_session *s, int32_t i, const qn_tensor *whole, named *out)
{
    const qn_port *port = qn_model_output(m, i);
    const int64_t n = pieces(m, s, i);

    for (int64_t k = 0; k < n; k++)
        out[k] = (named){ .name = port->name,
                          .at = port->kind == QN_PORT_TENSOR ? -1 : k,
                          .tensor = port->kind == QN_PORT_TENSOR ? *whole : *qn_session_item(s, i, k) };
}

static int write_outputs(const qn_cli_options *o, const qn_model *m, const qn_session *s, const qn_tensor *outputs)
{
    const int32_t n_values = qn_session_n_values(s), n_outputs = qn_model_n_outputs(m);
    int64_t n = 0, most = n_values + 1;
    int code = QN_EXIT_OK;
    named *all;

    for (int32_t i = 0; i < n_outputs; i++) most += pieces(m, s, i);
    all = calloc((size_t)most, sizeof *all);
    for (int32_t i = 0; all && i < n_outputs; i++) {
        name_pieces(m, s, i, &outputs[i], all + n);
        n += pieces(m, s, i);
    }
    for (int32_t i = 0; all && i < n_values; i++) {
        all[n].at = -1;
        qn_session_value(s, i, &all[n].name, &all[n].tensor);
        if (all[n].tensor.dtype != QN_DTYPE_NONE) n++;
    }
    for (int64_t i = 0; all && i < n && code == QN_EXIT_OK; i++) {
        all[i].file = file_name(o->output_dir, all[i].name, all[i].at);
        if (!all[i].file) code = QN_EXIT_ERROR;
    }
    if (!all || code != QN_EXIT_OK) {
        fprintf(stderr, "quern run: out of memory\n");
        code = QN_EXIT_ERROR;
    } else {
        code = write_all(o, all, n);
    }
    for (int64_t i = 0; i < n; i++) free(all[i].file);
    free(all);
    return code;
}

/* -- the command ---------------------------------------------------------------------------------------------------------- */

static int run_model(const qn_cli_options *o, qn_model *m)
{
    int32_t n_in = qn_model_n_inputs(m), n_out = qn_model_n_outputs(m);
    qn_tensor *tensors = calloc((size_t)n_in + 1, sizeof *tensors), *outputs = calloc((size_t)n_out + 1, sizeof *outputs);
    files *inputs = calloc((size_t)n_in + 1, sizeof *inputs);
    qn_team *team = NULL;
    qn_session *s = NULL;
    qn_error err = { .status = QN_ERR_NOMEM, .message = "inputs" };
    qn_status st = inputs && tensors && outputs ? QN_OK : QN_ERR_NOMEM;
    int code = QN_EXIT_OK;

    for (int i = 0; i < o->n_pairs && st == QN_OK && code == QN_EXIT_OK; i++) code = read_input(o, m, o->pairs[i], inputs);
    if (code != QN_EXIT_OK) goto done;
    if (st == QN_OK && o->threads > 1) st = qn_team_create(o->threads, &team, &err);
    if (st == QN_OK) st = qn_session_create(m, team, &s, &err);
    if (st == QN_OK) st = hand_over(m, s, inputs, tensors, &err);
    if (st == QN_OK) st = qn_session_run(s, tensors, outputs, NULL, &err);
    code = st == QN_OK ? write_outputs(o, m, s, outputs) : qn_cli_fail(o, o->model, &err);
done:
    qn_session_destroy(s);
    qn_team_destroy(team);
    for (int32_t i = 0; inputs && i < n_in; i++) {
        for (int32_t k = 0; k < inputs[i].n; k++) qn_tensor_free(&inputs[i].tensors[k]);
        free(inputs[i].tensors);
    }
    free(inputs);
    free(tensors);
    free(outputs);
    return code;
}

int qn_cli_run(int argc, char **argv)
{
    qn_cli_options o;
    qn_model *m;
    int code = QN_EXIT_USAGE;

    if (qn_cli_parse(argc, argv, QN_CLI_INPUT | QN_CLI_OUTPUT_DIR | QN_CLI_THREADS | QN_CLI_ISA | QN_CLI_ALL_VALUES, usage, &o)) {
        m = qn_cli_model(&o, &code);
        if (m) code = run_model(&o, m);
        qn_model_unref(m);
    }
    qn_cli_release(&o);
    return code;
}
