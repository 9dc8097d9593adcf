/* server/metrics/metrics.h - counters and histograms of the daemon, and their Prometheus text.
 *
 * Counting is wait-free: every thread adds to one of a few shards, each on cache lines of its own, and a scrape sums them.
 * What the registry, the batcher and the HTTP room count themselves is handed in at the scrape as a qn_metrics_view.
 * Source:  Prometheus text exposition format 0.0.4.
 * Threads: every function may be called from any thread. */
#ifndef QUERN_SERVER_METRICS_H
#define QUERN_SERVER_METRICS_H

#include "quern/buf.h"
#include "quern/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct qn_metrics qn_metrics;

/* routes [n_routes]: the values of the label `route`; borrowed for the object's life. The last one takes what no route matched. */
qn_status qn_metrics_create(const char *const *routes, int32_t n_routes, qn_metrics **out, qn_error *err);
void qn_metrics_destroy(qn_metrics *m);
/* When it was made: seconds since the epoch. */
int64_t qn_metrics_started(const qn_metrics *m);

/* Where the time of a prediction goes. */
typedef enum qn_time { QN_TIME_BODY, QN_TIME_QUEUE, QN_TIME_RUN, QN_TIME_ENCODE, QN_TIME_COUNT } qn_time;
extern const char *const qn_time_names[QN_TIME_COUNT];

/* Values of the labels `reason` and `cause`: qn_left and qn_refused of server/batcher, in their order. */
#define QN_METRICS_LEFT    4
#define QN_METRICS_REFUSED 5

void qn_metrics_request(qn_metrics *m, int32_t route, int status, uint64_t duration_us);
void qn_metrics_queued(qn_metrics *m, uint64_t queue_us);
void qn_metrics_times(qn_metrics *m, const uint64_t us[QN_TIME_COUNT]);
void qn_metrics_batch(qn_metrics *m, int64_t rows, uint64_t run_us, int left);
void qn_metrics_refused(qn_metrics *m, int cause);
void qn_metrics_load(qn_metrics *m, bool ok);

typedef struct qn_metrics_model {
    char name[65];
    int64_t version;
    int64_t waiting;
    uint64_t n_success, n_failed, n_rejected, n_cancelled, n_expired, n_rows, n_batches, queue_us, run_us, oldest_us,
        weight_bytes; /* oldest_us: waited */
} qn_metrics_model;

/* What others count, as it is now. */
typedef struct qn_metrics_view {
    const char *version, *isa;
    bool ready;
    int64_t connections;
    uint64_t connections_total, bytes_in_flight, weight_bytes;
    uint64_t timeouts_header, timeouts_body, timeouts_idle, timeouts_write;
    uint64_t shed_connections, shed_bytes;
    const qn_metrics_model *models; /* [n_models] */
    int32_t n_models;
} qn_metrics_view;

/* Append the whole exposition. out->failed tells if it did not fit. */
void qn_metrics_render(qn_metrics *m, const qn_metrics_view *view, qn_buf *out);

/* A label value or HELP text with backslash, newline and (in label values) the quote escaped. */
void qn_metrics_escape(qn_buf *out, const char *s, bool label);

#endif
