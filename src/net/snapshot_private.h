/* snapshot_private.h - what the reader and the builder of snapshots share. */
#ifndef NET_SNAPSHOT_PRIVATE_H
#define NET_SNAPSHOT_PRIVATE_H

#include "base/slice.h"

/* The order of host names: bytewise, a prefix before what it begins. */
int snapshot_text_compare(struct slice a, struct slice b);

#endif
