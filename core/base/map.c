/* core/base/map.c - open addressing with linear probing, at most three quarters full. */
#include "core/base/map.h"

#include "core/base/checked.h"
#include "core/base/hash.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 16 };

void qn_map_init(qn_map *m) { *m = (qn_map){ .seed = qn_hash_seed() }; }

/* The slot of key, or the empty one where it belongs: there always is one, the table is never full. */
static qn_map_slot *find(qn_map_slot *slots, size_t cap, uint64_t seed, const char *key)
{
    size_t i = (size_t)qn_hash_bytes(seed, key, strlen(key)) & (cap - 1);

    while (slots[i].key && strcmp(slots[i].key, key) != 0) i = (i + 1) & (cap - 1);
    return &slots[i];
}

static bool grow(qn_map *m)
{
    qn_map_slot *slots;
    size_t cap = FIRST_CAP, i;

    if (m->cap && !qn_size_mul(m->cap, 2, &cap)) return false;
    slots = calloc(cap, sizeof *slots);
    if (!slots) return false;
    for (i = 0; i < m->cap; i++) {
        if (m->slots[i].key) *find(slots, cap, m->seed, m->slots[i].key) = m->slots[i];
    }
    free(m->slots);
    m->slots = slots;
    m->cap = cap;
    return true;
}

bool qn_map_put(qn_map *m, const char *key, int32_t value)
{
    qn_map_slot *slot;

    if (m->n >= m->cap / 4 * 3 && !grow(m)) return false;
    slot = find(m->slots, m->cap, m->seed, key);
    if (!slot->key) m->n++;
    *slot = (qn_map_slot){ .key = key, .value = value };
    return true;
}

int32_t qn_map_get(const qn_map *m, const char *key)
{
    const qn_map_slot *slot;

    if (m->cap == 0) return -1;
    slot = find(m->slots, m->cap, m->seed, key);
    return slot->key ? slot->value : -1;
}

void qn_map_release(qn_map *m)
{
    free(m->slots);
    *m = (qn_map){ .seed = m->seed };
}
