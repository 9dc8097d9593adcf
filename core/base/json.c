/* core/base/json.c - the reader as a state machine over bytes: nothing recurses, every state can wait for the next piece.
 * `expect` is the place in the grammar, `lex` the place inside a token. Strings without escapes and numbers that lie whole in a piece are
 * handed out from the piece itself; the others are gathered in `text`. */
#include "quern/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {                   /* expect */
       E_VALUE,          /* a value */
       E_VALUE_OR_CLOSE, /* right after '[' */
       E_KEY,            /* right after ',' in an object */
       E_KEY_OR_CLOSE,   /* right after '{' */
       E_COLON,
       E_COMMA_OR_CLOSE,
       E_END, /* the document is complete */
};

enum { /* lex */
       L_NONE,
       L_STRING,
       L_ESCAPE,
       L_ESCAPE_HEX,
       L_LOW_SURROGATE,   /* a high surrogate was read: '\' must follow */
       L_LOW_SURROGATE_U, /* ... and 'u' */
       L_WORD,
};

void qn_json_init(qn_json *j, qn_json_fn *fn, void *user, bool allow_nan, int32_t max_depth, size_t max_text)
{
    memset(j, 0, sizeof *j);
    j->fn = fn;
    j->user = user;
    j->allow_nan = allow_nan;
    j->max_depth = max_depth < QN_JSON_MAX_DEPTH ? max_depth : QN_JSON_MAX_DEPTH;
    j->max_text = max_text;
    j->expect = E_VALUE;
}

void qn_json_release(qn_json *j)
{
    free(j->text);
    j->text = NULL;
    j->len = j->cap = 0;
}

static qn_status bad(const qn_json *j, size_t at, qn_error *err, const char *what)
{
    return qn_error_set(err, QN_ERR_FORMAT, "not JSON: %s at byte %" PRIu64, what, j->offset + at);
}

static qn_status text_add(qn_json *j, const char *s, size_t n, qn_error *err)
{
    if (n > j->max_text - j->len || j->len > j->max_text)
        return qn_error_set(err, QN_ERR_LIMIT, "a string or number in the JSON is longer than %zu bytes", j->max_text);
    if (j->len + n + 1 > j->cap) { /* one byte more: a number needs a readable byte behind it */
        size_t cap = j->cap ? j->cap : 64;
        char *grown;

        while (cap < j->len + n + 1) cap *= 2;
        grown = realloc(j->text, cap);
        if (!grown) return qn_error_set(err, QN_ERR_NOMEM, "%zu bytes of JSON text", cap);
        j->text = grown;
        j->cap = cap;
    }
    memcpy(j->text + j->len, s, n);
    j->len += n;
    j->text[j->len] = 0;
    return QN_OK;
}

/* -- grammar between tokens ------------------------------------------------------------------------------------------------------ */

static void value_done(qn_json *j) { j->expect = j->depth == 0 ? E_END : E_COMMA_OR_CLOSE; }

static bool value_allowed(const qn_json *j) { return j->expect == E_VALUE || j->expect == E_VALUE_OR_CLOSE; }

static bool in_object(const qn_json *j) { return j->depth > 0 && (j->is_object >> (j->depth - 1) & 1); }

static qn_status open_container(qn_json *j, bool object, size_t at, qn_error *err)
{
    if (!value_allowed(j)) return bad(j, at, err, j->expect == E_END ? "bytes behind the document" : "a value where none is expected");
    if (j->depth >= j->max_depth)
        return qn_error_set(err, QN_ERR_FORMAT, "JSON nested deeper than %" PRId32 " levels at byte %" PRIu64, j->max_depth,
                            j->offset + at);
    if (object)
        j->is_object |= (uint64_t)1 << j->depth;
    else
        j->is_object &= ~((uint64_t)1 << j->depth);
    j->depth++;
    j->expect = object ? E_KEY_OR_CLOSE : E_VALUE_OR_CLOSE;
    return j->fn(j->user, object ? QN_JSON_OBJECT_BEGIN : QN_JSON_ARRAY_BEGIN, "", 0, err);
}

