/* manifest.c - the door: text to manifest, folder to manifest. Design: docs/design/config.md. */
#include "config/manifest.h"

#include "base/text.h"
#include "config/walk_private.h"
#include "config/yaml_private.h"
#include "os/file.h"
#include <dirent.h>

/* Nodes of the manifest and its overlay, their merge, anchors; far above what MANIFEST_NODES_MAX
 * allows. */
#define NODES_BYTES_MAX ((size_t)64 * 1024 * 1024)

struct sources {
    const char *file, *overlay_file;
    struct slice text, overlay;
    const char *directory; /* to check what needs it; NULL: do not look */
};

static const struct node *read_tree(struct arena *nodes, struct arena *texts,
                                    struct findings *findings, const struct sources *sources)
{
    struct node *root = yaml_parse(nodes, texts, sources->file, sources->text, findings);
    if (!sources->overlay.ptr)
        return root;
    struct node *overlay =
        yaml_parse(nodes, texts, sources->overlay_file, sources->overlay, findings);
    return root && overlay ? yaml_merge(nodes, root, overlay, findings) : root;
}

static int manifest_read(struct arena *arena, const struct sources *sources,
                         struct manifest **ret_manifest, struct manifest_findings *ret_findings,
                         struct error *err)
{
    CLEANUP(arena_freep) struct arena *nodes = arena_new(NODES_BYTES_MAX);
    struct findings findings;
    findings_init(&findings, arena);
    struct manifest *manifest = arena_new_of(arena, struct manifest);
    const struct node *root = read_tree(nodes, arena, &findings, sources);
    if (root) {
        manifest_walk(arena, &findings, root, manifest);
        manifest_check(arena, &findings, root, manifest);
        if (sources->directory)
            manifest_check_folder(&findings, root, manifest, sources->directory);
    }
    int result = findings_finish(&findings, sources->file, ret_findings, err);
    if (result == 0)
        *ret_manifest = manifest;
    return result;
}

int manifest_parse(struct arena *arena, const char *file, struct slice text,
                   const char *overlay_file, struct slice overlay, struct manifest **ret_manifest,
                   struct manifest_findings *ret_findings, struct error *err)
{
    struct sources sources = {
        .file = arena_text(arena, file),
        .overlay_file = arena_text(arena, overlay_file ? overlay_file : "overlay"),
        .text = text,
        .overlay = overlay,
    };
    return manifest_read(arena, &sources, ret_manifest, ret_findings, err);
}

/* ---- from a folder */

/* One finding in place of a parse. */
static int refuse(struct arena *arena, const char *file, struct manifest_findings *ret_findings,
                  struct error *err, const char *message, const char *suggestion)
{
    struct findings findings;
    findings_init(&findings, arena);
    findings_add(&findings, FINDING_ERROR, (struct position){file, 0, 0}, NULL, suggestion, "%s",
                 message);
    return findings_finish(&findings, file, ret_findings, err);
}

/* "slipway.staging.yaml" for the environment nearest to the one asked for, or NULL. */
static const char *nearest_overlay(struct arena *arena, const char *directory,
                                   const char *environment)
{
    const char *names[32];
    size_t count = 0;
    DIR *folder = opendir(directory);
    if (!folder)
        return NULL;
    for (struct dirent *entry = readdir(folder); entry && count < ARRAY_LEN(names);
         entry = readdir(folder)) {
        struct slice name = slice_from(entry->d_name);
        if (slice_starts_with(name, SLICE("slipway.")) && slice_ends_with(name, SLICE(".yaml")) &&
            name.len > 13)
            names[count++] = arena_slice_text(arena, slice_sub(name, 8, name.len - 13));
    }
    closedir(folder);
    return text_suggest(slice_from(environment), names, count);
}

static bool environment_is_usual(const char *environment)
{
    static const char *const usual[] = {"production", "staging", "development"};
    for (size_t i = 0; i < ARRAY_LEN(usual); i++)
        if (strcmp(environment, usual[i]) == 0)
            return true;
    return false;
}

static bool environment_is_name(const char *environment)
{
    struct slice name = slice_from(environment);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_'))
            return false;
    }
    return name.len > 0 && name.len <= MANIFEST_NAME_MAX;
}

static int overlay_missing(struct arena *arena, const char *directory, const char *environment,
                           struct error *err)
{
    const char *nearest = nearest_overlay(arena, directory, environment);
    error_set(err, ERR_NOT_FOUND, "there is no environment '%s': slipway.%s.yaml does not exist",
              environment, environment);
    if (nearest)
        return error_hint(err, "did you mean '%s'?", nearest);
    return error_hint(err, "write slipway.%s.yaml with what differs there", environment);
}

static int read_limited(const char *path, struct buf *ret_text, struct error *err)
{
    *ret_text =
        BUF_INIT(MANIFEST_BYTES_MAX + 1); /* one more, so that the parser tells what is wrong */
    return file_read(path, MANIFEST_BYTES_MAX, ret_text, err);
}

struct folder_texts {
    struct buf text, overlay;
};

static void folder_texts_done(struct folder_texts *texts)
{
    buf_done(&texts->text);
    buf_done(&texts->overlay);
}

