/* server/cli/bench.c - quern bench: how long a run takes on made-up inputs, and with --profile where the time goes.
 * Inputs are the same on every call and every machine: element i of an input is a hash of (its index, i). Floats lie in [-1, 1), integers and
 * bools are 0 or 1, so that they are valid token ids, masks and indices. Nothing passes or fails on time. */
#include "server/cli/cli.h"
#include "server/cli/options.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_RUNS 1000000
#define WARM_UP  0.1 /* of --seconds, and at least two runs: the first maps the arena */

static const char usage[] = "usage: quern bench MODEL.onnx [--shape NAME=1x3x224x224 ...] [--batch N] [--threads N] [--seconds S]\n"
                            "                   [--isa scalar|avx2|avx512|vnni] [--profile] [--json]\n";

typedef struct step_time {
    uint64_t ns;
    int64_t n_runs;
    qn_step_info info;
} step_time;

typedef struct bench {
    const qn_cli_options *o;
    qn_model *model;
    qn_team *team;
    qn_session *session;
    qn_tensor *inputs, *outputs;
    double *ms; /* [n_runs] of cap_runs */
    int64_t n_runs, cap_runs;
    step_time *steps; /* by step */
    int32_t n_steps, cap_steps;
    uint64_t step_began_ns;
    bool measuring;
} bench;

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* -- inputs --------------------------------------------------------------------------------------------------------------- */

/* splitmix64's finalizer (Steele, Lea, Flood 2014) on a counter. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static double unit(uint64_t bits) { return (double)(bits >> 40) * 0x1p-23 - 1.0; }

/* binary16 of a number in [-1, 1): cut, which is good enough for noise and keeps this file out of core. */
static uint16_t half_of(double v)
{
    uint16_t sign = v < 0 ? 0x8000 : 0;
    double a = v < 0 ? -v : v;
    int e = 15;

    if (a < 0x1p-14) return sign;
    while (a < 1.0) {
        a *= 2.0;
        e--;
    }
    return (uint16_t)(sign | e << 10 | (int)((a - 1.0) * 1024.0));
}

static void fill(qn_tensor *t, int32_t input)
{
    int64_t n = qn_tensor_count(t);
    size_t size = qn_dtype_size(t->dtype);

    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = mix(mix((uint64_t)input) + (uint64_t)i);
        double v = unit(bits);
        uint8_t *at = (uint8_t *)t->data + (size_t)i * size;
        float f = (float)v;
        uint32_t word;

        memcpy(&word, &f, sizeof word);
        switch (t->dtype) {
        case QN_F32: memcpy(at, &f, sizeof f); break;
        case QN_F64: memcpy(at, &v, sizeof v); break;
        case QN_F16: memcpy(at, &(uint16_t){ half_of(v) }, 2); break;
        case QN_BF16: memcpy(at, &(uint16_t){ (uint16_t)(word >> 16) }, 2); break;
        default: *at = (uint8_t)(bits >> 63); break; /* the lowest byte: little-endian, the rest is 0 */
        }
    }
}

/* "1x3x224x224", or "" for a scalar. */
static bool parse_shape(const char *text, qn_tensor *t)
{
    const char *p = text;

    t->rank = 0;
    while (*p) {
        char *end;
        long long v;

        errno = 0;
        v = strtoll(p, &end, 10);
        if (errno != 0 || end == p || v < 0 || t->rank == QN_MAX_RANK || (*end != 'x' && *end != '\0')) return false;
        t->dims[t->rank++] = v;
        if (*end == '\0') return true;
        p = end + 1;
        if (*p == '\0') return false;
    }
    return true;
}

static int choose_shapes(bench *b, qn_tensor *shapes)
{
    const qn_cli_options *o = b->o;

    for (int32_t i = 0; i < qn_model_n_inputs(b->model); i++) {
        const qn_port *p = qn_model_input(b->model, i);

        shapes[i] = (qn_tensor){ .dtype = p->dtype, .rank = p->rank };
        for (int32_t d = 0; d < p->rank; d++) shapes[i].dims[d] = p->dims[d] >= 0 ? p->dims[d] : d == 0 ? o->batch : 1;
    }
    for (int i = 0; i < o->n_pairs; i++) {
        const char *text;
        int32_t at = qn_cli_input_pair(b->model, o->pairs[i], &text);

        if (at >= 0 && parse_shape(text, &shapes[at])) continue;
        fprintf(stderr, "quern bench: --shape %s: expected NAME=1x3x224x224 with the name of an input\n", o->pairs[i]);
        return QN_EXIT_USAGE;
    }
    return QN_EXIT_OK;
}

