/* Weights from memory and from a source, and the store that shares their forms. */
#include "core/graph/weight.h"
#include "tests/unit/base/huge_alloc.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* -- a source in memory ---------------------------------------------------------------------------------------------------- */

typedef struct fake_source {
    qn_source base; /* first: the functions get its address */
    const unsigned char *bytes;
    size_t n;
    atomic_int refs, reads;
    atomic_bool broken;
} fake_source;

static qn_status fake_read(qn_source *s, uint64_t offset, void *dst, size_t n, qn_error *err)
{
    fake_source *f = (fake_source *)s;

    atomic_fetch_add(&f->reads, 1);
    if (atomic_load(&f->broken)) return qn_error_set(err, QN_ERR_IO, "disk gone");
    if (offset > f->n || n > f->n - offset) return qn_error_set(err, QN_ERR_FORMAT, "short file");
    memcpy(dst, f->bytes + offset, n);
    return QN_OK;
}

static void fake_ref(qn_source *s) { atomic_fetch_add(&((fake_source *)s)->refs, 1); }

static void fake_unref(qn_source *s) { atomic_fetch_sub(&((fake_source *)s)->refs, 1); }

static void fake_init(fake_source *f, const void *bytes, size_t n)
{
    *f = (fake_source){ .base = { .read = fake_read, .unref = fake_unref, .ref = fake_ref }, .bytes = bytes, .n = n };
}

enum { BIG = 300000 }; /* floats: 1.2 MB, beyond inline and beyond 1 MiB */

static float *ramp(void)
{
    float *p = malloc(BIG * sizeof *p);

    assert_non_null(p);
    for (int i = 0; i < BIG; i++) p[i] = (float)i * 0.5f;
    return p;
}

static qn_weight *scalar(qn_dtype dtype, const void *value)
{
    qn_tensor t = { .dtype = dtype, .bytes = qn_dtype_size(dtype) };
    qn_weight *w;

    t.data = (void *)(uintptr_t)value; /* only read */
    assert_int_equal(qn_weight_from_tensor(&t, &w, NULL), QN_OK);
    return w;
}

static qn_weight *big_weight(fake_source *f)
{
    const int64_t dims[] = { 3, BIG / 3 };
    qn_weight *w;

    assert_int_equal(qn_weight_from_source(&f->base, 0, QN_F32, 2, dims, NULL, &w, NULL), QN_OK);
    return w;
}

/* -- weights --------------------------------------------------------------------------------------------------------------- */

static void a_weight_from_memory_is_a_copy(void **state)
{
    int32_t x[] = { 1, 2, 3, 4, 5, 6 }, part[3] = { 0 };
    qn_tensor t = { .dtype = QN_I32, .rank = 2, .dims = { 2, 3 }, .data = x, .bytes = sizeof x }, got;
    qn_weight *w;

    (void)state;
    assert_int_equal(qn_weight_from_tensor(&t, &w, NULL), QN_OK);
    x[0] = 99;
    assert_int_equal(qn_weight_dense(w, NULL, &got, NULL), QN_OK);
    assert_int_equal(got.dtype, QN_I32);
    assert_int_equal(got.rank, 2);
    assert_int_equal(got.dims[1], 3);
    assert_int_equal(got.bytes, 24);
    assert_int_equal((uintptr_t)got.data % 64, 0);
    assert_int_equal(((int32_t *)got.data)[0], 1);
    assert_int_equal(qn_weight_read(w, 2, 3, part, NULL), QN_OK);
    assert_int_equal(part[0], 3);
    assert_int_equal(part[2], 5);
    assert_ptr_equal(qn_weight_ref(w), w);
    qn_weight_unref(w);
    qn_weight_unref(w);
    qn_weight_unref(NULL);
}

