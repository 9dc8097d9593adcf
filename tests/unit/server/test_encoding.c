/* Which compression a client gets, and that it comes back as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/http/encoding.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

static qn_encoding choose(const char *accept)
{
    qn_http_field f = { .name = "Accept-Encoding", .value = accept, .name_len = 15, .value_len = strlen(accept) };

    return qn_encoding_choose(&f);
}

static void the_clients_preference_decides(void **state)
{
    (void)state;
    assert_int_equal(qn_encoding_choose(NULL), QN_ENCODING_IDENTITY);
    assert_int_equal(choose(""), QN_ENCODING_IDENTITY);
    assert_int_equal(choose("gzip"), QN_ENCODING_GZIP);
    assert_int_equal(choose("gzip, deflate, br, zstd"), QN_ENCODING_ZSTD);
    assert_int_equal(choose("gzip, deflate"), QN_ENCODING_GZIP);
    assert_int_equal(choose("GZip;q=0.5 , zstd;Q=0.25"), QN_ENCODING_GZIP);
    assert_int_equal(choose("deflate;q=0.001"), QN_ENCODING_DEFLATE);
    assert_int_equal(choose("gzip;q=0"), QN_ENCODING_IDENTITY);
    assert_int_equal(choose("gzip;q=0.000, *;q=0.5"), QN_ENCODING_ZSTD);
    assert_int_equal(choose("zstd;q=0, *"), QN_ENCODING_GZIP);
    assert_int_equal(choose("*;q=0"), QN_ENCODING_IDENTITY);
    assert_int_equal(choose("identity, gzip;q=0.5"), QN_ENCODING_IDENTITY);
    assert_int_equal(choose("identity;q=0.5, gzip"), QN_ENCODING_GZIP);
    assert_int_equal(choose("br"), QN_ENCODING_IDENTITY);
}

static void what_makes_no_sense_is_passed_over(void **state)
{
    static const char *const odd[] = { ",",        ";",         ";q=1",         "gzip;",        "gzip;q", "gzip;q=",
                                       "gzip;q=2", "gzip;q=-1", "gzip;q=0.5x",  "gzip;level=9", "q=1",    "gzip gzip",
                                       "gzi",      "gzipp",     " \t, ,;,;;q=", "\xff\x01" };

    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) assert_int_equal(choose(odd[i]), QN_ENCODING_IDENTITY);
    assert_int_equal(choose("x;q=,gzip"), QN_ENCODING_GZIP);
}

static size_t unpack(qn_encoding encoding, const qn_buf *b, char *out, size_t cap)
{
    z_stream z = { .next_in = (Bytef *)b->data, .avail_in = (uInt)b->len, .next_out = (Bytef *)out, .avail_out = (uInt)cap };

    if (encoding == QN_ENCODING_ZSTD) return ZSTD_decompress(out, cap, b->data, b->len);
    assert_int_equal(inflateInit2(&z, encoding == QN_ENCODING_GZIP ? 31 : 15), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    inflateEnd(&z);
    return z.total_out;
}

static void what_is_compressed_comes_back(void **state)
{
    char *text = malloc(100000), *again = malloc(100001);

    (void)state;
    assert_true(text && again);
    for (size_t i = 0; i < 100000; i++) text[i] = "0.125,-17.5e-3,[]"[(i * i / 7) % 17];
    for (int e = 1; e < QN_ENCODING_COUNT; e++) {
        for (size_t n = 1024; n <= 100000; n += 98976) {
            qn_buf b;

            qn_buf_init(&b, 0);
            assert_true(qn_buf_append(&b, text, n));
            assert_true(qn_encoding_apply((qn_encoding)e, &b));
            assert_true(b.len < n);
            assert_int_equal(unpack((qn_encoding)e, &b, again, 100001), n);
            assert_memory_equal(text, again, n);
            qn_buf_release(&b);
        }
    }
    free(text);
    free(again);
}

static void what_does_not_shrink_stays(void **state)
{
    char noise[2048];
    uint64_t x = 88172645463325252u;
    qn_buf b;

    (void)state;
    for (size_t i = 0; i < sizeof noise; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        noise[i] = (char)(x >> 56);
    }
    for (int e = 0; e < QN_ENCODING_COUNT; e++) {
        qn_buf_init(&b, 0);
        assert_false(qn_encoding_apply((qn_encoding)e, &b)); /* nothing */
        assert_true(qn_buf_append(&b, noise, sizeof noise));
        assert_false(qn_encoding_apply((qn_encoding)e, &b));
        assert_int_equal(b.len, sizeof noise);
        assert_memory_equal(b.data, noise, sizeof noise);
        qn_buf_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clients_preference_decides),
        cmocka_unit_test(what_makes_no_sense_is_passed_over),
        cmocka_unit_test(what_is_compressed_comes_back),
        cmocka_unit_test(what_does_not_shrink_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
