/* server/metrics/notify.h - what the service manager is told: ready, reloading, stopping, still alive.
 * Without libsystemd at build time, or outside a unit (no NOTIFY_SOCKET), every call does nothing.
 * Threads: any. */
#ifndef QUERN_SERVER_NOTIFY_H
#define QUERN_SERVER_NOTIFY_H

#include "quern/error.h"

#include <stdbool.h>

void qn_notify_ready(void);
void qn_notify_reloading(void);
void qn_notify_stopping(void);

/* Sockets handed over by the service manager: the first one in *fd, or -1 when there is none. More than one is QN_ERR_INVALID. */
qn_status qn_notify_socket(int *fd, qn_error *err);

typedef struct qn_watchdog qn_watchdog;
/* When the unit has WatchdogSec: a thread that asks alive(user, timeout_ms) every half of it and reports only when it says yes.
 * *out is NULL when nobody waits for it. */
qn_status qn_watchdog_start(bool (*alive)(void *user, int timeout_ms), void *user, qn_watchdog **out, qn_error *err);
void qn_watchdog_stop(qn_watchdog *w); /* NULL allowed */

#endif
