/* core/kernels/fft/fft.h - discrete Fourier transforms of any length, in double.
 *     X_k = sum_j x_j exp(-2 pi i j k / n);   inverse: the conjugate exponent, not divided by n
 * Source:  Cooley, Tukey 1965 (n a power of two, radix 2); Bluestein 1970 (any other n, as a convolution of length m >= 2n - 1).
 * Error:   |got - exact| <= 1e-15 (8 + log2 m) sum |x_j|, measured below a quarter of that over n = 1..2000 (tests/unit/kernels/test_fft.c).
 * Bits:    a transform depends on its own numbers alone. Threads: a table is read-only once made; each thread has its own work. */
#ifndef QUERN_KERNELS_FFT_H
#define QUERN_KERNELS_FFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QN_FFT_MAX ((int64_t)1 << 22) /* longest transform: 95 s of sound at 44.1 kHz; its tables take 500 MB */

typedef struct qn_fft {
    int64_t n, m;           /* m: power of two that is transformed; n itself if that is one */
    const double *roots;    /* [m / 2] exp(-2 pi i k / m), complex */
    const double *chirp;    /* [n] exp(-pi i k^2 / n); NULL if m == n */
    const double *spectrum; /* [m] transform of the conjugate chirp, divided by m */
} qn_fft;

/* Doubles a table of length n needs, and the work of one thread. 1 <= n <= QN_FFT_MAX. */
size_t qn_fft_table_doubles(int64_t n);
size_t qn_fft_work_doubles(int64_t n);

/* Fill `table`, which the qn_fft then borrows. */
void qn_fft_init(qn_fft *f, int64_t n, double *table);

/* x [n] complex, in place. work is not read where m == n. */
void qn_fft_run(const qn_fft *f, bool inverse, double *x, double *work);

#endif
