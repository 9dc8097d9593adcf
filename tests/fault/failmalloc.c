/* tests/fault/failmalloc.c - an allocator that says no: loaded with LD_PRELOAD, built by the tests.
 * FAILMALLOC names a file of three int64: [0] counts down at every allocation while it is > 0, and the allocation that brings it to 0 fails;
 * [1] counts the allocations seen, [2] those that live. The test writes and reads the file while the process runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static _Atomic int64_t *control;

__attribute__((constructor)) static void attach(void)
{
    const char *path = getenv("FAILMALLOC");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd >= 0 ? mmap(NULL, 24, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (fd >= 0) close(fd);
    if (p != MAP_FAILED) control = p;
}

static int fails(void)
{
    if (!control) return 0;
    atomic_fetch_add_explicit(&control[1], 1, memory_order_relaxed);
    if (atomic_load_explicit(&control[0], memory_order_relaxed) <= 0) return 0;
    if (atomic_fetch_sub(&control[0], 1) != 1) return 0;
    errno = ENOMEM;
    return 1;
}

static void *lives(void *p)
{
    if (p && control) atomic_fetch_add_explicit(&control[2], 1, memory_order_relaxed);
    return p;
}

void *malloc(size_t n) { return fails() ? NULL : lives(__libc_malloc(n)); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : lives(__libc_calloc(n, size)); }
void *realloc(void *p, size_t n)
{
    if (!p) return malloc(n);
    return fails() ? NULL : __libc_realloc(p, n); /* nobody here asks for no bytes of something */
}
void *aligned_alloc(size_t align, size_t n) { return fails() ? NULL : lives(__libc_memalign(align, n)); }
int posix_memalign(void **out, size_t align, size_t n)
{
    if (fails()) return ENOMEM;
    *out = lives(__libc_memalign(align, n));
    return *out ? 0 : ENOMEM;
}
void free(void *p)
{
    if (p && control) atomic_fetch_sub_explicit(&control[2], 1, memory_order_relaxed);
    __libc_free(p);
}
