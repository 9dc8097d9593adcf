/* server/http/http.h - sockets, connections, deadlines; one exchange (a request and its reply) at a time for each connection.
 *
 * An exchange moves along these arrows; [brackets] name who moves it. T: the connection's HTTP thread; R: the reaper; W: any thread.
 *   IDLE --[first byte of a request, T]--> HEADER --[guard, route, T]--> BODY --[end of the body, T]--> WRITE --[reply sent, T]--> IDLE
 *                                                                          |                              ^
 *                                                          [qn_exchange_suspend, T]      [qn_exchange_resume, W]
 *                                                                          '-------------> RUN -----------'
 *   HEADER, BODY, WRITE and IDLE have an absolute deadline. R cuts off what is late: in HEADER and BODY with a 408, else silently.
 *   RUN is suspended: no HTTP thread looks at the connection. R watches for a client that goes away and then raises the cancel flag;
 *   whoever works on the exchange still resumes it, exactly once. A client that only closed its sending half looks the same as one that
 *   left, so it has QN_HALF_CLOSE_GRACE_US to be answered before its work is cancelled; a reset cancels at once.
 * Admission: a request reserves its declared body (times the route's factor) before it is read, chunked bodies as they come.
 * Refusals: an error that is known before the body was read is answered after the body when that is small (the connection lives on), else
 *   at once with Connection: close, and what the client still sends is read and thrown away for a moment, so that it sees the answer
 *   and not a reset.
 * Locks: qn_http.mu guards the table of connections; a connection's mu guards its stage and the cancel pointer. mu of qn_http may be held
 *   when a connection's is taken, never the other way round; no callback is called with either held.
 * Not here: what a path means (server/routes). */
#ifndef QUERN_SERVER_HTTP_H
#define QUERN_SERVER_HTTP_H

#include "quern/buf.h"
#include "quern/error.h"
#include "server/http/guard.h"
#include "server/metrics/log.h"

#include <stdatomic.h>

#define QN_HALF_CLOSE_GRACE_US 1000000u

typedef struct qn_http qn_http;
typedef struct qn_exchange qn_exchange;

/* How a route takes its request. All on the HTTP thread but for what `end` starts. Any of begin, body, end may reply; then the later ones
 * are not called. `end` replies or suspends. */
typedef struct qn_handler {
    void (*begin)(qn_exchange *x);                            /* the head is good, nothing of the body was read; may be NULL */
    void (*body)(qn_exchange *x, const char *data, size_t n); /* NULL: the body is read and dropped */
    void (*end)(qn_exchange *x);
    void (*release)(qn_exchange *x); /* the exchange is over, replied or not; frees x->local; may be NULL */
} qn_handler;

/* One request and its reply. */
struct qn_exchange {
    /* the request */
    const qn_http_head *head;
    qn_framing framing;
    char id[65];         /* X-Request-Id: the client's if it is a sane token, else made here */
    uint64_t started_us; /* CLOCK_MONOTONIC, when the head was complete */
    /* set by the app's route() */
    const qn_handler *handler;
    uint64_t max_body;
    unsigned media;       /* QN_MEDIA_* */
    uint32_t body_factor; /* bytes reserved for one byte of a JSON body; 0: the handler keeps none of it in memory */
    bool always;          /* answered even when connections are being shed */
    int32_t route;        /* the app's number for it, for metrics */
    void *app;            /* the app's */
    void *local;          /* the handler's */
    char who[65];         /* the app's: who asks, for logs; "" unknown */
    /* the reply: see qn_exchange_reply() */
    int status; /* 0: not yet */
    const char *content_type;
    const char *allow;     /* Allow header, or NULL */
    int32_t retry_after_s; /* 0: none */
    int64_t header_bytes;  /* Inference-Header-Content-Length; -1: none */
    const char *encoding;  /* Content-Encoding, or NULL */
    bool may_encode;       /* the reply may depend on Accept-Encoding */
    char timing[128];      /* Server-Timing, or "" */
    bool close;            /* end the connection after this reply */
    bool head_only;        /* HEAD: body counted, not sent */
    qn_buf reply;
    struct qn_conn *conn;
};

