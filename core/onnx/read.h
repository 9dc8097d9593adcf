/* core/onnx/read.h - what the files of this room share while one model is read. Private to core/onnx.
 *
 *   import.c   ModelProto, the list of graphs that wait, what may be spent
 *   text.c     strings: names, metadata
 *   scope.c    one graph: names -> values, captures
 *   graph.c    GraphProto: nodes, inputs, initializers
 *   attr.c     AttributeProto
 *   function.c FunctionProto
 *   type.c     TypeProto
 *   tensor.c   TensorProto -> where its bytes are -> dense bytes or a weight
 *   sparse.c   SparseTensorProto -> a weight
 *   nibble.c   two elements a byte -> one
 *   external.c external_data -> a source
 *
 * Messages are scanned twice where their parts have to be counted first: counts give exact allocations, and nothing is allocated that the
 * file does not back with bytes. */
#ifndef QUERN_ONNX_READ_H
#define QUERN_ONNX_READ_H

#include "core/base/arena.h"
#include "core/base/map.h"
#include "core/graph/graph.h"
#include "core/onnx/import.h"
#include "core/onnx/proto.h"

#define QN_ONNX_NAME_MAX     ((uint64_t)64 << 10)  /* bytes of one name */
#define QN_ONNX_STRUCT_BYTES ((uint64_t)256 << 20) /* everything but weights */
#define QN_ONNX_INLINE_BYTES ((size_t)64 << 10)    /* weights up to here are copied, larger ones stay in the source */
#define QN_ONNX_MAX_OPSETS   64
#define QN_ONNX_MAX_ATTRS    64  /* of one node: real ops have about twenty, and duplicates are looked for pair by pair */
#define QN_ONNX_MAX_EXTERNAL 256 /* files of external data: each keeps a descriptor open */

/* A message in the source that is read later. */
typedef struct qn_onnx_span {
    uint64_t begin, end;
    bool given;
} qn_onnx_span;

/* What a name in a scope is. */
#define QN_NAME_DEFINED 0x1u /* input, initializer, output of a node, or captured */
#define QN_NAME_USED    0x2u /* somebody reads it */
#define QN_NAME_INPUT   0x4u
#define QN_NAME_WEIGHT  0x8u

/* One graph while it is read, the outermost or a nested one. */
typedef struct qn_onnx_scope {
    qn_graph *g;       /* owned by the attribute that holds it; the outermost by import.c */
    int32_t outer;     /* index of the scope around it, -1: outermost, or the body of a function */
    int32_t function;  /* index of the model's function whose body it is, or QN_NONE */
    int32_t level;     /* 0: outermost */
    qn_onnx_span span; /* its GraphProto */
    uint8_t *names;    /* [cap_names] QN_NAME_* of each value of g, owned */
    int32_t cap_names, n_names;
} qn_onnx_scope;

typedef struct qn_onnx_external {
    const char *location;
    qn_source *src; /* one reference */
    uint64_t bytes;
} qn_onnx_external;

/* A function that the model defines. */
typedef struct qn_onnx_noted {
    const char *label; /* "domain:name" */
    qn_onnx_span span; /* its FunctionProto */
    int32_t function;  /* index of the outermost graph's functions, QN_NONE: not called so far */
} qn_onnx_noted;

typedef struct qn_onnx_reader {
    qn_proto proto;
    qn_source *src;
    uint64_t size;
    qn_limits limits; /* no field is 0 */
    int dir_fd;
    uint64_t struct_bytes, weight_bytes; /* spent */
    int64_t n_nodes, n_weights, n_params;
    const qn_op_table *ops;
    qn_arena keep;         /* until the import ends */
    qn_arena tmp;          /* until the next field of a graph */
    qn_onnx_scope *scopes; /* [n_scopes], outer before inner; those from next_scope on wait */
    int32_t n_scopes, cap_scopes, next_scope;
    qn_onnx_external *external; /* [n_external] */
    int32_t n_external;
    qn_map functions;     /* label -> index of noted */
    qn_onnx_noted *noted; /* [n_noted], grown by doubling */
    int32_t n_noted;
    uint8_t *bounce; /* [QN_ONNX_INLINE_BYTES] */
    qn_error *err;
} qn_onnx_reader;

