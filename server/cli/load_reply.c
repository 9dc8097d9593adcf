/* server/cli/load_reply.c - the reader of replies.
 *   STATUS --> FIELDS --+--> BODY ----------------------------------> done      Content-Length
 *     ^  1xx     |      +--> UNTIL_CLOSE --[close]------------------> done      neither length nor chunks
 *     +----------+      +--> CHUNK_SIZE <--> CHUNK, CHUNK_END
 *                       |        +--[size 0]--> TRAILERS -----------> done
 *                       +-------------------------------------------> done      no body: HEAD, 204, 304, length 0 */
#include "server/cli/load_reply.h"

#include <string.h>
#include <strings.h>

enum { STATUS, FIELDS, BODY, UNTIL_CLOSE, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILERS };

void qn_reply_begin(qn_reply *r, bool is_head)
{
    /* not the whole struct: `line` is large and only line_len bytes of it are ever read */
    memset(r, 0, offsetof(qn_reply, line));
    r->is_head = is_head;
}

static void bad(qn_reply *r, const char *why)
{
    r->state = QN_REPLY_BAD;
    r->why = why;
}

static void done(qn_reply *r)
{
    r->state = QN_REPLY_DONE;
    r->keep_alive = r->part != UNTIL_CLOSE && !r->said_close && (!r->minor_0 || r->said_keep_alive);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* "HTTP/1.1 200 OK"; the reason may be missing. */
static void take_status(qn_reply *r, const char *s, size_t n)
{
    if (n < 12 || memcmp(s, "HTTP/1.", 7) != 0 || (s[7] != '0' && s[7] != '1') || s[8] != ' ' || !is_digit(s[9]) || !is_digit(s[10]) ||
        !is_digit(s[11]) || (n > 12 && s[12] != ' ')) {
        bad(r, "the status line is not HTTP/1.0 or HTTP/1.1");
        return;
    }
    r->minor_0 = s[7] == '0';
    r->status = (s[9] - '0') * 100 + (s[10] - '0') * 10 + (s[11] - '0');
    if (r->status < 100 || r->status > 599 || r->status == 101)
        bad(r, "the status is not 100 or 102..599");
    else
        r->part = FIELDS;
}

static void take_length(qn_reply *r, const char *s, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++) {
        if (!is_digit(s[i]) || v > (INT64_MAX - 9) / 10)
            n = 0; /* leaves the loop as if nothing had been there */
        else
            v = v * 10 + (uint64_t)(s[i] - '0');
    }
    if (n == 0)
        bad(r, "Content-Length is not a number below 2^63");
    else if (r->has_length && r->length != v)
        bad(r, "Content-Length comes twice with two values");
    r->has_length = true;
    r->length = v;
}

/* Is `word` one of the comma-separated words of s? */
static bool lists(const char *s, size_t n, const char *word)
{
    size_t len = strlen(word), at = 0;

    while (at < n) {
        const char *comma = memchr(s + at, ',', n - at);
        size_t end = comma ? (size_t)(comma - s) : n, from = at;

        at = end + 1;
        while (from < end && (s[from] == ' ' || s[from] == '\t')) from++;
        while (end > from && (s[end - 1] == ' ' || s[end - 1] == '\t')) end--;
        if (end - from == len && strncasecmp(s + from, word, len) == 0) return true;
    }
    return false;
}

static void take_field(qn_reply *r, const char *s, size_t n, bool whole)
{
    const char *colon = memchr(s, ':', n);
    size_t name = colon ? (size_t)(colon - s) : 0, from = name + 1, end = n;
    bool is_length, is_coding, is_connection;

    if (name == 0 || memchr(s, ' ', name) || memchr(s, '\t', name)) {
        bad(r, "a field has no name");
        return;
    }
    is_length = name == 14 && strncasecmp(s, "content-length", 14) == 0;
    is_coding = name == 17 && strncasecmp(s, "transfer-encoding", 17) == 0;
    is_connection = name == 10 && strncasecmp(s, "connection", 10) == 0;
    if (name == 11 && strncasecmp(s, "retry-after", 11) == 0) r->says_when = true;
    if (!is_length && !is_coding && !is_connection) return;
    if (!whole) {
        bad(r, "a field that frames the reply is too long");
        return;
    }
    while (from < end && (s[from] == ' ' || s[from] == '\t')) from++;
    while (end > from && (s[end - 1] == ' ' || s[end - 1] == '\t')) end--;
    if (is_length) {
        take_length(r, s + from, end - from);
    } else if (is_coding) {
        if (r->chunked || end - from != 7 || strncasecmp(s + from, "chunked", 7) != 0) bad(r, "Transfer-Encoding is not chunked, once");
        r->chunked = true;
    } else {
        r->said_close |= lists(s + from, end - from, "close");
        r->said_keep_alive |= lists(s + from, end - from, "keep-alive");
    }
}

