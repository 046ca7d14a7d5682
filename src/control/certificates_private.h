/* certificates_private.h - what the files of certificates share. */
#ifndef CONTROL_CERTIFICATES_PRIVATE_H
#define CONTROL_CERTIFICATES_PRIVATE_H

#include "base/map.h"
#include "control/acme.h"
#include "control/certificates.h"
#include "control/control_private.h"
#include "deploy/routes.h"
#include "loop/channel.h"
#include "net/https_client.h"
#include "net/tls.h"
#include "net/x509.h"

#define CERTIFICATES_MAX       20000u /* hosts and names on demand together */
#define CERTIFICATE_FILE_BYTES ((size_t)1024 * 1024)
#define CERTIFICATE_NAME_SIZE  256u

/* A chain and its key: once made it does not change, but for its staple. */
struct material {
    char *chain; /* PEM */
    size_t chain_len;
    struct buf key_der; /* secret */
    uint8_t key_id[PEER_KEY_ID_BYTES];
    uint64_t not_before, not_after;  /* seconds since 1970 */
    char *issuer, *key_kind, *names; /* for people; names: "a, b" */
    char *ocsp_url;                  /* NULL: no responder */
    bool covers_host;
    uint64_t obtained_at_us;
    uint64_t keys_version; /* of the key set that it is in, 0: none yet */
    struct buf ocsp;       /* DER; empty: none */
    uint64_t ocsp_next;    /* seconds: its nextUpdate */
};

void material_free(struct material *material); /* NULL allowed */
/* ERR_INVALID: not PEM, or the key is another's. */
MUST_USE int material_make(const char *host, struct slice chain, struct slice key_pem,
                           struct material **ret_material, struct error *err);
bool material_is_expired(const struct material *material);
/* When one of the local authority is made anew: two thirds of its life are over. */
uint64_t material_renewal_s(const struct material *material);

struct file_stamp { /* what tells that a file was replaced */
    uint64_t inode, size, modified_ns, changed_ns;
};
/* Zero when it cannot be looked at. */
struct file_stamp file_stamp_of(const char *path);
bool file_stamp_eq(const struct file_stamp *a, const struct file_stamp *b);

struct certificate_config { /* copies in one piece of memory */
    enum manifest_tls_mode mode;
    const char *app;
    const char *cert, *key;
    enum manifest_challenge challenge;
    const char *dns_hook, *ask;
    struct manifest_acme acme;
    const char *client_ca; /* NULL: none */
    bool is_on_demand, is_tls13_only, is_redirected, is_http2;
};

struct certificate {
    struct list node; /* in certificates.list */
    struct certificates *all;
    char host[CERTIFICATE_NAME_SIZE]; /* of the route; of a name on demand: itself */
    struct certificate *parent; /* whose route a name on demand goes by; NULL: a route's own host */
    bool is_demanded;           /* somebody came and the application said yes */
    bool is_wanted;             /* by the routes that were looked at last */
    bool is_asked_of_acme;
    struct arena *arena;              /* of the config */
    struct certificate_config config; /* of a route's own host; see certificate_settings */
    char *config_text;                /* everything of it, to see a change */
    /* The newest that the edges may use; one whose key is on its way; the one before, whose key
     * stays for connections that still use it. */
    struct material *serving, *pending, *previous;
    uint64_t work_at_us;                     /* loop time of the next look at the source; 0: none */
    struct file_stamp cert_stamp, key_stamp; /* as they were tried last */
    bool has_tried_files;
    char last_error[512], hint[512];
    uint64_t last_error_at_us;     /* wall clock; 0: none */
    struct ocsp_fetch *ocsp_fetch; /* under way; NULL */
    uint64_t ocsp_at_us;           /* loop time of the next one; 0: at once */
    bool has_ocsp_failed;          /* and was told */
};

struct authority_file { /* PEM that routes name, by path */
    char *path;
    struct file_stamp stamp;
    struct buf pem;
    bool has_failed; /* and was told */
};

struct certificates {
    struct control *control;
    struct list list;        /* struct certificate */
    struct map *by_host;     /* the same */
    struct map *authorities; /* path → struct authority_file */
    bool is_started, is_frozen;
    bool is_changed;                   /* what serves is not what the last snapshot has */
    bool has_backlog;                  /* more sources are to be looked at this moment */
    struct store_transaction *records; /* not committed yet; NULL: none */
    unsigned record_count;
    struct loop_timer work;
    struct loop_deferred turn_end;
    /* the local authority */
    char *authority_pem;
    struct buf authority_key; /* PEM, secret */
    /* keys */
    struct channel signer;
    struct loop_timer keys_timeout;
    struct map *known_keys; /* ids that a signer has */
    int keys_fd;            /* the newest set, -1: none */
    uint64_t keys_version;  /* of it */
    uint64_t keys_acked;    /* the newest that a signer has, or that was not waited for longer */
    bool are_keys_due;
    uint64_t keys_due_at_us; /* loop time: since when */
    /* tickets */
    struct buf ticket_keys;
    uint64_t tickets_at_us; /* wall clock of the last rotation */
    /* ACME */
    struct https_client *https;
    struct acme *acme;
    struct acme_handler acme_handler;
    struct list hooks;           /* struct hook_run */
    bool are_challenges_due;     /* wait for the acknowledgement of the edges */
    uint64_t challenge_keys;     /* the key set version that has the keys of the challenges */
    uint64_t generation;         /* of the challenges in the last snapshot */
    uint64_t generation_version; /* that snapshot */
    /* on demand and OCSP */
    struct list asks;     /* struct ask */
    struct map *refusals; /* name → until (loop µs) */
    double ask_tokens;
    uint64_t ask_tokens_at_us;
    unsigned ask_count, ocsp_count;
};

