/* core/base/fpu.h - the floating-point mode every kernel runs in: round to nearest even, subnormals read and written as zero,
 * no traps. It is part of the bit promise, so whoever runs kernels sets it and puts the caller's mode back afterwards.
 * qn_team_run() does so for every tile; a session does it around a run. Threads: the mode belongs to the thread. */
#ifndef QUERN_BASE_FPU_H
#define QUERN_BASE_FPU_H

#if defined(__x86_64__)
#include <xmmintrin.h>

#define QN_FPU_MODE 0x9fc0u /* MXCSR: all exceptions masked 0x1f80, FTZ 0x8000, DAZ 0x0040 */

/* Enter the mode; returns the one before, for qn_fpu_leave(). */
static inline unsigned qn_fpu_enter(void)
{
    unsigned before = _mm_getcsr();

    _mm_setcsr(QN_FPU_MODE);
    return before;
}

static inline void qn_fpu_leave(unsigned before) { _mm_setcsr(before); }
#else
static inline unsigned qn_fpu_enter(void) { return 0; }
static inline void qn_fpu_leave(unsigned before) { (void)before; }
#endif

#endif
