/* core/onnx/nibble.c - a source of 4-bit integers, one to a byte, over a source that holds two to a byte.
 * The dense bytes of a large weight are made as they are asked for, so that it costs in the file and in memory what it says there until a
 * plan packs it.
 * Source:  onnx.proto, TensorProto.raw_data: the first element in the low half of the byte. */
#include "core/onnx/read.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { CHUNK = 4096 }; /* pairs read at a time */

typedef struct nibble_source {
    qn_source base; /* first: a qn_source * is a nibble_source * */
    atomic_int refs;
    qn_source *pairs; /* one reference */
    uint64_t offset, count;
    bool is_signed;
} nibble_source;

static qn_status nibble_read(qn_source *src, uint64_t offset, void *dst, size_t n, qn_error *err)
{
    const nibble_source *s = (const nibble_source *)src;
    const uint8_t flip = s->is_signed ? 8 : 0; /* (v ^ 8) - 8 copies the sign bit upwards */
    uint8_t *out = dst, bounce[CHUNK];

    if (offset > s->count || n > s->count - offset)
        return qn_error_set(err, QN_ERR_FORMAT, "%" PRIu64 " 4-bit integers end before %" PRIu64 " + %zu", s->count, offset, n);
    while (n > 0) {
        const size_t odd = offset & 1, most = 2 * CHUNK - odd, k = n < most ? n : most;
        const qn_status st = s->pairs->read(s->pairs, s->offset + offset / 2, bounce, (odd + k + 1) / 2, err);

        if (st) return st;
        for (size_t i = 0; i < k; i++) {
            const uint8_t v = (uint8_t)(bounce[(odd + i) / 2] >> ((odd + i) % 2 * 4) & 15);

            out[i] = (uint8_t)((v ^ flip) - flip);
        }
        out += k;
        offset += k;
        n -= k;
    }
    return QN_OK;
}

static void nibble_ref(qn_source *src) { atomic_fetch_add_explicit(&((nibble_source *)src)->refs, 1, memory_order_relaxed); }

static void nibble_unref(qn_source *src)
{
    nibble_source *s = (nibble_source *)src;

    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
    s->pairs->unref(s->pairs);
    free(s);
}

static void nibble_trim(qn_source *src)
{
    qn_source *pairs = ((nibble_source *)src)->pairs;

    if (pairs->trim) pairs->trim(pairs);
}

qn_status qn_onnx_nibble_weight(qn_onnx_reader *r, const qn_onnx_tensor *t, qn_weight **out)
{
    nibble_source *s = calloc(1, sizeof *s);
    qn_status st;

    *out = NULL;
    if (!s) return qn_error_set(r->err, QN_ERR_NOMEM, "tensor of 4-bit integers");
    s->base = (qn_source){ .read = nibble_read, .ref = nibble_ref, .unref = nibble_unref, .trim = nibble_trim };
    atomic_init(&s->refs, 1);
    s->pairs = t->from;
    s->pairs->ref(s->pairs);
    s->offset = t->offset;
    s->count = t->count;
    s->is_signed = t->dtype == QN_I4;
    st = qn_onnx_weight_at(r, &s->base, 0, t, out);
    nibble_unref(&s->base);
    return st;
}
