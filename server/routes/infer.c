/* server/routes/infer.c - POST /v2/models/{m}[/versions/{v}]/infer: JSON, or JSON and binary tensors.
 * Source   Open Inference Protocol v2; Triton's binary tensor data extension (Inference-Header-Content-Length). */
#include "server/routes/routes.h"

static void begin(qn_exchange *x) { qn_prediction_begin(x, QN_BODY_V2_JSON); }

const qn_endpoint qn_endpoint_infer = { .body = QN_BODY_TENSORS,
                                        .handler = { begin, qn_prediction_body, qn_prediction_end, qn_prediction_release } };
