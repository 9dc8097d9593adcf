/* server/cli/run.c - quern run: .npy files in, one .npy per output (or per value) out. */
#include "server/cli/cli.h"
#include "server/cli/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_INPUT_BYTES ((size_t)8 << 30)

static const char usage[] =
    "usage: quern run MODEL.onnx --input NAME=FILE.npy ... --output-dir DIR [--threads N] [--isa scalar|avx2|avx512|vnni]\n"
    "                 [--all-values]\n";

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

static int read_input(const qn_cli_options *o, const qn_model *m, const char *pair, qn_tensor *inputs)
{
    const char *path;
    int32_t i = qn_cli_input_pair(m, pair, &path);
    qn_error err = { 0 };

    if (i < 0) {
        fprintf(stderr, "quern run: %s: the model has no such input; its inputs are", pair);
        for (int32_t k = 0; k < qn_model_n_inputs(m); k++) fprintf(stderr, "%s %s", k ? "," : "", qn_model_input(m, k)->name);
        fputc('\n', stderr);
        return QN_EXIT_ERROR;
    }
    if (inputs[i].dtype != QN_DTYPE_NONE) {
        fprintf(stderr, "quern run: input %s is given twice\n", qn_model_input(m, i)->name);
        return QN_EXIT_ERROR;
    }
    if (qn_npy_read(path, MAX_INPUT_BYTES, &inputs[i], &err) != QN_OK) return qn_cli_fail(o, path, &err);
    /* NumPy has no bfloat16: its bits travel as uint16, both ways */
    if (qn_model_input(m, i)->dtype == QN_BF16 && inputs[i].dtype == QN_U16) inputs[i].dtype = QN_BF16;
    return as_nibbles(o, path, qn_model_input(m, i)->dtype, &inputs[i]);
}

/* -- outputs -------------------------------------------------------------------------------------------------------------- */

typedef struct named {
    const char *name; /* in the model */
    char *file;       /* owned: "DIR/NAME.npy" */
    qn_tensor tensor;
} named;

static bool plain(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

static char *file_name(const char *dir, const char *name)
{
    size_t n_dir = strlen(dir), n = strlen(name), cap = n_dir + n + 6;
    char *s = malloc(cap);

    if (!s) return NULL;
    snprintf(s, cap, "%s/%s.npy", dir, name);
    for (size_t i = 0; i < n; i++)
        if (!plain(name[i])) s[n_dir + 1 + i] = '_';
    return s;
}

static int by_file(const void *a, const void *b) { return strcmp(((const named *)a)->file, ((const named *)b)->file); }

/* Two names may become one file name: then nothing is written, rather than one of them lost. */
static int write_all(const qn_cli_options *o, named *all, int32_t n)
{
    qn_error err = { 0 };

    qsort(all, (size_t)n, sizeof *all, by_file);
    for (int32_t i = 1; i < n; i++) {
        if (strcmp(all[i - 1].file, all[i].file) != 0 || strcmp(all[i - 1].name, all[i].name) == 0) continue;
        fprintf(stderr, "quern run: '%s' and '%s' would both be written to %s\n", all[i - 1].name, all[i].name, all[i].file);
        return QN_EXIT_ERROR;
    }
    if (mkdir(o->output_dir, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "quern run: %s: %s\n", o->output_dir, strerror(errno));
        return QN_EXIT_ERROR;
    }
    for (int32_t i = 0; i < n; i++)
        if (qn_npy_write(all[i].file, &all[i].tensor, &err) != QN_OK) return qn_cli_fail(o, all[i].file, &err);
    return QN_EXIT_OK;
}

static int write_outputs(const qn_cli_options *o, const qn_model *m, const qn_session *s, const qn_tensor *outputs)
{
    int32_t n_values = qn_session_n_values(s), n_outputs = qn_model_n_outputs(m), n = 0;
    int code = QN_EXIT_OK;
    named *all = calloc((size_t)n_values + (size_t)n_outputs + 1, sizeof *all);

    for (int32_t i = 0; all && i < n_outputs; i++) all[n++] = (named){ .name = qn_model_output(m, i)->name, .tensor = outputs[i] };
    for (int32_t i = 0; all && i < n_values; i++) {
        qn_session_value(s, i, &all[n].name, &all[n].tensor);
        if (all[n].tensor.dtype != QN_DTYPE_NONE) n++;
    }
    for (int32_t i = 0; all && i < n && code == QN_EXIT_OK; i++) {
        all[i].file = file_name(o->output_dir, all[i].name);
        if (!all[i].file) code = QN_EXIT_ERROR;
    }
    if (!all || code != QN_EXIT_OK) {
        fprintf(stderr, "quern run: out of memory\n");
        code = QN_EXIT_ERROR;
    } else {
        code = write_all(o, all, n);
    }
    for (int32_t i = 0; i < n; i++) free(all[i].file);
    free(all);
    return code;
}

/* -- the command ---------------------------------------------------------------------------------------------------------- */

static int run_model(const qn_cli_options *o, qn_model *m)
{
    int32_t n_in = qn_model_n_inputs(m), n_out = qn_model_n_outputs(m);
    qn_tensor *inputs = calloc((size_t)n_in + 1, sizeof *inputs), *outputs = calloc((size_t)n_out + 1, sizeof *outputs);
    qn_team *team = NULL;
    qn_session *s = NULL;
    qn_error err = { .status = QN_ERR_NOMEM, .message = "inputs" };
    qn_status st = inputs && outputs ? QN_OK : QN_ERR_NOMEM;
    int code = QN_EXIT_OK;

    for (int i = 0; i < o->n_pairs && st == QN_OK && code == QN_EXIT_OK; i++) code = read_input(o, m, o->pairs[i], inputs);
    if (code != QN_EXIT_OK) goto done;
    if (st == QN_OK && o->threads > 1) st = qn_team_create(o->threads, &team, &err);
    if (st == QN_OK) st = qn_session_create(m, team, &s, &err);
    if (st == QN_OK) st = qn_session_run(s, inputs, outputs, NULL, &err);
    code = st == QN_OK ? write_outputs(o, m, s, outputs) : qn_cli_fail(o, o->model, &err);
done:
    qn_session_destroy(s);
    qn_team_destroy(team);
    for (int32_t i = 0; inputs && i < n_in; i++) qn_tensor_free(&inputs[i]);
    free(inputs);
    free(outputs);
    return code;
}

int qn_cli_run(int argc, char **argv)
{
    qn_cli_options o;
    qn_model *m;
    int code = QN_EXIT_USAGE;

    if (qn_cli_parse(argc, argv, QN_CLI_INPUT | QN_CLI_OUTPUT_DIR | QN_CLI_THREADS | QN_CLI_ISA | QN_CLI_ALL_VALUES, usage, &o)) {
        m = qn_cli_load(&o, &code);
        if (m) code = run_model(&o, m);
        qn_model_unref(m);
    }
    qn_cli_release(&o);
    return code;
}
