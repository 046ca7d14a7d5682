#include "config/address_private.h"

#include "base/network.h"
#include "config/value_private.h"

#define ADDRESS_MAX   ((size_t)1024)
#define HOST_MAX      ((size_t)253)
#define LABEL_MAX     ((size_t)63)
#define AUTHORITY_MAX ((size_t)256 * 1024)

static bool is_printable(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] <= ' ' || text.ptr[i] >= 0x7f)
            return false;
    return true;
}

/* No "." or "..", nothing empty in the middle. */
static bool segments_are_plain(struct slice path)
{
    struct slice rest = slice_sub(path, 1, SIZE_MAX);
    while (rest.len) {
        struct slice segment = slice_cut(&rest, '/');
        bool is_last = rest.len == 0;
        if (slice_eq(segment, SLICE(".")) || slice_eq(segment, SLICE("..")) ||
            (segment.len == 0 && !is_last))
            return false;
    }
    return true;
}

static const char *path_problem(struct slice path, const char *forbidden)
{
    if (!slice_starts_with(path, SLICE("/")))
        return "does not begin with '/'";
    if (!is_printable(path))
        return "holds a character that must be percent-encoded";
    for (const char *c = forbidden; *c; c++)
        if (slice_find_byte(path, *c) >= 0)
            return *c == '*' ? "holds '*', which is not known here" : "holds '?' or '#'";
    if (!segments_are_plain(path))
        return "holds an empty segment, '.' or '..'";
    return NULL;
}

static struct slice without_slash(struct slice path)
{
    while (path.len > 1 && path.ptr[path.len - 1] == '/')
        path.len--;
    return path;
}

static const char *prefix_problem(struct slice path)
{
    ptrdiff_t star = slice_find_byte(path, '*');
    if (star >= 0 && (size_t)star + 1 != path.len)
        return "holds '*' before its end";
    return path_problem(path, "?#");
}

static const char *target_problem(struct slice target)
{
    if (!is_printable(target))
        return "holds a character that must be percent-encoded";
    if (slice_starts_with(target, SLICE("/")) || slice_starts_with(target, SLICE("https://")) ||
        slice_starts_with(target, SLICE("http://")))
        return NULL;
    return "begins neither with '/' nor with 'https://'";
}

static const char *file_problem(struct slice path)
{
    if (path.ptr[0] != '/')
        return "is not an absolute path: write where the file lies on the server, beginning with "
               "'/'";
    for (size_t i = 0; i < path.len; i++)
        if ((unsigned char)path.ptr[i] < ' ' || path.ptr[i] == 0x7f)
            return "holds a control character";
    return path.ptr[path.len - 1] == '/' ? "is a folder" : NULL;
}

static const char *authority_problem(struct slice text)
{
    if (!slice_starts_with(text, SLICE("-----BEGIN ")))
        return text.len > ADDRESS_MAX ? "is too long" : file_problem(text);
    if (slice_find(text, SLICE("PRIVATE KEY-----")) >= 0)
        return "holds a private key: it does not belong here";
    if (slice_find(text, SLICE("-----END CERTIFICATE-----")) < 0)
        return "is cut short: it does not end with '-----END CERTIFICATE-----'";
    return NULL;
}

static const char *url_problem(struct slice url)
{
    struct slice rest = url;
    if (slice_starts_with(url, SLICE("https://")))
        rest = slice_sub(url, 8, SIZE_MAX);
    else if (slice_starts_with(url, SLICE("http://")))
        rest = slice_sub(url, 7, SIZE_MAX);
    else
        return "begins neither with 'https://' nor with 'http://'";
    if (!is_printable(url))
        return "holds a character that must be percent-encoded";
    struct slice host = slice_cut(&rest, '/');
    if (slice_find_byte(host, '@') >= 0)
        return "holds a user: that would be in logs";
    return host.len == 0 ? "names no host" : NULL;
}

static const char *email_problem(struct slice email)
{
    ptrdiff_t at = slice_find_byte(email, '@');
    if (slice_starts_with(email, SLICE("mailto:")))
        return "is a URL: write the mail address alone";
    if (at <= 0 || (size_t)at + 1 == email.len || !is_printable(email) ||
        slice_find_byte(slice_sub(email, (size_t)at + 1, SIZE_MAX), '@') >= 0)
        return "is not a mail address";
    return NULL;
}

static const char *network_problem(struct slice text)
{
    struct network network;
    return network_parse(text, &network) == 0 ? NULL
                                              : "is not a network: write an address such as "
                                                "192.0.2.7, or a prefix such as 10.0.0.0/8";
}

