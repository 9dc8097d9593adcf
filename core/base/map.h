/* core/base/map.h - a string -> int32 table for names in a graph. Keys are borrowed and must outlive the map.
 * The hash is keyed by a per-process random number, so a file cannot choose names that collide. Threads: one at a time. */
#ifndef QUERN_BASE_MAP_H
#define QUERN_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qn_map_slot {
    const char *key; /* NULL: empty */
    int32_t value;
} qn_map_slot;

typedef struct qn_map {
    qn_map_slot *slots; /* [cap], cap a power of two, owned */
    size_t cap, n;
    uint64_t seed;
} qn_map;

void qn_map_init(qn_map *m);
/* Put or replace; false when memory is out. */
bool qn_map_put(qn_map *m, const char *key, int32_t value);
/* -1 when absent. */
int32_t qn_map_get(const qn_map *m, const char *key);
void qn_map_release(qn_map *m);

#endif
