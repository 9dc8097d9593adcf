/* core/onnx/spool.c - see spool.h */
#include "core/onnx/spool.h"

#include "core/base/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#define READ_BYTES ((size_t)128 << 10)

void qn_spool_init(qn_spool *s, uint64_t limit_bytes) { *s = (qn_spool){ .limit_bytes = limit_bytes }; }

static char *add_chunk(qn_spool *s)
{
    void *chunk;

    if (s->n_chunks == s->cap_chunks) {
        size_t cap = s->cap_chunks ? s->cap_chunks : 8, bytes;
        char **grown;

        if (!qn_size_mul(cap, 2, &cap) || !qn_size_mul(cap, sizeof *grown, &bytes)) return NULL;
        grown = realloc(s->chunks, bytes);
        if (!grown) return NULL;
        s->chunks = grown;
        s->cap_chunks = cap;
    }
    chunk = mmap(NULL, QN_SPOOL_CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (chunk == MAP_FAILED) return NULL;
    s->chunks[s->n_chunks++] = chunk;
    return chunk;
}

char *qn_spool_room(qn_spool *s, size_t *n)
{
    size_t used = (size_t)(s->bytes % QN_SPOOL_CHUNK), left = QN_SPOOL_CHUNK - used;
    uint64_t allowed = s->limit_bytes - s->bytes;
    char *chunk;

    if (s->bytes / QN_SPOOL_CHUNK == s->n_chunks) {
        chunk = add_chunk(s);
        if (!chunk) return NULL;
    } else {
        chunk = s->chunks[s->n_chunks - 1];
    }
    *n = allowed < left ? (size_t)allowed + 1 : left;
    return chunk + used;
}

qn_status qn_spool_fill(qn_spool *s, size_t n, qn_error *err)
{
    if (n > s->limit_bytes - s->bytes)
        return qn_error_set(err, QN_ERR_LIMIT, "the file decompresses to more than %" PRIu64 " bytes (limit file_bytes)", s->limit_bytes);
    s->bytes += n;
    return QN_OK;
}

void qn_spool_read(const qn_spool *s, uint64_t offset, void *dst, size_t n)
{
    char *to = dst;

    while (n > 0) {
        size_t at = (size_t)(offset % QN_SPOOL_CHUNK), part = QN_SPOOL_CHUNK - at;

        if (part > n) part = n;
        memcpy(to, s->chunks[offset / QN_SPOOL_CHUNK] + at, part);
        to += part;
        offset += part;
        n -= part;
    }
}

void qn_spool_release(qn_spool *s)
{
    for (size_t i = 0; i < s->n_chunks; i++) munmap(s->chunks[i], QN_SPOOL_CHUNK);
    free(s->chunks);
    *s = (qn_spool){ 0 };
}

/* The window a frame asks for is allocated before any data is seen: no frame may ask for more than the limit lets through, nor for
 * more than 128 MiB, which is what `zstd -d` grants too. */
static int window_log(uint64_t limit_bytes)
{
    int log = 10;

    while (log < 27 && ((uint64_t)1 << log) < limit_bytes) log++;
    return log;
}

/* One input buffer through the decoder. *open says whether a frame is unfinished. */
static qn_status feed(qn_spool *s, ZSTD_DCtx *d, ZSTD_inBuffer *in, bool *open, qn_error *err)
{
    qn_status st = QN_OK;

    for (;;) {
        size_t room, before, ret;
        ZSTD_outBuffer out;

        out.dst = qn_spool_room(s, &room);
        if (!out.dst) return qn_error_set(err, QN_ERR_NOMEM, "decompressing after %" PRIu64 " bytes", s->bytes);
        out.size = room;
        out.pos = 0;
        before = in->pos;
        ret = ZSTD_decompressStream(d, &out, in);
        if (ZSTD_isError(ret))
            return qn_error_set(err, QN_ERR_FORMAT, "not a zstd stream after %" PRIu64 " bytes: %s", s->bytes, ZSTD_getErrorName(ret));
        st = qn_spool_fill(s, out.pos, err);
        if (st) return st;
        *open = ret != 0;
        /* a full output may hide more output; otherwise an input that is used up says there is none */
        if (out.pos < out.size && in->pos == in->size) return QN_OK;
        if (in->pos == in->size && ret == 0) return QN_OK;
        if (in->pos == before && out.pos == 0) return qn_error_set(err, QN_ERR_FORMAT, "zstd stream makes no progress");
    }
}

qn_status qn_spool_unzstd(qn_spool *s, int fd, uint64_t size, void (*update)(void *ctx, const void *data, size_t n), void *ctx,
                          qn_error *err)
{
    qn_status st = QN_OK;
    ZSTD_DCtx *d = ZSTD_createDCtx();
    char *buf = malloc(READ_BYTES);
    uint64_t at = 0;
    bool open = true; /* an empty file is not a frame */

    if (!d || !buf) {
        st = qn_error_set(err, QN_ERR_NOMEM, "zstd decoder");
        goto done;
    }
    if (ZSTD_isError(ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, window_log(s->limit_bytes)))) {
        st = qn_error_set(err, QN_ERR_INTERNAL, "zstd refuses its window limit");
        goto done;
    }
    while (at < size) {
        size_t want = size - at < READ_BYTES ? (size_t)(size - at) : READ_BYTES;
        ssize_t got = pread(fd, buf, want, (off_t)at);
        ZSTD_inBuffer in;

        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            st = qn_error_set(err, QN_ERR_IO, "read failed: %s", strerrordesc_np(errno));
            goto done;
        }
        if (got == 0) {
            st = qn_error_set(err, QN_ERR_FORMAT, "the file changed while it was read");
            goto done;
        }
        if (update) update(ctx, buf, (size_t)got);
        in = (ZSTD_inBuffer){ .src = buf, .size = (size_t)got };
        st = feed(s, d, &in, &open, err);
        if (st) goto done;
        at += (uint64_t)got;
    }
    if (open) st = qn_error_set(err, QN_ERR_FORMAT, "zstd stream ends in the middle of a frame");
done:
    free(buf);
    ZSTD_freeDCtx(d);
    return st;
}
