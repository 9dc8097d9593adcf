/* tests/unit/kernels/test_conv.c - convolution in f32 and in 8 bits: every row of both tables against the definition, bit by bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/kernels/conv/conv.h"
#include "core/kernels/gemm/tile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t mix(uint64_t i)
{
    i = (i + 1) * 0x9e3779b97f4a7c15u;
    i = (i ^ (i >> 29)) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(i >> 32);
}

static void *alloc(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) & ~(size_t)63);

    assert_non_null(p);
    return p;
}

static int64_t volume(const int64_t v[3]) { return v[0] * v[1] * v[2]; }

/* Trailing pads follow from out: this one takes them and sets out. */
static qn_conv_shape shape(int64_t n, int64_t c, int64_t o, int64_t groups, const int64_t g[3][7])
{
    qn_conv_shape s = { .n = n, .c = c, .o = o, .groups = groups };

    for (int d = 0; d < 3; d++) { /* in, kernel, stride, dilation, pad before, pad after */
        s.in[d] = g[d][0];
        s.kernel[d] = g[d][1];
        s.stride[d] = g[d][2];
        s.dilation[d] = g[d][3];
        s.pad[d] = g[d][4];
        s.out[d] = (s.in[d] + g[d][4] + g[d][5] - (s.kernel[d] - 1) * s.dilation[d] - 1) / s.stride[d] + 1;
        assert_true(s.out[d] > 0);
    }
    return s;
}

#define NONE                                                                                                                               \
    {                                                                                                                                      \
        1, 1, 1, 1, 0, 0                                                                                                                   \
    }
