/* acme_private.h - the parts of the ACME client and what they share.
 *
 *   acme.c          the door: what is wanted, schedule, status, handing out certificates
 *   acme_spec.c     what a certificate is to be
 *   acme_record.c   the records in the store
 *   acme_limit.c    token buckets, pauses, backoff
 *   acme_call.c     one signed request: directory, nonce, JWS, retries
 *   acme_order.c    one attempt at one certificate: the state machine
 *   acme_account.c  its first steps: account, new order
 *   acme_validate.c its middle: authorizations, challenges, hooks
 *   acme_issue.c    its end: finalize, download, check of the chain
 *   acme_challenge.c what edges are to answer
 *   acme_check.c    the self-check
 *   acme_renewal.c  when to renew; ARI
 *   acme_answer.c   what servers say
 */
#ifndef CONTROL_ACME_PRIVATE_H
#define CONTROL_ACME_PRIVATE_H

#include "base/map.h"
#include "control/acme.h"
#include "control/acme_answer.h"
#include "net/https_client.h"
#include "net/tls_probe.h"

struct x509_facts;

#define ACME_NONCES_MAX      16u
#define ACME_NONCE_SIZE      (HTTPS_HEADER_MAX + 1)
#define ACME_ID_SIZE         33u /* hexadecimal digits of half a SHA-256 */
#define ACME_KEY_MAX         4096u
#define ACME_DIRECTORY_US    (24ull * 3600 * 1000 * 1000) /* then it is asked for again */
#define ACME_TRIES_MAX       5u
#define ACME_BACKOFFS        5u
#define ACME_SELF_TOKEN_SIZE 44u
/* Plans that lie further ahead than any that is made come from a clock that was wrong. */
#define ACME_ATTEMPT_MAX_US (48ull * 3600 * 1000000)
#define ACME_PAUSE_MAX_US   (3600ull * 1000000)
#define ACME_BLOCK_MAX_US   ((ACME_RETRY_AFTER_MAX + 3600) * 1000000)

/* ---- authorities */

struct acme_directory {
    struct list node;
    struct acme *acme;
    char id[ACME_ID_SIZE]; /* of its URL */
    char *url, *ca_file;   /* ca_file NULL: the system's */
    bool is_plain;
    struct arena *arena; /* of the endpoints; NULL: not known yet */
    struct acme_endpoints endpoints;
    uint64_t known_at_us; /* monotonic */
    char *nonces[ACME_NONCES_MAX];
    size_t nonce_count;
    /* the token bucket and the pause; durable, wall clock */
    double tokens;
    uint64_t tokens_at_us, paused_until_us;
};

struct acme_account {
    struct list node;
    struct acme_directory *directory;
    char id[ACME_ID_SIZE]; /* of directory, email and external key */
    char *email;           /* NULL: none */
    struct buf key_pem, thumbprint;
    char *url;                 /* NULL: not registered yet */
    struct acme_order *leader; /* who registers it; others wait */
};

/* ---- one request */

enum acme_target {
    ACME_TARGET_URL,
    ACME_TARGET_DIRECTORY, /* nothing is posted: done once it is known */
    ACME_TARGET_NEW_ACCOUNT,
    ACME_TARGET_NEW_ORDER,
};
enum acme_call_step { ACME_CALL_IDLE, ACME_CALL_DIRECTORY, ACME_CALL_NONCE, ACME_CALL_POST };

struct acme_reply {
    int status;
    struct slice body, location, content_type;
    uint64_t retry_after_s; /* 0: not said */
    /* 0, or why it failed. The problem's text is in the story already. */
    int code;
    const struct error *err;
    struct acme_problem problem;
    bool is_transient; /* no answer, or a server's own fault */
};

struct acme_call {
    struct acme *acme;
    struct acme_directory *directory;
    struct acme_account *account; /* signs */
    enum acme_call_step step;
    enum acme_target target;
    char *url;          /* TARGET_URL */
    struct buf payload; /* empty: POST-as-GET */
    size_t answer_limit;
    const char *accept; /* NULL: JSON */
    unsigned tries, nonce_tries;
    struct https_handler https;
    struct https_exchange *exchange;
    struct loop_timer retry;
    struct loop_deferred failed;
    struct error err;    /* of `failed` */
    struct arena *arena; /* of the reply's problem */
    void (*on_done)(struct acme_call *call, const struct acme_reply *reply);
};

/* ---- one attempt */

