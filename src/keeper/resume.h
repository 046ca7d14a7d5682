/* resume.h - the keeper's state as bytes: what one binary of the keeper leaves to the next.
 *
 * Why: an upgrade executes another binary in the keeper's place; pids and descriptors stay, memory
 * does not. The two binaries may be of two versions, in either order (a downgrade), so the layout
 * knows no structs: header, then records, each a tag, a length and fields, each field a tag, a
 * length and bytes. A reader skips tags that it does not know and fills in the default of those
 * that are not there (0, "", no descriptor). A tag's meaning never changes; a new meaning gets a
 * new tag. RESUME_FORMAT rises when a reader of the version before could no longer do its work by
 * skipping; formats that differ by more than one are refused.
 *
 * Pure functions (a fuzz target drives them): nothing here looks at a descriptor.
 */
#ifndef KEEPER_RESUME_H
#define KEEPER_RESUME_H

#include "base/buf.h"
#include "base/error.h"

#define RESUME_FORMAT    1u
#define RESUME_BYTES_MAX (64u * 1024u * 1024u)

/* One table a record: X(tag, type, name). Types: number (uint64_t), descriptor (int, -1: none),
 * text (const char *, never NULL; below RESUME_TEXT_MAX bytes). */
#define RESUME_TEXT_MAX 4096u

#define RESUME_KEEPER(X)                                                                           \
    X(1, text, state_directory)                                                                    \
    X(2, number, edge_count)                                                                       \
    X(3, number, log_level)                                                                        \
    X(4, number, quit_ms)                                                                          \
    X(5, number, is_without_cgroups)                                                               \
    X(6, descriptor, lock_fd)                                                                      \
    X(7, descriptor, state_fd)                                                                     \
    X(8, number, started_wall_us)                                                                  \
    X(9, number, guard_pid)                                                                        \
    X(10, descriptor, guard_writer)                                                                \
    X(11, number, access_stamp)                                                                    \
    X(12, number, was_ready)                                                                       \
    X(13, text, start_path)                                                                        \
    X(14, number, last_binary)

#define RESUME_BINARY(X)                                                                           \
    X(1, number, id)                                                                               \
    X(2, number, place) /* enum resume_place */                                                    \
    X(3, descriptor, fd)                                                                           \
    X(4, text, version)                                                                            \
    X(5, number, is_private)

#define RESUME_GROUP(X)                                                                            \
    X(1, number, uses)                                                                             \
    X(2, text, folder)

#define RESUME_LISTENER(X)                                                                         \
    X(1, number, kind)                                                                             \
    X(2, descriptor, fd)                                                                           \
    X(3, text, address)                                                                            \
    X(4, number, port)

#define RESUME_ROLE(X)                                                                             \
    X(1, number, kind) /* enum keeper_role */                                                      \
    X(2, number, index)                                                                            \
    X(3, number, state) /* enum role_state */                                                      \
    X(4, number, pid)                                                                              \
    X(5, descriptor, channel)                                                                      \
    X(6, descriptor, result)                                                                       \
    X(7, number, restarts)                                                                         \
    X(8, number, quick_deaths)                                                                     \
    X(9, number, started_at_us)                                                                    \
    X(10, number, started_wall_us)                                                                 \
    X(11, number, life)                                                                            \
    X(12, number, timer_at_us) /* 0: not armed */                                                  \
    X(13, descriptor, counters)                                                                    \
    X(14, descriptor, access_writer)                                                               \
    X(15, number, binary)                                                                          \
    X(16, number, is_replaced)                                                                     \
    X(17, number, is_retiring)                                                                     \
    X(18, text, version)

#define RESUME_UNIT(X)                                                                             \
    X(1, number, id)                                                                               \
    X(2, number, state) /* enum unit_state */                                                      \
    X(3, number, pid)                                                                              \
    X(4, number, is_leader_only)                                                                   \
    X(5, number, was_killed)                                                                       \
    X(6, number, is_oom)                                                                           \
    X(7, text, tag)                                                                                \
    X(8, text, program)                                                                            \
    X(9, text, cgroup) /* "": none */                                                              \
    X(10, number, started_wall_us)                                                                 \
    X(11, number, exited_wall_us)                                                                  \
    X(12, number, wait_status)                                                                     \
    X(13, number, user_us)                                                                         \
    X(14, number, system_us)                                                                       \
    X(15, number, memory_peak_bytes)                                                               \
    X(16, number, timer_at_us)                                                                     \
    X(17, descriptor, result)                                                                      \
    X(18, number, request)                                                                         \
    X(19, number, control_life)                                                                    \
    X(20, number, pending_signal)                                                                  \
    X(21, number, pending_grace_ms)                                                                \
    X(22, number, last_signal)                                                                     \
    X(23, number, sweep_started_us)                                                                \
    X(24, number, is_stillborn)                                                                    \
    X(25, number, max_rss)

