/* The way of a source folder to the platform: a child walks it and writes a tar stream into a pipe,
 * the loop sends the pipe as a chunked body. The parent keeps a write end of the pipe until the
 * child's exit status is known: the end of the body then says "complete", and only then. */
#include "config/source.h"

#include "cli/client.h"
#include "os/archive.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define IDLE_TIMEOUT_MS 120000u
#define TICK_US         (100u * 1000u)
#define ANSWER_LIMIT    ((size_t)64 * 1024)

struct sender {
    struct command *command;
    const struct deploy_ticket *ticket;
    struct loop *loop;
    struct http_client_handler handler;
    struct http_client *client; /* NULL once it is done */
    struct loop_io child_end;   /* pidfd */
    struct loop_signal interrupt, terminate;
    struct loop_timer tick;
    struct terminal terminal;
    pid_t child;
    int source_fd, hold_fd, story_fd; /* pipe: read end, our write end; the child's error text */
    uint64_t source_bytes;
    int code;
    bool is_stopped;
    struct error *err;
};

/* ---- the child */

struct walk {
    struct source_visitor visitor;
    struct archive_writer *writer;
};

static int on_file(struct source_visitor *visitor, const struct source_file *file,
                   struct error *err)
{
    struct walk *walk = container_of(visitor, struct walk, visitor);
    return archive_writer_add(walk->writer, file->path, file->path, err);
}

static int child_write(const char *directory, int fd, struct error *err)
{
    struct walk walk = {.visitor.on_file = on_file};
    if (chdir(directory) < 0)
        return error_errno(err, errno, "unable to enter '%s'", directory);
    int r = archive_writer_new(fd, &walk.writer, err);
    if (r == 0)
        r = source_walk(".", &walk.visitor, err);
    if (r == 0)
        r = archive_writer_finish(walk.writer, err);
    archive_writer_freep(&walk.writer);
    return r;
}

static void NORETURN child_main(const char *directory, int fd, int story_fd)
{
    struct error err = {0};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGINT,
           SIG_IGN); /* Ctrl-C is the parent's to handle; it ends this by closing the pipe */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int r = child_write(directory, fd, &err);
    if (r < 0)
        (void)!write(story_fd, &err, sizeof(err));
    _exit(r < 0 ? 1 : 0);
}

/* ---- the parent */

/* The first reason to stop counts. */
static void sender_stop(struct sender *sender, int code)
{
    if (!sender->is_stopped)
        sender->code = code;
    sender->is_stopped = true;
    loop_stop(sender->loop);
}

static void sender_progress(struct sender *sender)
{
    struct command *command = sender->command;
    if (!sender->terminal.is_terminal || command_option(command, "json") || !sender->client)
        return;
    uint64_t sent = http_client_sent_bytes(sender->client);
    CLEANUP(arena_freep) struct arena *arena = arena_new(65536);
    printf("\r\x1b[Ksending the source  %s of %s",
           size_format(arena, (int64_t)MIN(sent, sender->source_bytes)),
           size_format(arena, (int64_t)sender->source_bytes));
    fflush(stdout);
}

static void on_tick(struct loop_timer *timer)
{
    struct sender *sender = container_of(timer, struct sender, tick);
    sender_progress(sender);
    loop_timer_start_in(sender->loop, timer, TICK_US);
}

static void on_interrupt(struct loop_signal *signal)
{
    struct sender *sender = signal->number == SIGINT
                                ? container_of(signal, struct sender, interrupt)
                                : container_of(signal, struct sender, terminate);
    error_set(sender->err, ERR_CANCELLED, "given up during the upload");
    sender_stop(sender, ERR_CANCELLED);
}

static void on_done(struct http_client_handler *handler,
                    const struct http_client_response *response)
{
    struct sender *sender = container_of(handler, struct sender, handler);
    sender->client = NULL;
    if (sender->is_stopped)
        return;
    if (response->err)
        sender_stop(sender, error_copy(sender->err, response->err));
    else if (response->status < 200 || response->status > 299)
        sender_stop(sender, platform_error(response->status, response->body, sender->err));
    else
        sender_stop(sender, 0);
}

/* The child has ended: its status decides whether the body is complete. */
static void on_child_end(struct loop_io *io, unsigned events UNUSED)
{
    struct sender *sender = container_of(io, struct sender, child_end);
    struct error story = {0};
    int status = 0;
    loop_io_stop(io);
    if (waitpid(sender->child, &status, WNOHANG) == sender->child)
        sender->child = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        fd_close(TAKE_FD(sender->hold_fd));
        return;
    }
    if (sender->is_stopped)
        return;
    if (read(sender->story_fd, &story, sizeof(story)) == (ssize_t)sizeof(story) && story.code)
        error_copy(sender->err, &story);
    else
        error_set(sender->err, ERR_FAILED, "the program that packs the source was killed");
    if (sender->client)
        http_client_cancel(TAKE_PTR(sender->client)); /* a short body: the platform forgets it */
    sender_stop(sender, sender->err->code);
}

