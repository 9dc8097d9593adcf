/* quern/buf.h - bytes that grow: text being written, a body being read.
 * A failed append sets `failed` and keeps what was there; callers check once at the end. Threads: one at a time. */
#ifndef QUERN_BUF_H
#define QUERN_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct qn_buf {
    char *data; /* owned; not terminated unless qn_buf_cstr() was called */
    size_t len, cap;
    size_t limit; /* most bytes it may hold; 0: none */
    bool failed;  /* an append did not fit or malloc said no */
} qn_buf;

void qn_buf_init(qn_buf *b, size_t limit);
bool qn_buf_append(qn_buf *b, const void *data, size_t n);
bool qn_buf_puts(qn_buf *b, const char *s);
__attribute__((format(printf, 2, 3))) bool qn_buf_printf(qn_buf *b, const char *fmt, ...);
/* Room for n more bytes at data + len, which the caller then adds to len; NULL if it does not fit. */
char *qn_buf_reserve(qn_buf *b, size_t n);
/* Terminate (not counted in len) and return data; NULL if failed. */
char *qn_buf_cstr(qn_buf *b);
/* Hand the bytes to the caller, who frees them with free(); the buffer is empty again. NULL if failed or nothing was appended. */
char *qn_buf_take(qn_buf *b, size_t *len);
void qn_buf_release(qn_buf *b);

#endif
