/* tests/unit/server/fake_model.h - a qn_model made of ports only: the codec asks a model for nothing else. */
#ifndef QUERN_TESTS_FAKE_MODEL_H
#define QUERN_TESTS_FAKE_MODEL_H

#include "quern/model.h"

struct qn_model {
    qn_port inputs[4], outputs[4];
    int32_t n_inputs, n_outputs;
    bool rows;
};

int32_t qn_model_n_inputs(const qn_model *m) { return m->n_inputs; }
int32_t qn_model_n_outputs(const qn_model *m) { return m->n_outputs; }
const qn_port *qn_model_input(const qn_model *m, int32_t i) { return &m->inputs[i]; }
const qn_port *qn_model_output(const qn_model *m, int32_t i) { return &m->outputs[i]; }
bool qn_model_rows_independent(const qn_model *m) { return m->rows; }

#endif
