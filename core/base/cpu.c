/* core/base/cpu.c - CPUID says what the CPU has, XCR0 what the operating system saves on a switch; both must agree.
 * No vendor is asked for: AMD and Intel report these features in the same leaves.
 * Source: Intel SDM vol. 1, 14.3, 15.2-15.4 and AMD APM vol. 3, appendix E. */
#include "quern/cpu.h"

#include <stddef.h>
#include <string.h>

#define AVX2_SET   (QN_CPU_AVX2 | QN_CPU_FMA | QN_CPU_F16C)
#define AVX512_SET (AVX2_SET | QN_CPU_AVX512)
#define VNNI_SET   (AVX512_SET | QN_CPU_AVX512_VNNI)

static const struct cpu_set {
    const char *name;
    unsigned flags;
} sets[] = { { "vnni", VNNI_SET }, { "avx512", AVX512_SET }, { "avx2", AVX2_SET }, { "scalar", 0 } };

#if defined(__x86_64__)
#include <cpuid.h>

static unsigned long long read_xcr0(void)
{
    unsigned lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (unsigned long long)hi << 32 | lo;
}

unsigned qn_cpu_detect(void)
{
    const unsigned osxsave = 1u << 27, avx = 1u << 28;
    const unsigned avx512_f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    const unsigned long long ymm = 0x6, zmm = 0xe6; /* xmm + ymm; those + mask registers + both halves of zmm */
    unsigned eax, ebx, ecx, edx, leaf1, cpu = 0;
    unsigned long long saved;

    if (!__get_cpuid(1, &eax, &ebx, &leaf1, &edx) || !(leaf1 & osxsave) || !(leaf1 & avx)) return 0;
    saved = read_xcr0();
    if ((saved & ymm) != ymm) return 0;
    if (leaf1 & 1u << 12) cpu |= QN_CPU_FMA;
    if (leaf1 & 1u << 29) cpu |= QN_CPU_F16C;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return cpu;
    if (ebx & 1u << 5) cpu |= QN_CPU_AVX2;
    if ((saved & zmm) == zmm && (ebx & avx512_f_dq_bw_vl) == avx512_f_dq_bw_vl) {
        cpu |= QN_CPU_AVX512;
        if (ecx & 1u << 11) cpu |= QN_CPU_AVX512_VNNI;
    }
    return cpu;
}
#else
unsigned qn_cpu_detect(void) { return 0; }
#endif

qn_status qn_cpu_from_name(const char *name, unsigned *cpu, qn_error *err)
{
    const unsigned have = qn_cpu_detect();

    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (strcmp(name, sets[i].name) != 0) continue;
        if (sets[i].flags & ~have)
            return qn_error_set(err, QN_ERR_UNSUPPORTED, "instruction set %s: this CPU offers at most %s", name, qn_cpu_name(have));
        *cpu = sets[i].flags;
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_INVALID, "instruction set \"%s\", expected scalar, avx2, avx512 or vnni", name);
}

const char *qn_cpu_name(unsigned cpu)
{
    const struct cpu_set *s = sets;

    while (s->flags & ~cpu) s++; /* ends: scalar needs nothing */
    return s->name;
}