static qn_status close_container(qn_json *j, bool object, size_t at, qn_error *err)
{
    int may = object ? E_KEY_OR_CLOSE : E_VALUE_OR_CLOSE;

    if (j->depth == 0 || in_object(j) != object || (j->expect != may && j->expect != E_COMMA_OR_CLOSE))
        return bad(j, at, err, object ? "unexpected '}'" : "unexpected ']'");
    j->depth--;
    value_done(j);
    return j->fn(j->user, object ? QN_JSON_OBJECT_END : QN_JSON_ARRAY_END, "", 0, err);
}

static qn_status string_done(qn_json *j, const char *s, size_t n, qn_error *err)
{
    if (j->expect == E_KEY || j->expect == E_KEY_OR_CLOSE) {
        j->expect = E_COLON;
        return j->fn(j->user, QN_JSON_KEY, s, n, err);
    }
    value_done(j);
    return j->fn(j->user, QN_JSON_STRING, s, n, err);
}

/* -- numbers and words ------------------------------------------------------------------------------------------------------------ */

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? */
static bool number_valid(const char *s, size_t n)
{
    const char *end = s + n;

#define DIGIT(p) ((p) < end && *(p) >= '0' && *(p) <= '9')
    if (s < end && *s == '-') s++;
    if (!DIGIT(s)) return false;
    if (*s == '0')
        s++;
    else
        while (DIGIT(s)) s++;
    if (s < end && *s == '.') {
        s++;
        if (!DIGIT(s)) return false;
        while (DIGIT(s)) s++;
    }
    if (s < end && (*s == 'e' || *s == 'E')) {
        s++;
        if (s < end && (*s == '+' || *s == '-')) s++;
        if (!DIGIT(s)) return false;
        while (DIGIT(s)) s++;
    }
#undef DIGIT
    return s == end;
}

/* true, false, null, a number, or (allow_nan) NaN, Infinity, -Infinity. */
static qn_status word_done(qn_json *j, const char *s, size_t n, size_t at, qn_error *err)
{
    static const struct {
        const char *text;
        size_t n;
        qn_json_token token;
        bool nan;
    } words[] = {
        { "true", 4, QN_JSON_TRUE, false }, { "false", 5, QN_JSON_FALSE, false }, { "null", 4, QN_JSON_NULL, false },
        { "NaN", 3, QN_JSON_NAN, true },    { "Infinity", 8, QN_JSON_INF, true }, { "-Infinity", 9, QN_JSON_MINUS_INF, true },
    };

    j->lex = L_NONE;
    if (number_valid(s, n)) {
        value_done(j);
        return j->fn(j->user, QN_JSON_NUMBER, s, n, err);
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (n != words[i].n || memcmp(s, words[i].text, n) != 0) continue;
        if (words[i].nan && !j->allow_nan) return bad(j, at, err, "NaN and Infinity are not numbers in JSON,");
        value_done(j);
        return j->fn(j->user, words[i].token, s, n, err);
    }
    return bad(j, at, err, "an unknown word or malformed number");
}

static bool word_byte(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '+' || c == '.';
}

/* -- strings ------------------------------------------------------------------------------------------------------------------------ */

/* One byte of a multi-byte UTF-8 character. Overlong forms, surrogates and code points beyond 10FFFF are refused. */
static bool utf8_step(qn_json *j, unsigned char c)
{
    if (j->utf8_need == 0) {
        if (c < 0x80) return true;
        if (c >= 0xc2 && c <= 0xdf) {
            j->utf8_need = 1;
            j->utf8_code = c & 0x1fu;
            j->utf8_min = 0x80;
        } else if (c >= 0xe0 && c <= 0xef) {
            j->utf8_need = 2;
            j->utf8_code = c & 0x0fu;
            j->utf8_min = 0x800;
        } else if (c >= 0xf0 && c <= 0xf4) {
            j->utf8_need = 3;
            j->utf8_code = c & 0x07u;
            j->utf8_min = 0x10000;
        } else {
            return false;
        }
        return true;
    }
    if ((c & 0xc0) != 0x80) return false;
    j->utf8_code = j->utf8_code << 6 | (c & 0x3fu);
    if (--j->utf8_need > 0) return true;
    return j->utf8_code >= j->utf8_min && j->utf8_code <= 0x10ffff && (j->utf8_code < 0xd800 || j->utf8_code > 0xdfff);
}

