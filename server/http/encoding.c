/* server/http/encoding.c - Accept-Encoding read, bodies compressed with libzstd and zlib. */
#include "server/http/encoding.h"

#include <limits.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#define LEVEL 1 /* of either library: fast */

const char *const qn_encoding_names[QN_ENCODING_COUNT] = { "identity", "zstd", "gzip", "deflate" };

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* A weight in thousandths at s, "1" or "0.5" of up to three digits; -1: it is none. */
static int read_weight(const char *s, const char *end)
{
    int q, scale = 100;

    if (s == end || (*s != '0' && *s != '1')) return -1;
    q = (*s++ - '0') * 1000;
    if (s < end && *s == '.')
        for (s++; s < end && *s >= '0' && *s <= '9' && scale > 0; s++, scale /= 10) q += (*s - '0') * scale;
    while (s < end && is_blank(*s)) s++;
    return s == end && q <= 1000 ? q : -1;
}

/* One element "name[;q=weight]" in [s, end): its weight into those it names. */
static void read_element(const char *s, const char *end, int weights[QN_ENCODING_COUNT], int *others)
{
    const char *semicolon = memchr(s, ';', (size_t)(end - s)), *name_end = semicolon ? semicolon : end;
    int q = 1000;

    while (s < name_end && is_blank(*s)) s++;
    while (name_end > s && is_blank(name_end[-1])) name_end--;
    if (semicolon) {
        const char *p = semicolon + 1;

        while (p < end && is_blank(*p)) p++;
        if (end - p < 2 || (*p != 'q' && *p != 'Q') || p[1] != '=') return;
        q = read_weight(p + 2, end);
        if (q < 0) return;
    }
    if (name_end - s == 1 && *s == '*') *others = q;
    for (int i = 0; i < QN_ENCODING_COUNT; i++)
        if ((size_t)(name_end - s) == strlen(qn_encoding_names[i]) && strncasecmp(s, qn_encoding_names[i], (size_t)(name_end - s)) == 0)
            weights[i] = q;
}

qn_encoding qn_encoding_choose(const qn_http_field *accept)
{
    int weights[QN_ENCODING_COUNT], others = -1, best = QN_ENCODING_IDENTITY;

    if (!accept) return QN_ENCODING_IDENTITY;
    for (int i = 0; i < QN_ENCODING_COUNT; i++) weights[i] = -1;
    for (const char *s = accept->value, *end = s + accept->value_len; s < end;) {
        const char *comma = memchr(s, ',', (size_t)(end - s));

        read_element(s, comma ? comma : end, weights, &others);
        s = comma ? comma + 1 : end;
    }
    for (int i = 0; i < QN_ENCODING_COUNT; i++)
        if (weights[i] < 0) weights[i] = i == QN_ENCODING_IDENTITY ? 0 : others > 0 ? others : 0;
    /* identity wins only where it is preferred by name: who lists gzip alone means to have it */
    for (int i = 1; i < QN_ENCODING_COUNT; i++)
        if (weights[i] > weights[best]) best = i;
    return (qn_encoding)best;
}

static size_t with_zstd(void *dst, size_t cap, const qn_buf *body)
{
    const size_t n = ZSTD_compress(dst, cap, body->data, body->len, LEVEL);

    return ZSTD_isError(n) ? 0 : n;
}

/* window_bits: 15, and 16 more for gzip's header. */
static size_t with_zlib(void *dst, size_t cap, const qn_buf *body, int window_bits)
{
    z_stream z = { .next_in = (Bytef *)body->data, .avail_in = (uInt)body->len, .next_out = dst, .avail_out = (uInt)cap };
    size_t n = 0;

    if (body->len > UINT_MAX || cap > UINT_MAX || deflateInit2(&z, LEVEL, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) != Z_OK) return 0;
    if (deflate(&z, Z_FINISH) == Z_STREAM_END) n = z.total_out;
    deflateEnd(&z);
    return n;
}

bool qn_encoding_apply(qn_encoding encoding, qn_buf *body)
{
    qn_buf out;
    size_t n = 0, cap = body->len > 0 ? body->len - 1 : 0; /* what does not fit is not smaller */
    char *dst;

    if (encoding == QN_ENCODING_IDENTITY || cap == 0 || body->failed) return false;
    qn_buf_init(&out, 0);
    dst = qn_buf_reserve(&out, cap);
    if (dst && encoding == QN_ENCODING_ZSTD) n = with_zstd(dst, cap, body);
    if (dst && encoding == QN_ENCODING_GZIP) n = with_zlib(dst, cap, body, 15 + 16);
    if (dst && encoding == QN_ENCODING_DEFLATE) n = with_zlib(dst, cap, body, 15);
    if (n == 0) {
        qn_buf_release(&out);
        return false;
    }
    out.len = n;
    qn_buf_release(body);
    *body = out;
    return true;
}
