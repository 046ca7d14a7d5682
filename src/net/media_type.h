/* media_type.h - the media type of a file by its name: for the edge (Content-Type) and for
 * publishing (what to compress). */
#ifndef NET_MEDIA_TYPE_H
#define NET_MEDIA_TYPE_H

#include "base/slice.h"
#include <stdbool.h>

struct media_type {
    const char *extension; /* lower case, without dot */
    const char *name;      /* with charset where that matters */
    bool is_compressible;
    bool is_asset; /* one that bundlers name by content ("app-3f2a1b4c.js") */
};

/* By the extension of the last path segment, without regard to case. Never NULL:
 * application/octet-stream else. */
const struct media_type *media_type_of(struct slice path);
/* The extension without dot ("gz" of "a.tar.gz"), empty when there is none; a leading dot is no
 * extension. */
struct slice media_extension(struct slice path);

#endif