static void reading_outside_is_an_error(void **state)
{
    const int16_t x = 5;
    int16_t y[4];
    qn_weight *w = scalar(QN_I16, &x);
    qn_error err;

    (void)state;
    assert_int_equal(qn_weight_read(w, 0, 2, y, &err), QN_ERR_RANGE);
    assert_int_equal(qn_weight_read(w, -1, 1, y, &err), QN_ERR_RANGE);
    assert_int_equal(qn_weight_read(w, 0, -1, y, &err), QN_ERR_RANGE);
    assert_int_equal(qn_weight_read(w, 1, 1, y, &err), QN_ERR_RANGE);
    assert_int_equal(qn_weight_read(w, INT64_MAX, INT64_MAX, y, &err), QN_ERR_RANGE);
    assert_int_equal(qn_weight_read(w, 1, 0, NULL, &err), QN_OK);
    qn_weight_unref(w);
}

static void bad_tensors_are_refused(void **state)
{
    unsigned char bools[] = { 0, 1, 2 };
    uint64_t offsets[] = { 0, 5, 3 };
    float f[2] = { 0 };
    qn_tensor t = { .dtype = QN_BOOL, .rank = 1, .dims = { 3 }, .data = bools, .bytes = 3 };
    qn_weight *w = NULL;
    qn_error err;

    (void)state;
    assert_int_equal(qn_weight_from_tensor(&t, &w, &err), QN_ERR_FORMAT);
    assert_string_equal(err.message, "bool element 2 is 2, expected 0..1");
    assert_null(w);
    t = (qn_tensor){ .dtype = QN_STRING, .rank = 1, .dims = { 2 }, .data = offsets, .bytes = sizeof offsets };
    assert_int_equal(qn_weight_from_tensor(&t, &w, &err), QN_ERR_FORMAT);
    t = (qn_tensor){ .dtype = QN_F32, .rank = 1, .dims = { 3 }, .data = f, .bytes = sizeof f };
    assert_int_equal(qn_weight_from_tensor(&t, &w, &err), QN_ERR_INVALID);
    t.dims[0] = -3;
    assert_int_equal(qn_weight_from_tensor(&t, &w, &err), QN_ERR_SHAPE);
    t = (qn_tensor){ .dtype = QN_DTYPE_NONE };
    assert_int_equal(qn_weight_from_tensor(&t, &w, &err), QN_ERR_DTYPE);
}

static void an_empty_weight_and_a_string_weight_work(void **state)
{
    struct {
        uint64_t off[3];
        char blob[5];
    } text = { { 0, 2, 5 }, { 'h', 'i', 'a', 'l', 'l' } };
    qn_tensor t = { .dtype = QN_F32, .rank = 2, .dims = { 0, 4 } }, got;
    qn_weight *w;
    char c;

    (void)state;
    assert_int_equal(qn_weight_from_tensor(&t, &w, NULL), QN_OK);
    assert_int_equal(qn_weight_dense(w, NULL, &got, NULL), QN_OK);
    assert_int_equal(got.bytes, 0);
    qn_weight_unref(w);
    t = (qn_tensor){ .dtype = QN_STRING, .rank = 1, .dims = { 2 }, .data = &text, .bytes = 29 };
    assert_int_equal(qn_weight_from_tensor(&t, &w, NULL), QN_OK);
    assert_int_equal(qn_weight_dense(w, NULL, &got, NULL), QN_OK);
    assert_memory_equal(got.data, &text, 29);
    assert_int_equal(qn_weight_read(w, 0, 1, &c, NULL), QN_ERR_DTYPE);
    qn_weight_unref(w);
}

static void equal_bytes_of_another_shape_have_another_digest(void **state)
{
    const float x[4] = { 1, 2, 3, 4 };
    qn_tensor t = { .dtype = QN_F32, .rank = 1, .dims = { 4 }, .data = (void *)(uintptr_t)x, .bytes = sizeof x };
    qn_weight *w[4];

    (void)state;
    assert_int_equal(qn_weight_from_tensor(&t, &w[0], NULL), QN_OK);
    t.rank = 2;
    t.dims[1] = 1;
    assert_int_equal(qn_weight_from_tensor(&t, &w[1], NULL), QN_OK);
    t.rank = 1;
    t.dtype = QN_I32;
    assert_int_equal(qn_weight_from_tensor(&t, &w[2], NULL), QN_OK);
    t.dtype = QN_F32;
    assert_int_equal(qn_weight_from_tensor(&t, &w[3], NULL), QN_OK);
    assert_memory_not_equal(qn_weight_digest(w[0]), qn_weight_digest(w[1]), 32);
    assert_memory_not_equal(qn_weight_digest(w[0]), qn_weight_digest(w[2]), 32);
    assert_memory_equal(qn_weight_digest(w[0]), qn_weight_digest(w[3]), 32);
    for (int i = 0; i < 4; i++) qn_weight_unref(w[i]);
}

