/* server/main.c - the quern command: serve, and the commands that work without a server (server/cli).
 *
 * serve: configuration -> (OpenBLAS) -> socket -> store, registry, batcher -> HTTP -> first reading of the folder -> signals.
 *   STARTING --[first reload done]--> SERVING --[SIGTERM, SIGINT]--> DRAINING --[nothing in flight, or drain_timeout]--> CLOSED --> exit 0
 *   STARTING  answers already: live 200, ready 503; on a socket that was handed over, connections wait in its queue instead
 *   DRAINING  ready 503, no new connections, replies say Connection: close, requests in flight finish
 *   CLOSED    every request is 503; what still runs is cancelled; a second SIGTERM comes here at once
 * Signals are blocked in every thread and taken by main() with sigtimedwait(). */
#include "quern/blas.h"
#include "server/cli/cli.h"
#include "server/http/tls.h"
#include "server/metrics/notify.h"
#include "server/routes/routes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long cancelled work may take to notice, after which the process ends anyway. */
#define CANCEL_GRACE_US 10000000u

static const char usage[] =
    "usage: quern serve [--config FILE] [--model-dir DIR] [--listen ADDR:PORT] [--check-config]\n"
    "       quern run MODEL.onnx --input NAME=FILE.npy ... --output-dir DIR [--threads N] [--isa NAME] [--all-values]\n"
    "       quern inspect MODEL.onnx [--json]\n"
    "       quern bench MODEL.onnx [--shape NAME=1x3x224x224] [--batch N] [--threads N] [--seconds S] [--profile] [--json]\n"
    "       quern load URL [--rate R] [--connections N] [--seconds S] [--body FILE] [--input NAME=FILE.npy] [--json FILE] ...\n"
    "       quern key new --id ID --scopes infer[,train][,admin] [--rate N[/BURST]] [--expires YYYY-MM-DD]\n"
    "       quern --version\n"
    "       quern help\n";

typedef struct serve_args {
    const char *config, *model_dir, *listen;
    bool check_config;
} serve_args;

typedef struct daemon_state {
    qn_config config;
    qn_log log;
    qn_app app;
    unsigned cpu;
    int models_fd, listen_fd, health_fd;
    qn_http *health; /* the second listener, or NULL */
    bool listener_shared;
    qn_watchdog *watchdog;
    atomic_bool announced;                 /* READY=1 was sent */
    atomic_uint_fast64_t batches;          /* finished runs, for the watchdog */
    uint64_t seen_batches, stuck_since_us; /* the watchdog's */
} daemon_state;

/* -- arguments ---------------------------------------------------------------------------------------------------------------- */

/* "--name VALUE" or "--name=VALUE" at argv[*i]. */
static bool take_option(int argc, char **argv, int *i, const char *name, const char **value)
{
    size_t n = strlen(name);

    if (strncmp(argv[*i], name, n) != 0) return false;
    if (argv[*i][n] == '=') {
        *value = argv[*i] + n + 1;
        return true;
    }
    if (argv[*i][n] != '\0' || *i + 1 >= argc) return false;
    *value = argv[++*i];
    return true;
}

static bool parse_serve_args(int argc, char **argv, serve_args *out)
{
    *out = (serve_args){ 0 };
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--check-config") == 0) {
            out->check_config = true;
        } else if (!take_option(argc, argv, &i, "--config", &out->config) && !take_option(argc, argv, &i, "--model-dir", &out->model_dir) &&
                   !take_option(argc, argv, &i, "--listen", &out->listen)) {
            fprintf(stderr, "quern serve: '%s' is not an option, or lacks its value\n%s", argv[i], usage);
            return false;
        }
    }
    return true;
}

static qn_status override(qn_config *config, const char *key, const char *value, qn_error *err)
{
    if (!value) return QN_OK;
    for (size_t i = 0; i < qn_config_n_settings; i++) {
        if (strcmp(qn_config_settings[i].key, key) == 0) return qn_setting_parse(&qn_config_settings[i], value, config, err);
    }
    return qn_error_set(err, QN_ERR_INTERNAL, "no setting %s", key);
}