static int make_inputs(bench *b)
{
    int32_t n = qn_model_n_inputs(b->model);
    qn_tensor *shapes = calloc((size_t)n + 1, sizeof *shapes);
    int code = shapes ? choose_shapes(b, shapes) : QN_EXIT_ERROR;
    qn_error err = { .status = QN_ERR_NOMEM, .message = "inputs" };

    for (int32_t i = 0; i < n && code == QN_EXIT_OK; i++) {
        const qn_port *p = qn_model_input(b->model, i);

        if (p->optional) continue;
        if (shapes[i].rank < 0) {
            fprintf(stderr, "quern bench: input %s has no declared rank: give --shape %s=...\n", p->name, p->name);
            code = QN_EXIT_USAGE;
        } else if (qn_tensor_alloc(p->dtype, shapes[i].rank, shapes[i].dims, &b->inputs[i], &err) != QN_OK) {
            code = qn_cli_fail(b->o, p->name, &err);
        } else {
            fill(&b->inputs[i], i);
        }
    }
    free(shapes);
    return code;
}

/* -- measuring ------------------------------------------------------------------------------------------------------------ */

static void on_step(void *user, int32_t step, bool finished)
{
    bench *b = user;

    if (!finished) {
        b->step_began_ns = now_ns();
        return;
    }
    if (!b->measuring || step >= b->cap_steps) return;
    b->steps[step].ns += now_ns() - b->step_began_ns;
    b->steps[step].n_runs++;
    if (step >= b->n_steps) b->n_steps = step + 1;
}

