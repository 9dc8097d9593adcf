/* tests/unit/server/test_guard.c - framing and header rules, on header blocks laid out as libmicrohttpd 0.9.75 leaves them. */
#include "server/http/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A request parsed in place the way the library does: NUL over the separators, pointers into the block. */
typedef struct parsed {
    char *block; /* owned */
    qn_http_head head;
} parsed;

static void parse(parsed *p, const char *raw, size_t n)
{
    char *at, *end;

    memset(p, 0, sizeof *p);
    p->block = malloc(n + 1);
    assert_non_null(p->block);
    memcpy(p->block, raw, n);
    p->block[n] = '\0';
    p->head.block_bytes = n;
    p->head.method = p->block;
    at = strchr(p->block, ' ');
    *at++ = '\0';
    p->head.target = at;
    end = strstr(at, "\r\n");
    end[0] = end[1] = '\0';
    at = strrchr(at, ' ');
    *at = '\0';
    p->head.version = at + 1;
    p->head.target_clean = qn_guard_target_clean(p->head.target, &p->head.target_len);
    for (at = end + 2; !(at[0] == '\r' && at[1] == '\n'); at = end + 2) {
        char *colon = strchr(at, ':'), *value = colon + 1;

        end = strstr(at, "\r\n");
        end[0] = end[1] = '\0';
        *colon = '\0';
        while (*value == ' ' || *value == '\t') value++;
        if (p->head.n_fields == QN_HTTP_MAX_FIELDS) {
            p->head.too_many_fields = true;
            continue;
        }
        p->head.fields[p->head.n_fields++] =
            (qn_http_field){ .name = at, .name_len = strlen(at), .value = value, .value_len = strlen(value) };
    }
    at[0] = at[1] = '\0';
}

static int verdict(const char *raw)
{
    parsed p;
    qn_framing f;
    qn_refusal no = { 0 };

    parse(&p, raw, strlen(raw));
    if (qn_guard_layout(&p.head, &no) && qn_guard_framing(&p.head, &f, &no)) no.status = 200;
    free(p.block);
    return no.status;
}

#define GET  "GET /v2 HTTP/1.1\r\nHost: x\r\n"
#define POST "POST /v2 HTTP/1.1\r\nHost: x\r\n"

static void a_plain_request_passes(void **state)
{
    (void)state;
    assert_int_equal(verdict(GET "\r\n"), 200);
    assert_int_equal(verdict(GET "A:\r\nB: \r\nC:\t x \t\r\nD: e\r\n\r\n"), 200);
    assert_int_equal(verdict("GET / HTTP/1.0\r\n\r\n"), 200);
    assert_int_equal(verdict(POST "Content-Length: 18446744073709551615\r\n\r\n"), 200); /* the route's limit says 413 */
    assert_int_equal(verdict(POST "transfer-encoding: Chunked\r\n\r\n"), 200);
}

static void ambiguous_framing_is_refused(void **state)
{
    static const char *const bad[] = {
        POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
        POST "Content-Length: 3\r\ncontent-length: 4\r\n\r\n",
        POST "Content-Length: 18446744073709551616\r\n\r\n",
        POST "Content-Length: +3\r\n\r\n",
        POST "Content-Length: -3\r\n\r\n",
        POST "Content-Length: 3, 3\r\n\r\n",
        POST "Content-Length: 0x10\r\n\r\n",
        POST "Content-Length:\r\n\r\n",
        POST "Transfer-Encoding: gzip, chunked\r\n\r\n",
        POST "Transfer-Encoding: identity\r\n\r\n",
        POST "Transfer-Encoding: xchunked\r\n\r\n",
        POST "Transfer-Encoding: \x0b"
             "chunked\r\n\r\n",
        POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /v2 HTTP/1.1\r\n\r\n",
        GET "Host: y\r\n\r\n",
        "GET /v2 HTTP/1.1\r\nHost: a b\r\n\r\n",
        GET "A b: c\r\n\r\n",
        GET "A: b\rc\r\n\r\n",
        GET "A: b\x7f\r\n\r\n",
        "G\x01T /v2 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a\x80 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (verdict(bad[i]) != 400) print_error("%s\n", bad[i]);
        assert_int_equal(verdict(bad[i]), 400);
    }
    assert_int_equal(verdict(GET "Expect: 200-ok\r\n\r\n"), 417);
    assert_int_equal(verdict("GET /v2 HTTP/1.2\r\nHost: x\r\n\r\n"), 505);
}

