/* core/onnx/testdata.h - tensors in files of their own: the .pb files beside the models of ONNX's backend tests. */
#ifndef QUERN_ONNX_TESTDATA_H
#define QUERN_ONNX_TESTDATA_H

#include "core/graph/graph.h"
#include "core/tensor/items.h"

/** Read one serialized TensorProto.
 *  dir_fd, name  opened like a model, see qn_file_open(); .zst too
 *  out           QN_OK: the caller frees it with qn_tensor_free()
 *  tensor_name   NULL, or where to put the name inside the file, which the caller frees with free()
 *  Fails with QN_ERR_UNSUPPORTED (dtype), QN_ERR_FORMAT, QN_ERR_LIMIT (1 GiB), and as qn_file_open() does. */
qn_status qn_onnx_read_tensor(int dir_fd, const char *name, qn_tensor *out, char **tensor_name, qn_error *err);

/** Read one serialized SequenceProto or OptionalProto: the model must say which, since their bytes cannot be told from a TensorProto's.
 *  kind        QN_KIND_SEQUENCE or QN_KIND_OPTIONAL (of a tensor or a sequence of tensors)
 *  out         cleared, then filled; boxes are made with m
 *  value_name  as tensor_name above
 *  Fails as qn_onnx_read_tensor() does. */
qn_status qn_onnx_read_items(int dir_fd, const char *name, qn_kind kind, qn_meter *m, qn_items *out, char **value_name, qn_error *err);

#endif
