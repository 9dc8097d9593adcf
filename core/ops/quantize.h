/* core/ops/quantize.h - quantization of a whole tensor to u8, for the ops that do it on the way. */
#ifndef QUERN_OPS_QUANTIZE_H
#define QUERN_OPS_QUANTIZE_H

#include "quern/team.h"

#include <stdint.h>

/* DynamicQuantizeLinear of x [n]: q [n], and the scale and zero point found. */
void qn_quantize_dynamic(unsigned cpu, qn_team *team, const float *x, int64_t n, uint8_t *q, float *scale, int32_t *zero);

#endif
