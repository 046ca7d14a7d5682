/* The two halves of tls.h against OpenSSL's own client and server, over real sockets. */
#include "tls_pair.h"

#include "os/file.h"
#include <signal.h>
#include <sys/wait.h>

#define WAIT_MS 20000

static struct authority authority;
static struct identity identity;
static char folder[UNIT_PATH_SIZE], ca_path[UNIT_PATH_SIZE], pem_path[UNIT_PATH_SIZE],
    key_path[UNIT_PATH_SIZE];

static void write_file(char *path, const char *name, struct slice content)
{
    assert_int_equal(file_write_durable(unit_path(path, folder, name), content, 0600, NULL), 0);
}

static int set_up(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)unit_folder(folder);
    authority = authority_make("Test authority");
    identity = identity_make(&authority, "localhost", DAY_S);
    write_file(ca_path, "ca.pem", buf_slice(&authority.pem));
    write_file(pem_path, "server.pem", buf_slice(&identity.pem));
    write_file(key_path, "server.key", buf_slice(&identity.key));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    identity_done(&identity);
    authority_done(&authority);
    return directory_remove_tree(folder, NULL);
}

/* ---- a program and what it says */

struct program {
    pid_t pid;
    int in, out;
    struct buf said;
};

static struct program program_start(const char *const *arguments)
{
    struct program program = {.said = BUF_INIT(1 << 20)};
    int in[2], out[2];

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    program.pid = fork();
    if (program.pid == 0) {
        (void)dup2(in[0], 0);
        (void)dup2(out[1], 1);
        (void)dup2(out[1], 2);
        (void)execvp(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    program.in = in[1];
    program.out = out[0];
    assert_int_equal(fd_set_nonblocking(program.out, true), 0);
    return program;
}

static void program_listen(struct program *program)
{
    char bytes[4096];
    ssize_t got;

    while ((got = read(program->out, bytes, sizeof(bytes))) > 0)
        buf_append(&program->said, bytes, (size_t)got);
}

/* Until it said `text`; what it said. */
static const char *program_says(struct program *program, const char *text)
{
    uint64_t end_us = clock_monotonic_us() + WAIT_MS * 1000u;
    struct pollfd poll_fd = {.fd = program->out, .events = POLLIN};
    const char *at;

    for (;;) {
        program_listen(program);
        if ((at = strstr(buf_text(&program->said), text)))
            return at;
        if (clock_monotonic_us() > end_us)
            fail_msg("'%s' was not said in:\n%s", text, buf_text(&program->said));
        (void)poll(&poll_fd, 1, 100);
    }
}

static void program_end(struct program *program)
{
    (void)kill(program->pid, SIGKILL);
    (void)waitpid(program->pid, NULL, 0);
    (void)close(program->in);
    (void)close(program->out);
    buf_done(&program->said);
}

static int listen_any(unsigned *ret_port)
{
    struct address address;
    socklen_t len = sizeof(address.in);
    int fd;

    assert_int_equal(address_parse("127.0.0.1:0", &address, NULL), 0);
    assert_int_equal(socket_listen(&address, 8, &fd, NULL), 0);
    assert_int_equal(getsockname(fd, &address.any, &len), 0);
    *ret_port = ntohs(address.in.sin_port);
    return fd;
}

static void wait_for(int fd, short events)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};

    assert_int_equal(poll(&poll_fd, 1, WAIT_MS), 1);
}

/* ---- our server */

static enum tls_result serve_one(struct tls_server *server, int listener, struct tls **ret_tls,
                                 int *ret_fd)
{
    struct pair pair = {.identities = &identity, .identity_count = 1};
    enum tls_result result;

    wait_for(listener, POLLIN);
    *ret_fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(*ret_fd >= 0);
    assert_int_equal(tls_accept(server, *ret_fd, &pair.server, NULL), 0);
    while ((result = tls_handshake(pair.server)) != TLS_DONE && result != TLS_FAILED) {
        if (result == TLS_WANT_SIGNATURE)
            pair_sign(&pair);
        else
            wait_for(*ret_fd, result == TLS_WANT_READ ? POLLIN : POLLOUT);
    }
    *ret_tls = pair.server;
    return result;
}

static ssize_t read_some(struct tls *tls, int fd, char *bytes, size_t len)
{
    ssize_t got;

    while ((got = tls_read(tls, bytes, len)) == TLS_AGAIN)
        wait_for(fd, POLLIN);
    return got;
}

static struct program client_start(unsigned port, const char *version, const char *session_option,
                                   const char *session_path)
{
    char target[64];

    snprintf(target, sizeof(target), "127.0.0.1:%u", port);
    {
        const char *const arguments[] = {"openssl",      "s_client",    "-connect",
                                         target,         "-servername", "localhost",
                                         "-CAfile",      ca_path,       "-verify_return_error",
                                         "-alpn",        "h2",          version,
                                         session_option, session_path,  NULL};

        return program_start(arguments);
    }
}

