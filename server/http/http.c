/* server/http/http.c - libmicrohttpd's callbacks -> exchanges.
 * The library calls on_request() once when the head is complete, then for every piece of the body, then once more with nothing; after a
 * resume it calls again with nothing. conn->begun, x->status and conn->suspended tell the calls apart. A response may be queued in the
 * first call (then the rest of the body is not read and the connection ends) or in the last ones, never between: there an answer is
 * written past the library (qn_conn_write_reply) and the connection dropped.
 * Order    suspend first, then hand the work out: a resume that comes before on_request() has returned is kept by the library, one that
 *          comes before the suspend is lost. */
#include "server/http/conn.h"
#include "server/http/encoding.h"
#include "server/http/tls.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* The rest of a body up to this size is read and dropped after an early answer, so that the connection can be used again. */
#define DISCARD_MAX (256u * 1024u)
/* Under TLS nothing can be written past the library, so that more is read for the sake of an answer. */
#define DISCARD_MAX_TLS (64u * 1024u * 1024u)

static uint64_t discard_max(const qn_conn *c) { return c->http->options.tls ? DISCARD_MAX_TLS : DISCARD_MAX; }

static void free_reply(qn_exchange *x)
{
    qn_buf_release(&x->reply);
    qn_buf_init(&x->reply, 0);
}

/* -- for handlers ---------------------------------------------------------------------------------------------------------- */

/* The larger answers, for clients that want them smaller. */
static void compress_reply(qn_exchange *x)
{
    qn_encoding encoding;

    if (x->status != 200 || x->reply.failed || x->reply.len < QN_ENCODING_LEAST || x->head_only) return;
    x->may_encode = true;
    encoding = qn_encoding_choose(qn_exchange_field(x, "Accept-Encoding"));
    if (qn_encoding_apply(encoding, &x->reply)) x->encoding = qn_encoding_names[encoding];
}

void qn_exchange_reply(qn_exchange *x, int status, const char *content_type)
{
    x->status = status;
    x->content_type = content_type;
    compress_reply(x);
    atomic_store_explicit(&x->conn->replied, true, memory_order_release);
}

void qn_exchange_error(qn_exchange *x, int status, const char *fmt, ...)
{
    char message[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    free_reply(x);
    x->header_bytes = -1;
    x->encoding = NULL;
    x->content_type = "application/json";
    x->conn->http->options.app.error(x->conn->http->options.app.user, x, status, message);
    if (status == 503 && x->retry_after_s == 0) x->retry_after_s = 1;
    qn_exchange_reply(x, status, x->content_type);
}

void qn_exchange_suspend(qn_exchange *x, atomic_bool *cancel)
{
    qn_conn *c = x->conn;

    pthread_mutex_lock(&c->mu);
    if (c->stage != QN_STAGE_DEAD) {
        c->stage = QN_STAGE_RUN;
        c->deadline_us = 0;
    }
    c->cancel = cancel;
    pthread_mutex_unlock(&c->mu);
    c->suspended = true;
    MHD_suspend_connection(c->mhd);
}

void qn_exchange_resume(qn_exchange *x)
{
    qn_conn *c = x->conn;
    struct MHD_Connection *mhd = c->mhd;

    pthread_mutex_lock(&c->mu);
    c->cancel = NULL;
    if (c->stage != QN_STAGE_DEAD) {
        c->stage = QN_STAGE_WRITE;
        c->deadline_us = qn_now_us() + c->http->options.write_timeout_us;
    }
    pthread_mutex_unlock(&c->mu);
    MHD_resume_connection(mhd);
}

bool qn_exchange_reserve(qn_exchange *x, uint64_t bytes)
{
    qn_conn *c = x->conn;
    qn_http *h = c->http;
    uint64_t held = c->reserved, all;

    if (bytes <= held) {
        atomic_fetch_sub_explicit(&h->bytes_in_flight, held - bytes, memory_order_relaxed);
        c->reserved = bytes;
        return true;
    }
    all = atomic_load_explicit(&h->bytes_in_flight, memory_order_relaxed);
    do {
        if (all > h->options.max_inflight_bytes || bytes - held > h->options.max_inflight_bytes - all) {
            atomic_fetch_add_explicit(&h->shed_bytes, 1, memory_order_relaxed);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&h->bytes_in_flight, &all, all + (bytes - held), memory_order_relaxed,
                                                    memory_order_relaxed));
    c->reserved = bytes;
    return true;
}

const qn_http_field *qn_exchange_field(const qn_exchange *x, const char *name)
{
    int n = 0;
    const qn_http_field *f = qn_http_find(x->head, name, &n);

    return n == 1 ? f : NULL;
}

qn_http *qn_exchange_server(const qn_exchange *x)
{
    qn_http *h = x->conn->http;

    return h->options.stats_of ? h->options.stats_of : h;
}

/* -- the first call -------------------------------------------------------------------------------------------------------- */

static enum MHD_Result collect_field(void *user, enum MHD_ValueKind kind, const char *key, size_t key_len, const char *value,
                                     size_t value_len)
{
    qn_http_head *head = user;

    (void)kind;
    if (head->n_fields == QN_HTTP_MAX_FIELDS) {
        head->too_many_fields = true;
        return MHD_NO;
    }
    head->fields[head->n_fields++] =
        (qn_http_field){ .name = key, .name_len = key_len, .value = value ? value : "", .value_len = value ? value_len : 0 };
    return MHD_YES;
}

static void collect_head(qn_conn *c, const char *method, const char *url, const char *version)
{
    const union MHD_ConnectionInfo *size = MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    qn_http_head *head = &c->head;

    head->method = method;
    head->version = version;
    head->target = url;
    head->target_len = c->target_seen ? c->target_len : strlen(url);
    head->target_clean = c->target_seen && c->target == url && c->target_clean;
    head->block_bytes = c->http->check_layout && size ? size->header_size : 0;
    head->n_fields = 0;
    head->too_many_fields = false;
    MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND, collect_field, head);
}

