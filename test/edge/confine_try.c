/* confine_try.c - tries, from inside a process that is confined as an edge is, what nobody who
 * takes an edge over may succeed in. Each attempt is a process of its own. Built without
 * sanitizers, which need calls that an edge does not have. */
#include "base/peer_protocol.h"
#include "edge/edge_private.h"
#include "os/confine.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

static char folder[] = "/tmp/slipway-confine-XXXXXX";
static char there[64], elsewhere[64];
static pid_t parent;
static uint16_t near_port, far_port; /* one of an instance's, one that is not */
static int reach;                    /* what the kernel can */

/* 0: it worked; else errno. */
#define TRY(call) ((call) < 0 ? errno : 0)

static long raw(long number, long a, long b, long c, long d)
{
    return syscall(number, a, b, c, d, 0, 0);
}

static int open_for_writing(void)
{
    return TRY(open(there, O_WRONLY | O_CLOEXEC));
}

static int make_file(void)
{
    return TRY(open(elsewhere, O_RDONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int make_hidden_file(void)
{
    return TRY(open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}

static int write_by_openat2(void)
{
    struct open_how how = {.flags = O_WRONLY | O_CLOEXEC};

    return TRY(raw(SYS_openat2, AT_FDCWD, (long)there, (long)&how, sizeof(how)));
}

static int make_by_openat2(void)
{
    struct open_how how = {.flags = O_RDWR | O_CREAT | O_CLOEXEC, .mode = 0600};

    return TRY(raw(SYS_openat2, AT_FDCWD, (long)elsewhere, (long)&how, sizeof(how)));
}

static int truncate_by_openat2(void)
{
    struct open_how how = {.flags = O_RDONLY | O_TRUNC | O_CLOEXEC};

    return TRY(raw(SYS_openat2, AT_FDCWD, (long)there, (long)&how, sizeof(how)));
}

static int truncate_path(void)
{
    return TRY(truncate(there, 0));
}

static int remove_file(void)
{
    return TRY(unlink(there));
}

static int rename_file(void)
{
    return TRY(rename(there, elsewhere));
}

static int make_directory(void)
{
    return TRY(mkdir(elsewhere, 0700));
}

static int make_link(void)
{
    return TRY(symlink(there, elsewhere)) && TRY(link(there, elsewhere)) ? errno : 0;
}

static int change_mode(void)
{
    return TRY(chmod(there, 0777));
}

static int open_socket(int family, int type, int protocol)
{
    return TRY(socket(family, type, protocol));
}

static int datagrams(void)
{
    return open_socket(AF_INET, SOCK_DGRAM, 0);
}

static int raw_socket(void)
{
    return open_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static int netlink(void)
{
    return open_socket(AF_NETLINK, SOCK_RAW, 0);
}

static int packets(void)
{
    return open_socket(AF_PACKET, SOCK_RAW, 0);
}

static int ipv6_socket(void)
{
    return open_socket(AF_INET6, SOCK_STREAM, 0);
}

static int unix_datagrams(void)
{
    return open_socket(AF_UNIX, SOCK_DGRAM, 0);
}

static int other_protocol(void)
{
    return open_socket(AF_INET, SOCK_STREAM, 132); /* SCTP */
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd < 0 ? errno : TRY(connect(fd, (struct sockaddr *)&to, sizeof(to)));
}

static int connect_far(void)
{
    return connect_to(far_port);
}

static int connect_near(void)
{
    return connect_to(near_port);
}

static int bind_port(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd < 0 ? errno : TRY(bind(fd, (struct sockaddr *)&any, sizeof(any)));
}

static int listen_anywhere(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd < 0 ? errno : TRY(listen(fd, 1)); /* binds by itself */
}

static struct sockaddr_un abstract_address(socklen_t *ret_len)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                           (size_t)snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
                                            "slipway-confine-%d", (int)parent));
    return address;
}

static int connect_abstract(void)
{
    socklen_t len;
    struct sockaddr_un address = abstract_address(&len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd < 0 ? errno : TRY(connect(fd, (struct sockaddr *)&address, len));
}

static int signal_parent(void)
{
    return TRY(kill(parent, 0));
}

static int signal_all(void)
{
    return TRY(kill(-1, 0));
}

static int signal_thread(void)
{
    return TRY(raw(SYS_tgkill, parent, parent, 0, 0));
}

static int queue_signal(void)
{
    return TRY(sigqueue(parent, 0, (union sigval){0}));
}

static int signal_by_descriptor(void)
{
    return TRY(raw(SYS_pidfd_open, parent, 0, 0, 0));
}

static int own_a_descriptor(void)
{
    return TRY(fcntl(0, F_SETOWN, parent));
}

static int run_program(void)
{
    char *arguments[] = {(char[]){"/bin/true"}, NULL};

    return TRY(execv(arguments[0], arguments));
}

static int make_process(void)
{
    return TRY(raw(SYS_clone, SIGCHLD, 0, 0, 0));
}

static int trace_parent(void)
{
    return TRY(ptrace(PTRACE_ATTACH, parent, NULL, NULL));
}

static int write_to_parent(void)
{
    return TRY(raw(SYS_process_vm_writev, parent, 0, 0, 0));
}

static int executable_memory(void)
{
    void *memory =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? errno : 0;
}

static int memory_made_executable(void)
{
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? 0 : TRY(mprotect(memory, 4096, PROT_READ | PROT_EXEC));
}

static int become_root(void)
{
    return TRY(setuid(0));
}

static int new_namespace(void)
{
    return TRY(unshare(CLONE_NEWUSER));
}

static int other_limits(void)
{
    struct rlimit limit = {0};

    return TRY(prlimit(parent, RLIMIT_NOFILE, NULL, &limit));
}

static int rings(void)
{
    return TRY(raw(SYS_io_uring_setup, 1, 0, 0, 0));
}

static int programs_in_the_kernel(void)
{
    return TRY(raw(SYS_bpf, 0, 0, 0, 0));
}

static int take_a_descriptor(void)
{
    return TRY(raw(SYS_pidfd_getfd, 0, 0, 0, 0));
}

static int load_a_module(void)
{
    return TRY(raw(SYS_init_module, 0, 0, 0, 0));
}

static int mount_something(void)
{
    return TRY(raw(SYS_mount, 0, 0, 0, 0));
}

static int read_a_file(void)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};
    char byte;
    int fd = open(there, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, &byte, 1) != 1)
        return errno;
    return TRY(raw(SYS_openat2, AT_FDCWD, (long)there, (long)&how, sizeof(how)));
}

