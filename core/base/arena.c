/* core/base/arena.c - a list of blocks, each filled from the front.
 * Blocks double from 4 KiB to 1 MiB, so a small graph stays small and a large one makes few calls; what does not fit half a
 * block gets one of its own behind the newest, which goes on filling. */
#include "core/base/arena.h"

#include "core/base/checked.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20 };

struct qn_arena_block {
    qn_arena_block *next;
    size_t size, used; /* of data */
    alignas(ALIGN) unsigned char data[];
};

void qn_arena_init(qn_arena *a, size_t limit_bytes) { *a = (qn_arena){ .limit_bytes = limit_bytes }; }

/* Zeroed by calloc, which costs nothing for fresh pages. */
static qn_arena_block *new_block(size_t size)
{
    qn_arena_block *b;
    size_t total;

    if (!qn_size_add(sizeof *b, size, &total)) return NULL;
    b = calloc(1, total);
    if (b) b->size = size;
    return b;
}

void *qn_arena_alloc(qn_arena *a, size_t bytes)
{
    qn_arena_block *b = a->blocks;
    size_t need, used, block_bytes;

    /* A request counts as at least one unit, so that the limit also bounds many empty ones. */
    if (!qn_size_align(bytes ? bytes : 1, ALIGN, &need) || !qn_size_add(a->used_bytes, need, &used)) return NULL;
    if (a->limit_bytes && used > a->limit_bytes) return NULL;

    if (!b || b->size - b->used < need) {
        block_bytes = !b ? FIRST_BLOCK : b->size < LARGEST_BLOCK / 2 ? b->size * 2 : LARGEST_BLOCK;
        if (block_bytes < FIRST_BLOCK) block_bytes = FIRST_BLOCK;
        if (need > block_bytes / 2) {
            b = new_block(need);
            if (!b) return NULL;
            b->used = need;
            if (a->blocks) {
                b->next = a->blocks->next;
                a->blocks->next = b;
            } else {
                a->blocks = b;
            }
            a->used_bytes = used;
            return b->data;
        }
        b = new_block(block_bytes);
        if (!b) return NULL;
        b->next = a->blocks;
        a->blocks = b;
    }
    b->used += need;
    a->used_bytes = used;
    return b->data + b->used - need;
}

void *qn_arena_array(qn_arena *a, size_t n, size_t size)
{
    size_t bytes;

    return qn_size_mul(n, size, &bytes) ? qn_arena_alloc(a, bytes) : NULL;
}

char *qn_arena_strdup(qn_arena *a, const char *s) { return qn_arena_strndup(a, s, strlen(s)); }

char *qn_arena_strndup(qn_arena *a, const char *s, size_t n)
{
    size_t bytes;
    char *p;

    if (!qn_size_add(n, 1, &bytes)) return NULL;
    p = qn_arena_alloc(a, bytes);
    if (p && n) memcpy(p, s, n); /* terminated: the arena is zeroed */
    return p;
}

void qn_arena_release(qn_arena *a)
{
    qn_arena_block *b = a->blocks, *next;

    for (; b; b = next) {
        next = b->next;
        free(b);
    }
    a->blocks = NULL;
    a->used_bytes = 0;
}