static int sender_fork(struct sender *sender, const char *directory, struct error *err)
{
    int source[2], story[2];
    if (pipe2(source, O_CLOEXEC) < 0)
        return error_errno(err, errno, "unable to make a pipe");
    if (pipe2(story, O_CLOEXEC | O_NONBLOCK) < 0) {
        fd_close(source[0]);
        fd_close(source[1]);
        return error_errno(err, errno, "unable to make a pipe");
    }
    (void)!fcntl(source[1], F_SETPIPE_SZ, 1024 * 1024);
    fflush(NULL);
    sender->child = fork();
    if (sender->child == 0) {
        fd_close(source[0]);
        child_main(directory, source[1], story[1]);
    }
    sender->source_fd = source[0];
    sender->hold_fd = source[1];
    sender->story_fd = story[0];
    fd_close(story[1]);
    if (sender->child < 0)
        return error_errno(err, errno, "unable to start a process");
    sender->child_end.fd = pidfd_open(sender->child, 0);
    if (sender->child_end.fd < 0)
        return error_errno(err, errno, "unable to watch a process");
    return fd_set_nonblocking(sender->source_fd, true);
}

static int sender_start(struct sender *sender, const char *directory,
                        struct http_client_request *request, struct error *err)
{
    int r = sender_fork(sender, directory, err);
    if (r == 0)
        r = loop_io_start(sender->loop, &sender->child_end, LOOP_READ, err);
    if (r == 0)
        r = loop_signal_start(sender->loop, &sender->interrupt, SIGINT, err);
    if (r == 0)
        r = loop_signal_start(sender->loop, &sender->terminate, SIGTERM, err);
    if (r < 0)
        return r;
    request->method = "PUT";
    request->target = target_format(sender->command, "/v1/apps/%s/deploys/%llu/source",
                                    encoded(sender->command, sender->ticket->app),
                                    (unsigned long long)sender->ticket->deploy);
    request->body_fd = sender->source_fd;
    request->content_type = "application/x-tar";
    request->idle_timeout_ms = IDLE_TIMEOUT_MS;
    request->response_limit_bytes = ANSWER_LIMIT;
    loop_timer_start_in(sender->loop, &sender->tick, TICK_US);
    return http_client_start(sender->loop, request, &sender->handler, &sender->client, err);
}

static void sender_done(struct sender *sender)
{
    http_client_cancel(sender->client);
    loop_timer_stop(&sender->tick);
    loop_signal_stop(&sender->interrupt);
    loop_signal_stop(&sender->terminate);
    loop_io_stop(&sender->child_end);
    if (sender->child > 0) {
        kill(sender->child, SIGKILL);
        (void)!waitpid(sender->child, NULL, 0);
    }
    fd_close(sender->child_end.fd);
    fd_close(sender->source_fd);
    fd_close(sender->hold_fd);
    fd_close(sender->story_fd);
    loop_free(sender->loop);
    if (sender->terminal.is_terminal && !command_option(sender->command, "json")) {
        printf("\r\x1b[K");
        fflush(stdout);
    }
}

int source_send(struct command *command, const char *directory, const struct deploy_ticket *ticket,
                uint64_t source_bytes, struct error *err)
{
    struct http_client_request request;
    struct address address;
    CLEANUP(fd_closep) int directory_fd = -1;
    struct sender sender = {
        .command = command,
        .ticket = ticket,
        .handler.on_done = on_done,
        .child_end = {.fd = -1, .on_event = on_child_end},
        .interrupt.on_signal = on_interrupt,
        .terminate.on_signal = on_interrupt,
        .tick.on_timer = on_tick,
        .terminal = terminal_of(STDOUT_FILENO),
        .source_fd = -1,
        .hold_fd = -1,
        .story_fd = -1,
        .source_bytes = source_bytes,
        .err = err,
    };
    int r = client_request(command, &address, &directory_fd, &request, err);
    if (r == 0)
        r = loop_new(&sender.loop, err);
    if (r < 0)
        return r;
    r = sender_start(&sender, directory, &request, err);
    if (r == 0)
        r = loop_run(sender.loop, err);
    sender_done(&sender);
    return r < 0 ? r : sender.code;
}
