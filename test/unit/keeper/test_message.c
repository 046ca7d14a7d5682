#include "unit.h"

#include <signal.h>

#include "keeper/message.h"

static const struct keeper_policy root = {.is_root = true,
                                          .unit_uid_first = 900,
                                          .unit_uid_count = 32,
                                          .control_uid = 800,
                                          .control_gid = 800,
                                          .edge_uid = 801,
                                          .edge_gid = 801};
static const struct keeper_policy user = {.is_root = false};

static struct message_spawn parsed;
static char bytes[KEEPER_SPAWN_STRINGS_MAX * 2];

static size_t add(size_t len, const char *text)
{
    memcpy(bytes + len, text, strlen(text) + 1);
    return len + strlen(text) + 1;
}

/* A request that everything accepts; tests spoil one thing each. */
static struct keeper_spawn plain(void)
{
    return (struct keeper_spawn){.header = {.type = KEEPER_SPAWN, .request = 1},
                                 .unit = 7,
                                 .uid = 900,
                                 .gid = 900,
                                 .argc = 2,
                                 .envc = 2};
}

static size_t compose(const struct keeper_spawn *spawn, const char *directory)
{
    size_t len = sizeof *spawn;

    memcpy(bytes, spawn, sizeof *spawn);
    len = add(len, "tag");
    len = add(len, "label");
    len = add(len, directory);
    len = add(len, "group");
    len = add(len, "node");
    len = add(len, "server.js");
    len = add(len, "PATH=/bin");
    return add(len, "EMPTY=");
}

static int read_spawn(const struct keeper_spawn *spawn, const struct keeper_policy *policy)
{
    return message_read_spawn(bytes, compose(spawn, "/srv"), policy, &parsed, NULL);
}

static void a_plain_spawn_is_read(void **state)
{
    struct keeper_spawn spawn = plain();

    (void)state;
    assert_int_equal(read_spawn(&spawn, &root), 0);
    assert_string_equal(parsed.tag, "tag");
    assert_string_equal(parsed.label, "label");
    assert_string_equal(parsed.working_directory, "/srv");
    assert_string_equal(parsed.cgroup, "group");
    assert_string_equal(parsed.argv[1], "server.js");
    assert_null(parsed.argv[2]);
    assert_string_equal(parsed.envp[1], "EMPTY=");
    assert_null(parsed.envp[2]);
}

static void every_shorter_message_is_refused(void **state)
{
    struct keeper_spawn spawn = plain();
    size_t len = compose(&spawn, "/srv");

    (void)state;
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(message_read_spawn(bytes, cut, &root, &parsed, NULL), ERR_INVALID);
    len = add(len, "one too many");
    assert_int_equal(message_read_spawn(bytes, len, &root, &parsed, NULL), ERR_INVALID);
}

static void counts_flags_and_numbers_out_of_range_are_refused(void **state)
{
    struct keeper_spawn spawn;

    (void)state;
#define REFUSED(member, value)                                                                     \
    spawn = plain();                                                                               \
    spawn.member = (value);                                                                        \
    assert_int_equal(read_spawn(&spawn, &root), ERR_INVALID)
    REFUSED(argc, 0);
    REFUSED(argc, KEEPER_ARGUMENTS_MAX + 1);
    REFUSED(argc, UINT32_MAX);
    REFUSED(envc, KEEPER_ENVIRONMENT_MAX + 1);
    REFUSED(envc, UINT32_MAX);
    REFUSED(unit, 0);
    REFUSED(unit, UINT64_MAX);
    REFUSED(flags, 8);
    REFUSED(cpu_weight, 10001);
#undef REFUSED
}

static void users_outside_the_pool_are_refused_as_root_and_ignored_else(void **state)
{
    struct keeper_spawn spawn = plain();

    (void)state;
    spawn.uid = spawn.gid = 0;
    assert_int_equal(read_spawn(&spawn, &root), ERR_PERMISSION);
    assert_int_equal(read_spawn(&spawn, &user), 0);
    spawn.uid = spawn.gid = 932;
    assert_int_equal(read_spawn(&spawn, &root), ERR_PERMISSION);
    spawn.uid = spawn.gid = 931;
    assert_int_equal(read_spawn(&spawn, &root), 0);
    spawn.gid = 930;
    assert_int_equal(read_spawn(&spawn, &root), ERR_PERMISSION);
    spawn.uid = spawn.gid = 800; /* control itself: only this binary's own jobs */
    assert_int_equal(read_spawn(&spawn, &root), ERR_PERMISSION);
    spawn.flags = KEEPER_SPAWN_SELF;
    assert_int_equal(read_spawn(&spawn, &root), 0);
    spawn.uid = spawn.gid = 0;
    assert_int_equal(read_spawn(&spawn, &root), ERR_PERMISSION);
}

