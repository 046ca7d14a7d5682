/* acme.h - certificates from ACME authorities (RFC 8555, ARI by RFC 9773): orders, renewals,
 * challenges, retries.
 *
 * Whoever owns the routing says which certificates it wants (acme_want, again after every start)
 * and publishes challenges; this side does the rest and never blocks. Everything that matters is
 * durable in the store under /acme/ before it is acted upon (docs/design/acme.md has the records):
 * a control killed at any step goes on with the same order, and what was tried counts against the
 * limits of a CA for ever. Certificates and their keys are kept here, too: acme_want hands out what
 * the store has at once, so nobody else needs to store them. Private keys and secrets appear in no
 * status, error or log line. Threads: the loop's. Errors of a CA are told in its own words.
 */
#ifndef CONTROL_ACME_H
#define CONTROL_ACME_H

#include "base/arena.h"
#include "base/error.h"
#include "base/slice.h"
#include "loop/loop.h"
#include <stdbool.h>

struct buf;
struct https_client;
struct store;
struct acme;

#define ACME_NAMES_MAX 100u   /* of one certificate */
#define ACME_CAS_MAX   4u     /* the first one, then fallbacks */
#define ACME_ITEMS_MAX 20000u /* certificates */

#define ACME_LETS_ENCRYPT "https://acme-v02.api.letsencrypt.org/directory"

enum acme_challenge_kind {
    ACME_AUTO, /* DNS-01 when there is a hook; else HTTP-01, or TLS-ALPN-01 when only that one gets
                  through */
    ACME_HTTP_01,
    ACME_TLS_ALPN_01,
    ACME_DNS_01,
};

struct acme_ca {
    const char *directory;  /* URL: https, or http on loopback */
    const char *email;      /* contact; NULL: none */
    const char *eab_key_id; /* external account binding; NULL: none */
    const char *eab_hmac;   /* base64url; secret */
    const char
        *ca_file; /* PEM that the directory's own certificate is verified by; NULL: the system's */
};

/* Strings are borrowed for the call. */
struct acme_spec {
    const char *const *names; /* lower case DNS names ("*.example.org": DNS-01 only); the first one
                                 is the name of the whole in all that follows */
    size_t name_count;
    const struct acme_ca *cas; /* tried in this order */
    size_t ca_count;
    enum acme_challenge_kind challenge;
    const char *dns_hook;  /* command line for DNS-01, or NULL; see struct acme_hook */
    uint64_t dns_delay_ms; /* from the end of the hook to the CA's look-up; 0: 10 s */
    bool is_on_demand;     /* somebody waits in a handshake: goes before all others */
    bool is_check_skipped; /* a network whose machines cannot reach their own public address */
};

/* ---- what it asks of its owner */

/* One run of a DNS hook: `command` by /bin/sh -c, as a unit, with these variables:
 * SLIPWAY_ACME_ACTION=present|cleanup, SLIPWAY_ACME_DOMAIN=example.org,
 * SLIPWAY_ACME_NAME=_acme-challenge.example.org, SLIPWAY_ACME_VALUE=… (the TXT record). */
struct acme_hook {
    const char *certificate; /* the name of the whole */
    const char *command;
    const char *const *environment; /* "NAME=value" */
    size_t environment_count;
    uint64_t timeout_ms; /* then it is to be ended, and on_done says ERR_TIMEOUT */
    /* The owner calls it once, not within run_hook. NULL: it exited with 0; else its last words. */
    void (*on_done)(struct acme_hook *hook, const struct error *err);
    void *driver; /* the owner's */
};

struct acme_handler {
    /* A certificate for this name, new or from the store: replaces the one before. Never called
     * within acme_want. The texts are wiped after the call. */
    void (*on_certificate)(struct acme_handler *handler, const char *name, struct slice chain_pem,
                           struct slice key_pem);
    /* An attempt failed, and none follows soon: who waits in a handshake may be refused. */
    void (*on_failure)(struct acme_handler *handler, const char *name, const struct error *err);
    /* acme_challenges has changed: publish, then say acme_published. */
    void (*on_challenges_changed)(struct acme_handler *handler);
    /* Strings of the hook live until on_done or cancel_hook. */
    void (*run_hook)(struct acme_handler *handler, struct acme_hook *hook);
    /* End it if it runs; on_done is not called any more. */
    void (*cancel_hook)(struct acme_handler *handler, struct acme_hook *hook);
};

