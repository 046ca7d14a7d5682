/* acme_answer.h - what an ACME server says, checked and bounded: directory, order, authorization,
 * problem, renewal information, Retry-After. Pure functions; texts live in the caller's arena.
 * Sources: RFC 8555 §7.1, RFC 7807, RFC 9773 §4.2, RFC 9110 §10.2.3. */
#ifndef CONTROL_ACME_ANSWER_H
#define CONTROL_ACME_ANSWER_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"
#include "control/acme.h"
#include <stdbool.h>

#define ACME_URL_MAX         2048u
#define ACME_ANSWER_MAX      (64u * 1024u)  /* JSON */
#define ACME_CHAIN_MAX       (128u * 1024u) /* PEM */
#define ACME_ARENA_BYTES     (1024u * 1024u)
#define ACME_TOKEN_MAX       256u
#define ACME_RETRY_AFTER_MAX (8ull * 24 * 3600) /* seconds; longer ones are cut to it */
#define ACME_CHALLENGES_MAX  16u
#define ACME_EXPLANATION_MAX 300u /* of a text of the CA's in one of ours */

/* A directory's own URL may be http only on loopback; then so may those that it names. Printable
 * ASCII, no user part, at most ACME_URL_MAX. */
bool acme_url_is_valid(struct slice url, bool is_plain_allowed);
bool acme_url_is_plain(const char *directory); /* http, and on loopback */

/* A DNS name in lower case, at least two labels, optionally "*." before; no address. */
bool acme_name_is_valid(const char *name);

struct acme_endpoints {
    const char *new_nonce, *new_account, *new_order;
    const char *renewal_info; /* NULL: none */
    bool needs_external_account;
};
/* All parsers: ERR_INVALID: what is missing or wrong. ERR_LIMIT. */
MUST_USE int acme_answer_directory(struct arena *arena, struct slice json, bool is_plain_allowed,
                                   struct acme_endpoints *ret_endpoints, struct error *err);

/* Which errors there are, and what they say about trying elsewhere: CA: another one may see it
 * differently; NAME: it would see the same. */
#define ACME_PROBLEMS(X)                                                                           \
    X(ACME_PROBLEM_OTHER, "", CA)                                                                  \
    X(ACME_PROBLEM_ACCOUNT, "accountDoesNotExist", CA)                                             \
    X(ACME_PROBLEM_REPLACED, "alreadyReplaced", CA)                                                \
    X(ACME_PROBLEM_NONCE, "badNonce", CA)                                                          \
    X(ACME_PROBLEM_CAA, "caa", CA)                                                                 \
    X(ACME_PROBLEM_CONNECTION, "connection", NAME)                                                 \
    X(ACME_PROBLEM_DNS, "dns", NAME)                                                               \
    X(ACME_PROBLEM_EXTERNAL, "externalAccountRequired", CA)                                        \
    X(ACME_PROBLEM_RESPONSE, "incorrectResponse", NAME)                                            \
    X(ACME_PROBLEM_MALFORMED, "malformed", CA)                                                     \
    X(ACME_PROBLEM_NOT_READY, "orderNotReady", CA)                                                 \
    X(ACME_PROBLEM_RATE, "rateLimited", CA)                                                        \
    X(ACME_PROBLEM_REJECTED, "rejectedIdentifier", CA)                                             \
    X(ACME_PROBLEM_SERVER, "serverInternal", CA)                                                   \
    X(ACME_PROBLEM_TLS, "tls", NAME)                                                               \
    X(ACME_PROBLEM_UNAUTHORIZED, "unauthorized", NAME)                                             \
    X(ACME_PROBLEM_UNSUPPORTED, "unsupportedIdentifier", CA)                                       \
    X(ACME_PROBLEM_ACTION, "userActionRequired", CA)

enum acme_problem_kind {
#define X(kind, name, scope) kind,
    ACME_PROBLEMS(X)
#undef X
};
struct acme_problem {
    enum acme_problem_kind kind;
    const char *text; /* "rateLimited: too many … (example.org: dns: no such name)", bounded; ""
                         when the answer is no problem document */
};
/* Never fails: what is not a problem document is ACME_PROBLEM_OTHER with text "". */
void acme_answer_problem(struct arena *arena, struct slice json, struct acme_problem *ret_problem);
bool acme_problem_is_of_name(enum acme_problem_kind kind);
/* The CA will not have this name, whoever asks. */
bool acme_problem_is_policy(enum acme_problem_kind kind);

enum acme_object_status {
    ACME_OBJECT_PENDING,
    ACME_OBJECT_READY,
    ACME_OBJECT_PROCESSING,
    ACME_OBJECT_VALID,
    ACME_OBJECT_INVALID, /* deactivated, expired, revoked are this, too */
};

struct acme_answer_order {
    enum acme_object_status status;
    const char *finalize;
    const char *certificate; /* NULL until valid */
    const char **authorizations;
    size_t authorization_count;
    struct acme_problem problem;
};
MUST_USE int acme_answer_order(struct arena *arena, struct slice json, bool is_plain_allowed,
                               struct acme_answer_order *ret_order, struct error *err);

struct acme_answer_challenge {
    enum acme_challenge_kind kind;
    const char *url, *token;
};
struct acme_answer_authorization {
    enum acme_object_status status;
    const char *name; /* without "*." */
    bool is_wildcard;
    struct acme_answer_challenge *challenges; /* of kinds that we know */
    size_t challenge_count;
    struct acme_problem problem; /* of the challenge that failed */
};
MUST_USE int acme_answer_authorization(struct arena *arena, struct slice json,
                                       bool is_plain_allowed,
                                       struct acme_answer_authorization *ret_authorization,
                                       struct error *err);

struct acme_answer_renewal {
    uint64_t start_us, end_us; /* wall clock */
    const char *explanation;   /* URL, or NULL */
};
MUST_USE int acme_answer_renewal(struct arena *arena, struct slice json,
                                 struct acme_answer_renewal *ret_renewal, struct error *err);

/* Seconds, or an HTTP date; 0 when there is none or it makes no sense. */
uint64_t acme_retry_after_s(struct slice value, uint64_t wall_us);

/* ERR_INVALID. */
MUST_USE int acme_base64url_decode(const char *text, struct buf *ret_bytes);
/* Printable, one line, at most ACME_EXPLANATION_MAX bytes of a CA's text. */
const char *acme_text_tame(struct arena *arena, const char *text);

#endif