/* -- import.c ------------------------------------------------------------------------------------------------------------- */

/* init fills r in even when it fails; release accepts that. */
qn_status qn_onnx_reader_init(qn_onnx_reader *r, qn_source *src, uint64_t size, const qn_limits *limits, int dir_fd, qn_error *err);
void qn_onnx_reader_release(qn_onnx_reader *r);

/* Spend structure or weight bytes. Fail with QN_ERR_LIMIT. */
qn_status qn_onnx_spend(qn_onnx_reader *r, uint64_t n, uint64_t bytes_each);
qn_status qn_onnx_spend_weight(qn_onnx_reader *r, uint64_t bytes, const char *name);

/* The payload of the current BYTES field as a terminated string in `a`, spent as structure. name: UTF-8 without NUL, at most
 * QN_ONNX_NAME_MAX bytes, `what` says in errors what it is. bytes: anything; *n is its length. */
qn_status qn_onnx_name(qn_onnx_reader *r, qn_arena *a, const char *what, const char **out);
qn_status qn_onnx_bytes(qn_onnx_reader *r, qn_arena *a, const char **out, size_t *n);

/* The current field as a span; twice is QN_ERR_FORMAT. */
qn_status qn_onnx_span_take(qn_onnx_reader *r, qn_onnx_span *span, const char *what);

/* A name cut for a message, at a character; returns buf. */
#define QN_ONNX_SHORT 72
const char *qn_onnx_short(const char *name, char buf[QN_ONNX_SHORT]);

/* A StringStringEntryProto that is the current field. Both are "" when left out. */
qn_status qn_onnx_entry(qn_onnx_reader *r, qn_arena *a, const char *what, const char **key, const char **value);

/* A graph that is the value of an attribute: created and put in the list. *out is owned by the caller. */
qn_status qn_onnx_add_scope(qn_onnx_reader *r, int32_t outer, const qn_onnx_span *span, qn_graph **out);

/* The same for the body of function `function` of the outermost graph. */
qn_status qn_onnx_add_body(qn_onnx_reader *r, int32_t function, const qn_onnx_span *span, qn_graph **out);

/* OperatorSetIdProto, the current field, into list [QN_ONNX_MAX_OPSETS]; the list into g's own memory. */
qn_status qn_onnx_read_opset(qn_onnx_reader *r, struct qn_opset *list, int32_t *n);
qn_status qn_onnx_keep_opsets(qn_onnx_reader *r, qn_graph *g, const struct qn_opset *list, int32_t n);

/* -- function.c ----------------------------------------------------------------------------------------------------------- */

/* Note the FunctionProto that is the current field. */
qn_status qn_onnx_note_function(qn_onnx_reader *r);
/* The function that a node of this name calls, QN_NONE: none, it is an op. */
qn_status qn_onnx_call(qn_onnx_reader *r, const char *domain, const char *op_type, const char *overload, int32_t *function);

/* -- scope.c -------------------------------------------------------------------------------------------------------------- */

/* The value called `name`, made if there is none. */
qn_status qn_onnx_scope_value(qn_onnx_reader *r, qn_onnx_scope *s, const char *name, qn_value_id *out);
/* The same for a reader (marked USED) and for a definition, which must be the first: what says "input", "initializer", ... */
qn_status qn_onnx_scope_use(qn_onnx_reader *r, qn_onnx_scope *s, const char *name, qn_value_id *out);
qn_status qn_onnx_scope_define(qn_onnx_reader *r, qn_onnx_scope *s, const char *name, unsigned as, const char *what, qn_value_id *out);
/* All of the graph was read: find what is used and not defined in the scopes around; drop what is neither. */
qn_status qn_onnx_scope_close(qn_onnx_reader *r, int32_t scope);

/* -- the messages: each reads [span] or the current field ------------------------------------------------------------------- */

