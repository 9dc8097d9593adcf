/* core/graph/passes/qdq.h - reading QuantizeLinear and DequantizeLinear. Private to passes/. */
#ifndef QUERN_GRAPH_QDQ_H
#define QUERN_GRAPH_QDQ_H

#include "core/graph/passes/rewrite.h"

/* An integer tensor and what it means. Scales are constant, finite and > 0. */
typedef struct qn_qvalue {
    qn_value_id q;     /* the integers */
    qn_dtype dtype;    /* of them */
    qn_value_id scale; /* f32 */
    qn_value_id zero;  /* QN_NONE: 0 */
    int64_t n_scales;  /* 1: per tensor */
    int32_t axis;      /* of several scales, >= 0 */
} qn_qvalue;

/* v is DequantizeLinear of an 8-bit or s32 tensor to f32, without blocks. */
bool qn_qdq_dequantized(const qn_pass *p, qn_value_id v, qn_qvalue *out);
/* The only reader of v is a per-tensor QuantizeLinear to 8 bits; out->q is what it gives, *id the node. */
bool qn_qdq_quantized(qn_pass *p, qn_value_id v, qn_qvalue *out, qn_node_id *id);
/* Per tensor both, with the same dtype, scale and zero point. */
bool qn_qdq_same(const qn_pass *p, const qn_qvalue *a, const qn_qvalue *b);
/* Per tensor: its scale and zero point as numbers. */
bool qn_qdq_numbers(const qn_pass *p, const qn_qvalue *v, float *scale, int64_t *zero);
/* Give v a zero point if it has none, shaped like its scale. */
qn_status qn_qdq_need_zero(qn_pass *p, qn_qvalue *v, qn_error *err);

#endif