struct acme_settings {              /* 0 everywhere: the defaults */
    unsigned http_port, https_port; /* where the names lead to, as CAs see it: 80, 443. The
                                       self-check goes there */
    unsigned at_once;               /* orders under way: 4 */
    unsigned orders_per_window;     /* new orders a directory, a token bucket: 20 */
    uint64_t window_ms;             /* 10 m */
    uint64_t backoff_ms[5];         /* after 1, 2, … failures in a row: 1 m, 10 m, 1 h, 6 h, 24 h;
                                       jittered */
    uint64_t check_backoff_ms[5];  /* when it was the self-check, which costs no CA: 15 s, 1 m, 2 m,
                                      5  m, 10 m */
    uint64_t published_timeout_ms; /* for acme_published to come: 30 s */
    uint64_t request_timeout_ms;   /* 30 s */
    uint64_t order_timeout_ms;     /* for a CA to validate and issue: 10 m */
    uint64_t poll_ms;              /* where a CA names no Retry-After: 2 s */
    uint64_t retry_ms; /* before a request that a CA did not answer is sent again, doubling, five
                          times: 1 s */
};

/* `https`, `store`, `handler` outlive it. Loads accounts, limits, and what is on its way; does
 * nothing before acme_start. settings NULL: defaults. ERR_CORRUPT. */
MUST_USE int acme_new(struct loop *loop, struct store *store, struct https_client *https,
                      struct acme_handler *handler, const struct acme_settings *settings,
                      struct acme **ret_acme, struct error *err);
/* Everything may begin: the edges take challenges. What was wanted before waits until here;
 * certificates of the store are handed out even before. */
void acme_start(struct acme *acme);
void acme_free(struct acme *acme); /* NULL allowed; nothing is lost: the next life goes on */

/* From now on there is to be such a certificate. The same spec again: nothing happens; another one
 * replaces it (and is tried at once when the last attempt failed). ERR_INVALID: a name or URL is
 * none, a wildcard without a hook; ERR_LIMIT. */
MUST_USE int acme_want(struct acme *acme, const struct acme_spec *spec, struct error *err);
/* No longer. Ends what is under way; the certificate stays in the store until it expires, in case
 * the name comes back. Unknown names are fine. */
void acme_forget(struct acme *acme, const char *name);
/* A person asks: try now what waits after a failure, renew now what is valid. The limits of CAs
 * still hold. ERR_NOT_FOUND; ERR_EXISTS: under way already. */
MUST_USE int acme_renew(struct acme *acme, const char *name, struct error *err);
/* The newest pair of the store for this name, wanted or not; the key is to be wiped.
 * ERR_NOT_FOUND, ERR_CORRUPT. */
MUST_USE int acme_stored(struct acme *acme, const char *name, struct buf *ret_key,
                         struct buf *ret_chain, struct error *err);

/* ---- challenges */

struct acme_challenge {
    enum acme_challenge_kind kind; /* ACME_HTTP_01 or ACME_TLS_ALPN_01 */
    const char *name;
    const char *token; /* HTTP-01: GET /.well-known/acme-challenge/<token> on that host … */
    const char *key_authorization; /* … is answered with this, 200, application/octet-stream */
    struct slice certificate_pem, key_pem; /* TLS-ALPN-01; the key is to reach the signer first */
};
/* What is to be published now, borrowed until the next callback or call. Returns the generation. */
uint64_t acme_challenges(struct acme *acme, const struct acme_challenge **ret_challenges,
                         size_t *ret_count);
/* Every edge answers by the challenges of this generation. */
void acme_published(struct acme *acme, uint64_t generation);

/* ---- what is known */

#define ACME_STATES(X)                                                                             \
    X(ACME_WAITING, "waiting")       /* for its turn, a limit or the time of the next attempt */   \
    X(ACME_CHECKING, "checking")     /* whether the name reaches this machine */                   \
    X(ACME_ORDERING, "ordering")     /* account, order, authorizations */                          \
    X(ACME_VALIDATING, "validating") /* the CA looks at the challenges */                          \
    X(ACME_ISSUING, "issuing")       /* finalize, download */                                      \
    X(ACME_VALID, "valid")           /* nothing to do before next_renewal */
enum acme_state {
#define X(state, name) state,
    ACME_STATES(X)
#undef X
};
const char *acme_state_name(enum acme_state state);

struct acme_status { /* texts live until the next call or callback */
    const char *name;
    enum acme_state state; /* WAITING with has_certificate: a renewal waits */
    bool has_certificate, is_on_demand;
    const char *directory;         /* that issued the certificate; NULL: none yet */
    unsigned failures;             /* attempts in a row */
    const char *last_error, *hint; /* of the last attempt; NULL when it succeeded */
    uint64_t last_error_at_us;     /* wall clock; 0: none */
    uint64_t next_attempt_at_us;   /* 0: none planned but the renewal */
    uint64_t next_renewal_at_us;   /* 0: no certificate */
};
/* ERR_NOT_FOUND. */
MUST_USE int acme_status(struct acme *acme, const char *name, struct acme_status *ret_status);

#endif