#define ACME_ORDER_STEPS(X)                                                                        \
    X(ACME_STEP_CHECK_PUBLISH, "publish self-check", ACME_CHECKING)                                \
    X(ACME_STEP_CHECK, "self-check", ACME_CHECKING)                                                \
    X(ACME_STEP_ACCOUNT, "account", ACME_ORDERING)                                                 \
    X(ACME_STEP_ACCOUNT_WAIT, "account of another order", ACME_ORDERING)                           \
    X(ACME_STEP_NEW, "new order", ACME_ORDERING)                                                   \
    X(ACME_STEP_FETCH, "order", ACME_ORDERING)                                                     \
    X(ACME_STEP_AUTHORIZATIONS, "authorizations", ACME_ORDERING)                                   \
    X(ACME_STEP_PRESENT, "present", ACME_VALIDATING)                                               \
    X(ACME_STEP_PUBLISH, "publish challenges", ACME_VALIDATING)                                    \
    X(ACME_STEP_HOOK_DELAY, "wait for DNS", ACME_VALIDATING)                                       \
    X(ACME_STEP_RESPOND, "respond", ACME_VALIDATING)                                               \
    X(ACME_STEP_POLL, "poll validation", ACME_VALIDATING)                                          \
    X(ACME_STEP_CLEANUP, "clean up", ACME_VALIDATING)                                              \
    X(ACME_STEP_READY, "poll order", ACME_ISSUING)                                                 \
    X(ACME_STEP_FINALIZE, "finalize", ACME_ISSUING)                                                \
    X(ACME_STEP_ISSUE, "poll issuance", ACME_ISSUING)                                              \
    X(ACME_STEP_DOWNLOAD, "download", ACME_ISSUING)
enum acme_order_step {
#define X(step, name, state) step,
    ACME_ORDER_STEPS(X)
#undef X
};

struct acme_authorization {
    char *url, *challenge_url;
    enum acme_challenge_kind kind;
    bool is_pending; /* a challenge is to be answered */
    bool is_responded;
    bool is_published; /* `challenge` counts */
    bool is_presented; /* a hook put `value` there */
    char *name;        /* without "*." */
    char *token, *key_authorization;
    char *value;                         /* DNS-01 */
    struct buf certificate_pem, key_pem; /* TLS-ALPN-01 */
};

struct acme_presented { /* of a hook; durable before it runs */
    char *domain, *value;
};

enum acme_blame {
    ACME_BLAME_CA,    /* the next one is tried */
    ACME_BLAME_NAME,  /* no other one would see it differently */
    ACME_BLAME_CHECK, /* no CA was asked */
    ACME_BLAME_LOCAL, /* this machine */
};

struct acme_order {
    struct list node; /* of acme->orders */
    struct acme *acme;
    struct acme_item *item;
    enum acme_order_step step;
    size_t ca; /* index of the spec's */
    struct acme_account *account;
    bool is_cancelled;       /* nobody wants it any more; only hooks are cleaned up */
    bool is_resumed;         /* came from a record */
    bool is_account_renewed; /* the CA had forgotten it; once an attempt */
    bool is_replacing;       /* newOrder says `replaces` */
    bool is_sweeping;        /* what an order of before presented is cleaned up first */
    bool is_kept;            /* failing, but the order may still come true: the next attempt asks */

    char *url, *finalize_url, *certificate_url;
    struct buf key_pem; /* of the certificate */
    uint64_t created_at_us;
    struct acme_authorization *authorizations;
    size_t authorization_count, cursor;
    struct acme_presented *presented;
    size_t presented_count;
    enum acme_challenge_kind kind; /* AUTO until decided */
    uint64_t generation;           /* to be published */
    bool is_publishing;

    struct acme_call call;
    struct loop_timer timer, deadline;
    struct acme_hook hook;
    bool is_hook_running;
    char *hook_command, *hook_environment[4];

    /* the self-check */
    char self_token[ACME_SELF_TOKEN_SIZE], self_value[ACME_SELF_TOKEN_SIZE];
    struct acme_authorization self; /* TLS-ALPN-01 */
    enum acme_challenge_kind check_kind;
    struct https_handler check_https;
    struct https_exchange *check_exchange;
    struct tls_probe *probe;
    struct tls_probe_handler probe_handler;
    char check_url[512], check_addresses[256];
    struct error first_check; /* of HTTP-01, when TLS-ALPN-01 is tried, too */

    /* the outcome that waits for the cleanup */
    bool is_failing;
    enum acme_blame blame;
    struct error err;       /* of this CA */
    struct error first_err; /* of the CA before */
    bool is_refusing;       /* this CA refuses the name itself */
    bool is_policy;         /* every CA so far did */
};

