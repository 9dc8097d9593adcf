/* server/routes/routes.c - the table and its dispatcher. */
#include "server/routes/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONTROL_MAX (64u * 1024u)
/* JSON numbers are at least two bytes with their comma and at most eight as a tensor. */
#define JSON_BODY_FACTOR 4

const qn_route qn_routes[] = {
#define QN_ROUTE(method, pattern, scope, family, endpoint, what)                                                                           \
    { method, pattern, QN_SCOPE_##scope, QN_FAMILY_##family, &qn_endpoint_##endpoint, what },
#include "server/routes/routes.def"
#undef QN_ROUTE
};
const int32_t qn_n_routes = (int32_t)(sizeof qn_routes / sizeof qn_routes[0]);

/* -- the handler that http sees: collects control bodies, then calls the endpoint's ----------------------------------------- */

static void visit_begin(qn_exchange *x)
{
    const qn_handler *h = &qn_visit_of(x)->route->endpoint->handler;

    if (h->begin) h->begin(x);
}

static void visit_body(qn_exchange *x, const char *data, size_t n)
{
    qn_visit *v = qn_visit_of(x);

    if (v->route->endpoint->body == QN_BODY_TENSORS || v->route->endpoint->body == QN_BODY_FILE)
        v->route->endpoint->handler.body(x, data, n);
    else if (v->route->endpoint->body == QN_BODY_CONTROL && !qn_buf_append(&v->control, data, n))
        qn_exchange_error(x, v->control.len + n > CONTROL_MAX ? 413 : 503, "body of more than %u bytes", CONTROL_MAX);
}

static void visit_end(qn_exchange *x) { qn_visit_of(x)->route->endpoint->handler.end(x); }

static void visit_release(qn_exchange *x)
{
    qn_visit *v = qn_visit_of(x);

    if (!v) return;
    if (v->route->endpoint->handler.release) v->route->endpoint->handler.release(x);
    qn_buf_release(&v->control);
    free(v);
    x->local = NULL;
}

static const qn_handler visit_handler = { visit_begin, visit_body, visit_end, visit_release };

/* -- dispatch --------------------------------------------------------------------------------------------------------------- */

/* Methods that rows have, in the order of Allow; what it says for every set of them, HEAD with GET and OPTIONS always. */
static const char *const method_names[] = { "GET", "POST", "PUT", "DELETE" };

static unsigned method_bit(const char *method)
{
    for (unsigned i = 0; i < sizeof method_names / sizeof method_names[0]; i++) {
        if (strcmp(method_names[i], method) == 0) return 1u << i;
    }
    return 0;
}

static const char *allow_text(unsigned methods)
{
    static const char *const texts[16] = {
        "OPTIONS",
        "GET, HEAD, OPTIONS",
        "POST, OPTIONS",
        "GET, HEAD, POST, OPTIONS",
        "PUT, OPTIONS",
        "GET, HEAD, PUT, OPTIONS",
        "POST, PUT, OPTIONS",
        "GET, HEAD, POST, PUT, OPTIONS",
        "DELETE, OPTIONS",
        "GET, HEAD, DELETE, OPTIONS",
        "POST, DELETE, OPTIONS",
        "GET, HEAD, POST, DELETE, OPTIONS",
        "PUT, DELETE, OPTIONS",
        "GET, HEAD, PUT, DELETE, OPTIONS",
        "POST, PUT, DELETE, OPTIONS",
        "GET, HEAD, POST, PUT, DELETE, OPTIONS",
    };

    return texts[methods & 15];
}

static void body_rule(const qn_config *config, qn_body_rule rule, qn_exchange *x)
{
    switch (rule) {
    case QN_BODY_NONE:
        x->max_body = CONTROL_MAX;
        x->media = QN_MEDIA_ANY;
        x->body_factor = 1;
        break;
    case QN_BODY_CONTROL:
        x->max_body = CONTROL_MAX;
        x->media = QN_MEDIA_JSON;
        x->body_factor = 1;
        break;
    case QN_BODY_TENSORS:
        x->max_body = (uint64_t)config->max_body_bytes;
        x->media = QN_MEDIA_JSON | QN_MEDIA_OCTETS;
        x->body_factor = JSON_BODY_FACTOR;
        break;
    case QN_BODY_FILE:
        x->max_body = (uint64_t)config->file_bytes;
        x->media = QN_MEDIA_ANY;
        x->body_factor = 0;
        break;
    }
}

static void visit_start(qn_app *app, qn_exchange *x, const qn_route *route, const qn_path *path)
{
    const qn_endpoint *e = route->endpoint;
    qn_visit *v = calloc(1, sizeof *v);

    if (!v) {
        qn_exchange_error(x, 503, "no memory for a request");
        return;
    }
    v->app = app;
    v->route = route;
    v->path = *path;
    qn_buf_init(&v->control, CONTROL_MAX);
    x->local = v;
    x->handler = &visit_handler;
    x->always = e->always;
    body_rule(app->config, e->body, x);
}

static const char *scope_name(qn_scope scope) { return qn_key_scope_name(scope == QN_SCOPE_ADMIN ? QN_KEY_ADMIN : QN_KEY_INFER); }

/* Deny by default: a route that asks for no scope says so in its row. False: an error was sent. */
static bool is_allowed(qn_app *app, qn_exchange *x, qn_scope scope)
{
    const qn_http_field *f;
    int n = 0;

    if (!app->keys || scope == QN_SCOPE_NONE) return true;
    f = qn_http_find(x->head, "Authorization", &n);
    if (n > 1) {
        qn_exchange_error(x, 400, "%d Authorization fields, at most one expected", n);
        return false;
    }
    switch (qn_keys_check(app->keys, f ? f->value : NULL, f ? f->value_len : 0, scope == QN_SCOPE_ADMIN ? QN_KEY_ADMIN : QN_KEY_INFER,
                          qn_now_us(), time(NULL), x->who, &x->retry_after_s)) {
    case QN_KEY_ALLOWED: return true;
    case QN_KEY_MISSING: qn_exchange_error(x, 401, "a key is needed: Authorization: Bearer KEY"); break;
    case QN_KEY_UNKNOWN: qn_exchange_error(x, 401, "this key is unknown or has expired"); break;
    case QN_KEY_SCOPE: qn_exchange_error(x, 403, "this key lacks the scope '%s'", scope_name(scope)); break;
    case QN_KEY_RATE: qn_exchange_error(x, 429, "this key is over its rate; again in %d s", (int)x->retry_after_s); break;
    }
    return false;
}

static void find_route(qn_app *app, qn_exchange *x, bool only_health)
{
    const char *method = x->head->method, *wanted = x->head_only ? "GET" : method, *path = NULL;
    size_t len = 0;
    unsigned methods = 0;
    qn_refusal no;
    qn_path found;

    x->app = app;
    if (atomic_load(&app->closed)) {
        x->close = true;
        qn_exchange_error(x, 503, "stopping");
        return;
    }
    if (!qn_guard_path(x->head, &path, &len, &no)) {
        x->close = true;
        qn_exchange_error(x, no.status, "%s", no.message);
        return;
    }
    for (int32_t i = 0; i < qn_n_routes; i++) {
        if (only_health && !qn_routes[i].endpoint->always) continue;
        if (!qn_path_match(qn_routes[i].pattern, path, len, &found)) continue;
        methods |= method_bit(qn_routes[i].method);
        x->route = i;
        if (strcmp(qn_routes[i].method, wanted) != 0) continue;
        if (is_allowed(app, x, qn_routes[i].scope)) visit_start(app, x, &qn_routes[i], &found);
        return;
    }
    if (methods == 0 && !(len == 1 && path[0] == '*')) {
        qn_exchange_error(x, 404, "no such route");
        return;
    }
    x->allow = allow_text(methods);
    if (strcmp(method, "OPTIONS") == 0)
        qn_exchange_reply(x, 204, NULL);
    else
        qn_exchange_error(x, 405, "method %.16s is not allowed here", method);
}

static void on_route(void *user, qn_exchange *x) { find_route(user, x, false); }
static void on_health_route(void *user, qn_exchange *x) { find_route(user, x, true); }

/* OpenAI's word for a status. */
static const char *openai_type(int status)
{
    return status == 401   ? "authentication_error"
           : status == 403 ? "permission_error"
           : status == 429 ? "rate_limit_error"
           : status >= 500 ? "server_error"
                           : "invalid_request_error";
}

/* {"error": "..."}, or OpenAI's object on its own routes. */
static void on_error(void *user, qn_exchange *x, int status, const char *message)
{
    const bool openai = x->route >= 0 && qn_routes[x->route].family == QN_FAMILY_OPENAI;

    (void)user;
    qn_buf_puts(&x->reply, openai ? "{\"error\":{\"message\":" : "{\"error\":");
    qn_json_put_string(&x->reply, message, strlen(message));
    if (openai) qn_buf_printf(&x->reply, ",\"type\":\"%s\",\"param\":null,\"code\":null}", openai_type(status));
    qn_buf_puts(&x->reply, "}");
}

static void on_finished(void *user, qn_exchange *x, uint64_t duration_us)
{
    qn_app *app = user;
    qn_log_level level = app->config->log_requests                                  ? QN_LOG_INFO
                         : x->status >= 500 && x->status != 503 && x->status != 504 ? QN_LOG_WARN
                                                                                    : QN_LOG_DEBUG;
    qn_log_line line;

    qn_metrics_request(app->metrics, x->route < 0 ? qn_n_routes : x->route, x->status, duration_us);
    if (level > app->log->level) return;
    qn_log_begin(&line, app->log, level, "request");
    qn_log_text(&line, "method", x->head->method);
    qn_log_text(&line, "path", x->head->target);
    qn_log_number(&line, "status", x->status);
    qn_log_number(&line, "us", (int64_t)duration_us);
    qn_log_text(&line, "id", x->id);
    if (x->who[0]) qn_log_text(&line, "key", x->who);
    qn_log_end(&line);
}

void qn_routes_app(qn_app *app, qn_http_app *out)
{
    *out = (qn_http_app){ .user = app, .route = on_route, .error = on_error, .finished = on_finished };
}

void qn_routes_health_app(qn_app *app, qn_http_app *out)
{
    *out = (qn_http_app){ .user = app, .route = on_health_route, .error = on_error, .finished = on_finished };
}

qn_status qn_routes_names(const char ***out, qn_error *err)
{
    size_t n = (size_t)qn_n_routes + 1, bytes = n * sizeof(char *);
    const char **names;
    char *text;

    for (int32_t i = 0; i < qn_n_routes; i++) bytes += strlen(qn_routes[i].method) + strlen(qn_routes[i].pattern) + 2;
    names = malloc(bytes);
    *out = names;
    if (!names) return qn_error_set(err, QN_ERR_NOMEM, "names of routes");
    text = (char *)(names + n);
    for (int32_t i = 0; i < qn_n_routes; i++) {
        size_t room = strlen(qn_routes[i].method) + strlen(qn_routes[i].pattern) + 2;

        snprintf(text, room, "%s %s", qn_routes[i].method, qn_routes[i].pattern);
        names[i] = text;
        text += room;
    }
    names[n - 1] = "none";
    return QN_OK;
}
