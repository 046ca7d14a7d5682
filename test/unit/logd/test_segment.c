/* Blocks and segments: what is written is read back, what is torn or damaged is noticed. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "logd/segment.h"
#include "os/file.h"

#define NOON UINT64_C(1772366400000000) /* 2026-03-01T12:00:00Z */

struct fixture {
    char directory[64];
    struct logd_settings settings;
    struct segment_store store;
    struct segment_recovery recovery;
    struct block_stream told[16];
    size_t told_count;
};

static void on_stream(struct segment_recovery *recovery, const struct block_stream *stream)
{
    struct fixture *fixture = container_of(recovery, struct fixture, recovery);

    fixture->told[fixture->told_count++ % ARRAY_LEN(fixture->told)] = *stream;
}

static void fixture_open(struct fixture *fixture)
{
    fixture->told_count = 0;
    assert_int_equal(segment_store_open(&fixture->store, fixture->directory, &fixture->settings,
                                        &fixture->recovery, NULL),
                     0);
}

static void fixture_init(struct fixture *fixture)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->settings = LOGD_SETTINGS_DEFAULT;
    fixture->recovery.on_stream = on_stream;
    (void)snprintf(fixture->directory, sizeof fixture->directory, "/tmp/slipway-segment-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    fixture_open(fixture);
}

static void fixture_done(struct fixture *fixture)
{
    segment_store_close(&fixture->store);
    assert_int_equal(directory_remove_tree(fixture->directory, NULL), 0);
}

/* One block with `count` records "record <n>" and a stream table that says `offset`. */
static void append_block(struct fixture *fixture, uint64_t wall_us, unsigned count, uint64_t offset)
{
    struct block_stream stream = {.stream = 9, .offset = offset, .dropped_bytes = 5};
    struct block_totals totals = fixture->store.totals;
    struct compressor compressor = {0};
    struct buf bytes = BUF_INIT(4 << 20);
    struct block_builder builder;
    struct place place;
    uint16_t label;

    block_builder_init(&builder, fixture->store.next_sequence);
    assert_int_equal(segment_store_begin(&fixture->store, wall_us, &stream, 1, &place, NULL), 0);
    assert_int_equal(block_builder_label(&builder, 3, 1,
                                         SLICE("a\x1f"
                                               "b\x1f"
                                               "1\x1f"
                                               "c\x1f"
                                               "run"),
                                         &label),
                     0);
    for (unsigned i = 0; i < count; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "record %u", i);
        assert_int_equal(block_builder_add(&builder, label, 0, wall_us + i, slice_from(text)), 0);
    }
    totals.lines += count;
    assert_int_equal(block_builder_write(&builder, &compressor, 1, &stream, 1, &totals, &bytes), 0);
    assert_int_equal(
        segment_store_append(&fixture->store, &builder, buf_slice(&bytes), &totals, NULL), 0);
    compressor_release(&compressor);
    block_builder_done(&builder);
    buf_done(&bytes);
}

/* Records in all blocks of all segments. */
static unsigned count_records(struct fixture *fixture, unsigned *ret_blocks)
{
    struct compressor compressor = {0};
    struct buf raw = BUF_INIT(BLOCK_RAW_MAX);
    struct segment_reader reader;
    unsigned records = 0;

    *ret_blocks = 0;
    segment_reader_init(&reader);
    for (size_t i = 0; i < fixture->store.segment_count; i++) {
        const struct segment *segment = &fixture->store.segments[i];
        uint64_t offset = SEGMENT_FIRST_BLOCK;
        struct block_header header;
        struct slice bytes;
        assert_int_equal(segment_reader_open(&reader, &fixture->store, segment), 0);
        while (!segment_reader_header(&reader, segment, &offset, &header, &bytes)) {
            struct record record;
            size_t at = 0;
            if (segment_reader_body(&reader, offset, &header, &compressor, &raw) == 0)
                while (!record_read(buf_slice(&raw), header.base_time_us, &at, &record))
                    records++;
            (*ret_blocks)++;
            offset += header.header_len + header.body_len;
        }
    }
    segment_reader_done(&reader);
    compressor_release(&compressor);
    buf_done(&raw);
    return records;
}