static const struct {
    int64_t n, c, o, groups, geometry[3][7];
} cases[] = {
    { 2, 3, 5, 1, { NONE, { 9, 3, 1, 1, 1, 1 }, { 11, 3, 1, 1, 1, 1 } } },                 /* the usual */
    { 1, 3, 8, 1, { NONE, { 23, 7, 2, 1, 3, 3 }, { 21, 7, 2, 1, 3, 3 } } },                /* a stem */
    { 2, 16, 26, 1, { NONE, { 7, 1, 1, 1, 0, 0 }, { 7, 1, 1, 1, 0, 0 } } },                /* 1x1 */
    { 1, 7, 13, 1, { NONE, { 30, 1, 1, 1, 0, 0 }, { 41, 1, 1, 1, 0, 0 } } },               /* 1x1, several tiles */
    { 2, 8, 12, 1, { NONE, { 9, 1, 2, 1, 0, 0 }, { 8, 1, 2, 1, 0, 0 } } },                 /* 1x1, stride 2 */
    { 1, 4, 6, 1, { NONE, { 8, 1, 1, 1, 1, 1 }, { 8, 1, 1, 1, 2, 0 } } },                  /* 1x1 with padding */
    { 3, 5, 18, 1, { NONE, { 4, 4, 1, 1, 0, 0 }, { 3, 3, 1, 1, 0, 0 } } },                 /* the kernel covers the image */
    { 3, 20, 33, 1, { NONE, { 1, 1, 1, 1, 0, 0 }, { 1, 1, 1, 1, 0, 0 } } },                /* squeeze and excite */
    { 2, 9, 9, 9, { NONE, { 13, 3, 1, 1, 1, 1 }, { 10, 3, 1, 1, 1, 1 } } },                /* depthwise */
    { 1, 6, 12, 6, { NONE, { 14, 5, 2, 1, 2, 1 }, { 15, 3, 2, 1, 0, 1 } } },               /* depthwise, stride 2, two outputs each */
    { 2, 12, 20, 4, { NONE, { 8, 3, 1, 1, 1, 1 }, { 8, 3, 1, 1, 1, 1 } } },                /* grouped */
    { 1, 12, 6, 2, { NONE, { 6, 1, 1, 1, 0, 0 }, { 20, 1, 1, 1, 0, 0 } } },                /* grouped 1x1 */
    { 1, 3, 4, 1, { NONE, { 17, 3, 1, 4, 4, 4 }, { 19, 3, 3, 2, 0, 5 } } },                /* dilation, uneven stride and pads */
    { 1, 2, 3, 1, { NONE, { 12, 2, 5, 3, 0, 1 }, { 12, 2, 5, 7, 1, 1 } } },                /* stride beyond the kernel */
    { 2, 3, 4, 1, { NONE, NONE, { 700, 5, 1, 2, 4, 4 } } },                                /* 1-d, cut along the width */
    { 1, 2, 3, 1, { { 5, 3, 1, 1, 1, 1 }, { 6, 3, 2, 1, 1, 0 }, { 7, 2, 1, 1, 0, 1 } } },  /* 3-d */
    { 1, 2, 2, 2, { { 5, 2, 2, 2, 1, 0 }, { 4, 1, 1, 1, 0, 0 }, { 6, 3, 1, 1, 1, 1 } } },  /* 3-d depthwise */
    { 1, 64, 48, 1, { NONE, { 14, 3, 1, 1, 1, 1 }, { 14, 3, 1, 1, 1, 1 } } },              /* enough channels for a longer chain */
    { 1, 120, 100, 1, { NONE, { 24, 3, 1, 1, 1, 1 }, { 5, 3, 1, 1, 1, 1 } } },             /* output channels in parts */
    { 2, 5, 18, 1, { NONE, { 20, 3, 1, 12, 12, 12 }, { 20, 3, 1, 12, 12, 12 } } },         /* far apart: a plane per tap */
    { 1, 6, 40, 2, { NONE, { 9, 3, 2, 5, 4, 6 }, { 11, 5, 2, 3, 6, 5 } } },                /* the same, strided and grouped */
    { 1, 3, 17, 1, { { 4, 2, 1, 2, 1, 1 }, { 5, 3, 1, 2, 2, 2 }, { 6, 3, 1, 4, 4, 4 } } }, /* the same in 3-d */
    { 1, 4, 16, 1, { NONE, { 6, 2, 1, 1, 0, 0 }, { 6, 5, 1, 1, 2, 2 } } },                 /* the same by a wide kernel */
    { 0, 3, 4, 1, { NONE, { 5, 3, 1, 1, 1, 1 }, { 5, 3, 1, 1, 1, 1 } } },                  /* no images */
    { 1, 1, 1, 1, { NONE, { 3, 3, 1, 1, 2, 2 }, { 3, 3, 1, 1, 2, 2 } } },                  /* pixels that see one input */
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static qn_conv_shape case_shape(int i) { return shape(cases[i].n, cases[i].c, cases[i].o, cases[i].groups, cases[i].geometry); }

/* Walks the taps of one output element: fn(ctx, index into x or -1 for padding, index into w). */
typedef void tap_fn(void *ctx, int64_t x, int64_t w);

static void each_tap(const qn_conv_shape *s, int64_t n, int64_t o, const int64_t at[3], tap_fn *fn, void *ctx)
{
    const int64_t cg = s->c / s->groups, group = o / (s->o / s->groups);
    int64_t k[3], i[3];

    for (int64_t c = 0; c < cg; c++) {
        for (k[0] = 0; k[0] < s->kernel[0]; k[0]++) {
            for (k[1] = 0; k[1] < s->kernel[1]; k[1]++) {
                for (k[2] = 0; k[2] < s->kernel[2]; k[2]++) {
                    bool inside = true;

                    for (int d = 0; d < 3; d++) {
                        i[d] = at[d] * s->stride[d] - s->pad[d] + k[d] * s->dilation[d];
                        inside = inside && i[d] >= 0 && i[d] < s->in[d];
                    }
                    fn(ctx, inside ? (((n * s->c + group * cg + c) * s->in[0] + i[0]) * s->in[1] + i[1]) * s->in[2] + i[2] : -1,
                       (((o * cg + c) * s->kernel[0] + k[0]) * s->kernel[1] + k[1]) * s->kernel[2] + k[2]);
                }
            }
        }
    }
}

struct f32_sum {
    const float *x, *w;
    float sum;
};

static void f32_tap(void *ctx, int64_t x, int64_t w)
{
    struct f32_sum *f = ctx;

    f->sum = fmaf(f->w[w], x < 0 ? 0.0f : f->x[x], f->sum);
}

static void f32_define(const qn_conv_args *a, const float *w, float *y)
{
    const qn_conv_shape *s = &a->s;
    int64_t i = 0, at[3];

    for (int64_t no = 0; no < s->n * s->o; no++) {
        for (at[0] = 0; at[0] < s->out[0]; at[0]++) {
            for (at[1] = 0; at[1] < s->out[1]; at[1]++) {
                for (at[2] = 0; at[2] < s->out[2]; at[2]++, i++) {
                    struct f32_sum f = { a->x, w, 0 };

                    each_tap(s, no / s->o, no % s->o, at, f32_tap, &f);
                    if (a->bias) f.sum += a->bias[no % s->o];
                    if (a->residual) f.sum += a->residual[i];
                    y[i] = qn_act_apply(f.sum, a->act, a->lo, a->hi);
                }
            }
        }
    }
}

/* Pack, ask for scratch, run with and without a team; guards after scratch and y. */
static void f32_check(const qn_conv_kernel *k, qn_conv_args a, const float *w, const float *want, int which)
{
    const size_t y_bytes = (size_t)(a.s.n * a.s.o * volume(a.s.out)) * sizeof(float);
    qn_team *team;
    size_t packed_bytes, scratch_bytes;
    void *packed;

    assert_true(k->packed_bytes(&a.s, &packed_bytes));
    packed = alloc(packed_bytes);
    memset(packed, 0, packed_bytes);
    if (k->pack) k->pack(&a.s, packed, w);
    assert_int_equal(qn_team_create(3, &team, NULL), QN_OK);
    for (int size = 1; size <= 3; size += 2) {
        uint8_t *scratch, *y = alloc(y_bytes + 64);

        assert_true(k->scratch_bytes(&a.s, size, &scratch_bytes));
        scratch = alloc(scratch_bytes + 64);
        memset(scratch, 0xff, scratch_bytes + 64); /* NaNs: what is read before it is written would show */
        memset(y, 0xff, y_bytes + 64);
        a.w = k->pack ? packed : (const void *)w;
        a.scratch = scratch;
        a.y = (float *)(void *)y;
        k->run(&a, size == 1 ? NULL : team);
        if (y_bytes && memcmp(y, want, y_bytes) != 0) fail_msg("%s differs in case %d, team %d", k->name, which, size);
        for (int i = 0; i < 64; i++) assert_true(scratch[scratch_bytes + (size_t)i] == 0xff && y[y_bytes + (size_t)i] == 0xff);
        free(scratch);
        free(y);
    }
    qn_team_destroy(team);
    free(packed);
}

static float *noise(int64_t n, uint64_t seed)
{
    float *x = alloc((size_t)n * sizeof *x + 1);

    for (int64_t i = 0; i < n; i++) x[i] = (float)((int32_t)(mix((uint64_t)i * 31 + seed) >> 8) - (1 << 23)) * 0x1p-22f;
    return x;
}

static void every_f32_kernel_gives_the_bits_of_the_definition(void **state)
{
    int32_t n_kernels;
    const qn_conv_kernel *kernels = qn_conv_kernels(&n_kernels);

    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        const qn_conv_shape s = case_shape(i);
        const int64_t n_y = s.n * s.o * volume(s.out);
        float *x = noise(s.n * s.c * volume(s.in), 1), *w = noise(s.o * (s.c / s.groups) * volume(s.kernel), 2), *bias = noise(s.o, 3);
        float *residual = noise(n_y, 4), *want = alloc((size_t)n_y * sizeof(float) + 1);

        for (int how = 0; how < 3; how++) {
            qn_conv_args a = { .s = s, .x = x, .lo = -0.25f, .hi = 0.5f, .act = (qn_act)how };

            if (how != 1) a.bias = bias;
            if (how != 0) a.residual = residual;
            f32_define(&a, w, want);
            for (int32_t r = 0; r < n_kernels; r++) {
                if (!(kernels[r].needs & ~qn_cpu_detect()) && kernels[r].accepts(&s)) f32_check(&kernels[r], a, w, want, i);
            }
        }
        free(x);
        free(w);
        free(bias);
        free(residual);
        free(want);
    }
}

