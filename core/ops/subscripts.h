/* core/ops/subscripts.h - the equation of an Einsum, "...ij,jk->...ik", as lists of labels. */
#ifndef QUERN_OPS_SUBSCRIPTS_H
#define QUERN_OPS_SUBSCRIPTS_H

#include "quern/tensor.h"

#define QN_EINSUM_TERMS    16 /* operands at most */
#define QN_EINSUM_ELLIPSIS 52 /* labels below are letters a-zA-Z; from here on the axes of the ellipsis */
#define QN_EINSUM_LABELS   (52 + QN_MAX_RANK)

/* Axes of the ellipsis are numbered from the right, so that those of two operands meet as in broadcasting: label ELLIPSIS + i is
 * axis i of `ellipsis` many, and an operand with fewer has the last ones. */
typedef struct qn_subscripts {
    int32_t n_terms, ellipsis;
    int32_t rank[QN_EINSUM_TERMS];
    uint8_t label[QN_EINSUM_TERMS][QN_MAX_RANK];
    int32_t out_rank;
    uint8_t out[QN_MAX_RANK];
} qn_subscripts;

/* Read `equation` for operands of these ranks, each 0..QN_MAX_RANK. Without "->" the output has the axes of the ellipsis and then
 * every letter that occurs once, a..z after A..Z. Spaces are skipped.
 * Fails with QN_ERR_INVALID (malformed, naming the place), QN_ERR_SHAPE (a term does not fit its operand), QN_ERR_UNSUPPORTED (more than
 * QN_EINSUM_TERMS operands, an output of rank above QN_MAX_RANK). */
qn_status qn_subscripts_parse(const char *equation, int32_t n_terms, const int32_t *ranks, qn_subscripts *out, qn_error *err);

#endif
