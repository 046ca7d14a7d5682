/* snapshot_private.h - what the files of snapshots share. */
#ifndef NET_SNAPSHOT_PRIVATE_H
#define NET_SNAPSHOT_PRIVATE_H

#include "net/snapshot.h"

/* The content of a view whose arrays and string region lie within the block. ERR_INVALID. */
MUST_USE int snapshot_check(const struct snapshot *view, struct error *err);

#endif
