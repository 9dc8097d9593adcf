/* server/http/conn.h - inside the room: a connection, the table of all of them, and the reaper that watches them. See http.h. */
#ifndef QUERN_SERVER_CONN_H
#define QUERN_SERVER_CONN_H

#include "server/http/http.h"

#include <microhttpd.h>
#include <pthread.h>

typedef enum qn_stage { QN_STAGE_IDLE, QN_STAGE_HEADER, QN_STAGE_BODY, QN_STAGE_RUN, QN_STAGE_WRITE, QN_STAGE_DEAD } qn_stage;

typedef struct qn_conn {
    qn_http *http;
    struct MHD_Connection *mhd;
    int fd;
    uint8_t address[16]; /* client, IPv4 mapped into IPv6 */
    bool shed;           /* over a connection limit: one 503, then closed */
    bool linger;         /* read on for a moment after closing */

    pthread_mutex_t mu; /* guards what follows up to the blank line */
    qn_stage stage;
    uint64_t deadline_us; /* of the stage; 0: none */
    uint64_t hung_up_us;  /* when the client closed its sending half; 0: not */
    bool reset;           /* the connection is broken */
    atomic_bool *cancel;  /* in RUN */
    int raw_status;       /* of an answer written past the library; 0: none. x.id is guarded too */

    atomic_uint_fast64_t body_bytes;   /* read of this body */
    uint64_t rate_from_us, rate_bytes; /* the reaper's window over body_bytes */

    /* the HTTP thread's */
    bool target_seen, target_clean;
    const char *target;
    size_t target_len;
    bool begun;          /* handler called for this request */
    bool queued;         /* the response is MHD's */
    bool suspended;      /* by the handler, not yet seen again */
    uint64_t discarded;  /* body bytes dropped after an early answer */
    uint64_t reserved;   /* bytes of max_inflight_bytes */
    atomic_bool replied; /* released by whoever replies, acquired by the HTTP thread */
    qn_http_head head;
    qn_exchange x;
} qn_conn;

#define QN_LINGER_MAX 256

struct qn_http {
    qn_http_options options;
    struct MHD_Daemon *mhd;
    bool check_layout; /* the library is the one whose parser guard.c knows */
    uint64_t id_seed;
    atomic_uint_fast64_t next_id;
    atomic_bool draining;
    atomic_uint_fast64_t drained_us; /* when draining began */

    pthread_mutex_t mu; /* guards what follows up to the blank line */
    qn_conn **by_fd;    /* [n_fds] */
    size_t n_fds;
    struct {
        int fd;
        uint64_t until_us;
    } lingering[QN_LINGER_MAX];
    int n_lingering;

    pthread_t reaper;
    bool reaper_running;
    atomic_bool stopping;
    int epoll_fd, wake_fd;
    int quiesced_fd; /* the listener after qn_http_drain(); -1 before */

    atomic_int_fast64_t connections, exchanges;
    atomic_uint_fast64_t connections_total, bytes_in_flight;
    atomic_uint_fast64_t timeouts_header, timeouts_body, timeouts_idle, timeouts_write, shed_connections, shed_bytes;
};

/* reaper.c */
qn_status qn_reaper_start(qn_http *http, qn_error *err);
void qn_reaper_stop(qn_http *http);
void qn_reaper_wake(qn_http *http);
/* A connection opens and closes; called on its HTTP thread. remove keeps a copy of the socket for a while when conn->linger is set. */
bool qn_reaper_add(qn_http *http, qn_conn *conn);
void qn_reaper_remove(qn_http *http, qn_conn *conn);

/* conn.c: answers written past the library, where it takes none: from the reaper in HEADER and BODY, and in the middle of a body. The
 * connection ends with it; under TLS it ends without an answer. conn->mu held. The message is our own words, without anything to escape. */
void qn_conn_write_error(qn_conn *conn, int status, const char *message);
void qn_conn_write_reply(qn_conn *conn, int status, const char *json, size_t n);
/* A request id of 16 hex digits. */
void qn_http_make_id(qn_http *http, char *out, size_t cap);
/* Move to a stage with a deadline `timeout_us` from now (0: none). False if the reaper has cut the connection off. */
bool qn_conn_stage(qn_conn *conn, qn_stage stage, uint64_t timeout_us);

#endif