static qn_status read_config(const serve_args *args, qn_config *config, qn_error *err)
{
    qn_status st = QN_OK;

    if (args->config)
        st = qn_config_read(args->config, config, err);
    else
        qn_config_init(config);
    if (st == QN_OK) st = override(config, "server.listen", args->listen, err);
    if (st == QN_OK) st = override(config, "models.dir", args->model_dir, err);
    if (st == QN_OK) st = qn_http_check_address(config->listen, config->keys_file[0] != '\0', err);
    if (st == QN_OK && config->health_listen[0]) {
        st = qn_http_check_address(config->health_listen, config->keys_file[0] != '\0', err);
        if (st != QN_OK) qn_error_prefix(err, "server.health_listen");
    }
    if (st == QN_OK && !config->tls_certificate_file[0] != !config->tls_key_file[0])
        st = qn_error_set(err, QN_ERR_INVALID, "security.tls_certificate_file and security.tls_key_file: both or neither expected");
    return st;
}

/* -- pieces of the start -------------------------------------------------------------------------------------------------------- */

static int n_cpus(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return n < 1 ? 1 : n > 256 ? 256 : n;
}

static qn_status choose_cpu(const qn_config *config, unsigned *cpu, qn_error *err)
{
    if (config->isa == 0) {
        *cpu = qn_cpu_detect();
        return QN_OK;
    }
    return qn_cpu_from_name(qn_config_isa(config), cpu, err);
}

static void raise_file_limit(const daemon_state *d)
{
    struct rlimit limit;
    rlim_t want = (rlim_t)(d->config.max_connections + d->config.max_connections / 8 + 32 + 512);

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want) return;
    limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < want)
        qn_logf(&d->log, QN_LOG_WARN, "server.max_connections is %" PRId64 ", but only %" PRIu64 " files may be open",
                d->config.max_connections, (uint64_t)limit.rlim_cur);
}

