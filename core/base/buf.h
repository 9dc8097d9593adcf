/* core/base/buf.h - the public header, under the name that core uses. */
#include "quern/buf.h"