qn_status qn_onnx_read_graph(qn_onnx_reader *r, int32_t scope);
qn_status qn_onnx_read_function(qn_onnx_reader *r, int32_t scope);
/* NodeProto, the current field. */
qn_status qn_onnx_read_node(qn_onnx_reader *r, int32_t scope);
/* One id more in a list of g's arena. */
qn_status qn_onnx_push_id(qn_onnx_reader *r, qn_graph *g, qn_value_id **ids, int32_t *n, qn_value_id id);
/* One attribute of a node of the scope; *out was zeroed. On failure it holds what was made so far, for the graph to free. */
qn_status qn_onnx_read_attr(qn_onnx_reader *r, int32_t scope, const qn_onnx_span *span, qn_attr *out);
/* out is set whole. symbol_stem: name for dimensions without one, NULL: they stay unknown. */
qn_status qn_onnx_read_type(qn_onnx_reader *r, qn_dims *dims, const qn_onnx_span *span, const char *symbol_stem, qn_type *out);
void qn_onnx_no_type(qn_type *out);
/* DataType of ONNX -> dtype. Fails with QN_ERR_UNSUPPORTED, QN_ERR_FORMAT naming `what`. 0 gives QN_DTYPE_NONE. */
qn_status qn_onnx_dtype(uint64_t data_type, const char *what, qn_dtype *out, qn_error *err);

/* -- tensors -------------------------------------------------------------------------------------------------------------- */

/* A TensorProto that was scanned and checked: its bytes are known to be there, and to be as many as dims say. */
typedef struct qn_onnx_tensor {
    const char *name; /* "" if it has none; in r->tmp */
    qn_dtype dtype;
    int32_t rank;
    int64_t dims[QN_MAX_RANK];
    size_t count; /* elements */
    size_t bytes; /* dense; offsets and blob of a QN_STRING */
    qn_onnx_span span;
    uint32_t list;   /* field with elements to decode; 0: dense bytes lie in `from` */
    qn_source *from; /* borrowed from the reader, which holds it until release */
    uint64_t offset;
} qn_onnx_tensor;

qn_status qn_onnx_scan_tensor(qn_onnx_reader *r, const qn_onnx_span *span, qn_onnx_tensor *t);
/* Dense bytes into memory of t->bytes bytes. */
qn_status qn_onnx_tensor_fill(qn_onnx_reader *r, const qn_onnx_tensor *t, void *dst);
/* A weight with one reference for the caller; its bytes are spent. */
qn_status qn_onnx_tensor_weight(qn_onnx_reader *r, const qn_onnx_tensor *t, qn_weight **out);
/* The weight of a SparseTensorProto, dense when read. *name in r->tmp. */
qn_status qn_onnx_sparse_weight(qn_onnx_reader *r, const qn_onnx_span *span, const char **name, qn_weight **out);
/* The weight of a large 4-bit tensor whose pairs lie in t->from: they stay there, and are spread as they are read. */
qn_status qn_onnx_nibble_weight(qn_onnx_reader *r, const qn_onnx_tensor *t, qn_weight **out);
/* A weight whose bytes lie in src, which is read once for the digest; small ones are copied. */
qn_status qn_onnx_weight_at(qn_onnx_reader *r, qn_source *src, uint64_t offset, const qn_onnx_tensor *t, qn_weight **out);

/* -- external.c ----------------------------------------------------------------------------------------------------------- */

/* What external_data of a tensor says. */
typedef struct qn_onnx_location {
    const char *location; /* NULL: not given */
    uint64_t offset, length;
    bool has_offset, has_length, has_checksum;
} qn_onnx_location;

/* Take the entry that is the current field. */
qn_status qn_onnx_location_entry(qn_onnx_reader *r, qn_onnx_location *where);
/* Open it, once per file, and check that `bytes` bytes are there; the source stays the reader's. */
qn_status qn_onnx_external_open(qn_onnx_reader *r, const qn_onnx_location *where, uint64_t bytes, qn_source **src, uint64_t *offset);

#endif
