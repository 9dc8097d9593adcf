/* server/routes/routes.h - what every path means: one row of routes.def, one handler, each.
 *
 * The dispatcher is generic over the table: it matches the path, answers 404, 405 with Allow, HEAD on GET rows, OPTIONS, and hands the
 * exchange to the row's endpoint if the key that comes with the request has the row's scope. Without security.keys_file there are no keys and
 * only loopback is served (server/http/listen.c).
 * Errors: every error is one JSON object in the shape of the route's family; HTTP codes come from one table, qn_reply_status().
 * Threads: handlers run on HTTP threads; what a suspended exchange waits for runs on workers or on the registry's loader. */
#ifndef QUERN_SERVER_ROUTES_H
#define QUERN_SERVER_ROUTES_H

#include "server/auth/keys.h"
#include "server/batcher/batcher.h"
#include "server/codec/codec.h"
#include "server/config/config.h"
#include "server/http/http.h"
#include "server/metrics/metrics.h"
#include "server/registry/registry.h"

typedef enum qn_scope { QN_SCOPE_NONE, QN_SCOPE_INFER, QN_SCOPE_ADMIN } qn_scope;

/* Whose error shape and status codes a route follows. */
typedef enum qn_family { QN_FAMILY_V2, QN_FAMILY_TFS, QN_FAMILY_OPENAI } qn_family;

typedef enum qn_body_rule {
    QN_BODY_NONE,    /* dropped, whatever it is */
    QN_BODY_CONTROL, /* at most 64 KiB of JSON, collected before `end` */
    QN_BODY_TENSORS, /* up to server.max_body_bytes of JSON or octets, streamed to `body` */
    QN_BODY_FILE,    /* up to models.limits.file_bytes of anything, streamed to `body`, which keeps it off the heap */
} qn_body_rule;

/* A handler and what it takes. */
typedef struct qn_endpoint {
    qn_body_rule body;
    bool always; /* answered when connections are being shed */
    qn_handler handler;
} qn_endpoint;

typedef struct qn_route {
    const char *method;  /* "GET" rows answer HEAD too */
    const char *pattern; /* "/v2/models/{model}/versions/{version}/infer" */
    qn_scope scope;
    qn_family family;
    const qn_endpoint *endpoint;
    const char *what; /* one line for people */
} qn_route;

extern const qn_route qn_routes[];
extern const int32_t qn_n_routes;

#define QN_MAX_NAME 128

/* What a pattern took from a path, percent-decoded. */
typedef struct qn_path {
    char model[QN_MAX_NAME];
    char label[QN_MAX_NAME]; /* "": none in the path */
    int64_t version;         /* 0: none in the path */
} qn_path;

/* Does the raw path (no query) match? {model} and {label} take one segment of 1..QN_MAX_NAME-1 decoded bytes, {version} digits that make an integer
 * 1..2^63-1. Literal parts are compared after percent-decoding. */
bool qn_path_match(const char *pattern, const char *path, size_t len, qn_path *out);

/* The daemon as routes see it; owned by main.c. */
typedef struct qn_app {
    const qn_config *config;
    const qn_log *log;
    qn_metrics *metrics;
    qn_registry *registry;
    qn_batcher *batcher;
    qn_store *store;
    qn_keys *keys;            /* NULL: everybody may ask */
    struct qn_tls *tls;       /* NULL: plain HTTP */
    qn_http *http;            /* main's: handlers ask qn_exchange_server(), requests come before this is set */
    const char *isa;          /* what kernels use */
    const char **route_names; /* [qn_n_routes + 1] labels for metrics, the last is "none" */
    atomic_bool draining;     /* readiness is 503; requests still run */
    atomic_bool closed;       /* every request is 503: nothing touches the registry or the batcher any more */
} qn_app;

/* The callbacks for qn_http_options. */
void qn_routes_app(qn_app *app, qn_http_app *out);
/* The same for a listener that answers only what is answered while connections are being shed: health and metrics. */
void qn_routes_health_app(qn_app *app, qn_http_app *out);
/* Labels for metrics: "POST /v2/models/{model}/infer". Allocates; the caller frees the array (the texts too: it is one block). */
qn_status qn_routes_names(const char ***out, qn_error *err);

/* -- for endpoints ---------------------------------------------------------------------------------------------------------- */

/* The dispatcher's part of an exchange: x->local. */
typedef struct qn_visit {
    qn_app *app;
    const qn_route *route;
    qn_path path;
    qn_buf control; /* QN_BODY_CONTROL: the body */
    void *state;    /* the endpoint's, freed by its release */
} qn_visit;

static inline qn_visit *qn_visit_of(const qn_exchange *x) { return x->local; }

/* A status from below -> HTTP. `loading` for routes that manage models: there a bad file is the request's fault. */
int qn_reply_status(qn_status status, bool loading);
/* Answer with err in the route's shape. */
void qn_reply_error(qn_exchange *x, const qn_error *err, bool loading);
/* Answer 200 with the JSON in x->reply. */
void qn_reply_json(qn_exchange *x);
/* A control body: empty, or one JSON object no deeper than 32 (jansson parses it, so it must not be deeper). False: an error was sent.
 * out NULL when empty; else the caller owns it (json_decref). */
struct json_t;
bool qn_control_body(qn_exchange *x, struct json_t **out);

/* Triton's word for a state. */
const char *qn_version_state_name(qn_version_state state);

/* Takes a reference to the version the path names, or answers why not. */
bool qn_visit_version(qn_exchange *x, qn_version **out);

/* {"name":..} of all entries of the index for one model: see index.c. */
typedef struct qn_entry {
    char model[QN_MAX_NAME];
    int64_t version;
    qn_version_state state;
    bool served, pinned;
    uint64_t weight_bytes;
    char reason[192];
} qn_entry;
/* A copy of the index, of one model (or all: NULL), in its order; the caller frees *out. */
qn_status qn_entries(qn_registry *registry, const char *model, qn_entry **out, int32_t *n, qn_error *err);

/* Predictions, in either family: prediction.c. */
void qn_prediction_begin(qn_exchange *x, qn_body_kind kind);
void qn_prediction_body(qn_exchange *x, const char *data, size_t n);
void qn_prediction_end(qn_exchange *x);
void qn_prediction_release(qn_exchange *x);

#define QN_ROUTE(method, pattern, scope, family, endpoint, what) extern const qn_endpoint qn_endpoint_##endpoint;
#include "server/routes/routes.def"
#undef QN_ROUTE

#endif