static void control_names_itself_by_its_uid_alone(void **state)
{
    struct keeper_policy policy = root;
    struct keeper_spawn spawn = plain();

    (void)state;
    policy.control_gid = 555;
    spawn.uid = spawn.gid = 800;
    spawn.flags = KEEPER_SPAWN_SELF;
    assert_int_equal(read_spawn(&spawn, &policy), 0);
    assert_int_equal(parsed.fixed.gid, 555);
}

static void the_working_directory_is_absolute(void **state)
{
    struct keeper_spawn spawn = plain();

    (void)state;
    assert_int_equal(message_read_spawn(bytes, compose(&spawn, "srv"), &root, &parsed, NULL),
                     ERR_INVALID);
    assert_int_equal(message_read_spawn(bytes, compose(&spawn, ""), &root, &parsed, NULL),
                     ERR_INVALID);
}

static void the_marker_of_the_keeper_cannot_be_forged(void **state)
{
    struct keeper_spawn spawn = plain();
    size_t len = compose(&spawn, "/srv");

    (void)state;
    spawn.envc = 3;
    memcpy(bytes, &spawn, sizeof spawn);
    len = add(len, KEEPER_MARKER_VARIABLE "=other");
    assert_int_equal(message_read_spawn(bytes, len, &root, &parsed, NULL), 0);
    assert_int_equal(parsed.envc, 2);
}

static void variables_without_a_name_are_refused(void **state)
{
    struct keeper_spawn spawn = plain();
    size_t len = compose(&spawn, "/srv");

    (void)state;
    spawn.envc = 3;
    memcpy(bytes, &spawn, sizeof spawn);
    assert_int_equal(message_read_spawn(bytes, add(len, "=value"), &root, &parsed, NULL),
                     ERR_INVALID);
    assert_int_equal(message_read_spawn(bytes, add(len, "word"), &root, &parsed, NULL),
                     ERR_INVALID);
}

