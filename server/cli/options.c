/* server/cli/options.c - options of the commands, and a model opened as they say. */
#include "server/cli/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool whole_number(const char *text, int64_t lo, int64_t hi, int64_t *out)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || v < lo || v > hi) return false;
    *out = v;
    return true;
}

static bool seconds_number(const char *text, double *out)
{
    char *end;
    double v;

    errno = 0;
    v = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(v > 0.0 && v <= 3600.0)) return false;
    *out = v;
    return true;
}

static const struct qn_cli_option {
    const char *name;
    unsigned flag;
    bool takes_value;
} options[] = {
    { "--input", QN_CLI_INPUT, true },
    { "--output-dir", QN_CLI_OUTPUT_DIR, true },
    { "--threads", QN_CLI_THREADS, true },
    { "--isa", QN_CLI_ISA, true },
    { "--all-values", QN_CLI_ALL_VALUES, false },
    { "--json", QN_CLI_JSON, false },
    { "--shape", QN_CLI_SHAPE, true },
    { "--batch", QN_CLI_BATCH, true },
    { "--seconds", QN_CLI_SECONDS, true },
    { "--profile", QN_CLI_PROFILE, false },
};

static bool bad_value(const qn_cli_options *o, const char *name, const char *value, const char *expected)
{
    fprintf(stderr, "quern %s: %s is '%s', expected %s\n", o->command, name, value, expected);
    return false;
}

static bool apply(qn_cli_options *o, const struct qn_cli_option *opt, const char *value)
{
    int64_t v;
    qn_error err;

    switch (opt->flag) {
    case QN_CLI_INPUT: o->pairs[o->n_pairs++] = value; return strchr(value, '=') || bad_value(o, opt->name, value, "NAME=FILE.npy");
    case QN_CLI_SHAPE: o->pairs[o->n_pairs++] = value; return strchr(value, '=') || bad_value(o, opt->name, value, "NAME=1x3x224x224");
    case QN_CLI_OUTPUT_DIR: o->output_dir = value; return true;
    case QN_CLI_ALL_VALUES: return o->all_values = true;
    case QN_CLI_JSON: return o->json = true;
    case QN_CLI_PROFILE: return o->profile = true;
    case QN_CLI_THREADS:
        if (!whole_number(value, 1, 256, &v)) return bad_value(o, opt->name, value, "1..256");
        o->threads = (int)v;
        return true;
    case QN_CLI_BATCH: return whole_number(value, 1, 1 << 20, &o->batch) || bad_value(o, opt->name, value, "1..1048576");
    case QN_CLI_SECONDS: return seconds_number(value, &o->seconds) || bad_value(o, opt->name, value, "more than 0 and at most 3600");
    default:
        if (qn_cpu_from_name(value, &o->cpu, &err) == QN_OK) return true;
        fprintf(stderr, "quern %s: --isa: %s\n", o->command, err.message);
        return false;
    }
}

/* One argument, and its value if it takes one; *i moves over what was read. */
static bool take(qn_cli_options *o, int argc, char **argv, int *i, unsigned known)
{
    for (size_t k = 0; k < sizeof options / sizeof options[0]; k++) {
        size_t n = strlen(options[k].name);
        const char *value = NULL;

        if (!(options[k].flag & known) || strncmp(argv[*i], options[k].name, n) != 0) continue;
        if (argv[*i][n] == '=' && options[k].takes_value) {
            value = argv[*i] + n + 1;
        } else if (argv[*i][n] != '\0') {
            continue;
        } else if (options[k].takes_value) {
            if (*i + 1 >= argc) {
                fprintf(stderr, "quern %s: %s lacks its value\n", o->command, argv[*i]);
                return false;
            }
            value = argv[++*i];
        }
        return apply(o, &options[k], value);
    }
    if (argv[*i][0] == '-' && argv[*i][1] != '\0') {
        fprintf(stderr, "quern %s: '%s' is not an option\n", o->command, argv[*i]);
        return false;
    }
    if (o->model) {
        fprintf(stderr, "quern %s: '%s' is one model too many\n", o->command, argv[*i]);
        return false;
    }
    o->model = argv[*i];
    return true;
}

bool qn_cli_parse(int argc, char **argv, unsigned known, const char *usage, qn_cli_options *out)
{
    bool ok = true;

    *out = (qn_cli_options){ .command = argc > 0 ? argv[0] : "", .threads = 1, .cpu = qn_cpu_detect(), .batch = 1, .seconds = 3.0 };
    out->pairs = calloc((size_t)argc + 1, sizeof(const char *));
    if (!out->pairs) {
        fprintf(stderr, "quern %s: out of memory\n", out->command);
        return false;
    }
    for (int i = 1; i < argc && ok; i++) ok = take(out, argc, argv, &i, known);
    if (ok && !out->model) {
        fprintf(stderr, "quern %s: no model given\n", out->command);
        ok = false;
    }
    if (ok && (known & QN_CLI_OUTPUT_DIR) && !out->output_dir) {
        fprintf(stderr, "quern %s: no --output-dir given\n", out->command);
        ok = false;
    }
    if (!ok) fputs(usage, stderr);
    return ok;
}

void qn_cli_release(qn_cli_options *o)
{
    free(o->pairs);
    o->pairs = NULL;
}

int qn_cli_fail(const qn_cli_options *o, const char *what, const qn_error *err)
{
    fprintf(stderr, "quern %s: %s: %s: %s\n", o->command, what, qn_status_text(err->status), err->message);
    return err->status == QN_ERR_UNSUPPORTED ? QN_EXIT_UNSUPPORTED : QN_EXIT_ERROR;
}

qn_model *qn_cli_model(const qn_cli_options *o, int *exit_code)
{
    qn_model_options mo = { .cpu = o->cpu, .all_values = o->all_values };
    qn_model *m = NULL;
    qn_error err = { 0 };

    *exit_code = QN_EXIT_OK;
    if (qn_model_load(AT_FDCWD, o->model, &mo, &m, &err) != QN_OK) *exit_code = qn_cli_fail(o, o->model, &err);
    return m;
}

int32_t qn_cli_input_pair(const qn_model *m, const char *pair, const char **rest)
{
    for (int32_t i = 0; i < qn_model_n_inputs(m); i++) {
        const char *name = qn_model_input(m, i)->name;
        size_t n = strlen(name);

        if (strncmp(pair, name, n) != 0 || pair[n] != '=') continue;
        *rest = pair + n + 1;
        return i;
    }
    return -1;
}
