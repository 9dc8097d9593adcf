/* tests/unit/plan/test_memory.c - every allocation of a load and a run fails once, and a run that was done before allocates nothing.
 * malloc is replaced for the whole executable; under a sanitizer, which has a malloc of its own, the tests have nothing to count and are skipped. */
#include "core/plan/frame.h"
#include "tests/unit/plan/model_file.h"

#include <errno.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTING 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTING 0
#endif
#endif
#ifndef COUNTING
#define COUNTING 1
#endif

static long n_allocs, fail_at = -1; /* one thread only */

#if COUNTING
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

static bool refuse(void)
{
    if (n_allocs++ != fail_at) return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n) { return refuse() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return refuse() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return refuse() ? NULL : __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) { return refuse() ? NULL : __libc_memalign(align, n); }
#endif

/* a little of everything: a batch, a view, a constant, something of unknown size */
static pb model_bytes(void)
{
    mf m = { 0 };
    const float w[4] = { 1, -2, 3, -4 };
    const int64_t flat[1] = { -1 };

    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ -1, 4 });
    mf_f32(&m, "w", 1, (int64_t[]){ 4 }, w);
    mf_i64(&m, "flat", 1, flat);
    mf_node(&m, "Add", "x,w", "t");
    mf_node(&m, "Relu", "t", "y");
    mf_node(&m, "Reshape", "y,flat", "line");
    mf_node(&m, "NonZero", "line", "z");
    mf_out(&m, "y");
    mf_out(&m, "z");
    return mf_bytes(&m);
}

static void write_model(char *path)
{
    pb bytes = model_bytes();
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes.data, bytes.len), (ssize_t)bytes.len);
    close(fd);
    pb_free(&bytes);
}

static qn_status load_and_run(const char *path, qn_error *err)
{
    qn_model_options o = { .cpu = qn_cpu_detect() };
    qn_model *m = NULL;
    qn_session *s = NULL;
    float x[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    qn_tensor in = F32(x, 2, 4), out[2];
    qn_status st = qn_model_load(AT_FDCWD, path, &o, &m, err);

    if (st == QN_OK) st = qn_session_create(m, NULL, &s, err);
    if (st == QN_OK) st = qn_session_run(s, &in, out, NULL, err);
    qn_session_destroy(s);
    qn_model_unref(m);
    return st;
}

static void any_allocation_may_fail(void **state)
{
    char path[] = "/tmp/quern-plan-XXXXXX";
    long total;

    (void)state;
    if (!COUNTING) skip();
    write_model(path);
    n_allocs = 0;
    assert_int_equal(load_and_run(path, &(qn_error){ 0 }), QN_OK);
    total = n_allocs;
    assert_true(total > 50);
    for (long i = 0; i < total; i++) {
        qn_error err = { 0 };
        qn_status st;

        n_allocs = 0;
        fail_at = i;
        st = load_and_run(path, &err);
        fail_at = -1;
        /* a failure may also cost only an optimisation: then the result stands */
        if (st != QN_OK && st != QN_ERR_NOMEM) fail_msg("allocation %ld: %s: %s", i, qn_status_text(st), err.message);
    }
    unlink(path);
}

static void the_same_shapes_again_allocate_nothing(void **state)
{
    mf m = { 0 };
    const float w[4] = { 1, -2, 3, -4 };
    float x[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    qn_tensor in = F32(x, 2, 4), fewer = F32(x, 1, 4), out;
    qn_model *model;
    qn_session *s;
    qn_plan *plan;

    (void)state;
    if (!COUNTING) skip();
    mf_in(&m, "x", ONNX_FLOAT, 2, (int64_t[]){ -1, 4 });
    mf_f32(&m, "w", 1, (int64_t[]){ 4 }, w);
    mf_node(&m, "Add", "x,w", "t");
    mf_node(&m, "Relu", "t", "y");
    mf_out(&m, "y");
    model = mf_load(&m, NULL);
    s = session_ok(model);
    run_ok(s, &in, &out);
    plan = s->main->plan;
    n_allocs = 0;
    for (int i = 0; i < 100; i++) run_ok(s, i % 2 ? &in : &fewer, &out);
    assert_int_equal(n_allocs, 0);
    assert_ptr_equal(s->main->plan, plan);
    qn_session_destroy(s);
    qn_model_unref(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(the_same_shapes_again_allocate_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
