/* server/http/reaper.c - one thread that watches every connection: deadlines, pace, clients that left, and sockets that linger.
 * Why      the library's own timeout counts inactivity: a client that drips one byte a second lives for ever. And it does not look at a
 *          suspended connection at all.
 * How      every socket is also in the reaper's epoll, edge-triggered and only for hang-ups, so that data never wakes it; deadlines are
 *          looked at every TICK_MS over the whole table, which costs microseconds for a thousand connections.
 * Safety   a socket is only touched under http->mu while it is in the table, and it leaves the table before the library closes it. */
#include "server/http/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_MS        100
#define RATE_WINDOW_US 10000000u
#define LINGER_US      2000000u
#define TAG_LINGER     (UINT64_C(1) << 32)
#define TAG_WAKE       (UINT64_C(1) << 33)

static void count(atomic_uint_fast64_t *counter) { atomic_fetch_add_explicit(counter, 1, memory_order_relaxed); }

/* conn->mu held. Both directions: MHD sees the end of the stream and closes. */
static void cut(qn_conn *c)
{
    c->stage = QN_STAGE_DEAD;
    shutdown(c->fd, SHUT_RDWR);
}

/* A client that takes nothing would have the kernel keep megabytes of its answer behind the end of the connection: it is reset instead. */
static void discard_unsent(qn_conn *c)
{
    const struct linger none = { .l_onoff = 1, .l_linger = 0 };

    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none); /* without it the kernel gives up later */
}

static bool too_slow(qn_conn *c, uint64_t now)
{
    uint64_t have, rate = c->http->options.body_min_bytes_per_s;
    bool slow;

    if (rate == 0 || now < c->rate_from_us + RATE_WINDOW_US) return false;
    have = atomic_load_explicit(&c->body_bytes, memory_order_relaxed);
    slow = have - c->rate_bytes < rate * (RATE_WINDOW_US / 1000000u);
    c->rate_from_us = now;
    c->rate_bytes = have;
    return slow;
}

/* conn->mu held. */
static void look(qn_http *h, qn_conn *c, uint64_t now)
{
    bool late = c->deadline_us && now >= c->deadline_us;

    switch (c->stage) {
    case QN_STAGE_HEADER:
        if (!late) break;
        count(&h->timeouts_header);
        qn_conn_write_error(c, 408, "the request head was not complete in time");
        cut(c);
        break;
    case QN_STAGE_BODY:
        if (!late && !too_slow(c, now)) break;
        count(&h->timeouts_body);
        qn_conn_write_error(c, 408, late ? "the body was not complete in time" : "the body comes too slowly");
        cut(c);
        break;
    case QN_STAGE_WRITE:
        if (!late) break;
        count(&h->timeouts_write);
        discard_unsent(c);
        cut(c);
        break;
    case QN_STAGE_IDLE: {
        const bool over = atomic_load(&h->draining) && now >= atomic_load(&h->drained_us) + h->options.drain_idle_us;
        int unread = 0;

        if (late) count(&h->timeouts_idle);
        /* A client that was not told "close" may be sending at this moment: while draining it has a while to do so, and to be told. */
        if (late || (over && ioctl(c->fd, FIONREAD, &unread) == 0 && unread == 0)) cut(c);
        break;
    }
    case QN_STAGE_RUN:
        if (c->cancel && (c->reset || (c->hung_up_us && now >= c->hung_up_us + QN_HALF_CLOSE_GRACE_US)))
            atomic_store_explicit(c->cancel, true, memory_order_relaxed);
        break;
    case QN_STAGE_DEAD: break;
    }
}

static void scan(qn_http *h, uint64_t now)
{
    pthread_mutex_lock(&h->mu);
    for (size_t i = 0; i < h->n_fds; i++) {
        qn_conn *c = h->by_fd[i];

        if (!c) continue;
        pthread_mutex_lock(&c->mu);
        look(h, c, now);
        pthread_mutex_unlock(&c->mu);
    }
    pthread_mutex_unlock(&h->mu);
}

/* An edge may be about a socket whose number has been used again since: ask the socket itself. */
static void on_edge(qn_http *h, size_t fd, uint64_t now)
{
    pthread_mutex_lock(&h->mu);
    if (fd < h->n_fds && h->by_fd[fd]) {
        qn_conn *c = h->by_fd[fd];
        struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };

        if (poll(&p, 1, 0) > 0) {
            pthread_mutex_lock(&c->mu);
            if (!c->hung_up_us) c->hung_up_us = now;
            if (p.revents & (POLLERR | POLLHUP)) c->reset = true;
            look(h, c, now);
            pthread_mutex_unlock(&c->mu);
        }
    }
    pthread_mutex_unlock(&h->mu);
}

/* -- lingering: http->mu held --------------------------------------------------------------------------------------------- */

static void linger_end(qn_http *h, int i)
{
    close(h->lingering[i].fd); /* also leaves the epoll: it is the last copy */
    h->lingering[i] = h->lingering[--h->n_lingering];
}

/* Throw away what came. True when the client is done or has sent more than a copy of the socket is worth. */
static bool linger_read(int fd)
{
    for (int i = 0; i < 64; i++) {
        ssize_t n = recv(fd, NULL, 1 << 20, MSG_DONTWAIT | MSG_TRUNC); /* TCP: counted and dropped, never copied */

        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) return true;
        if (n < 0) return false;
    }
    return false;
}

