/* core/kernels/conv/plane.h - the part of the input that one tile of output pixels needs, laid out so that convolution becomes a
 * matrix product without a copy per tap.
 *
 * A tile is tile_h x tile_w output pixels. Its input, padding included, is copied once into planes: one plane per channel (or quad of
 * four channels), per depth tap and per phase of the stride. In a plane, output pixel (r, q) finds its input for tap (kh, kw) at
 *     r * pitch + q  +  a constant of the tap,
 * so with pixels numbered r * pitch + q ("flat"), a tap is one contiguous load at an offset. Numbers between the end of one row and
 * the start of the next are computed and thrown away: halo_w of every pitch.
 *
 *   phase of tap kh    (kh * dilation) % stride          row inside the phase    (kh * dilation) / stride
 *   plane [c][kd][phase_h][phase_w][rows][pitch]         one element: an f32, or a quad of bytes
 *
 * Where taps lie so far apart that most of a pitch would be halo (dilation 36 in an image of 20), each tap is a phase of its own: a
 * copy per tap, but nothing computed to be thrown away. The order of the sum is the same. */
#ifndef QUERN_KERNELS_PLANE_H
#define QUERN_KERNELS_PLANE_H

#include "core/kernels/conv/conv.h"

typedef struct qn_plane {
    int64_t tile_h, tile_w;   /* output pixels of a tile; the last ones may be smaller */
    int64_t n_h, n_w;         /* tiles along height and width; depth is cut into single slices */
    int64_t halo_h, halo_w;   /* rows and columns that taps reach beyond the tile, in a phase */
    int64_t phase_h, phase_w; /* phases kept: only those some tap reads */
    int64_t next_h, next_w;   /* input rows and columns from one phase to the next */
    bool per_tap;             /* the phases are the taps */
    int64_t rows, pitch;      /* of one phase: tile_h + halo_h, tile_w + halo_w */
    int64_t steps;            /* channels or quads of one group */
    int64_t taps;             /* kernel[0] * kernel[1] * kernel[2] */
    int64_t elems;            /* of the whole plane, with 16 to spare: a panel may be read whole at the very end */
} qn_plane;

/* Cut by shape alone. Fails (false) if a plane would pass 2^30 elements or sizes overflow. */
bool qn_plane_init(const qn_conv_shape *s, int64_t steps, qn_plane *p);

/* [steps * taps] offsets in elements, in the order (step, kd, kh, kw). */
void qn_plane_offsets(const qn_conv_shape *s, const qn_plane *p, int32_t *off);

/* A tile: its place in the output. */
typedef struct qn_plane_tile {
    int64_t d, h0, w0; /* first output pixel */
    int64_t h, w;      /* its size */
    int64_t flat;      /* flat pixels: (h - 1) * pitch + w */
} qn_plane_tile;

void qn_plane_tile_at(const qn_conv_shape *s, const qn_plane *p, int64_t index, qn_plane_tile *t);

/* Fill from x [steps, in...] (one image, one group); padding is +0. */
void qn_plane_fill_f32(const qn_conv_shape *s, const qn_plane *p, const qn_plane_tile *t, const float *x, float *plane);
/* Fill with quads from x [channels, in...]; every byte is xor flip, padding is pad (already flipped). What stands in for channels past
 * the last is unspecified: their weights are 0. */
void qn_plane_fill_u8(const qn_conv_shape *s, const qn_plane *p, const qn_plane_tile *t, const uint8_t *x, int64_t channels, uint8_t flip,
                      uint8_t pad, uint32_t *plane);

/* Copy flat pixels [first, first + n) of `rows` output channels from tmp (row stride ld) to their places in y, the plane of the first
 * channel of this tile's image; channels are y_stride elements apart; elements have `size` bytes. */
void qn_plane_scatter(const qn_conv_shape *s, const qn_plane *p, const qn_plane_tile *t, int64_t first, int64_t n, int32_t rows,
                      const void *tmp, int64_t ld, void *y, int64_t y_stride, size_t size);

/* How many parts to cut the output channels of a group into, so that a team has work on small images; by shape alone. */
int64_t qn_conv_channel_parts(const qn_conv_shape *s, int64_t n_tiles);

/* Multiply-adds of the whole batch, or INT64_MAX when that overflows. */
int64_t qn_conv_work(const qn_conv_shape *s);

#endif
