/* core/ops/draw.h - the stream of random numbers that belongs to one node in one run. */
#ifndef QUERN_OPS_DRAW_H
#define QUERN_OPS_DRAW_H

#include "core/base/random.h"
#include "core/graph/op.h"

/* The stream of r's node. With the attribute `seed` (a float, or Dropout's integer) it is the same in every run; without, every run has
 * its own. Two nodes of one graph never share a stream, whatever their seeds. */
qn_random qn_draw_stream(const qn_run *r);

#endif