static void linger_scan(qn_http *h, uint64_t now)
{
    pthread_mutex_lock(&h->mu);
    for (int i = h->n_lingering - 1; i >= 0; i--) {
        if (linger_read(h->lingering[i].fd) || now >= h->lingering[i].until_us) linger_end(h, i);
    }
    pthread_mutex_unlock(&h->mu);
}

static void linger_begin(qn_http *h, qn_conn *c)
{
    struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.u64 = TAG_LINGER };
    int copy;

    if (h->n_lingering == QN_LINGER_MAX) return;
    copy = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return;
    shutdown(copy, SHUT_WR);
    (void)epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, copy, &e); /* only wakes; the tick would find it too */
    h->lingering[h->n_lingering].fd = copy;
    h->lingering[h->n_lingering].until_us = qn_now_us() + LINGER_US;
    h->n_lingering++;
}

/* -- the table ------------------------------------------------------------------------------------------------------------ */

bool qn_reaper_add(qn_http *h, qn_conn *c)
{
    struct epoll_event e = { .events = EPOLLRDHUP | EPOLLET, .data.u64 = (uint64_t)c->fd };
    size_t fd = (size_t)c->fd;
    bool ok = true;

    pthread_mutex_lock(&h->mu);
    if (fd >= h->n_fds) {
        size_t n = fd + 64;
        qn_conn **grown = realloc(h->by_fd, n * sizeof(*grown));

        if (grown) {
            memset(grown + h->n_fds, 0, (n - h->n_fds) * sizeof(*grown));
            h->by_fd = grown;
            h->n_fds = n;
        }
        ok = grown != NULL;
    }
    if (ok) {
        h->by_fd[fd] = c;
        (void)epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, c->fd, &e); /* without it a hang-up is not seen, deadlines still hold */
    }
    pthread_mutex_unlock(&h->mu);
    if (ok && atomic_load_explicit(&h->connections, memory_order_relaxed) <= 1) qn_reaper_wake(h);
    return ok;
}

void qn_reaper_remove(qn_http *h, qn_conn *c)
{
    pthread_mutex_lock(&h->mu);
    (void)epoll_ctl(h->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    if (c->linger) linger_begin(h, c);
    if ((size_t)c->fd < h->n_fds && h->by_fd[c->fd] == c) h->by_fd[c->fd] = NULL;
    pthread_mutex_unlock(&h->mu);
}

void qn_reaper_wake(qn_http *h)
{
    uint64_t one = 1;
    ssize_t ignored = write(h->wake_fd, &one, sizeof one);

    (void)ignored;
}

static bool anything_to_watch(qn_http *h)
{
    bool yes;

    pthread_mutex_lock(&h->mu);
    yes = h->n_lingering > 0;
    pthread_mutex_unlock(&h->mu);
    return yes || atomic_load(&h->connections) > 0;
}

static void *reaper_main(void *arg)
{
    qn_http *h = arg;
    struct epoll_event events[64];
    uint64_t next_scan = 0;

    pthread_setname_np(pthread_self(), "quern-reaper");
    while (!atomic_load(&h->stopping)) {
        int n = epoll_wait(h->epoll_fd, events, 64, anything_to_watch(h) ? TICK_MS : -1);
        uint64_t now = qn_now_us(), drained;
        bool lingered = false;

        for (int i = 0; i < n; i++) {
            uint64_t tag = events[i].data.u64;

            if (tag == TAG_WAKE) {
                ssize_t ignored = read(h->wake_fd, &drained, sizeof drained);

                (void)ignored;
            } else if (tag == TAG_LINGER) {
                lingered = true;
            } else {
                on_edge(h, (size_t)tag, now);
            }
        }
        if (lingered || now >= next_scan) linger_scan(h, now);
        if (now >= next_scan) {
            scan(h, now);
            next_scan = now + TICK_MS * 1000u;
        }
    }
    return NULL;
}

qn_status qn_reaper_start(qn_http *h, qn_error *err)
{
    struct epoll_event e = { .events = EPOLLIN, .data.u64 = TAG_WAKE };
    pthread_attr_t attr;
    int rc;

    h->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->epoll_fd < 0 || h->wake_fd < 0 || epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, h->wake_fd, &e) != 0)
        return qn_error_set(err, QN_ERR_IO, "reaper: %s", strerror(errno));
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 512 * 1024);
    rc = pthread_create(&h->reaper, &attr, reaper_main, h);
    pthread_attr_destroy(&attr);
    if (rc != 0) return qn_error_set(err, QN_ERR_IO, "reaper thread: %s", strerror(rc));
    h->reaper_running = true;
    return QN_OK;
}

void qn_reaper_stop(qn_http *h)
{
    if (h->reaper_running) {
        atomic_store(&h->stopping, true);
        qn_reaper_wake(h);
        pthread_join(h->reaper, NULL);
        h->reaper_running = false;
    }
    for (int i = h->n_lingering - 1; i >= 0; i--) linger_end(h, i);
    if (h->wake_fd >= 0) close(h->wake_fd);
    if (h->epoll_fd >= 0) close(h->epoll_fd);
    h->wake_fd = h->epoll_fd = -1;
}