#define RAW_BYTES ((size_t)64 * 1024)

static void limits_are_414_and_431(void **state)
{
    char *raw = malloc(RAW_BYTES);
    size_t n;

    (void)state;
    assert_non_null(raw);
    for (int extra = 0; extra < 2; extra++) {
        n = (size_t)snprintf(raw, RAW_BYTES, "GET /");
        memset(raw + n, 'a', (size_t)(QN_HTTP_MAX_TARGET - 1 + extra));
        n += (size_t)(QN_HTTP_MAX_TARGET - 1 + extra);
        strncpy(raw + n, " HTTP/1.1\r\nHost: x\r\n\r\n", 64);
        assert_int_equal(verdict(raw), extra ? 414 : 200);

        n = (size_t)snprintf(raw, RAW_BYTES, GET);
        for (int i = 0; i < QN_HTTP_MAX_FIELDS - 1 + extra; i++) n += (size_t)snprintf(raw + n, RAW_BYTES - n, "A%d: b\r\n", i);
        snprintf(raw + n, RAW_BYTES - n, "\r\n");
        assert_int_equal(verdict(raw), extra ? 431 : 200);

        n = (size_t)snprintf(raw, RAW_BYTES, GET "A: ");
        memset(raw + n, 'a', (size_t)(QN_HTTP_MAX_HEADER_BYTES - 9 - 5 + extra)); /* "Host" + "x" + 4, "A" + 4 */
        n += (size_t)(QN_HTTP_MAX_HEADER_BYTES - 9 - 5 + extra);
        snprintf(raw + n, RAW_BYTES - n, "\r\n\r\n");
        assert_int_equal(verdict(raw), extra ? 431 : 200);
    }
    free(raw);
}

/* What the library makes of odd header blocks, seen as a layout that does not add up. */
static void bytes_the_parser_skipped_are_seen(void **state)
{
    static const char raw[] = GET "A: b\r\nC: d\r\n\r\n";
    parsed p;
    qn_refusal no = { 0 };
    char elsewhere[] = "Afolded";

    (void)state;
    parse(&p, raw, sizeof raw - 1);
    assert_true(qn_guard_layout(&p.head, &no));

    p.head.fields[1].name = elsewhere; /* a folded line moves the name out of the block */
    p.head.fields[1].name_len = 7;
    assert_false(qn_guard_layout(&p.head, &no));
    assert_int_equal(no.status, 400);
    assert_true(no.close);
    free(p.block);

    parse(&p, raw, sizeof raw - 1);
    p.head.n_fields = 2; /* a line without a name is dropped */
    assert_false(qn_guard_layout(&p.head, &no));
    free(p.block);

    parse(&p, raw, sizeof raw - 1);
    p.head.fields[2].value_len = 0; /* a NUL ends the value early */
    assert_false(qn_guard_layout(&p.head, &no));
    free(p.block);

    parse(&p, raw, sizeof raw - 1);
    p.head.target_len--; /* a NUL ends the target early */
    assert_false(qn_guard_layout(&p.head, &no));
    free(p.block);

    parse(&p, raw, sizeof raw - 1);
    p.head.block_bytes++; /* something follows the last field */
    assert_false(qn_guard_layout(&p.head, &no));
    free(p.block);
}