static qn_status run_for(bench *b, double seconds, qn_error *err)
{
    const qn_run_hooks hooks = { .step = on_step, .user = b };
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    int64_t n = 0;
    qn_status st = QN_OK;

    while (st == QN_OK && (n < 2 || now_ns() < end)) {
        uint64_t t = now_ns();

        st = qn_session_run(b->session, b->inputs, b->outputs, b->o->profile ? &hooks : NULL, err);
        t = now_ns() - t;
        n++;
        if (!b->measuring || st != QN_OK) continue;
        b->ms[b->n_runs++] = (double)t * 1e-6;
        if (b->n_runs == b->cap_runs) break;
    }
    return st;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int slower_first(const void *a, const void *b)
{
    const step_time *x = a, *y = b;

    return (x->ns < y->ns) - (x->ns > y->ns);
}

static int by_kernel(const void *a, const void *b)
{
    const step_time *x = a, *y = b;
    int c = strcmp(x->info.op, y->info.op);

    return c ? c : strcmp(x->info.kernel, y->info.kernel);
}

/* Steps joined by (op, kernel), slowest first; n_runs then counts the steps of a run. Returns how many. */
static int32_t join_by_kernel(const bench *b, step_time *out)
{
    int32_t n = 0;

    if (b->n_steps == 0) return 0;
    memcpy(out, b->steps, (size_t)b->n_steps * sizeof *out);
    qsort(out, (size_t)b->n_steps, sizeof *out, by_kernel);
    for (int32_t i = 0; i < b->n_steps; i++) {
        step_time s = out[i];

        s.n_runs = 1;
        if (n > 0 && by_kernel(&out[n - 1], &s) == 0) {
            out[n - 1].ns += s.ns;
            out[n - 1].n_runs++;
        } else {
            out[n++] = s;
        }
    }
    qsort(out, (size_t)n, sizeof *out, slower_first);
    return n;
}

/* -- reporting ------------------------------------------------------------------------------------------------------------ */

static double per_run_ms(const bench *b, const step_time *s) { return (double)s->ns * 1e-6 / (double)(b->n_runs ? b->n_runs : 1); }

static json_t *json_profile(const bench *b, const step_time *kernels, int32_t n_kernels)
{
    json_t *steps = json_array(), *joined = json_array();

    for (int32_t i = 0; i < b->n_steps; i++) {
        const step_time *s = &b->steps[i];

        json_array_append_new(steps, json_pack("{s:s, s:s, s:s, s:f}", "node", s->info.node, "op", s->info.op, "kernel", s->info.kernel,
                                               "ms", per_run_ms(b, s)));
    }
    for (int32_t i = 0; i < n_kernels; i++)
        json_array_append_new(joined, json_pack("{s:s, s:s, s:I, s:f}", "op", kernels[i].info.op, "kernel", kernels[i].info.kernel, "steps",
                                                (json_int_t)kernels[i].n_runs, "ms", per_run_ms(b, &kernels[i])));
    return json_pack("{s:o, s:o}", "by_kernel", joined, "by_node", steps);
}

static int report_json(const bench *b, double median, const step_time *kernels, int32_t n_kernels)
{
    json_t *j = json_pack("{s:s, s:s, s:i, s:I, s:I, s:f, s:f, s:f, s:I}", "model", b->o->model, "isa", qn_cpu_name(b->o->cpu), "threads",
                          b->o->threads, "batch", (json_int_t)b->o->batch, "runs", (json_int_t)b->n_runs, "median_ms", median, "min_ms",
                          b->ms[0], "max_ms", b->ms[b->n_runs - 1], "session_bytes", (json_int_t)qn_session_bytes(b->session));

    if (j && b->o->profile) json_object_set_new(j, "profile", json_profile(b, kernels, n_kernels));
    if (!j || json_dumpf(j, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0) {
        json_decref(j);
        fprintf(stderr, "quern bench: the report cannot be written\n");
        return QN_EXIT_ERROR;
    }
    putchar('\n');
    json_decref(j);
    return QN_EXIT_OK;
}

static void report_text(const bench *b, double median, const step_time *kernels, int32_t n_kernels)
{
    printf("median %.4f ms, min %.4f ms, max %.4f ms over %" PRId64 " runs (%s, threads %d, batch %" PRId64 ")\n", median, b->ms[0],
           b->ms[b->n_runs - 1], b->n_runs, qn_cpu_name(b->o->cpu), b->o->threads, b->o->batch);
    if (!b->o->profile) return;
    printf("\n%12s %6s  %-24s %s\n", "ms a run", "steps", "op", "kernel");
    for (int32_t i = 0; i < n_kernels; i++)
        printf("%12.4f %6" PRId64 "  %-24s %s\n", per_run_ms(b, &kernels[i]), kernels[i].n_runs, kernels[i].info.op,
               kernels[i].info.kernel);
    printf("\n%12s  %-24s %-24s %s\n", "ms a run", "op", "kernel", "node");
    for (int32_t i = 0; i < b->n_steps; i++)
        printf("%12.4f  %-24s %-24s %s\n", per_run_ms(b, &b->steps[i]), b->steps[i].info.op, b->steps[i].info.kernel,
               b->steps[i].info.node);
}

static int report(bench *b)
{
    step_time *kernels = calloc((size_t)b->n_steps + 1, sizeof *kernels);
    int32_t n_kernels;
    double median;
    int code = QN_EXIT_OK;

    if (!kernels) {
        fprintf(stderr, "quern bench: out of memory\n");
        return QN_EXIT_ERROR;
    }
    for (int32_t i = 0; i < b->n_steps; i++) qn_session_step(b->session, i, &b->steps[i].info);
    n_kernels = join_by_kernel(b, kernels);
    qsort(b->ms, (size_t)b->n_runs, sizeof *b->ms, by_value);
    median = b->n_runs % 2 ? b->ms[b->n_runs / 2] : (b->ms[b->n_runs / 2 - 1] + b->ms[b->n_runs / 2]) / 2;
    if (b->n_steps) qsort(b->steps, (size_t)b->n_steps, sizeof *b->steps, slower_first);
    if (b->o->json)
        code = report_json(b, median, kernels, n_kernels);
    else
        report_text(b, median, kernels, n_kernels);
    free(kernels);
    return code;
}

/* -- the command ---------------------------------------------------------------------------------------------------------- */

static int measure(bench *b)
{
    qn_error err = { 0 };
    qn_status st = QN_OK;
    qn_model_stats stats;

    if (b->o->threads > 1) st = qn_team_create(b->o->threads, &b->team, &err);
    if (st == QN_OK) st = qn_session_create(b->model, b->team, &b->session, &err);
    if (st == QN_OK) st = run_for(b, b->o->seconds * WARM_UP, &err);
    if (st == QN_OK) {
        qn_model_get_stats(b->model, &stats);
        b->cap_steps = (int32_t)(stats.n_nodes_lowered < INT32_MAX ? stats.n_nodes_lowered : INT32_MAX);
        b->steps = calloc((size_t)b->cap_steps + 1, sizeof *b->steps);
        b->cap_runs = MAX_RUNS;
        b->ms = calloc((size_t)b->cap_runs, sizeof *b->ms);
        if (!b->steps || !b->ms) st = qn_error_set(&err, QN_ERR_NOMEM, "times");
    }
    b->measuring = true;
    if (st == QN_OK) st = run_for(b, b->o->seconds, &err);
    return st == QN_OK ? report(b) : qn_cli_fail(b->o, b->o->model, &err);
}

static int bench_model(const qn_cli_options *o, qn_model *m)
{
    bench b = { .o = o, .model = m };
    int code = QN_EXIT_ERROR;

    b.inputs = calloc((size_t)qn_model_n_inputs(m) + 1, sizeof *b.inputs);
    b.outputs = calloc((size_t)qn_model_n_outputs(m) + 1, sizeof *b.outputs);
    if (b.inputs && b.outputs)
        code = make_inputs(&b);
    else
        fprintf(stderr, "quern bench: out of memory\n");
    if (code == QN_EXIT_OK) code = measure(&b);
    qn_session_destroy(b.session);
    qn_team_destroy(b.team);
    for (int32_t i = 0; b.inputs && i < qn_model_n_inputs(m); i++) qn_tensor_free(&b.inputs[i]);
    free(b.inputs);
    free(b.outputs);
    free(b.steps);
    free(b.ms);
    return code;
}

int qn_cli_bench(int argc, char **argv)
{
    qn_cli_options o;
    qn_model *m;
    int code = QN_EXIT_USAGE;

    if (qn_cli_parse(argc, argv, QN_CLI_SHAPE | QN_CLI_BATCH | QN_CLI_THREADS | QN_CLI_ISA | QN_CLI_SECONDS | QN_CLI_PROFILE | QN_CLI_JSON,
                     usage, &o)) {
        m = qn_cli_model(&o, &code);
        if (m) code = bench_model(&o, m);
        qn_model_unref(m);
    }
    qn_cli_release(&o);
    return code;
}
