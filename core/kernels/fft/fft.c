/* core/kernels/fft/fft.c - see fft.h. Complex numbers are pairs of doubles, real part first. */
#include "core/kernels/fft/fft.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

static int64_t power_for(int64_t n)
{
    int64_t m = 1;

    if ((n & (n - 1)) == 0) return n;
    while (m < 2 * n - 1) m *= 2;
    return m;
}

size_t qn_fft_table_doubles(int64_t n)
{
    const int64_t m = power_for(n);

    return (size_t)(m == n ? m : m + 2 * n + 2 * m) + 2; /* m / 2 roots; at least one pair */
}

size_t qn_fft_work_doubles(int64_t n)
{
    const int64_t m = power_for(n);

    return m == n ? 0 : (size_t)(2 * m);
}

/* Bit-reversed order, in place. */
static void reorder(double *x, int64_t m)
{
    for (int64_t i = 1, j = 0; i < m; i++) {
        int64_t bit = m >> 1;

        for (; j & bit; bit >>= 1) j ^= bit;
        j |= bit;
        if (i < j) {
            const double re = x[2 * i], im = x[2 * i + 1];

            x[2 * i] = x[2 * j];
            x[2 * i + 1] = x[2 * j + 1];
            x[2 * j] = re;
            x[2 * j + 1] = im;
        }
    }
}

static void radix2(const double *roots, double *x, int64_t m)
{
    reorder(x, m);
    for (int64_t half = 1; half < m; half *= 2) {
        const int64_t step = m / (2 * half); /* of the roots */

        for (int64_t from = 0; from < m; from += 2 * half) {
            for (int64_t k = 0; k < half; k++) {
                double *a = x + 2 * (from + k), *b = a + 2 * half;
                const double wr = roots[2 * k * step], wi = roots[2 * k * step + 1];
                const double re = b[0] * wr - b[1] * wi, im = b[0] * wi + b[1] * wr;

                b[0] = a[0] - re;
                b[1] = a[1] - im;
                a[0] += re;
                a[1] += im;
            }
        }
    }
}

void qn_fft_init(qn_fft *f, int64_t n, double *table)
{
    const int64_t m = power_for(n);
    double *roots = table, *chirp = table + (m > 1 ? m : 2), *spectrum = chirp + 2 * n;

    *f = (qn_fft){ .n = n, .m = m, .roots = roots };
    for (int64_t k = 0; k < m / 2; k++) {
        roots[2 * k] = cos(2 * PI * (double)k / (double)m);
        roots[2 * k + 1] = -sin(2 * PI * (double)k / (double)m);
    }
    if (m == n) return;
    f->chirp = chirp;
    f->spectrum = spectrum;
    memset(spectrum, 0, (size_t)(2 * m) * sizeof *spectrum);
    for (int64_t k = 0; k < n; k++) {
        const double angle = PI * (double)(k * k % (2 * n)) / (double)n; /* k^2 < 2^44 */

        chirp[2 * k] = cos(angle);
        chirp[2 * k + 1] = -sin(angle);
        spectrum[2 * k] = cos(angle) / (double)m;
        spectrum[2 * k + 1] = sin(angle) / (double)m;
        if (k == 0) continue;
        spectrum[2 * (m - k)] = spectrum[2 * k];
        spectrum[2 * (m - k) + 1] = spectrum[2 * k + 1];
    }
    radix2(roots, spectrum, m);
}

/* X_k = c_k sum_j (x_j c_j) conj(c_(k - j)): a circular convolution of length m, whose inverse transform is done by swapping parts. */
static void bluestein(const qn_fft *f, double *x, double *work)
{
    const double *c = f->chirp, *s = f->spectrum;

    for (int64_t k = 0; k < f->n; k++) {
        work[2 * k] = x[2 * k] * c[2 * k] - x[2 * k + 1] * c[2 * k + 1];
        work[2 * k + 1] = x[2 * k] * c[2 * k + 1] + x[2 * k + 1] * c[2 * k];
    }
    memset(work + 2 * f->n, 0, (size_t)(2 * (f->m - f->n)) * sizeof *work);
    radix2(f->roots, work, f->m);
    for (int64_t k = 0; k < f->m; k++) {
        const double re = work[2 * k] * s[2 * k] - work[2 * k + 1] * s[2 * k + 1],
                     im = work[2 * k] * s[2 * k + 1] + work[2 * k + 1] * s[2 * k];

        work[2 * k] = im;
        work[2 * k + 1] = re;
    }
    radix2(f->roots, work, f->m);
    for (int64_t k = 0; k < f->n; k++) {
        const double re = work[2 * k + 1], im = work[2 * k];

        x[2 * k] = re * c[2 * k] - im * c[2 * k + 1];
        x[2 * k + 1] = re * c[2 * k + 1] + im * c[2 * k];
    }
}

static void swap_parts(double *x, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        const double re = x[2 * k];

        x[2 * k] = x[2 * k + 1];
        x[2 * k + 1] = re;
    }
}

void qn_fft_run(const qn_fft *f, bool inverse, double *x, double *work)
{
    if (inverse) swap_parts(x, f->n);
    if (f->m == f->n)
        radix2(f->roots, x, f->m);
    else
        bluestein(f, x, work);
    if (inverse) swap_parts(x, f->n);
}