static qn_status put_code_point(qn_json *j, uint32_t c, qn_error *err)
{
    char b[4];
    size_t n;

    if (c < 0x80) {
        b[0] = (char)c;
        n = 1;
    } else if (c < 0x800) {
        b[0] = (char)(0xc0 | c >> 6);
        b[1] = (char)(0x80 | (c & 0x3f));
        n = 2;
    } else if (c < 0x10000) {
        b[0] = (char)(0xe0 | c >> 12);
        b[1] = (char)(0x80 | (c >> 6 & 0x3f));
        b[2] = (char)(0x80 | (c & 0x3f));
        n = 3;
    } else {
        b[0] = (char)(0xf0 | c >> 18);
        b[1] = (char)(0x80 | (c >> 12 & 0x3f));
        b[2] = (char)(0x80 | (c >> 6 & 0x3f));
        b[3] = (char)(0x80 | (c & 0x3f));
        n = 4;
    }
    return text_add(j, b, n, err);
}

static qn_status escape_byte(qn_json *j, char c, size_t at, qn_error *err)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *p;

    if (j->lex == L_LOW_SURROGATE) {
        if (c != '\\') return bad(j, at, err, "a high surrogate without its low one");
        j->lex = L_LOW_SURROGATE_U;
        return QN_OK;
    }
    if (c == 'u') {
        j->lex = L_ESCAPE_HEX;
        j->escape_code = 0;
        j->escape_digits = 0;
        return QN_OK;
    }
    if (j->lex == L_LOW_SURROGATE_U) return bad(j, at, err, "a high surrogate without its low one");
    p = c ? strchr(from, c) : NULL;
    if (!p) return bad(j, at, err, "an unknown escape");
    j->lex = L_STRING;
    return text_add(j, &to[p - from], 1, err);
}

static qn_status hex_byte(qn_json *j, char c, size_t at, qn_error *err)
{
    uint32_t d, code;

    if (c >= '0' && c <= '9')
        d = (uint32_t)(c - '0');
    else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
        d = (uint32_t)((c | 0x20) - 'a' + 10);
    else
        return bad(j, at, err, "a \\u escape that is not four hex digits");
    j->escape_code = j->escape_code << 4 | d;
    if (++j->escape_digits < 4) return QN_OK;
    code = j->escape_code;
    if (j->escape_high) {
        if (code < 0xdc00 || code > 0xdfff) return bad(j, at, err, "a high surrogate without its low one");
        code = 0x10000 + ((j->escape_high - 0xd800) << 10) + (code - 0xdc00);
        j->escape_high = 0;
    } else if (code >= 0xd800 && code <= 0xdbff) {
        j->escape_high = code;
        j->lex = L_LOW_SURROGATE;
        return QN_OK;
    } else if (code >= 0xdc00 && code <= 0xdfff) {
        return bad(j, at, err, "a low surrogate alone");
    }
    j->lex = L_STRING;
    return put_code_point(j, code, err);
}

/* Bytes of a string from data[*at]: up to its end, an escape, or the end of the piece. */
static qn_status string_bytes(qn_json *j, const char *data, size_t n, size_t *at, qn_error *err)
{
    size_t from = *at, i = from;
    qn_status st;

    for (; i < n; i++) {
        unsigned char c = (unsigned char)data[i];

        if (j->utf8_need == 0) {
            if (c == '"' || c == '\\') break;
            if (c < 0x20) return bad(j, i, err, "a control character in a string");
            if (c < 0x80) continue;
        }
        if (!utf8_step(j, c)) return bad(j, i, err, "invalid UTF-8 in a string");
    }
    *at = i;
    if (i < n && data[i] == '"') {
        *at = i + 1;
        j->lex = L_NONE;
        if (j->len == 0) {
            if (i - from > j->max_text)
                return qn_error_set(err, QN_ERR_LIMIT, "a string in the JSON is longer than %zu bytes", j->max_text);
            return string_done(j, data + from, i - from, err);
        }
        st = text_add(j, data + from, i - from, err);
        if (st != QN_OK) return st;
        size_t len = j->len;
        j->len = 0;
        return string_done(j, j->text, len, err);
    }
    if (i < n) { /* '\\' */
        j->lex = L_ESCAPE;
        *at = i + 1;
    }
    /* An empty first part must still mark that text is being gathered: an escape always adds at least one byte before the end. */
    return text_add(j, data + from, i - from, err);
}

