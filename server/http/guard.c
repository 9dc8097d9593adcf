/* server/http/guard.c - the rules that every request passes before a route sees it. */
#include "server/http/guard.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

__attribute__((format(printf, 4, 5))) static bool refuse(qn_refusal *no, int status, bool close, const char *fmt, ...)
{
    va_list ap;

    no->status = status;
    no->close = close;
    va_start(ap, fmt);
    vsnprintf(no->message, sizeof no->message, fmt, ap);
    va_end(ap);
    return false;
}

static bool is_tchar(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_tchar(s[i])) return false;
    }
    return n > 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool qn_guard_target_clean(const char *target, size_t *len)
{
    size_t n = 0;
    bool clean = true;

    for (; target[n]; n++) {
        unsigned char c = (unsigned char)target[n];

        if (c <= 0x20 || c >= 0x7f || c == '#') clean = false;
    }
    *len = n;
    return clean;
}

const qn_http_field *qn_http_find(const qn_http_head *head, const char *name, int *count)
{
    const qn_http_field *found = NULL;
    size_t n = strlen(name);

    *count = 0;
    for (int32_t i = 0; i < head->n_fields; i++) {
        const qn_http_field *f = &head->fields[i];

        if (f->name_len != n || strncasecmp(f->name, name, n) != 0) continue;
        found = f;
        (*count)++;
    }
    return found;
}

/* The value without spaces and tabs at its end; the parser has taken those in front. */
static size_t trimmed(const qn_http_field *f)
{
    size_t n = f->value_len;

    while (n > 0 && (f->value[n - 1] == ' ' || f->value[n - 1] == '\t')) n--;
    return n;
}

bool qn_http_number(const qn_http_field *field, uint64_t *out)
{
    size_t n = trimmed(field);
    uint64_t v = 0;

    if (n == 0) return false;
    for (size_t i = 0; i < n; i++) {
        char c = field->value[i];

        if (c < '0' || c > '9') return false;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(c - '0'), &v)) return false;
    }
    *out = v;
    return true;
}

bool qn_http_value_is(const qn_http_field *field, const char *word)
{
    size_t n = strlen(word);

    return trimmed(field) == n && strncasecmp(field->value, word, n) == 0;
}

/* -- the header block ------------------------------------------------------------------------------------------------------ */

/* A line must end in CR LF; the parser has written NUL over both. */
static bool line_ends(const char *end, const char *limit) { return limit - end >= 2 && end[0] == '\0' && end[1] == '\0'; }

bool qn_guard_layout(const qn_http_head *head, qn_refusal *no)
{
    static const char what[] = "malformed header block: folded line, NUL byte, missing name, or a line that does not end in CR LF";
    const char *at = head->method, *limit = head->method + head->block_bytes;

    if (head->block_bytes == 0 || head->too_many_fields) return true; /* qn_guard_framing() answers 431 */
    if (head->target != at + strlen(head->method) + 1 || head->version != head->target + head->target_len + 1)
        return refuse(no, 400, true, "malformed request line: expected METHOD, target and version with one space between");
    at = head->version + strlen(head->version);
    if (at > limit || !line_ends(at, limit)) return refuse(no, 400, true, "%s", what);
    at += 2;
    for (int32_t i = 0; i < head->n_fields; i++) {
        const qn_http_field *f = &head->fields[i];
        const char *value = f->name + f->name_len + 1; /* past the colon, now NUL */

        if (f->name != at || f->name_len >= (size_t)(limit - at)) return refuse(no, 400, true, "%s", what);
        while (value < limit && (*value == ' ' || *value == '\t')) value++;
        if (f->value_len == 0) { /* the parser's pointer for an empty value may be anywhere in the blanks */
            if (!line_ends(value, limit)) return refuse(no, 400, true, "%s", what);
            at = value + 2;
            continue;
        }
        if (f->value != value || f->value_len > (size_t)(limit - value) || !line_ends(value + f->value_len, limit))
            return refuse(no, 400, true, "%s", what);
        at = value + f->value_len + 2;
    }
    if (limit - at != 2) return refuse(no, 400, true, "%s", what); /* the empty line, and nothing the parser dropped */
    return true;
}

/* -- framing --------------------------------------------------------------------------------------------------------------- */

