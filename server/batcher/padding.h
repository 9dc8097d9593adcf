/* server/batcher/padding.h - which inputs of a version may be filled up along dimension 1, so that requests of different lengths share a run.
 *
 * The operator declares it in quern.yaml (padding: {input_ids: 0, attention_mask: 0}): the model must ignore what is filled up, as encoders do
 * by their mask. Answers are then those of a request alone up to rounding, not to the bit: sums over the length have more terms.
 * Threads: constant once created. */
#ifndef QUERN_SERVER_BATCHER_PADDING_H
#define QUERN_SERVER_BATCHER_PADDING_H

#include "server/registry/registry.h"

typedef struct qn_padding {
    int64_t multiple; /* lengths share a run if they are the same when rounded up to it */
    int32_t n_in, n_out;
    bool *inputs;             /* [n_in] filled up */
    unsigned char (*fill)[8]; /* [n_in] one element of it */
    bool *outputs;            /* [n_out] has the length as dimension 1, and is cut back */
} qn_padding;

/* From the names and values of the settings. NULL in *out if they declare none. Fails with QN_ERR_INVALID (no such input, a fixed dimension 1,
 * strings, an output whose dimensions beyond 1 are free, so that nobody knows how to cut it), QN_ERR_RANGE (the value does not fit the
 * datatype), QN_ERR_NOMEM. */
qn_status qn_padding_create(const qn_model *model, const qn_model_settings *settings, qn_padding **out, qn_error *err);
void qn_padding_destroy(qn_padding *p);

/* Dimension 1 that all of the call's padded inputs have; -1: they differ, or one has none. */
int64_t qn_padding_length(const qn_padding *p, const qn_tensor *inputs);
bool qn_padding_same_bucket(const qn_padding *p, int64_t a, int64_t b);

#endif