static qn_status word_bytes(qn_json *j, const char *data, size_t n, size_t *at, qn_error *err)
{
    size_t from = *at, i = from;
    qn_status st;

    while (i < n && word_byte(data[i])) i++;
    *at = i;
    if (i == n || j->len > 0) {
        st = text_add(j, data + from, i - from, err);
        if (st != QN_OK || i == n) return st;
        size_t len = j->len;
        j->len = 0;
        return word_done(j, j->text, len, from, err);
    }
    if (i - from > j->max_text) return qn_error_set(err, QN_ERR_LIMIT, "a number in the JSON is longer than %zu bytes", j->max_text);
    return word_done(j, data + from, i - from, from, err); /* data[i] is readable: i < n */
}

/* -- the machine -------------------------------------------------------------------------------------------------------------------- */

static qn_status structural_byte(qn_json *j, char c, size_t at, qn_error *err)
{
    switch (c) {
    case '{': return open_container(j, true, at, err);
    case '[': return open_container(j, false, at, err);
    case '}': return close_container(j, true, at, err);
    case ']': return close_container(j, false, at, err);
    case ':':
        if (j->expect != E_COLON) return bad(j, at, err, "unexpected ':'");
        j->expect = E_VALUE;
        return QN_OK;
    case ',':
        if (j->expect != E_COMMA_OR_CLOSE) return bad(j, at, err, "unexpected ','");
        j->expect = in_object(j) ? E_KEY : E_VALUE;
        return QN_OK;
    case '"':
        if (!value_allowed(j) && j->expect != E_KEY && j->expect != E_KEY_OR_CLOSE) return bad(j, at, err, "unexpected string");
        j->lex = L_STRING;
        j->len = 0;
        j->utf8_need = 0;
        j->escape_high = 0;
        return QN_OK;
    default: return bad(j, at, err, j->expect == E_END ? "bytes behind the document" : "unexpected character");
    }
}

static qn_status feed(qn_json *j, const char *data, size_t n, qn_error *err)
{
    qn_status st = QN_OK;
    size_t i = 0;

    while (i < n && st == QN_OK) {
        char c = data[i];

        switch (j->lex) {
        case L_STRING: st = string_bytes(j, data, n, &i, err); break;
        case L_ESCAPE:
        case L_LOW_SURROGATE:
        case L_LOW_SURROGATE_U: st = escape_byte(j, c, i++, err); break;
        case L_ESCAPE_HEX: st = hex_byte(j, c, i++, err); break;
        case L_WORD: st = word_bytes(j, data, n, &i, err); break;
        default:
            if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
                i++;
            } else if (word_byte(c)) {
                if (!value_allowed(j))
                    return bad(j, i, err, j->expect == E_END ? "bytes behind the document" : "a value where none is expected");
                if (j->list && j->depth > 0 && !in_object(j)) {
                    const size_t taken = j->list(j->user, data + i, n - i);

                    if (taken > 0) {
                        i += taken;
                        j->expect = E_VALUE; /* behind a comma */
                        break;
                    }
                }
                j->lex = L_WORD;
                j->len = 0;
            } else {
                st = structural_byte(j, c, i++, err);
            }
        }
    }
    j->offset += n;
    return st;
}

qn_status qn_json_feed(qn_json *j, const char *data, size_t n, qn_error *err)
{
    qn_status st;

    if (j->failed) return qn_error_set(err, QN_ERR_FORMAT, "the JSON was refused before");
    st = feed(j, data, n, err);
    if (st != QN_OK) j->failed = true;
    return st;
}

qn_status qn_json_finish(qn_json *j, qn_error *err)
{
    qn_status st = QN_OK;

    if (j->failed) return qn_error_set(err, QN_ERR_FORMAT, "the JSON was refused before");
    if (j->lex == L_WORD) { /* a bare number at the very end */
        size_t len = j->len;

        j->len = 0;
        st = word_done(j, j->text, len, 0, err);
        if (st != QN_OK) return st;
    }
    if (j->expect != E_END || j->lex != L_NONE) return bad(j, 0, err, "the document ends too early,");
    return QN_OK;
}