static bool check_fields(const qn_http_head *head, qn_refusal *no)
{
    size_t bytes = 0;

    if (head->too_many_fields) return refuse(no, 431, true, "more than %d header fields", QN_HTTP_MAX_FIELDS);
    for (int32_t i = 0; i < head->n_fields; i++) {
        const qn_http_field *f = &head->fields[i];

        if (!is_token(f->name, f->name_len)) return refuse(no, 400, true, "header field %d: the name is not a token", (int)i + 1);
        for (size_t k = 0; k < f->value_len; k++) {
            unsigned char c = (unsigned char)f->value[k];

            if ((c < 0x20 && c != '\t') || c == 0x7f)
                return refuse(no, 400, true, "header field %.40s: control byte 0x%02x in the value", f->name, c);
        }
        bytes += f->name_len + f->value_len + 4;
    }
    if (bytes > QN_HTTP_MAX_HEADER_BYTES)
        return refuse(no, 431, true, "%zu bytes of header fields, at most %d", bytes, QN_HTTP_MAX_HEADER_BYTES);
    return true;
}

static bool check_request_line(const qn_http_head *head, qn_refusal *no)
{
    if (!is_token(head->method, strlen(head->method)) || strlen(head->method) > 32)
        return refuse(no, 400, true, "the method is not a token");
    if (strcmp(head->version, "HTTP/1.1") != 0 && strcmp(head->version, "HTTP/1.0") != 0)
        return refuse(no, 505, true, "HTTP/1.1 or HTTP/1.0 expected");
    if (head->target_len > QN_HTTP_MAX_TARGET)
        return refuse(no, 414, true, "target of %zu bytes, at most %d", head->target_len, QN_HTTP_MAX_TARGET);
    if (!head->target_clean) return refuse(no, 400, true, "the target has bytes that must be percent-encoded");
    return true;
}

static bool check_host(const qn_http_head *head, qn_refusal *no)
{
    int n = 0;
    const qn_http_field *host = qn_http_find(head, "Host", &n);

    if (n > 1 || (n == 0 && strcmp(head->version, "HTTP/1.1") == 0))
        return refuse(no, 400, true, "exactly one Host field expected, found %d", n);
    for (size_t i = 0; host && i < trimmed(host); i++) {
        if (!(is_tchar(host->value[i]) || strchr(":[]", host->value[i]))) return refuse(no, 400, true, "Host is not a host name");
    }
    return true;
}

bool qn_guard_framing(const qn_http_head *head, qn_framing *out, qn_refusal *no)
{
    int n_length = 0, n_coding = 0, n_expect = 0;
    const qn_http_field *length = qn_http_find(head, "Content-Length", &n_length);
    const qn_http_field *coding = qn_http_find(head, "Transfer-Encoding", &n_coding);
    const qn_http_field *expect = qn_http_find(head, "Expect", &n_expect);

    memset(out, 0, sizeof *out);
    if (!check_request_line(head, no) || !check_fields(head, no) || !check_host(head, no)) return false;
    if (n_length && n_coding) return refuse(no, 400, true, "Content-Length and Transfer-Encoding in one request");
    if (n_length > 1) return refuse(no, 400, true, "%d Content-Length fields, at most one expected", n_length);
    if (n_coding > 1) return refuse(no, 400, true, "%d Transfer-Encoding fields, at most one expected", n_coding);
    if (length) {
        if (!qn_http_number(length, &out->length)) return refuse(no, 400, true, "Content-Length is not a number of bytes");
        out->has_length = true;
    }
    if (coding) {
        if (!qn_http_value_is(coding, "chunked")) return refuse(no, 400, true, "Transfer-Encoding: only chunked is supported");
        if (strcmp(head->version, "HTTP/1.1") != 0) return refuse(no, 400, true, "Transfer-Encoding needs HTTP/1.1");
        out->chunked = true;
    }
    if (n_expect) {
        if (n_expect > 1 || !qn_http_value_is(expect, "100-continue"))
            return refuse(no, 417, true, "Expect: only 100-continue is supported");
        out->expects_continue = strcmp(head->version, "HTTP/1.1") == 0;
    }
    return true;
}

/* -- what a route takes ---------------------------------------------------------------------------------------------------- */