static void small_source_weights_are_read_at_once(void **state)
{
    const float x[4] = { 1, 2, 3, 4 };
    const int64_t dims[] = { 2 };
    fake_source f;
    qn_weight *w, *same;
    qn_tensor t;

    (void)state;
    fake_init(&f, x, sizeof x);
    assert_int_equal(qn_weight_from_source(&f.base, 8, QN_F32, 1, dims, NULL, &w, NULL), QN_OK);
    assert_int_equal(atomic_load(&f.refs), 0); /* not needed any more */
    atomic_store(&f.broken, true);
    qn_weight_shape(w, &t);
    assert_non_null(t.data);
    assert_true(((float *)t.data)[0] == 3.0f);
    t.data = (void *)(uintptr_t)(x + 2);
    assert_int_equal(qn_weight_from_tensor(&t, &same, NULL), QN_OK);
    assert_memory_equal(qn_weight_digest(w), qn_weight_digest(same), 32);
    qn_weight_unref(same);
    qn_weight_unref(w);
    assert_int_equal(qn_weight_from_source(&f.base, 8, QN_F32, 1, dims, NULL, &w, NULL), QN_ERR_IO);
    assert_null(w);
}

static void large_source_weights_wait_for_the_first_use(void **state)
{
    float *x = ramp(), part[5];
    fake_source f;
    qn_store *store;
    qn_weight *w;
    qn_tensor t;
    int reads;

    (void)state;
    fake_init(&f, x, BIG * sizeof *x);
    assert_int_equal(qn_store_create(&store, NULL), QN_OK);
    w = big_weight(&f);
    assert_int_equal(atomic_load(&f.refs), 1);
    qn_weight_shape(w, &t);
    assert_null(t.data);
    assert_int_equal(t.bytes, BIG * sizeof *x);
    assert_int_equal(qn_weight_read(w, 1000, 5, part, NULL), QN_OK);
    assert_memory_equal(part, x + 1000, sizeof part);
    assert_int_equal(qn_store_bytes(store), 0);

    assert_int_equal(qn_weight_dense(w, store, &t, NULL), QN_OK);
    assert_memory_equal(t.data, x, BIG * sizeof *x);
    assert_int_equal((uintptr_t)t.data % 64, 0);
    assert_int_equal(qn_store_bytes(store), BIG * sizeof *x);
    reads = atomic_load(&f.reads);
    assert_int_equal(qn_weight_dense(w, store, &t, NULL), QN_OK);
    assert_int_equal(qn_weight_read(w, 0, 5, part, NULL), QN_OK);
    assert_int_equal(atomic_load(&f.reads), reads); /* from memory */
    qn_weight_unref(w);
    assert_int_equal(atomic_load(&f.refs), 0);
    assert_int_equal(qn_store_bytes(store), 0);
    qn_store_unref(store);
    free(x);
}

static void a_source_that_fails_leaves_nothing(void **state)
{
    const int64_t dims[] = { BIG };
    float *x = ramp();
    fake_source f;
    qn_store *store;
    qn_weight *w;
    qn_tensor t;
    qn_error err;

    (void)state;
    fake_init(&f, x, BIG * sizeof *x);
    assert_int_equal(qn_store_create(&store, NULL), QN_OK);
    assert_int_equal(qn_weight_from_source(&f.base, 4, QN_F32, 1, dims, NULL, &w, &err), QN_ERR_FORMAT); /* the last 4 bytes are missing */
    assert_int_equal(qn_weight_from_source(&f.base, UINT64_MAX, QN_F32, 1, dims, NULL, &w, &err), QN_ERR_RANGE);
    assert_int_equal(qn_weight_from_source(&f.base, 0, QN_STRING, 1, dims, NULL, &w, &err), QN_ERR_DTYPE);
    assert_int_equal(atomic_load(&f.refs), 0);
    w = big_weight(&f);
    atomic_store(&f.broken, true);
    assert_int_equal(qn_weight_dense(w, store, &t, &err), QN_ERR_IO);
    assert_string_equal(err.message, "disk gone");
    assert_int_equal(qn_store_bytes(store), 0);
    atomic_store(&f.broken, false);
    assert_int_equal(qn_weight_dense(w, store, &t, &err), QN_OK); /* the next caller tries again */
    qn_weight_unref(w);
    qn_store_unref(store);
    free(x);
}