static void s_client_speaks_with_our_server_in_both_versions(void **state)
{
    static const char *const versions[] = {"-tls1_2", "-tls1_3"};
    struct tls_server *server = server_of(&identity, "localhost");
    char session_path[UNIT_PATH_SIZE];
    unsigned port;
    int listener = listen_any(&port);

    (void)state;
    server_tickets(server, 5);
    unit_path(session_path, folder, "session");
    for (size_t i = 0; i < ARRAY_LEN(versions); i++)
        for (int resumes = 0; resumes < 2; resumes++) {
            struct program program =
                client_start(port, versions[i], resumes ? "-sess_in" : "-sess_out", session_path);
            struct iovec part = {(char *)(uintptr_t) "an answer\n", 10};
            char bytes[64];
            struct tls *tls;
            int fd;

            assert_int_equal(serve_one(server, listener, &tls, &fd), TLS_DONE);
            assert_int_equal(write(program.in, "a question\n", 11), 11);
            assert_int_equal(read_some(tls, fd, bytes, sizeof(bytes)), 11);
            assert_memory_equal(bytes, "a question\n", 11);
            assert_int_equal(tls_write(tls, &part, 1), 10);
            (void)program_says(&program, "an answer");
            (void)program_says(&program, "ALPN protocol: h2");
            (void)program_says(&program, "Verify return code: 0 (ok)");
            (void)program_says(&program, resumes ? "Reused, TLS" : "New, TLS");
            assert_int_equal(tls_is_resumed(tls), resumes);
            tls_free(tls);
            (void)close(fd);
            program_end(&program);
        }
    (void)close(listener);
    tls_server_unref(server);
}

static void s_client_cannot_renegotiate(void **state)
{
    struct tls_server *server = server_of(&identity, "localhost");
    unsigned port;
    int listener = listen_any(&port), fd;
    struct program program = client_start(port, "-tls1_2", NULL, NULL);
    char bytes[64];
    struct tls *tls;

    (void)state;
    assert_int_equal(serve_one(server, listener, &tls, &fd), TLS_DONE);
    (void)program_says(&program, "Secure Renegotiation IS supported");
    assert_int_equal(write(program.in, "R\n", 2), 2);
    assert_true(read_some(tls, fd, bytes, sizeof(bytes)) < 0);
    (void)program_says(&program, "no renegotiation");
    tls_free(tls);
    (void)close(fd);
    program_end(&program);
    (void)close(listener);
    tls_server_unref(server);
}

/* ---- our client */

static void our_client_speaks_with_s_server_and_resumes(void **state)
{
    static const char *const versions[] = {"-tls1_2", "-tls1_3"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        const char *const arguments[] = {
            "openssl", "s_server", "-accept",  "127.0.0.1:0", "-cert",     pem_path, "-key",
            key_path,  "-alpn",    "http/1.1", "-rev",        versions[i], NULL};
        struct program program = program_start(arguments);
        struct tls_client *client = client_of(buf_slice(&authority.pem), false);
        const char *said = program_says(&program, "ACCEPT 127.0.0.1:");
        unsigned long port;
        char text[64];

        while (!strchr(said, '\n'))
            said = program_says(&program, "ACCEPT 127.0.0.1:");
        port = strtoul(said + 17, NULL, 10);
        snprintf(text, sizeof(text), "127.0.0.1:%lu", port);
        for (int resumes = 0; resumes < 2; resumes++) {
            struct iovec part = {(char *)(uintptr_t) "olleh\n", 6};
            struct address address;
            char bytes[64];
            enum tls_result result;
            struct tls *tls;
            int fd;

            assert_int_equal(address_parse(text, &address, NULL), 0);
            assert_int_equal(socket_connect(&address, &fd, NULL), 0);
            wait_for(fd, POLLOUT);
            assert_int_equal(tls_connect(client, fd, "localhost", &tls, NULL), 0);
            while ((result = tls_handshake(tls)) != TLS_DONE) {
                if (result == TLS_FAILED)
                    fail_msg("%s", tls_failure(tls));
                wait_for(fd, result == TLS_WANT_READ ? POLLIN : POLLOUT);
            }
            assert_int_equal(tls_is_resumed(tls), resumes);
            assert_false(tls_is_http2(tls));
            assert_int_equal(tls_write(tls, &part, 1), 6);
            assert_int_equal(read_some(tls, fd, bytes, sizeof(bytes)), 6);
            assert_memory_equal(bytes, "hello\n", 6);
            tls_free(tls);
            (void)close(fd);
        }
        tls_client_unref(client);
        program_end(&program);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_client_speaks_with_our_server_in_both_versions),
        cmocka_unit_test(s_client_cannot_renegotiate),
        cmocka_unit_test(our_client_speaks_with_s_server_and_resumes),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
