/* server/cli/load_engine.c - connections on one epoll, and the schedule they serve.
 *   CLOSED --[start]--> CONNECTING --> SENDING --> READING --[reply]--> IDLE --[start]--> SENDING ...
 * Open loop: requests become due by the clock, whatever the server does; one that finds no idle connection waits, and its waiting counts
 * in its latency. Otherwise a server that stops for a second would spare itself the requests of that second (coordinated omission).
 * Threads: one. */
#include "server/cli/load.h"

#include "server/cli/load_reply.h"

#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES  65536
#define MAX_WAITING (1u << 20) /* due requests without a connection; more are only counted */
#define RETRY_NS    10000000u  /* after a connection was refused */
#define SWEEP_NS    5000000u   /* between looks at what is overdue */
#define PROGRESS_NS 1000000000u
#define LATE_NS     1000000000u /* after the end: what still waits for a connection is not sent any more */

typedef enum state { CLOSED, CONNECTING, SENDING, READING, IDLE } state;

typedef struct conn {
    int fd;
    state state;
    size_t sent;
    uint64_t due_ns, sent_ns; /* of the request under way */
    uint64_t not_before_ns;   /* CLOSED: no new attempt until then */
    bool reused, retried;
    struct conn *next; /* among the free ones */
    qn_reply reply;
} conn;

