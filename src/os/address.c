#include "os/socket.h"
#include <arpa/inet.h>

static int fail(struct error *err, const char *text, const char *why)
{
    return error_set(err, ERR_INVALID, "'%s' is not an address: %s", text, why);
}

static int unix_parse(const char *text, struct address *ret_address, struct error *err)
{
    struct slice path = slice_from(text + strlen("unix:"));
    struct address address = {0};
    if (path.len == 0)
        return fail(err, text, "the path is missing");
    if (path.len >= sizeof(address.un.sun_path))
        return fail(err, text, "the path is too long for a socket");
    address.un.sun_family = AF_UNIX;
    memcpy(address.un.sun_path, path.ptr, path.len + 1);
    address.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    *ret_address = address;
    return 0;
}

int address_parse(const char *text, struct address *ret_address, struct error *err)
{
    if (strncmp(text, "unix:", 5) == 0)
        return unix_parse(text, ret_address, err);

    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (!colon)
        return fail(err, text, "expected HOST:PORT");
    if (slice_to_u64(slice_from(colon + 1), &port) != 0 || port > 65535)
        return fail(err, text, "the port is not a number from 0 to 65535");

    char host[INET6_ADDRSTRLEN + 1] = "";
    struct slice name = {text, (size_t)(colon - text)};
    bool is_bracketed = name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']';
    if (is_bracketed)
        name = slice_sub(name, 1, name.len - 2);
    if (name.len >= sizeof(host) || memchr(name.ptr, '\0', name.len))
        return fail(err, text, "expected HOST:PORT");
    memcpy(host, name.ptr, name.len);

    struct address address = {0};
    if (!is_bracketed && inet_pton(AF_INET, host, &address.in.sin_addr) == 1) {
        address.in.sin_family = AF_INET;
        address.in.sin_port = htons((uint16_t)port);
        address.len = sizeof(address.in);
    } else {
        bool is_any = !is_bracketed && (name.len == 0 || strcmp(host, "*") == 0);
        address.in6.sin6_addr = in6addr_any;
        if (!is_any && (!is_bracketed || inet_pton(AF_INET6, host, &address.in6.sin6_addr) != 1))
            return fail(err, text,
                        "the host is neither an IPv4 address nor an IPv6 one in brackets");
        address.in6.sin6_family = AF_INET6;
        address.in6.sin6_port = htons((uint16_t)port);
        address.len = sizeof(address.in6);
    }
    *ret_address = address;
    return 0;
}

char *address_format(const struct address *address, char *buffer)
{
    char host[INET6_ADDRSTRLEN] = "";
    buffer[0] = '\0';
    if (address->len == 0)
        return buffer;
    switch (address->any.sa_family) {
    case AF_UNIX:
        snprintf(buffer, ADDRESS_TEXT_SIZE, "unix:%.*s", (int)sizeof(address->un.sun_path),
                 address->un.sun_path);
        break;
    case AF_INET:
        inet_ntop(AF_INET, &address->in.sin_addr, host, sizeof(host));
        snprintf(buffer, ADDRESS_TEXT_SIZE, "%s:%u", host, address_port(address));
        break;
    case AF_INET6:
        if (IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr)) {
            snprintf(buffer, ADDRESS_TEXT_SIZE, "*:%u", address_port(address));
            break;
        }
        inet_ntop(AF_INET6, &address->in6.sin6_addr, host, sizeof(host));
        snprintf(buffer, ADDRESS_TEXT_SIZE, "[%s]:%u", host, address_port(address));
        break;
    default:
        break;
    }
    return buffer;
}

unsigned address_port(const struct address *address)
{
    if (address->len == 0)
        return 0;
    if (address->any.sa_family == AF_INET)
        return ntohs(address->in.sin_port);
    if (address->any.sa_family == AF_INET6)
        return ntohs(address->in6.sin6_port);
    return 0;
}