static char *last_path(struct fixture *fixture, char *buffer, size_t size)
{
    const struct segment *last = &fixture->store.segments[fixture->store.segment_count - 1];

    (void)snprintf(buffer, size, "%s/%s/%010llu.seg", fixture->directory, last->day,
                   (unsigned long long)last->number);
    return buffer;
}

static void a_store_opened_again_goes_on_where_it_was(void **state)
{
    struct fixture fixture;
    unsigned blocks;

    (void)state;
    fixture_init(&fixture);
    append_block(&fixture, NOON, 10, 100);
    append_block(&fixture, NOON + 1000, 20, 200);
    segment_store_close(&fixture.store);
    fixture_open(&fixture);
    assert_int_equal(fixture.store.next_sequence, 30);
    assert_int_equal(fixture.store.totals.lines, 30);
    assert_true(fixture.told_count > 0);
    assert_int_equal(fixture.told[fixture.told_count - 1].stream, 9);
    assert_int_equal(fixture.told[fixture.told_count - 1].offset, 200);
    assert_int_equal(fixture.told[fixture.told_count - 1].dropped_bytes, 5);
    append_block(&fixture, NOON + 2000, 5, 300);
    assert_int_equal(fixture.store.segment_count, 1);
    assert_int_equal(count_records(&fixture, &blocks), 35);
    assert_int_equal(blocks, 3);
    fixture_done(&fixture);
}

/* Whatever a crash leaves of the last block, the ones before stay and the store goes on. */
static void a_torn_end_is_cut_off_at_every_length(void **state)
{
    struct fixture fixture;
    char path[256];
    uint64_t whole, two;
    unsigned blocks;

    (void)state;
    log_init("test", LOG_ERROR);
    fixture_init(&fixture);
    append_block(&fixture, NOON, 10, 100);
    append_block(&fixture, NOON, 10, 200);
    two = fixture.store.stored_bytes;
    append_block(&fixture, NOON, 10, 300);
    whole = fixture.store.stored_bytes;
    last_path(&fixture, path, sizeof path);
    for (uint64_t len = whole - 1; len > two; len -= 7) {
        segment_store_close(&fixture.store);
        assert_int_equal(truncate(path, (off_t)len), 0);
        fixture_open(&fixture);
        assert_int_equal(fixture.store.stored_bytes, two);
        assert_int_equal(fixture.store.next_sequence, 20);
        assert_int_equal(fixture.told[fixture.told_count - 1].offset, 200);
        append_block(&fixture, NOON, 10, 300);
        assert_int_equal(fixture.store.stored_bytes, whole);
        if (len < two + 8)
            break;
    }
    assert_int_equal(count_records(&fixture, &blocks), 30);
    fixture_done(&fixture);
}

static void a_flipped_bit_is_noticed(void **state)
{
    struct fixture fixture;
    char path[256];
    uint64_t one, whole;
    unsigned blocks;

    (void)state;
    fixture_init(&fixture);
    append_block(&fixture, NOON, 10, 100);
    one = fixture.store.stored_bytes;
    append_block(&fixture, NOON, 10, 200);
    whole = fixture.store.stored_bytes;
    last_path(&fixture, path, sizeof path);
    for (uint64_t at = one; at < whole; at += 3) {
        unsigned char byte;
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        assert_int_equal(count_records(&fixture, &blocks), 10);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        (void)close(fd);
    }
    assert_int_equal(count_records(&fixture, &blocks), 20);
    fixture_done(&fixture);
}

static void a_beginning_that_was_not_written_is_put_aside(void **state)
{
    struct fixture fixture;
    char path[256], aside[300];
    unsigned blocks;

    (void)state;
    log_init("test", LOG_ERROR);
    fixture_init(&fixture);
    append_block(&fixture, NOON, 10, 100);
    segment_store_close(&fixture.store);
    (void)snprintf(path, sizeof path, "%s/2026-03-01/0000000002.seg", fixture.directory);
    assert_int_equal(file_write_durable(path, SLICE("torn"), 0600, NULL), 0);
    fixture_open(&fixture);
    (void)snprintf(aside, sizeof aside, "%s.damaged", path);
    assert_true(file_exists(aside));
    assert_int_equal(fixture.told[fixture.told_count - 1].offset, 100);
    append_block(&fixture, NOON, 10, 200);
    assert_int_equal(count_records(&fixture, &blocks), 20);
    fixture_done(&fixture);
}

