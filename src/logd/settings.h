/* settings.h - every limit and period of logd in one place; tests make their own, smaller ones. */
#ifndef LOGD_SETTINGS_H
#define LOGD_SETTINGS_H

#include "base/compiler.h"

struct logd_settings {
    /* store */
    uint64_t retention_us;    /* records older than this are removed */
    uint64_t retention_bytes; /* so are the oldest ones beyond this much on disk */
    uint64_t segment_bytes;   /* a segment takes no further block beyond this */
    uint32_t segment_blocks;  /* nor beyond this many blocks: bounds a query's memory */
    uint32_t block_bytes;     /* raw bytes at which the open block is closed */
    uint64_t block_age_us;    /* or this long after its first record */
    uint64_t sync_us;         /* stored blocks reach the disk at the latest after this */
    int compression_level;
    /* streams */
    uint64_t spool_stream_bytes; /* not yet stored; beyond it output is dropped and counted */
    uint64_t spool_total_bytes;
    uint64_t spool_renew_bytes; /* a spool file whose stored part passes this is replaced */
    uint64_t partial_us;        /* a line without end is stored as partial after this */
    uint64_t rest_us;           /* a stream that had little to say is read again after this */
    uint64_t idle_us;           /* spool files, buffers and compressors are given back after this */
    /* queries */
    uint32_t query_count;
    uint64_t query_turn_us; /* work of all queries together in one turn of the loop */
};

#define LOGD_SETTINGS_DEFAULT                                                                      \
    ((struct logd_settings){                                                                       \
        .retention_us = UINT64_C(30) * 86400 * 1000000,                                            \
        .retention_bytes = UINT64_C(2) << 30,                                                      \
        .segment_bytes = UINT64_C(16) << 20,                                                       \
        .segment_blocks = 16384,                                                                   \
        .block_bytes = 512 << 10,                                                                  \
        .block_age_us = 5000000,                                                                   \
        .sync_us = 5000000,                                                                        \
        .compression_level = 1,                                                                    \
        .spool_stream_bytes = UINT64_C(64) << 20,                                                  \
        .spool_total_bytes = UINT64_C(512) << 20,                                                  \
        .spool_renew_bytes = UINT64_C(4) << 20,                                                    \
        .partial_us = 5000000,                                                                     \
        .rest_us = 4000,                                                                           \
        .idle_us = 10000000,                                                                       \
        .query_count = 32,                                                                         \
        .query_turn_us = 4000,                                                                     \
    })

#define LOGD_LINE_MAX (1u << 20) /* longer lines are stored in pieces of this */

#endif
