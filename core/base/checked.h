/* core/base/checked.h - the public header, under the name that core uses. */
#include "quern/checked.h"
