/* libFuzzer: the first byte chooses the body format and the size of the pieces, the rest is the body of a prediction. */
#include "server/codec/codec.h"
#include "tests/unit/server/fake_model.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const qn_codec_limits limits = { .body_bytes = 1 << 16, .tensor_bytes = 1 << 16, .text_bytes = 1 << 12, .depth = 64 };
    qn_model m = { .inputs = { { .name = "x", .dtype = QN_F32, .rank = 2, .dims = { -1, 2 } },
                               { .name = "s", .dtype = QN_STRING, .rank = 1, .dims = { -1 } } },
                   .outputs = { { .name = "y", .dtype = QN_F32, .rank = 2, .dims = { -1, 2 } } },
                   .n_inputs = 1,
                   .n_outputs = 1,
                   .rows = true };
    qn_decoder *d;
    qn_decoded in;
    qn_status st;
    qn_body_kind kind;
    size_t step, at = 2;
    int64_t header = -1;

    if (n < 2) return 0;
    if (data[0] & 2) m.n_inputs = 2;
    if (data[0] & 4) header = data[1];
    step = (size_t)(data[0] >> 3) + 1;
    kind = !(data[0] & 1) ? QN_BODY_V2_JSON : header < 0 ? QN_BODY_TFS_JSON : QN_BODY_TFS_CLASSIFY;
    if (kind != QN_BODY_V2_JSON) header = -1;
    if (qn_decoder_create(kind, &m, header, &limits, &d, NULL) != QN_OK) return 0;
    for (st = QN_OK; at < n && st == QN_OK; at += step) st = qn_decoder_feed(d, data + at, n - at < step ? n - at : step, NULL);
    if (st == QN_OK && qn_decoder_finish(d, &in, NULL) == QN_OK) {
        qn_buf b;

        qn_buf_init(&b, 1 << 20);
        /* the inputs have the outputs' shape: answer with what came in */
        if (kind == QN_BODY_TFS_CLASSIFY)
            (void)qn_encode_tfs_classes(&in, &m, in.inputs, NULL, 0, &b, NULL);
        else if (kind == QN_BODY_TFS_JSON)
            (void)qn_encode_tfs(&in, &m, in.inputs, &b, NULL);
        else
            (void)qn_encode_v2("m", 1, &in, &m, in.inputs, NULL, 0, &b, &header, NULL);
        qn_buf_release(&b);
    }
    qn_decoder_destroy(d);
    return 0;
}
