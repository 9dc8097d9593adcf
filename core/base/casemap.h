/* core/base/casemap.h - upper and lower case of UTF-8 text, the same on every machine: no locale is asked.
 * Source:  Unicode 14, simple case mappings (one code point to one: "ß" stays in upper case). Threads: pure functions. */
#ifndef QUERN_BASE_CASEMAP_H
#define QUERN_BASE_CASEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One code point; itself where it has no other case. */
uint32_t qn_casemap_point(uint32_t c, bool upper);

/* n bytes of text into out (NULL: only counted); returns how many bytes that gives, at most 3 * n. Bytes that are no UTF-8 stay as they are. */
size_t qn_casemap(const char *s, size_t n, bool upper, char *out);

#endif
