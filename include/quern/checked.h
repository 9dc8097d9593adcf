/* quern/checked.h - size arithmetic that says when it does not fit.
 * Every size that comes from a file, a client or a shape goes through here; loaders may not use a raw * or + on sizes.
 * Each function returns true and stores the result, or returns false and leaves *out alone. */
#ifndef QUERN_CHECKED_H
#define QUERN_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool qn_size_mul(size_t a, size_t b, size_t *out)
{
    size_t r;

    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool qn_size_add(size_t a, size_t b, size_t *out)
{
    size_t r;

    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* Round a up to a multiple of align, a power of two. */
static inline bool qn_size_align(size_t a, size_t align, size_t *out)
{
    size_t r;

    if (__builtin_add_overflow(a, align - 1, &r)) return false;
    *out = r & ~(align - 1);
    return true;
}

static inline bool qn_i64_mul(int64_t a, int64_t b, int64_t *out)
{
    int64_t r;

    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool qn_i64_add(int64_t a, int64_t b, int64_t *out)
{
    int64_t r;

    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool qn_i64_sub(int64_t a, int64_t b, int64_t *out)
{
    int64_t r;

    if (__builtin_sub_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* u64 from a file -> size_t in this process. */
static inline bool qn_u64_to_size(uint64_t a, size_t *out)
{
    if (a > SIZE_MAX) return false;
    *out = (size_t)a;
    return true;
}

/* A dimension that is known to be >= 0 -> size_t. */
static inline bool qn_i64_to_size(int64_t a, size_t *out)
{
    if (a < 0) return false;
    *out = (size_t)a;
    return true;
}

#endif
