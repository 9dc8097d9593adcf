/* server/metrics/notify.c - sd_notify, socket activation, and the watchdog's thread. */
#include "server/metrics/notify.h"

#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#ifdef QUERN_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

static void notify(const char *state)
{
#ifdef QUERN_SYSTEMD
    (void)sd_notify(0, state); /* outside a unit this does nothing */
#else
    (void)state;
#endif
}

void qn_notify_ready(void) { notify("READY=1"); }

void qn_notify_stopping(void) { notify("STOPPING=1"); }

void qn_notify_reloading(void)
{
    struct timespec t;
    char state[80];

    clock_gettime(CLOCK_MONOTONIC, &t);
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)t.tv_sec * 1000000u + (unsigned long long)t.tv_nsec / 1000u);
    notify(state);
}

qn_status qn_notify_socket(int *fd, qn_error *err)
{
    *fd = -1;
#ifdef QUERN_SYSTEMD
    int n = sd_listen_fds(1);

    if (n < 0) return qn_error_set(err, QN_ERR_IO, "socket activation: %s", strerror(-n));
    if (n > 1) return qn_error_set(err, QN_ERR_INVALID, "socket activation: %d sockets, one expected", n);
    if (n == 1) *fd = SD_LISTEN_FDS_START;
#else
    (void)err;
#endif
    return QN_OK;
}

struct qn_watchdog {
    bool (*alive)(void *user, int timeout_ms);
    void *user;
    int period_ms;
    int stop_fd;
    pthread_t thread;
    bool running;
};

static void *watchdog_main(void *arg)
{
    qn_watchdog *w = arg;
    struct pollfd p = { .fd = w->stop_fd, .events = POLLIN };

    pthread_setname_np(pthread_self(), "quern-watchdog");
    while (poll(&p, 1, w->period_ms) == 0) {
        if (w->alive(w->user, w->period_ms)) notify("WATCHDOG=1");
    }
    return NULL;
}

qn_status qn_watchdog_start(bool (*alive)(void *user, int timeout_ms), void *user, qn_watchdog **out, qn_error *err)
{
    qn_watchdog *w = NULL;
    uint64_t usec = 0;

    *out = NULL;
#ifdef QUERN_SYSTEMD
    if (sd_watchdog_enabled(0, &usec) <= 0) usec = 0;
#endif
    if (usec < 2000) return QN_OK;
    w = calloc(1, sizeof *w);
    if (!w) return qn_error_set(err, QN_ERR_NOMEM, "watchdog");
    w->alive = alive;
    w->user = user;
    w->period_ms = usec / 2000 > 3600000 ? 3600000 : (int)(usec / 2000);
    w->stop_fd = eventfd(0, EFD_CLOEXEC);
    w->running = w->stop_fd >= 0 && pthread_create(&w->thread, NULL, watchdog_main, w) == 0;
    if (!w->running) {
        qn_watchdog_stop(w);
        return qn_error_set(err, QN_ERR_IO, "watchdog thread");
    }
    *out = w;
    return QN_OK;
}

void qn_watchdog_stop(qn_watchdog *w)
{
    uint64_t one = 1;

    if (!w) return;
    if (w->running) {
        if (write(w->stop_fd, &one, sizeof one) == (ssize_t)sizeof one) pthread_join(w->thread, NULL);
    }
    if (w->stop_fd >= 0) close(w->stop_fd);
    free(w);
}
