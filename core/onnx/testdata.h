/* core/onnx/testdata.h - tensors in files of their own: the .pb files beside the models of ONNX's backend tests. */
#ifndef QUERN_ONNX_TESTDATA_H
#define QUERN_ONNX_TESTDATA_H

#include "core/graph/graph.h"

/** Read one serialized TensorProto.
 *  dir_fd, name  opened like a model, see qn_file_open(); .zst too
 *  kind          what the model says the value is: only QN_KIND_TENSOR can be read, since the bytes of a SequenceProto cannot be told from those
 *                of a TensorProto
 *  out           QN_OK: the caller frees it with qn_tensor_free()
 *  tensor_name   NULL, or where to put the name inside the file, which the caller frees with free()
 *  Fails with QN_ERR_UNSUPPORTED (kind, dtype), QN_ERR_FORMAT, QN_ERR_LIMIT (1 GiB), and as qn_file_open() does. */
qn_status qn_onnx_read_tensor(int dir_fd, const char *name, qn_kind kind, qn_tensor *out, char **tensor_name, qn_error *err);

#endif
