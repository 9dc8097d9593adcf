/* quern/number.h - decimal text <-> numbers, exact both ways.
 * Reading is correctly rounded (to nearest, ties to even); writing is the shortest text that reads back to the same bits.
 * How: up to 19 digits and powers of ten up to 27 fit the 64-bit mantissa of an x87 long double exactly, so one division or
 * multiplication is correctly rounded to 64 bits, and rounding that to 24 or 53 bits is right unless it sits exactly half way;
 * everything else goes to the C library. (Idea: Clinger 1990, "How to read floating point numbers accurately".)
 * Threads: pure functions; the process must stay in the "C" locale. */
#ifndef QUERN_NUMBER_H
#define QUERN_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* text[0..n) must match JSON's number grammar; text[n] must be readable (any byte that is not part of a number).
 * False: the value overflows (the text is finite, the result would be infinite). Underflow rounds to a denormal or zero. */
bool qn_number_to_f32(const char *text, size_t n, float *out);
bool qn_number_to_f64(const char *text, size_t n, double *out);

/* Integers only: no '.', no exponent. False: not an integer, or outside the type. "-0" is 0. */
bool qn_number_to_i64(const char *text, size_t n, int64_t *out);
bool qn_number_to_u64(const char *text, size_t n, uint64_t *out);

/* A list: numbers of JSON's grammar, each with a comma behind it and perhaps blanks behind that. Reads those that are simple, up to `cap`, to
 * the same values as the functions above; returns the bytes up to the first one that is not (long, at the end of the text, without its
 * comma, malformed, near a tie), which the caller reads by itself. *count: how many were read. */
size_t qn_numbers_f32(const char *text, size_t n, float *out, size_t cap, size_t *count);
size_t qn_numbers_i64(const char *text, size_t n, int64_t *out, size_t cap, size_t *count);

/* Room for any number below, with terminator. */
#define QN_NUMBER_CHARS 32
/* out has room for QN_NUMBER_CHARS. Write the shortest text ("0.1", "1e+30", "-0", never NaN or infinity: callers decide those) and return its length. */
size_t qn_number_from_f32(float v, char *out);
size_t qn_number_from_f64(double v, char *out);
size_t qn_number_from_i64(int64_t v, char *out);
size_t qn_number_from_u64(uint64_t v, char *out);

#endif
