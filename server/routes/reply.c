/* server/routes/reply.c - statuses -> HTTP, control bodies, and lookups that several endpoints share. */
#include "server/routes/routes.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* One row a status: HTTP code on routes that predict or tell, and on routes that load models. A client can never cause the 500s. */
static const struct {
    qn_status status;
    int http, loading;
} codes[] = {
    { QN_OK, 200, 200 },
    { QN_ERR_INVALID, 400, 400 },
    { QN_ERR_NOMEM, 503, 503 },
    { QN_ERR_SHAPE, 400, 400 },
    { QN_ERR_DTYPE, 400, 400 },
    { QN_ERR_FORMAT, 400, 400 },
    { QN_ERR_UNSUPPORTED, 400, 400 },
    { QN_ERR_LIMIT, 413, 400 }, /* a model beyond the limits is not a body that is too large */
    { QN_ERR_RANGE, 400, 400 },
    { QN_ERR_NOT_FOUND, 404, 404 },
    { QN_ERR_IO, 500, 400 },
    { QN_ERR_UNAVAILABLE, 503, 503 },
    { QN_ERR_DEADLINE, 504, 504 },
    { QN_ERR_CANCELLED, 499, 499 },
    { QN_ERR_CONFLICT, 409, 409 },
    { QN_ERR_INTERNAL, 500, 500 },
};
_Static_assert(sizeof codes / sizeof codes[0] == QN_STATUS_COUNT, "a row for every status");

int qn_reply_status(qn_status status, bool loading)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i].status == status) return loading ? codes[i].loading : codes[i].http;
    }
    return 500;
}

void qn_reply_error(qn_exchange *x, const qn_error *err, bool loading)
{
    qn_exchange_error(x, qn_reply_status(err->status, loading), "%s", err->message[0] ? err->message : qn_status_text(err->status));
}

void qn_reply_json(qn_exchange *x) { qn_exchange_reply(x, 200, "application/json"); }

bool qn_visit_version(qn_exchange *x, qn_version **out)
{
    qn_visit *v = qn_visit_of(x);
    qn_error err = { 0 };
    qn_status st = v->path.label[0] ? qn_registry_lookup_label(v->app->registry, v->path.model, v->path.label, out, &err)
                                    : qn_registry_lookup(v->app->registry, v->path.model, v->path.version, out, &err);

    if (st == QN_OK) return true;
    if (err.status == QN_ERR_INVALID) err.status = QN_ERR_NOT_FOUND; /* a name no model can have */
    qn_reply_error(x, &err, false);
    return false;
}

/* Nesting of a JSON text without parsing it: jansson frees its trees recursively, on a thread with a small stack. */
static bool shallow(const char *s, size_t n, int limit)
{
    int depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < n; i++) {
        char c = s[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > limit) return false;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return true;
}

bool qn_control_body(qn_exchange *x, json_t **out)
{
    const qn_buf *body = &qn_visit_of(x)->control;
    json_error_t why;
    json_t *doc;

    *out = NULL;
    if (body->len == 0) return true;
    if (!shallow(body->data, body->len, 32)) {
        qn_exchange_error(x, 400, "body: JSON nested deeper than 32");
        return false;
    }
    doc = json_loadb(body->data, body->len, JSON_REJECT_DUPLICATES, &why);
    if (!doc || !json_is_object(doc)) {
        if (doc)
            qn_exchange_error(x, 400, "body: a JSON object expected");
        else
            qn_exchange_error(x, 400, "body: not JSON at byte %d: %.100s", why.position, why.text);
        json_decref(doc);
        return false;
    }
    *out = doc;
    return true;
}

typedef struct entry_list {
    const char *model;
    qn_entry *entries;
    int32_t n, cap;
    bool failed;
} entry_list;

static void copy_text(char *out, size_t cap, const char *text)
{
    size_t n = strnlen(text, cap - 1);

    memcpy(out, text, n);
    out[n] = '\0';
}

static void on_entry(void *user, const qn_index_entry *e)
{
    entry_list *l = user;

    if (l->failed || (l->model && strcmp(l->model, e->model) != 0)) return;
    if (l->n == l->cap) {
        int32_t cap = l->cap ? 2 * l->cap : 16;
        qn_entry *grown = realloc(l->entries, (size_t)cap * sizeof *grown);

        if (!grown) {
            l->failed = true;
            return;
        }
        l->entries = grown;
        l->cap = cap;
    }
    copy_text(l->entries[l->n].model, QN_MAX_NAME, e->model);
    copy_text(l->entries[l->n].reason, sizeof l->entries[l->n].reason, e->reason ? e->reason : "");
    l->entries[l->n].version = e->version;
    l->entries[l->n].state = e->state;
    l->entries[l->n].served = e->served;
    l->entries[l->n].pinned = e->pinned;
    l->entries[l->n].weight_bytes = e->weight_bytes;
    l->n++;
}

qn_status qn_entries(qn_registry *registry, const char *model, qn_entry **out, int32_t *n, qn_error *err)
{
    entry_list l = { .model = model };

    qn_registry_index(registry, on_entry, &l);
    *out = l.entries;
    *n = l.n;
    if (!l.failed) return QN_OK;
    free(l.entries);
    *out = NULL;
    *n = 0;
    return qn_error_set(err, QN_ERR_NOMEM, "a copy of the index");
}