static void without_a_store_a_weight_keeps_its_own_bytes(void **state)
{
    float *x = ramp();
    fake_source f;
    qn_weight *w;
    qn_tensor t;

    (void)state;
    fake_init(&f, x, BIG * sizeof *x);
    w = big_weight(&f);
    assert_int_equal(qn_weight_dense(w, NULL, &t, NULL), QN_OK);
    assert_memory_equal(t.data, x, BIG * sizeof *x);
    qn_weight_unref(w);
    free(x);
}

static void scalars_of_every_dtype_become_float(void **state)
{
    const float f = -2.5f;
    const double d = 0.1;
    const uint16_t half = 0x3e00, bf = 0x3fc0; /* 1.5 */
    const int64_t i = -7;
    const uint64_t u = UINT64_MAX;
    const uint8_t b = 1;
    const struct {
        qn_dtype dtype;
        const void *p;
        float want;
    } rows[] = {
        { QN_F32, &f, -2.5f },
        { QN_F64, &d, 0.1f },
        { QN_F16, &half, 1.5f },
        { QN_BF16, &bf, 1.5f },
        { QN_I8, &i, -7 },
        { QN_I16, &i, -7 },
        { QN_I32, &i, -7 },
        { QN_I64, &i, -7 },
        { QN_U8, &b, 1 },
        { QN_BOOL, &b, 1 },
        { QN_U64, &u, 18446744073709551616.0f },
        { QN_U32, &u, 4294967296.0f },
        { QN_U16, &u, 65535 },
    };
    const float two[2] = { 1, 2 };
    const qn_tensor t = { .dtype = QN_F32, .rank = 1, .dims = { 2 }, .data = (void *)(uintptr_t)two, .bytes = 8 };
    qn_weight *w;
    float got;

    (void)state;
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        w = scalar(rows[k].dtype, rows[k].p);
        assert_true(qn_weight_scalar_f32(w, &got));
        assert_true(got == rows[k].want);
        qn_weight_unref(w);
    }
    assert_int_equal(qn_weight_from_tensor(&t, &w, NULL), QN_OK);
    assert_false(qn_weight_scalar_f32(w, &got));
    assert_false(qn_weight_scalar_f32(NULL, &got));
    qn_weight_unref(w);
}

static void integer_lists_are_read_and_others_refused(void **state)
{
    const int32_t x[] = { 1, -1, 224 };
    const float f = 1;
    const uint64_t u = UINT64_MAX;
    const qn_tensor t = { .dtype = QN_I32, .rank = 1, .dims = { 3 }, .data = (void *)(uintptr_t)x, .bytes = sizeof x };
    qn_weight *w;
    int64_t vals[4];
    int32_t n = 0;

    (void)state;
    assert_int_equal(qn_weight_from_tensor(&t, &w, NULL), QN_OK);
    assert_true(qn_weight_ints(w, vals, 4, &n));
    assert_int_equal(n, 3);
    assert_int_equal(vals[1], -1);
    assert_int_equal(vals[2], 224);
    assert_true(qn_weight_ints(w, vals, 3, &n));
    assert_false(qn_weight_ints(w, vals, 2, &n));
    qn_weight_unref(w);
    assert_false(qn_weight_ints(NULL, vals, 4, &n));
    w = scalar(QN_F32, &f);
    assert_false(qn_weight_ints(w, vals, 4, &n));
    qn_weight_unref(w);
    w = scalar(QN_U64, &u);
    assert_false(qn_weight_ints(w, vals, 4, &n)); /* does not fit */
    qn_weight_unref(w);
}

