/* server/cli/load.c - quern load URL: requests at a rate, or as fast as connections take them, and how long the answers took. */
#include "server/cli/load.h"

#include "server/cli/cli.h"
#include "server/cli/options.h"

#include "quern/tensor.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MAX_BODY    ((size_t)1 << 30)
#define MAX_HEADERS 32
#define MAX_INPUTS  64

static const char usage[] =
    "usage: quern load URL [--rate R [--arrivals poisson|fixed]] [--connections N] [--seconds S] [--warmup S] [--timeout MS]\n"
    "                  [--method M] [--body FILE] [--header 'NAME: VALUE'] ... [--input NAME=FILE.npy] ... [--seed N] [--json FILE]\n"
    "       With --rate requests are sent by the clock and latency counts from when each was due; without, every connection asks again at\n"
    "       once. --input makes the body of a v2 request, with binary tensors; URL is then .../v2/models/NAME/infer.\n";

typedef struct args {
    const char *url, *method, *body, *json, *arrivals;
    const char *headers[MAX_HEADERS], *inputs[MAX_INPUTS];
    int n_headers, n_inputs;
    double rate, seconds, warmup, timeout_ms, connections, seed;
} args;

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "quern load: %s: %s\n", what, why);
    return QN_EXIT_ERROR;
}

/* -- options -------------------------------------------------------------------------------------------------------------- */

static bool number(const char *text, double lo, double hi, double *out)
{
    char *end = NULL;

    errno = 0;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && errno == 0 && *out >= lo && *out <= hi;
}

static bool take_option(args *a, const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **out;
    } texts[] = { { "--method", &a->method }, { "--body", &a->body }, { "--json", &a->json }, { "--arrivals", &a->arrivals } };
    const struct {
        const char *name;
        double *out, lo, hi;
    } numbers[] = { { "--rate", &a->rate, 1e-3, 1e7 },
                    { "--seconds", &a->seconds, 0.01, 1e6 },
                    { "--warmup", &a->warmup, 0, 1e6 },
                    { "--timeout", &a->timeout_ms, 1, 1e8 },
                    { "--connections", &a->connections, 1, 65536 },
                    { "--seed", &a->seed, 0, 9007199254740992.0 } };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(name, texts[i].name) != 0) continue;
        *texts[i].out = value;
        return true;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(name, numbers[i].name) == 0) return number(value, numbers[i].lo, numbers[i].hi, numbers[i].out);
    if (strcmp(name, "--header") == 0 && a->n_headers < MAX_HEADERS && !strpbrk(value, "\r\n") && strchr(value, ':')) {
        a->headers[a->n_headers++] = value;
        return true;
    }
    if (strcmp(name, "--input") == 0 && a->n_inputs < MAX_INPUTS && strchr(value, '=')) {
        a->inputs[a->n_inputs++] = value;
        return true;
    }
    return false;
}

static bool parse(int argc, char **argv, args *a)
{
    *a = (args){ .seconds = 10, .warmup = 1, .timeout_ms = 10000, .connections = 64, .arrivals = "poisson" };
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' && !a->url) {
            a->url = argv[i];
        } else if (i + 1 >= argc || !take_option(a, argv[i], argv[i + 1])) {
            fprintf(stderr, "quern load: '%s': not an option, or its value is missing or out of range\n%s", argv[i], usage);
            return false;
        } else {
            i++;
        }
    }
    if (!a->url || (strcmp(a->arrivals, "poisson") != 0 && strcmp(a->arrivals, "fixed") != 0) || (a->body && a->n_inputs)) {
        fputs(usage, stderr);
        return false;
    }
    if (!a->method) a->method = a->body || a->n_inputs ? "POST" : "GET";
    return true;
}

/* -- the request ---------------------------------------------------------------------------------------------------------- */

