#include "os/file.h"
#include "os/memory.h"
#include "unit.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static void a_sealed_message_can_be_read_and_not_changed(void **state)
{
    (void)state;
    CLEANUP(fd_closep) int fd = -1;
    void *base;
    size_t size;
    assert_int_equal(memory_sealed("test", SLICE("hello"), &fd, NULL), 0);
    assert_int_equal(memory_map(fd, false, true, &base, &size, NULL), 0);
    assert_int_equal(size, 5);
    assert_memory_equal(base, "hello", 5);
    memory_unmap(base, size);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(memory_map(fd, true, true, &base, &size, NULL), ERR_PERMISSION);
}

static void a_slab_is_shared_and_keeps_its_size(void **state)
{
    (void)state;
    CLEANUP(fd_closep) int fd = -1;
    void *one, *two;
    size_t size;
    assert_int_equal(memory_shared("test", 8192, &fd, NULL), 0);
    assert_int_equal(memory_map(fd, true, false, &one, &size, NULL), 0);
    assert_int_equal(memory_map(fd, false, false, &two, &size, NULL), 0);
    assert_int_equal(size, 8192);
    assert_int_equal(((char *)two)[100], 0);
    ((char *)one)[100] = 7;
    assert_int_equal(((char *)two)[100], 7);
    memory_unmap(one, size);
    memory_unmap(two, size);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ftruncate(fd, 16384), -1);
    memory_unmap(NULL, 0);
}

static void memory_that_could_change_is_refused_where_a_seal_is_required(void **state)
{
    (void)state;
    CLEANUP(fd_closep) int slab = -1;
    CLEANUP(fd_closep) int empty = -1;
    CLEANUP(fd_closep) int loose = memfd_create("test", MFD_CLOEXEC);
    void *base;
    size_t size;
    assert_int_equal(memory_shared("test", 4096, &slab, NULL), 0);
    assert_int_equal(memory_map(slab, false, true, &base, &size, NULL), ERR_INVALID);
    assert_int_equal(memory_map(loose, false, true, &base, &size, NULL), ERR_INVALID);
    assert_int_equal(memory_map(STDIN_FILENO, false, true, &base, &size, NULL), ERR_INVALID);
    assert_int_equal(memory_sealed("test", (struct slice){0}, &empty, NULL), 0);
    assert_int_equal(memory_map(empty, false, true, &base, &size, NULL), ERR_INVALID);
}

static void reserved_memory_that_is_forgotten_is_zero_again(void **state)
{
    (void)state;
    size_t size = (size_t)1 << 30;
    void *base;
    assert_int_equal(memory_reserve(size, &base, NULL), 0);
    char *last = (char *)base + size - 4096;
    assert_int_equal(last[10], 0);
    last[10] = 7;
    memory_forget(last, 4096);
    assert_int_equal(last[10], 0);
    memory_unmap(base, size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sealed_message_can_be_read_and_not_changed),
        cmocka_unit_test(a_slab_is_shared_and_keeps_its_size),
        cmocka_unit_test(memory_that_could_change_is_refused_where_a_seal_is_required),
        cmocka_unit_test(reserved_memory_that_is_forgotten_is_zero_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
