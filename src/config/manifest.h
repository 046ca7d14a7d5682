/* manifest.h - slipway.yaml: the typed manifest, its one table of keys, and what is made from it.
 *
 * Why: a setting is declared once (config/manifest.def); parser, defaults, validation, JSON Schema,
 * the manual page and the reference documentation come from that row. All mistakes are reported at
 * once, each with line, column and, where a known word is near, a suggestion. Everything input can
 * size is bounded (see MANIFEST_* below). Format: YAML 1.1 by libyaml; JSON is accepted, as it is
 * YAML. Keys that are known but whose feature comes later are parsed and reported as
 * ERR_UNSUPPORTED findings. Keys that begin with "x-" are ignored.
 */
#ifndef CONFIG_MANIFEST_H
#define CONFIG_MANIFEST_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

#define MANIFEST_FILE          "slipway.yaml"
#define MANIFEST_BYTES_MAX     (1024u * 1024u)
#define MANIFEST_DEPTH_MAX     32u
#define MANIFEST_NODES_MAX     20000u /* after aliases are expanded: no YAML bombs */
#define MANIFEST_FINDINGS_MAX  200u
#define MANIFEST_SERVICES_MAX  100u
#define MANIFEST_INSTANCES_MAX 500u /* a service */
#define MANIFEST_NAME_MAX      48u  /* app, service, database: [a-z][a-z0-9-]* */
#define MANIFEST_ARENA_BYTES                                                                       \
    (16u * 1024u * 1024u) /* the least ceiling of an arena for manifest_parse and _load */

enum service_type { SERVICE_WEB, SERVICE_PRIVATE, SERVICE_WORKER, SERVICE_CRON, SERVICE_STATIC };
enum ready_kind { READY_HTTP, READY_TCP, READY_NOTIFY, READY_MESSAGE, READY_ALIVE };
enum environment_source {
    ENVIRONMENT_VALUE,
    ENVIRONMENT_FROM,
    ENVIRONMENT_SECRET,
    ENVIRONMENT_GENERATE
};
enum deploy_strategy { STRATEGY_ROLLING, STRATEGY_BLUE_GREEN, STRATEGY_CANARY, STRATEGY_EXCLUSIVE };
enum database_type {
    DATABASE_POSTGRES,
    DATABASE_REDIS,
    DATABASE_MONGODB,
    DATABASE_DGRAPH,
    DATABASE_SQLITE
};

struct manifest_environment {
    const char *name;
    enum environment_source source;
    const char
        *value; /* VALUE: the text; FROM: "db.url" or "api.url"; SECRET: the path; GENERATE: NULL */
};

struct manifest_health {
    const char *path;          /* default "/" for web when READY_HTTP was asked for */
    uint64_t interval_ms;      /* 1 s */
    uint64_t timeout_ms;       /* 5 s */
    unsigned healthy_after;    /* 1 */
    unsigned unhealthy_after;  /* 3: failures in a row → out of rotation */
    unsigned restart_after;    /* 10: failures in a row → restarted */
    uint64_t start_timeout_ms; /* 60 s */
};

struct manifest_stop {
    int signal;                  /* SIGTERM */
    uint64_t grace_ms;           /* 30 s */
    uint64_t drain_ms;           /* 30 s */
    uint64_t websocket_drain_ms; /* 5 m */
};

struct manifest_restart {
    uint64_t min_uptime_ms;  /* 10 s: an instance that lived shorter counts as a quick crash */
    uint64_t backoff_min_ms; /* 100 ms */
    uint64_t backoff_max_ms; /* 60 s */
    unsigned max_restarts;   /* 10 quick crashes in a row → state crash_loop, tried again at the
                                longest backoff only on request */
};

struct manifest_deploy {
    enum deploy_strategy strategy;
    unsigned max_surge;             /* 1 */
    uint64_t build_timeout_ms;      /* 15 m */
    uint64_t pre_deploy_timeout_ms; /* 10 m */
};

struct manifest_header {
    const char *path, *name, *value;
};

struct manifest_redirect {
    const char *from, *to;
    unsigned status; /* 301 */
};