static void an_image_has_the_same_bits_alone_and_in_a_batch(void **state)
{
    const qn_conv_shape one = case_shape(17);
    qn_conv_shape many = one;
    const int64_t n_x = one.c * volume(one.in), n_y = one.o * volume(one.out);
    float *x = noise(5 * n_x, 1), *w = noise(one.o * one.c * 9, 2), *y1 = noise(n_y, 0), *y5 = noise(5 * n_y, 0);
    const qn_conv_kernel *k = qn_conv_pick(qn_cpu_detect(), &one);
    size_t bytes;
    void *scratch;

    (void)state;
    many.n = 5;
    assert_ptr_equal(qn_conv_pick(qn_cpu_detect(), &many), k);
    assert_true(k->scratch_bytes(&one, 1, &bytes));
    scratch = alloc(bytes);
    k->run(&(qn_conv_args){ .s = many, .x = x, .w = w, .y = y5, .scratch = scratch }, NULL);
    for (int i = 0; i < 5; i++) {
        k->run(&(qn_conv_args){ .s = one, .x = x + i * n_x, .w = w, .y = y1, .scratch = scratch }, NULL);
        assert_memory_equal(y1, y5 + i * n_y, (size_t)n_y * sizeof(float));
    }
    free(x);
    free(w);
    free(y1);
    free(y5);
    free(scratch);
}

