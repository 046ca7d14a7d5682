/* publish_private.h - compression for publishing. */
#ifndef DEPLOY_PUBLISH_PRIVATE_H
#define DEPLOY_PUBLISH_PRIVATE_H

#include "base/buf.h"

#define PUBLISH_COMPRESS_MIN 1024
#define PUBLISH_COMPRESS_MAX (32 * 1024 * 1024)

enum publish_coding { PUBLISH_BROTLI, PUBLISH_GZIP };

/* The whole content compressed into `ret_twin`. False when it does not fit below the ceiling of
 * ret_twin: not worth it. */
bool publish_compress(struct slice content, enum publish_coding coding, struct buf *ret_twin);

#endif
