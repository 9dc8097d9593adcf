/* quern/blas.h - OpenBLAS for models with `bits: fast`.
 * Trap: the library reads OPENBLAS_CORETYPE when it is loaded, and Debian's 0.3.21 takes CPUs newer than itself for its oldest core, five
 * times slower. So the variable is set from `cpu` first, unless the user has set it.
 * Threads: call once from main() before threads start: it writes the environment. */
#ifndef QUERN_BLAS_H
#define QUERN_BLAS_H

#include "quern/error.h"

/** Load OpenBLAS, single-threaded. *core (may be NULL) is the kind of core it chose, "SkylakeX" say; it lives as long as the process.
 *  Fails with QN_ERR_NOT_FOUND (not installed): models with `bits: fast` then run Quern's own kernels. */
qn_status qn_blas_open(unsigned cpu, const char **core, qn_error *err);

#endif
