/* server/auth/keys.h - API keys: read from a file, checked at every request, changed without a restart.
 *
 * The file has a line a key; '#' begins a comment:
 *     ID  sha256:HEX  SCOPE[,SCOPE...]  [rate=N[/BURST]]  [expires=YYYY-MM-DD]
 *   ID       1..64 of [A-Za-z0-9._-], once in the file: what logs say instead of the key
 *   HEX      64 digits: the SHA-256 of the key's text
 *   SCOPE    infer (predictions, metadata), train, admin (load, reload, profile, ...; not the others)
 *   rate     requests a second over time, and how many at once (BURST, N if left out)
 *   expires  the first day, UTC, on which the key is refused
 * Threads: every function from any thread. */
#ifndef QUERN_SERVER_AUTH_KEYS_H
#define QUERN_SERVER_AUTH_KEYS_H

#include "quern/error.h"

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define QN_KEY_ID_BYTES 64
#define QN_KEYS_MAX     1000
#define QN_KEY_TEXT_MAX 128 /* bytes of a key that is presented */

typedef enum qn_key_scope { QN_KEY_INFER = 1, QN_KEY_TRAIN = 2, QN_KEY_ADMIN = 4 } qn_key_scope;

typedef enum qn_key_result {
    QN_KEY_ALLOWED,
    QN_KEY_MISSING, /* no Authorization field, or no Bearer in it */
    QN_KEY_UNKNOWN, /* or expired: not told apart to who holds it */
    QN_KEY_SCOPE,   /* a good key that may not do this */
    QN_KEY_RATE,    /* over its rate: *retry_s says when to come back */
} qn_key_result;

typedef struct qn_keys qn_keys;

/* Keys of the file at `path` (relative to the working directory). Fails with QN_ERR_NOT_FOUND, QN_ERR_IO, QN_ERR_LIMIT, QN_ERR_FORMAT (names
 * the line), QN_ERR_INVALID (no key at all), QN_ERR_NOMEM. */
qn_status qn_keys_open(const char *path, qn_keys **out, qn_error *err);
void qn_keys_close(qn_keys *keys);
/* Read the file again. On failure the keys stay as they were. Rates go on where they were, by ID. */
qn_status qn_keys_reload(qn_keys *keys, qn_error *err);
int32_t qn_keys_count(qn_keys *keys);

/* May the holder of this Authorization field (n bytes; NULL: none) do what needs `scope`? id gets the key's ID, or "". now_us: a clock that only
 * goes on; today: seconds since the epoch. An allowed request counts against the key's rate. */
qn_key_result qn_keys_check(qn_keys *keys, const char *authorization, size_t n, qn_key_scope scope, uint64_t now_us, time_t today,
                            char id[QN_KEY_ID_BYTES + 1], int32_t *retry_s);

/* The name of one scope, "infer". */
const char *qn_key_scope_name(qn_key_scope scope);
/* "infer,admin" -> bits; 0: a word is no scope, or there is none. */
unsigned qn_key_scopes(const char *text, size_t n);
/* Is this one good line of the file? */
qn_status qn_key_check_line(const char *line, qn_error *err);
/* A new key: 32 random bytes as text, and the SHA-256 of that text in hex. Fails with QN_ERR_IO: no randomness. */
qn_status qn_key_make(char key[QN_KEY_TEXT_MAX], char hex[65], qn_error *err);

#endif