static void paths_are_checked_and_decoded(void **state)
{
    char out[32];
    size_t n = 0;
    parsed p;
    qn_refusal no = { 0 };
    const char *path = NULL;

    (void)state;
    assert_true(qn_percent_decode("a%2Fb%e2", 8, out, sizeof out, &n));
    assert_int_equal(n, 4);
    assert_memory_equal(out, "a/b\xe2", 5);
    assert_false(qn_percent_decode("%0", 2, out, sizeof out, &n));
    assert_false(qn_percent_decode("%zz", 3, out, sizeof out, &n));
    assert_false(qn_percent_decode("a%00", 4, out, sizeof out, &n));
    assert_false(qn_percent_decode("abcd", 4, out, 4, &n));
    assert_true(qn_percent_decode("abc", 3, out, 4, &n));

    parse(&p, "GET http://host:80/v2 HTTP/1.1\r\nHost: x\r\n\r\n", 43);
    assert_true(qn_guard_path(&p.head, &path, &n, &no));
    assert_int_equal(n, 3);
    assert_memory_equal(path, "/v2", 3);
    free(p.block);
    parse(&p, "GET v2 HTTP/1.1\r\nHost: x\r\n\r\n", 28);
    assert_false(qn_guard_path(&p.head, &path, &n, &no));
    free(p.block);
    parse(&p, "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 30);
    assert_false(qn_guard_path(&p.head, &path, &n, &no));
    free(p.block);
}

static int body_verdict(const char *raw, uint64_t max, unsigned media)
{
    parsed p;
    qn_framing f;
    qn_refusal no = { 0 };

    parse(&p, raw, strlen(raw));
    assert_true(qn_guard_framing(&p.head, &f, &no));
    if (qn_guard_body(&p.head, &f, max, media, &no)) no.status = 200;
    free(p.block);
    return no.status;
}

static void bodies_are_limited_and_typed(void **state)
{
    (void)state;
    assert_int_equal(body_verdict(POST "Content-Length: 10\r\n\r\n", 10, QN_MEDIA_JSON), 200);
    assert_int_equal(body_verdict(POST "Content-Length: 11\r\n\r\n", 10, QN_MEDIA_JSON), 413);
    assert_int_equal(body_verdict(POST "Content-Length: 18446744073709551615\r\n\r\n", 10, QN_MEDIA_ANY), 413);
    assert_int_equal(body_verdict(POST "Content-Length: 1\r\nContent-Encoding: gzip\r\n\r\n", 10, QN_MEDIA_JSON), 415);
    assert_int_equal(body_verdict(POST "Content-Length: 1\r\nContent-Encoding: identity\r\n\r\n", 10, QN_MEDIA_JSON), 200);
    assert_int_equal(body_verdict(POST "Content-Length: 1\r\nContent-Type: text/xml\r\n\r\n", 10, QN_MEDIA_JSON), 415);
    assert_int_equal(body_verdict(POST "Content-Length: 1\r\nContent-Type: Application/JSON ; charset=utf-8\r\n\r\n", 10, QN_MEDIA_JSON),
                     200);
    assert_int_equal(body_verdict(POST "Content-Length: 1\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n", 10, QN_MEDIA_JSON),
                     200);
    assert_int_equal(body_verdict(POST "Content-Length: 1\r\nContent-Type: application/octet-stream\r\n\r\n", 10, QN_MEDIA_JSON), 415);
    assert_int_equal(
        body_verdict(POST "Content-Length: 1\r\nContent-Type: application/octet-stream\r\n\r\n", 10, QN_MEDIA_JSON | QN_MEDIA_OCTETS), 200);
    assert_int_equal(body_verdict(POST "Content-Length: 0\r\nContent-Type: text/xml\r\n\r\n", 10, QN_MEDIA_JSON), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_passes),        cmocka_unit_test(ambiguous_framing_is_refused),
        cmocka_unit_test(limits_are_414_and_431),        cmocka_unit_test(bytes_the_parser_skipped_are_seen),
        cmocka_unit_test(paths_are_checked_and_decoded), cmocka_unit_test(bodies_are_limited_and_typed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