/* The client's request id if it is short and plain, else one of ours. x.id is read by the reaper. */
static void choose_id(qn_conn *c)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:";
    const qn_http_field *f = qn_exchange_field(&c->x, "X-Request-Id");
    bool good = f && f->value_len >= 1 && f->value_len < sizeof c->x.id;

    for (size_t i = 0; good && i < f->value_len; i++) good = f->value[i] != '\0' && strchr(plain, f->value[i]);
    pthread_mutex_lock(&c->mu);
    if (good) {
        memcpy(c->x.id, f->value, f->value_len);
        c->x.id[f->value_len] = '\0';
    } else {
        qn_http_make_id(c->http, c->x.id, sizeof c->x.id);
    }
    pthread_mutex_unlock(&c->mu);
}

static void refuse(qn_exchange *x, const qn_refusal *no)
{
    if (no->close) x->close = true;
    qn_exchange_error(x, no->status, "%s", no->message);
}

/* Reserve a body of n bytes; octets need no more than themselves, numbers in JSON may. */
static bool reserve_body(qn_exchange *x, uint64_t n)
{
    const qn_http_field *type = qn_exchange_field(x, "Content-Type");
    uint64_t bytes, factor = x->body_factor > 1 && type && qn_http_value_is(type, "application/octet-stream") ? 1 : x->body_factor;

    if (!x->handler->body || factor == 0) return true;
    if (__builtin_mul_overflow(n, factor, &bytes)) return false;
    return qn_exchange_reserve(x, bytes);
}

static void admit(qn_conn *c)
{
    qn_exchange *x = &c->x;
    qn_http *h = c->http;
    qn_refusal no;

    if (!qn_guard_layout(x->head, &no) || !qn_guard_framing(x->head, &x->framing, &no)) {
        refuse(x, &no);
        return;
    }
    h->options.app.route(h->options.app.user, x);
    if (x->status) return;
    if (c->shed && !x->always) {
        atomic_fetch_add_explicit(&h->shed_connections, 1, memory_order_relaxed);
        x->close = true;
        qn_exchange_error(x, 503, "too many connections");
        return;
    }
    if (!qn_guard_body(x->head, &x->framing, x->max_body, x->media, &no)) {
        refuse(x, &no);
        return;
    }
    if (x->framing.has_length && !reserve_body(x, x->framing.length)) {
        qn_exchange_error(x, 503, "no room for a body of %llu bytes now", (unsigned long long)x->framing.length);
        return;
    }
    if (x->handler->begin) x->handler->begin(x);
}