/* The media type before any parameter. */
static unsigned media_of(const qn_http_field *f)
{
    static const struct {
        const char *name;
        unsigned media;
    } known[] = {
        { "application/json", QN_MEDIA_JSON },
        { "text/json", QN_MEDIA_JSON },
        { "application/x-www-form-urlencoded", QN_MEDIA_JSON }, /* what curl -d says; Triton does not look at it either */
        { "application/octet-stream", QN_MEDIA_OCTETS },
    };
    size_t n = 0, end = trimmed(f);

    while (n < end && f->value[n] != ';') n++;
    while (n > 0 && (f->value[n - 1] == ' ' || f->value[n - 1] == '\t')) n--;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i].name) == n && strncasecmp(f->value, known[i].name, n) == 0) return known[i].media;
    }
    return 0;
}

bool qn_guard_body(const qn_http_head *head, const qn_framing *framing, uint64_t max_body, unsigned media, qn_refusal *no)
{
    int n_type = 0, n_encoding = 0;
    const qn_http_field *type = qn_http_find(head, "Content-Type", &n_type);
    const qn_http_field *encoding = qn_http_find(head, "Content-Encoding", &n_encoding);

    if (framing->has_length && framing->length > max_body)
        return refuse(no, 413, true, "body of %llu bytes, at most %llu", (unsigned long long)framing->length, (unsigned long long)max_body);
    if (!framing->chunked && !(framing->has_length && framing->length > 0)) return true;
    if (media & QN_MEDIA_ANY) return true;
    if (n_encoding > 1 || (encoding && !qn_http_value_is(encoding, "identity")))
        return refuse(no, 415, false, "Content-Encoding '%.*s' is not supported",
                      (int)(encoding->value_len < 40 ? encoding->value_len : 40), encoding->value);
    if (n_type > 1) return refuse(no, 400, false, "%d Content-Type fields, at most one expected", n_type);
    if (type && !(media_of(type) & media))
        return refuse(no, 415, false, "Content-Type '%.*s': application/json%s expected",
                      (int)(type->value_len < 60 ? type->value_len : 60), type->value,
                      media & QN_MEDIA_OCTETS ? " or application/octet-stream" : "");
    return true;
}

bool qn_percent_decode(const char *s, size_t n, char *out, size_t cap, size_t *len)
{
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        char c = s[i];

        if (c == '%') {
            int hi = i + 1 < n ? hex_digit(s[i + 1]) : -1, lo = i + 2 < n ? hex_digit(s[i + 2]) : -1;

            if (hi < 0 || lo < 0 || (hi == 0 && lo == 0)) return false;
            c = (char)(hi * 16 + lo);
            i += 2;
        }
        if (c == '\0' || k + 1 >= cap) return false;
        out[k++] = c;
    }
    out[k] = '\0';
    *len = k;
    return true;
}

static bool escapes_are_good(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '%') continue;
        if (i + 2 >= n || hex_digit(s[i + 1]) < 0 || hex_digit(s[i + 2]) < 0) return false;
        if (s[i + 1] == '0' && s[i + 2] == '0') return false;
        i += 2;
    }
    return true;
}

bool qn_guard_path(const qn_http_head *head, const char **path, size_t *len, qn_refusal *no)
{
    const char *p = head->target;
    size_t n = strlen(p); /* the parser cuts at '?' */

    if (strncasecmp(p, "http://", 7) == 0) { /* the absolute form: what follows the authority */
        size_t i = 7 + strcspn(p + 7, "/");

        if (i == 7) return refuse(no, 400, true, "the target has no host");
        if (p[i] == '\0') { /* an empty path means "/" */
            p = "/";
            n = 1;
        } else {
            p += i;
            n -= i;
        }
    }
    if (!(p[0] == '/' || (strcmp(p, "*") == 0 && strcmp(head->method, "OPTIONS") == 0)))
        return refuse(no, 400, true, "the target must be a path that starts with '/'");
    if (!escapes_are_good(p, n)) return refuse(no, 400, true, "bad percent escape in the path");
    *path = p;
    *len = n;
    return true;
}

const char *qn_http_reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 499: return "Client Closed Request";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Internal Server Error";
    }
}
