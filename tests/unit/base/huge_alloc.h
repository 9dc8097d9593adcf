/* tests/unit/base/huge_alloc.h - for tests that ask for more memory than there is: under a sanitizer malloc must say no, as it
 * does without one, instead of ending the test. Included by one file of an executable. */
#ifndef QUERN_TESTS_HUGE_ALLOC_H
#define QUERN_TESTS_HUGE_ALLOC_H

const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

const char *__tsan_default_options(void) { return "allocator_may_return_null=1"; }

#endif