/* The empty line behind the fields. */
static void end_head(qn_reply *r)
{
    if (r->chunked && r->has_length) {
        bad(r, "both Content-Length and Transfer-Encoding");
    } else if (r->status < 200) {
        r->part = STATUS;
        r->chunked = r->has_length = r->said_close = r->said_keep_alive = r->says_when = false;
    } else if (r->is_head || r->status == 204 || r->status == 304) {
        done(r);
    } else if (r->chunked) {
        r->part = CHUNK_SIZE;
    } else if (!r->has_length) {
        r->part = UNTIL_CLOSE;
    } else {
        r->part = BODY;
        r->left = r->length;
        if (r->left == 0) done(r);
    }
}

static int hex_digit(char c)
{
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* "1a2b" or "1a2b;extension" */
static void take_chunk_size(qn_reply *r, const char *s, size_t n)
{
    uint64_t v = 0;
    size_t i = 0;

    for (; i < n && hex_digit(s[i]) >= 0; i++) {
        if (v >> 58) { /* below 2^62, so that sizes and their sum stay far from the end of 64 bits */
            bad(r, "the size of a chunk is 2^62 or more");
            return;
        }
        v = v << 4 | (uint64_t)hex_digit(s[i]);
    }
    if (i == 0 || (i < n && s[i] != ';' && s[i] != ' ' && s[i] != '\t')) {
        bad(r, "the size of a chunk is not hexadecimal");
        return;
    }
    r->left = v;
    r->part = v ? CHUNK : TRAILERS;
}

/* One line without its end; `whole`: nothing of it was dropped. */
static void take_line(qn_reply *r, const char *s, size_t n, bool whole)
{
    switch (r->part) {
    case STATUS: take_status(r, s, n); break;
    case FIELDS:
        if (n == 0)
            end_head(r);
        else
            take_field(r, s, n, whole);
        break;
    case CHUNK_SIZE: take_chunk_size(r, s, n); break;
    case CHUNK_END:
        if (n != 0)
            bad(r, "a chunk is longer than its size");
        else
            r->part = CHUNK_SIZE;
        break;
    default: /* TRAILERS */
        if (n == 0) done(r);
        break;
    }
}

/* Sizes of chunks count as well as fields, but only against a chunk of their own: a body may have any number of chunks. */
static bool count_head(qn_reply *r, size_t n)
{
    if (n > QN_REPLY_HEAD_BYTES - r->head_bytes) {
        bad(r, "the head is longer than 65536 bytes");
        return false;
    }
    r->head_bytes += (uint32_t)n;
    return true;
}

/* One line, or the piece of it that is here; returns the bytes taken. */
static size_t feed_line(qn_reply *r, const char *data, size_t n)
{
    const char *end = memchr(data, '\n', n), *line = data;
    size_t took = end ? (size_t)(end - data) + 1 : n, here = end ? took - 1 : took, len;

    if (r->part == CHUNK_SIZE && r->line_len == 0) r->head_bytes = 0;
    if (!count_head(r, took)) return took;
    if (!end || r->line_len > 0) {
        if (r->line_len < QN_REPLY_LINE_BYTES) {
            size_t room = QN_REPLY_LINE_BYTES - r->line_len;

            memcpy(r->line + r->line_len, data, here < room ? here : room);
        }
        r->line_len += (uint32_t)here; /* <= QN_REPLY_HEAD_BYTES */
        if (!end) return took;
        line = r->line;
        here = r->line_len;
    }
    r->line_len = 0;
    len = here < QN_REPLY_LINE_BYTES ? here : QN_REPLY_LINE_BYTES;
    if (here == len && len > 0 && line[len - 1] == '\r') len = --here;
    take_line(r, line, len, here == len);
    return took;
}

size_t qn_reply_feed(qn_reply *r, const char *data, size_t n)
{
    size_t at = 0;

    if (n > 0) r->began = true;
    while (at < n && r->state == QN_REPLY_MORE) {
        size_t take = n - at;

        if (r->part == UNTIL_CLOSE) {
            r->body_bytes += take;
        } else if (r->part == BODY || r->part == CHUNK) {
            if (take > r->left) take = (size_t)r->left;
            r->left -= take;
            r->body_bytes += take;
            if (r->left == 0 && r->part == CHUNK)
                r->part = CHUNK_END;
            else if (r->left == 0)
                done(r);
        } else {
            take = feed_line(r, data + at, take);
        }
        at += take;
    }
    return at;
}

void qn_reply_close(qn_reply *r)
{
    if (r->state == QN_REPLY_MORE && r->part == UNTIL_CLOSE) done(r);
}