static void days_and_sizes_begin_new_segments_with_a_checkpoint(void **state)
{
    struct fixture fixture;
    unsigned blocks;

    (void)state;
    fixture_init(&fixture);
    fixture.settings.segment_blocks = 2;
    for (unsigned i = 0; i < 5; i++)
        append_block(&fixture, NOON, 10, 100 * (i + 1));
    assert_int_equal(fixture.store.segment_count, 3);
    append_block(&fixture, NOON + UINT64_C(86400000000), 10, 700);
    assert_int_equal(fixture.store.segment_count, 4);
    assert_string_equal(fixture.store.segments[3].day, "2026-03-02");
    segment_store_close(&fixture.store);
    fixture_open(&fixture);
    assert_int_equal(fixture.told_count,
                     2); /* the checkpoint and the block of the last segment alone */
    assert_int_equal(count_records(&fixture, &blocks), 60);
    fixture_done(&fixture);
}

static void retention_takes_the_oldest_by_age_and_by_size(void **state)
{
    struct fixture fixture;
    uint64_t day = UINT64_C(86400000000);

    (void)state;
    fixture_init(&fixture);
    for (unsigned i = 0; i < 5; i++)
        append_block(&fixture, NOON + i * day, 100, 100);
    assert_int_equal(fixture.store.segment_count, 5);
    assert_false(segment_store_retain(&fixture.store, NOON + 30 * day - 1));
    assert_true(segment_store_retain(&fixture.store, NOON + 31 * day));
    assert_false(segment_store_retain(&fixture.store, NOON + 31 * day));
    assert_int_equal(fixture.store.segments[0].number, 2);
    fixture.settings.retention_bytes = fixture.store.stored_bytes / 2;
    while (segment_store_retain(&fixture.store, NOON))
        ;
    assert_int_equal(fixture.store.segment_count, 2);
    fixture.settings.retention_bytes = 0;
    while (segment_store_retain(&fixture.store, NOON + 100 * day))
        ;
    assert_int_equal(fixture.store.segment_count, 1); /* the one that is written to stays */
    fixture_done(&fixture);
}

static void a_block_takes_no_record_that_it_cannot_hold(void **state)
{
    struct block_builder builder;
    char *line = calloc(1, BLOCK_RAW_MAX);
    uint16_t label, other;

    (void)state;
    block_builder_init(&builder, 0);
    assert_int_equal(block_builder_label(&builder, 1, 1, SLICE("x"), &label), 0);
    assert_int_equal(block_builder_label(&builder, 2, 1, SLICE("x"), &other), 0);
    assert_int_not_equal(label, other);
    assert_int_equal(block_builder_label(&builder, 1, 1, SLICE("x"), &other), 0);
    assert_int_equal(label, other);
    assert_int_equal(
        block_builder_add(&builder, label, 0, NOON, (struct slice){line, BLOCK_RAW_MAX - 100}), 0);
    assert_int_equal(block_builder_add(&builder, label, 0, NOON, (struct slice){line, 100}),
                     ERR_LIMIT);
    assert_int_equal(block_builder_add(&builder, label, 0, NOON, SLICE("fits")), 0);
    assert_int_equal(
        block_builder_add(&builder, label, 0, NOON + UINT64_C(3600000000), SLICE("late")),
        ERR_LIMIT);
    assert_int_equal(builder.record_count, 2);
    block_builder_reset(&builder);
    assert_int_equal(builder.first_sequence, 2);
    for (unsigned i = 0; i < BLOCK_LABELS_MAX; i++)
        assert_int_equal(block_builder_label(&builder, i, 1, SLICE("x"), &label), 0);
    assert_int_equal(block_builder_label(&builder, 5000, 1, SLICE("x"), &label), ERR_LIMIT);
    block_builder_done(&builder);
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_opened_again_goes_on_where_it_was),
        cmocka_unit_test(a_torn_end_is_cut_off_at_every_length),
        cmocka_unit_test(a_flipped_bit_is_noticed),
        cmocka_unit_test(a_beginning_that_was_not_written_is_put_aside),
        cmocka_unit_test(days_and_sizes_begin_new_segments_with_a_checkpoint),
        cmocka_unit_test(retention_takes_the_oldest_by_age_and_by_size),
        cmocka_unit_test(a_block_takes_no_record_that_it_cannot_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