struct manifest_service {
    const char *name;
    enum service_type type; /* web */
    const char *root;       /* "." */
    const char *build;      /* NULL: nothing to build */
    const char *pre_deploy; /* NULL */
    const char *start;      /* NULL for static */
    unsigned instances;     /* 1; MANIFEST_INSTANCES_CORES: one a core */
    struct manifest_environment *environment;
    size_t environment_count;
    struct manifest_health health;
    enum ready_kind ready; /* default: http when health.path is given, else tcp for web and private,
                              alive for worker */
    struct manifest_stop stop;
    struct manifest_restart restart;
    uint64_t memory_limit_bytes; /* 0: none */
    unsigned cpu_limit_millis;   /* 0: none */
    struct manifest_deploy deploy;
    /* static */
    const char *publish; /* "." below root */
    bool is_single_page;
    struct manifest_header *headers;
    size_t header_count;
    struct manifest_redirect *redirects;
    size_t redirect_count;
};
#define MANIFEST_INSTANCES_CORES UINT32_MAX

struct manifest_database {
    const char *name;
    enum database_type type;
    unsigned version;          /* 0: the newest installed */
    uint64_t max_memory_bytes; /* redis; 0: none */
    const char *eviction;      /* redis: "noeviction" */
};

enum manifest_tls_mode {
    MANIFEST_TLS_OFF,
    MANIFEST_TLS_ACME,
    MANIFEST_TLS_INTERNAL,
    MANIFEST_TLS_FILES
};
enum manifest_challenge {
    CHALLENGE_AUTO,
    CHALLENGE_HTTP_01,
    CHALLENGE_TLS_ALPN_01,
    CHALLENGE_DNS_01
};
enum manifest_tls_version { MANIFEST_TLS_1_2, MANIFEST_TLS_1_3 };

/* Sections that may be absent begin with `is_given`; absent ones hold their defaults. */
struct manifest_on_demand {
    bool is_given;
    const char *ask; /* URL */
};

struct manifest_hsts {
    bool is_given;
    uint64_t max_age_ms;
    bool is_subdomains, is_preload;
};

struct manifest_tls {
    bool is_given;
    enum manifest_tls_mode mode;
    const char *cert, *key; /* FILES: absolute paths on the server */
    enum manifest_challenge challenge;
    const char *dns_hook; /* NULL */
    struct manifest_on_demand on_demand;
    enum manifest_tls_version minimum_version;
    bool is_redirected; /* true */
    struct manifest_hsts hsts;
    bool is_http2; /* true */
};

struct manifest_client_certificate {
    bool is_given;
    const char *ca;   /* an absolute path on the server, or PEM */
    bool is_required; /* true */
};

enum manifest_upstream_protocol { UPSTREAM_HTTP1, UPSTREAM_H2 };

struct manifest_upstream_tls {
    bool is_given;
    bool is_verified;        /* true */
    const char *ca;          /* an absolute path on the server, or PEM; NULL: the system's */
    const char *server_name; /* NULL: localhost */
};

struct manifest_upstream {
    bool is_given;
    enum manifest_upstream_protocol protocol;
    struct manifest_upstream_tls tls;
    unsigned proxy_protocol; /* 0: none, 1, 2 */
};

struct manifest_eab {
    bool is_given;
    const char *key_id, *hmac_file;
};

struct manifest_acme_fallback {
    bool is_given;
    const char *email, *directory, *ca_file;
    struct manifest_eab eab;
};

struct manifest_acme {
    bool is_given;
    const char *email; /* NULL: none */
    const char *directory;
    const char *ca_file; /* NULL: the system's */
    bool is_checked;     /* selfCheck, true */
    struct manifest_eab eab;
    struct manifest_acme_fallback fallback;
};

struct manifest_network {
    const char *text; /* "10.0.0.0/8", an address; network_parse reads it */
};

struct manifest_edge {
    bool is_given;
    struct manifest_network *trusted_proxies, *proxy_protocol;
    size_t trusted_proxy_count, proxy_protocol_count;
};

struct manifest_route {
    const char *host; /* lower case; "*.example.org"; "" : any host */
    const char *path; /* "/" */
    const char *service;
    uint64_t connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms; /* 0: the edge's default */
    uint64_t body_limit_bytes;                                           /* maxBody; 0: none */
    unsigned retries;                                                    /* 1 */
    struct manifest_tls tls; /* not given: as another route of the host has it, else off */
    struct manifest_client_certificate client_certificate;
    struct manifest_upstream upstream;
};

