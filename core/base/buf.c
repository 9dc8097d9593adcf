/* core/base/buf.c - bytes that grow by doubling, with one spare byte so that a terminator and vsnprintf() always fit. */
#include "core/base/buf.h"

#include "core/base/checked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 64 };

void qn_buf_init(qn_buf *b, size_t limit) { *b = (qn_buf){ .limit = limit }; }

/* Room for n more bytes and the spare one. */
static bool grow(qn_buf *b, size_t n)
{
    size_t len, need, cap;
    char *data;

    if (b->failed) return false;
    if (!qn_size_add(b->len, n, &len) || !qn_size_add(len, 1, &need) || (b->limit && len > b->limit)) goto fail;
    if (need <= b->cap) return true;
    cap = b->cap < FIRST_CAP ? FIRST_CAP : b->cap;
    while (cap < need) {
        if (!qn_size_mul(cap, 2, &cap)) cap = need;
    }
    /* Doubling past the limit would only waste: no more than limit + 1 is ever used. */
    if (b->limit && cap - 1 > b->limit) cap = b->limit + 1;
    data = realloc(b->data, cap);
    if (!data) goto fail;
    b->data = data;
    b->cap = cap;
    return true;
fail:
    b->failed = true;
    return false;
}

bool qn_buf_append(qn_buf *b, const void *data, size_t n)
{
    if (!grow(b, n)) return false;
    if (n) memcpy(b->data + b->len, data, n);
    b->len += n;
    return true;
}

bool qn_buf_puts(qn_buf *b, const char *s) { return qn_buf_append(b, s, strlen(s)); }

bool qn_buf_printf(qn_buf *b, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (!grow(b, 0)) return false;
    va_start(ap, fmt);
    n = vsnprintf(b->data + b->len, b->cap - b->len, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
        return false;
    }
    if ((size_t)n >= b->cap - b->len) {
        if (!grow(b, (size_t)n)) return false;
        va_start(ap, fmt);
        n = vsnprintf(b->data + b->len, b->cap - b->len, fmt, ap);
        va_end(ap);
        if (n < 0) {
            b->failed = true;
            return false;
        }
    }
    b->len += (size_t)n;
    return true;
}

char *qn_buf_reserve(qn_buf *b, size_t n) { return grow(b, n) ? b->data + b->len : NULL; }

char *qn_buf_cstr(qn_buf *b)
{
    if (!grow(b, 0)) return NULL;
    b->data[b->len] = '\0';
    return b->data;
}

char *qn_buf_take(qn_buf *b, size_t *len)
{
    char *data = b->data;

    *len = 0;
    if (b->failed || b->len == 0) return NULL;
    *len = b->len;
    qn_buf_init(b, b->limit);
    return data;
}

void qn_buf_release(qn_buf *b)
{
    free(b->data);
    qn_buf_init(b, b->limit);
}
