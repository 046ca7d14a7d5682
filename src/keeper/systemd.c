/* sd_notify(3): one datagram of NAME=value lines to the socket in $NOTIFY_SOCKET. */
#include "keeper/keeper_private.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/file.h"

static void watchdog_due(struct loop_timer *timer)
{
    struct keeper *keeper = container_of(timer, struct keeper, watchdog);

    systemd_send(keeper, "WATCHDOG=1");
    loop_timer_start_in(keeper->loop, timer, keeper->watchdog_us);
}

static void watchdog_open(struct keeper *keeper)
{
    const char *interval = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    uint64_t us = 0;

    if (!interval || slice_to_u64(slice_from(interval), &us) < 0 || us < 1000)
        return;
    if (pid && strtol(pid, NULL, 10) != getpid())
        return;
    keeper->watchdog_us = us / 2;
    keeper->watchdog.on_timer = watchdog_due;
    loop_timer_start_in(keeper->loop, &keeper->watchdog, keeper->watchdog_us);
}

void systemd_open(struct keeper *keeper)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;
    CLEANUP(fd_closep) int fd = -1;

    if (len < 2 || len >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, len);
    if (address.sun_path[0] == '@')
        address.sun_path[0] = '\0'; /* the abstract namespace */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
        log_warning("unable to reach the service manager at '%s'", path);
        return;
    }
    keeper->notify_fd = TAKE_FD(fd);
    watchdog_open(keeper);
}

void systemd_send(struct keeper *keeper, const char *format, ...)
{
    char text[256];
    va_list args;
    int len;

    if (keeper->notify_fd < 0)
        return;
    va_start(args, format);
    len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len > 0 &&
        send(keeper->notify_fd, text, MIN((size_t)len, sizeof text - 1), MSG_NOSIGNAL) < 0)
        log_debug("the service manager takes no news");
}

void systemd_close(struct keeper *keeper)
{
    loop_timer_stop(&keeper->watchdog);
    fd_close(keeper->notify_fd);
    keeper->notify_fd = -1;
}
