/* core/graph/passes/passes.h - from the graph a file holds to the graph a plan is made of.
 *
 *   import --[qn_graph_canonicalise]--> canonical --[qn_graph_lower]--> lowered
 *
 * canonical  Calls of the model's own functions replaced by their nodes. Opsets normalised: where a newer opset moved an attribute to an input, the newer form (node->opset says which), so ops
 *            and passes see one. Constant nodes are weights of their value; Identity and Dropout at inference are gone where a graph
 *            output's name allows; LayerNormalization, Gelu and attention are recognised. No weight is rewritten. Inferred and verified.
 *            An op that knows f32 but not f16 or bf16 stands between Casts.
 * lowered    Constants folded, BatchNormalization folded into Conv, Q/DQ absorbed, epilogues fused. Inferred and verified.
 *
 * What lowering makes (besides ai.onnx ops): inputs as listed, attributes of the op it stands for, and
 *   quern.FusedConv  (X, W, B?, R?)   y = act(conv(X, W) + B + R), R of the shape of y, only if the row takes a fourth input;
 *                    attributes of Conv + "act" (STRING "none", "relu", "clip"), "lo", "hi" (FLOAT, for clip)
 *   quern.FusedGemm  (A, B, C?)        transA, transB, alpha, beta + act, lo, hi; from Gemm, or from MatMul by a constant matrix
 *   com.microsoft.QGemm  (A, a_scale, a_zp, B, b_scale, b_zp, C?, y_scale?, y_zp?)   transA, transB, alpha; C s32; f32 without y_scale
 *   com.microsoft.MatMulIntegerToFloat  (A, B, a_scale, b_scale, a_zp, b_zp)
 * A MatMul of higher rank becomes Reshape -> one of these (or Gemm) -> Reshape, unless the row takes that rank.
 * opset of domain "quern" and of "com.microsoft" is 1. A rewrite whose result the op's row does not infer to the same type is not made.
 *
 * Threads: one at a time for one import graph; the results share nothing but weights. */
#ifndef QUERN_GRAPH_PASSES_H
#define QUERN_GRAPH_PASSES_H

#include "core/graph/op.h"

/* Fails with QN_ERR_UNSUPPORTED ("node X: op domain.Name (opset n) is unsupported", the first one in order), or what sorting,
 * verifying and inference fail with; then *out is NULL. `import` is not changed; `store` is borrowed and must outlive *out. */
qn_status qn_graph_canonicalise(const qn_graph *import, qn_store *store, qn_graph **out, qn_error *err);

/* Lower for a plan on `cpu`. all_values: the caller will report every value that exists afterwards; the lowering is the same.
 * Fails with QN_ERR_NOMEM, QN_ERR_IO, QN_ERR_FORMAT (a weight cannot be read); a constant that cannot be folded is left to the run. */
qn_status qn_graph_lower(const qn_graph *canonical, qn_store *store, unsigned cpu, qn_bits bits, bool all_values, qn_graph **out,
                         qn_error *err);

#endif