/* http://HOST[:PORT][/PATH]; host as it stands in the URL, brackets and all. */
static bool split_url(const char *url, char *host, size_t host_cap, char *port, size_t port_cap, const char **path)
{
    const char *s = url, *end, *colon = NULL;

    if (strncasecmp(s, "http://", 7) != 0) return false;
    s += 7;
    end = s + strcspn(s, "/?#");
    for (const char *p = s; p < end; p++)
        if (*p == ':' && (s[0] != '[' || (p > s && p[-1] == ']'))) colon = p;
    *path = *end == '/' ? end : "/";
    if ((size_t)((colon ? colon : end) - s) >= host_cap || (colon && (size_t)(end - colon - 1) >= port_cap) || s == end ||
        strpbrk(url, " \r\n"))
        return false;
    snprintf(host, host_cap, "%.*s", (int)((colon ? colon : end) - s), s);
    snprintf(port, port_cap, "%.*s", colon ? (int)(end - colon - 1) : 2, colon ? colon + 1 : "80");
    return true;
}

static int resolve(const char *host, const char *port, qn_load_plan *plan)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG }, *found = NULL;
    char bare[256];
    size_t n = strlen(host);
    int rc;

    snprintf(bare, sizeof bare, "%s", host[0] == '[' ? host + 1 : host);
    if (host[0] == '[' && n > 2) bare[n - 2] = '\0';
    rc = getaddrinfo(bare, port, &hints, &found);
    if (rc != 0 || found->ai_addrlen > sizeof plan->address) return complain(host, rc ? gai_strerror(rc) : "an address of unknown size");
    memcpy(&plan->address, found->ai_addr, found->ai_addrlen);
    plan->address_len = found->ai_addrlen;
    freeaddrinfo(found);
    return QN_EXIT_OK;
}

static int read_body(const char *path, qn_buf *out)
{
    FILE *f = fopen(path, "rb");
    char piece[8192];
    size_t n;

    if (!f) return complain(path, strerror(errno));
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        if (!qn_buf_append(out, piece, n)) break;
    n = (size_t)ferror(f);
    fclose(f);
    return n ? complain(path, "cannot be read") : out->failed ? complain(path, "larger than 1 GiB, or no memory") : QN_EXIT_OK;
}

/* One input of the JSON part; its bytes follow it. */
static int describe_input(const char *pair, qn_tensor *t, json_t *inputs)
{
    const char *eq = strchr(pair, '=');
    json_t *shape = json_array();
    qn_error err = { 0 };

    if (qn_npy_read(eq + 1, MAX_BODY, t, &err) != QN_OK) {
        json_decref(shape);
        return complain(eq + 1, err.message);
    }
    for (int32_t d = 0; d < t->rank; d++) json_array_append_new(shape, json_integer(t->dims[d]));
    if (t->dtype == QN_STRING || json_array_append_new(inputs, json_pack("{s:s%, s:s, s:o, s:{s:I}}", "name", pair, (size_t)(eq - pair),
                                                                         "datatype", qn_dtype_oip_name(t->dtype), "shape", shape,
                                                                         "parameters", "binary_data_size", (json_int_t)t->bytes)) != 0)
        return complain(pair, "strings and names that are not UTF-8 cannot be sent");
    return QN_EXIT_OK;
}

/* A v2 body: JSON, then the tensors; *json_len gets the length of the JSON. */
static int build_body(const args *a, qn_buf *out, size_t *json_len)
{
    qn_tensor tensors[MAX_INPUTS] = { 0 };
    json_t *inputs = json_array(), *doc = json_pack("{s:O, s:{s:b}}", "inputs", inputs, "parameters", "binary_data_output", 1);
    int code = inputs && doc ? QN_EXIT_OK : complain("--input", "no memory");
    char *text;

    for (int i = 0; i < a->n_inputs && code == QN_EXIT_OK; i++) code = describe_input(a->inputs[i], &tensors[i], inputs);
    text = code == QN_EXIT_OK ? json_dumps(doc, JSON_COMPACT) : NULL;
    if (text) {
        *json_len = strlen(text);
        qn_buf_puts(out, text);
        for (int i = 0; i < a->n_inputs; i++) qn_buf_append(out, tensors[i].data, tensors[i].bytes);
    }
    if (code == QN_EXIT_OK && (!text || out->failed)) code = complain("--input", "no memory");
    free(text);
    for (int i = 0; i < a->n_inputs; i++) qn_tensor_free(&tensors[i]);
    json_decref(inputs);
    json_decref(doc);
    return code;
}

static bool has_header(const args *a, const char *name)
{
    size_t n = strlen(name);

    for (int i = 0; i < a->n_headers; i++)
        if (strncasecmp(a->headers[i], name, n) == 0 && a->headers[i][n] == ':') return true;
    return false;
}

