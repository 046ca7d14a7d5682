#include <sys/wait.h>
#include <unistd.h>

#include "keeper/keeper_private.h"
#include "keeper/resume.h"
#include "unit.h"

static struct buf make_block(void)
{
    struct buf block = BUF_INIT(RESUME_BYTES_MAX);
    struct resume_keeper keeper = {.state_directory = "/var/lib/slipway",
                                   .edge_count = 2,
                                   .lock_fd = 5,
                                   .state_fd = 6,
                                   .guard_writer = -1};
    struct resume_unit unit = {
        .id = 7, .pid = 4711, .tag = "", .program = "node", .cgroup = NULL, .result = -1};

    resume_begin(&block);
    resume_append(&block, RESUME_TAG_keeper, &keeper);
    resume_append(&block, RESUME_TAG_unit, &unit);
    resume_finish(&block);
    assert_false(block.failed);
    return block;
}

static int count_records(struct slice block)
{
    struct resume_record record;
    size_t cursor;
    int count = 0, code = resume_open(block, &cursor, NULL);

    while (code == 0 && (code = resume_next(block, &cursor, &record, NULL)) > 0) {
        count++;
        code = 0;
    }
    return code < 0 ? code : count;
}

static void what_is_written_is_read(void **state UNUSED)
{
    struct buf block = make_block();
    struct resume_record record;
    size_t cursor;

    assert_int_equal(resume_open(buf_slice(&block), &cursor, NULL), 0);
    assert_int_equal(resume_next(buf_slice(&block), &cursor, &record, NULL), 1);
    assert_int_equal(record.tag, RESUME_TAG_keeper);
    assert_string_equal(record.keeper.state_directory, "/var/lib/slipway");
    assert_int_equal(record.keeper.edge_count, 2);
    assert_int_equal(record.keeper.lock_fd, 5);
    assert_int_equal(record.keeper.guard_writer, -1);
    assert_string_equal(record.keeper.start_path, "");
    assert_int_equal(resume_next(buf_slice(&block), &cursor, &record, NULL), 1);
    assert_int_equal(record.unit.pid, 4711);
    assert_string_equal(record.unit.cgroup, "");
    assert_int_equal(resume_next(buf_slice(&block), &cursor, &record, NULL), 0);
    buf_done(&block);
}

static void put_u32(struct buf *buf, uint32_t value)
{
    buf_append(buf, &value, sizeof value);
}

static void what_a_newer_version_adds_is_skipped(void **state UNUSED)
{
    struct buf block = BUF_INIT(4096);
    struct resume_record record;
    const uint64_t number = 9;
    size_t cursor;

    resume_begin(&block);
    put_u32(&block, 4000); /* a record of unknown kind */
    put_u32(&block, 3);
    buf_append(&block, "abc", 3);
    put_u32(&block, RESUME_TAG_giving);
    put_u32(&block, 8 + 5 + 8 + 8);
    put_u32(&block, 3999); /* a field of unknown kind */
    put_u32(&block, 5);
    buf_append(&block, "hello", 5);
    put_u32(&block, 1);
    put_u32(&block, 8);
    buf_append(&block, &number, 8);
    resume_finish(&block);
    assert_int_equal(resume_open(buf_slice(&block), &cursor, NULL), 0);
    assert_int_equal(resume_next(buf_slice(&block), &cursor, &record, NULL), 1);
    assert_int_equal(record.tag, RESUME_TAG_giving);
    assert_int_equal(record.giving.pid, 9);
    assert_int_equal(record.giving.request, 0);
    buf_done(&block);
}

static void formats_beyond_the_next_one_are_refused(void **state UNUSED)
{
    static const struct {
        uint32_t format;
        int code;
    } cases[] = {{RESUME_FORMAT - 1, 0},
                 {RESUME_FORMAT, 0},
                 {RESUME_FORMAT + 1, 0},
                 {RESUME_FORMAT + 2, ERR_VERSION}};
    struct buf block = make_block();
    size_t cursor;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        memcpy(block.ptr + 8, &cases[i].format, sizeof cases[i].format);
        assert_int_equal(resume_open(buf_slice(&block), &cursor, NULL), cases[i].code);
    }
    buf_done(&block);
}

