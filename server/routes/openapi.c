/* server/routes/openapi.c - GET /openapi.json, written from the table of routes; GET /v1/models in OpenAI's shape.
 * Source   OpenAPI 3.1.0; OpenAI API reference, "List models". */
#include "server/routes/routes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void put_text(qn_buf *out, const char *s) { qn_json_put_string(out, s, strlen(s)); }

/* -- the description ------------------------------------------------------------------------------------------------------ */

static void put_parameters(qn_buf *out, const char *pattern)
{
    bool first = true;

    qn_buf_puts(out, "\"parameters\":[");
    if (strstr(pattern, "{model}")) {
        qn_buf_puts(out, "{\"name\":\"model\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}");
        first = false;
    }
    if (strstr(pattern, "{label}"))
        qn_buf_printf(out, "%s{\"name\":\"label\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}", first ? "" : ",");
    if (strstr(pattern, "{version}"))
        qn_buf_printf(out, "%s{\"name\":\"version\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"integer\",\"minimum\":1}}",
                      first ? "" : ",");
    qn_buf_puts(out, "]");
}

static void put_body(qn_buf *out, const qn_route *r)
{
    if (r->endpoint->body == QN_BODY_NONE) return;
    if (r->endpoint->body == QN_BODY_FILE) {
        qn_buf_puts(out, ",\"requestBody\":{\"required\":true,\"content\":{\"application/octet-stream\":"
                         "{\"schema\":{\"type\":\"string\",\"format\":\"binary\"}}}}");
        return;
    }
    qn_buf_printf(out, ",\"requestBody\":{\"required\":%s,\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\"}}",
                  r->endpoint->body == QN_BODY_TENSORS ? "true" : "false");
    if (r->endpoint->body == QN_BODY_TENSORS && r->family == QN_FAMILY_V2)
        qn_buf_puts(out, ",\"application/octet-stream\":{\"schema\":{\"type\":\"string\",\"format\":\"binary\"}}");
    qn_buf_puts(out, "}}");
}

static void put_responses(qn_buf *out, const qn_route *r)
{
    qn_buf_printf(out, ",\"responses\":{\"%s\":{\"description\":\"OK\"}", r->endpoint->body == QN_BODY_FILE ? "201" : "200");
    if (r->endpoint->body != QN_BODY_NONE) qn_buf_puts(out, ",\"400\":{\"$ref\":\"#/components/responses/Error\"}");
    if (r->scope != QN_SCOPE_NONE)
        qn_buf_puts(out, ",\"401\":{\"$ref\":\"#/components/responses/Error\"},\"403\":{\"$ref\":\"#/components/responses/Error\"},"
                         "\"429\":{\"$ref\":\"#/components/responses/Error\"}");
    if (strstr(r->pattern, "{model}")) qn_buf_puts(out, ",\"404\":{\"$ref\":\"#/components/responses/Error\"}");
    qn_buf_puts(out, ",\"503\":{\"$ref\":\"#/components/responses/Error\"}}");
}

static void put_operation(qn_buf *out, const qn_route *r)
{
    char method[16] = "";

    for (const char *c = r->method; *c; c++) method[c - r->method] = (char)(*c | 0x20); /* capitals -> small letters */
    qn_buf_printf(out, "\"%s\":{\"summary\":", method);
    put_text(out, r->what);
    qn_buf_puts(out, ",");
    put_parameters(out, r->pattern);
    put_body(out, r);
    put_responses(out, r);
    if (r->scope != QN_SCOPE_NONE)
        qn_buf_printf(out, ",\"security\":[{\"key\":[\"%s\"]}]",
                      qn_key_scope_name(r->scope == QN_SCOPE_ADMIN ? QN_KEY_ADMIN : QN_KEY_INFER));
    qn_buf_puts(out, "}");
}

/* One path, with every method it has; written where it comes first. */
static void put_path(qn_buf *out, int32_t first)
{
    bool begun = false;

    put_text(out, qn_routes[first].pattern);
    qn_buf_puts(out, ":{");
    for (int32_t i = first; i < qn_n_routes; i++) {
        if (strcmp(qn_routes[i].pattern, qn_routes[first].pattern) != 0) continue;
        if (begun) qn_buf_puts(out, ",");
        put_operation(out, &qn_routes[i]);
        begun = true;
    }
    qn_buf_puts(out, "}");
}

static bool seen_before(int32_t i)
{
    for (int32_t k = 0; k < i; k++)
        if (strcmp(qn_routes[k].pattern, qn_routes[i].pattern) == 0) return true;
    return false;
}

static void openapi(qn_exchange *x)
{
    qn_buf *out = &x->reply;
    bool begun = false;

    qn_buf_puts(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Quern\",\"version\":\"" QUERN_VERSION "\"},\"paths\":{");
    for (int32_t i = 0; i < qn_n_routes; i++) {
        if (seen_before(i)) continue;
        if (begun) qn_buf_puts(out, ",");
        put_path(out, i);
        begun = true;
    }
    qn_buf_puts(out, "},\"components\":{\"securitySchemes\":{\"key\":{\"type\":\"http\",\"scheme\":\"bearer\"}},"
                     "\"responses\":{\"Error\":{\"description\":\"What was found, what was expected, where\","
                     "\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\",\"required\":[\"error\"]}}}}}}}");
    qn_reply_json(x);
}

/* -- OpenAI's list -------------------------------------------------------------------------------------------------------- */

/* One entry a model that can be asked; created is when the daemon started, since a model is served anew by every daemon. */
static void openai_models(qn_exchange *x)
{
    qn_app *app = qn_visit_of(x)->app;
    qn_entry *e = NULL;
    int32_t n = 0;
    bool begun = false;
    qn_error err = { 0 };

    if (qn_entries(app->registry, NULL, &e, &n, &err) != QN_OK) {
        qn_reply_error(x, &err, false);
        return;
    }
    qn_buf_puts(&x->reply, "{\"object\":\"list\",\"data\":[");
    for (int32_t i = 0; i < n; i++) {
        if (!e[i].served) continue;
        qn_buf_puts(&x->reply, begun ? ",{\"id\":" : "{\"id\":");
        put_text(&x->reply, e[i].model);
        qn_buf_printf(&x->reply, ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"quern\"}", qn_metrics_started(app->metrics));
        begun = true;
    }
    qn_buf_puts(&x->reply, "]}");
    free(e);
    qn_reply_json(x);
}

const qn_endpoint qn_endpoint_openapi = { .body = QN_BODY_NONE, .handler = { .end = openapi } };
const qn_endpoint qn_endpoint_openai_models = { .body = QN_BODY_NONE, .handler = { .end = openai_models } };
