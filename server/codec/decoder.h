/* server/codec/decoder.h - what the two body formats share; private to this room. */
#ifndef QUERN_SERVER_CODEC_DECODER_H
#define QUERN_SERVER_CODEC_DECODER_H

#include "server/codec/codec.h"
#include "server/codec/sink.h"

#define QN_CODEC_ID_BYTES 256

/* One input of the model as the body gives it. */
typedef struct qn_given {
    bool given;
    qn_sink sink;
    int32_t rank; /* -1: no "shape" (TFS: from the nesting) */
    int64_t dims[QN_MAX_RANK];
    int64_t binary_bytes; /* -1: in JSON */
} qn_given;

typedef struct qn_format {
    qn_json_fn *token;
    qn_json_list_fn *list;
    qn_status (*finish)(qn_decoder *d, qn_error *err);
} qn_format;

extern const qn_format qn_format_v2, qn_format_tfs;

/* Place in a v2 body. */
typedef enum qn_v2_where {
    V2_START,
    V2_TOP,
    V2_ID,
    V2_PARAMETERS,
    V2_PARAMETER,
    V2_INPUTS,
    V2_INPUT,
    V2_INPUT_FIELD,
    V2_SHAPE,
    V2_DATA,
    V2_SPOOL,
    V2_INPUT_PARAMETERS,
    V2_INPUT_PARAMETER,
    V2_OUTPUTS,
    V2_OUTPUT,
    V2_OUTPUT_FIELD,
    V2_OUTPUT_PARAMETERS,
    V2_OUTPUT_PARAMETER,
    V2_SKIP,
    V2_DONE,
} qn_v2_where;

struct qn_decoder {
    const qn_model *model;
    const qn_format *format;
    qn_codec_limits limits;
    qn_json json;
    uint64_t fed;         /* bytes of the body so far */
    int64_t header_bytes; /* JSON part, or -1: all of it */
    uint64_t budget;      /* tensor bytes left */
    bool failed, json_done;
    int32_t n_inputs, n_outputs;
    qn_given *given;          /* [n_inputs] */
    qn_tensor *tensors;       /* [n_inputs] result */
    qn_wanted_output *wanted; /* [n_wanted], room for n_outputs */
    int32_t n_wanted;
    bool any_wanted, wanted_seen, inputs_seen, parameters_seen, binary_output;
    char id[QN_CODEC_ID_BYTES + 1];
    bool has_id;
    uint64_t timeout_us;
    int priority;
    /* v2 */
    qn_v2_where where, after_skip;
    int32_t skip_depth;
    char key[64];      /* of the field being read; longer keys are cut: no known key is that long */
    char in_name[512]; /* name of the input being read */
    bool in_has_name, in_has_dtype, in_has_data;
    qn_dtype in_dtype;
    qn_given cur;  /* the input being read, until its name says where it belongs */
    bool cur_sink; /* cur.sink is initialised */
    qn_buf spool;  /* data that came before its datatype and name: the tokens as JSON text */
    bool spool_comma;
    int32_t out_index;     /* the output being read */
    int out_binary;        /* -1: not said */
    int64_t out_classes;   /* 0: not said */
    int32_t *binary_order; /* inputs with binary data, in order, [n_binary] */
    int32_t n_binary, at_binary;
    size_t binary_need; /* bytes still missing of the current binary input */
    bool raw;           /* Inference-Header-Content-Length: 0 */
    /* TFS */
    int tfs_where, tfs_after_b64;
    int32_t tfs_input; /* the input that gets the value being read */
    int32_t tfs_base;  /* its sink's depth where the value began */
    int64_t tfs_rows;  /* rows begun, row format */
    bool row_format, tfs_seen;
    bool b64_seen;
    int64_t *tfs_mark;  /* [n_inputs] rows that gave this input */
    const char *method; /* "tensorflow/serving/predict": exporters name a signature so, too */
    /* TFS classify and regress: an example is a row of features, each flat as in a tf.Example */
    bool examples, in_context, context_seen;
    qn_given *context; /* [n_inputs] features that every example has */
};

/* Index of a model input by name (n bytes); -1. */
int32_t qn_decoder_input_index(const qn_decoder *d, const char *name, size_t n);
/* Check rank and dims against the port; `name` is the port's. */
qn_status qn_decoder_check_shape(const qn_port *port, int32_t rank, const int64_t *dims, qn_error *err);

/* Decode base64 (RFC 4648, padded or not) in place of a string element. */
qn_status qn_sink_base64(qn_sink *s, const char *text, size_t n, qn_error *err);

#endif
