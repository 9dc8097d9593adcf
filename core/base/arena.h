/* core/base/arena.h - memory that is given back all at once: what a graph, a plan or a request is made of.
 * Pointers stay valid until qn_arena_release(); nothing is freed alone. Threads: one at a time. */
#ifndef QUERN_BASE_ARENA_H
#define QUERN_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

typedef struct qn_arena_block qn_arena_block;

typedef struct qn_arena {
    qn_arena_block *blocks; /* newest first */
    size_t used_bytes;      /* given out so far, each piece rounded up to 16 */
    size_t limit_bytes;     /* 0: none; beyond it alloc returns NULL */
} qn_arena;

void qn_arena_init(qn_arena *a, size_t limit_bytes);

/* Zeroed, 16-byte aligned; NULL when memory or the limit is used up. bytes 0 gives a valid pointer. */
void *qn_arena_alloc(qn_arena *a, size_t bytes);

/* n * size with the product checked; otherwise like qn_arena_alloc(). */
void *qn_arena_array(qn_arena *a, size_t n, size_t size);

/* Copies; NULL like alloc. The strings are terminated. */
char *qn_arena_strdup(qn_arena *a, const char *s);
char *qn_arena_strndup(qn_arena *a, const char *s, size_t n);

/* Free everything; the arena may be used again. */
void qn_arena_release(qn_arena *a);

#endif
