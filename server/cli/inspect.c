/* server/cli/inspect.c - quern inspect: what a file holds, what it costs, and which kernel runs what. */
#include "server/cli/cli.h"
#include "server/cli/options.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: quern inspect MODEL.onnx [--json] [--isa scalar|avx2|avx512|vnni]\n";

/* What is reported, gathered once for both forms. */
typedef struct report {
    const qn_model *model;
    qn_model_stats stats;
    qn_op_count *ops;
    int32_t n_ops;
    qn_step_info *steps; /* NULL: the model cannot be planned without a request */
    int32_t n_steps;
    qn_certificate certificate; /* of one run; with the steps */
    qn_error why_no_steps;
} report;

/* -- JSON ----------------------------------------------------------------------------------------------------------------- */

static json_t *json_port(const qn_port *p)
{
    json_t *dims = p->rank < 0 ? json_null() : json_array();

    for (int32_t d = 0; d < p->rank; d++) {
        if (p->dims[d] >= 0)
            json_array_append_new(dims, json_integer(p->dims[d]));
        else if (p->symbols[d])
            json_array_append_new(dims, json_string(p->symbols[d]));
        else
            json_array_append_new(dims, json_null());
    }
    return json_pack("{s:s, s:s, s:o, s:b}", "name", p->name, "dtype", qn_dtype_name(p->dtype), "shape", dims, "optional",
                     (int)p->optional);
}

static json_t *json_steps(const report *r)
{
    json_t *a = json_array();

    for (int32_t i = 0; i < r->n_steps; i++) {
        const qn_step_info *s = &r->steps[i];

        json_array_append_new(a, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "node", s->node, "op", s->op, "kernel", s->kernel, "why",
                                           s->why, "parameters", (json_int_t)s->n_params, "weight_bytes", (json_int_t)s->weight_bytes,
                                           "multiply_adds", (json_int_t)s->macs));
    }
    return a;
}

/* What the declared shapes take, free dimensions set to 1. */
static json_t *json_certificate(const report *r)
{
    const qn_certificate *c = &r->certificate;

    return json_pack("{s:I, s:I, s:i}", "multiply_adds", (json_int_t)c->macs, "arena_bytes", (json_int_t)c->arena_bytes, "steps_metered",
                     (int)c->n_dynamic);
}

static json_t *json_report(const qn_cli_options *o, const report *r)
{
    json_t *inputs = json_array(), *outputs = json_array(), *ops = json_object();
    const qn_model_stats *s = &r->stats;

    for (int32_t i = 0; i < qn_model_n_inputs(r->model); i++) json_array_append_new(inputs, json_port(qn_model_input(r->model, i)));
    for (int32_t i = 0; i < qn_model_n_outputs(r->model); i++) json_array_append_new(outputs, json_port(qn_model_output(r->model, i)));
    for (int32_t i = 0; i < r->n_ops; i++) json_object_set_new(ops, r->ops[i].op, json_integer(r->ops[i].n_nodes));
    return json_pack("{s:s, s:s, s:I, s:s, s:b, s:o, s:o, s:o, s:I, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I}, s:o, s:o, s:s}", "model",
                     o->model, "sha256", qn_model_digest(r->model), "opset", (json_int_t)s->opset, "isa", qn_cpu_name(o->cpu),
                     "rows_independent", (int)qn_model_rows_independent(r->model), "inputs", inputs, "outputs", outputs, "ops", ops,
                     "parameters", (json_int_t)s->n_params, "nodes", "file", (json_int_t)s->n_nodes_import, "canonical",
                     (json_int_t)s->n_nodes_canonical, "lowered", (json_int_t)s->n_nodes_lowered, "bytes", "file",
                     (json_int_t)s->file_bytes, "weights_as_written", (json_int_t)s->import_bytes, "weights_as_held",
                     (json_int_t)s->held_bytes, "run", r->steps ? json_certificate(r) : json_null(), "steps",
                     r->steps ? json_steps(r) : json_null(), "why_no_steps", r->steps ? "" : r->why_no_steps.message);
}

static int print_json(const qn_cli_options *o, const report *r)
{
    json_t *j = json_report(o, r);
    bool ok = j && json_dumpf(j, stdout, JSON_INDENT(2)) == 0;

    json_decref(j);
    if (ok)
        putchar('\n');
    else
        fprintf(stderr, "quern inspect: the report cannot be written (a name that is not UTF-8, or no memory)\n");
    return ok ? QN_EXIT_OK : QN_EXIT_ERROR;
}