static void the_longest_spawn_is_read(void **state)
{
    struct keeper_spawn spawn = plain();
    size_t len = sizeof spawn;
    char filler[64];

    (void)state;
    spawn.argc = KEEPER_ARGUMENTS_MAX;
    spawn.envc = KEEPER_ENVIRONMENT_MAX;
    memcpy(bytes, &spawn, sizeof spawn);
    for (const char *const *text = (const char *const[]){"tag", "label", "/srv", "group", NULL};
         *text; text++)
        len = add(len, *text);
    memset(filler, 'x', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    for (unsigned i = 0; i < KEEPER_ARGUMENTS_MAX; i++)
        len = add(len, filler);
    filler[1] = '=';
    for (unsigned i = 0; i < KEEPER_ENVIRONMENT_MAX; i++)
        len = add(len, filler);
    assert_int_equal(message_read_spawn(bytes, len, &root, &parsed, NULL), 0);
    assert_int_equal(parsed.envc, KEEPER_ENVIRONMENT_MAX);
    memset(bytes + len, 0, sizeof bytes - len);
    assert_int_equal(message_read_spawn(bytes, sizeof bytes, &root, &parsed, NULL), ERR_INVALID);
}

static int read_directory(const char *path, uint32_t uid, uint32_t gid, uint32_t mode)
{
    struct keeper_make_directory make = {
        .header = {.type = KEEPER_MAKE_DIRECTORY}, .uid = uid, .gid = gid, .mode = mode};
    struct message_directory directory;

    memcpy(bytes, &make, sizeof make);
    return message_read_directory(bytes, add(sizeof make, path), &root, &directory, NULL);
}

static void folders_stay_below_and_belong_to_units_or_control(void **state)
{
    static const char *const bad[] = {"",     "/",     "/etc", "..", "../x", "a/../b",
                                      "a//b", "a/./b", "a/..", "a/", ".",    "./a"};

    (void)state;
    assert_int_equal(read_directory("apps/shop/releases/1", 900, 900, 0755), 0);
    assert_int_equal(read_directory("apps/..shop", 800, 800, 0700), 0);
    assert_int_equal(read_directory("apps/site", 900, 801, 0750), 0); /* the edge reads it */
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(read_directory(bad[i], 900, 900, 0755), ERR_INVALID);
    assert_int_equal(read_directory("apps/shop", 900, 900, 01755), ERR_INVALID);
    assert_int_equal(read_directory("apps/shop", 0, 900, 0755), ERR_PERMISSION);
    assert_int_equal(read_directory("apps/shop", 900, 0, 0755), ERR_PERMISSION);
    assert_int_equal(read_directory("apps/shop", 801, 900, 0755), ERR_PERMISSION);
}

static void folders_of_the_platform_itself_are_refused(void **state)
{
    static const char *const own[] = {"logs",       "logs/spool",     "store",   "store/x",
                                      "admin.sock", "elsewhere/apps", "appsx/y", "apps"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        assert_int_equal(read_directory(own[i], 900, 900, 0755), ERR_PERMISSION);
    for (const char *const *at =
             (const char *const[]){"data/x", "run/x", "uploads/x", "trash/x", NULL};
         *at; at++)
        assert_int_equal(read_directory(*at, 900, 900, 0755), 0);
}

static void only_signals_that_can_end_a_process_stop_a_unit(void **state)
{
    struct keeper_stop stop = {.unit = 7, .grace_ms = 1}, read;

    (void)state;
    for (uint32_t number = 0; number < 100; number++) {
        bool is_pause =
            number == SIGSTOP || number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;

        stop.signal = number;
        assert_int_equal(message_read_stop(&stop, sizeof stop, &read, NULL),
                         number >= 1 && number <= 31 && !is_pause ? 0 : ERR_INVALID);
    }
    assert_int_equal(message_read_stop(&stop, sizeof stop - 1, &read, NULL), ERR_INVALID);
}

static void a_held_name_is_short_and_complete(void **state)
{
    struct keeper_hold hold = {.header = {.type = KEEPER_HOLD}};
    const char *name;

    (void)state;
    memset(bytes, 'x', KEEPER_TEXT_MAX * 2);
    memcpy(bytes, &hold, sizeof hold);
    assert_int_equal(message_read_name(bytes, sizeof hold + 5, &name, NULL), ERR_INVALID);
    bytes[sizeof hold + KEEPER_TEXT_MAX] = '\0';
    assert_int_equal(message_read_name(bytes, sizeof hold + KEEPER_TEXT_MAX + 1, &name, NULL),
                     ERR_INVALID);
    bytes[sizeof hold + KEEPER_TEXT_MAX - 1] = '\0';
    assert_int_equal(message_read_name(bytes, sizeof hold + KEEPER_TEXT_MAX, &name, NULL), 0);
    assert_int_equal(strlen(name), KEEPER_TEXT_MAX - 1);
    bytes[sizeof hold] = '\0';
    assert_int_equal(message_read_name(bytes, sizeof hold + 1, &name, NULL), ERR_INVALID);
}

static int read_upgrade(uint32_t kind, const char *path, size_t len)
{
    struct {
        struct keeper_upgrade fixed;
        char path[64];
    } message = {.fixed = {.header = {.type = KEEPER_UPGRADE}, .kind = kind, .upgrade = 1}};
    struct keeper_upgrade upgrade;
    const char *read = NULL;
    int code;

    memcpy(message.path, path, len);
    code = message_read_upgrade(&message, sizeof message.fixed + len, &upgrade, &read, NULL);
    if (code == 0)
        assert_string_equal(read, path);
    return code;
}

static void an_upgrade_names_an_absolute_path_or_none(void **state)
{
    (void)state;
    assert_int_equal(read_upgrade(KEEPER_UPGRADE_TO_PATH, "/bin/x", 7), 0);
    assert_int_equal(read_upgrade(KEEPER_UPGRADE_TO_START, "", 1), 0);
    assert_int_equal(read_upgrade(KEEPER_UPGRADE_BACK, "", 1), 0);
    assert_int_equal(read_upgrade(KEEPER_UPGRADE_TO_PATH, "bin/x", 6), ERR_INVALID);
    assert_int_equal(read_upgrade(KEEPER_UPGRADE_TO_PATH, "/bin/x", 6), ERR_INVALID); /* no end */
    assert_int_equal(read_upgrade(KEEPER_UPGRADE_TO_PATH, "", 1), ERR_INVALID);
    assert_int_equal(read_upgrade(KEEPER_UPGRADE_BACK, "/bin/x", 7), ERR_INVALID);
    assert_int_equal(read_upgrade(KEEPER_UPGRADE_BACK + 1, "", 1), ERR_INVALID);
    assert_int_equal(read_upgrade(KEEPER_UPGRADE_BACK, "", 0), ERR_INVALID);
    assert_int_equal(read_upgrade(KEEPER_UPGRADE_TO_PATH, "/a\0b", 5), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_spawn_is_read),
        cmocka_unit_test(every_shorter_message_is_refused),
        cmocka_unit_test(counts_flags_and_numbers_out_of_range_are_refused),
        cmocka_unit_test(users_outside_the_pool_are_refused_as_root_and_ignored_else),
        cmocka_unit_test(control_names_itself_by_its_uid_alone),
        cmocka_unit_test(the_working_directory_is_absolute),
        cmocka_unit_test(the_marker_of_the_keeper_cannot_be_forged),
        cmocka_unit_test(variables_without_a_name_are_refused),
        cmocka_unit_test(the_longest_spawn_is_read),
        cmocka_unit_test(folders_stay_below_and_belong_to_units_or_control),
        cmocka_unit_test(folders_of_the_platform_itself_are_refused),
        cmocka_unit_test(only_signals_that_can_end_a_process_stop_a_unit),
        cmocka_unit_test(a_held_name_is_short_and_complete),
        cmocka_unit_test(an_upgrade_names_an_absolute_path_or_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
