/* core/kernels/move/key.c - see key.h. */
#include "core/kernels/move/key.h"

#include <string.h>

/* Sign and magnitude -> order: positive numbers above, negative ones upside down below. */
static uint64_t float_key(uint64_t bits, int width, uint64_t infinity)
{
    const uint64_t sign = (uint64_t)1 << (width - 1), magnitude = bits & (sign - 1);

    if (magnitude > infinity) return UINT64_MAX;
    return bits & sign ? sign - magnitude : sign + magnitude;
}

uint64_t qn_move_key(qn_dtype dtype, const void *data, int64_t i)
{
    const uint64_t flip = (uint64_t)1 << 63; /* the smallest signed number becomes 0 */
    uint64_t d;
    uint32_t f;

    switch (dtype) {
    case QN_F32: memcpy(&f, (const float *)data + i, sizeof f); return float_key(f, 32, 0x7f800000);
    case QN_F64: memcpy(&d, (const double *)data + i, sizeof d); return float_key(d, 64, 0x7ff0000000000000);
    case QN_F16: return float_key(((const uint16_t *)data)[i], 16, 0x7c00);
    case QN_BF16: return float_key(((const uint16_t *)data)[i], 16, 0x7f80);
    case QN_I4:
    case QN_I8: return (uint64_t)((const int8_t *)data)[i] ^ flip;
    case QN_I16: return (uint64_t)((const int16_t *)data)[i] ^ flip;
    case QN_I32: return (uint64_t)((const int32_t *)data)[i] ^ flip;
    case QN_I64: return (uint64_t)((const int64_t *)data)[i] ^ flip;
    case QN_U4:
    case QN_U8:
    case QN_BOOL: return ((const uint8_t *)data)[i];
    case QN_U16: return ((const uint16_t *)data)[i];
    case QN_U32: return ((const uint32_t *)data)[i];
    case QN_U64: return ((const uint64_t *)data)[i];
    default: return 0;
    }
}

/* True if a comes after b: it has the smaller key, or the same and the higher place. */
static bool worse(qn_move_entry a, qn_move_entry b) { return a.key < b.key || (a.key == b.key && a.place > b.place); }

/* The worst of the heap is its root; move the entry at i down until that holds again. */
static void sift(qn_move_entry *h, int64_t n, int64_t i)
{
    qn_move_entry e = h[i];

    for (int64_t c = 2 * i + 1; c < n; c = 2 * i + 1) {
        if (c + 1 < n && worse(h[c + 1], h[c])) c++;
        if (!worse(h[c], e)) break;
        h[i] = h[c];
        i = c;
    }
    h[i] = e;
}

void qn_move_top(qn_dtype dtype, const void *data, int64_t n, int64_t step, bool largest, int64_t k, qn_move_entry *heap)
{
    if (k == 0) return;
    for (int64_t i = 0; i < n; i++) {
        uint64_t key = qn_move_key(dtype, data, i * step);
        qn_move_entry e = { largest ? key : ~key, i };

        if (i < k) {
            heap[i] = e;
            if (i == k - 1)
                for (int64_t j = k / 2 - 1; j >= 0; j--) sift(heap, k, j);
        } else if (worse(heap[0], e)) {
            heap[0] = e;
            sift(heap, k, 0);
        }
    }
    for (int64_t left = k - 1; left > 0; left--) { /* the worst goes to the end, again and again */
        qn_move_entry e = heap[0];

        heap[0] = heap[left];
        heap[left] = e;
        sift(heap, left, 0);
    }
}
