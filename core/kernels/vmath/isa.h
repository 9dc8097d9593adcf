/* core/kernels/vmath/isa.h - names for a source that is compiled once per instruction set.
 * The including file defines QN_ISA as scalar, avx2 or avx512. */
#ifndef QUERN_KERNELS_VMATH_ISA_H
#define QUERN_KERNELS_VMATH_ISA_H

#include "core/kernels/kernel.h"

#define QN_ISA_JOIN_(a, b) a##__##b
#define QN_ISA_JOIN(a, b)  QN_ISA_JOIN_(a, b)
#define QN_ISA_TEXT_(a)    #a
#define QN_ISA_TEXT(a)     QN_ISA_TEXT_(a)

#define QN_ISA_NEEDS_scalar  0u
#define QN_ISA_NEEDS_avx2    (QN_CPU_AVX2 | QN_CPU_FMA)
#define QN_ISA_NEEDS_avx512  (QN_CPU_AVX2 | QN_CPU_FMA | QN_CPU_AVX512)
#define QN_ISA_NEEDS__(isa)  QN_ISA_NEEDS_##isa
#define QN_ISA_NEEDS_OF(isa) QN_ISA_NEEDS__(isa)

#define QN_ISA_SYMBOL(stem) QN_ISA_JOIN(stem, QN_ISA)     /* stem__avx2 */
#define QN_ISA_NAME(stem)   stem "__" QN_ISA_TEXT(QN_ISA) /* "f32x16__avx2" */
#define QN_ISA_NEEDS        QN_ISA_NEEDS_OF(QN_ISA)       /* QN_CPU_* bits */

#endif
