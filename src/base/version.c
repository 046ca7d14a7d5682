#include "base/version.h"

const char slipway_version[] = SLIPWAY_VERSION;
