/* tests/fuzz/fuzz_config.c - any bytes as config/quern.yaml and as a model's quern.yaml. */
#include "server/config/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static qn_config config;
    qn_model_settings s = { .max_batch_rows = 32, .max_queued = 1000, .batching = -1 };
    qn_error err = { 0 };

    if (qn_config_parse("fuzz.yaml", (const char *)data, n, &config, &err) != QN_OK && (err.status == QN_OK || !err.message[0])) abort();
    memset(&err, 0, sizeof err);
    if (qn_config_parse_model("fuzz.yaml", (const char *)data, n, &s, &err) != QN_OK && (err.status == QN_OK || !err.message[0])) abort();
    if (s.max_batch_rows < 1 || s.max_queued < 1 || s.batching < -1 || s.batching > 1) abort();
    for (int32_t i = 0; i < s.n_labels; i++) free(s.labels[i]);
    free(s.labels);
    return 0;
}
