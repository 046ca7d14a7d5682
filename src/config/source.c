/* source.c - the walk over a source folder. Patterns: ignore.c.
 *
 * .gitignore says what a team does not keep in its repository; .slipwayignore has the last word, so
 * that it can leave out more or put something back ("!dist"). A folder that is left out is not
 * entered, so nothing in it can be put back; git has it so.
 */
#include "config/source.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "config/ignore_private.h"
#include "os/file.h"
#include "os/spawn.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES_MAX            ((size_t)500000)
#define DEPTH_MAX            64u
#define FOLDER_BYTES_MAX     ((size_t)256 * 1024 * 1024) /* names of one folder, rules */
#define GIT_DEADLINE_US      ((uint64_t)5 * 1000000)
#define GIT_OUTPUT_BYTES_MAX ((size_t)4096)

struct walk {
    struct source_visitor *visitor;
    const char *directory;
    char real_root[PATH_MAX];
    struct buf path; /* relative; "" at the top */
    size_t files;
};

/* The rules in force within a folder. */
struct rules {
    const struct ignore_file *git, *slipway;
};

static bool always_left_out(const char *name)
{
    return strcmp(name, ".git") == 0 || strcmp(name, "node_modules") == 0;
}

static bool is_left_out(const struct rules *rules, struct slice path, bool is_directory)
{
    enum ignore_verdict verdict = ignore_match(rules->slipway, path, is_directory);
    if (verdict == IGNORE_UNDECIDED)
        verdict = ignore_match(rules->git, path, is_directory);
    return verdict == IGNORE_LEFT_OUT;
}