/* ---- certificates.c */

struct certificate *certificate_find(struct certificates *all, struct slice host);
/* New or known; ERR_LIMIT. */
MUST_USE int certificate_make(struct certificates *all, const char *host,
                              struct certificate **ret_certificate, struct error *err);
/* New material: stored, its key sent to the signer, then served. Takes `material` over. */
void certificate_offer(struct certificate *certificate, struct material *material,
                       struct slice key_pem);
/* For people; logged when it is another one than before. */
void certificate_failed(struct certificate *certificate, const struct error *err);
void certificate_succeeded(struct certificate *certificate);
/* What it goes by: a name on demand has the settings of its route. */
static inline const struct certificate_config *
certificate_settings(const struct certificate *certificate)
{
    return certificate->parent ? &certificate->parent->config : &certificate->config;
}
/* The newest material, whether its key has arrived or not; NULL: none. */
static inline const struct material *certificate_newest(const struct certificate *certificate)
{
    return certificate->pending ? certificate->pending : certificate->serving;
}
/* Look at the source in `delay_ms`. */
void certificate_work_in(struct certificate *certificate, uint64_t delay_ms);
/* A snapshot is due at the end of the turn. */
void certificates_publish(struct certificates *all);
/* The one behind `certificate`, NULL: the first. Removing the one at hand is allowed. */
struct certificate *certificates_next(const struct certificates *all,
                                      const struct certificate *certificate);
#define certificate_each(it, all)                                                                  \
    for (struct certificate *it = certificates_next((all), NULL),                                  \
                            *next_ = it ? certificates_next((all), it) : NULL;                     \
         it; it = next_, next_ = it ? certificates_next((all), it) : NULL)

/* ---- certificates_store.c */

/* After certificates_acme_new. */
MUST_USE int certificates_load(struct certificates *all, struct error *err);
/* What follows is gathered and committed at the end of the turn (certificates_commit). Failures are
 * logged: what is not stored is made again after a restart. */
void certificate_store(const struct certificate *certificate, const struct material *material,
                       struct slice key_pem);
void certificate_store_ocsp(const struct certificate *certificate, const struct material *material);
void certificate_forget(const struct certificate *certificate);
void certificates_store_tickets(struct certificates *all);
void certificates_commit(struct certificates *all);
/* The local authority: durable before it returns. */
MUST_USE int certificates_store_authority(struct certificates *all, struct error *err);

/* ---- certificates_files.c */

void certificate_look_at_files(struct certificate *certificate);
void certificates_look_at_authorities(struct certificates *all);
void authority_files_free(struct certificates *all);

/* ---- certificates_internal.c */

void certificate_issue(struct certificate *certificate);
/* The root, made at first use. */
MUST_USE int certificates_authority_make(struct certificates *all, struct error *err);

/* ---- certificates_keys.c */

void certificates_keys_init(struct certificates *all);
void certificates_keys_done(struct certificates *all);
/* There is material whose key no signer may have. */
void certificates_keys_due(struct certificates *all);
/* Send what is due, serve what is there; at the end of a turn. */
void certificates_keys_flush(struct certificates *all);
bool certificates_key_is_known(const struct certificates *all, const uint8_t id[PEER_KEY_ID_BYTES]);
void certificates_tickets(struct certificates *all); /* make, rotate */

/* ---- certificates_acme.c */

MUST_USE int certificates_acme_new(struct certificates *all, struct error *err);
void certificates_acme_free(struct certificates *all);
void certificate_want_acme(struct certificate *certificate);
void certificate_forget_acme(struct certificate *certificate);
void certificates_add_challenges(struct certificates *all, struct snapshot_builder *builder);

/* ---- certificates_demand.c */

void certificates_demand_free(struct certificates *all);
/* Who waits in a handshake is refused. */
void certificates_refuse(struct certificates *all, const char *name);
/* The route's host that a name is served by when asked for, or NULL. */
struct certificate *certificate_covering(struct certificates *all, struct slice name);

/* ---- certificates_ocsp.c */

void certificate_look_at_ocsp(struct certificate *certificate);
void certificate_ocsp_stop(struct certificate *certificate);

#endif
