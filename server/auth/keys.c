/* server/auth/keys.c - the file of keys, token buckets, and the check. */
#include "server/auth/keys.h"

#include "server/config/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

typedef struct key {
    char id[QN_KEY_ID_BYTES + 1];
    uint8_t digest[SHA256_DIGEST_SIZE];
    unsigned scopes;
    double rate, burst; /* a second, at once; rate 0: none */
    time_t expires;     /* 0: never */
    double tokens;      /* that are left at at_us */
    uint64_t at_us;     /* 0: none was taken yet */
} key;

struct qn_keys {
    char *path;
    pthread_mutex_t mu; /* guards what follows */
    key *all;           /* [n] */
    int32_t n;
};

static const char *const scope_names[] = { "infer", "train", "admin" };

const char *qn_key_scope_name(qn_key_scope scope)
{
    return scope == QN_KEY_INFER ? scope_names[0] : scope == QN_KEY_TRAIN ? scope_names[1] : scope_names[2];
}

unsigned qn_key_scopes(const char *text, size_t n)
{
    const char *end = text + n;
    unsigned bits = 0;

    while (text < end) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        size_t len = (size_t)((comma ? comma : end) - text);
        unsigned bit = 0;

        for (unsigned i = 0; i < 3; i++)
            if (len == strlen(scope_names[i]) && memcmp(text, scope_names[i], len) == 0) bit = 1u << i;
        if (!bit || (comma && comma + 1 == end)) return 0;
        bits |= bit;
        text += len + (comma != NULL);
    }
    return bits;
}

/* -- the file ------------------------------------------------------------------------------------------------------------- */

/* One word of a line. */
typedef struct word {
    const char *s;
    size_t n;
} word;

static bool next_word(const char **at, const char *end, word *out)
{
    const char *s = *at;

    while (s < end && (*s == ' ' || *s == '\t' || *s == '\r')) s++;
    out->s = s;
    while (s < end && *s != ' ' && *s != '\t' && *s != '\r') s++;
    out->n = (size_t)(s - out->s);
    *at = s;
    return out->n > 0;
}

static bool begins(word w, const char *prefix, word *rest)
{
    size_t n = strlen(prefix);

    if (w.n < n || memcmp(w.s, prefix, n) != 0) return false;
    *rest = (word){ w.s + n, w.n - n };
    return true;
}

