/* server/routes/match.c - patterns and paths.
 * A path is matched segment by segment on its raw bytes, each segment decoded alone, so that an encoded slash never makes a new segment.
 * The last literal of a segment may follow the braces: "{model}:predict". A name has no ':' (registry.h), so the first one ends it. */
#include "server/routes/routes.h"

#include <string.h>

/* "{model}", "{label}" or "{version}" at the front of the pattern: its length, or 0. */
static size_t braces(const char *pattern, size_t n)
{
    if (n >= 7 && memcmp(pattern, "{model}", 7) == 0) return 7;
    if (n >= 7 && memcmp(pattern, "{label}", 7) == 0) return 7;
    if (n >= 9 && memcmp(pattern, "{version}", 9) == 0) return 9;
    return 0;
}

static bool take_version(const char *s, int64_t *out)
{
    int64_t v = 0;

    if (!*s) return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9') return false;
        if (__builtin_mul_overflow(v, (int64_t)10, &v) || __builtin_add_overflow(v, (int64_t)(*s - '0'), &v)) return false;
    }
    if (v == 0) return false; /* 0 would mean "the served one" further down */
    *out = v;
    return true;
}

static bool match_segment(const char *pattern, size_t pattern_len, const char *raw, size_t raw_len, qn_path *out)
{
    char text[QN_MAX_NAME * 2];
    size_t len = 0, head = braces(pattern, pattern_len), tail_len = pattern_len - head;
    const char *tail = pattern + head;

    if (!qn_percent_decode(raw, raw_len, text, sizeof text, &len)) return false;
    if (head == 0) return len == pattern_len && memcmp(text, pattern, len) == 0;
    if (len <= tail_len || memcmp(text + len - tail_len, tail, tail_len) != 0) return false;
    len -= tail_len;
    text[len] = '\0';
    if (pattern[1] == 'v') return take_version(text, &out->version);
    if (len >= QN_MAX_NAME || (tail_len == 0 && strchr(text, ':'))) return false;
    memcpy(pattern[1] == 'l' ? out->label : out->model, text, len + 1);
    return true;
}

bool qn_path_match(const char *pattern, const char *path, size_t len, qn_path *out)
{
    const char *end = path + len;

    out->model[0] = '\0';
    out->label[0] = '\0';
    out->version = 0;
    while (*pattern == '/' && path < end && *path == '/') {
        const char *slash;
        size_t pattern_len = strcspn(++pattern, "/"), raw_len;

        path++;
        slash = memchr(path, '/', (size_t)(end - path));
        raw_len = (size_t)((slash ? slash : end) - path);
        if (!match_segment(pattern, pattern_len, path, raw_len, out)) return false;
        pattern += pattern_len;
        path += raw_len;
    }
    return *pattern == '\0' && path == end;
}