/* -- the store ------------------------------------------------------------------------------------------------------------- */

typedef struct packer {
    atomic_int calls;
    int fail_first; /* how many calls fail */
    unsigned sleep_us;
} packer;

static qn_status pack(qn_weight *w, void *ctx, qn_blob *blob, qn_error *err)
{
    packer *p = ctx;
    const int call = atomic_fetch_add(&p->calls, 1);

    (void)w;
    for (size_t i = 0; i < blob->bytes; i += 997) {
        if (((unsigned char *)blob->data)[i] != 0) return qn_error_set(err, QN_ERR_INTERNAL, "blob is not zeroed");
    }
    usleep(p->sleep_us);
    if (call < p->fail_first) return qn_error_set(err, QN_ERR_CANCELLED, "call %d", call);
    memset(blob->data, 0x5a, blob->bytes);
    return QN_OK;
}

static void one_form_is_made_once_and_freed_when_unused(void **state)
{
    const float one = 1, two = 2;
    qn_weight *a = scalar(QN_F32, &one), *b = scalar(QN_F32, &one), *c = scalar(QN_F32, &two);
    const qn_blob *p, *q, *r, *s;
    packer pk = { 0 };
    qn_store *store;
    qn_error err;

    (void)state;
    assert_int_equal(qn_store_create(&store, NULL), QN_OK);
    assert_int_equal(qn_store_get(store, a, "form", 100, pack, &pk, &p, NULL), QN_OK);
    assert_int_equal(qn_store_get(store, b, "form", 100, pack, &pk, &q, NULL), QN_OK);
    assert_ptr_equal(p, q); /* two weights with the same bytes */
    assert_int_equal(atomic_load(&pk.calls), 1);
    assert_int_equal(qn_store_get(store, c, "form", 100, pack, &pk, &r, NULL), QN_OK);
    assert_int_equal(qn_store_get(store, a, "form2", 100, pack, &pk, &s, NULL), QN_OK);
    assert_ptr_not_equal(p, r);
    assert_ptr_not_equal(p, s);
    assert_int_equal(atomic_load(&pk.calls), 3);
    assert_int_equal(qn_store_bytes(store), 300);
    assert_int_equal(qn_store_get(store, a, "form", 101, pack, &pk, &s, &err), QN_ERR_INTERNAL);
    assert_string_equal(err.message, "form form has 100 bytes, asked for with 101");
    qn_store_drop(store, p);
    assert_int_equal(qn_store_bytes(store), 300);
    qn_store_drop(store, q);
    assert_int_equal(qn_store_bytes(store), 200);
    assert_int_equal(qn_store_get(store, a, "form", 100, pack, &pk, &p, NULL), QN_OK);
    assert_int_equal(atomic_load(&pk.calls), 4); /* made anew */
    qn_store_drop(store, p);
    qn_store_drop(store, r);
    qn_store_drop(store, NULL);
    assert_int_equal(qn_store_get(store, a, "form2", 100, pack, &pk, &q, NULL), QN_OK);
    qn_store_drop(store, q);
    qn_store_drop(store, q); /* `s` of before */
    assert_int_equal(qn_store_bytes(store), 0);
    qn_store_unref(store);
    qn_store_unref(NULL);
    qn_weight_unref(a);
    qn_weight_unref(b);
    qn_weight_unref(c);
}

static void a_blob_outlives_the_users_reference_to_the_store(void **state)
{
    const float one = 1;
    qn_weight *w = scalar(QN_F32, &one);
    packer pk = { 0 };
    const qn_blob *p;
    qn_store *store;

    (void)state;
    assert_int_equal(qn_store_create(&store, NULL), QN_OK);
    assert_int_equal(qn_store_get(store, w, "f", 64, pack, &pk, &p, NULL), QN_OK);
    qn_store_unref(store);
    assert_int_equal(((const unsigned char *)p->data)[63], 0x5a);
    qn_store_drop(store, p); /* frees both */
    qn_weight_unref(w);
}