static int rules_read(struct walk *walk, struct arena *arena, int folder_fd, const char *name,
                      const struct ignore_file **file, struct error *err)
{
    CLEANUP(fd_closep)
    int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return 0;
    const char *slash = walk->path.len ? "/" : "";
    if ((uint64_t)status.st_size > IGNORE_FILE_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "'%s%s%s' is larger than 1 MB", buf_text(&walk->path),
                         slash, name);
    char *text = arena_alloc(arena, (size_t)status.st_size + 1);
    size_t len = 0;
    while (len < (size_t)status.st_size) {
        ssize_t got = read(fd, text + len, (size_t)status.st_size - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(err, errno, "unable to read '%s%s%s'", buf_text(&walk->path), slash,
                               name);
        if (got == 0)
            break;
        len += (size_t)got;
    }
    size_t base_len = walk->path.len ? walk->path.len + 1 : 0;
    *file = ignore_parse(arena, *file, base_len, (struct slice){text, len});
    return 0;
}

/* ---- symlinks: a release is copied elsewhere, so what a link names must travel along */

/* Follows the words of `target` from the folder of `path`; false when they climb above the top. */
static bool link_stays_inside(struct slice path, struct slice target)
{
    size_t depth = 0;
    for (size_t i = 0; i < path.len; i++)
        depth += path.ptr[i] == '/';
    while (target.len) {
        struct slice segment = slice_cut(&target, '/');
        if (segment.len == 0 || slice_eq(segment, SLICE(".")))
            continue;
        if (!slice_eq(segment, SLICE("..")))
            depth++;
        else if (depth-- == 0)
            return false;
    }
    return true;
}

static bool path_is_below(const char *path, const char *root)
{
    size_t len = strlen(root);
    return strncmp(path, root, len) == 0 &&
           (path[len] == '\0' || path[len] == '/' || (len && root[len - 1] == '/'));
}

static int link_check(struct walk *walk, int folder_fd, const char *name, struct error *err)
{
    char target[PATH_MAX], resolved[PATH_MAX], whole[PATH_MAX];
    ssize_t len = readlinkat(folder_fd, name, target, sizeof(target) - 1);
    if (len < 0)
        return error_errno(err, errno, "unable to read the link '%s'", buf_text(&walk->path));
    target[len] = '\0';
    bool is_inside = target[0] != '/' &&
                     link_stays_inside(buf_slice(&walk->path), (struct slice){target, (size_t)len});
    /* A word may be a link itself and climb; the kernel knows. A link to nothing has only its
     * words. */
    int wanted = snprintf(whole, sizeof(whole), "%s/%s", walk->directory, buf_text(&walk->path));
    if (is_inside && wanted > 0 && wanted < (int)sizeof(whole) && realpath(whole, resolved))
        is_inside = path_is_below(resolved, walk->real_root);
    if (is_inside)
        return 0;
    error_set(err, ERR_INVALID, "the link '%s' leaves the folder: it points to '%s'",
              buf_text(&walk->path), target);
    error_hint(err, "copy what it points to, or name the link in .slipwayignore");
    return ERR_INVALID;
}

/* ---- folders */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int names_read(struct walk *walk, struct arena *arena, int folder_fd,
                      const char ***ret_names, size_t *ret_count, struct error *err)
{
    int copy = dup(folder_fd);
    DIR *folder = copy < 0 ? NULL : fdopendir(copy);
    if (!folder) {
        fd_close(copy);
        return error_errno(err, errno, "unable to read the folder '%s'", buf_text(&walk->path));
    }
    size_t count = 0, capacity = 64;
    const char **names = calloc(capacity, sizeof(*names));
    if (!names)
        abort();
    int result = 0;
    for (struct dirent *entry = readdir(folder); entry && result == 0; entry = readdir(folder)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (count == capacity) {
            const char **more = reallocarray(names, capacity *= 2, sizeof(*names));
            if (!more)
                abort();
            names = more;
        }
        names[count++] = arena_text(arena, entry->d_name);
        if (walk->files + count >
            FILES_MAX * 2) /* what is ignored counts, too, or a folder could be endless */
            result =
                error_set(err, ERR_LIMIT, "the folder holds more than %zu files", FILES_MAX * 2);
    }
    closedir(folder);
    if (result != 0) {
        free(names);
        return result;
    }
    qsort(names, count, sizeof(*names), compare_names);
    *ret_names = names;
    *ret_count = count;
    return 0;
}

static void names_freep(const char ***names)
{
    free(*names);
}

static int walk_folder(struct walk *walk, int folder_fd, const struct rules *above, unsigned depth,
                       struct error *err);

static int walk_entry(struct walk *walk, int folder_fd, const char *name, const struct rules *rules,
                      unsigned depth, struct error *err)
{
    struct stat status;
    if (fstatat(folder_fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) /* gone meanwhile */
            return 0;
        return error_errno(err, errno, "unable to look at '%s'", buf_text(&walk->path));
    }
    bool is_directory = S_ISDIR(status.st_mode), is_link = S_ISLNK(status.st_mode);
    if ((!is_directory && !is_link && !S_ISREG(status.st_mode)) ||
        is_left_out(rules, buf_slice(&walk->path), is_directory))
        return 0;
    if (++walk->files > FILES_MAX) {
        error_set(err, ERR_LIMIT, "the folder holds more than %zu files", FILES_MAX);
        error_hint(err, "name what the release does not need in .slipwayignore");
        return ERR_LIMIT;
    }
    if (is_link) {
        int result = link_check(walk, folder_fd, name, err);
        if (result != 0)
            return result;
    }
    struct source_file file = {buf_text(&walk->path), is_directory ? 0 : (uint64_t)status.st_size,
                               is_directory, is_link};
    int result = walk->visitor->on_file(walk->visitor, &file, err);
    if (result != 0 || !is_directory)
        return result;
    if (depth == DEPTH_MAX)
        return error_set(err, ERR_LIMIT, "folders are nested more than %u deep at '%s'", DEPTH_MAX,
                         buf_text(&walk->path));
    CLEANUP(fd_closep)
    int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, errno, "unable to open the folder '%s'", buf_text(&walk->path));
    return walk_folder(walk, fd, rules, depth + 1, err);
}

static int walk_folder(struct walk *walk, int folder_fd, const struct rules *above, unsigned depth,
                       struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(FOLDER_BYTES_MAX);
    CLEANUP(names_freep) const char **names = NULL;
    struct rules rules = *above;
    size_t count = 0, path_len = walk->path.len;
    int result = rules_read(walk, arena, folder_fd, ".gitignore", &rules.git, err);
    if (result == 0)
        result = rules_read(walk, arena, folder_fd, ".slipwayignore", &rules.slipway, err);
    if (result == 0)
        result = names_read(walk, arena, folder_fd, &names, &count, err);
    for (size_t i = 0; i < count && result == 0; i++) {
        if (always_left_out(names[i]))
            continue;
        buf_printf(&walk->path, "%s%s", path_len ? "/" : "", names[i]);
        if (walk->path.failed)
            return error_set(err, ERR_LIMIT, "a path is too long: '%s/%s'", buf_text(&walk->path),
                             names[i]);
        result = walk_entry(walk, folder_fd, names[i], &rules, depth, err);
        walk->path.len = path_len;
        walk->path.ptr[path_len] = '\0';
    }
    return result;
}

