/* https_client.h - requests to servers of the internet on a loop: ACME directories, OCSP
 * responders, the "ask" URL, self-checks. http and https by libcurl, TLS verified, every request
 * with a deadline and a ceiling.
 *
 * Why libcurl, and why loaded at first use: names, proxies, IPv6 racing and connection reuse are
 * well kept there. But it brings 30 shared libraries, some megabytes that each process of the
 * platform would pay for, while only control ever asks, and only where certificates come from a CA.
 * So nothing is linked: dlopen("libcurl.so.4") when the first request starts. When nothing has been
 * asked for half a minute its connections, its memory and the pages of its code are given back. Of
 * control that is 3.5 MB before the first request, 9.0 after it, 6.0 from half a minute later on
 * (PSS). Names are resolved in a thread of libcurl's; all callbacks are the loop's. Threads: one.
 */
#ifndef NET_HTTPS_CLIENT_H
#define NET_HTTPS_CLIENT_H

#include "base/buf.h"
#include "loop/loop.h"

#define HTTPS_URL_MAX       4096u
#define HTTPS_HEADER_MAX    2048u /* a kept header's value; longer ones are not kept */
#define HTTPS_REQUESTS_MAX  64u   /* at once a client */
#define HTTPS_ADDRESSES_MAX 8u

struct https_client;
struct https_exchange;

struct https_request {
    const char *method;         /* "GET", "HEAD", "POST", … */
    const char *url;            /* http or https */
    const char *const *headers; /* "Name: value"; trusted */
    size_t header_count;
    struct slice body;           /* copied */
    const char *ca_file;         /* PEM; NULL: the system's authorities */
    uint64_t timeout_ms;         /* the whole exchange with all redirects; never 0 */
    size_t response_limit_bytes; /* of the body; beyond: ERR_LIMIT */
    unsigned redirects;          /* how many to follow; only http and https */
    bool is_unverified;          /* TLS encrypts, proves nothing */
    bool is_direct;              /* past any proxy of the environment, on a connection of its own */
    bool is_connect_only;        /* only a TCP connection, see https_response.fd */
    const char *const *resolve;  /* "name:port:address", before any look-up */
    size_t resolve_count;
};

/* Everything is borrowed for the call. A header that was not sent is the empty slice. */
struct https_response {
    int status; /* 0 when none came */
    struct slice body, content_type, location, retry_after, replay_nonce;
    const struct slice *links; /* values of Link headers */
    size_t link_count;
    /* Addresses that a connection was tried to, in order, "192.0.2.1"; none when the name has none
     * or a kept connection was used. */
    const char *const *addresses;
    size_t address_count;
    int fd; /* is_connect_only: the connected socket, the callee's to close; else -1 */
    /* 0, or: ERR_NOT_FOUND the name has no address; ERR_UNAVAILABLE no connection; ERR_PERMISSION
     * the server's certificate is not trusted; ERR_TIMEOUT; ERR_LIMIT the body is too large;
     * ERR_IO everything else on the way. A status of 400 and above is no error here. */
    int code;
    const struct error *err; /* the story of `code`; NULL when 0 */
};

struct https_handler {
    /* Exactly once, never inside https_client_start; the exchange is gone afterwards. */
    void (*on_done)(struct https_handler *handler, const struct https_response *response);
};

/* The process ignores SIGPIPE from here on. */
struct https_client *https_client_new(struct loop *loop);
/* Cancels what runs; NULL allowed. */
void https_client_free(struct https_client *client);
/* Begin. ERR_INVALID: the URL is none; ERR_UNSUPPORTED: libcurl is not installed (hint: the
 * package); ERR_LIMIT: too many at once. What happens later comes through on_done. */
MUST_USE int https_client_start(struct https_client *client, const struct https_request *request,
                                struct https_handler *handler, struct https_exchange **ret_exchange,
                                struct error *err);
/* Without on_done; NULL allowed. */
void https_client_cancel(struct https_exchange *exchange);

#endif
