#include "net/media_type.h"

#include <stdlib.h>

/* X(extension, name, is_compressible, is_asset), sorted by extension. Names: the IANA registry of
 * media types; scripts are text/javascript since RFC 9239. */
#define MEDIA_TYPE_TABLE(X)                                                                        \
    X("7z", "application/x-7z-compressed", false, false)                                           \
    X("aac", "audio/aac", false, false)                                                            \
    X("apng", "image/apng", false, true)                                                           \
    X("atom", "application/atom+xml; charset=utf-8", true, false)                                  \
    X("avif", "image/avif", false, true)                                                           \
    X("bmp", "image/bmp", true, true)                                                              \
    X("bz2", "application/x-bzip2", false, false)                                                  \
    X("cjs", "text/javascript; charset=utf-8", true, true)                                         \
    X("css", "text/css; charset=utf-8", true, true)                                                \
    X("csv", "text/csv; charset=utf-8", true, false)                                               \
    X("eot", "application/vnd.ms-fontobject", true, true)                                          \
    X("epub", "application/epub+zip", false, false)                                                \
    X("flac", "audio/flac", false, false)                                                          \
    X("geojson", "application/geo+json", true, false)                                              \
    X("gif", "image/gif", false, true)                                                             \
    X("glb", "model/gltf-binary", true, true)                                                      \
    X("gltf", "model/gltf+json", true, true)                                                       \
    X("gz", "application/gzip", false, false)                                                      \
    X("htm", "text/html; charset=utf-8", true, false)                                              \
    X("html", "text/html; charset=utf-8", true, false)                                             \
    X("ico", "image/vnd.microsoft.icon", true, true)                                               \
    X("ics", "text/calendar; charset=utf-8", true, false)                                          \
    X("jpeg", "image/jpeg", false, true)                                                           \
    X("jpg", "image/jpeg", false, true)                                                            \
    X("js", "text/javascript; charset=utf-8", true, true)                                          \
    X("json", "application/json", true, true)                                                      \
    X("jsonld", "application/ld+json", true, false)                                                \
    X("jxl", "image/jxl", false, true)                                                             \
    X("m4a", "audio/mp4", false, false)                                                            \
    X("m4v", "video/mp4", false, false)                                                            \
    X("map", "application/json", true, true)                                                       \
    X("md", "text/markdown; charset=utf-8", true, false)                                           \
    X("mjs", "text/javascript; charset=utf-8", true, true)                                         \
    X("mov", "video/quicktime", false, false)                                                      \
    X("mp3", "audio/mpeg", false, false)                                                           \
    X("mp4", "video/mp4", false, true)                                                             \
    X("oga", "audio/ogg", false, false)                                                            \
    X("ogg", "audio/ogg", false, false)                                                            \
    X("ogv", "video/ogg", false, false)                                                            \
    X("opus", "audio/ogg", false, false)                                                           \
    X("otf", "font/otf", true, true)                                                               \
    X("pdf", "application/pdf", false, false)                                                      \
    X("png", "image/png", false, true)                                                             \
    X("rss", "application/rss+xml; charset=utf-8", true, false)                                    \
    X("svg", "image/svg+xml; charset=utf-8", true, true)                                           \
    X("tar", "application/x-tar", false, false)                                                    \
    X("tgz", "application/gzip", false, false)                                                     \
    X("tif", "image/tiff", false, false)                                                           \
    X("tiff", "image/tiff", false, false)                                                          \
    X("ttf", "font/ttf", true, true)                                                               \
    X("txt", "text/plain; charset=utf-8", true, false)                                             \
    X("vtt", "text/vtt; charset=utf-8", true, false)                                               \
    X("wasm", "application/wasm", true, true)                                                      \
    X("wav", "audio/wav", true, false)                                                             \
    X("weba", "audio/webm", false, false)                                                          \
    X("webm", "video/webm", false, true)                                                           \
    X("webmanifest", "application/manifest+json", true, false)                                     \
    X("webp", "image/webp", false, true)                                                           \
    X("woff", "font/woff", false, true)                                                            \
    X("woff2", "font/woff2", false, true)                                                          \
    X("xhtml", "application/xhtml+xml; charset=utf-8", true, false)                                \
    X("xml", "application/xml; charset=utf-8", true, false)                                        \
    X("xz", "application/x-xz", false, false)                                                      \
    X("yaml", "application/yaml", true, false)                                                     \
    X("yml", "application/yaml", true, false)                                                      \
    X("zip", "application/zip", false, false)                                                      \
    X("zst", "application/zstd", false, false)

#define EXTENSION_MAX 12

static const struct media_type types[] = {
#define X(extension, name, is_compressible, is_asset) {extension, name, is_compressible, is_asset},
    MEDIA_TYPE_TABLE(X)
#undef X
};

static const struct media_type unknown = {"", "application/octet-stream", false, false};

struct slice media_extension(struct slice path)
{
    size_t at = path.len;

    while (at > 0 && path.ptr[at - 1] != '.' && path.ptr[at - 1] != '/')
        at--;
    /* The dot at `at - 1` must stand behind a first character of the segment. */
    if (at < 2 || path.ptr[at - 1] != '.' || path.ptr[at - 2] == '/')
        return (struct slice){0};
    return (struct slice){path.ptr + at, path.len - at};
}

static int type_compare(const void *key, const void *entry)
{
    return strcmp(key, ((const struct media_type *)entry)->extension);
}

const struct media_type *media_type_of(struct slice path)
{
    struct slice extension = media_extension(path);
    char key[EXTENSION_MAX + 1];
    const struct media_type *found;

    if (extension.len == 0 || extension.len > EXTENSION_MAX)
        return &unknown;
    for (size_t i = 0; i < extension.len; i++) {
        char c = extension.ptr[i];

        key[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    key[extension.len] = '\0';
    found = bsearch(key, types, ARRAY_LEN(types), sizeof types[0], type_compare);
    return found ? found : &unknown;
}