/* -- replies --------------------------------------------------------------------------------------------------------------- */

static bool add_headers(struct MHD_Response *r, const qn_conn *c)
{
    const qn_exchange *x = &c->x;
    char number[24];
    bool ok = MHD_add_response_header(r, "X-Request-Id", x->id) == MHD_YES;

    if (x->content_type) ok = ok && MHD_add_response_header(r, "Content-Type", x->content_type) == MHD_YES;
    if (x->allow) ok = ok && MHD_add_response_header(r, "Allow", x->allow) == MHD_YES;
    if (x->status == 401) ok = ok && MHD_add_response_header(r, "WWW-Authenticate", "Bearer realm=\"quern\"") == MHD_YES;
    if (x->status == 415) ok = ok && MHD_add_response_header(r, "Accept-Encoding", "identity") == MHD_YES;
    if (x->retry_after_s > 0) {
        snprintf(number, sizeof number, "%d", (int)x->retry_after_s);
        ok = ok && MHD_add_response_header(r, "Retry-After", number) == MHD_YES;
    }
    if (x->may_encode) ok = ok && MHD_add_response_header(r, "Vary", "Accept-Encoding") == MHD_YES;
    if (x->encoding) ok = ok && MHD_add_response_header(r, "Content-Encoding", x->encoding) == MHD_YES;
    if (x->timing[0]) ok = ok && MHD_add_response_header(r, "Server-Timing", x->timing) == MHD_YES;
    if (x->header_bytes >= 0) {
        snprintf(number, sizeof number, "%lld", (long long)x->header_bytes);
        ok = ok && MHD_add_response_header(r, "Inference-Header-Content-Length", number) == MHD_YES;
    }
    if (x->close || c->shed || atomic_load_explicit(&c->http->draining, memory_order_relaxed))
        ok = ok && MHD_add_response_header(r, "Connection", "close") == MHD_YES;
    return ok;
}

static enum MHD_Result send_reply(qn_conn *c)
{
    qn_exchange *x = &c->x;
    struct MHD_Response *r;
    enum MHD_Result ok = MHD_NO;
    size_t n = 0;
    char *body;

    if (x->reply.failed) qn_exchange_error(x, 503, "no memory for the reply");
    if (!qn_conn_stage(c, QN_STAGE_WRITE, c->http->options.write_timeout_us)) return MHD_NO;
    body = qn_buf_take(&x->reply, &n);
    r = body ? MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_FREE)
             : MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    if (!r) {
        free(body);
        return MHD_NO;
    }
    if (add_headers(r, c)) ok = MHD_queue_response(c->mhd, (unsigned)x->status, r);
    MHD_destroy_response(r);
    c->queued = ok == MHD_YES;
    return ok;
}

/* An answer in the middle of a body: written past the library, which then drops the connection. */
static enum MHD_Result send_raw(qn_conn *c)
{
    qn_exchange *x = &c->x;

    pthread_mutex_lock(&c->mu);
    if (c->stage != QN_STAGE_DEAD) qn_conn_write_reply(c, x->status, x->reply.data, x->reply.len);
    pthread_mutex_unlock(&c->mu);
    return MHD_NO;
}

/* -- the calls ------------------------------------------------------------------------------------------------------------- */

static enum MHD_Result on_head(qn_conn *c, const char *method, const char *url, const char *version)
{
    qn_exchange *x = &c->x;
    const qn_framing *f = &x->framing;
    bool has_body;

