#include "deploy/retention.h"

void retention_mark(struct retention_release *releases, size_t count, unsigned keep)
{
    unsigned kept = 0;

    for (size_t i = 0; i < count; i++) {
        releases[i].is_dropped = false;
        if (releases[i].has_files && releases[i].is_needed)
            kept++;
    }
    for (size_t i = count; i-- > 0;) {
        struct retention_release *release = &releases[i];

        if (!release->has_files || release->is_needed)
            continue;
        if (release->was_live && kept < keep)
            kept++;
        else
            release->is_dropped = true;
    }
}
