/* core/kernels/gemm/tile__scalar.c - the reference: 4 rows x 16 columns, one fmaf() at a time.
 * The C library's fmaf() is a call, and exact but slow where the CPU has no fma; so the same text is compiled twice, once with the
 * instruction. Both give the same bits: that is what fmaf() promises. */
#include "core/kernels/gemm/tile.h"

#include <math.h>

QN_INLINE void panel(const qn_tile *t, int row, int rows, int64_t col, int cols)
{
    float acc[4][16] = { { 0 } };
    const float *a = t->a + row * t->lda, *b = t->b + col / 16 * t->b_panel;
    float *c = t->c + row * t->ldc + col;

    if (t->resume) {
        for (int i = 0; i < rows; i++) {
            for (int j = 0; j < cols; j++) acc[i][j] = c[i * t->ldc + j];
        }
    }
    for (int64_t p = 0; p < t->k; p++) {
        const float *bp = t->off ? b + t->off[p] : b + p * t->b_row;

        for (int i = 0; i < rows; i++) {
            const float av = a[i * t->lda + p];

            for (int j = 0; j < cols; j++) acc[i][j] = fmaf(av, bp[j], acc[i][j]);
        }
    }
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < cols; j++) {
            float v = acc[i][j];

            if (t->finish) {
                if (t->bias_m) v += t->bias_m[row + i];
                if (t->bias_n) v += t->bias_n[col + j];
                if (t->residual) v += t->residual[(row + i) * t->ldc + col + j];
                v = qn_act_apply(v, t->act, t->lo, t->hi);
            }
            c[i * t->ldc + j] = v;
        }
    }
}

QN_INLINE void tile(const qn_tile *t)
{
    for (int row = 0; row < t->rows; row += 4) {
        const int rows = t->rows - row < 4 ? t->rows - row : 4;

        for (int64_t col = 0; col < t->cols; col += 16) {
            const int cols = t->cols - col < 16 ? (int)(t->cols - col) : 16;

            if (cols == 16)
                panel(t, row, rows, col, 16); /* a constant: the compiler may use what registers it has */
            else
                panel(t, row, rows, col, cols);
        }
    }
}

void qn_tile_f32__scalar_soft(const qn_tile *t) { tile(t); }

#ifdef __x86_64__
__attribute__((target("avx,fma"))) static void tile_fma(const qn_tile *t) { tile(t); }

void qn_tile_f32__scalar(const qn_tile *t)
{
    if (__builtin_cpu_supports("fma"))
        tile_fma(t);
    else
        tile(t);
}
#else
void qn_tile_f32__scalar(const qn_tile *t) { tile(t); }
#endif