static void blobs_of_every_size_are_aligned_and_whole(void **state)
{
    static const size_t sizes[] = { 0, 1, 63, 64, 65, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 12345, 5 << 20 };
    const float one = 1;
    qn_weight *w = scalar(QN_F32, &one);
    packer pk = { 0 };
    const qn_blob *p;
    qn_store *store;

    (void)state;
    assert_int_equal(qn_store_create(&store, NULL), QN_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(qn_store_get(store, w, "f", sizes[i], pack, &pk, &p, NULL), QN_OK);
        assert_non_null(p->data);
        assert_int_equal((uintptr_t)p->data % 64, 0);
        assert_int_equal(p->bytes, sizes[i]);
        if (sizes[i]) assert_int_equal(((unsigned char *)p->data)[sizes[i] - 1], 0x5a);
        qn_store_drop(store, p);
    }
    assert_int_equal(qn_store_get(store, w, "f", SIZE_MAX - 1000, pack, &pk, &p, NULL), QN_ERR_NOMEM);
    assert_null(p);
    assert_int_equal(qn_store_bytes(store), 0);
    qn_store_unref(store);
    qn_weight_unref(w);
}

static void many_forms_are_all_found(void **state)
{
    enum { N = 1000 };
    const float one = 1;
    qn_weight *w = scalar(QN_F32, &one);
    const qn_blob *p[N], *again;
    packer pk = { 0 };
    qn_store *store;
    char form[32];

    (void)state;
    assert_int_equal(qn_store_create(&store, NULL), QN_OK);
    for (int i = 0; i < N; i++) {
        snprintf(form, sizeof form, "form_%d", i);
        assert_int_equal(qn_store_get(store, w, form, 8, pack, &pk, &p[i], NULL), QN_OK);
    }
    for (int i = 0; i < N; i++) {
        snprintf(form, sizeof form, "form_%d", i);
        assert_int_equal(qn_store_get(store, w, form, 8, pack, &pk, &again, NULL), QN_OK);
        assert_ptr_equal(again, p[i]);
        qn_store_drop(store, again);
    }
    assert_int_equal(atomic_load(&pk.calls), N);
    for (int i = 0; i < N; i++) qn_store_drop(store, p[i]);
    assert_int_equal(qn_store_bytes(store), 0);
    qn_store_unref(store);
    qn_weight_unref(w);
}

/* -- many threads ---------------------------------------------------------------------------------------------------------- */

enum { THREADS = 6 };

typedef struct asker {
    qn_store *store;
    qn_weight *w;
    packer *pk;
    pthread_barrier_t *start;
    const qn_blob *blob;
    qn_status st;
} asker;

static void *ask(void *arg)
{
    asker *a = arg;

    pthread_barrier_wait(a->start);
    a->st = qn_store_get(a->store, a->w, "form", 5000, pack, a->pk, &a->blob, NULL);
    return NULL;
}