typedef struct engine {
    const qn_load_plan *plan;
    qn_load_result *r;
    int epoll;
    conn *conns, *free; /* free: CLOSED or IDLE */
    int n_busy;
    uint64_t *waiting, head, tail; /* due times, a ring of MAX_WAITING */
    uint64_t next_due_ns, begin_ns, measure_ns, end_ns, swept_ns, shown_ns;
    uint64_t random;
    char buffer[READ_BYTES];
} engine;

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t draw(engine *e)
{
    uint64_t z = e->random += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t gap_ns(engine *e)
{
    double gap = 1e9 / e->plan->rate;

    if (e->plan->poisson) gap *= -log(((double)(draw(e) >> 11) + 0.5) * 0x1p-53);
    return (uint64_t)gap;
}

static bool measured(const engine *e, uint64_t due_ns) { return due_ns >= e->measure_ns && due_ns < e->end_ns; }

/* -- one connection ------------------------------------------------------------------------------------------------------- */

static void set_free(engine *e, conn *c, state s)
{
    c->state = s;
    c->next = e->free;
    e->free = c;
    e->n_busy--;
}

static void hang_up(conn *c)
{
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

/* The request under way failed: counted, and the connection begins anew. */
static void fail(engine *e, conn *c, uint64_t *counter)
{
    if (measured(e, c->due_ns)) (*counter)++;
    hang_up(c);
    set_free(e, c, CLOSED);
}

static bool watch(engine *e, conn *c, int op, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.ptr = c };

    return epoll_ctl(e->epoll, op, c->fd, &ev) == 0;
}

static void send_more(engine *e, conn *c)
{
    while (c->sent < e->plan->request_len) {
        ssize_t n = send(c->fd, e->plan->request + c->sent, e->plan->request_len - c->sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (c->state != SENDING || c->sent == 0) (void)watch(e, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            c->state = SENDING;
            return;
        }
        if (n < 0) { /* what the server said before it closed, if anything, is read next */
            c->sent = e->plan->request_len;
            break;
        }
        c->sent += (size_t)n;
        e->r->bytes_out += (uint64_t)n;
    }
    if (c->state != READING) (void)watch(e, c, EPOLL_CTL_MOD, EPOLLIN);
    c->state = READING;
}

static void open_connection(engine *e, conn *c)
{
    const int one = 1;

    c->reused = false;
    c->fd = socket(e->plan->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd >= 0) (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (c->fd < 0 || (connect(c->fd, (const struct sockaddr *)&e->plan->address, e->plan->address_len) != 0 && errno != EINPROGRESS) ||
        !watch(e, c, EPOLL_CTL_ADD, EPOLLOUT)) {
        c->not_before_ns = now_ns() + RETRY_NS;
        fail(e, c, &e->r->connect_errors);
        return;
    }
    c->state = CONNECTING;
}

/* A free connection takes the request that was due at due_ns. */
static void start(engine *e, conn *c, uint64_t due_ns)
{
    e->n_busy++;
    c->due_ns = due_ns;
    c->sent_ns = now_ns();
    c->sent = 0;
    c->retried = false;
    qn_reply_begin(&c->reply, e->plan->is_head);
    if (c->state == CLOSED) {
        open_connection(e, c);
        return;
    }
    c->reused = true;
    c->state = READING; /* which is what it is watched for */
    send_more(e, c);
}

static void finish(engine *e, conn *c, uint64_t now)
{
    if (measured(e, now)) {
        e->r->n_arrived++;
        e->r->n_arrived_good += c->reply.status >= 200 && c->reply.status < 400;
    }
    if (measured(e, c->due_ns)) {
        const uint64_t latency = now - (e->plan->rate > 0 ? c->due_ns : c->sent_ns), service = now - c->sent_ns;
        const int status = c->reply.status;

        qn_histogram_add(&e->r->latency, latency);
        qn_histogram_add(&e->r->service, service);
        if (status >= 200 && status < 400) qn_histogram_add(&e->r->good, latency);
        if (status == 429 || status == 503) {
            qn_histogram_add(&e->r->refused, service);
            e->r->n_told_when += c->reply.says_when;
        }
        e->r->status[status]++;
        e->r->n_answered++;
    }
    if (!c->reply.keep_alive) hang_up(c);
    set_free(e, c, c->reply.keep_alive ? IDLE : CLOSED);
}

/* The server closed. A connection that was kept may be closed at any time: the request goes out once more, on a new one. */
static void closed_by_server(engine *e, conn *c)
{
    qn_reply_close(&c->reply);
    if (c->reply.state == QN_REPLY_DONE) {
        finish(e, c, now_ns());
    } else if (c->reused && !c->reply.began && !c->retried) {
        hang_up(c);
        e->r->reconnects++;
        c->retried = true;
        c->sent = 0;
        open_connection(e, c);
    } else {
        fail(e, c, &e->r->cut_short);
    }
}

static void receive(engine *e, conn *c)
{
    while (c->state == READING || c->state == SENDING) {
        ssize_t n = recv(c->fd, e->buffer, sizeof e->buffer, 0);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (n <= 0) {
            closed_by_server(e, c);
            return;
        }
        e->r->bytes_in += (uint64_t)n;
        if (qn_reply_feed(&c->reply, e->buffer, (size_t)n) < (size_t)n && c->reply.state == QN_REPLY_DONE) c->reply.keep_alive = false;
        if (c->reply.state == QN_REPLY_BAD) {
            fail(e, c, &e->r->malformed);
        } else if (c->reply.state == QN_REPLY_DONE) {
            if (c->sent < e->plan->request_len) c->reply.keep_alive = false; /* answered before it was sent */
            finish(e, c, now_ns());
        } else if ((size_t)n < sizeof e->buffer) {
            return;
        }
    }
}

static void on_event(engine *e, conn *c, uint32_t events)
{
    if (c->state == IDLE) { /* closed while nobody asked, or bytes that belong to nothing */
        hang_up(c);
        c->state = CLOSED;
        return;
    }
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t len = sizeof error;

        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error) {
            c->not_before_ns = now_ns() + RETRY_NS;
            fail(e, c, &e->r->connect_errors);
            return;
        }
        c->state = SENDING;
        send_more(e, c);
        return;
    }
    if (c->state == SENDING && (events & EPOLLOUT)) send_more(e, c);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(e, c);
}

/* -- the schedule --------------------------------------------------------------------------------------------------------- */

/* A free connection that may be tried now, or NULL. */
static conn *take_free(engine *e, uint64_t now)
{
    for (conn **p = &e->free; *p; p = &(*p)->next) {
        conn *c = *p;

        if (c->state == CLOSED && c->not_before_ns > now) continue;
        *p = c->next;
        return c;
    }
    return NULL;
}

static void become_due(engine *e, uint64_t now)
{
    for (; e->next_due_ns <= now && e->next_due_ns < e->end_ns; e->next_due_ns += gap_ns(e)) {
        if (measured(e, e->next_due_ns)) e->r->n_due++;
        if (e->tail - e->head == MAX_WAITING) {
            if (measured(e, e->next_due_ns)) e->r->not_sent++;
            continue;
        }
        e->waiting[e->tail++ % MAX_WAITING] = e->next_due_ns;
    }
    if (e->tail - e->head > e->r->most_waiting) e->r->most_waiting = e->tail - e->head;
}

static void start_all(engine *e, uint64_t now)
{
    conn *c;

    if (e->plan->rate > 0) {
        become_due(e, now);
        if (now >= e->end_ns + LATE_NS) return;
        while (e->head < e->tail && (c = take_free(e, now))) start(e, c, e->waiting[e->head++ % MAX_WAITING]);
        return;
    }
    while (now < e->end_ns && (c = take_free(e, now))) {
        if (measured(e, now)) e->r->n_due++;
        start(e, c, now);
    }
}

static void sweep(engine *e, uint64_t now)
{
    if (now - e->swept_ns < SWEEP_NS) return;
    e->swept_ns = now;
    for (int i = 0; i < e->plan->n_connections; i++) {
        conn *c = &e->conns[i];

        if (c->state != IDLE && c->state != CLOSED && now > c->sent_ns && now - c->sent_ns > e->plan->timeout_ns)
            fail(e, c, &e->r->timeouts);
    }
}

static void show(engine *e, uint64_t now)
{
    if (!e->plan->progress || now - e->shown_ns < PROGRESS_NS) return;
    e->shown_ns = now;
    fprintf(stderr, "\r%5.0f s  %10llu answered  p50 %.3f ms  p99 %.3f ms  %llu waiting   ", (double)(now - e->begin_ns) * 1e-9,
            (unsigned long long)e->r->n_answered, (double)qn_histogram_percentile(&e->r->latency, 500000) * 1e-6,
            (double)qn_histogram_percentile(&e->r->latency, 990000) * 1e-6, (unsigned long long)(e->tail - e->head));
}

/* Until when epoll may sleep. */
static struct timespec sleep_for(const engine *e, uint64_t now)
{
    uint64_t ns = SWEEP_NS;

    /* With requests waiting, only an event frees a connection for the next: what becomes due meanwhile is counted then. */
    if (e->plan->rate > 0 && e->next_due_ns < e->end_ns && e->head == e->tail) ns = e->next_due_ns > now ? e->next_due_ns - now : 0;
    if (ns > SWEEP_NS) ns = SWEEP_NS;
    return (struct timespec){ .tv_nsec = (long)ns };
}

static qn_status loop(engine *e, qn_error *err)
{
    for (;;) {
        struct epoll_event events[256];
        uint64_t now = now_ns();
        struct timespec t;
        int n;

        start_all(e, now);
        if (now >= e->end_ns && e->n_busy == 0) return QN_OK; /* what still waits could only time out */
        t = sleep_for(e, now_ns());
        n = epoll_pwait2(e->epoll, events, 256, &t, NULL);
        if (n < 0 && errno != EINTR) return qn_error_set(err, QN_ERR_IO, "epoll: %s", strerror(errno));
        for (int i = 0; i < n; i++) on_event(e, events[i].data.ptr, events[i].events);
        now = now_ns();
        sweep(e, now);
        show(e, now);
    }
}

qn_status qn_load_run(const qn_load_plan *plan, qn_load_result *out, qn_error *err)
{
    engine *e = calloc(1, sizeof *e);
    qn_status st = QN_OK;

    memset(out, 0, sizeof *out);
    if (e) {
        e->conns = calloc((size_t)plan->n_connections, sizeof *e->conns);
        e->waiting = plan->rate > 0 ? malloc(MAX_WAITING * sizeof *e->waiting) : NULL;
        e->epoll = epoll_create1(EPOLL_CLOEXEC);
    }
    if (!e || !e->conns || (plan->rate > 0 && !e->waiting))
        st = qn_error_set(err, QN_ERR_NOMEM, "%d connections", plan->n_connections);
    else if (e->epoll < 0)
        st = qn_error_set(err, QN_ERR_IO, "epoll: %s", strerror(errno));
    if (st == QN_OK) {
        e->plan = plan;
        e->r = out;
        e->random = plan->seed;
        e->n_busy = plan->n_connections;
        for (int i = plan->n_connections - 1; i >= 0; i--) {
            e->conns[i].fd = -1;
            set_free(e, &e->conns[i], CLOSED);
        }
        e->begin_ns = e->next_due_ns = e->shown_ns = now_ns();
        e->measure_ns = e->begin_ns + plan->warmup_ns;
        e->end_ns = e->measure_ns + plan->length_ns;
        out->measured_ns = plan->length_ns;
        st = loop(e, err);
        for (uint64_t i = e->head; i < e->tail; i++) out->not_sent += measured(e, e->waiting[i % MAX_WAITING]);
        for (int i = 0; i < plan->n_connections; i++) hang_up(&e->conns[i]);
        if (plan->progress) fputc('\n', stderr);
    }
    if (e) {
        if (e->epoll >= 0) close(e->epoll);
        free(e->conns);
        free(e->waiting);
    }
    free(e);
    return st;
}
