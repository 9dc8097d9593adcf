/* core/ops/words.h - a set of byte strings that a plan keeps, for ops that look up words. Threads: read-only once filled. */
#ifndef QUERN_OPS_WORDS_H
#define QUERN_OPS_WORDS_H

#include "core/base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qn_words {
    const char **text; /* [n], in the arena or the caller's */
    size_t *len;
    int32_t *slots; /* [cap] index of a word, or -1 */
    size_t cap;     /* a power of two, at least twice the words there may be */
    int32_t n;
    uint64_t seed; /* nobody can choose words that collide */
} qn_words;

/* Room for at most max words in arena; false when memory is out. */
bool qn_words_init(qn_words *w, qn_arena *arena, int32_t max);
/* Put a word, which must outlive the set (it is not copied), unless it is there; its index. */
int32_t qn_words_add(qn_words *w, const char *text, size_t len);
/* Its index, or -1. */
int32_t qn_words_find(const qn_words *w, const char *text, size_t len);

#endif
