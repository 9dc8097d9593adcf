/* server/batcher/rows.h - the rows of calls: do two calls fit one run, gather their rows, scatter the answers. */
#ifndef QUERN_SERVER_BATCHER_ROWS_H
#define QUERN_SERVER_BATCHER_ROWS_H

#include "server/batcher/batcher.h"

#define QN_ROWS_FEW 16 /* models with at most so many inputs or outputs need no allocation for the arrays */

/* Same version, and every input agrees in presence, dtype, rank and all dims but the first; padded inputs (padding.h) may differ in their
 * second as well, within a bucket of lengths. */
bool qn_rows_same_bucket(const qn_call *a, const qn_call *b);

/* Bytes of a call's inputs. */
size_t qn_rows_input_bytes(const qn_call *c);

/* inputs[n_in] of one run over n_calls calls linked by next. One call: its own memory; several: copied into *buffer, which grows, and
 * filled up to the longest. */
qn_status qn_rows_gather(const qn_call *first, int32_t n_calls, int64_t rows, int32_t n_in, void **buffer, size_t *buffer_bytes,
                         qn_tensor *inputs, qn_error *err);

/* Give every call its own rows, cut back to its own length of outputs[n_out] (dimension 0 of each is `rows` when there are several calls). On failure no call has
 * outputs. Fails with QN_ERR_NOMEM, QN_ERR_SHAPE (an output that does not have the batch as dimension 0). */
qn_status qn_rows_scatter(qn_call *first, int32_t n_calls, int64_t rows, const qn_tensor *outputs, int32_t n_out, qn_error *err);

#endif
