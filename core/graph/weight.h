/* core/graph/weight.h - constants of a model, and the store that shares their bytes.
 *
 * A qn_weight is what the file says (dtype, dims, digest of the dense bytes) plus where the bytes are: small ones inline,
 * large ones in the file until a plan asks for them. A plan asks for a form: dense, or packed for a kernel; the store makes
 * each (digest, form) once and shares it between plans and versions. Bytes go from the file through a bounce buffer into
 * that form: the whole file is never held twice.
 *
 * Threads: weights and stores are internally locked; reference counts are atomic. */
#ifndef QUERN_GRAPH_WEIGHT_H
#define QUERN_GRAPH_WEIGHT_H

#include "core/base/digest.h"
#include "quern/model.h"

typedef struct qn_weight qn_weight;

/* Bytes in one form, immutable once made. */
typedef struct qn_blob {
    void *data; /* 64-byte aligned; >= 1 MiB comes from mmap with transparent huge pages advised */
    size_t bytes;
} qn_blob;

/* Where large bytes still are: a file being loaded. One per model; refcounted by its weights.
 * read() copies [offset, offset + n) of the (decompressed) file; fails with QN_ERR_IO or QN_ERR_FORMAT (short file). */
typedef struct qn_source {
    qn_status (*read)(struct qn_source *s, uint64_t offset, void *dst, size_t n, qn_error *err);
    void (*unref)(struct qn_source *s);
    void (*ref)(struct qn_source *s);
    /* Give back memory that a later read can have again (a decompressed file); NULL: there is none. Any thread. */
    void (*trim)(struct qn_source *s);
} qn_source;

/* A weight from bytes at hand (copied). dims checked. QN_STRING: bytes in the tensor form.
 * Fails with QN_ERR_SHAPE, QN_ERR_DTYPE, QN_ERR_LIMIT, QN_ERR_INVALID (bytes do not fit the shape), QN_ERR_FORMAT (a bool that is
 * neither 0 nor 1, string offsets), QN_ERR_NOMEM. */
qn_status qn_weight_from_tensor(const qn_tensor *t, qn_weight **out, qn_error *err);
/* A weight whose dense little-endian bytes lie at [offset, offset + bytes) of src (one reference is taken). Up to
 * QN_WEIGHT_INLINE bytes are read at once and kept. digest NULL: computed here, which reads the bytes once; otherwise it is what
 * qn_weight_digest_begin() and the dense bytes give. Fails like the above (QN_STRING: QN_ERR_DTYPE) and like src->read. */
#define QN_WEIGHT_INLINE 65536
qn_status qn_weight_from_source(qn_source *src, uint64_t offset, qn_dtype dtype, int32_t rank, const int64_t *dims, const qn_digest *digest,
                                qn_weight **out, qn_error *err);
qn_weight *qn_weight_ref(qn_weight *w);
void qn_weight_unref(qn_weight *w);

/* dtype, rank, dims and bytes; data is NULL unless the bytes are in memory (inline, or qn_weight_dense() was called). */
void qn_weight_shape(const qn_weight *w, qn_tensor *out);
const qn_digest *qn_weight_digest(const qn_weight *w); /* over dtype, rank, dims and dense bytes */
/* Start the digest of a weight; the caller adds the dense bytes and finishes it. */
void qn_weight_digest_begin(qn_hasher *h, qn_dtype dtype, int32_t rank, const int64_t *dims);

/* The dense tensor, loaded on first use and kept by the weight through `store`. Borrowed; lives as long as w.
 * Fails with QN_ERR_IO, QN_ERR_FORMAT, QN_ERR_NOMEM. */
qn_status qn_weight_dense(qn_weight *w, qn_store *store, qn_tensor *out, qn_error *err);
/* Read [first, first + n) elements into dst (dense little-endian), from wherever they are. For packers.
 * Fails with QN_ERR_RANGE, QN_ERR_DTYPE (QN_STRING has no fixed elements), QN_ERR_IO, QN_ERR_FORMAT. */
qn_status qn_weight_read(qn_weight *w, int64_t first, int64_t n, void *dst, qn_error *err);

/* Small constants that ops ask for while lowering. True if w (NULL allowed) has exactly one element of a number dtype or bool; then
 * *out is its value, rounded to float. */
bool qn_weight_scalar_f32(qn_weight *w, float *out);
/* True if w (NULL allowed) is integer or bool, of rank 0 or 1, with at most cap elements, each in int64; then vals[0..*n) are they. */
bool qn_weight_ints(qn_weight *w, int64_t *vals, int32_t cap, int32_t *n);

/* Fill `blob->data` (bytes long, zeroed) with w in the asked form. */
typedef qn_status qn_pack_fn(qn_weight *w, void *ctx, qn_blob *blob, qn_error *err);
/* The blob for (digest of w, form), made by `pack` if the store has none; a second caller waits for the first. `pack` runs without
 * a lock and may use w and other forms, but not ask for the form it is making. `form` names layout and parameters in full,
 * e.g. "gemm_f32_p16_k512_n10_t". One reference is taken; give it back with qn_store_drop().
 * Fails with QN_ERR_NOMEM, QN_ERR_INTERNAL (the form exists with another size), or with what pack fails with; then the next caller
 * tries again. */
qn_status qn_store_get(qn_store *store, qn_weight *w, const char *form, size_t bytes, qn_pack_fn *pack, void *ctx, const qn_blob **out,
                       qn_error *err);
/* NULL is allowed. The last reference frees the bytes. A blob keeps its store alive. */
void qn_store_drop(qn_store *store, const qn_blob *blob);

#endif