static int own_limits(void)
{
    struct rlimit limit;

    return TRY(getrlimit(RLIMIT_NOFILE, &limit));
}

struct attempt {
    const char *name;
    int (*run)(void);
    int needs; /* of the kernel, as confine_reach tells it; 0: nothing */
};

static const struct attempt forbidden[] = {
    {"no_file_is_opened_for_writing", open_for_writing, 0},
    {"no_file_is_made", make_file, 0},
    {"no_file_without_a_name_is_made", make_hidden_file, 0},
    {"no_file_is_opened_for_writing_by_openat2", write_by_openat2, 1},
    {"no_file_is_made_by_openat2", make_by_openat2, 1},
    {"no_file_is_truncated_by_openat2", truncate_by_openat2, 1},
    {"no_file_is_truncated", truncate_path, 0},
    {"no_file_is_removed", remove_file, 0},
    {"no_file_is_renamed", rename_file, 0},
    {"no_folder_is_made", make_directory, 0},
    {"no_link_is_made", make_link, 0},
    {"no_mode_is_changed", change_mode, 0},
    {"no_datagrams", datagrams, 0},
    {"no_raw_sockets", raw_socket, 0},
    {"no_netlink", netlink, 0},
    {"no_packets", packets, 0},
    {"no_ipv6_connections", ipv6_socket, 0},
    {"no_datagrams_of_unix_sockets", unix_datagrams, 0},
    {"no_other_stream_protocols", other_protocol, 0},
    {"no_connection_to_a_port_that_is_no_instances", connect_far, 4},
    {"no_connection_to_an_abstract_socket", connect_abstract, 6},
    {"no_port_is_bound", bind_port, 0},
    {"no_socket_listens", listen_anywhere, 0},
    {"no_process_is_signalled", signal_parent, 0},
    {"no_signal_to_everybody", signal_all, 0},
    {"no_thread_of_another_process_is_signalled", signal_thread, 0},
    {"no_signal_is_queued", queue_signal, 0},
    {"no_process_gets_a_descriptor", signal_by_descriptor, 0},
    {"no_descriptor_signals_another_process", own_a_descriptor, 0},
    {"no_program_runs", run_program, 0},
    {"no_process_is_made", make_process, 0},
    {"no_process_is_traced", trace_parent, 0},
    {"no_memory_of_another_process_is_written", write_to_parent, 0},
    {"no_executable_memory", executable_memory, 0},
    {"no_memory_becomes_executable", memory_made_executable, 0},
    {"no_other_user", become_root, 0},
    {"no_namespace", new_namespace, 0},
    {"no_limits_of_another_process", other_limits, 0},
    {"no_rings", rings, 0},
    {"no_programs_in_the_kernel", programs_in_the_kernel, 0},
    {"no_descriptor_of_another_process", take_a_descriptor, 0},
    {"no_module_is_loaded", load_a_module, 0},
    {"nothing_is_mounted", mount_something, 0},
};

