/* quern/error.h - one status list, and an error that belongs to the caller.
 * Threads: no global state; a qn_error belongs to one thread at a time.
 * err:     every function that can fail takes `qn_error *err` last; NULL is allowed. */
#ifndef QUERN_ERROR_H
#define QUERN_ERROR_H

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum qn_status {
    QN_OK = 0,
#define QN_STATUS(name, text) QN_ERR_##name,
#include "quern/error.def"
#undef QN_STATUS
    QN_STATUS_COUNT
} qn_status;

typedef struct qn_error {
    qn_status status;
    char message[192]; /* one line, UTF-8: what was found, what was expected, where; no paths, no addresses */
} qn_error;

/** Fill *err (NULL is allowed) with status and a formatted line, cut to fit; control bytes and broken UTF-8 become '?'.
 *  err->message may be an argument. Returns status. */
__attribute__((format(printf, 3, 4))) qn_status qn_error_set(qn_error *err, qn_status status, const char *fmt, ...);

/** Put "where: " in front of the message of an error that is set, so that an outer layer can name the place. `fmt` gives "where".
 *  Returns nothing, because err may be NULL and then knows no status: the caller hands on the status it has. */
__attribute__((format(printf, 2, 3))) void qn_error_prefix(qn_error *err, const char *fmt, ...);

/** The words for a status, e.g. "wrong shape"; never NULL. */
const char *qn_status_text(qn_status status);

#ifdef __cplusplus
}
#endif
#endif
