/* quern/cpu.h - which instruction sets a plan may use.
 * A set is a value passed in, never asked for deep inside, so that a test can plan for a smaller CPU than it runs on.
 * Threads: qn_cpu_detect() may be called from any thread; it keeps no state. */
#ifndef QUERN_CPU_H
#define QUERN_CPU_H

#include "quern/error.h"

#define QN_CPU_AVX2        0x01u /* AVX2, and the OS saves ymm */
#define QN_CPU_FMA         0x02u /* FMA3 */
#define QN_CPU_AVX512      0x04u /* AVX-512 F, BW, DQ, VL, and the OS saves zmm */
#define QN_CPU_AVX512_VNNI 0x08u /* AVX-512 VNNI: vpdpbusd */
#define QN_CPU_F16C        0x10u /* half-precision conversion */

/** What this CPU and this operating system offer. */
unsigned qn_cpu_detect(void);

/** Flags for the name "scalar", "avx2", "avx512" or "vnni" (each includes the ones before).
 *  Fails with QN_ERR_INVALID (unknown name; the message lists the names), QN_ERR_UNSUPPORTED (this CPU lacks it). */
qn_status qn_cpu_from_name(const char *name, unsigned *cpu, qn_error *err);

/** The largest of the four names that the flags cover: "scalar", "avx2", "avx512", "vnni". */
const char *qn_cpu_name(unsigned cpu);

#endif
