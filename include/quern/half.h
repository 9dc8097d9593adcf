/* quern/half.h - IEEE binary16 and bfloat16 <-> float, exact one way, round to nearest even the other. */
#ifndef QUERN_HALF_H
#define QUERN_HALF_H

#include <stdint.h>

float qn_f16_to_f32(uint16_t h);
uint16_t qn_f32_to_f16(float f);  /* NaN stays NaN; beyond 65504 becomes infinity */
uint16_t qn_f64_to_f16(double d); /* rounded once */
float qn_bf16_to_f32(uint16_t b);
uint16_t qn_f32_to_bf16(float f);

/* n elements, the same bits as one by one; x and y do not overlap. */
void qn_f16_to_f32_row(const uint16_t *x, float *y, int64_t n);
void qn_f32_to_f16_row(const float *x, uint16_t *y, int64_t n);

#endif
