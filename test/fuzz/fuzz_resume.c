/* fuzz_resume.c - arbitrary bytes as the state that a keeper left: refused, or records whose every
 * text and descriptor is safe to use, and which read the same after they were written anew. */
#include "keeper/resume.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t used; /* keeps the reads below from being optimised away */

static void use_descriptor(int fd, void *context)
{
    (void)context;
    assert(fd > 2);
    used++;
}

static void use_texts(const struct resume_record *record)
{
    if (record->tag == RESUME_TAG_keeper)
        used += strlen(record->keeper.state_directory) + strlen(record->keeper.start_path);
    else if (record->tag == RESUME_TAG_unit)
        used +=
            strlen(record->unit.tag) + strlen(record->unit.program) + strlen(record->unit.cgroup);
    else if (record->tag == RESUME_TAG_held)
        used += strlen(record->held.name);
    else if (record->tag == RESUME_TAG_upgrade)
        used += strlen(record->upgrade.reason) + strlen(record->upgrade.hint);
}

static size_t read_all(struct slice block, struct buf *copy)
{
    struct resume_record record;
    size_t cursor, count = 0;

    if (resume_open(block, &cursor, NULL) < 0)
        return 0;
    while (resume_next(block, &cursor, &record, NULL) > 0) {
        resume_each_descriptor(&record, use_descriptor, NULL);
        use_texts(&record);
        if (copy)
            resume_append(copy, record.tag, &record.keeper); /* all begin there */
        count++;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf copy = BUF_INIT(RESUME_BYTES_MAX);
    char *block = malloc(size ? size : 1); /* its end is watched */
    size_t count;

    if (!block)
        return 0;
    memcpy(block, data, size);
    (void)resume_check((struct slice){block, size}, NULL);
    resume_begin(&copy);
    count = read_all((struct slice){block, size}, &copy);
    resume_finish(&copy);
    assert(copy.failed || read_all(buf_slice(&copy), NULL) == count);
    buf_done(&copy);
    free(block);
    return 0;
}