static void run_askers(asker *askers, qn_store *store, qn_weight *w, packer *pk)
{
    pthread_barrier_t start;
    pthread_t t[THREADS];

    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        askers[i] = (asker){ .store = store, .w = w, .pk = pk, .start = &start };
        assert_int_equal(pthread_create(&t[i], NULL, ask, &askers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    pthread_barrier_destroy(&start);
}

static void threads_that_ask_together_share_one_make(void **state)
{
    const float one = 1;
    qn_weight *w = scalar(QN_F32, &one);
    packer pk = { .sleep_us = 20000 };
    asker askers[THREADS];
    qn_store *store;

    (void)state;
    assert_int_equal(qn_store_create(&store, NULL), QN_OK);
    run_askers(askers, store, w, &pk);
    assert_int_equal(atomic_load(&pk.calls), 1);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(askers[i].st, QN_OK);
        assert_ptr_equal(askers[i].blob, askers[0].blob);
        qn_store_drop(store, askers[i].blob);
    }
    assert_int_equal(qn_store_bytes(store), 0);
    qn_store_unref(store);
    qn_weight_unref(w);
}

static void a_failed_make_lets_the_next_one_try(void **state)
{
    const float one = 1;
    qn_weight *w = scalar(QN_F32, &one);
    packer pk = { .fail_first = 2, .sleep_us = 5000 };
    asker askers[THREADS];
    qn_store *store;
    int failed = 0;

    (void)state;
    assert_int_equal(qn_store_create(&store, NULL), QN_OK);
    run_askers(askers, store, w, &pk);
    assert_int_equal(atomic_load(&pk.calls), 3);
    for (int i = 0; i < THREADS; i++) {
        failed += askers[i].st == QN_ERR_CANCELLED;
        if (!askers[i].st) qn_store_drop(store, askers[i].blob);
    }
    assert_int_equal(failed, 2);
    assert_int_equal(qn_store_bytes(store), 0);
    qn_store_unref(store);
    qn_weight_unref(w);
}

typedef struct churner {
    qn_store *store;
    qn_weight *big;
    const float *want;
    qn_status st;
    bool wrong;
} churner;

/* Gets, drops, refs and loads, as plans and versions that come and go. */
static void *churn(void *arg)
{
    churner *c = arg;
    packer pk = { 0 };

    for (int i = 0; i < 200 && !c->st; i++) {
        const qn_blob *blob = NULL;
        qn_weight *w = qn_weight_ref(c->big);
        qn_tensor t;
        char form[16];
        float x = -1;

        snprintf(form, sizeof form, "f%d", i % 3);
        c->st = qn_store_get(c->store, w, form, 256, pack, &pk, &blob, NULL);
        if (!c->st && ((unsigned char *)blob->data)[255] != 0x5a) c->wrong = true;
        if (!c->st) c->st = qn_weight_read(w, i, 1, &x, NULL);
        if (x != c->want[i]) c->wrong = true;
        if (!c->st && i > 100) {
            c->st = qn_weight_dense(w, c->store, &t, NULL);
            if (!c->st && ((float *)t.data)[i] != c->want[i]) c->wrong = true;
        }
        qn_store_drop(c->store, blob);
        qn_weight_unref(w);
    }
    return NULL;
}

static void threads_get_drop_and_load_without_harm(void **state)
{
    float *x = ramp();
    churner c[THREADS];
    pthread_t t[THREADS];
    fake_source f;
    qn_store *store;
    qn_weight *w;

    (void)state;
    fake_init(&f, x, BIG * sizeof *x);
    w = big_weight(&f);
    assert_int_equal(qn_store_create(&store, NULL), QN_OK);
    for (int i = 0; i < THREADS; i++) {
        c[i] = (churner){ .store = store, .big = w, .want = x };
        assert_int_equal(pthread_create(&t[i], NULL, churn, &c[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(c[i].st, QN_OK);
        assert_false(c[i].wrong);
    }
    assert_int_equal(qn_store_bytes(store), BIG * sizeof *x); /* the dense blob alone is left */
    qn_weight_unref(w);
    assert_int_equal(qn_store_bytes(store), 0);
    qn_store_unref(store);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_weight_from_memory_is_a_copy),
        cmocka_unit_test(reading_outside_is_an_error),
        cmocka_unit_test(bad_tensors_are_refused),
        cmocka_unit_test(an_empty_weight_and_a_string_weight_work),
        cmocka_unit_test(equal_bytes_of_another_shape_have_another_digest),
        cmocka_unit_test(small_source_weights_are_read_at_once),
        cmocka_unit_test(large_source_weights_wait_for_the_first_use),
        cmocka_unit_test(a_source_that_fails_leaves_nothing),
        cmocka_unit_test(without_a_store_a_weight_keeps_its_own_bytes),
        cmocka_unit_test(scalars_of_every_dtype_become_float),
        cmocka_unit_test(integer_lists_are_read_and_others_refused),
        cmocka_unit_test(one_form_is_made_once_and_freed_when_unused),
        cmocka_unit_test(a_blob_outlives_the_users_reference_to_the_store),
        cmocka_unit_test(blobs_of_every_size_are_aligned_and_whole),
        cmocka_unit_test(many_forms_are_all_found),
        cmocka_unit_test(threads_that_ask_together_share_one_make),
        cmocka_unit_test(a_failed_make_lets_the_next_one_try),
        cmocka_unit_test(threads_get_drop_and_load_without_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