static void a_state_that_is_cut_off_anywhere_is_refused(void **state UNUSED)
{
    struct buf block = make_block();

    for (size_t len = 0; len < block.len; len++) {
        uint64_t total = len;
        char *copy = malloc(len ? len : 1); /* its end is watched */

        assert_non_null(copy);
        memcpy(copy, block.ptr, len);
        if (len >= 24)
            memcpy(copy + 16, &total, sizeof total); /* the length lies, too */
        assert_true(count_records((struct slice){copy, len}) <= 1);
        free(copy);
    }
    assert_int_equal(count_records(buf_slice(&block)), 2);
    buf_done(&block);
}

static void malformed_fields_are_refused(void **state UNUSED)
{
    static const struct {
        const char *bytes;
        uint32_t tag, len;
    } cases[] = {{"\1\0\0\0\0\0\0", 1, 7}, /* a number of seven bytes */
                 {"\1\0\0\0", 2, 4},       /* standard output is nobody's descriptor */
                 {"\377\377\377\377", 2, 4},
                 {"abc", 3, 3}, /* a text without an end */
                 {"a\0c", 3, 4} /* and one with two */};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf block = BUF_INIT(4096);

        resume_begin(&block);
        put_u32(&block, RESUME_TAG_listener);
        put_u32(&block, 8 + cases[i].len);
        put_u32(&block, cases[i].tag);
        put_u32(&block, cases[i].len);
        buf_append(&block, cases[i].bytes, cases[i].len);
        resume_finish(&block);
        assert_int_equal(count_records(buf_slice(&block)), ERR_INVALID);
        buf_done(&block);
    }
}

/* ---- sense */

/* All that a state needs, and one record more. */
static int check_with(enum resume_tag tag, const void *record, struct error *err)
{
    struct resume_binary binary = {.id = 1, .place = RESUME_IS_RUNNING, .fd = 10, .version = "1.0"};
    struct resume_listener listener = {.fd = 11, .address = "0.0.0.0:80", .port = 80};
    struct buf block = make_block();
    int code;

    resume_append(&block, RESUME_TAG_binary, &binary);
    resume_append(&block, RESUME_TAG_listener, &listener);
    if (record)
        resume_append(&block, tag, record);
    resume_finish(&block);
    code = resume_check(buf_slice(&block), err);
    buf_done(&block);
    return code;
}

static void a_state_without_sense_is_refused(void **state UNUSED)
{
    char name[VERSION_TEXT_SIZE + 1];
    const struct resume_keeper second = {
        .state_directory = "/", .edge_count = 1, .lock_fd = 5, .state_fd = 6, .guard_writer = -1};
    const struct resume_binary placeless = {.id = 2, .place = 9, .fd = 9, .version = ""},
                               closed = {.id = 2, .place = 2, .fd = -1, .version = ""},
                               wordy = {.id = 2, .place = 2, .fd = 9, .version = name};
    const struct resume_listener odd = {.kind = 2, .fd = 12, .address = ""},
                                 deaf = {.kind = 1, .fd = -1, .address = ""},
                                 high = {.kind = 1, .fd = 12, .address = "", .port = 65536};
    const struct resume_role stateless = {.kind = 1,
                                          .state = ROLE_STATE_COUNT,
                                          .channel = -1,
                                          .result = -1,
                                          .counters = -1,
                                          .access_writer = -1,
                                          .version = ""},
                             everybody = {.kind = 1,
                                          .pid = (uint64_t)-1,
                                          .channel = -1,
                                          .result = -1,
                                          .counters = -1,
                                          .access_writer = -1,
                                          .version = ""},
                             newer = {.kind = 99,
                                      .pid = 4711,
                                      .channel = -1,
                                      .result = -1,
                                      .counters = -1,
                                      .access_writer = -1,
                                      .version = ""};
    const struct resume_unit
        init = {.id = 8, .pid = 1, .tag = "", .program = "", .cgroup = "", .result = -1},
        nobody = {.id = 8, .tag = "", .program = "", .cgroup = "", .result = -1};
    const struct resume_stream kindless = {.id = 3, .kind = 4, .label = "", .fd = 13},
                               shut = {.id = 3, .kind = 1, .label = "", .fd = -1};
    const struct resume_held nameless = {.name = "", .fd = 14};
    const struct resume_giving ownerless = {.pid = 0};
    const struct resume_upgrade phaseless = {.phase = KEEPER_UPGRADE_RETURNED + 1},
                                codeless = {.code = UINT64_C(1) << 31},
                                good = {.phase = KEEPER_UPGRADE_REPLACING, .code = 3};
    const struct {
        enum resume_tag tag;
        const void *record;
        int code;
    } cases[] = {
        {RESUME_TAG_keeper, NULL, 0},
        {RESUME_TAG_keeper, &second, ERR_INVALID},
        {RESUME_TAG_binary, &placeless, ERR_INVALID},
        {RESUME_TAG_binary, &closed, ERR_INVALID},
        {RESUME_TAG_binary, &wordy, ERR_INVALID},
        {RESUME_TAG_listener, &odd, ERR_VERSION},
        {RESUME_TAG_listener, &deaf, ERR_INVALID},
        {RESUME_TAG_listener, &high, ERR_INVALID},
        {RESUME_TAG_role, &stateless, ERR_INVALID},
        {RESUME_TAG_role, &everybody, ERR_INVALID},
        {RESUME_TAG_role, &newer, 0},
        {RESUME_TAG_unit, &init, ERR_INVALID},
        {RESUME_TAG_unit, &nobody, ERR_INVALID},
        {RESUME_TAG_stream, &kindless, ERR_INVALID},
        {RESUME_TAG_stream, &shut, ERR_INVALID},
        {RESUME_TAG_held, &nameless, ERR_INVALID},
        {RESUME_TAG_giving, &ownerless, ERR_INVALID},
        {RESUME_TAG_upgrade, &phaseless, ERR_VERSION},
        {RESUME_TAG_upgrade, &codeless, ERR_INVALID},
        {RESUME_TAG_upgrade, &good, 0},
    };

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err = {0};

        assert_int_equal(check_with(cases[i].tag, cases[i].record, &err), cases[i].code);
        assert_int_equal(err.text[0] != 0, cases[i].code != 0);
    }
}