/* Does any model in the folder ask for bits: fast? Files that can't be read are reported later, by the registry. */
static bool any_model_is_fast(int models_fd, const qn_model_settings *defaults)
{
    int copy = openat(models_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *e;
    bool fast = false;

    if (!dir) {
        if (copy >= 0) close(copy);
        return false;
    }
    while (!fast && (e = readdir(dir))) {
        qn_model_settings s = *defaults;
        int fd = e->d_name[0] == '.' ? -1 : openat(models_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

        if (fd < 0) continue;
        fast = qn_config_read_model(fd, &s, NULL) == QN_OK && s.bits == QN_BITS_FAST;
        qn_model_settings_release(&s);
        close(fd);
    }
    closedir(dir);
    return fast;
}

/* Writes the environment, so it runs before any thread does. */
static void open_openblas(const daemon_state *d)
{
    qn_model_settings defaults;
    const char *core = NULL;
    qn_error err = { 0 };

    qn_config_model_defaults(&d->config, &defaults);
    if (defaults.bits != QN_BITS_FAST && !any_model_is_fast(d->models_fd, &defaults)) return;
    if (qn_blas_open(d->cpu, &core, &err) == QN_OK)
        qn_logf(&d->log, QN_LOG_INFO, "bits: fast: OpenBLAS runs %s kernels", core);
    else
        qn_logf(&d->log, QN_LOG_WARN, "bits: fast: no OpenBLAS (%s); Quern's own kernels are used", err.message);
}

static qn_status open_socket(daemon_state *d, qn_error *err)
{
    qn_status st = qn_notify_socket(&d->listen_fd, err);

    if (st != QN_OK) return st;
    d->listener_shared = d->listen_fd >= 0;
    return d->listener_shared ? qn_http_adopt(d->listen_fd, d->app.keys != NULL, err)
                              : qn_http_listen(d->config.listen, d->app.keys != NULL, &d->listen_fd, err);
}

/* -- what others tell us --------------------------------------------------------------------------------------------------------- */

static void on_load(void *user, const char *model, int64_t version, qn_status status, const char *message, uint64_t load_us)
{
    daemon_state *d = user;
    qn_log_line line;

    qn_metrics_load(d->app.metrics, status == QN_OK);
    qn_log_begin(&line, &d->log, status == QN_OK ? QN_LOG_INFO : QN_LOG_ERROR, status == QN_OK ? "model loaded" : "model failed to load");
    qn_log_text(&line, "model", model);
    qn_log_number(&line, "version", version);
    qn_log_number(&line, "us", (int64_t)load_us);
    if (status != QN_OK) qn_log_text(&line, "error", message ? message : qn_status_text(status));
    qn_log_end(&line);
}

static void on_evict(void *user, const char *model, uint64_t bytes)
{
    daemon_state *d = user;
    qn_log_line line;

    qn_log_begin(&line, &d->log, QN_LOG_INFO, "model leaves for want of memory");
    qn_log_text(&line, "model", model);
    qn_log_number(&line, "bytes", (int64_t)bytes);
    qn_log_end(&line);
}

static void on_batch(void *user, qn_version *v, int64_t rows, int32_t n_calls, uint64_t run_us, qn_left left)
{
    daemon_state *d = user;

    (void)v;
    (void)n_calls;
    qn_metrics_batch(d->app.metrics, rows, run_us, (int)left);
    atomic_fetch_add_explicit(&d->batches, 1, memory_order_relaxed);
}

/* On the loader's thread: the folder was read, at the start or after SIGHUP. */
static void on_reloaded(void *user, const qn_registry_report *r)
{
    daemon_state *d = user;
    qn_log_line line;

    qn_log_begin(&line, &d->log, r->status == QN_OK ? QN_LOG_INFO : QN_LOG_WARN, "models read");
    qn_log_number(&line, "loaded", r->n_loaded);
    qn_log_number(&line, "failed", r->n_failed);
    qn_log_number(&line, "retired", r->n_retired);
    qn_log_number(&line, "unchanged", r->n_unchanged);
    if (r->status != QN_OK) qn_log_text(&line, "error", r->message ? r->message : qn_status_text(r->status));
    qn_log_end(&line);
    atomic_store(&d->announced, true);
    qn_notify_ready();
}

/* A file that is wrong changes nothing: who could ask before still can. */
static void reload_keys(daemon_state *d)
{
    qn_error err = { 0 };

    if (!d->app.keys) return;
    if (qn_keys_reload(d->app.keys, &err) == QN_OK)
        qn_logf(&d->log, QN_LOG_INFO, "%d keys read", (int)qn_keys_count(d->app.keys));
    else
        qn_logf(&d->log, QN_LOG_ERROR, "the keys stay as they were: %s", err.message);
}

/* The same for the certificate. */
static void reload_tls(daemon_state *d)
{
    qn_error err = { 0 };

    if (!d->app.tls) return;
    if (qn_tls_reload(d->app.tls, &err) == QN_OK)
        qn_logf(&d->log, QN_LOG_INFO, "certificate read, valid for %" PRId64 " days",
                (qn_tls_expires(d->app.tls) - (int64_t)time(NULL)) / 86400);
    else
        qn_logf(&d->log, QN_LOG_ERROR, "the certificate stays as it was: %s", err.message);
}

static qn_status reload(daemon_state *d)
{
    qn_error err = { 0 };
    qn_status st;

    if (atomic_load(&d->announced)) qn_notify_reloading();
    st = qn_registry_submit(d->app.registry, QN_REGISTRY_RELOAD, NULL, on_reloaded, d, &err);
    if (st != QN_OK) {
        qn_logf(&d->log, QN_LOG_ERROR, "cannot read the models: %s", err.message);
        if (atomic_load(&d->announced)) qn_notify_ready();
    }
    return st;
}

/* -- the watchdog's question ------------------------------------------------------------------------------------------------------ */

/* One request to ourselves: an HTTP thread takes it, parses it, answers it. */
static bool http_answers(const daemon_state *d, int timeout_ms)
{
    static const char request[] = "GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    struct sockaddr_storage addr = { 0 };
    socklen_t len = sizeof addr;
    struct timeval t = { .tv_sec = timeout_ms / 1000, .tv_usec = (timeout_ms % 1000) * 1000 };
    char answer[16] = "";
    int fd;
    bool ok;

    if (getsockname(d->listen_fd, (struct sockaddr *)&addr, &len) != 0) return false;
    fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    ok = setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t) == 0 &&
         connect(fd, (struct sockaddr *)&addr, len) == 0;
    if (ok && d->app.tls)
        ok = qn_tls_ask(fd, request, "HTTP/1.1 200");
    else
        ok = ok && send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)(sizeof request - 1) &&
             recv(fd, answer, 12, MSG_WAITALL) == 12 && memcmp(answer, "HTTP/1.1 200", 12) == 0;
    close(fd);
    return ok;
}