static int build_request(const args *a, const char *host, const char *port, const char *path, qn_buf *out)
{
    qn_buf body;
    size_t json_len = 0;
    int code = QN_EXIT_OK;

    qn_buf_init(&body, MAX_BODY);
    if (a->body) code = read_body(a->body, &body);
    if (a->n_inputs) code = build_body(a, &body, &json_len);
    if (code == QN_EXIT_OK) {
        qn_buf_printf(out, "%s %s HTTP/1.1\r\nHost: %s%s%s\r\nUser-Agent: quern-load\r\n", a->method, path, host,
                      strcmp(port, "80") ? ":" : "", strcmp(port, "80") ? port : "");
        for (int i = 0; i < a->n_headers; i++) qn_buf_printf(out, "%s\r\n", a->headers[i]);
        if (a->n_inputs) qn_buf_printf(out, "Inference-Header-Content-Length: %zu\r\nContent-Type: application/octet-stream\r\n", json_len);
        if (a->body && !has_header(a, "Content-Type")) qn_buf_puts(out, "Content-Type: application/json\r\n");
        if (body.len || strcmp(a->method, "POST") == 0 || strcmp(a->method, "PUT") == 0)
            qn_buf_printf(out, "Content-Length: %zu\r\n", body.len);
        qn_buf_puts(out, "\r\n");
        if (body.len) qn_buf_append(out, body.data, body.len);
        if (out->failed) code = complain("the request", "no memory");
    }
    qn_buf_release(&body);
    return code;
}

/* -- the report ----------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint32_t ppm;
} shown[] = { { "p50", 500000 }, { "p90", 900000 }, { "p99", 990000 }, { "p99_9", 999000 } };

static json_t *json_times(const qn_histogram *h)
{
    json_t *j = json_object();

    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
        json_object_set_new(j, shown[i].name, json_real((double)qn_histogram_percentile(h, shown[i].ppm) * 1e-6));
    json_object_set_new(j, "mean", json_real(qn_histogram_mean(h) * 1e-6));
    json_object_set_new(j, "max", json_real((double)h->max * 1e-6));
    return j;
}

/* Answers that said "not now". */
static json_t *json_refused(const qn_load_result *r)
{
    return json_pack("{s:I, s:I, s:o}", "count", (json_int_t)r->refused.n, "retry_after", (json_int_t)r->n_told_when, "service_ms",
                     json_times(&r->refused));
}

static uint64_t good_answers(const qn_load_result *r)
{
    uint64_t n = 0;

    for (int s = 200; s < 400; s++) n += r->status[s];
    return n;
}

static json_t *json_report(const args *a, const qn_load_result *r)
{
    json_t *status = json_object();
    const double seconds = (double)r->measured_ns * 1e-9;

    for (int s = 100; s < 600; s++) {
        char code[8];

        if (!r->status[s]) continue;
        snprintf(code, sizeof code, "%d", s);
        json_object_set_new(status, code, json_integer((json_int_t)r->status[s]));
    }
    return json_pack(
        "{s:s, s:s, s:f, s:i, s:f, s:I, s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:o, s:o, s:{s:I, s:I, s:I, s:I, s:I}, s:I, s:I, s:I, s:I}",
        "url", a->url, "loop", a->rate > 0 ? "open" : "closed", "rate", a->rate, "connections", (int)a->connections, "seconds", seconds,
        "due", (json_int_t)r->n_due, "answered", (json_int_t)r->n_answered, "good", (json_int_t)good_answers(r), "answered_per_s",
        (double)r->n_answered / seconds, "good_per_s", (double)good_answers(r) / seconds, "latency_ms", json_times(&r->latency),
        "service_ms", json_times(&r->service), "good_latency_ms", json_times(&r->good), "refused", json_refused(r), "status", status,
        "errors", "connect", (json_int_t)r->connect_errors, "timeout", (json_int_t)r->timeouts, "cut_short", (json_int_t)r->cut_short,
        "malformed", (json_int_t)r->malformed, "not_sent", (json_int_t)r->not_sent, "reconnects", (json_int_t)r->reconnects, "bytes_in",
        (json_int_t)r->bytes_in, "bytes_out", (json_int_t)r->bytes_out, "most_waiting", (json_int_t)r->most_waiting);
}

