/* publish.h - the job that makes a release of a static site: copies the publish folder into its
 * immutable place and puts precompressed twins beside what compresses (app.js.br, app.js.gz), which
 * the edge serves by Accept-Encoding.
 *
 * Runs in a unit of its own, for it blocks and may compress for seconds. */
#ifndef DEPLOY_PUBLISH_H
#define DEPLOY_PUBLISH_H

#include "base/error.h"

#define PUBLISH_FILES_MAX 200000u

/* Copy the folder `from` to the folder `to`, which must not exist half: it appears by rename, after
 * everything in it is on the disk; when it exists already, the work was done by an earlier run and
 * 0 is returned at once. Left-overs of a run that died
 * ("<to>.part") are removed first. The parent of `to` must exist.
 *
 * Files are 0644, folders 0755, dates kept. Symbolic links inside the folder become copies of what
 * they point to; one that leaves the folder (or dangles) is ERR_INVALID and named. Devices, sockets
 * and FIFOs are ERR_INVALID. Not copied, because it must not be served: names that begin with a dot
 * (except .well-known) and the manifest (slipway.yaml, slipway.*.yaml). Files of compressible types
 * from 1 KiB on get twins, when those are smaller; twins that the build made itself are kept.
 * ERR_NOT_FOUND when there is no folder `from` (the build did not make it), ERR_LIMIT beyond
 * PUBLISH_FILES_MAX files, ERR_NO_SPACE. */
MUST_USE int publish_run(const char *from, const char *to, struct error *err);

#endif