    c->begun = true;
    c->queued = c->suspended = false;
    c->discarded = 0;
    atomic_store_explicit(&c->body_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&c->replied, false, memory_order_relaxed);
    pthread_mutex_lock(&c->mu);
    memset(x, 0, sizeof *x);
    pthread_mutex_unlock(&c->mu);
    x->conn = c;
    x->head = &c->head;
    x->started_us = qn_now_us();
    x->header_bytes = -1;
    x->route = -1;
    qn_buf_init(&x->reply, 0);
    atomic_fetch_add(&c->http->exchanges, 1);
    collect_head(c, method, url, version);
    x->head_only = strcmp(method, "HEAD") == 0;
    choose_id(c);
    if (!qn_conn_stage(c, QN_STAGE_BODY, c->http->options.body_timeout_us)) return MHD_NO;
    admit(c);
    if (!x->status) return MHD_YES;
    has_body = f->chunked || (f->has_length && f->length > 0);
    if (x->close || (has_body && (f->expects_continue || f->chunked || f->length > discard_max(c)))) {
        x->close = true;
        c->linger = true;
        return send_reply(c);
    }
    return MHD_YES; /* answered when the body, if any, has been dropped */
}

static enum MHD_Result on_body(qn_conn *c, const char *data, size_t n)
{
    qn_exchange *x = &c->x;
    uint64_t have = atomic_fetch_add_explicit(&c->body_bytes, n, memory_order_relaxed) + n;

    if (!x->status && x->framing.chunked) {
        if (have > x->max_body)
            qn_exchange_error(x, 413, "body of more than %llu bytes", (unsigned long long)x->max_body);
        else if (!reserve_body(x, have))
            qn_exchange_error(x, 503, "no room for more of this body now");
    }
    if (!x->status) {
        if (x->handler->body) x->handler->body(x, data, n);
    } else {
        c->discarded += n;
    }
    if (x->status && (c->discarded > discard_max(c) || (x->framing.has_length && x->framing.length - have > discard_max(c))))
        return send_raw(c);
    return MHD_YES;
}

static enum MHD_Result on_end(qn_conn *c)
{
    qn_exchange *x = &c->x;

    if (c->suspended) {
        if (!atomic_load_explicit(&c->replied, memory_order_acquire)) return MHD_YES; /* called early: the answer is not there yet */
        return send_reply(c);
    }
    if (!x->status) {
        x->handler->end(x);
        if (c->suspended) return MHD_YES; /* from here on the exchange is somebody else's */
        if (!x->status) qn_exchange_error(x, 500, "no answer");
    }
    return send_reply(c);
}

static qn_conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
                                  const char *data, size_t *n, void **request)
{
    qn_conn *c = conn_of(mhd);
    size_t got = *n;

    (void)user;
    (void)request;
    if (!c) return MHD_NO;
    if (!c->begun) return on_head(c, method, url, version);
    if (c->queued) return MHD_YES;
    *n = 0;
    return got > 0 ? on_body(c, data, got) : on_end(c);
}

/* The request line is there; the target is still as sent. */
static void *on_target(void *user, const char *target, struct MHD_Connection *mhd)
{
    qn_conn *c = conn_of(mhd);

    (void)user;
    if (!c) return NULL;
    c->target = target;
    c->target_clean = qn_guard_target_clean(target, &c->target_len);
    c->target_seen = true;
    pthread_mutex_lock(&c->mu);
    if (c->stage == QN_STAGE_IDLE) {
        c->stage = QN_STAGE_HEADER;
        c->deadline_us = qn_now_us() + c->http->options.header_timeout_us;
    }
    pthread_mutex_unlock(&c->mu);
    return NULL;
}

static void on_completed(void *user, struct MHD_Connection *mhd, void **request, enum MHD_RequestTerminationCode code)
{
    qn_conn *c = conn_of(mhd);
    qn_exchange *x;
    qn_http *h = user;

    (void)request;
    if (!c) return;
    c->target_seen = false;
    if (!c->begun) return;
    c->begun = false;
    x = &c->x;
    pthread_mutex_lock(&c->mu);
    if (c->raw_status)
        x->status = c->raw_status;
    else if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        x->status = 499;
    pthread_mutex_unlock(&c->mu);
    h->options.app.finished(h->options.app.user, x, qn_now_us() - x->started_us);
    if (x->handler && x->handler->release) x->handler->release(x);
    (void)qn_exchange_reserve(x, 0);
    free_reply(x);
    pthread_mutex_lock(&c->mu);
    x->id[0] = '\0';
    pthread_mutex_unlock(&c->mu);
    (void)qn_conn_stage(c, QN_STAGE_IDLE, h->options.idle_timeout_us);
    atomic_fetch_sub(&h->exchanges, 1);
}

