/* quern/json.h - a JSON reader that is fed pieces: it calls back for every token and builds no tree.
 * It checks the whole grammar (RFC 8259): nesting, commas, colons, escapes, UTF-8, one document, nothing behind it.
 * Memory: nesting bits plus the one token that is cut by the end of a piece; bounded by the limits given.
 * Threads: one reader, one thread at a time. */
#ifndef QUERN_JSON_H
#define QUERN_JSON_H

#include "quern/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum qn_json_token {
    QN_JSON_OBJECT_BEGIN,
    QN_JSON_OBJECT_END,
    QN_JSON_ARRAY_BEGIN,
    QN_JSON_ARRAY_END,
    QN_JSON_KEY,    /* text: decoded, not terminated */
    QN_JSON_STRING, /* text: decoded, may hold NUL */
    QN_JSON_NUMBER, /* text: as written, matches the grammar; the byte behind it is readable */
    QN_JSON_TRUE,
    QN_JSON_FALSE,
    QN_JSON_NULL,
    QN_JSON_NAN, /* only with allow_nan: the bare words NaN, Infinity, -Infinity */
    QN_JSON_INF,
    QN_JSON_MINUS_INF,
} qn_json_token;

/* Any status but QN_OK stops the reader and is returned by feed. */
typedef qn_status qn_json_fn(void *user, qn_json_token token, const char *text, size_t n, qn_error *err);

/* Elements of an array, on the fast way: text[0..n) begins where an element is expected. Takes any number of whole elements, each with its
 * comma and the blanks behind it, and returns their bytes; 0: it wants them as tokens. */
typedef size_t qn_json_list_fn(void *user, const char *text, size_t n);

#define QN_JSON_MAX_DEPTH 64

typedef struct qn_json {
    qn_json_fn *fn;
    void *user;
    bool allow_nan;
    int32_t max_depth;     /* <= QN_JSON_MAX_DEPTH */
    size_t max_text;       /* bytes of one string or number */
    qn_json_list_fn *list; /* NULL: every element is a token; set after init */
    /* private */
    uint64_t offset;    /* bytes before the current piece */
    uint64_t is_object; /* bit d: the container at depth d is an object */
    int32_t depth;
    int expect;
    int lex; /* state inside a token */
    uint32_t utf8_need, utf8_code, utf8_min;
    uint32_t escape_code, escape_high;
    int escape_digits;
    char *text; /* owned: a token that spans pieces, or a decoded string */
    size_t len, cap;
    bool failed;
} qn_json;

void qn_json_init(qn_json *j, qn_json_fn *fn, void *user, bool allow_nan, int32_t max_depth, size_t max_text);
/* Fails with QN_ERR_FORMAT (not JSON; the message has the byte offset), QN_ERR_LIMIT (max_text), QN_ERR_NOMEM, or what fn returned. */
qn_status qn_json_feed(qn_json *j, const char *data, size_t n, qn_error *err);
/* The document must be complete. */
qn_status qn_json_finish(qn_json *j, qn_error *err);
void qn_json_release(qn_json *j);

#endif