static void the_special_kernels_are_picked_for_their_shapes(void **state)
{
    static const struct {
        int which;
        const char *scalar;
    } picks[] = { { 0, "f32_4x16__scalar" }, { 2, "f32_1x1_4x16__scalar" }, { 6, "f32_whole_4x16__scalar" }, { 5, "f32_4x16__scalar" } };

    (void)state;
    for (size_t i = 0; i < sizeof picks / sizeof picks[0]; i++) {
        const qn_conv_shape s = case_shape(picks[i].which);

        assert_string_equal(qn_conv_pick(0, &s)->name, picks[i].scalar);
    }
}

static void scratch_does_not_grow_with_the_image(void **state)
{
    const int64_t small[3][7] = { NONE, { 64, 3, 1, 1, 1, 1 }, { 64, 3, 1, 1, 1, 1 } };
    const int64_t large[3][7] = { NONE, { 4096, 3, 1, 1, 1, 1 }, { 4096, 3, 1, 1, 1, 1 } };
    const int64_t monstrous[3][7] = { NONE, { 1, 1, 1, 1, 0, 0 }, { 1 << 30, 1 << 29, 1, 1, 0, 0 } };
    const qn_conv_shape a = shape(1, 64, 64, 1, small), b = shape(64, 64, 64, 1, large), c = shape(1, 8, 8, 1, monstrous);
    size_t bytes_a, bytes_b;
    const qn_conv_kernel *k = qn_conv_pick(0, &a);

    (void)state;
    assert_true(k->scratch_bytes(&a, 1, &bytes_a));
    assert_true(k->scratch_bytes(&b, 1, &bytes_b));
    assert_true(bytes_a <= 512 * 1024 && bytes_b <= 512 * 1024);
    assert_null(qn_conv_pick(0, &c)); /* refused, not allocated */
    assert_null(qn_qconv_pick(0, &c));
}

/* -- 8 bits --------------------------------------------------------------------------------------------------------------- */

struct q_sum {
    const qn_qconv_args *a;
    const uint8_t *w;
    int32_t w_zero;
    int64_t sum;
};

static int32_t value(uint8_t byte, bool is_signed) { return is_signed ? (int8_t)byte : byte; }

static void q_tap(void *ctx, int64_t x, int64_t w)
{
    struct q_sum *q = ctx;

    if (x >= 0) q->sum += (int64_t)(value(q->a->x[x], q->a->x_signed) - q->a->x_zero) * (value(q->w[w], q->a->w_signed) - q->w_zero);
}

static void q_define(const qn_qconv_args *a, const uint8_t *w, uint8_t *y)
{
    const qn_conv_shape *s = &a->s;
    int64_t i = 0, at[3];

    for (int64_t no = 0; no < s->n * s->o; no++) {
        const int64_t o = no % s->o;

        for (at[0] = 0; at[0] < s->out[0]; at[0]++) {
            for (at[1] = 0; at[1] < s->out[1]; at[1]++) {
                for (at[2] = 0; at[2] < s->out[2]; at[2]++, i++) {
                    struct q_sum q = { a, w, a->w_zero ? a->w_zero[o] : 0, a->bias ? a->bias[o] : 0 };
                    int32_t v;

                    each_tap(s, no / s->o, o, at, q_tap, &q);
                    v = (int32_t)q.sum;
                    if (a->y_s32) {
                        memcpy(y + 4 * i, &v, 4);
                        continue;
                    }
                    v = (int32_t)lrintf((float)v * a->multiplier[o]) + a->y_zero;
                    y[i] = (uint8_t)(v < a->y_lo ? a->y_lo : v > a->y_hi ? a->y_hi : v);
                }
            }
        }
    }
}

