/* core/graph/store.c - blobs by (digest, form), each made once and shared.
 *
 *   absent --[qn_store_get, first]--> MAKING --[pack succeeded]--> READY --[qn_store_drop, last]--> absent
 *                                        |
 *                                        +--[pack failed]--> absent: whoever waited tries again
 *   MAKING   one thread runs pack without the lock; others wait on `changed`
 *   READY    blob is immutable; refs says who uses it
 * Lock: mu guards the table, the states and the counts; it is never held across pack, malloc of a blob or another lock. */
#include "core/base/checked.h"
#include "core/base/hash.h"
#include "core/graph/weight.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    ALIGN = 64,
    MAP_FROM = 1 << 20,  /* from here on blobs are mapped, so that freeing them gives the memory back */
    HUGE_PAGE = 2 << 20, /* a huge page covers only whole units of this size at such an address */
    FIRST_BUCKETS = 64,
};

typedef struct entry {
    qn_blob blob;       /* first: qn_store_drop() is given its address */
    struct entry *next; /* in the bucket */
    qn_digest digest;
    uint64_t hash;
    uint64_t refs;
    bool ready; /* false: MAKING */
    char form[];
} entry;

struct qn_store {
    atomic_uint refs;       /* one per user and one per entry */
    _Atomic uint64_t bytes; /* written under mu, read without */
    uint64_t seed;
    pthread_mutex_t mu;
    pthread_cond_t changed; /* an entry became READY or went away */
    entry **buckets;        /* [n_buckets], a power of two */
    size_t n_buckets, n_entries;
};

/* -- bytes ---------------------------------------------------------------------------------------------------------------- */

static bool mapped_bytes(size_t bytes, size_t *out) { return qn_size_align(bytes, (size_t)sysconf(_SC_PAGESIZE), out); }

/* Map one huge page more than needed and give back what lies before the first aligned address and behind the end. */
static void *map_blob(size_t bytes)
{
    size_t len, room, head;
    char *p;

    if (!mapped_bytes(bytes, &len) || !qn_size_add(len, HUGE_PAGE, &room)) return NULL;
    p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    head = (size_t)(-(uintptr_t)p & (HUGE_PAGE - 1));
    if (head) munmap(p, head);
    if (HUGE_PAGE - head) munmap(p + head + len, HUGE_PAGE - head);
    (void)madvise(p + head, len, MADV_HUGEPAGE); /* advice: a kernel without huge pages serves small ones */
    return p + head;
}

/* Zeroed. */
static void *alloc_blob(size_t bytes)
{
    size_t room;
    void *p;

    if (bytes >= MAP_FROM) return map_blob(bytes);
    if (!qn_size_align(bytes ? bytes : 1, ALIGN, &room)) return NULL;
    p = aligned_alloc(ALIGN, room);
    if (p) memset(p, 0, room);
    return p;
}

static void free_blob(const qn_blob *b)
{
    size_t len;

    if (b->bytes < MAP_FROM) {
        free(b->data);
    } else if (b->data && mapped_bytes(b->bytes, &len)) {
        munmap(b->data, len);
    }
}

/* -- the store ------------------------------------------------------------------------------------------------------------ */

qn_status qn_store_create(qn_store **out, qn_error *err)
{
    qn_store *s = calloc(1, sizeof *s);

    *out = NULL;
    if (!s) goto fail;
    s->buckets = calloc(FIRST_BUCKETS, sizeof *s->buckets);
    if (!s->buckets) goto fail;
    s->n_buckets = FIRST_BUCKETS;
    if (pthread_mutex_init(&s->mu, NULL) != 0) goto fail;
    if (pthread_cond_init(&s->changed, NULL) != 0) {
        pthread_mutex_destroy(&s->mu);
        goto fail;
    }
    s->seed = qn_hash_seed();
    atomic_init(&s->refs, 1);
    *out = s;
    return QN_OK;
fail:
    if (s) free(s->buckets);
    free(s);
    return qn_error_set(err, QN_ERR_NOMEM, "weight store");
}

qn_store *qn_store_ref(qn_store *store)
{
    atomic_fetch_add_explicit(&store->refs, 1, memory_order_relaxed);
    return store;
}

void qn_store_unref(qn_store *store)
{
    if (!store || atomic_fetch_sub_explicit(&store->refs, 1, memory_order_acq_rel) != 1) return;
    pthread_cond_destroy(&store->changed); /* every entry holds a reference, so the table is empty */
    pthread_mutex_destroy(&store->mu);
    free(store->buckets);
    free(store);
}

uint64_t qn_store_bytes(const qn_store *store) { return atomic_load_explicit(&store->bytes, memory_order_relaxed); }