#define RESUME_STREAM(X)                                                                           \
    X(1, number, id)                                                                               \
    X(2, number, unit)                                                                             \
    X(3, number, kind)                                                                             \
    X(4, number, is_announced)                                                                     \
    X(5, text, label)                                                                              \
    X(6, descriptor, fd)

#define RESUME_HELD(X)                                                                             \
    X(1, text, name)                                                                               \
    X(2, descriptor, fd)

#define RESUME_GIVING(X)                                                                           \
    X(1, number, pid)                                                                              \
    X(2, number, request)                                                                          \
    X(3, number, control_life)                                                                     \
    X(4, number, deadline_us)

#define RESUME_UPGRADE(X)                                                                          \
    X(1, number, id)                                                                               \
    X(2, number, phase) /* enum keeper_upgrade_phase */                                            \
    X(3, number, drain_ms)                                                                         \
    X(4, number, is_back)                                                                          \
    X(5, number, started_wall_us)                                                                  \
    X(6, number, ended_wall_us)                                                                    \
    X(7, number, code)                                                                             \
    X(8, text, from)                                                                               \
    X(9, text, to)                                                                                 \
    X(10, text, reason)                                                                            \
    X(11, text, hint)

/* X(tag, record, table) */
#define RESUME_RECORDS(X)                                                                          \
    X(1, keeper, RESUME_KEEPER)                                                                    \
    X(2, binary, RESUME_BINARY)                                                                    \
    X(3, group, RESUME_GROUP)                                                                      \
    X(4, listener, RESUME_LISTENER)                                                                \
    X(5, role, RESUME_ROLE)                                                                        \
    X(6, unit, RESUME_UNIT)                                                                        \
    X(7, stream, RESUME_STREAM)                                                                    \
    X(8, held, RESUME_HELD)                                                                        \
    X(9, giving, RESUME_GIVING)                                                                    \
    X(10, upgrade, RESUME_UPGRADE)

enum resume_tag {
#define X(tag, record, table) RESUME_TAG_##record = tag,
    RESUME_RECORDS(X)
#undef X
};

/* What a binary is to the keeper that starts now. */
enum resume_place {
    RESUME_IS_RUNNING = 1, /* executed with this state */
    RESUME_IS_BEFORE,      /* what `downgrade` and a failed upgrade return to */
    RESUME_IS_SPARE,       /* BEFORE again, should this upgrade fail */
};

typedef uint64_t resume_number;
typedef int resume_descriptor;
typedef const char *resume_text;
#define RESUME_MEMBER(tag, type, name) resume_##type name;
struct resume_keeper {
    RESUME_KEEPER(RESUME_MEMBER)
};
struct resume_binary {
    RESUME_BINARY(RESUME_MEMBER)
};
struct resume_group {
    RESUME_GROUP(RESUME_MEMBER)
};
struct resume_listener {
    RESUME_LISTENER(RESUME_MEMBER)
};
struct resume_role {
    RESUME_ROLE(RESUME_MEMBER)
};
struct resume_unit {
    RESUME_UNIT(RESUME_MEMBER)
};
struct resume_stream {
    RESUME_STREAM(RESUME_MEMBER)
};
struct resume_held {
    RESUME_HELD(RESUME_MEMBER)
};
struct resume_giving {
    RESUME_GIVING(RESUME_MEMBER)
};
struct resume_upgrade {
    RESUME_UPGRADE(RESUME_MEMBER)
};
#undef RESUME_MEMBER

/* Append the header; then one call a record, KEEPER first; then resume_finish. A text of
 * RESUME_TEXT_MAX bytes or more, or too much in all, sets block->failed. */
void resume_begin(struct buf *block);
void resume_append(struct buf *block, enum resume_tag tag, const void *record);
void resume_finish(struct buf *block);

struct resume_record {
    enum resume_tag tag;
    union {
        struct resume_keeper keeper;
        struct resume_binary binary;
        struct resume_group group;
        struct resume_listener listener;
        struct resume_role role;
        struct resume_unit unit;
        struct resume_stream stream;
        struct resume_held held;
        struct resume_giving giving;
        struct resume_upgrade upgrade;
    };
};

/* Check header and lengths of a block. *ret_cursor: for resume_next. ERR_INVALID, ERR_VERSION. */
MUST_USE int resume_open(struct slice block, size_t *ret_cursor, struct error *err);
/* The next known record, texts borrowed from the block. 1: *ret_record is filled; 0: the end;
 * ERR_INVALID: cut off, a field of the wrong size, a text without an end, a number where a
 * descriptor should be. */
MUST_USE int resume_next(struct slice block, size_t *cursor, struct resume_record *ret_record,
                         struct error *err);
/* resume_check.c: whether a keeper could go on with all of it. ERR_INVALID, ERR_VERSION. */
MUST_USE int resume_check(struct slice block, struct error *err);
/* Call `visit` with every descriptor in the record that is not -1. */
void resume_each_descriptor(const struct resume_record *record,
                            void (*visit)(int fd, void *context), void *context);

#endif
