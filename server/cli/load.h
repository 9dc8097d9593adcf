/* server/cli/load.h - what quern load was asked for, the engine that does it, and what came of it. Private to cli/. Times in nanoseconds. */
#ifndef QUERN_SERVER_CLI_LOAD_H
#define QUERN_SERVER_CLI_LOAD_H

#include "quern/buf.h"
#include "quern/error.h"
#include "server/cli/histogram.h"

#include <netinet/in.h>
#include <sys/socket.h>

typedef struct qn_load_plan {
    struct sockaddr_storage address;
    socklen_t address_len;
    const char *request; /* head and body as they are sent */
    size_t request_len;
    bool is_head;
    int n_connections;
    double rate;  /* requests a second, open loop; 0: closed, every connection asks again at once */
    bool poisson; /* gaps are exponential, else all the same */
    uint64_t seed;
    uint64_t warmup_ns, length_ns, timeout_ns;
    bool progress; /* a line a second on stderr */
} qn_load_plan;

typedef struct qn_load_result {
    qn_histogram latency;               /* open loop: from when the request was due; closed: from when it was sent */
    qn_histogram service;               /* from when it was sent */
    qn_histogram good;                  /* latency of the answers 200..399 */
    qn_histogram refused;               /* service of the answers 429 and 503 */
    uint64_t n_due, n_answered;         /* in the measured time */
    uint64_t n_arrived, n_arrived_good; /* answers that came in the measured time, whenever they were due */
    uint64_t status[600];
    uint64_t n_told_when;                                              /* of the refused: with Retry-After */
    uint64_t connect_errors, timeouts, cut_short, malformed, not_sent; /* not_sent: still waiting for a connection at the end */
    uint64_t reconnects, bytes_in, bytes_out, most_waiting;
    uint64_t measured_ns;
} qn_load_result;

/* Runs for warmup + length, and until what is under way is over or timed out. Fails with QN_ERR_NOMEM, QN_ERR_IO. */
qn_status qn_load_run(const qn_load_plan *plan, qn_load_result *out, qn_error *err);

#endif