static entry **find(qn_store *s, const qn_digest *digest, const char *form, uint64_t hash)
{
    entry **e = &s->buckets[hash & (s->n_buckets - 1)];

    while (*e && ((*e)->hash != hash || memcmp(&(*e)->digest, digest, sizeof *digest) != 0 || strcmp((*e)->form, form) != 0))
        e = &(*e)->next;
    return e;
}

/* Twice the buckets. Failing is no harm: chains grow longer. */
static void grow(qn_store *s)
{
    size_t n;
    entry **buckets, *e, *next;

    if (!qn_size_mul(s->n_buckets, 2, &n)) return;
    buckets = calloc(n, sizeof *buckets);
    if (!buckets) return;
    for (size_t i = 0; i < s->n_buckets; i++) {
        for (e = s->buckets[i]; e; e = next) {
            next = e->next;
            e->next = buckets[e->hash & (n - 1)];
            buckets[e->hash & (n - 1)] = e;
        }
    }
    free(s->buckets);
    s->buckets = buckets;
    s->n_buckets = n;
}

/* A MAKING entry in the table, one reference. NULL when memory is out. */
static entry *insert(qn_store *s, const qn_digest *digest, const char *form, uint64_t hash, size_t bytes)
{
    const size_t form_len = strlen(form);
    size_t size;
    entry *e, **at;

    if (!qn_size_add(sizeof *e, form_len + 1, &size)) return NULL;
    e = calloc(1, size);
    if (!e) return NULL;
    if (s->n_entries >= s->n_buckets) grow(s);
    e->digest = *digest;
    e->hash = hash;
    e->refs = 1;
    e->blob.bytes = bytes;
    memcpy(e->form, form, form_len);
    at = &s->buckets[hash & (s->n_buckets - 1)];
    e->next = *at;
    *at = e;
    s->n_entries++;
    atomic_fetch_add_explicit(&s->bytes, bytes, memory_order_relaxed);
    qn_store_ref(s);
    return e;
}

/* Out of the table, under mu; free_entry() follows without it. */
static void take_out(qn_store *s, entry *e)
{
    entry **at = &s->buckets[e->hash & (s->n_buckets - 1)];

    while (*at != e) at = &(*at)->next;
    *at = e->next;
    s->n_entries--;
    atomic_fetch_sub_explicit(&s->bytes, e->blob.bytes, memory_order_relaxed);
}

static void free_entry(qn_store *s, entry *e)
{
    free_blob(&e->blob);
    free(e);
    qn_store_unref(s); /* may be the last */
}

/* Fill a MAKING entry, then let the others have it or try for themselves. */
static qn_status make(qn_store *s, entry *e, qn_weight *w, qn_pack_fn *pack, void *ctx, qn_error *err)
{
    qn_status st = QN_OK;

    e->blob.data = alloc_blob(e->blob.bytes);
    if (!e->blob.data) {
        st = qn_error_set(err, QN_ERR_NOMEM, "weight of %zu bytes as %s", e->blob.bytes, e->form);
    } else {
        st = pack(w, ctx, &e->blob, err);
    }
    pthread_mutex_lock(&s->mu);
    if (st) {
        take_out(s, e);
    } else {
        e->ready = true;
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mu);
    if (st) free_entry(s, e);
    return st;
}

qn_status qn_store_get(qn_store *store, qn_weight *w, const char *form, size_t bytes, qn_pack_fn *pack, void *ctx, const qn_blob **out,
                       qn_error *err)
{
    const qn_digest *digest = qn_weight_digest(w);
    const uint64_t hash = qn_hash_bytes(qn_hash_bytes(store->seed, digest, sizeof *digest), form, strlen(form));
    qn_status st = QN_OK;
    entry *e;

    *out = NULL;
    pthread_mutex_lock(&store->mu);
    /* After a wait the entry may be gone: look it up again. */
    while ((e = *find(store, digest, form, hash)) != NULL && !e->ready) pthread_cond_wait(&store->changed, &store->mu);
    if (e) {
        if (e->blob.bytes == bytes) {
            e->refs++;
        } else {
            st = qn_error_set(err, QN_ERR_INTERNAL, "form %s has %zu bytes, asked for with %zu", form, e->blob.bytes, bytes);
        }
        pthread_mutex_unlock(&store->mu);
    } else {
        e = insert(store, digest, form, hash, bytes);
        pthread_mutex_unlock(&store->mu);
        st = e ? make(store, e, w, pack, ctx, err) : qn_error_set(err, QN_ERR_NOMEM, "weight as %s", form);
    }
    if (!st) *out = &e->blob;
    return st;
}

void qn_store_drop(qn_store *store, const qn_blob *blob)
{
    entry *e = (entry *)(uintptr_t)blob; /* its first member */
    bool last;

    if (!blob) return;
    pthread_mutex_lock(&store->mu);
    last = --e->refs == 0;
    if (last) take_out(store, e);
    pthread_mutex_unlock(&store->mu);
    if (last) free_entry(store, e);
}
