/* rolling.h - the arithmetic of a rolling change: how many to start now, how many of the old ones
 * may go.
 *
 * At most `surge` instances more than the larger of before and after exist at a time (draining ones
 * not counted), and never fewer than before until the new ones replace them one for one. With
 * nothing to replace, all start at once. Pure, and a function of the present counts alone, so that
 * a control that was killed computes the same again.
 */
#ifndef DEPLOY_ROLLING_H
#define DEPLOY_ROLLING_H

#include <stdbool.h>

#define ROLLING_WAVE_MAX 16u /* starting processes at a time, per service */

struct rolling {
    unsigned want;   /* instances of the target */
    unsigned before; /* instances that are replaced, as the change began */
    unsigned surge;  /* at least 1 */
    unsigned fresh;  /* of the target, existing (whatever their state) */
    unsigned proven; /* of these, proven healthy once */
    unsigned old;    /* still in service of those that are replaced */
};

unsigned rolling_start(const struct rolling *rolling); /* how many to start in this wave */
unsigned
rolling_retire(const struct rolling *rolling); /* how many old ones to take out of rotation now */
bool rolling_is_done(const struct rolling *rolling); /* all proven, nothing old left */

#endif