static const struct attempt allowed[] = {
    {"files_are_read", read_a_file, 0},
    {"instances_are_connected_to", connect_near, 0},
    {"its_own_limits_are_known", own_limits, 0},
};

/* The attempt's outcome, as errno. -1: the process died. */
static int outcome(const struct attempt *attempt)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        edge_confine(true);
        _exit(attempt->run());
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static int listener_on(uint16_t first, uint16_t last, uint16_t *ret_port)
{
    for (unsigned port = first; port <= last; port++) {
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 16) == 0) {
            *ret_port = (uint16_t)port;
            return fd;
        }
        (void)close(fd);
    }
    exit(2);
}

static void set_up(void)
{
    socklen_t len;
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    parent = getpid();
    address = abstract_address(&len);
    if (!mkdtemp(folder) || bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, 4) != 0)
        exit(2);
    snprintf(there, sizeof(there), "%s/there", folder);
    snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", folder);
    fd = open(there, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, "content", 7) != 7)
        exit(2);
    (void)close(fd);
    (void)listener_on(PEER_INSTANCE_PORT_FIRST,
                      PEER_INSTANCE_PORT_FIRST + PEER_INSTANCE_PORT_COUNT - 1, &near_port);
    (void)listener_on(20000, PEER_INSTANCE_PORT_FIRST - 1, &far_port);
}

/* What this kernel can, found out in a process of its own. */
static int kernel_reach(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(confine_reach(1, 1));
    return waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : 0;
}

int main(void)
{
    size_t total = ARRAY_LEN(forbidden) + ARRAY_LEN(allowed);
    unsigned failed = 0;

    if (!confine_is_real()) {
        printf("1..0 # SKIP processes of this build are not confined\n");
        return 0;
    }
    set_up();
    reach = kernel_reach();
    printf("1..%zu\n", total);
    for (size_t i = 0; i < total; i++) {
        bool is_allowed = i >= ARRAY_LEN(forbidden);
        const struct attempt *attempt =
            is_allowed ? &allowed[i - ARRAY_LEN(forbidden)] : &forbidden[i];
        int result;
        bool is_good;

        if (attempt->needs > reach) {
            printf("ok %zu - %s # SKIP this kernel cannot\n", i + 1, attempt->name);
            continue;
        }
        fflush(stdout);
        result = outcome(attempt);
        is_good = is_allowed ? result == 0 : result == EPERM || result == EACCES;
        failed += !is_good;
        printf("%s %zu - %s # %s\n", is_good ? "ok" : "not ok", i + 1, attempt->name,
               result < 0 ? "died"
               : result   ? strerror(result)
                          : "it worked");
    }
    (void)unlink(there);
    (void)unlink(elsewhere);
    (void)rmdir(elsewhere);
    (void)rmdir(folder);
    return failed ? 1 : 0;
}