static bool read_id(word w, key *k)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    if (w.n == 0 || w.n > QN_KEY_ID_BYTES) return false;
    for (size_t i = 0; i < w.n; i++)
        if (!w.s[i] || !strchr(plain, w.s[i])) return false;
    memcpy(k->id, w.s, w.n);
    k->id[w.n] = '\0';
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_digest(word w, key *k)
{
    if (!begins(w, "sha256:", &w) || w.n != 2 * SHA256_DIGEST_SIZE) return false;
    for (size_t i = 0; i < SHA256_DIGEST_SIZE; i++) {
        int high = hex_digit(w.s[2 * i]), low = hex_digit(w.s[2 * i + 1]);

        if (high < 0 || low < 0) return false;
        k->digest[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* A whole number of 1..9 digits from *at on. */
static bool read_count(word *w, long *out)
{
    size_t i = 0;

    for (*out = 0; i < w->n && i < 9 && w->s[i] >= '0' && w->s[i] <= '9'; i++) *out = *out * 10 + (w->s[i] - '0');
    *w = (word){ w->s + i, w->n - i };
    return i > 0;
}

static bool read_rate(word w, key *k)
{
    long rate, burst;

    if (!read_count(&w, &rate) || rate < 1) return false;
    burst = rate;
    if (w.n > 0 && (*w.s != '/' || (w.s++, w.n--, !read_count(&w, &burst)) || burst < 1)) return false;
    k->rate = (double)rate;
    k->burst = (double)burst;
    return w.n == 0;
}

static bool read_day(word w, key *k)
{
    struct tm tm = { 0 };
    char text[11], again[11];

    if (w.n != 10) return false;
    memcpy(text, w.s, 10);
    text[10] = '\0';
    if (sscanf(text, "%4d-%2d-%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday) != 3) return false;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    k->expires = timegm(&tm); /* which mends days that are none: they must come out as they went in */
    return k->expires > 0 && strftime(again, sizeof again, "%Y-%m-%d", &tm) == 10 && strcmp(text, again) == 0;
}

/* What is wrong with a line, or NULL. An empty one leaves k->id empty. */
static const char *read_line(const char *s, const char *end, key *k)
{
    const char *comment = memchr(s, '#', (size_t)(end - s));
    word w, rest;

    memset(k, 0, sizeof *k);
    if (comment) end = comment;
    if (!next_word(&s, end, &w)) return NULL;
    if (!read_id(w, k)) return "an id of 1 to 64 of A-Z a-z 0-9 . _ - expected first";
    if (!next_word(&s, end, &w) || !read_digest(w, k)) return "sha256: and 64 hex digits expected behind the id";
    if (!next_word(&s, end, &w) || !(k->scopes = qn_key_scopes(w.s, w.n))) return "scopes expected: infer, train, admin, joined by commas";
    while (next_word(&s, end, &w)) {
        if (begins(w, "rate=", &rest)) {
            if (k->rate > 0 || !read_rate(rest, k)) return "rate=N or rate=N/BURST expected, once";
        } else if (begins(w, "expires=", &rest)) {
            if (k->expires || !read_day(rest, k)) return "expires=YYYY-MM-DD expected, once";
        } else {
            return "rate= or expires= expected behind the scopes";
        }
    }
    return NULL;
}

qn_status qn_key_check_line(const char *line, qn_error *err)
{
    key k;
    const char *wrong = strchr(line, '\n') ? "more than one line" : read_line(line, line + strlen(line), &k);

    if (!wrong && !k.id[0]) wrong = "an empty line";
    return wrong ? qn_error_set(err, QN_ERR_FORMAT, "%s", wrong) : QN_OK;
}

static const key *by_id(const key *all, int32_t n, const char *id)
{
    for (int32_t i = 0; i < n; i++)
        if (strcmp(all[i].id, id) == 0) return &all[i];
    return NULL;
}

static qn_status parse(const char *text, size_t n, key *all, int32_t *count, qn_error *err)
{
    const char *s = text, *end = text + n;

    *count = 0;
    for (int line = 1; s < end; line++) {
        const char *newline = memchr(s, '\n', (size_t)(end - s)), *stop = newline ? newline : end;
        const char *wrong;
        key k;

        wrong = read_line(s, stop, &k);
        if (!wrong && k.id[0] && by_id(all, *count, k.id)) wrong = "the id is there twice";
        if (!wrong && k.id[0] && *count == QN_KEYS_MAX)
            return qn_error_set(err, QN_ERR_LIMIT, "line %d: more than %d keys", line, QN_KEYS_MAX);
        if (wrong) return qn_error_set(err, QN_ERR_FORMAT, "line %d: %s", line, wrong);
        if (k.id[0]) all[(*count)++] = k;
        s = newline ? newline + 1 : end;
    }
    return *count > 0 ? QN_OK : qn_error_set(err, QN_ERR_INVALID, "no key in it: nobody could ask anything");
}

static qn_status read_keys(const char *path, key **out, int32_t *n, qn_error *err)
{
    char *text = NULL;
    size_t len = 0;
    key *all = calloc(QN_KEYS_MAX, sizeof *all);
    qn_status st = all ? qn_settings_slurp(AT_FDCWD, path, 1, &text, &len, err) : qn_error_set(err, QN_ERR_NOMEM, "%d keys", QN_KEYS_MAX);

    if (st == QN_OK) st = parse(text, len, all, n, err);
    free(text);
    if (st != QN_OK) {
        free(all);
        qn_error_prefix(err, "security.keys_file");
        return st;
    }
    *out = all;
    return QN_OK;
}

qn_status qn_keys_open(const char *path, qn_keys **out, qn_error *err)
{
    qn_keys *k = calloc(1, sizeof *k);
    qn_status st = QN_OK;

    *out = NULL;
    if (k) k->path = strdup(path);
    if (!k || !k->path) st = qn_error_set(err, QN_ERR_NOMEM, "keys");
    if (st == QN_OK) st = read_keys(path, &k->all, &k->n, err);
    if (st != QN_OK) {
        if (k) free(k->path);
        free(k);
        return st;
    }
    pthread_mutex_init(&k->mu, NULL);
    *out = k;
    return QN_OK;
}

void qn_keys_close(qn_keys *k)
{
    if (!k) return;
    pthread_mutex_destroy(&k->mu);
    free(k->all);
    free(k->path);
    free(k);
}

qn_status qn_keys_reload(qn_keys *k, qn_error *err)
{
    key *all = NULL, *old;
    int32_t n = 0;
    qn_status st = read_keys(k->path, &all, &n, err);

    if (st != QN_OK) return st;
    pthread_mutex_lock(&k->mu);
    for (int32_t i = 0; i < n; i++) {
        const key *was = by_id(k->all, k->n, all[i].id);

        if (!was || !was->at_us || was->rate <= 0 || all[i].rate <= 0) continue;
        all[i].tokens = was->tokens < all[i].burst ? was->tokens : all[i].burst;
        all[i].at_us = was->at_us;
    }
    old = k->all;
    k->all = all;
    k->n = n;
    pthread_mutex_unlock(&k->mu);
    free(old);
    return QN_OK;
}

int32_t qn_keys_count(qn_keys *k)
{
    int32_t n;

    pthread_mutex_lock(&k->mu);
    n = k->n;
    pthread_mutex_unlock(&k->mu);
    return n;
}

/* -- the check ------------------------------------------------------------------------------------------------------------ */

/* The credentials of "Bearer KEY"; the scheme in any case. */
static bool bearer(const char *s, size_t n, word *out)
{
    static const char scheme[] = "Bearer ";

    if (!s || n < sizeof scheme - 1 || strncasecmp(s, scheme, sizeof scheme - 1) != 0) return false;
    s += sizeof scheme - 1;
    n -= sizeof scheme - 1;
    while (n > 0 && *s == ' ') s++, n--;
    while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t')) n--;
    *out = (word){ s, n };
    return n > 0;
}

/* Every digest is compared, all of it. */
static key *find(qn_keys *keys, const uint8_t digest[SHA256_DIGEST_SIZE])
{
    key *found = NULL;

    for (int32_t i = 0; i < keys->n; i++) {
        unsigned differ = 0;

        for (size_t b = 0; b < SHA256_DIGEST_SIZE; b++) differ |= (unsigned)(keys->all[i].digest[b] ^ digest[b]);
        if (differ == 0) found = &keys->all[i];
    }
    return found;
}

/* A token bucket: full at first, refilled at the rate. */
static bool take_token(key *k, uint64_t now_us, int32_t *retry_s)
{
    if (k->rate <= 0) return true;
    if (!k->at_us) {
        k->tokens = k->burst;
    } else if (now_us > k->at_us) {
        k->tokens += (double)(now_us - k->at_us) * 1e-6 * k->rate;
        if (k->tokens > k->burst) k->tokens = k->burst;
    }
    k->at_us = now_us > k->at_us ? now_us : k->at_us;
    if (k->tokens >= 1) {
        k->tokens -= 1;
        return true;
    }
    *retry_s = 1 + (int32_t)((1 - k->tokens) / k->rate);
    return false;
}

static qn_key_result judge(key *k, qn_key_scope scope, uint64_t now_us, time_t today, int32_t *retry_s)
{
    if (!k || (k->expires && today >= k->expires)) return QN_KEY_UNKNOWN;
    if (!(k->scopes & (unsigned)scope)) return QN_KEY_SCOPE;
    return take_token(k, now_us, retry_s) ? QN_KEY_ALLOWED : QN_KEY_RATE;
}

qn_key_result qn_keys_check(qn_keys *keys, const char *authorization, size_t n, qn_key_scope scope, uint64_t now_us, time_t today,
                            char id[QN_KEY_ID_BYTES + 1], int32_t *retry_s)
{
    uint8_t digest[SHA256_DIGEST_SIZE];
    struct sha256_ctx ctx;
    qn_key_result result;
    word w;
    key *k;

    id[0] = '\0';
    *retry_s = 0;
    if (!bearer(authorization, n, &w)) return QN_KEY_MISSING;
    if (w.n > QN_KEY_TEXT_MAX) return QN_KEY_UNKNOWN;
    sha256_init(&ctx);
    sha256_update(&ctx, w.n, (const uint8_t *)w.s);
    sha256_digest(&ctx, sizeof digest, digest);
    pthread_mutex_lock(&keys->mu);
    k = find(keys, digest);
    result = judge(k, scope, now_us, today, retry_s);
    if (k && result != QN_KEY_UNKNOWN) memcpy(id, k->id, sizeof k->id);
    pthread_mutex_unlock(&keys->mu);
    return result;
}

/* -- a new one ------------------------------------------------------------------------------------------------------------ */

qn_status qn_key_make(char key_text[QN_KEY_TEXT_MAX], char hex[65], qn_error *err)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[32 + 1] = { 0 }, digest[SHA256_DIGEST_SIZE]; /* 33 bytes make 44 characters; the last byte stays 0 */
    struct sha256_ctx ctx;
    size_t n = 3;

    if (getrandom(random, 32, 0) != 32) return qn_error_set(err, QN_ERR_IO, "no random bytes: %s", strerror(errno));
    memcpy(key_text, "qn_", 3);
    for (size_t i = 0; i < 33; i += 3) {
        uint32_t v = (uint32_t)random[i] << 16 | (uint32_t)random[i + 1] << 8 | random[i + 2];

        for (int shift = 18; shift >= 0; shift -= 6) key_text[n++] = alphabet[v >> shift & 63];
    }
    key_text[n - 1] = '\0'; /* 43 characters hold 32 bytes */
    sha256_init(&ctx);
    sha256_update(&ctx, n - 1, (const uint8_t *)key_text);
    sha256_digest(&ctx, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    explicit_bzero(random, sizeof random);
    return QN_OK;
}