static void q_check(const qn_qconv_kernel *k, qn_qconv_args a, const uint8_t *w, const uint8_t *want, int which)
{
    const size_t y_bytes = (size_t)(a.s.n * a.s.o * volume(a.s.out)) * (a.y_s32 ? 4 : 1);
    qn_team *team;
    size_t packed_bytes, scratch_bytes;
    void *packed;

    assert_true(k->packed_bytes(&a.s, &packed_bytes));
    packed = alloc(packed_bytes);
    k->pack(&a.s, packed, w, a.w_signed);
    assert_int_equal(qn_team_create(3, &team, NULL), QN_OK);
    for (int size = 1; size <= 3; size += 2) {
        uint8_t *scratch, *y = alloc(y_bytes + 64);

        assert_true(k->scratch_bytes(&a.s, size, &scratch_bytes));
        scratch = alloc(scratch_bytes + 64);
        memset(scratch, 0x3c, scratch_bytes + 64);
        memset(y, 0x3c, y_bytes + 64);
        a.w = packed;
        a.scratch = scratch;
        a.y = y;
        k->run(&a, size == 1 ? NULL : team);
        if (y_bytes && memcmp(y, want, y_bytes) != 0) fail_msg("%s differs in case %d, team %d", k->name, which, size);
        for (int i = 0; i < 64; i++) assert_true(scratch[scratch_bytes + (size_t)i] == 0x3c && y[y_bytes + (size_t)i] == 0x3c);
        free(scratch);
        free(y);
    }
    qn_team_destroy(team);
    free(packed);
}

static void every_8_bit_kernel_is_exact_for_every_sign_and_zero_point(void **state)
{
    int32_t n_kernels;
    const qn_qconv_kernel *kernels = qn_qconv_kernels(&n_kernels);

    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        const qn_conv_shape s = case_shape(i);
        const int64_t n_x = s.n * s.c * volume(s.in), n_w = s.o * (s.c / s.groups) * volume(s.kernel), n_y = s.n * s.o * volume(s.out);
        uint8_t *x = alloc((size_t)n_x + 1), *w = alloc((size_t)n_w), *want = alloc((size_t)n_y * 4 + 1);
        int32_t *w_zero = alloc((size_t)s.o * 4), *bias = alloc((size_t)s.o * 4);
        float *mult = alloc((size_t)s.o * 4);

        for (int64_t j = 0; j < n_x; j++) x[j] = (uint8_t)mix((uint64_t)j);
        for (int64_t j = 0; j < n_w; j++) w[j] = (uint8_t)mix((uint64_t)j + 77777);
        for (int how = 0; how < 5; how++) {
            qn_qconv_args a = {
                .s = s, .x = x, .x_signed = how & 1, .w_signed = how & 2, .y_s32 = how == 4, .y_signed = how == 3, .multiplier = mult
            };

            a.x_zero = how & 1 ? -7 : 130;
            a.y_zero = how == 3 ? 4 : 99;
            a.y_lo = how == 3 ? -128 : how == 2 ? 99 : 0;
            a.y_hi = how == 3 ? 127 : 255;
            if (how != 2) a.w_zero = w_zero;
            if (how != 1) a.bias = bias;
            for (int64_t o = 0; o < s.o; o++) {
                w_zero[o] = how & 2 ? (int32_t)(o % 5) - 2 : 126 + (int32_t)(o % 3);
                bias[o] = (int32_t)mix((uint64_t)o) >> 16;
                mult[o] = (float)(o + 3) * 0x1p-14f;
            }
            q_define(&a, w, want);
            for (int32_t r = 0; r < n_kernels; r++) {
                if (!(kernels[r].needs & ~qn_cpu_detect())) q_check(&kernels[r], a, w, want, i);
            }
        }
        free(x);
        free(w);
        free(want);
        free(w_zero);
        free(bias);
        free(mult);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_f32_kernel_gives_the_bits_of_the_definition),
        cmocka_unit_test(an_image_has_the_same_bits_alone_and_in_a_batch),
        cmocka_unit_test(the_special_kernels_are_picked_for_their_shapes),
        cmocka_unit_test(scratch_does_not_grow_with_the_image),
        cmocka_unit_test(every_8_bit_kernel_is_exact_for_every_sign_and_zero_point),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
