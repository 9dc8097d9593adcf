/* core/onnx/spool.h - bytes that come in order and are read in any: a decompressed model.
 * Kept in chunks of anonymous memory, so that growing never copies and releasing gives the memory back to the system.
 * Threads: one while it grows; any number of readers afterwards. */
#ifndef QUERN_ONNX_SPOOL_H
#define QUERN_ONNX_SPOOL_H

#include "quern/error.h"

#include <stddef.h>
#include <stdint.h>

#define QN_SPOOL_CHUNK ((size_t)1 << 20)

typedef struct qn_spool {
    char **chunks; /* [n_chunks] of QN_SPOOL_CHUNK bytes each */
    size_t n_chunks, cap_chunks;
    uint64_t bytes, limit_bytes;
} qn_spool;

void qn_spool_init(qn_spool *s, uint64_t limit_bytes);
/* The room left in the last chunk, *n >= 1 bytes of it; a full one gets a successor. NULL when memory is out. Beyond limit_bytes *n is cut to
 * what is left, plus one, so that the byte too many is seen. */
char *qn_spool_room(qn_spool *s, size_t *n);
/* n bytes of that room are filled. Fails with QN_ERR_LIMIT beyond limit_bytes. */
qn_status qn_spool_fill(qn_spool *s, size_t n, qn_error *err);
/* [offset, offset + n) must lie inside. */
void qn_spool_read(const qn_spool *s, uint64_t offset, void *dst, size_t n);
void qn_spool_release(qn_spool *s);

/* Decompress the zstd frames in fd (size stored bytes) into s. update, if not NULL, sees the stored bytes in order.
 * Fails with QN_ERR_FORMAT, QN_ERR_LIMIT, QN_ERR_NOMEM, QN_ERR_IO. */
qn_status qn_spool_unzstd(qn_spool *s, int fd, uint64_t size, void (*update)(void *ctx, const void *data, size_t n), void *ctx,
                          qn_error *err);

#endif
