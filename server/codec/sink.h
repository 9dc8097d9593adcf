/* server/codec/sink.h - one input tensor while its elements arrive: typed bytes that grow, and the shape that the nesting of arrays
 * spells. Private to this room. */
#ifndef QUERN_SERVER_CODEC_SINK_H
#define QUERN_SERVER_CODEC_SINK_H

#include "quern/json.h"
#include "quern/model.h"

typedef struct qn_sink {
    qn_dtype dtype;
    char *data;      /* elements, owned; for QN_STRING the blob */
    size_t len, cap; /* bytes */
    uint64_t *ends;  /* QN_STRING: end of each element in the blob, [count] */
    size_t ends_cap;
    int64_t count;    /* elements so far */
    uint64_t *budget; /* bytes all sinks of a request may still take */
    /* nesting: depth 0 is outside; lengths[d] is the length of every array at depth d + 1, -1 before the first one closed */
    int32_t depth, leaf_depth; /* leaf_depth -1: no element and no empty array seen */
    int64_t lengths[QN_JSON_MAX_DEPTH], counts[QN_JSON_MAX_DEPTH];
} qn_sink;

void qn_sink_init(qn_sink *s, qn_dtype dtype, uint64_t *budget);
void qn_sink_release(qn_sink *s);

/* One JSON token of a value: '[' and ']' build the nesting, scalars are converted to dtype exactly or refused.
 * Fails with QN_ERR_DTYPE (a string for a number, ...), QN_ERR_RANGE (1e999, 300 for u8), QN_ERR_SHAPE (ragged), QN_ERR_LIMIT, QN_ERR_NOMEM. */
qn_status qn_sink_token(qn_sink *s, qn_json_token token, const char *text, size_t n, qn_error *err);
/* Elements of the innermost array as text, on the fast way: see qn_json_list_fn. Takes none where an element must be looked at by itself. */
size_t qn_sink_list(qn_sink *s, const char *text, size_t n);
/* A string element, for QN_STRING. */
qn_status qn_sink_string(qn_sink *s, const char *text, size_t n, qn_error *err);

/* Raw little-endian bytes of `count` elements of a fixed-size dtype; BOOL bytes must be 0 or 1. room: reserve once, then fill. */
qn_status qn_sink_reserve(qn_sink *s, size_t bytes, qn_error *err);

/* The shape that the nesting spells, `extra` outer dimensions left out (see qn_decoder): rank and dims. */
void qn_sink_shape(const qn_sink *s, int32_t *rank, int64_t *dims);

/* Hand the elements over as a tensor of this shape (count checked by the caller); the sink keeps ownership of the memory. */
qn_status qn_sink_tensor(qn_sink *s, int32_t rank, const int64_t *dims, qn_tensor *out, qn_error *err);

#endif
