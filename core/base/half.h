/* core/base/half.h - the public header, under the name that core uses. */
#include "quern/half.h"