struct manifest {
    const char *app;
    struct manifest_service *services;
    size_t service_count;
    struct manifest_database *databases;
    size_t database_count;
    struct manifest_route
        *routes; /* never empty when a web or static service exists: defaulted to {host: "", path:
                    "/"} for a single one; several without routes is a finding */
    size_t route_count;
    unsigned keep_releases; /* 5 */
    struct manifest_acme acme;
    struct manifest_edge edge;
};

enum finding_level { FINDING_ERROR, FINDING_UNSUPPORTED, FINDING_WARNING };

struct manifest_finding {
    enum finding_level level;
    const char *file;       /* as given to manifest_load */
    unsigned line, column;  /* from 1; 0 = the whole file */
    const char *path;       /* "services.api.instances" */
    const char *message;    /* "unknown key 'instnaces'" */
    const char *suggestion; /* "did you mean 'instances'?", or NULL */
};

struct manifest_findings {
    struct manifest_finding *items;
    size_t count;       /* at most MANIFEST_FINDINGS_MAX */
    size_t error_count; /* errors and unsupported */
    bool is_truncated;
};

/* Parse `text` (named `file` in findings), lay `overlay` over it (an environment's
 * slipway.<env>.yaml; {NULL,0}: none), fill in the defaults, check everything. The manifest and
 * findings live in `arena`. Returns 0 when there is no error finding, else ERR_INVALID with a
 * summary in err (findings are filled in both cases). Never reads a file, never looks at the
 * system. */
MUST_USE int manifest_parse(struct arena *arena, const char *file, struct slice text,
                            const char *overlay_file, struct slice overlay,
                            struct manifest **ret_manifest, struct manifest_findings *ret_findings,
                            struct error *err);

/* Read slipway.yaml (or, without one, what manifest_detect finds) in `directory` with its overlay
 * for `environment` (NULL: none) and parse it; also checks what needs the folder (roots exist). */
MUST_USE int manifest_load(struct arena *arena, const char *directory, const char *environment,
                           struct manifest **ret_manifest, struct manifest_findings *ret_findings,
                           struct error *err);

/* The resolved manifest as canonical JSON, all defaults written out; manifest_parse reads it back
 * to an equal manifest. */
void manifest_write_json(const struct manifest *manifest, struct buf *ret_json);

/* What changes from `from` (NULL: nothing there) to `to`: one line per difference, "~
 * services.api.instances: 2 -> 3", "+ services.site",
 * "- databases.cache". Values of environment variables are shown only as "changed" unless both are
 * plain and short... never secrets. */
/* An added or removed service, database or route carries its type or target. An edit with neither
 * before nor after is one whose values must not be shown. */
enum change_kind { CHANGE_ADD, CHANGE_REMOVE, CHANGE_EDIT };
struct manifest_change {
    enum change_kind kind;
    const char *path, *before, *after;
};
MUST_USE int manifest_diff(struct arena *arena, const struct manifest *from,
                           const struct manifest *to, struct manifest_change **ret_changes,
                           size_t *ret_count, struct error *err);

/* JSON Schema (2020-12), the Markdown reference (docs/manifest.md) and the whole manual page
 * slipway.yaml(5), from the table. */
void manifest_schema(struct buf *ret_json);
void manifest_reference_markdown(struct buf *ret_text);
void manifest_reference_man(struct buf *ret_text);

/* A commented slipway.yaml for `directory` from what lies in it: package.json (scripts,
 * express/next/vite …), Procfile, index.html, requirements.txt, go.mod. ERR_NOT_FOUND when nothing
 * is recognised (hint: what to write). */
MUST_USE int manifest_detect(struct arena *arena, const char *directory, struct buf *ret_yaml,
                             struct error *err);

const struct manifest_service *manifest_service_find(const struct manifest *manifest,
                                                     const char *name);
const struct manifest_database *manifest_database_find(const struct manifest *manifest,
                                                       const char *name);
/* The key in which the TLS settings of two routes of one host differ, "minVersion"; NULL: they
 * agree. hsts is a route's own matter. */
const char *manifest_tls_difference(const struct manifest_tls *a, const struct manifest_tls *b);
const char *manifest_host_text(const char *host);        /* "a.test"; for "": "(any host)" */
const char *tls_mode_name(enum manifest_tls_mode mode);  /* "acme" */
const char *service_type_name(enum service_type type);   /* "web" */
const char *database_type_name(enum database_type type); /* "postgres" */
const char *ready_kind_name(enum ready_kind kind);

#endif
