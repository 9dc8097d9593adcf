/* server/metrics/log.c - log lines. */
#include "server/metrics/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void put(qn_log_line *l, const char *s, size_t n)
{
    size_t room = sizeof l->text - 1 - l->len; /* one byte stays for the newline */

    if (n > room) n = room;
    memcpy(l->text + l->len, s, n);
    l->len += n;
}

#define JSON_ROOM 32 /* bytes kept free, so that a line that is cut still ends as JSON */

static bool json_room(const qn_log_line *l, size_t n) { return sizeof l->text - l->len > n + JSON_ROOM; }

static void put_json(qn_log_line *l, const char *s)
{
    put(l, "\"", 1);
    for (; *s && json_room(l, 6); s++) {
        unsigned char c = (unsigned char)*s;
        char hex[8];

        if (c == '"' || c == '\\') {
            put(l, "\\", 1);
            put(l, s, 1);
        } else if (c < 0x20 || c > 0x7e) {
            snprintf(hex, sizeof hex, "\\u%04x", c);
            put(l, hex, 6);
        } else {
            put(l, s, 1);
        }
    }
    put(l, "\"", 1);
}

static void put_value(qn_log_line *l, const char *s)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/+-";

    if (*s && s[strspn(s, plain)] == '\0') {
        put(l, s, strlen(s));
        return;
    }
    put(l, "\"", 1);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        char hex[8];

        if (c == '"' || c == '\\') {
            put(l, "\\", 1);
            put(l, s, 1);
        } else if (c < 0x20 || c > 0x7e) {
            snprintf(hex, sizeof hex, "\\x%02x", c);
            put(l, hex, 4);
        } else {
            put(l, s, 1);
        }
    }
    put(l, "\"", 1);
}

void qn_log_begin(qn_log_line *line, const qn_log *log, qn_log_level level, const char *msg)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    struct timespec now;
    struct tm tm;
    char head[80];
    int n;

    line->len = 0;
    line->log = log && level <= log->level ? log : NULL;
    if (!line->log) return;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    n = snprintf(head, sizeof head,
                 log->json ? "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\",\"level\":\"%s\",\"msg\":"
                           : "time=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ level=%s msg=",
                 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000, names[level]);
    if (n > 0) put(line, head, (size_t)n < sizeof head ? (size_t)n : sizeof head - 1);
    if (log->json)
        put_json(line, msg);
    else
        put_value(line, msg);
}

/* The key of a value; false: there is no room for it. Keys are ours. */
static bool put_key(qn_log_line *l, const char *key)
{
    if (!l->log) return false;
    if (!l->log->json) {
        put(l, " ", 1);
        put(l, key, strlen(key));
        put(l, "=", 1);
        return true;
    }
    if (!json_room(l, strlen(key) + 4)) return false;
    put(l, ",\"", 2);
    put(l, key, strlen(key));
    put(l, "\":", 2);
    return true;
}

void qn_log_text(qn_log_line *line, const char *key, const char *value)
{
    if (!put_key(line, key)) return;
    if (line->log->json)
        put_json(line, value);
    else
        put_value(line, value);
}

void qn_log_number(qn_log_line *line, const char *key, int64_t value)
{
    char text[24];

    if (!put_key(line, key)) return;
    snprintf(text, sizeof text, "%" PRId64, value);
    put(line, text, strlen(text));
}

void qn_log_end(qn_log_line *line)
{
    ssize_t ignored;

    if (!line->log) return;
    if (line->log->json) put(line, "}", 1);
    line->text[line->len++] = '\n';
    ignored = write(line->log->fd, line->text, line->len); /* nowhere to report it */
    (void)ignored;
}

void qn_logf(const qn_log *log, qn_log_level level, const char *fmt, ...)
{
    qn_log_line line;
    char msg[512];
    va_list ap;

    if (!log || level > log->level) return;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    qn_log_begin(&line, log, level, msg);
    qn_log_end(&line);
}
