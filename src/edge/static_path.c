/* static_path.c - what a request path may be before it comes near the file system. */
#include "edge/static_private.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

unsigned static_path_decode(struct slice path, char space[STATIC_PATH_MAX], struct slice *ret_path)
{
    size_t len = 0;

    if (path.len >= STATIC_PATH_MAX)
        return 404;
    if (slice_find_byte(path, '%') < 0) {
        *ret_path = path;
        return 0;
    }
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];

        if (c == '%') {
            int high = i + 2 < path.len ? hex_digit(path.ptr[i + 1]) : -1;
            int low = i + 2 < path.len ? hex_digit(path.ptr[i + 2]) : -1;

            if (high < 0 || low < 0)
                return 400;
            c = (char)(high << 4 | low);
            if (c == '\0')
                return 400;
            if (c == '/') /* would split a segment that the router saw as one */
                return 404;
            i += 2;
        }
        space[len++] = c;
    }
    *ret_path = (struct slice){space, len};
    return 0;
}

bool static_path_is_served(struct slice path)
{
    if (path.len == 0 || path.ptr[0] != '/' || path.len >= STATIC_PATH_MAX)
        return false;
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.ptr[i];

        if (c < 0x20 || c == 0x7f || c == '\\')
            return false;
        if (c != '/' || i + 1 == path.len)
            continue;
        if (path.ptr[i + 1] == '/')
            return false;
        if (path.ptr[i + 1] == '.' && (i > 0 || !slice_starts_with(path, SLICE("/.well-known/"))))
            return false;
    }
    return true;
}

bool static_path_matches(struct slice pattern, struct slice path)
{
    size_t at = 0, i = 0, star = SIZE_MAX, retry = 0;

    while (i < path.len) {
        if (at < pattern.len && pattern.ptr[at] == '*') {
            star = at++;
            retry = i;
        } else if (at < pattern.len && pattern.ptr[at] == path.ptr[i]) {
            at++;
            i++;
        } else if (star != SIZE_MAX) {
            at = star + 1;
            i = ++retry;
        } else {
            return false;
        }
    }
    while (at < pattern.len && pattern.ptr[at] == '*')
        at++;
    return at == pattern.len;
}

void static_path_append(struct buf *buf, struct slice text, bool is_decoded)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c <= ' ' || c >= 0x7f || strchr("\"<>\\^`{|}", c) || (is_decoded && strchr("%?#", c))) {
            buf_append_byte(buf, '%');
            buf_append_byte(buf, digits[c >> 4]);
            buf_append_byte(buf, digits[c & 15]);
        } else {
            buf_append_byte(buf, (char)c);
        }
    }
}

/* ---- names made by bundlers */

struct alphabet { /* what a token is made of */
    size_t digits, lower, upper, hex_letters, others, turns;
};

static struct alphabet alphabet_of(struct slice token)
{
    struct alphabet found = {0};
    int last = -1;

    for (size_t i = 0; i < token.len; i++) {
        char c = token.ptr[i];
        int class;

        if (c >= '0' && c <= '9') {
            found.digits++;
            class = 0;
        } else if (c >= 'a' && c <= 'z') {
            found.lower++;
            found.hex_letters += c <= 'f';
            class = 1;
        } else if (c >= 'A' && c <= 'Z') {
            found.upper++;
            class = 2;
        } else {
            found.others += c != '-' && c != '_';
            class = 3;
        }
        found.turns += last >= 0 && class != last;
        last = class;
    }
    return found;
}

/* Does it look random? A wrong yes keeps a stale file in browsers for a year, a wrong no costs a
 * 304: doubt is a no. */
static bool is_hash(struct slice token, bool is_in_assets)
{
    struct alphabet found = alphabet_of(token);

    if (token.len < 8 || token.len > 64 || found.others > 0)
        return false;
    if (found.digits > 0 && found.hex_letters > 0 && found.digits + found.hex_letters == token.len)
        return true;
    if (found.digits > 0 && found.lower > 0 && found.upper > 0)
        return true;
    return is_in_assets && token.len == 8 && found.turns >= 3;
}

bool static_path_is_hashed(struct slice path)
{
    struct slice extension = media_extension(path), name, token;
    size_t start, end;
    bool is_in_assets;

    if (!media_type_of(path)->is_asset)
        return false;
    end = path.len - extension.len - 1;
    if (slice_eq(extension, SLICE("map"))) { /* main.3f2a1b4c.js.map */
        struct slice inner = media_extension(slice_sub(path, 0, end));

        if (inner.len > 0 && media_type_of(slice_sub(path, 0, end))->is_asset)
            end -= inner.len + 1;
    }
    for (start = end; start > 0 && path.ptr[start - 1] != '/';)
        start--;
    is_in_assets = slice_find(slice_sub(path, 0, start), SLICE("/assets/")) >= 0;
    name = slice_sub(path, start, end - start);
    if (slice_ends_with(name, SLICE(".chunk")))
        name.len -= sizeof ".chunk" - 1;
    /* Vite's eight characters may themselves contain '-' and '_'. */
    if (name.len > 9 && (name.ptr[name.len - 9] == '-' || name.ptr[name.len - 9] == '.') &&
        is_hash(slice_sub(name, name.len - 8, 8), is_in_assets))
        return true;
    token = name;
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] == '-' || name.ptr[i] == '.' || name.ptr[i] == '_')
            token = slice_sub(name, i + 1, name.len);
    return is_hash(token, is_in_assets);
}