static int read_manifest_file(struct arena *arena, const char *directory,
                              struct folder_texts *texts, const char **ret_file, struct error *err)
{
    int result = read_limited(path_join(arena, directory, MANIFEST_FILE), &texts->text, err);
    *ret_file = MANIFEST_FILE;
    if (result != ERR_NOT_FOUND)
        return result;
    if (!file_is_directory(directory)) {
        error_set(err, ERR_NOT_FOUND, "there is no folder '%s'", directory);
        return err ? err->code : ERR_NOT_FOUND;
    }
    if (file_exists(path_join(arena, directory, "slipway.yml"))) {
        error_set(err, ERR_NOT_FOUND, "there is no " MANIFEST_FILE " in '%s', but a slipway.yml",
                  directory);
        error_hint(err, "rename it to " MANIFEST_FILE);
        return ERR_NOT_FOUND;
    }
    *ret_file = MANIFEST_FILE " (detected)";
    buf_done(&texts->text);
    texts->text = BUF_INIT(MANIFEST_BYTES_MAX);
    return manifest_detect(arena, directory, &texts->text, err);
}

int manifest_load(struct arena *arena, const char *directory, const char *environment,
                  struct manifest **ret_manifest, struct manifest_findings *ret_findings,
                  struct error *err)
{
    CLEANUP(folder_texts_done) struct folder_texts texts = {0};
    struct sources sources = {.file = MANIFEST_FILE, .directory = directory};
    *ret_findings = (struct manifest_findings){0};
    if (environment && !environment_is_name(environment))
        return error_set(err, ERR_INVALID, "'%.60s' is not a valid name for an environment",
                         environment);
    int result = read_manifest_file(arena, directory, &texts, &sources.file, err);
    if (result == ERR_LIMIT)
        return refuse(arena, MANIFEST_FILE, ret_findings, err, "the file is larger than 1 MB",
                      NULL);
    if (result != 0)
        return result;
    sources.text = buf_slice(&texts.text);
    if (environment) {
        sources.overlay_file = arena_printf(arena, "slipway.%s.yaml", environment);
        result =
            read_limited(path_join(arena, directory, sources.overlay_file), &texts.overlay, err);
        if (result == ERR_NOT_FOUND && !environment_is_usual(environment))
            return overlay_missing(arena, directory, environment, err);
        if (result == ERR_LIMIT)
            return refuse(arena, sources.overlay_file, ret_findings, err,
                          "the file is larger than 1 MB", NULL);
        if (result != 0 && result != ERR_NOT_FOUND)
            return result;
        error_clear(err);
        sources.overlay = result == 0 ? (struct slice){buf_text(&texts.overlay), texts.overlay.len}
                                      : (struct slice){0};
    }
    return manifest_read(arena, &sources, ret_manifest, ret_findings, err);
}

/* ---- names */

const struct manifest_service *manifest_service_find(const struct manifest *manifest,
                                                     const char *name)
{
    for (size_t i = 0; i < manifest->service_count; i++)
        if (strcmp(manifest->services[i].name, name) == 0)
            return &manifest->services[i];
    return NULL;
}

const struct manifest_database *manifest_database_find(const struct manifest *manifest,
                                                       const char *name)
{
    for (size_t i = 0; i < manifest->database_count; i++)
        if (strcmp(manifest->databases[i].name, name) == 0)
            return &manifest->databases[i];
    return NULL;
}

static bool texts_differ(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") != 0;
}

const char *manifest_tls_difference(const struct manifest_tls *a, const struct manifest_tls *b)
{
    if (a->mode != b->mode)
        return "mode";
    if (a->mode == MANIFEST_TLS_OFF)
        return NULL;
    if (texts_differ(a->cert, b->cert))
        return "cert";
    if (texts_differ(a->key, b->key))
        return "key";
    if (a->challenge != b->challenge)
        return "challenge";
    if (texts_differ(a->dns_hook, b->dns_hook))
        return "dnsHook";
    if (a->on_demand.is_given != b->on_demand.is_given ||
        texts_differ(a->on_demand.ask, b->on_demand.ask))
        return "onDemand";
    if (a->minimum_version != b->minimum_version)
        return "minVersion";
    if (a->is_redirected != b->is_redirected)
        return "redirect";
    return a->is_http2 != b->is_http2 ? "http2" : NULL;
}

const char *manifest_host_text(const char *host)
{
    return host[0] ? host : "(any host)";
}

const char *tls_mode_name(enum manifest_tls_mode mode)
{
    static const char *const names[] = {"off", "acme", "internal", "files"};
    return names[mode];
}

const char *service_type_name(enum service_type type)
{
    static const char *const names[] = {"web", "private", "worker", "cron", "static"};
    return names[type];
}

const char *database_type_name(enum database_type type)
{
    static const char *const names[] = {"postgres", "redis", "mongodb", "dgraph", "sqlite"};
    return names[type];
}

const char *ready_kind_name(enum ready_kind kind)
{
    static const char *const names[] = {"http", "tcp", "notify", "message", "alive"};
    return names[kind];
}
