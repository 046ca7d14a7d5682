/* path.c - one meaning for each path and host: what is routed is what is forwarded.
 *
 * Policy, the same for every route and never changed silently: percent-encoded unreserved
 * characters are decoded, other escapes get upper-case digits, dot segments are removed, a path
 * that would climb above the root is refused. An encoded slash (%2F) stays encoded and separates
 * nothing; empty segments ("//") and ';' are ordinary; a backslash, %00 and broken escapes are
 * refused.
 */
#include "edge/edge_private.h"

static bool is_unreserved(unsigned byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' || byte == '_' || byte == '~';
}

static int hex_value(char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f')
        return (byte | 0x20) - 'a' + 10;
    return -1;
}

/* Whether the path (up to a '?') can be taken as it is; *ret_bytes is its length. */
static bool path_is_plain(const char *bytes, size_t len, size_t *ret_bytes)
{
    char before = 0;
    bool is_plain = true;
    size_t i;

    for (i = 0; i < len && bytes[i] != '?'; i++) {
        if (UNLIKELY(bytes[i] == '%' || bytes[i] == '\\' || (bytes[i] == '.' && before == '/')))
            is_plain = false;
        before = bytes[i];
    }
    *ret_bytes = i;
    return is_plain;
}

/* One character or escape at bytes[*at] to bytes[*to]; both move. */
static const char *path_copy_unit(char *bytes, size_t end, size_t *at, size_t *to)
{
    static const char digits[] = "0123456789ABCDEF";
    int high, low;

    if (bytes[*at] == '\\')
        return "backslash in the path";
    if (bytes[*at] != '%') {
        bytes[(*to)++] = bytes[(*at)++];
        return NULL;
    }
    if (end - *at < 3 || (high = hex_value(bytes[*at + 1])) < 0 ||
        (low = hex_value(bytes[*at + 2])) < 0)
        return "broken percent-encoding in the path";
    if (high == 0 && low == 0)
        return "NUL in the path";
    *at += 3;
    if (is_unreserved((unsigned)(high * 16 + low))) {
        bytes[(*to)++] = (char)(high * 16 + low);
        return NULL;
    }
    bytes[(*to)++] = '%';
    bytes[(*to)++] = digits[high];
    bytes[(*to)++] = digits[low];
    return NULL;
}

/* bytes[segment, *to) is complete: take "." and ".." away. False when ".." climbs above the root.
 */
static bool path_end_segment(const char *bytes, size_t segment, size_t *to)
{
    size_t len = *to - segment;

    if (len == 1 && bytes[segment] == '.') {
        *to = segment;
    } else if (len == 2 && bytes[segment] == '.' && bytes[segment + 1] == '.') {
        if (segment == 1)
            return false;
        for (*to = segment - 1; bytes[*to - 1] != '/'; (*to)--)
            ;
    }
    return true;
}

/* Bring bytes[0, end), which begins with '/', into normal form; *ret_len is its new length, never
 * larger. */
static const char *path_rewrite(char *bytes, size_t end, size_t *ret_len)
{
    size_t at = 1, to = 1, segment = 1;
    const char *reason;

    for (;;) {
        if (at == end || bytes[at] == '/') {
            size_t before = to;

            if (!path_end_segment(bytes, segment, &to))
                return "path climbs above the root";
            if (at == end)
                break;
            if (to == before)
                bytes[to++] = '/';
            at++;
            segment = to;
        } else if ((reason = path_copy_unit(bytes, end, &at, &to))) {
            return reason;
        }
    }
    *ret_len = to;
    return NULL;
}

const char *path_normalise(char *bytes, size_t len, struct slice *ret_path, size_t *ret_path_bytes)
{
    size_t end, shorter;
    const char *reason;

    if (LIKELY(path_is_plain(bytes, len, &end))) {
        *ret_path = (struct slice){bytes, len};
        *ret_path_bytes = end;
        return NULL;
    }
    if ((reason = path_rewrite(bytes, end, &shorter)))
        return reason;
    memmove(bytes + (end - shorter), bytes, shorter);
    *ret_path = (struct slice){bytes + (end - shorter), len - (end - shorter)};
    *ret_path_bytes = shorter;
    return NULL;
}

struct slice host_name(struct slice host)
{
    size_t end = host.len;

    while (end > 0 && host.ptr[end - 1] >= '0' && host.ptr[end - 1] <= '9')
        end--;
    if (end > 0 && host.ptr[end - 1] == ':' &&
        !(host.ptr[0] == '[' && host.ptr[host.len - 1] == ']'))
        return (struct slice){host.ptr, end - 1};
    return host;
}

struct slice host_normalise(struct slice host)
{
    char *bytes = (char *)(uintptr_t)host.ptr;
    struct slice name;

    for (size_t i = 0; i < host.len; i++)
        if (bytes[i] >= 'A' && bytes[i] <= 'Z')
            bytes[i] = (char)(bytes[i] | 0x20);
    name = host_name(host);
    if (name.len > 1 && name.ptr[name.len - 1] == '.') {
        memmove(bytes + name.len - 1, bytes + name.len, host.len - name.len);
        host.len--;
    }
    return host;
}