/* Until all of the state is taken over, the binary before may have to go on. */
static void a_role_of_an_unknown_kind_lives_until_nobody_goes_back(void **state UNUSED)
{
    static const struct keeper_role_entry entries[] = {
        {.role = KEEPER_ROLE_CONTROL, .name = "control"}};
    static const struct keeper_options options = {.roles = entries,
                                                  .role_count = ARRAY_LEN(entries)};
    struct keeper keeper = {.options = &options};
    struct resume_binary binary = {.id = 1, .place = RESUME_IS_RUNNING, .fd = 10, .version = "1.0"};
    struct resume_listener listener = {.fd = 11, .address = "0.0.0.0:80", .port = 80};
    struct resume_role role = {.kind = 99,
                               .pid = (uint64_t)fork(),
                               .channel = -1,
                               .result = -1,
                               .counters = -1,
                               .access_writer = -1,
                               .version = ""};
    struct buf block = make_block();
    struct error err = {0};
    int status = 0;

    if (role.pid == 0) {
        (void)pause();
        _exit(0);
    }
    resume_append(&block, RESUME_TAG_binary, &binary);
    resume_append(&block, RESUME_TAG_listener, &listener);
    resume_append(&block, RESUME_TAG_role, &role);
    resume_finish(&block);
    list_init(&keeper.units);
    assert_int_equal(loop_new(&keeper.loop, NULL), 0);
    assert_int_equal(roles_make_table(&keeper, NULL), 0);
    keeper.units_by_id = map_new(KEEPER_UNITS_MAX);
    assert_int_equal(resumed_load(&keeper, buf_slice(&block), &err), 0);
    assert_int_equal(waitpid((pid_t)role.pid, &status, WNOHANG), 0);
    resumed_end_unknown(&keeper, buf_slice(&block));
    assert_int_equal(waitpid((pid_t)role.pid, &status, 0), role.pid);
    assert_true(WIFSIGNALED(status));
    units_done(&keeper);
    roles_done(&keeper);
    map_freep(&keeper.units_by_id);
    loop_free(keeper.loop);
    free((void *)(uintptr_t)keeper.own_options.state_directory);
    buf_done(&block);
}

static void a_state_that_lacks_something_is_refused(void **state UNUSED)
{
    struct buf block = make_block();
    struct error err = {0};

    assert_int_equal(resume_check(buf_slice(&block), &err), ERR_INVALID);
    buf_done(&block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_a_newer_version_adds_is_skipped),
        cmocka_unit_test(formats_beyond_the_next_one_are_refused),
        cmocka_unit_test(a_state_that_is_cut_off_anywhere_is_refused),
        cmocka_unit_test(malformed_fields_are_refused),
        cmocka_unit_test(a_state_without_sense_is_refused),
        cmocka_unit_test(a_role_of_an_unknown_kind_lives_until_nobody_goes_back),
        cmocka_unit_test(a_state_that_lacks_something_is_refused),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