int source_walk(const char *directory, struct source_visitor *visitor, struct error *err)
{
    struct walk walk = {.visitor = visitor, .directory = directory, .path = BUF_INIT(PATH_MAX)};
    CLEANUP(fd_closep) int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || !realpath(directory, walk.real_root))
        return error_errno(err, errno, "unable to open the folder '%s'", directory);
    int result = walk_folder(&walk, fd, &(struct rules){0}, 1, err);
    buf_done(&walk.path);
    return result;
}

/* ---- the commit */

/* Reads until the end, the deadline or the ceiling. */
static void read_output(int fd, uint64_t deadline_us, struct buf *output)
{
    for (;;) {
        uint64_t now_us = clock_monotonic_us();
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        char chunk[512];
        if (now_us >= deadline_us || poll(&ready, 1, (int)((deadline_us - now_us) / 1000) + 1) <= 0)
            return;
        ssize_t got = read(fd, chunk, sizeof(chunk));
        if (got <= 0)
            return;
        buf_append(output, chunk, (size_t)got);
        if (output->failed)
            return;
    }
}

static bool wait_until(pid_t pid, uint64_t deadline_us)
{
    int status = 0;
    for (;;) {
        pid_t waited = waitpid(pid, &status, WNOHANG);
        if (waited == pid)
            return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (waited < 0 && errno != EINTR)
            return false;
        if (clock_monotonic_us() >= deadline_us)
            break;
        poll(NULL, 0, 2);
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return false;
}

/* Run git; true when it ended well within the deadline. Nothing of the repository's configuration
 * may start a program. */
static bool git_run(const char *directory, const char *const *arguments, size_t count,
                    uint64_t deadline_us, struct buf *output)
{
    static const char *const fixed[] = {
        "git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C"};
    char *argv[16] = {0};
    int pipe_fds[2];
    size_t at = 0;
    for (; at < ARRAY_LEN(fixed); at++)
        argv[at] = (char *)(uintptr_t)fixed[at];
    argv[at++] = (char *)(uintptr_t)directory;
    for (size_t i = 0; i < count; i++)
        argv[at++] = (char *)(uintptr_t)arguments[i];
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return false;
    CLEANUP(fd_closep) int read_fd = pipe_fds[0];
    CLEANUP(fd_closep) int write_fd = pipe_fds[1];
    CLEANUP(fd_closep) int quiet_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CLEANUP(fd_closep) int result_fd = -1;
    struct spawn spawn = {.argv = argv,
                          .envp = environ,
                          .exec_fd = -1,
                          .stdin_fd = -1,
                          .stdout_fd = write_fd,
                          .stderr_fd = quiet_fd,
                          .channel_fd = -1};
    pid_t pid;
    if (spawn_start(&spawn, &pid, &result_fd, NULL) != 0)
        return false;
    fd_close(TAKE_FD(write_fd));
    read_output(read_fd, deadline_us, output);
    fd_close(TAKE_FD(read_fd)); /* a git that says too much gets SIGPIPE */
    return wait_until(pid, deadline_us);
}

void source_commit(const char *directory, char ret_commit[64])
{
    static const char *const head[] = {"rev-parse", "--verify", "HEAD"};
    static const char *const changes[] = {"status", "--porcelain", "--untracked-files=no",
                                          "--ignore-submodules"};
    uint64_t deadline_us = clock_monotonic_us() + GIT_DEADLINE_US;
    struct buf output = BUF_INIT(GIT_OUTPUT_BYTES_MAX);
    ret_commit[0] = '\0';
    bool is_known = git_run(directory, head, ARRAY_LEN(head), deadline_us, &output);
    struct slice commit = slice_trim(buf_slice(&output));
    if (is_known && commit.len == 40 && strspn(commit.ptr, "0123456789abcdef") >= 40) {
        char hash[41];
        snprintf(hash, sizeof(hash), "%.40s", commit.ptr);
        buf_clear(&output);
        bool is_told = git_run(directory, changes, ARRAY_LEN(changes), deadline_us, &output);
        bool is_dirty = output.failed || (is_told && output.len > 0);
        snprintf(ret_commit, 64, "%s%s", hash, is_dirty ? "-dirty" : "");
    }
    buf_done(&output);
}
