/* What quern load counts with, and how it reads replies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/cli/histogram.h"
#include "server/cli/load_reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- the histogram -------------------------------------------------------------------------------------------------------- */

static qn_histogram a, b;

static void every_value_is_in_a_bucket_that_is_narrow(void **state)
{
    (void)state;
    for (uint32_t i = 0; i + 1 < QN_HISTOGRAM_BUCKETS; i++) {
        uint64_t end = qn_histogram_bucket_end(i);

        assert_int_equal(qn_histogram_bucket(end), i);
        assert_int_equal(qn_histogram_bucket(end + 1), i + 1);
        if (i > 0) assert_true((double)end <= (double)(qn_histogram_bucket_end(i - 1) + 1) * (1 + 1.0 / 128));
    }
    assert_int_equal(qn_histogram_bucket(UINT64_MAX), QN_HISTOGRAM_BUCKETS - 1);
    assert_true(qn_histogram_bucket_end(QN_HISTOGRAM_BUCKETS - 1) == UINT64_MAX);
}

static void percentiles_are_those_of_the_values(void **state)
{
    (void)state;
    memset(&a, 0, sizeof a);
    assert_int_equal(qn_histogram_percentile(&a, 500000), 0);
    for (uint64_t v = 1; v <= 100000; v++) qn_histogram_add(&a, v * 1000);
    assert_true(a.n == 100000 && a.min == 1000 && a.max == 100000000);
    assert_true(qn_histogram_mean(&a) == 50000500.0);
    for (uint32_t ppm = 10000; ppm <= 1000000; ppm += 10000) {
        const double got = (double)qn_histogram_percentile(&a, ppm), want = (double)ppm * 100;

        assert_true(got >= want && got <= want * 1.008);
    }
    assert_true(qn_histogram_percentile(&a, 0) >= 1000 && qn_histogram_percentile(&a, 1000000) == 100000000);
}

static void merging_is_adding(void **state)
{
    (void)state;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    for (uint64_t v = 0; v < 1000; v++) qn_histogram_add(v % 3 ? &a : &b, v * v);
    qn_histogram_merge(&a, &b);
    assert_true(a.n == 1000 && a.min == 0 && a.max == 998001);
    memset(&b, 0, sizeof b);
    for (uint64_t v = 0; v < 1000; v++) qn_histogram_add(&b, v * v);
    assert_memory_equal(&a, &b, sizeof a);
}

/* -- replies -------------------------------------------------------------------------------------------------------------- */

/* In pieces of `piece` bytes; returns the bytes that belong to the reply. */
static size_t feed(qn_reply *r, const char *text, size_t piece)
{
    size_t n = strlen(text), at = 0;

    qn_reply_begin(r, false);
    while (at < n && r->state == QN_REPLY_MORE) {
        size_t part = n - at < piece ? n - at : piece;

        at += qn_reply_feed(r, text + at, part);
    }
    return at;
}

static void whole_replies_end_where_they_end(void **state)
{
    static const struct {
        const char *text;
        size_t behind; /* bytes that belong to the next one */
        uint64_t body;
        int status;
        bool keep;
    } rows[] = {
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0, 5, 200, true },
        { "HTTP/1.1 200 OK\r\ncontent-length:  5 \r\nConnection: close\r\n\r\nhello", 0, 5, 200, false },
        { "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1", 8, 0, 204, true },
        { "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 0, 0, 200, false },
        { "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", 0, 1, 200, true },
        { "HTTP/1.1 503 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nmore", 4, 13, 503,
          true },
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 0, 1, 200, true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t piece = 1; piece < 100; piece += 7) {
            qn_reply r;

            assert_int_equal(feed(&r, rows[i].text, piece), strlen(rows[i].text) - rows[i].behind);
            assert_int_equal(r.state, QN_REPLY_DONE);
            assert_true(r.status == rows[i].status && r.body_bytes == rows[i].body && r.keep_alive == rows[i].keep);
        }
}

static void what_is_cut_short_is_not_done(void **state)
{
    const char text[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    qn_reply r;

    (void)state;
    for (size_t n = 0; n + 1 < sizeof text; n++) {
        char part[sizeof text];

        memcpy(part, text, n);
        part[n] = '\0';
        feed(&r, part, 1000);
        qn_reply_close(&r);
        assert_int_equal(r.state, QN_REPLY_MORE);
        assert_true(r.began == (n > 0));
    }
    feed(&r, "HTTP/1.1 200 OK\r\n\r\nuntil it closes", 4);
    assert_int_equal(r.state, QN_REPLY_MORE);
    qn_reply_close(&r);
    assert_true(r.state == QN_REPLY_DONE && r.body_bytes == 15 && !r.keep_alive);
}

static void what_is_not_a_reply_is_bad(void **state)
{
    static const char *const rows[] = {
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/2 200\r\n",
        "HTTP/1.1 2x0 OK\r\n",
        "HTTP/1.1 999 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    };
    char *huge = malloc(200000);
    qn_reply r;

    (void)state;
    assert_non_null(huge);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t piece = 1; piece < 100; piece += 7) {
            feed(&r, rows[i], piece);
            assert_int_equal(r.state, QN_REPLY_BAD);
            assert_non_null(r.why);
        }
    memset(huge, 'x', 199999); /* a head without an end */
    memcpy(huge, "HTTP/1.1 200 OK\r\nX: ", 20);
    huge[199999] = '\0';
    feed(&r, huge, 1000);
    assert_int_equal(r.state, QN_REPLY_BAD);
    free(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_is_in_a_bucket_that_is_narrow),
        cmocka_unit_test(percentiles_are_those_of_the_values),
        cmocka_unit_test(merging_is_adding),
        cmocka_unit_test(whole_replies_end_where_they_end),
        cmocka_unit_test(what_is_cut_short_is_not_done),
        cmocka_unit_test(what_is_not_a_reply_is_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
