/* core/ops/words.c - see words.h. */
#include "core/ops/words.h"

#include "core/base/hash.h"

#include <string.h>

bool qn_words_init(qn_words *w, qn_arena *arena, int32_t max)
{
    *w = (qn_words){ .cap = 2, .seed = qn_hash_seed() };
    while (w->cap < 2 * (size_t)max) w->cap *= 2;
    w->text = qn_arena_array(arena, (size_t)max, sizeof *w->text);
    w->len = qn_arena_array(arena, (size_t)max, sizeof *w->len);
    w->slots = qn_arena_array(arena, w->cap, sizeof *w->slots);
    for (size_t i = 0; w->slots && i < w->cap; i++) w->slots[i] = -1;
    return w->text && w->len && w->slots;
}

static size_t slot_of(const qn_words *w, const char *text, size_t len)
{
    size_t i = (size_t)qn_hash_bytes(w->seed, text, len) & (w->cap - 1);

    while (w->slots[i] >= 0 && (w->len[w->slots[i]] != len || (len && memcmp(w->text[w->slots[i]], text, len) != 0)))
        i = (i + 1) & (w->cap - 1);
    return i;
}

int32_t qn_words_add(qn_words *w, const char *text, size_t len)
{
    const size_t i = slot_of(w, text, len);

    if (w->slots[i] < 0) {
        w->text[w->n] = text;
        w->len[w->n] = len;
        w->slots[i] = w->n++;
    }
    return w->slots[i];
}

int32_t qn_words_find(const qn_words *w, const char *text, size_t len) { return w->slots[slot_of(w, text, len)]; }
