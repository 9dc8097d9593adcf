/* server/codec/classify.h - the best classes of an output, as Triton's classification extension writes them. Private to this room.
 * Source   Triton extension_classification.md: strings "VALUE:INDEX[:LABEL]", sorted by value, largest first. */
#ifndef QUERN_SERVER_CODEC_CLASSIFY_H
#define QUERN_SERVER_CODEC_CLASSIFY_H

#include "quern/tensor.h"

/* The k largest scores of each row (dimension 0; a tensor of rank 0 or 1 is one row), fewer if there are fewer: strings [rows,k] or [k]. Ties: the
 * lower index first; NaN last. labels [n_labels] names the classes, as far as it goes. out->data is the caller's, by free().
 * Fails with QN_ERR_DTYPE (scores that are no numbers), QN_ERR_NOMEM. */
qn_status qn_classify(const qn_tensor *scores, int64_t k, const char *const *labels, int32_t n_labels, qn_tensor *out, qn_error *err);

#endif
