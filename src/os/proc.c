/* proc.c - /proc/PID/stat (proc(5)). The command name in it may hold anything, so fields count from
 * the last ')'. */
#include "os/proc.h"

#include "base/slice.h"
#include "os/file.h"
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

struct proc_stat {
    char state;
    int64_t parent, session;
    uint64_t cpu_ticks, start_ticks, resident_pages;
};

/* Fields as proc(5) numbers them. */
enum {
    FIELD_STATE = 3,
    FIELD_PARENT = 4,
    FIELD_SESSION = 6,
    FIELD_CPU_FIRST = 14, /* user, system, children's user, children's system */
    FIELD_CPU_LAST = 17,
    FIELD_START = 22,
    FIELD_RESIDENT = 24
};

static bool stat_field(struct proc_stat *stat, int field, struct slice text)
{
    int64_t number;
    if (field == FIELD_STATE) {
        stat->state = text.len ? text.ptr[0] : '?';
        return true;
    }
    if (slice_to_i64(text, &number) != 0)
        return field > FIELD_RESIDENT; /* later ones may pass the range and are not read */
    if (field == FIELD_PARENT)
        stat->parent = number;
    else if (field == FIELD_SESSION)
        stat->session = number;
    else if (field >= FIELD_CPU_FIRST && field <= FIELD_CPU_LAST)
        stat->cpu_ticks += number > 0 ? (uint64_t)number : 0;
    else if (field == FIELD_START)
        stat->start_ticks = (uint64_t)number;
    else if (field == FIELD_RESIDENT)
        stat->resident_pages = number > 0 ? (uint64_t)number : 0;
    return true;
}

static bool stat_read(pid_t pid, struct proc_stat *ret_stat)
{
    char path[40], text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    CLEANUP(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
    if (n <= 0)
        return false;
    const char *close = memrchr(text, ')', (size_t)n);
    if (!close)
        return false;
    struct slice rest = {close + 1, (size_t)(text + n - close - 1)};
    rest = slice_trim(rest);
    struct proc_stat stat = {0};
    int field = FIELD_STATE;
    for (; rest.len && field <= FIELD_RESIDENT; field++)
        if (!stat_field(&stat, field, slice_cut(&rest, ' ')))
            return false;
    *ret_stat = stat;
    return field > FIELD_RESIDENT;
}

static bool is_gone(const struct proc_stat *stat)
{
    return stat->state == 'Z' || stat->state == 'X' || stat->state == 'x';
}

struct proc_visitor {
    bool (*visit)(struct proc_visitor *visitor, pid_t pid, const struct proc_stat *stat);
};

/* Show the visitor each process that there is, until it returns false. */
static void proc_each(struct proc_visitor *visitor)
{
    DIR *dir = opendir("/proc");
    if (!dir)
        return;
    struct dirent *entry;
    bool goes_on = true;
    while (goes_on && (entry = readdir(dir)) != NULL) {
        uint64_t pid;
        struct proc_stat stat;
        if (slice_to_u64(slice_from(entry->d_name), &pid) == 0 && pid <= INT32_MAX &&
            stat_read((pid_t)pid, &stat))
            goes_on = visitor->visit(visitor, (pid_t)pid, &stat);
    }
    closedir(dir);
}

struct usage_sum {
    struct proc_visitor visitor;
    pid_t leader;
    uint64_t ticks, pages;
    unsigned processes;
};

static bool usage_add(struct proc_visitor *visitor, pid_t pid, const struct proc_stat *stat)
{
    struct usage_sum *sum = container_of(visitor, struct usage_sum, visitor);
    (void)pid;
    if (stat->session == sum->leader) {
        sum->ticks += stat->cpu_ticks;
        sum->pages += stat->resident_pages;
        sum->processes += !is_gone(stat);
    }
    return true;
}

int proc_session_usage(pid_t leader, struct proc_usage *ret_usage, struct error *err)
{
    struct usage_sum sum = {.visitor = {usage_add}, .leader = leader};
    proc_each(&sum.visitor);
    if (sum.processes == 0)
        return error_set(err, ERR_NOT_FOUND, "no process is in session %d", leader);
    *ret_usage = (struct proc_usage){
        .cpu_seconds = (double)sum.ticks / (double)sysconf(_SC_CLK_TCK),
        .memory_bytes = sum.pages * (uint64_t)sysconf(_SC_PAGESIZE),
        .processes = sum.processes,
    };
    return 0;
}

int proc_start_ticks(pid_t pid, uint64_t *ret_ticks)
{
    struct proc_stat stat;
    if (!stat_read(pid, &stat))
        return ERR_NOT_FOUND;
    *ret_ticks = stat.start_ticks;
    return 0;
}

struct pid_list {
    struct proc_visitor visitor;
    pid_t session, parent; /* 0: any */
    pid_t *pids;
    size_t capacity, count;
};

static bool pid_add(struct proc_visitor *visitor, pid_t pid, const struct proc_stat *stat)
{
    struct pid_list *list = container_of(visitor, struct pid_list, visitor);
    if ((list->session && stat->session != list->session) ||
        (list->parent && stat->parent != list->parent))
        return true;
    if (list->count < list->capacity)
        list->pids[list->count++] = pid;
    return list->count < list->capacity;
}

size_t proc_session_members(pid_t session, pid_t *ret_pids, size_t capacity)
{
    struct pid_list list = {
        .visitor = {pid_add}, .session = session, .pids = ret_pids, .capacity = capacity};
    proc_each(&list.visitor);
    return list.count;
}

size_t proc_children(pid_t parent, pid_t *ret_pids, size_t capacity)
{
    struct pid_list list = {
        .visitor = {pid_add}, .parent = parent, .pids = ret_pids, .capacity = capacity};
    proc_each(&list.visitor);
    return list.count;
}

bool proc_is_alive(pid_t pid)
{
    struct proc_stat stat;
    return pid > 0 && stat_read(pid, &stat) && !is_gone(&stat);
}
