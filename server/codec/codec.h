/* server/codec/codec.h - bodies of predictions <-> tensors, as a stream.
 *
 * The decoder is fed a body in whatever pieces the socket gives and writes numbers straight into tensors it owns: there is no tree, and
 * memory is bounded by the tensors' own bytes plus limits.text_bytes. It knows the model: names, dtypes and shapes are checked here, so
 * what leaves it can run. Numbers are exact: correctly rounded floats, 64-bit integers digit by digit.
 * Source:  Open Inference Protocol v2 (inference_rest.md), Triton's binary tensor data extension, TensorFlow Serving REST predict.
 * Threads: one decoder, one thread at a time.
 * Errors:  QN_ERR_INVALID, QN_ERR_SHAPE, QN_ERR_DTYPE, QN_ERR_RANGE, QN_ERR_FORMAT (not JSON; says the byte offset) -> 400;
 *          QN_ERR_LIMIT -> 413; QN_ERR_NOMEM, QN_ERR_UNAVAILABLE -> 503. */
#ifndef QUERN_SERVER_CODEC_H
#define QUERN_SERVER_CODEC_H

#include "quern/buf.h"
#include "quern/model.h"

typedef enum qn_body_kind {
    QN_BODY_V2_JSON,      /* v2 infer, JSON, or JSON + binary tensors when header_bytes >= 0 */
    QN_BODY_TFS_JSON,     /* TensorFlow Serving predict: {"instances": ..} rows or {"inputs": ..} columns; NaN and Infinity accepted */
    QN_BODY_TFS_CLASSIFY, /* TensorFlow Serving classify: {"context": {feature: value}, "examples": [{feature: value}, ..]} */
    QN_BODY_TFS_REGRESS,  /* the same, another reply */
} qn_body_kind;

typedef struct qn_codec_limits {
    uint64_t body_bytes;   /* whole body */
    uint64_t tensor_bytes; /* all inputs of one request after decoding */
    uint64_t text_bytes;   /* any one string; and raw text kept when data comes before its datatype */
    int32_t depth;         /* nesting of arrays and objects; 64 */
} qn_codec_limits;

typedef struct qn_decoder qn_decoder;

/* header_bytes: Inference-Header-Content-Length, or -1 when the request has none. model is borrowed for the decoder's life. */
qn_status qn_decoder_create(qn_body_kind kind, const qn_model *model, int64_t header_bytes, const qn_codec_limits *limits, qn_decoder **out,
                            qn_error *err);
void qn_decoder_destroy(qn_decoder *d);

/* The next n bytes of the body. After an error the decoder only accepts destroy. */
qn_status qn_decoder_feed(qn_decoder *d, const void *data, size_t n, qn_error *err);

typedef struct qn_wanted_output {
    int32_t index;   /* of the model's outputs */
    bool binary;     /* v2: as raw bytes after the JSON */
    int64_t classes; /* v2: the best so many classes instead of the scores; 0: the scores */
} qn_wanted_output;

/* A decoded body; everything in it is owned by the decoder. */
typedef struct qn_decoded {
    const qn_tensor *inputs;        /* [n_inputs of the model]; dtype NONE where an optional one is left out */
    int64_t rows;                   /* common dimension 0, or 1 */
    const qn_wanted_output *wanted; /* [n_wanted] in the order asked for; all outputs when the request names none */
    int32_t n_wanted;
    const char *id;      /* v2 "id", or NULL */
    uint64_t timeout_us; /* v2 parameter "timeout"; 0: none */
    int priority;        /* v2 parameter "priority": 1 the highest .. 3; 0: none */
    bool row_format;     /* TFS: "instances" (true) or "inputs" */
} qn_decoded;

/* The body is complete: check everything and hand out the result. */
qn_status qn_decoder_finish(qn_decoder *d, qn_decoded *out, qn_error *err);

/* -- replies -------------------------------------------------------------------------------------------------------------- */

/* v2 reply into `out`: JSON, then raw tensors. outputs [n_outputs of the model]. *header_bytes is the length of the JSON part if any output
 * is binary, else -1. NaN and infinities in JSON are written as the strings "NaN", "Infinity", "-Infinity" so that the count of elements
 * always equals the shape's product. Floats are the shortest that read back to the same value. */
qn_status qn_encode_v2(const char *model_name, int64_t version, const qn_decoded *request, const qn_model *model, const qn_tensor *outputs,
                       const char *const *labels, int32_t n_labels, qn_buf *out, int64_t *header_bytes, qn_error *err);

/* TensorFlow Serving reply: {"predictions": ..} or {"outputs": ..}; NaN, Infinity, -Infinity bare. */
qn_status qn_encode_tfs(const qn_decoded *request, const qn_model *model, const qn_tensor *outputs, qn_buf *out, qn_error *err);

/* {"results": [[["label", score], ..], ..]}: every class of every example, in the model's order. Scores are the output "scores", or the only
 * one of numbers with a row for each example; labels are the output "classes" if the model has one, else `labels` as far as it goes, else "".
 * Fails with QN_ERR_INVALID if no output fits. */
qn_status qn_encode_tfs_classes(const qn_decoded *request, const qn_model *model, const qn_tensor *outputs, const char *const *labels,
                                int32_t n_labels, qn_buf *out, qn_error *err);
/* {"results": [value, ..]}: the output "outputs", or the only one with one number for each example. */
qn_status qn_encode_tfs_values(const qn_decoded *request, const qn_model *model, const qn_tensor *outputs, qn_buf *out, qn_error *err);

/* -- known answers ---------------------------------------------------------------------------------------------------------- */

/* A file of one v2 request and its reply together: {"inputs": [..], "outputs": [..], "tolerance": {"relative": 1e-3, "absolute": 0}}.
 * Inputs are run in `session`; every output that the file names must come out with the same shape, and each element within
 * relative * |expected| + absolute. Without "tolerance": 1e-3 of the element and 1e-4 of the largest of the output, the distance that two
 * correct float32 runtimes keep. "id", "model_name", "model_version", "parameters" are passed over, so that a request and its reply can
 * be merged as they are. File: at most 16 MiB. Missing: QN_OK, *n_checked 0; else the number of elements compared.
 * Fails with QN_ERR_CONFLICT (an element differs), QN_ERR_FORMAT, QN_ERR_LIMIT, QN_ERR_IO, or as decoding and running do. */
qn_status qn_known_answer_check(int dir_fd, const char *name, const qn_model *model, qn_session *session, int32_t *n_checked,
                                qn_error *err);

/* A JSON string with quotes, escaped; invalid UTF-8 becomes U+FFFD. */
bool qn_json_put_string(qn_buf *out, const char *s, size_t n);

#endif