static int64_t n_waiting(qn_registry *registry)
{
    qn_entry *e = NULL;
    int32_t n = 0;
    int64_t waiting = 0;

    if (qn_entries(registry, NULL, &e, &n, NULL) != QN_OK) return 0;
    for (int32_t i = 0; i < n; i++) {
        qn_queue_stats s = { 0 };
        qn_version *v = NULL;

        if (e[i].state != QN_VERSION_READY || qn_registry_peek(registry, e[i].model, e[i].version, &v, NULL) != QN_OK) continue;
        qn_queue_get_stats(qn_version_queue(v), &s);
        waiting += s.waiting;
        qn_version_unref(v);
    }
    free(e);
    return waiting;
}

/* Calls wait and no run has finished for longer than any call may wait: then every worker hangs. */
static bool workers_move(daemon_state *d, int timeout_ms)
{
    uint64_t now = qn_now_us(), batches = atomic_load_explicit(&d->batches, memory_order_relaxed);

    if (batches != d->seen_batches || n_waiting(d->app.registry) == 0) {
        d->seen_batches = batches;
        d->stuck_since_us = 0;
        return true;
    }
    if (d->stuck_since_us == 0) d->stuck_since_us = now;
    return now - d->stuck_since_us < ((uint64_t)d->config.request_timeout_ms + (uint64_t)timeout_ms) * 1000;
}

static bool alive(void *user, int timeout_ms)
{
    daemon_state *d = user;

    if (atomic_load(&d->app.draining)) return true; /* bounded by drain_timeout_ms already */
    if (!http_answers(d, timeout_ms < 5000 ? timeout_ms : 5000)) {
        qn_logf(&d->log, QN_LOG_ERROR, "watchdog: no answer to /v2/health/live");
        return atomic_load(&d->app.draining);
    }
    if (workers_move(d, timeout_ms)) return true;
    qn_logf(&d->log, QN_LOG_ERROR, "watchdog: predictions wait and no run finishes");
    return false;
}

/* -- start, wait, stop -------------------------------------------------------------------------------------------------------------- */

static qn_status start_models(daemon_state *d, qn_error *err)
{
    const qn_config *c = &d->config;
    int cpus = n_cpus();
    qn_registry_options r = { .root_fd = d->models_fd,
                              .cpu = d->cpu,
                              .read_settings = qn_config_read_model,
                              .check_answer = qn_known_answer_check,
                              .on_load = on_load,
                              .on_evict = on_evict,
                              .user = d };
    qn_batcher_options b = { .on_batch = on_batch, .user = d };
    qn_status st;

    b.n_workers = c->workers ? (int)c->workers : cpus;
    b.team_size = c->team_threads ? (int)c->team_threads : cpus;
    b.max_bytes = (uint64_t)c->max_inflight_bytes;
    r.n_workers = b.n_workers;
    r.poll_us = (uint64_t)c->poll_ms * 1000;
    r.memory_bytes = (uint64_t)c->memory_bytes;
    r.limits = (qn_limits){ .file_bytes = (uint64_t)c->file_bytes,
                            .weight_bytes = (uint64_t)c->weight_bytes,
                            .arena_bytes = (uint64_t)c->arena_bytes,
                            .run_macs = (uint64_t)c->run_macs,
                            .loop_steps = c->loop_steps };
    qn_config_model_defaults(c, &r.defaults);
    st = qn_store_create(&d->app.store, err);
    r.store = d->app.store;
    if (st == QN_OK) st = qn_registry_create(&r, &d->app.registry, err);
    if (st == QN_OK) st = qn_batcher_create(&b, &d->app.batcher, err);
    return st;
}