typedef struct qn_http_app {
    void *user;
    void (*route)(void *user, qn_exchange *x);                                  /* set the fields above, or reply */
    void (*error)(void *user, qn_exchange *x, int status, const char *message); /* write an error body into x->reply, set content_type */
    void (*finished)(void *user, qn_exchange *x, uint64_t duration_us);         /* for metrics and logs; status 499: the client left */
} qn_http_app;

typedef struct qn_http_options {
    int listen_fd;        /* listening; owned by qn_http from a successful start on */
    bool listener_shared; /* the socket was handed over: who gave it may go on listening when this process stops */
    int n_threads;
    int64_t max_connections, max_connections_per_address;
    uint64_t header_timeout_us, body_timeout_us, idle_timeout_us, write_timeout_us;
    uint64_t drain_idle_us; /* after qn_http_drain(), until idle connections are closed */
    uint64_t body_min_bytes_per_s;
    uint64_t max_inflight_bytes;
    bool tls;          /* with the certificate of tls.h */
    qn_http *stats_of; /* whose numbers handlers show: NULL this server's own */
    qn_http_app app;
    const qn_log *log;
} qn_http_options;

typedef struct qn_http_stats {
    int64_t connections, exchanges; /* now; exchanges: heads accepted and not yet over */
    uint64_t connections_total, bytes_in_flight;
    uint64_t timeouts_header, timeouts_body, timeouts_idle, timeouts_write;
    uint64_t shed_connections, shed_bytes;
} qn_http_stats;

qn_status qn_http_start(const qn_http_options *options, qn_http **out, qn_error *err);
/* Stop accepting: a listener of our own refuses from here on, a shared one keeps its queue for the next process. Replies get Connection: close, idle connections are closed. Requests go on. Call once. */
void qn_http_drain(qn_http *http);
/* Raise the cancel flag of everything that is suspended. */
void qn_http_cancel(qn_http *http);
/* After qn_http_drain() and when nothing is suspended: stop the threads, close all connections, free. NULL allowed. */
void qn_http_destroy(qn_http *http);
void qn_http_get_stats(qn_http *http, qn_http_stats *out);

/* "ADDR:PORT" -> a listening socket; numeric addresses, [v6], "localhost". Addresses that are not loopback are refused with QN_ERR_INVALID
 * unless anywhere.
 * QN_ERR_IO: the system said no. */
qn_status qn_http_listen(const char *address, bool anywhere, int *fd, qn_error *err);
/* Only the checks of qn_http_listen(). */
qn_status qn_http_check_address(const char *address, bool anywhere, qn_error *err);
/* A socket that was handed over (socket activation): checked for being a TCP listener, on loopback unless anywhere. */
qn_status qn_http_adopt(int fd, bool anywhere, qn_error *err);
/* "127.0.0.1:8000" of a listening socket. */
void qn_http_address(int fd, char *out, size_t cap);

/* -- for handlers ---------------------------------------------------------------------------------------------------------- */

/* Reply with what is in x->reply; once, by the one who holds the exchange. content_type is constant text. A large reply is compressed
 * here, on the caller's thread, if the client asks for that. */
void qn_exchange_reply(qn_exchange *x, int status, const char *content_type);
/* Reply with an error in the app's shape; x->reply is emptied first. */
__attribute__((format(printf, 3, 4))) void qn_exchange_error(qn_exchange *x, int status, const char *fmt, ...);

/* Only in handler->end: take the connection off its thread. Must be called before anybody can resume it. cancel is raised when the client
 * goes away; it stays valid until qn_exchange_resume(). NULL allowed. */
void qn_exchange_suspend(qn_exchange *x, atomic_bool *cancel);
/* The reply is there: from any thread, exactly once after suspend. The exchange may be gone when it returns. */
void qn_exchange_resume(qn_exchange *x);

/* Change what this exchange has reserved. Growing fails when max_inflight_bytes is reached. */
bool qn_exchange_reserve(qn_exchange *x, uint64_t bytes);

/* The only field of that name, or NULL if there is none or more than one. */
const qn_http_field *qn_exchange_field(const qn_exchange *x, const char *name);

/* Whose connection it is on. */
qn_http *qn_exchange_server(const qn_exchange *x);

uint64_t qn_now_us(void); /* CLOCK_MONOTONIC */

#endif
