/* What keeps us within a CA's limits, whatever happens to this process: the bucket is written
 * before the order that it lets through, so a control that dies and comes back in a circle runs dry
 * like any other. */
#include "control/acme_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "os/random.h"

static void bucket_fill(struct acme_directory *directory)
{
    const struct acme_settings *settings = &directory->acme->settings;
    uint64_t now_us = clock_wall_us();
    double limit = settings->orders_per_window;
    double passed_us =
        now_us > directory->tokens_at_us ? (double)(now_us - directory->tokens_at_us) : 0;
    directory->tokens += passed_us / 1000 * limit / (double)settings->window_ms;
    if (directory->tokens > limit || directory->tokens_at_us == 0)
        directory->tokens = limit;
    directory->tokens_at_us = now_us;
}

bool acme_limit_is_paused(const struct acme_directory *directory)
{
    uint64_t now_us = clock_wall_us();
    return directory->paused_until_us > now_us &&
           directory->paused_until_us <= now_us + ACME_PAUSE_MAX_US;
}

uint64_t acme_limit_next(struct acme_directory *directory)
{
    const struct acme_settings *settings = &directory->acme->settings;
    if (acme_limit_is_paused(directory))
        return directory->paused_until_us;
    bucket_fill(directory);
    if (directory->tokens >= 1)
        return 0;
    double missing_ms =
        (1 - directory->tokens) * (double)settings->window_ms / settings->orders_per_window;
    return directory->tokens_at_us + (uint64_t)(missing_ms * 1000) + 1000;
}

uint64_t acme_limit_take(struct acme_directory *directory)
{
    struct error err = {0};
    uint64_t next_us = acme_limit_next(directory);
    if (next_us)
        return next_us;
    directory->tokens -= 1;
    if (acme_record_save_limits(directory, &err) == 0)
        return 0;
    directory->tokens += 1;
    log_failure(&err, "no certificate is ordered");
    return clock_wall_us() + 60 * 1000000ull;
}

void acme_limit_pause(struct acme_directory *directory, uint64_t seconds)
{
    struct error err = {0};
    uint64_t until_us = clock_wall_us() + MIN(seconds * 1000000, ACME_PAUSE_MAX_US);
    if (acme_limit_is_paused(directory) && until_us <= directory->paused_until_us)
        return;
    directory->paused_until_us = until_us;
    if (acme_record_save_limits(directory, &err) < 0)
        log_failure(&err, "CA %s", directory->url);
}

/* Up to a fifth longer, so that names that failed together do not come back together. */
uint64_t acme_backoff_us(const uint64_t backoffs_ms[ACME_BACKOFFS], unsigned failures)
{
    unsigned index = MIN(failures ? failures - 1 : 0, ACME_BACKOFFS - 1);
    uint64_t base_us = backoffs_ms[index] * 1000;
    return base_us + random_u64() % (base_us / 5 + 1);
}

uint64_t acme_item_block(const struct acme_item *item, const struct acme_directory *directory)
{
    uint64_t now_us = clock_wall_us();
    for (size_t i = 0; i < ACME_CAS_MAX; i++)
        if (strcmp(item->blocks[i].directory, directory->id) == 0 &&
            item->blocks[i].until_us > now_us &&
            item->blocks[i].until_us <= now_us + ACME_BLOCK_MAX_US)
            return item->blocks[i].until_us;
    return 0;
}

/* In the place of the one for this directory, else of the one that ends first. */
void acme_item_block_set(struct acme_item *item, const struct acme_directory *directory,
                         uint64_t until_us)
{
    struct acme_block *place = &item->blocks[0];
    for (size_t i = 0; i < ACME_CAS_MAX; i++) {
        if (strcmp(item->blocks[i].directory, directory->id) == 0) {
            place = &item->blocks[i];
            break;
        }
        if (item->blocks[i].until_us < place->until_us)
            place = &item->blocks[i];
    }
    memcpy(place->directory, directory->id, ACME_ID_SIZE);
    place->until_us = until_us;
}