/* -- connections ------------------------------------------------------------------------------------------------------------ */

static void client_address(struct MHD_Connection *mhd, uint8_t out[16])
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    memset(out, 0, 16);
    if (!info || !info->client_addr) return;
    if (info->client_addr->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)info->client_addr;

        out[10] = out[11] = 0xff;
        memcpy(out + 12, &v4->sin_addr, 4);
    } else if (info->client_addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)info->client_addr;

        memcpy(out, &v6->sin6_addr, 16);
    }
}

static int64_t count_from(qn_http *h, const uint8_t address[16])
{
    int64_t n = 0;

    pthread_mutex_lock(&h->mu);
    for (size_t i = 0; i < h->n_fds; i++) n += h->by_fd[i] && memcmp(h->by_fd[i]->address, address, 16) == 0;
    pthread_mutex_unlock(&h->mu);
    return n;
}

static qn_conn *conn_open(qn_http *h, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    qn_conn *c = calloc(1, sizeof *c);

    if (!c || !info) {
        free(c);
        return NULL;
    }
    c->http = h;
    c->mhd = mhd;
    c->fd = info->connect_fd;
    client_address(mhd, c->address);
    pthread_mutex_init(&c->mu, NULL);
    c->stage = QN_STAGE_HEADER;
    c->deadline_us = qn_now_us() + h->options.header_timeout_us;
    c->shed = atomic_fetch_add(&h->connections, 1) >= h->options.max_connections;
    if (h->options.max_connections_per_address > 0 && count_from(h, c->address) >= h->options.max_connections_per_address) c->shed = true;
    atomic_fetch_add_explicit(&h->connections_total, 1, memory_order_relaxed);
    if (!qn_reaper_add(h, c)) {
        atomic_fetch_sub(&h->connections, 1);
        pthread_mutex_destroy(&c->mu);
        free(c);
        return NULL;
    }
    return c;
}

static void on_connection(void *user, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
    qn_http *h = user;
    qn_conn *c;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = conn_open(h, mhd); /* without one, on_request() refuses everything */
        return;
    }
    c = *context;
    if (!c) return;
    qn_reaper_remove(h, c);
    *context = NULL;
    pthread_mutex_destroy(&c->mu);
    free(c);
    atomic_fetch_sub(&h->connections, 1);
}

static size_t keep_escapes(void *user, struct MHD_Connection *mhd, char *s)
{
    (void)user;
    (void)mhd;
    return strlen(s);
}

__attribute__((format(printf, 2, 0))) static void on_library_log(void *user, const char *fmt, va_list ap)
{
    const qn_http *h = user;
    qn_log_line line;
    char text[256];

    vsnprintf(text, sizeof text, fmt, ap);
    text[strcspn(text, "\r\n")] = '\0';
    qn_log_begin(&line, h->options.log, QN_LOG_DEBUG, "libmicrohttpd");
    qn_log_text(&line, "text", text);
    qn_log_end(&line);
}

/* -- start and stop ---------------------------------------------------------------------------------------------------------- */

static struct MHD_Daemon *start_library(qn_http *h)
{
    const qn_http_options *o = &h->options;
    /* some more than are served: those are answered 503, and health routes still answer */
    unsigned limit = (unsigned)(o->max_connections + o->max_connections / 8 + 32);
    struct MHD_OptionItem more[4] = { { MHD_OPTION_END, 0, NULL } };
    int n = 0;