static const char *label_problem(struct slice label)
{
    if (label.len == 0 || label.len > LABEL_MAX)
        return "is not a valid host name";
    for (size_t i = 0; i < label.len; i++) {
        char c = label.ptr[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
        if (!is_word && !(c == '-' && i && i + 1 < label.len))
            return "is not a valid host name";
    }
    return NULL;
}

static const char *host_problem(struct slice host)
{
    if (slice_find(host, SLICE("://")) >= 0)
        return "is a URL: write the host name only";
    if (slice_find_byte(host, '/') >= 0)
        return "holds a path: write it as 'path'";
    if (slice_find_byte(host, ':') >= 0)
        return "holds a port: write the host name only";
    if (host.len > HOST_MAX)
        return "is too long for a host name";
    if (slice_starts_with(host, SLICE("*.")))
        host = slice_sub(host, 2, SIZE_MAX);
    if (slice_find_byte(host, '*') >= 0)
        return "has '*' elsewhere than for the whole first label";
    if (host.len == 0 || host.ptr[host.len - 1] == '.')
        return "is not a valid host name";
    while (host.len) {
        const char *problem = label_problem(slice_cut(&host, '.'));
        if (problem)
            return problem;
    }
    return NULL;
}

/* What stayed as it was is not copied, so that an alias repeated often costs nothing. */
static const char *kept(struct arena *texts, struct slice given, struct slice clean)
{
    if (slice_eq(given, clean))
        return given.ptr;
    char *copy = arena_try(texts, clean.len + 1);
    return copy ? memcpy(copy, clean.ptr, clean.len) : NULL;
}

static const char *host_read(struct arena *texts, struct slice host, const char **ret_problem)
{
    if (host.len == 0 || slice_eq(host, SLICE("*")))
        return "";
    char lower[ADDRESS_MAX + 1];
    for (size_t i = 0; i < host.len; i++)
        lower[i] =
            host.ptr[i] >= 'A' && host.ptr[i] <= 'Z' ? (char)(host.ptr[i] | 0x20) : host.ptr[i];
    struct slice name = {lower, host.len};
    *ret_problem = host_problem(name);
    return *ret_problem ? NULL : kept(texts, host, name);
}

static const char *header_name_problem(struct slice name)
{
    /* RFC 9110 §5.6.2, token */
    static const char marks[] = "!#$%&'*+-.^_`|~";
    static const char *const owned[] = {"Connection", "Content-Length", "Transfer-Encoding",
                                        "Date",       "Upgrade",        "Keep-Alive"};
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_word && !(c && strchr(marks, c)))
            return "is not a valid header name";
    }
    for (size_t i = 0; i < ARRAY_LEN(owned); i++)
        if (slice_eq_nocase(name, slice_from(owned[i])))
            return "is a header that the edge itself sets";
    return NULL;
}

static const char *header_value_problem(struct slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (((unsigned char)value.ptr[i] < ' ' && value.ptr[i] != '\t') || value.ptr[i] == 0x7f)
            return "holds a line break or another control character";
    return NULL;
}

bool folder_is_inside(struct slice folder)
{
    if (folder.len == 0 || folder.ptr[0] == '/')
        return false;
    while (folder.len)
        if (slice_eq(slice_cut(&folder, '/'), SLICE("..")))
            return false;
    return true;
}

/* "./a//b/" → "a/b", "./" → "." */
static const char *folder_read(struct arena *texts, struct slice folder, const char **ret_problem)
{
    if (!folder_is_inside(folder))
        *ret_problem = "leaves the folder of the manifest: write a path below it";
    else if (header_value_problem(folder) || slice_find_byte(folder, '\\') >= 0)
        *ret_problem = "holds a character that is not allowed in a folder";
    if (*ret_problem)
        return NULL;
    char clean[ADDRESS_MAX + 1];
    size_t len = 0;
    for (struct slice rest = folder; rest.len;) {
        struct slice segment = slice_cut(&rest, '/');
        if (segment.len == 0 || slice_eq(segment, SLICE(".")))
            continue;
        if (len)
            clean[len++] = '/';
        memcpy(clean + len, segment.ptr, segment.len);
        len += segment.len;
    }
    return len ? kept(texts, folder, (struct slice){clean, len}) : ".";
}

const char *address_read(struct arena *texts, enum key_kind kind, struct slice text,
                         const char **ret_problem)
{
    const struct slice given = text;
    *ret_problem = NULL;
    size_t limit = kind == KIND_AUTHORITY      ? AUTHORITY_MAX
                   : kind == KIND_HEADER_VALUE ? 4 * ADDRESS_MAX
                                               : ADDRESS_MAX;
    if (text.len > limit) {
        *ret_problem = "is too long";
        return NULL;
    }
    if (kind == KIND_HOST)
        return host_read(texts, text, ret_problem);
    if (text.len == 0)
        return kind == KIND_HEADER_VALUE ? "" : NULL;
    switch (kind) {
    case KIND_FOLDER:
        return folder_read(texts, text, ret_problem);
    case KIND_URL_PATH:
        *ret_problem = path_problem(text, "*?#");
        text = without_slash(text);
        break;
    case KIND_PROBE_PATH:
        *ret_problem = path_problem(text, "#");
        break;
    case KIND_PATTERN:
        *ret_problem = path_problem(text, "?#");
        break;
    case KIND_PREFIX:
        *ret_problem = prefix_problem(text);
        break;
    case KIND_TARGET:
        *ret_problem = target_problem(text);
        break;
    case KIND_HEADER_NAME:
        *ret_problem = header_name_problem(text);
        break;
    case KIND_HEADER_VALUE:
        *ret_problem = header_value_problem(text);
        break;
    case KIND_FILE:
        *ret_problem = file_problem(text);
        break;
    case KIND_AUTHORITY:
        *ret_problem = authority_problem(text);
        break;
    case KIND_URL:
        *ret_problem = url_problem(text);
        break;
    case KIND_EMAIL:
        *ret_problem = email_problem(text);
        break;
    case KIND_NETWORK:
        *ret_problem = network_problem(text);
        break;
    case KIND_SECRET:
        *ret_problem = slice_starts_with(text, SLICE("/")) ? NULL : "does not begin with '/'";
        break;
    default:
        assert(!"a kind without a form");
    }
    return *ret_problem ? NULL : kept(texts, given, text);
}