static void report_text(const args *a, const qn_load_result *r)
{
    const double seconds = (double)r->measured_ns * 1e-9;

    printf("%.0f answered/s, %.0f of them good; %" PRIu64 " due, %" PRIu64 " answered in %.1f s over %d connections\n",
           (double)r->n_arrived / seconds, (double)r->n_arrived_good / seconds, r->n_due, r->n_answered, seconds, (int)a->connections);
    printf("latency ms, from when a request was %s:", a->rate > 0 ? "due" : "sent");
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
        printf("  %s %.3f", shown[i].name, (double)qn_histogram_percentile(&r->latency, shown[i].ppm) * 1e-6);
    printf("  max %.3f\n", (double)r->latency.max * 1e-6);
    if (r->refused.n > 0)
        printf("refused: %" PRIu64 ", %" PRIu64 " with Retry-After, in p50 %.3f p99 %.3f ms; good answers p50 %.3f p99 %.3f ms\n",
               r->refused.n, r->n_told_when, (double)qn_histogram_percentile(&r->refused, 500000) * 1e-6,
               (double)qn_histogram_percentile(&r->refused, 990000) * 1e-6, (double)qn_histogram_percentile(&r->good, 500000) * 1e-6,
               (double)qn_histogram_percentile(&r->good, 990000) * 1e-6);
    for (int s = 100; s < 600; s++)
        if (r->status[s] && s != 200) printf("status %d: %" PRIu64 "\n", s, r->status[s]);
    if (r->connect_errors + r->timeouts + r->cut_short + r->malformed + r->not_sent)
        printf("errors: %" PRIu64 " connect, %" PRIu64 " timeout, %" PRIu64 " cut short, %" PRIu64 " malformed, %" PRIu64 " never sent\n",
               r->connect_errors, r->timeouts, r->cut_short, r->malformed, r->not_sent);
}

static int report(const args *a, const qn_load_result *r)
{
    json_t *j;
    int rc = 0;

    if (!a->json || strcmp(a->json, "-") != 0) report_text(a, r);
    if (!a->json) return QN_EXIT_OK;
    j = json_report(a, r);
    if (!j) return complain("--json", "no memory");
    rc = strcmp(a->json, "-") == 0 ? json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9))
                                   : json_dump_file(j, a->json, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    if (rc == 0 && strcmp(a->json, "-") == 0) putchar('\n');
    json_decref(j);
    return rc == 0 ? QN_EXIT_OK : complain(a->json, "cannot be written");
}

int qn_cli_load(int argc, char **argv)
{
    static qn_load_result result; /* four histograms of 58 KiB: too large for a frame */
    char host[256], port[16];
    const char *path;
    args a;
    qn_buf request;
    qn_error err = { 0 };
    qn_load_plan plan;
    int code;

    if (!parse(argc, argv, &a)) return QN_EXIT_USAGE;
    if (!split_url(a.url, host, sizeof host, port, sizeof port, &path)) return complain(a.url, "http://HOST[:PORT]/PATH expected");
    plan = (qn_load_plan){ .is_head = strcmp(a.method, "HEAD") == 0,
                           .n_connections = (int)a.connections,
                           .rate = a.rate,
                           .poisson = strcmp(a.arrivals, "poisson") == 0,
                           .seed = (uint64_t)a.seed,
                           .warmup_ns = (uint64_t)(a.warmup * 1e9),
                           .length_ns = (uint64_t)(a.seconds * 1e9),
                           .timeout_ns = (uint64_t)(a.timeout_ms * 1e6),
                           .progress = isatty(STDERR_FILENO) == 1 };
    qn_buf_init(&request, 0);
    code = resolve(host, port, &plan);
    if (code == QN_EXIT_OK) code = build_request(&a, host, port, path, &request);
    plan.request = request.data;
    plan.request_len = request.len;
    if (code == QN_EXIT_OK && qn_load_run(&plan, &result, &err) != QN_OK) code = complain(a.url, err.message);
    if (code == QN_EXIT_OK) code = report(&a, &result);
    qn_buf_release(&request);
    return code;
}