    if (o->n_threads > 1)
        more[n++] = (struct MHD_OptionItem){ MHD_OPTION_THREAD_POOL_SIZE, o->n_threads, NULL }; /* a pool of one is refused */
    if (o->tls) more[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_CERT_CALLBACK, 0, qn_tls_callback() };
    if (o->tls) more[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)qn_tls_priorities };
    more[n] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
    return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (o->tls ? MHD_USE_TLS : 0u), 0,
                            NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, h, MHD_OPTION_LISTEN_SOCKET,
                            o->listen_fd, MHD_OPTION_CONNECTION_LIMIT, limit, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(64 * 1024),
                            MHD_OPTION_THREAD_STACK_SIZE, (size_t)(512 * 1024), MHD_OPTION_CONNECTION_TIMEOUT, 0u,
                            MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_URI_LOG_CALLBACK, on_target, h,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_ARRAY,
                            more, MHD_OPTION_END);
}

qn_status qn_http_start(const qn_http_options *options, qn_http **out, qn_error *err)
{
    qn_status st = QN_OK;
    qn_http *h = calloc(1, sizeof *h);

    *out = NULL;
    if (!h) return qn_error_set(err, QN_ERR_NOMEM, "HTTP server");
    h->options = *options;
    h->epoll_fd = h->wake_fd = h->quiesced_fd = -1;
    pthread_mutex_init(&h->mu, NULL);
    if (getrandom(&h->id_seed, sizeof h->id_seed, 0) != (ssize_t)sizeof h->id_seed) h->id_seed = qn_now_us();
    h->check_layout = strcmp(MHD_get_version(), "0.9.75") == 0;
    if (!h->check_layout)
        qn_logf(options->log, QN_LOG_WARN, "libmicrohttpd %s: header blocks are not checked for folded lines", MHD_get_version());
    st = qn_reaper_start(h, err);
    if (st != QN_OK) goto done;
    h->mhd = start_library(h);
    if (!h->mhd) {
        st = qn_error_set(err, QN_ERR_IO, "libmicrohttpd does not start");
        goto done;
    }
    *out = h;
    h = NULL;
done:
    qn_http_destroy(h);
    return st;
}

void qn_http_drain(qn_http *http)
{
    MHD_socket fd;

    atomic_store(&http->drained_us, qn_now_us());
    atomic_store(&http->draining, true);
    fd = MHD_quiesce_daemon(http->mhd);
    /* the library's threads may be about to use the descriptor once more: it is closed when they have ended */
    if (fd != MHD_INVALID_SOCKET) http->quiesced_fd = fd;
    if (fd != MHD_INVALID_SOCKET && !http->options.listener_shared) shutdown(fd, SHUT_RDWR);
    qn_reaper_wake(http);
}

void qn_http_cancel(qn_http *http)
{
    pthread_mutex_lock(&http->mu);
    for (size_t i = 0; i < http->n_fds; i++) {
        qn_conn *c = http->by_fd[i];

        if (!c) continue;
        pthread_mutex_lock(&c->mu);
        if (c->cancel) atomic_store_explicit(c->cancel, true, memory_order_relaxed);
        pthread_mutex_unlock(&c->mu);
    }
    pthread_mutex_unlock(&http->mu);
}

void qn_http_destroy(qn_http *http)
{
    if (!http) return;
    if (http->mhd) MHD_stop_daemon(http->mhd);
    if (http->quiesced_fd >= 0) close(http->quiesced_fd);
    qn_reaper_stop(http);
    free(http->by_fd);
    pthread_mutex_destroy(&http->mu);
    free(http);
}

void qn_http_get_stats(qn_http *http, qn_http_stats *out)
{
    out->connections = atomic_load(&http->connections);
    out->exchanges = atomic_load(&http->exchanges);
    out->connections_total = atomic_load(&http->connections_total);
    out->bytes_in_flight = atomic_load(&http->bytes_in_flight);
    out->timeouts_header = atomic_load(&http->timeouts_header);
    out->timeouts_body = atomic_load(&http->timeouts_body);
    out->timeouts_idle = atomic_load(&http->timeouts_idle);
    out->timeouts_write = atomic_load(&http->timeouts_write);
    out->shed_connections = atomic_load(&http->shed_connections);
    out->shed_bytes = atomic_load(&http->shed_bytes);
}