static qn_status start_http(daemon_state *d, qn_error *err)
{
    const qn_config *c = &d->config;
    int half = n_cpus() / 2;
    qn_http_options o = {
        .listen_fd = d->listen_fd,
        .listener_shared = d->listener_shared,
        .n_threads = c->http_threads ? (int)c->http_threads
                     : half < 1      ? 1
                     : half > 8      ? 8
                                     : half,
        .max_connections = c->max_connections,
        .max_connections_per_address = c->max_connections_per_address,
        .header_timeout_us = (uint64_t)c->header_timeout_ms * 1000,
        .body_timeout_us = (uint64_t)c->body_timeout_ms * 1000,
        .idle_timeout_us = (uint64_t)c->idle_timeout_ms * 1000,
        .write_timeout_us = (uint64_t)c->write_timeout_ms * 1000,
        .drain_idle_us = (uint64_t)c->drain_idle_ms * 1000,
        .body_min_bytes_per_s = (uint64_t)c->body_min_bytes_per_s,
        .max_inflight_bytes = (uint64_t)c->max_inflight_bytes,
        .tls = d->app.tls != NULL,
        .log = &d->log,
    };
    char shown[80], msg[128];
    qn_log_line line;
    qn_status st;

    qn_routes_app(&d->app, &o.app);
    qn_http_address(d->listen_fd, shown, sizeof shown);
    st = qn_http_start(&o, &d->app.http, err);
    if (st != QN_OK) return st;
    snprintf(msg, sizeof msg, "listening on %s%s", shown, o.tls ? ", TLS" : "");
    qn_log_begin(&line, &d->log, QN_LOG_INFO, msg);
    qn_log_text(&line, "isa", d->app.isa);
    qn_log_number(&line, "http_threads", o.n_threads);
    qn_log_end(&line);
    return QN_OK;
}

/* A thread of its own, so that probes are answered whatever clients do to the others; after the main server, whose numbers it shows. */
static qn_status start_health(daemon_state *d, qn_error *err)
{
    const qn_config *c = &d->config;
    qn_http_options o = {
        .listen_fd = d->health_fd,
        .n_threads = 1,
        .max_connections = 64,
        .header_timeout_us = (uint64_t)c->header_timeout_ms * 1000,
        .body_timeout_us = (uint64_t)c->header_timeout_ms * 1000,
        .idle_timeout_us = (uint64_t)c->idle_timeout_ms * 1000,
        .write_timeout_us = (uint64_t)c->write_timeout_ms * 1000,
        .max_inflight_bytes = 1024 * 1024,
        .stats_of = d->app.http,
        .log = &d->log,
    };
    char shown[80];
    qn_status st;

    qn_routes_health_app(&d->app, &o.app);
    qn_http_address(d->health_fd, shown, sizeof shown);
    st = qn_http_start(&o, &d->health, err);
    if (st == QN_OK) qn_logf(&d->log, QN_LOG_INFO, "health on %s", shown);
    return st;
}

static qn_status start(daemon_state *d, qn_error *err)
{
    qn_status st = choose_cpu(&d->config, &d->cpu, err);

    if (st != QN_OK) return st;
    d->app.isa = qn_cpu_name(d->cpu);
    d->models_fd = open(d->config.models_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->models_fd < 0) return qn_error_set(err, QN_ERR_IO, "models.dir: cannot open the folder: %s", strerror(errno));
    if (d->config.max_inflight_bytes / 4 < d->config.max_body_bytes)
        qn_logf(&d->log, QN_LOG_WARN,
                "server.max_inflight_bytes is below four times server.max_body_bytes: the largest JSON bodies are always 503");
    raise_file_limit(d);
    open_openblas(d);
    if (d->config.keys_file[0]) st = qn_keys_open(d->config.keys_file, &d->app.keys, err);
    if (st == QN_OK && d->config.tls_certificate_file[0])
        st = qn_tls_open(d->config.tls_certificate_file, d->config.tls_key_file, &d->app.tls, err);
    if (st == QN_OK) st = open_socket(d, err);
    if (st == QN_OK && d->config.health_listen[0]) st = qn_http_listen(d->config.health_listen, d->app.keys != NULL, &d->health_fd, err);
    if (st == QN_OK) st = qn_routes_names(&d->app.route_names, err);
    if (st == QN_OK) st = qn_metrics_create(d->app.route_names, qn_n_routes + 1, &d->app.metrics, err);
    return st == QN_OK ? start_models(d, err) : st;
}

