/* quern/tensor.h - dtype + shape + bytes, row-major, outermost dimension first.
 * A qn_tensor is a view: it never owns. Who owns `data` is said by the function that hands it over.
 * Source:  element types of ONNX TensorProto.DataType (onnx.proto3); names on the wire are those of the
 *          Open Inference Protocol v2.
 * Threads: plain data. */
#ifndef QUERN_TENSOR_H
#define QUERN_TENSOR_H

#include "quern/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QN_MAX_RANK 8

typedef enum qn_dtype {
    QN_DTYPE_NONE = 0,
    QN_F32,
    QN_F64,
    QN_F16,  /* IEEE binary16, as uint16_t bits */
    QN_BF16, /* upper half of an F32, as uint16_t bits */
    QN_I8,
    QN_I16,
    QN_I32,
    QN_I64,
    QN_U8,
    QN_U16,
    QN_U32,
    QN_U64,
    QN_BOOL,   /* one byte, 0 or 1 */
    QN_I4,     /* -8..7, one to a byte, as an int8_t; two share a byte only in ONNX files */
    QN_U4,     /* 0..15, one to a byte, as a uint8_t */
    QN_STRING, /* n + 1 uint64_t offsets, then the bytes: element i is blob[off[i] .. off[i+1]), blob = data + 8 * (n + 1) */
    QN_DTYPE_COUNT
} qn_dtype;

typedef struct qn_tensor {
    qn_dtype dtype;
    int32_t rank;              /* 0..QN_MAX_RANK; 0 is a scalar with one element */
    int64_t dims[QN_MAX_RANK]; /* each >= 0 */
    void *data;                /* NULL allowed when it has no elements */
    size_t bytes;              /* exactly count * size, or for QN_STRING the whole offsets + blob */
} qn_tensor;

/** Bytes of one element; 0 for QN_STRING and QN_DTYPE_NONE. */
size_t qn_dtype_size(qn_dtype dtype);

/** "f32", "i64", "bool", "string": for people, errors and JSON reports. Never NULL. */
const char *qn_dtype_name(qn_dtype dtype);

/** "FP32", "INT64", "BOOL", "BYTES": the Open Inference Protocol's name. Never NULL; "" for QN_DTYPE_NONE, and for QN_I4 and QN_U4,
 *  which the protocol does not know. */
const char *qn_dtype_oip_name(qn_dtype dtype);

/** The dtype the protocol calls `name` (exact case); QN_DTYPE_NONE if there is none. */
qn_dtype qn_dtype_from_oip_name(const char *name);

/** Number of elements: the product of dims. The dims must have passed qn_shape_count() before. */
int64_t qn_tensor_count(const qn_tensor *t);

/** Checked product of dims.
 *  Fails with QN_ERR_SHAPE (rank outside 0..QN_MAX_RANK or a dimension below 0), QN_ERR_LIMIT (product beyond 2^62; dimensions of 0 are
 *  left out of that product, so that strides fit as well). */
qn_status qn_shape_count(int32_t rank, const int64_t *dims, int64_t *count, qn_error *err);

/** Checked bytes of a dense tensor of a fixed-size dtype. Fails like qn_shape_count(), or QN_ERR_DTYPE for QN_STRING/NONE. */
qn_status qn_shape_bytes(qn_dtype dtype, int32_t rank, const int64_t *dims, size_t *bytes, qn_error *err);

/** "[1,3,224,224]" into buf (always terminated, cut to fit); returns buf. A dimension of -1 prints as "?". */
const char *qn_shape_print(int32_t rank, const int64_t *dims, char *buf, size_t cap);

/** Allocate 64-byte aligned zeroed storage for a dense tensor and fill *out. The caller frees with qn_tensor_free(). */
qn_status qn_tensor_alloc(qn_dtype dtype, int32_t rank, const int64_t *dims, qn_tensor *out, qn_error *err);

/** A deep copy the caller frees with qn_tensor_free(); works for QN_STRING too. */
qn_status qn_tensor_copy(const qn_tensor *src, qn_tensor *out, qn_error *err);

/** Free what qn_tensor_alloc(), qn_tensor_copy() or qn_npy_read() allocated and zero *t. NULL and an empty tensor are allowed. */
void qn_tensor_free(qn_tensor *t);

/** Read a NumPy .npy file (format 1.0-3.0, C or Fortran order, little-endian; |S and <U give QN_STRING).
 *  path       a regular file; it must end where its data ends.
 *  max_bytes  refuse more data than this before allocating (for text: its bytes in the file and 8 for each offset).
 *  Fails with QN_ERR_NOT_FOUND, QN_ERR_IO, QN_ERR_FORMAT, QN_ERR_UNSUPPORTED (a dtype or version Quern has not), QN_ERR_LIMIT,
 *  QN_ERR_NOMEM. The caller frees *out. */
qn_status qn_npy_read(const char *path, size_t max_bytes, qn_tensor *out, qn_error *err);

/** Write t as .npy 1.0 (QN_BF16 as <u2, QN_I4 as |i1 and QN_U4 as |u1 since NumPy has none of them; QN_STRING as |S of the longest
 *  element, which drops NULs at the end of an element). An existing file is replaced; after a failure there is none.
 *  Fails with QN_ERR_NOT_FOUND (no such folder), QN_ERR_IO, or if t is not consistent. */
qn_status qn_npy_write(const char *path, const qn_tensor *t, qn_error *err);

#endif
