/* core/kernels/gemm/openblas.c - OpenBLAS as a row of its own order, loaded when it is asked for.
 * A shared library is loaded once per process, and it reads its variable once: so is the state here, behind pthread_once().
 * Interface: cblas.h of OpenBLAS 0.3.21, 32-bit integers (Debian's libopenblas0-pthread). */
#include "core/kernels/gemm/gemm.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };

typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
                      int ldb, float beta, float *c, int ldc);

struct qn_openblas {
    sgemm_fn *sgemm;
    void (*set_threads)(int n);
    char *(*core)(void);
};

static struct {
    pthread_once_t once;
    unsigned cpu; /* flags of the first call: later ones cannot change what was loaded */
    bool ok;
    qn_openblas blas;
} library = { .once = PTHREAD_ONCE_INIT };
static pthread_mutex_t first_call = PTHREAD_MUTEX_INITIALIZER; /* guards library.cpu until `once` has run */

/* dlsym() gives void *, and C has no cast from that to a function; POSIX says the bytes are the same. */
static bool find(void *handle, const char *name, void *fn, size_t size)
{
    void *symbol = dlsym(handle, name);

    __builtin_memcpy(fn, &symbol, size);
    return symbol != NULL;
}

static void load(void)
{
    const char *core = library.cpu & QN_CPU_AVX512                                 ? "SkylakeX"
                       : (library.cpu & QN_CPU_AVX2) && (library.cpu & QN_CPU_FMA) ? "Haswell"
                                                                                   : NULL;
    void *handle;

    if (core) setenv("OPENBLAS_CORETYPE", core, 0); /* 0: what the user has set stays */
    setenv("OPENBLAS_NUM_THREADS", "1", 1);         /* before it starts threads of its own */
    handle = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!handle) return;
    library.ok = find(handle, "cblas_sgemm", &library.blas.sgemm, sizeof library.blas.sgemm) &&
                 find(handle, "openblas_set_num_threads", &library.blas.set_threads, sizeof library.blas.set_threads) &&
                 find(handle, "openblas_get_corename", &library.blas.core, sizeof library.blas.core);
    if (library.ok)
        library.blas.set_threads(1);
    else
        dlclose(handle);
}

qn_status qn_openblas_open(unsigned cpu, const qn_openblas **out, qn_error *err)
{
    *out = NULL;
    pthread_mutex_lock(&first_call);
    library.cpu = cpu;
    pthread_once(&library.once, load);
    pthread_mutex_unlock(&first_call);
    if (!library.ok) return qn_error_set(err, QN_ERR_NOT_FOUND, "libopenblas.so.0 is not installed or lacks cblas_sgemm");
    *out = &library.blas;
    return QN_OK;
}

const char *qn_openblas_core(const qn_openblas *blas) { return blas->core(); }

void qn_openblas_sgemm(const qn_openblas *blas, bool trans_b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                       int64_t ldb, float *c, int64_t ldc)
{
    blas->sgemm(ROW_MAJOR, NO_TRANS, trans_b ? TRANS : NO_TRANS, (int)m, (int)n, (int)k, 1.0f, a, (int)lda, b, (int)ldb, 0.0f, c, (int)ldc);
}