/* From here on requests are answered. */
static qn_status open_doors(daemon_state *d, qn_error *err)
{
    qn_status st = start_http(d, err);

    if (st == QN_OK && d->health_fd >= 0) st = start_health(d, err);
    return st == QN_OK ? qn_watchdog_start(alive, d, &d->watchdog, err) : st;
}

static int64_t in_flight(const daemon_state *d)
{
    qn_http_stats s;

    qn_http_get_stats(d->app.http, &s);
    return s.exchanges;
}

/* Nothing is in flight, and nothing more will come: every connection is gone, or had its time to send a last request. */
static bool is_over(const daemon_state *d, uint64_t since_us)
{
    qn_http_stats s;

    qn_http_get_stats(d->app.http, &s);
    return s.exchanges == 0 && (s.connections == 0 || qn_now_us() >= since_us + (uint64_t)d->config.drain_idle_ms * 1000);
}

/* Wait until nothing is in flight. False when the time is over, or a stop signal came again. */
static bool wait_idle(const daemon_state *d, const sigset_t *signals, uint64_t timeout_us)
{
    uint64_t since = qn_now_us(), until = since + timeout_us;

    while (!is_over(d, since)) {
        struct timespec tick = { .tv_nsec = 5000000 };
        int got = sigtimedwait(signals, NULL, &tick);

        if (got == SIGTERM || got == SIGINT || qn_now_us() >= until) return in_flight(d) == 0;
    }
    return true;
}

static void drain(daemon_state *d, const sigset_t *signals)
{
    qn_notify_stopping();
    atomic_store(&d->app.draining, true);
    qn_logf(&d->log, QN_LOG_INFO, "stopping: %" PRId64 " requests in flight", in_flight(d));
    qn_watchdog_stop(d->watchdog);
    d->watchdog = NULL;
    qn_http_drain(d->app.http);
    d->listen_fd = -1;
    if (!wait_idle(d, signals, (uint64_t)d->config.drain_timeout_ms * 1000))
        qn_logf(&d->log, QN_LOG_WARN, "stopping: %" PRId64 " requests are cancelled", in_flight(d));
    atomic_store(&d->app.closed, true);
    qn_http_cancel(d->app.http);
    if (!wait_idle(d, signals, CANCEL_GRACE_US)) {
        /* a suspended connection can't be closed under its worker: end as the process does, not with freed memory in use */
        qn_logf(&d->log, QN_LOG_ERROR, "stopping: work does not end, %" PRId64 " requests are dropped", in_flight(d));
        _exit(1);
    }
}

static void release(daemon_state *d)
{
    qn_watchdog_stop(d->watchdog);
    qn_http_destroy(d->health); /* it answers to the end, and shows the other's numbers */
    qn_http_destroy(d->app.http);
    qn_tls_close(d->app.tls);
    qn_batcher_destroy(d->app.batcher);
    qn_registry_destroy(d->app.registry);
    qn_store_unref(d->app.store);
    qn_keys_close(d->app.keys);
    qn_metrics_destroy(d->app.metrics);
    free(d->app.route_names);
    if (d->listen_fd >= 0) close(d->listen_fd);
    if (d->health_fd >= 0 && !d->health) close(d->health_fd);
    if (d->models_fd >= 0) close(d->models_fd);
}