/* ---- one certificate */

struct acme_block { /* a CA does not want this name before then */
    char directory[ACME_ID_SIZE];
    uint64_t until_us; /* wall clock */
};

struct acme_item {
    struct acme *acme;
    char *name;
    struct arena *arena; /* of the spec; NULL: not wanted */
    struct acme_spec spec;
    uint64_t fingerprint; /* of the spec */
    struct acme_order *order;

    /* durable */
    unsigned failures, check_failures;
    uint64_t next_attempt_at_us, last_error_at_us;
    char *last_error, *hint;
    struct acme_block blocks[ACME_CAS_MAX];

    /* of the certificate */
    bool has_certificate, is_covering; /* all wanted names */
    struct list delivery;              /* of acme->deliveries */
    bool is_renewal_forced;
    char *certificate_directory, *ari_id;
    uint64_t not_before_us, not_after_us, renew_at_us;
    /* ARI: 0: not known */
    uint64_t ari_at_us, ari_next_us; /* when to renew; when to ask again (wall clock) */
    unsigned ari_failures;
};

struct acme {
    struct loop *loop;
    struct store *store;
    struct https_client *https;
    struct acme_handler *handler;
    struct acme_settings settings;
    struct map *items; /* struct acme_item */
    struct list directories, accounts, orders;
    size_t order_count;
    bool is_started, is_freeing;
    struct list deliveries;
    struct loop_timer timer, tidy;
    struct loop_deferred schedule, deliver, announce;
    uint64_t generation, published;
    struct acme_challenge *challenges;
    size_t challenge_count, challenge_capacity;
    struct acme_renewal *renewal; /* acme_renewal.c */
};

/* acme.c */
void acme_schedule(struct acme *acme); /* at the end of the turn: start what is due */
void acme_deliver(struct acme *acme, struct acme_item *item);
/* Its order is over: freed when nobody wants it any more. */
void acme_item_release(struct acme_item *item);
/* An attempt is over. */
void acme_item_succeeded(struct acme_item *item);
void acme_item_failed(struct acme_item *item, enum acme_blame blame, bool is_policy,
                      const struct error *err);

/* acme_record.c. Those that read return ERR_NOT_FOUND when there is none. */
MUST_USE int acme_record_load_item(struct acme_item *item, struct error *err);
void acme_record_save_item(struct acme_item *item); /* logs a failure */
MUST_USE int acme_record_load_account(struct acme_account *account, struct error *err);
MUST_USE int acme_record_save_account(struct acme_account *account, struct error *err);
MUST_USE int acme_record_load_limits(struct acme_directory *directory, struct error *err);
MUST_USE int acme_record_save_limits(struct acme_directory *directory, struct error *err);
MUST_USE int acme_record_load_order(struct acme_order *order, char ret_account[ACME_ID_SIZE],
                                    struct error *err);
MUST_USE int acme_record_save_order(struct acme_order *order, struct error *err);
void acme_record_drop_order(struct acme_item *item);
/* The certificate, no order any more, no failures: at once. */
MUST_USE int acme_record_issue(struct acme_order *order, struct slice chain_pem,
                               const struct x509_facts *facts, struct error *err);
/* Of names that nobody wants: certificates that have expired, orders and failures of long ago. */
void acme_record_drop_old(struct acme *acme);
bool acme_names_are_covered(const char *const *names, size_t name_count, const char **have,
                            size_t have_count);

/* acme_limit.c */
/* May a new order go to this directory now? 0: yes, and it is counted (durably). Else the wall
 * clock time to ask again. */
uint64_t acme_limit_take(struct acme_directory *directory);
uint64_t acme_limit_next(struct acme_directory *directory); /* the same without taking */
bool acme_limit_is_paused(const struct acme_directory *directory);
void acme_limit_pause(struct acme_directory *directory, uint64_t seconds);
uint64_t acme_backoff_us(const uint64_t backoffs_ms[ACME_BACKOFFS], unsigned failures);
uint64_t acme_item_block(const struct acme_item *item, const struct acme_directory *directory);
void acme_item_block_set(struct acme_item *item, const struct acme_directory *directory,
                         uint64_t until_us);

/* acme_account.c */
struct acme_directory *acme_directory_of(struct acme *acme, const struct acme_ca *ca);
MUST_USE int acme_account_of(struct acme *acme, const struct acme_ca *ca,
                             struct acme_account **ret_account, struct error *err);
