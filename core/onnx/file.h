/* core/onnx/file.h - the one place that opens model files: beneath a folder, checked, read into private memory, never mapped
 * (whoever may truncate a mapped file can kill the process that maps it).
 * Source:  openat2(2), RFC 8878 (zstd frames).
 * Threads: any; a source may be read from several threads at once. ref/unref are atomic. */
#ifndef QUERN_ONNX_FILE_H
#define QUERN_ONNX_FILE_H

#include "core/base/digest.h"
#include "core/graph/weight.h"

#define QN_FILE_BENEATH 0x1u /* rules of a served folder even when dir_fd is AT_FDCWD; implied by any other dir_fd */
#define QN_FILE_ZSTD    0x2u /* a name that ends in .zst, or bytes that begin like zstd, are decompressed */
#define QN_FILE_DIGEST  0x4u /* read it once through and fill in info->digest */

typedef struct qn_file_info {
    uint64_t bytes;        /* what the source can give: after decompression */
    uint64_t stored_bytes; /* on disk */
    qn_digest digest;      /* sha256 of the stored bytes; zero unless asked for */
    bool compressed;
} qn_file_info;

/** Open `name` for reading: a regular file of at most max_bytes. *fd is the caller's.
 *  Beneath a folder (see QN_FILE_BENEATH) no component may be "..", absolute or a link of any kind, and the file may have one name only
 *  (a hard link could be a file of somebody else's). AT_FDCWD without QN_FILE_BENEATH takes any path, as a user types it.
 *  Fails with QN_ERR_NOT_FOUND, QN_ERR_INVALID (name, link, not a regular file), QN_ERR_LIMIT, QN_ERR_IO, QN_ERR_NOMEM, QN_ERR_UNSUPPORTED
 *  (kernel before 5.6). */
qn_status qn_file_open_fd(int dir_fd, const char *name, unsigned flags, uint64_t max_bytes, int *fd, uint64_t *bytes, qn_error *err);

/** Open the folder that holds `name`, by the same rules; *fd is the caller's. */
qn_status qn_file_open_folder(int dir_fd, const char *name, unsigned flags, int *fd, qn_error *err);

/** Open `name` as a source with one reference for the caller. max_bytes bounds the stored file and what it decompresses to; a .zst is
 *  decompressed here, into private memory. A plain file stays open, and every read fails with QN_ERR_FORMAT once its size or time of change is
 *  not what it was.
 *  Fails like qn_file_open_fd(), or with QN_ERR_FORMAT (not zstd, cut short). */
qn_status qn_file_open(int dir_fd, const char *name, unsigned flags, uint64_t max_bytes, qn_source **out, qn_file_info *info,
                       qn_error *err);

/** A source over a copy of bytes at hand. Fails with QN_ERR_NOMEM. */
qn_status qn_file_from_memory(const void *data, size_t n, qn_source **out, qn_error *err);

#endif