/* Until SIGTERM or SIGINT. */
static void wait_for_stop(daemon_state *d, const sigset_t *signals)
{
    for (;;) {
        int got = sigwaitinfo(signals, NULL);

        if (got == SIGHUP) reload_keys(d);
        if (got == SIGHUP) reload_tls(d);
        if (got == SIGHUP) (void)reload(d);
        if (got == SIGTERM || got == SIGINT) return;
    }
}

/* Until the folder has been read for the first time. False: asked to stop before. */
static bool wait_for_models(daemon_state *d, const sigset_t *signals)
{
    while (!atomic_load(&d->announced)) {
        struct timespec tick = { .tv_nsec = 2000000 };
        int got = sigtimedwait(signals, NULL, &tick);

        if (got == SIGTERM || got == SIGINT) return false;
    }
    return true;
}

/* A socket of our own answers from the start, so that probes see a live server that is not ready. One that was handed over may have clients
 * of the server before us in its queue: they wait there for the models, instead of being told 503. */
static qn_status begin(daemon_state *d, const sigset_t *signals, bool *stop, qn_error *err)
{
    qn_status st = start(d, err);

    *stop = false;
    if (st == QN_OK && !d->listener_shared) st = open_doors(d, err);
    if (st != QN_OK) return st;
    if (reload(d) != QN_OK) return qn_error_set(err, QN_ERR_NOMEM, "nobody can read the models"); /* and nobody would ever be ready */
    if (!d->listener_shared) return QN_OK;
    *stop = !wait_for_models(d, signals);
    return *stop ? QN_OK : open_doors(d, err);
}

static int check_config(const qn_config *config)
{
    qn_buf out;

    qn_buf_init(&out, 0);
    qn_config_print(config, &out);
    if (qn_buf_cstr(&out)) fputs(out.data, stdout);
    qn_buf_release(&out);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int serve(int argc, char **argv)
{
    static daemon_state d = { .models_fd = -1, .listen_fd = -1, .health_fd = -1 }; /* too large for a frame; one a process */
    serve_args args;
    sigset_t signals;
    qn_error err = { 0 };
    bool stop = false;
    int rc = 1;

    if (!parse_serve_args(argc, argv, &args)) return 2;
    d.log = (qn_log){ .fd = STDERR_FILENO, .level = QN_LOG_INFO };
    if (read_config(&args, &d.config, &err) != QN_OK) {
        fprintf(stderr, "quern serve: %s\n", err.message);
        return 1;
    }
    if (args.check_config) return check_config(&d.config);
    d.log.level = (qn_log_level)d.config.log_level;
    d.log.json = d.config.log_format == 1;
    d.app.config = &d.config;
    d.app.log = &d.log;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL); /* before the first thread, which inherits it */
    if (begin(&d, &signals, &stop, &err) != QN_OK) {
        qn_logf(&d.log, QN_LOG_ERROR, "cannot start: %s", err.message);
    } else {
        if (!stop) wait_for_stop(&d, &signals);
        rc = 0;
    }
    if (d.app.http) drain(&d, &signals);
    release(&d);
    if (rc == 0) qn_logf(&d.log, QN_LOG_INFO, "stopped");
    return rc;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";

    signal(SIGPIPE, SIG_IGN);
    if (strcmp(command, "serve") == 0) return serve(argc - 2, argv + 2);
    if (strcmp(command, "run") == 0) return qn_cli_run(argc - 1, argv + 1);
    if (strcmp(command, "inspect") == 0) return qn_cli_inspect(argc - 1, argv + 1);
    if (strcmp(command, "bench") == 0) return qn_cli_bench(argc - 1, argv + 1);
    if (strcmp(command, "load") == 0) return qn_cli_load(argc - 1, argv + 1);
    if (strcmp(command, "key") == 0) return qn_cli_key(argc - 1, argv + 1);
    if (strcmp(command, "--version") == 0) {
        puts("quern " QUERN_VERSION);
        return 0;
    }
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (command[0]) fprintf(stderr, "quern: unknown command '%s'\n", command);
    fputs(usage, stderr);
    return 2;
}
