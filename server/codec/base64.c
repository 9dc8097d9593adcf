/* server/codec/base64.c - base64 (RFC 4648, standard alphabet, padding optional) into a string element. */
#include "server/codec/decoder.h"

#include <stdlib.h>

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    if (c == '/') return 63;
    return -1;
}

qn_status qn_sink_base64(qn_sink *s, const char *text, size_t n, qn_error *err)
{
    char *out = malloc(n / 4 * 3 + 3);
    size_t len = 0, bits = 0, padding = 0;
    uint32_t acc = 0;
    qn_status st;

    if (!out) return qn_error_set(err, QN_ERR_NOMEM, "%zu bytes of base64", n);
    while (n > 0 && text[n - 1] == '=' && padding < 2) {
        n--;
        padding++;
    }
    for (size_t i = 0; i < n; i++) {
        int v = digit(text[i]);

        if (v < 0) {
            free(out);
            return qn_error_set(err, QN_ERR_FORMAT, "b64 has a byte that is not base64 at position %zu", i);
        }
        acc = acc << 6 | (uint32_t)v;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[len++] = (char)(acc >> bits & 0xff);
        }
    }
    /* 4 characters carry 3 bytes: a rest of one character, or padding that does not complete four, is not base64 */
    if (n % 4 == 1 || (padding && (n + padding) % 4) || (acc & (((uint32_t)1 << bits) - 1)))
        st = qn_error_set(err, QN_ERR_FORMAT, "b64 of %zu characters is cut short", n + padding);
    else
        st = qn_sink_token(s, QN_JSON_STRING, out, len, err);
    free(out);
    return st;
}
