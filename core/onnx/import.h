/* core/onnx/import.h - the bytes of an ONNX model -> a graph at QN_STAGE_IMPORT, verbatim: every node, attribute and weight as written.
 *
 *   ModelProto -> opsets, metadata, the graph
 *   GraphProto -> values, weights, nodes; nested graphs wait in a list, so that depth in the file is never depth of the stack
 *   names      -> ids; a name that a nested graph does not make is captured from the graphs around it
 *
 * Small weights are copied, large ones stay in the source and are read when a plan wants them; all of them are read once here for their digest.
 * What a file may cost is bounded: weights by limits.weight_bytes, everything else by 256 MiB of structure and limits.n_nodes.
 * Source:  onnx.proto (IR version 3 to 13), docs/IR.md, docs/ExternalData.md of ONNX. Threads: one import, one thread. */
#ifndef QUERN_ONNX_IMPORT_H
#define QUERN_ONNX_IMPORT_H

#include "core/graph/graph.h"
#include "core/graph/weight.h"
#include "core/onnx/file.h"

typedef struct qn_onnx_info {
    int64_t ir_version, model_version;
    int64_t opset;         /* of ai.onnx; 0: none imported */
    const char *producer;  /* "pytorch 2.1", or ""; owned by the graph */
    int64_t n_nodes;       /* nested graphs included */
    int64_t n_weights;     /* initializers and tensors in attributes */
    int64_t n_params;      /* elements of initializers */
    uint64_t weight_bytes; /* of all of them, dense */
    qn_file_info file;     /* qn_onnx_load() only */
    qn_source *source;     /* qn_onnx_load() only: the open file, one reference that the caller gives back; else NULL */
} qn_onnx_info;

/** Read a model.
 *  src, size  the (decompressed) file; weights keep references of their own.
 *  ops        goes into the graph, borrowed; not looked at.
 *  limits     NULL or zero fields: the defaults of quern/model.h.
 *  dir_fd     folder beneath which external_data is looked for, borrowed; -1: none, then external_data fails with QN_ERR_UNSUPPORTED.
 *  out        QN_OK: a graph the caller owns (qn_graph_destroy), not sorted yet; otherwise NULL.
 *  info       NULL or filled in.
 *  Inputs of the outermost graph: a dimension the file leaves without a name gets a symbol of its own, "NAME[AXIS]".
 *  Fails with QN_ERR_FORMAT (bytes), QN_ERR_INVALID (graph: duplicate or missing names; a bad external location), QN_ERR_SHAPE and
 *  QN_ERR_DTYPE (an initializer that does not fit its input), QN_ERR_UNSUPPORTED (dtypes, functions, attribute types), QN_ERR_LIMIT,
 *  QN_ERR_NOT_FOUND and QN_ERR_IO (external data), QN_ERR_NOMEM. */
qn_status qn_onnx_import(qn_source *src, uint64_t size, const qn_op_table *ops, const qn_limits *limits, int dir_fd, qn_graph **out,
                         qn_onnx_info *info, qn_error *err);

/** Open `name` (see qn_file_open(): .zst too, digest filled in) and import it, with external_data beneath the folder that holds it. */
qn_status qn_onnx_load(int dir_fd, const char *name, const qn_op_table *ops, const qn_limits *limits, qn_graph **out, qn_onnx_info *info,
                       qn_error *err);

#endif