void acme_account_id(const struct acme_ca *ca, char ret_id[ACME_ID_SIZE]);
void acme_directory_forget(struct acme_directory *directory); /* what it said of itself */
void acme_directory_free(struct acme_directory *directory);
void acme_account_free(struct acme_account *account);
void acme_account_leave(struct acme_order *order); /* it registers no longer: the next one may */
void acme_order_account(struct acme_order *order);
void acme_order_new(struct acme_order *order);

/* acme_call.c. The payload is in call->payload. One at a time a call. */
void acme_call_init(struct acme_call *call, struct acme *acme);
void acme_call_start(struct acme_call *call, struct acme_account *account, enum acme_target target,
                     const char *url,
                     void (*on_done)(struct acme_call *call, const struct acme_reply *reply));
void acme_call_cancel(struct acme_call *call);
void acme_call_done(struct acme_call *call); /* cancels, frees */

/* acme_order.c */
void acme_order_start(struct acme_item *item, size_t ca);
void acme_order_cancel(struct acme_order *order); /* hooks are cleaned up, then it is freed */
void acme_order_free(struct acme_order *order);   /* at once, nothing is cleaned up */
void acme_order_halt(struct acme_order *order);   /* stop whatever runs for it */
void acme_order_step(struct acme_order *order, enum acme_order_step step);
enum acme_state acme_order_state(const struct acme_order *order);
void acme_order_fail(struct acme_order *order, enum acme_blame blame, const struct error *err);
/* A reply that is a failure; says who is to blame. */
void acme_order_refused(struct acme_order *order, const struct acme_reply *reply,
                        const char *format, ...) PRINTF_LIKE(3, 4);
void acme_order_settled(struct acme_order *order); /* cleaned up: go on, or fail */
/* The order of an earlier life came to nothing: begin, as if there had been none. */
void acme_order_anew(struct acme_order *order);
/* No attempt after all, not before then (wall clock). Frees it. */
void acme_order_postpone(struct acme_order *order, uint64_t until_us);
void acme_order_post(struct acme_order *order, const char *url,
                     void (*on_done)(struct acme_call *call, const struct acme_reply *reply));
void acme_order_wait(struct acme_order *order, uint64_t delay_us,
                     void (*on_timer)(struct loop_timer *timer));
uint64_t acme_order_poll_us(const struct acme_order *order, const struct acme_reply *reply);

/* What the CA says of the order; of FETCH, READY, FINALIZE and ISSUE. */
void acme_order_on_reply(struct acme_call *call, const struct acme_reply *reply);
void acme_keep_text(char **place, const char *text); /* a copy in its place */

/* acme_issue.c */
void acme_order_finalize(struct acme_order *order);
void acme_order_download(struct acme_order *order);

/* acme_spec.c */
MUST_USE int acme_spec_check(const struct acme_spec *spec, struct error *err);
uint64_t acme_spec_fingerprint(const struct acme_spec *spec);
void acme_spec_copy(const struct acme_spec *spec, struct acme_item *item);

/* acme_validate.c */
void acme_order_authorize(struct acme_order *order); /* fetch authorizations from the cursor on */
void acme_order_present(struct acme_order *order);
void acme_order_respond(struct acme_order *order);
void acme_order_poll(struct acme_order *order);
void acme_order_cleanup(struct acme_order *order);
/* The published challenges are as the order wants them. */
void acme_order_published(struct acme_order *order);
void acme_order_publish(struct acme_order *order); /* wait for it */
void acme_order_unpublish(struct acme_order *order);
MUST_USE int acme_make_alpn(struct acme_authorization *authorization, struct error *err);
void acme_authorization_done(struct acme_authorization *authorization);

/* acme_challenge.c */
void acme_challenges_init(struct acme *acme);
void acme_challenges_done(struct acme *acme);
/* The owner is told at the end of the turn. Returns the generation that it will be. */
uint64_t acme_challenges_changed(struct acme *acme);

/* acme_check.c */
void acme_order_check(struct acme_order *order);     /* begin; goes on to ACCOUNT */
void acme_order_check_run(struct acme_order *order); /* published */
void acme_check_cancel(struct acme_order *order);

/* acme_renewal.c */
void acme_renewal_plan(struct acme_item *item); /* renew_at_us from what is known */
void acme_renewal_new(struct acme *acme);
void acme_renewal_free(struct acme *acme);
/* Ask the next CA that is to be asked. Returns when to come again (wall clock), 0: when it calls
 * acme_schedule. */
uint64_t acme_renewal_step(struct acme *acme);
void acme_renewal_forget(struct acme *acme, struct acme_item *item);

#endif
