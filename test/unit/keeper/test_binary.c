#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper/keeper_private.h"
#include "os/file.h"
#include "unit.h"

#define MIB (1024 * 1024)

static void put_file(const char *path, const char *content, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, (struct slice){content, strlen(content)}, NULL), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    fd_close(fd);
}

/* The number of steps, or why not. */
static int take(struct keeper *keeper, const char *path, int *ret_fd, struct error *err)
{
    struct binary_copy copy = {.from = -1, .writer = -1};
    int steps = 0, code = binary_copy_begin(keeper, path, &copy, err);

    while (code >= 0) {
        steps++;
        code = binary_copy_step(&copy, ret_fd, err);
        if (code == 0)
            return steps;
    }
    binary_copy_stop(&copy);
    return code;
}

static int try_open(struct keeper *keeper, const char *path, struct error *err)
{
    int fd = -1, code = take(keeper, path, &fd, err);

    fd_close(fd);
    return MIN(code, 0);
}

static void only_what_nobody_else_could_write_is_executed(void **state UNUSED)
{
    char folder[] = "/tmp/slipway-test-XXXXXX", path[128];
    struct keeper keeper = {.policy = {.is_root = geteuid() == 0}};
    struct error err = {0};

    assert_non_null(mkdtemp(folder));
    keeper.state_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)snprintf(path, sizeof path, "%s/program", folder);
    put_file(path, "\177ELF and more", 0755);
    assert_int_equal(try_open(&keeper, path, &err), 0);
    assert_int_equal(chmod(path, 0775), 0);
    assert_int_equal(try_open(&keeper, path, &err), ERR_PERMISSION);
    assert_true(err.hint[0]);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(chmod(folder, 0777), 0);
    assert_int_equal(try_open(&keeper, path, &err), ERR_PERMISSION);
    assert_int_equal(chmod(folder, 0755), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 65534, 0), 0);
        assert_int_equal(try_open(&keeper, path, &err), ERR_PERMISSION);
        assert_int_equal(chown(path, 0, 0), 0);
    }
    put_file(path, "#!/bin/sh", 0755);
    assert_int_equal(try_open(&keeper, path, &err), ERR_INVALID);
    assert_int_equal(try_open(&keeper, folder, &err), ERR_INVALID);
    assert_int_equal(try_open(&keeper, "program", &err), ERR_INVALID);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(try_open(&keeper, path, &err), ERR_NOT_FOUND);
    fd_close(keeper.state_fd);
    assert_int_equal(rmdir(folder), 0);
}

struct place { /* a state folder with a program in it */
    char folder[32], path[64];
    struct keeper keeper;
};

static struct place place_make(void)
{
    struct place place = {.folder = "/tmp/slipway-test-XXXXXX",
                          .keeper = {.policy = {.is_root = geteuid() == 0}}};

    assert_non_null(mkdtemp(place.folder));
    place.keeper.state_fd = open(place.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)snprintf(place.path, sizeof place.path, "%s/program", place.folder);
    return place;
}

static void place_remove(struct place *place)
{
    fd_close(place->keeper.state_fd);
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(rmdir(place->folder), 0);
}

static void what_was_opened_stays_what_it_was(void **state UNUSED)
{
    struct place place = place_make();
    char bytes[16];
    int fd = -1;

    put_file(place.path, "\177ELF before", 0755);
    assert_int_equal(take(&place.keeper, place.path, &fd, NULL), 1);
    put_file(place.path, "\177ELF after!", 0755);
    assert_int_equal(pread(fd, bytes, sizeof bytes, 0), 11);
    assert_memory_equal(bytes, "\177ELF before", 11);
    fd_close(fd);
    place_remove(&place);
}

static void a_large_one_is_copied_slice_by_slice_and_a_huge_one_refused(void **state UNUSED)
{
    struct place place = place_make();
    char end[4];
    struct error err = {0};
    int fd = -1;

    put_file(place.path, "\177ELF", 0755);
    assert_int_equal(truncate(place.path, 5 * MIB + 3), 0);
    assert_int_equal(take(&place.keeper, place.path, &fd, &err), 6);
    assert_int_equal(pread(fd, end, sizeof end, 5 * MIB), 3);
    fd_close(fd);
    assert_int_equal(truncate(place.path, 129 * MIB), 0);
    assert_int_equal(take(&place.keeper, place.path, &fd, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "has 129 MiB"));
    assert_non_null(strstr(err.text, "128 at most"));
    place_remove(&place);
}

static void one_that_is_written_to_meanwhile_is_refused(void **state UNUSED)
{
    struct place place = place_make();
    struct binary_copy copy;
    struct error err = {0};
    int fd = -1;

    put_file(place.path, "\177ELF", 0755);
    assert_int_equal(truncate(place.path, MIB + 1), 0);
    assert_int_equal(binary_copy_begin(&place.keeper, place.path, &copy, NULL), 0);
    assert_int_equal(binary_copy_step(&copy, &fd, NULL), 1);
    (void)usleep(20000); /* the clock of files is that coarse */
    put_file(place.path, "\177ELF", 0755);
    assert_int_equal(truncate(place.path, MIB + 1), 0);
    assert_int_equal(binary_copy_step(&copy, &fd, &err), ERR_CONFLICT);
    binary_copy_stop(&copy);
    place_remove(&place);
}

static void *write_end(void *path)
{
    return (void *)(intptr_t)open(path, O_WRONLY | O_CLOEXEC); /* waits for a reader */
}

/* Opening a device or a FIFO can have consequences, and control names the path. */
static void what_is_no_file_is_not_opened(void **state UNUSED)
{
    char folder[] = "/tmp/slipway-test-XXXXXX", path[128];
    struct keeper keeper = {.policy = {.is_root = geteuid() == 0}};
    struct error err = {0};
    pthread_t writer;
    void *end = NULL;
    int reader;

    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_end, path), 0);
    (void)usleep(50000);
    assert_int_equal(try_open(&keeper, path, &err), ERR_INVALID);
    (void)usleep(50000);
    assert_int_not_equal(pthread_tryjoin_np(writer, &end), 0);
    reader = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pthread_join(writer, &end), 0);
    fd_close((int)(intptr_t)end);
    fd_close(reader);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_nobody_else_could_write_is_executed),
        cmocka_unit_test(what_was_opened_stays_what_it_was),
        cmocka_unit_test(a_large_one_is_copied_slice_by_slice_and_a_huge_one_refused),
        cmocka_unit_test(one_that_is_written_to_meanwhile_is_refused),
        cmocka_unit_test(what_is_no_file_is_not_opened),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
