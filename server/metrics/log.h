/* server/metrics/log.h - one line an event, on stderr, for people and journald:
 *   time=2026-03-01T12:00:00.123Z level=info msg="listening on 127.0.0.1:8000" http_threads=2
 * or, as JSON: {"time":"2026-03-01T12:00:00.123Z","level":"info","msg":"listening on 127.0.0.1:8000","http_threads":2}
 * Text: values with anything but [A-Za-z0-9._:/+-] are quoted; quotes, backslashes, control bytes and bytes above 0x7e are escaped, so that a
 * client can't forge a line. JSON: the same bytes as \u00XX. No secrets and no absolute paths are passed in.
 * Threads: a qn_log is constant after init; a line is one write(2), so lines never mix. A line is a stack value of one thread. */
#ifndef QUERN_SERVER_LOG_H
#define QUERN_SERVER_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum qn_log_level { QN_LOG_ERROR, QN_LOG_WARN, QN_LOG_INFO, QN_LOG_DEBUG } qn_log_level;

typedef struct qn_log {
    int fd;
    qn_log_level level; /* lines above it are dropped */
    bool json;
} qn_log;

typedef struct qn_log_line {
    const qn_log *log; /* NULL: dropped */
    size_t len;
    char text[2048]; /* longer lines are cut */
} qn_log_line;

void qn_log_begin(qn_log_line *line, const qn_log *log, qn_log_level level, const char *msg);
void qn_log_text(qn_log_line *line, const char *key, const char *value);
void qn_log_number(qn_log_line *line, const char *key, int64_t value);
void qn_log_end(qn_log_line *line);

/* A line that only has a message. */
__attribute__((format(printf, 3, 4))) void qn_logf(const qn_log *log, qn_log_level level, const char *fmt, ...);

#endif
