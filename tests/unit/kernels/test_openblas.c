/* tests/unit/kernels/test_openblas.c - OpenBLAS runs the kernels of this CPU, not those of a CPU from 2005.
 * The core type is chosen once per process, so each case runs in a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/kernels/gemm/gemm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_OK = 0, CHILD_OTHER_CORE = 1, CHILD_WRONG_VALUE = 2, CHILD_NOT_INSTALLED = 77 };

/* A product with odd sizes and strides, B plain or transposed, against sums in double. */
static int check_values(const qn_openblas *blas)
{
    enum { M = 7, N = 13, K = 129 };
    static float a[M * (K + 1)], b[K * N], bt[N * K], c[M * (N + 2)];

    for (int i = 0; i < M * (K + 1); i++) a[i] = (float)(i * 37 % 101 - 50) / 64;
    for (int p = 0; p < K; p++) {
        for (int j = 0; j < N; j++) b[p * N + j] = bt[j * K + p] = (float)((p * N + j) * 53 % 97 - 48) / 64;
    }
    for (int way = 0; way < 2; way++) {
        memset(c, 0, sizeof c);
        qn_openblas_sgemm(blas, way == 1, M, N, K, a, K + 1, way ? bt : b, way ? K : N, c, N + 2);
        for (int i = 0; i < M; i++) {
            for (int j = 0; j < N; j++) {
                double sum = 0;

                for (int p = 0; p < K; p++) sum += (double)a[i * (K + 1) + p] * (double)b[p * N + j];
                if (fabs(sum - (double)c[i * (N + 2) + j]) > 1e-4) return CHILD_WRONG_VALUE;
            }
        }
    }
    return CHILD_OK;
}

static int child(unsigned cpu, const char *preset, const char *want)
{
    const qn_openblas *blas;

    if (preset)
        setenv("OPENBLAS_CORETYPE", preset, 1);
    else
        unsetenv("OPENBLAS_CORETYPE");
    if (qn_openblas_open(cpu, &blas, NULL) != QN_OK) return CHILD_NOT_INSTALLED;
    if (!want)
        print_message("without a core type from us OpenBLAS chooses: %s\n", qn_openblas_core(blas));
    else if (strcmp(qn_openblas_core(blas), want) != 0)
        return CHILD_OTHER_CORE;
    return check_values(blas);
}

static void in_a_child(unsigned cpu, const char *preset, const char *want)
{
    int status;
    pid_t pid;

    if (cpu & ~qn_cpu_detect()) skip();
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int rc = child(cpu, preset, want);

        fflush(NULL);
        _exit(rc);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_NOT_INSTALLED) skip();
    assert_int_equal(WEXITSTATUS(status), CHILD_OK);
}

static const unsigned avx2 = QN_CPU_AVX2 | QN_CPU_FMA;

static void on_an_avx512_cpu_the_core_is_skylakex(void **state)
{
    (void)state;
    in_a_child(avx2 | QN_CPU_AVX512, NULL, "SkylakeX");
}

static void on_an_avx2_cpu_the_core_is_haswell(void **state)
{
    (void)state;
    in_a_child(avx2, NULL, "Haswell");
}

static void a_core_type_the_user_has_set_stays(void **state)
{
    (void)state;
    in_a_child(avx2, "Nehalem", "Nehalem");
}

static void without_flags_the_library_chooses_and_still_computes(void **state)
{
    (void)state;
    in_a_child(0, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_an_avx512_cpu_the_core_is_skylakex),
        cmocka_unit_test(on_an_avx2_cpu_the_core_is_haswell),
        cmocka_unit_test(a_core_type_the_user_has_set_stays),
        cmocka_unit_test(without_flags_the_library_chooses_and_still_computes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
