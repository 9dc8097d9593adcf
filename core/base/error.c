/* core/base/error.c - filling the caller's error.
 * Messages quote names from files and clients, and end in JSON, logs and terminals: whatever goes in, valid UTF-8 without
 * control characters comes out. */
#include "quern/error.h"

#include <stdio.h>
#include <string.h>

/* Bytes of the well-formed UTF-8 character at s (terminated), or 0 if there is none or it is a control character. */
static size_t char_bytes(const unsigned char *s)
{
    size_t n, i;
    unsigned lo = 0x80, hi = 0xbf; /* what the second byte may be: no overlong forms, no surrogates, nothing past U+10FFFF */

    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] == 0xc2) lo = 0xa0; /* U+0080..U+009F are controls */
    if (s[0] == 0xe0) lo = 0xa0;
    if (s[0] == 0xed) hi = 0x9f;
    if (s[0] == 0xf0) lo = 0x90;
    if (s[0] == 0xf4) hi = 0x8f;
    if (s[1] < lo || s[1] > hi) return 0;
    for (i = 2; i < n; i++) {
        if (s[i] < 0x80 || s[i] > 0xbf) return 0;
    }
    return n;
}

/* cut: the text was longer, so a character that is not whole at the end is dropped instead of marked. */
static void sanitize(char *text, int cut)
{
    unsigned char *s = (unsigned char *)text;
    size_t n, i = 0, len = strlen(text);

    while (s[i]) {
        n = char_bytes(s + i);
        if (n == 0 && cut && len - i < 4 && s[i] >= 0xc2) {
            size_t rest = i + 1;

            while (s[rest] >= 0x80 && s[rest] <= 0xbf) rest++;
            if (!s[rest]) {
                s[i] = '\0';
                return;
            }
        }
        if (n == 0) s[i] = '?';
        i += n ? n : 1;
    }
}

qn_status qn_error_set(qn_error *err, qn_status status, const char *fmt, ...)
{
    char text[sizeof err->message]; /* an argument may be err->message itself */
    va_list ap;
    int n;

    if (!err) return status;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0) text[0] = '\0';
    sanitize(text, n >= (int)sizeof text);
    err->status = status;
    memcpy(err->message, text, sizeof text);
    return status;
}

void qn_error_prefix(qn_error *err, const char *fmt, ...)
{
    char text[sizeof err->message];
    size_t len, room;
    va_list ap;
    int n;

    if (!err || err->status == QN_OK) return;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    len = strlen(text);
    room = sizeof text - len;
    n = snprintf(text + len, room, ": %s", err->message);
    sanitize(text, n >= (int)room);
    memcpy(err->message, text, sizeof text);
}

const char *qn_status_text(qn_status status)
{
    switch (status) {
    case QN_OK: return "ok";
#define QN_STATUS(name, text)                                                                                                              \
    case QN_ERR_##name:                                                                                                                    \
        return text;
#include "quern/error.def"
#undef QN_STATUS
    case QN_STATUS_COUNT: break;
    }
    return "unknown status";
}