/* -- text ----------------------------------------------------------------------------------------------------------------- */

static void print_port(const char *what, const qn_port *p)
{
    printf("%-8s %s  %s ", what, p->name, qn_dtype_name(p->dtype));
    if (p->rank < 0)
        printf("of unknown rank");
    else
        putchar('[');
    for (int32_t d = 0; d < p->rank; d++) {
        if (d) putchar(',');
        if (p->dims[d] >= 0)
            printf("%" PRId64, p->dims[d]);
        else
            printf("%s", p->symbols[d] ? p->symbols[d] : "?");
    }
    printf("%s%s\n", p->rank < 0 ? "" : "]", p->optional ? "  (optional)" : "");
}

static void print_text(const qn_cli_options *o, const report *r)
{
    const qn_model_stats *s = &r->stats;

    printf("model    %s\nsha256   %s\nopset    %" PRId64 "\nrows     %s\n", o->model, qn_model_digest(r->model), s->opset,
           qn_model_rows_independent(r->model) ? "independent: requests may share a batch" : "not proved independent");
    for (int32_t i = 0; i < qn_model_n_inputs(r->model); i++) print_port("input", qn_model_input(r->model, i));
    for (int32_t i = 0; i < qn_model_n_outputs(r->model); i++) print_port("output", qn_model_output(r->model, i));
    printf("nodes    %" PRId64 " in the file, %" PRId64 " canonical, %" PRId64 " lowered\n", s->n_nodes_import, s->n_nodes_canonical,
           s->n_nodes_lowered);
    printf("weights  %" PRId64 " parameters, %" PRIu64 " bytes as written, %" PRIu64 " bytes as held; file %" PRIu64 " bytes\n",
           s->n_params, s->import_bytes, s->held_bytes, s->file_bytes);
    printf("ops     ");
    for (int32_t i = 0; i < r->n_ops; i++) printf(" %s x%" PRId64, r->ops[i].op, r->ops[i].n_nodes);
    if (!r->steps) {
        printf("\nsteps    none without a request: %s\n", r->why_no_steps.message);
        return;
    }
    printf("\nrun      %" PRIu64 " multiply-adds, %" PRIu64 " bytes of working memory; free dimensions 1", r->certificate.macs,
           r->certificate.arena_bytes);
    if (r->certificate.n_dynamic > 0) printf("; %" PRId32 " steps are metered when they run", r->certificate.n_dynamic);
    printf("\n\n%-24s %-24s %12s %15s  %s\n", "op", "kernel", "weight bytes", "multiply-adds", "node");
    for (int32_t i = 0; i < r->n_steps; i++) {
        const qn_step_info *p = &r->steps[i];

        printf("%-24s %-24s %12" PRIu64 " %15" PRIu64 "  %s%s%s\n", p->op, p->kernel, p->weight_bytes, p->macs, p->node,
               p->why[0] ? "   - " : "", p->why);
    }
}

/* -- the command ---------------------------------------------------------------------------------------------------------- */

static int inspect(const qn_cli_options *o, qn_model *m)
{
    report r = { .model = m };
    qn_error err = { 0 };
    int code = QN_EXIT_OK;

    if (qn_model_certify(m, 1, &r.certificate, &r.why_no_steps) == QN_OK)
        qn_model_steps(m, 1, &r.steps, &r.n_steps, &r.why_no_steps); /* a model that needs a request has none: said, not fatal */
    if (qn_model_op_counts(m, &r.ops, &r.n_ops, &err) != QN_OK) {
        code = qn_cli_fail(o, o->model, &err);
    } else {
        qn_model_get_stats(m, &r.stats);
        if (o->json)
            code = print_json(o, &r);
        else
            print_text(o, &r);
    }
    free(r.ops);
    free(r.steps);
    return code;
}

int qn_cli_inspect(int argc, char **argv)
{
    qn_cli_options o;
    qn_model *m;
    int code = QN_EXIT_USAGE;

    if (qn_cli_parse(argc, argv, QN_CLI_JSON | QN_CLI_ISA, usage, &o)) {
        m = qn_cli_model(&o, &code);
        if (m) code = inspect(&o, m);
        qn_model_unref(m);
    }
    qn_cli_release(&o);
    return code;
}
