/* core/base/casemap.c - see casemap.h. */
#include "core/base/casemap.h"

typedef struct range {
    uint32_t first, last;
    int32_t step, add;
} range;

#define QN_CASE(first, last, step, add) { first, last, step, add },
static const range to_lower[] = {
#define QN_CASE_LOWER
#include "core/base/casemap.def"
#undef QN_CASE_LOWER
};
static const range to_upper[] = {
#define QN_CASE_UPPER
#include "core/base/casemap.def"
#undef QN_CASE_UPPER
};
#undef QN_CASE

uint32_t qn_casemap_point(uint32_t c, bool upper)
{
    const range *r = upper ? to_upper : to_lower;
    size_t lo = 0, hi = upper ? sizeof to_upper / sizeof *to_upper : sizeof to_lower / sizeof *to_lower;

    while (lo < hi) { /* the first range that ends at c or later */
        const size_t mid = lo + (hi - lo) / 2;

        if (r[mid].last < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == (upper ? sizeof to_upper / sizeof *to_upper : sizeof to_lower / sizeof *to_lower)) return c;
    if (c < r[lo].first || (c - r[lo].first) % (uint32_t)r[lo].step != 0) return c;
    return (uint32_t)((int64_t)c + r[lo].add);
}

/* The code point at s, and how many bytes it takes; 0 if that is no UTF-8 (too long a form, a surrogate, cut off). */
static size_t decode(const unsigned char *s, size_t n, uint32_t *c)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;

    *c = s[0];
    if (len == 1) return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4 || n < len) return 0;
    *c = s[0] & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
        *c = *c << 6 | (s[i] & 0x3Fu);
    }
    return *c < least[len] || *c > 0x10FFFF || (*c >= 0xD800 && *c < 0xE000) ? 0 : len;
}

static size_t encode(uint32_t c, unsigned char b[4])
{
    if (c < 0x80) {
        b[0] = (unsigned char)c;
        return 1;
    }
    if (c < 0x800) {
        b[0] = (unsigned char)(0xC0 | c >> 6);
        b[1] = (unsigned char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        b[0] = (unsigned char)(0xE0 | c >> 12);
        b[1] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
        b[2] = (unsigned char)(0x80 | (c & 0x3F));
        return 3;
    }
    b[0] = (unsigned char)(0xF0 | c >> 18);
    b[1] = (unsigned char)(0x80 | (c >> 12 & 0x3F));
    b[2] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
    b[3] = (unsigned char)(0x80 | (c & 0x3F));
    return 4;
}

size_t qn_casemap(const char *s, size_t n, bool upper, char *out)
{
    size_t at = 0;

    for (size_t i = 0; i < n;) {
        unsigned char b[4];
        uint32_t c;
        size_t len = decode((const unsigned char *)s + i, n - i, &c), k = 1;

        if (len == 0) {
            len = 1;
            b[0] = (unsigned char)s[i];
        } else {
            k = encode(qn_casemap_point(c, upper), b);
        }
        for (size_t j = 0; out && j < k; j++) out[at + j] = (char)b[j];
        at += k;
        i += len;
    }
    return at;
}
