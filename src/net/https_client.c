/* libcurl's multi socket interface on our loop: libcurl says which sockets and which timeout it
 * cares for, the loop tells it what happened, and what has finished is handed out afterwards, never
 * from within a call into libcurl. */
#include "net/https_private.h"

#include "base/log.h"
#include "base/units.h"
#include "os/file.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <strings.h>

#define IDLE_US         (30ull * 1000 * 1000)
#define LINKS_MAX       8u
#define CONNECTIONS_MAX 8L /* kept for later requests */

struct https_socket {
    struct list node;
    struct loop_io io;
    struct https_client *client;
};

struct https_client {
    struct loop *loop;
    CURLM *multi; /* NULL: nothing was asked lately */
    struct loop_timer timer, idle;
    struct list sockets, exchanges;
    size_t exchange_count;
    bool is_busy, is_free_due; /* handing out; freed from within */
};

struct https_exchange {
    struct list node;
    struct https_client *client;
    struct https_handler *handler;
    CURL *easy;
    struct curl_slist *headers, *resolve;
    struct buf body;
    bool is_body_too_large, is_connect_only;
    uint64_t timeout_ms;
    struct buf content_type, location, retry_after, replay_nonce, links[LINKS_MAX];
    size_t link_count;
    char address_texts[HTTPS_ADDRESSES_MAX][INET6_ADDRSTRLEN];
    size_t address_count;
    char host[256], reason[CURL_ERROR_SIZE];
};

/* ---- exchanges */

static void exchange_free(struct https_exchange *exchange)
{
    list_remove(&exchange->node);
    if (exchange->easy)
        https_library.easy_cleanup(exchange->easy);
    https_library.slist_free_all(exchange->headers);
    https_library.slist_free_all(exchange->resolve);
    buf_done(&exchange->body);
    buf_done(&exchange->content_type);
    buf_done(&exchange->location);
    buf_done(&exchange->retry_after);
    buf_done(&exchange->replay_nonce);
    for (size_t i = 0; i < LINKS_MAX; i++)
        buf_done(&exchange->links[i]);
    free(exchange);
}

static void exchange_end(struct https_exchange *exchange)
{
    struct https_client *client = exchange->client;
    https_library.multi_remove_handle(client->multi, exchange->easy);
    exchange_free(exchange);
    if (--client->exchange_count == 0)
        loop_timer_start_in(client->loop, &client->idle, IDLE_US);
}

void https_client_cancel(struct https_exchange *exchange)
{
    if (exchange)
        exchange_end(exchange);
}

static int exchange_code(const struct https_exchange *exchange, CURLcode result)
{
    switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return ERR_NOT_FOUND;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return ERR_UNAVAILABLE;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return ERR_PERMISSION;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_WRITE_ERROR:
        return exchange->is_body_too_large ? ERR_LIMIT : ERR_IO;
    default:
        return ERR_IO;
    }
}

/* libcurl's words in our grammar. */
static void exchange_explain(struct https_exchange *exchange, CURLcode result, struct error *err)
{
    int code = exchange_code(exchange, result);
    const char *words =
        exchange->reason[0] ? exchange->reason : https_library.easy_strerror(result);
    char duration[UNITS_TEXT_SIZE];
    if (code == ERR_LIMIT)
        error_set(err, code, "the answer of %s is larger than %zu bytes", exchange->host,
                  exchange->body.limit);
    else if (code == ERR_NOT_FOUND)
        error_set(err, code, "the name %s has no address", exchange->host);
    else if (code == ERR_TIMEOUT)
        error_set(err, code, "no answer of %s within %s", exchange->host,
                  units_format_duration_ms(exchange->timeout_ms, duration));
    else
        error_set(err, code, "unable to reach %s: %c%s", exchange->host,
                  isupper((unsigned char)words[0]) && islower((unsigned char)words[1])
                      ? tolower((unsigned char)words[0])
                      : words[0],
                  words + 1);
}

static void exchange_finish(struct https_exchange *exchange, CURLcode result)
{
    struct https_handler *handler = exchange->handler;
    struct error err = {0};
    struct slice links[LINKS_MAX];
    const char *addresses[HTTPS_ADDRESSES_MAX];
    curl_socket_t connected = -1;
    long status = 0;

    if (result != CURLE_OK)
        exchange_explain(exchange, result, &err);
    else if (https_library.easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status) !=
             CURLE_OK)
        status = 0;
    for (size_t i = 0; i < exchange->link_count; i++)
        links[i] = buf_slice(&exchange->links[i]);
    for (size_t i = 0; i < exchange->address_count; i++)
        addresses[i] = exchange->address_texts[i];
    struct https_response response = {
        .status = (int)status,
        .body = result == CURLE_OK ? buf_slice(&exchange->body) : (struct slice){0},
        .content_type = buf_slice(&exchange->content_type),
        .location = buf_slice(&exchange->location),
        .retry_after = buf_slice(&exchange->retry_after),
        .replay_nonce = buf_slice(&exchange->replay_nonce),
        .links = links,
        .link_count = exchange->link_count,
        .addresses = addresses,
        .address_count = exchange->address_count,
        .fd = -1,
        .code = err.code,
        .err = err.code ? &err : NULL,
    };
    if (exchange->is_connect_only && result == CURLE_OK &&
        https_library.easy_getinfo(exchange->easy, CURLINFO_ACTIVESOCKET, &connected) == CURLE_OK &&
        connected >= 0)
        response.fd = fcntl(connected, F_DUPFD_CLOEXEC, 0);
    /* Out of every list first: the handler may free the client. */
    list_remove(&exchange->node);
    https_library.multi_remove_handle(exchange->client->multi, exchange->easy);
    if (--exchange->client->exchange_count == 0)
        loop_timer_start_in(exchange->client->loop, &exchange->client->idle, IDLE_US);
    handler->on_done(handler, &response);
    exchange_free(exchange);
}

/* Hand out what has finished. */
static void client_collect(struct https_client *client)
{
    CURLMsg *message;
    int left;
    client->is_busy = true;
    while (!client->is_free_due &&
           (message = https_library.multi_info_read(client->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct https_exchange *found = NULL;
        list_each (node, &client->exchanges) {
            struct https_exchange *exchange = container_of(node, struct https_exchange, node);
            if (exchange->easy == message->easy_handle)
                found = exchange;
        }
        if (found)
            exchange_finish(found, message->data.result);
    }
    client->is_busy = false;
    if (client->is_free_due)
        https_client_free(client);
}

/* ---- libcurl's callbacks while an exchange runs */

static size_t on_body(char *bytes, size_t size, size_t count, void *owner)
{
    struct https_exchange *exchange = owner;
    buf_append(&exchange->body, bytes, size * count);
    exchange->is_body_too_large = exchange->body.failed;
    return exchange->body.failed ? 0 : size * count;
}

static void header_keep(struct buf *buf, struct slice value)
{
    buf_clear(buf);
    buf_append_slice(buf, value);
    if (buf->failed)
        buf_clear(buf);
}

static size_t on_header(char *bytes, size_t size, size_t count, void *owner)
{
    struct https_exchange *exchange = owner;
    struct slice line = {bytes, size * count}, value = line;
    struct slice name = slice_cut(&value, ':');
    value = slice_trim(value);
    if (slice_starts_with(line, SLICE("HTTP/"))) { /* another head: after 1xx, of a redirect */
        buf_clear(&exchange->content_type);
        buf_clear(&exchange->location);
        buf_clear(&exchange->retry_after);
        buf_clear(&exchange->replay_nonce);
        exchange->link_count = 0;
    } else if (slice_eq_nocase(name, SLICE("content-type"))) {
        header_keep(&exchange->content_type, value);
    } else if (slice_eq_nocase(name, SLICE("location"))) {
        header_keep(&exchange->location, value);
    } else if (slice_eq_nocase(name, SLICE("retry-after"))) {
        header_keep(&exchange->retry_after, value);
    } else if (slice_eq_nocase(name, SLICE("replay-nonce"))) {
        header_keep(&exchange->replay_nonce, value);
    } else if (slice_eq_nocase(name, SLICE("link")) && exchange->link_count < LINKS_MAX) {
        header_keep(&exchange->links[exchange->link_count++], value);
    }
    return size * count;
}

/* Tells which addresses were tried; libcurl itself remembers the last one only. */
static curl_socket_t on_open_socket(void *owner, curlsocktype purpose UNUSED,
                                    struct curl_sockaddr *address)
{
    struct https_exchange *exchange = owner;
    const struct sockaddr *any = &address->addr;
    const void *bytes = NULL;
    if (any->sa_family == AF_INET)
        bytes = &((const struct sockaddr_in *)(const void *)any)->sin_addr;
    else if (any->sa_family == AF_INET6)
        bytes = &((const struct sockaddr_in6 *)(const void *)any)->sin6_addr;
    if (bytes && exchange->address_count < HTTPS_ADDRESSES_MAX &&
        inet_ntop(any->sa_family, bytes, exchange->address_texts[exchange->address_count],
                  INET6_ADDRSTRLEN))
        exchange->address_count++;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* ---- the loop on libcurl's behalf */

static void on_event(struct loop_io *io, unsigned events)
{
    struct https_socket *watched = container_of(io, struct https_socket, io);
    struct https_client *client = watched->client;
    int mask = 0, running;
    if (events & LOOP_READ)
        mask |= CURL_CSELECT_IN;
    if (events & LOOP_WRITE)
        mask |= CURL_CSELECT_OUT;
    if (!mask)
        mask = CURL_CSELECT_ERR;
    https_library.multi_socket_action(client->multi, io->fd, mask,
                                      &running); /* may free `watched` */
    client_collect(client);
}

static void socket_free(struct https_socket *watched)
{
    list_remove(&watched->node);
    loop_io_stop(&watched->io);
    free(watched);
}

static int on_socket(CURL *easy UNUSED, curl_socket_t fd, int what, void *owner, void *known)
{
    struct https_client *client = owner;
    struct https_socket *watched = known;
    unsigned interest =
        (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0);
    struct error err = {0};
    if (what == CURL_POLL_REMOVE) {
        if (watched)
            socket_free(watched);
        return 0;
    }
    if (watched) {
        loop_io_set(&watched->io, interest);
        return 0;
    }
    watched = calloc(1, sizeof(*watched));
    if (!watched)
        return -1;
    watched->client = client;
    watched->io.fd = fd;
    watched->io.on_event = on_event;
    list_push_back(&client->sockets, &watched->node);
    https_library.multi_assign(client->multi, fd, watched);
    if (loop_io_start(client->loop, &watched->io, interest, &err) < 0) {
        log_failure(&err, "unable to watch a connection"); /* its timeout ends it */
        return -1;
    }
    return 0;
}

static int on_timeout_wanted(CURLM *multi UNUSED, long timeout_ms, void *owner)
{
    struct https_client *client = owner;
    if (timeout_ms < 0)
        loop_timer_stop(&client->timer);
    else
        loop_timer_start_in(client->loop, &client->timer, (uint64_t)timeout_ms * 1000);
    return 0;
}

static void on_timer(struct loop_timer *timer)
{
    struct https_client *client = container_of(timer, struct https_client, timer);
    int running;
    https_library.multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    client_collect(client);
}

/* ---- life */

static void client_close(struct https_client *client)
{
    loop_timer_stop(&client->timer);
    loop_timer_stop(&client->idle);
    if (!client->multi)
        return;
    https_library.multi_cleanup(client->multi);
    client->multi = NULL;
    list_each_safe (node, &client->sockets)
        socket_free(container_of(node, struct https_socket, node));
}

static void on_idle(struct loop_timer *timer)
{
    client_close(container_of(timer, struct https_client, idle));
    malloc_trim(0); /* what TLS and its certificates took */
    https_library_page_out();
}

struct https_client *https_client_new(struct loop *loop)
{
    struct https_client *client = calloc(1, sizeof(*client));
    if (!client)
        abort();
    /* OpenSSL writes with write(2), and a server may be gone by then. */
    (void)signal(SIGPIPE, SIG_IGN);
    client->loop = loop;
    client->timer.on_timer = on_timer;
    client->idle.on_timer = on_idle;
    list_init(&client->sockets);
    list_init(&client->exchanges);
    return client;
}

void https_client_free(struct https_client *client)
{
    if (!client)
        return;
    list_each_safe (node, &client->exchanges)
        exchange_end(container_of(node, struct https_exchange, node));
    if (client->is_busy) {
        client->is_free_due = true;
        return;
    }
    client_close(client);
    free(client);
}

static int client_open(struct https_client *client, struct error *err)
{
    int result = https_library_load(err);
    if (result < 0 || client->multi)
        return result;
    client->multi = https_library.multi_init();
    if (!client->multi)
        return error_set(err, ERR_LIMIT, "out of memory");
    https_library.multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    https_library.multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    https_library.multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timeout_wanted);
    https_library.multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    https_library.multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX);
    return 0;
}

/* ---- starting */

/* Copies the host of an http or https URL; false: it is none. */
static bool url_host(const char *url, char *host, size_t size)
{
    struct slice rest = slice_from(url);
    size_t skip = slice_starts_with(rest, SLICE("https://"))  ? 8
                  : slice_starts_with(rest, SLICE("http://")) ? 7
                                                              : 0;
    if (!skip || rest.len > HTTPS_URL_MAX)
        return false;
    for (size_t i = 0; i < rest.len; i++)
        if (rest.ptr[i] <= ' ' || rest.ptr[i] > '~')
            return false;
    size_t len = strcspn(url + skip, "/?#");
    /* A name with a password before it has no place in an error text. */
    if (len == 0 || len >= size || memchr(url + skip, '@', len))
        return false;
    memcpy(host, url + skip, len);
    host[len] = '\0';
    return true;
}

static int url_refuse(const char *url, struct error *err)
{
    if (!strchr(url, '@'))
        return error_set(err, ERR_INVALID, "not a URL of http or https: '%.100s'", url);
    return error_set(err, ERR_INVALID,
                     "not a URL of http or https without a name and a password in it");
}

static int slist_fill(struct curl_slist **list, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct curl_slist *grown = https_library.slist_append(*list, texts[i]);
        if (!grown)
            return ERR_LIMIT;
        *list = grown;
    }
    return 0;
}

/* An option that libcurl refuses is one that matters: without it the request would be another. */
#define EXCHANGE_SET(option, value)                                                                \
    if (https_library.easy_setopt(easy, option, value) != CURLE_OK)                                \
    return error_set(err, ERR_UNSUPPORTED, HTTPS_LIBRARY " refuses " #option)

static int exchange_set_method(CURL *easy, const struct https_request *request, struct error *err)
{
    if (strcmp(request->method, "HEAD") == 0) {
        EXCHANGE_SET(CURLOPT_NOBODY, 1L);
        return 0;
    }
    if (request->body.len || strcmp(request->method, "POST") == 0) {
        EXCHANGE_SET(CURLOPT_POST, 1L);
        EXCHANGE_SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        EXCHANGE_SET(CURLOPT_COPYPOSTFIELDS, request->body.ptr ? request->body.ptr : "");
    }
    if (strcmp(request->method, "POST") != 0)
        EXCHANGE_SET(CURLOPT_CUSTOMREQUEST, request->method);
    return 0;
}

static int exchange_set_security(CURL *easy, const struct https_request *request, struct error *err)
{
    EXCHANGE_SET(CURLOPT_PROTOCOLS_STR, "http,https");
    EXCHANGE_SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    EXCHANGE_SET(CURLOPT_SSL_VERIFYPEER, request->is_unverified ? 0L : 1L);
    EXCHANGE_SET(CURLOPT_SSL_VERIFYHOST, request->is_unverified ? 0L : 2L);
    EXCHANGE_SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (request->ca_file) {
        EXCHANGE_SET(CURLOPT_CAINFO, request->ca_file);
        EXCHANGE_SET(CURLOPT_CAPATH, NULL);
    }
    if (request->is_direct) {
        EXCHANGE_SET(CURLOPT_PROXY, "");
        EXCHANGE_SET(CURLOPT_FRESH_CONNECT, 1L);
        /* A mere connection is still to be asked for, then it would be closed already. */
        EXCHANGE_SET(CURLOPT_FORBID_REUSE, request->is_connect_only ? 0L : 1L);
    }
    return 0;
}

static int exchange_set(struct https_exchange *exchange, const struct https_request *request,
                        struct error *err)
{
    static const char *const no_expect[] = {"Expect:"};
    CURL *easy = exchange->easy;
    if (slist_fill(&exchange->headers, no_expect, 1) < 0 ||
        slist_fill(&exchange->headers, request->headers, request->header_count) < 0 ||
        slist_fill(&exchange->resolve, request->resolve, request->resolve_count) < 0)
        return error_set(err, ERR_LIMIT, "out of memory");
    EXCHANGE_SET(CURLOPT_URL, request->url);
    EXCHANGE_SET(CURLOPT_NOSIGNAL, 1L);
    EXCHANGE_SET(CURLOPT_ERRORBUFFER, exchange->reason);
    EXCHANGE_SET(CURLOPT_USERAGENT, "slipway/" SLIPWAY_VERSION);
    EXCHANGE_SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    EXCHANGE_SET(CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    EXCHANGE_SET(CURLOPT_HTTPHEADER, exchange->headers);
    EXCHANGE_SET(CURLOPT_RESOLVE, exchange->resolve);
    EXCHANGE_SET(CURLOPT_WRITEFUNCTION, on_body);
    EXCHANGE_SET(CURLOPT_WRITEDATA, exchange);
    EXCHANGE_SET(CURLOPT_HEADERFUNCTION, on_header);
    EXCHANGE_SET(CURLOPT_HEADERDATA, exchange);
    EXCHANGE_SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    EXCHANGE_SET(CURLOPT_OPENSOCKETDATA, exchange);
    EXCHANGE_SET(CURLOPT_FOLLOWLOCATION, request->redirects ? 1L : 0L);
    EXCHANGE_SET(CURLOPT_MAXREDIRS, (long)request->redirects);
    /* Else a cancelled or late request waits for its look-up and stands in the way of the loop.
     * Older libraries do not have it. */
    (void)https_library.easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    if (request->is_connect_only) {
        EXCHANGE_SET(CURLOPT_CONNECT_ONLY, 1L);
        EXCHANGE_SET(CURLOPT_PROXY, "");
    }
    int result = exchange_set_method(easy, request, err);
    return result < 0 ? result : exchange_set_security(easy, request, err);
}

int https_client_start(struct https_client *client, const struct https_request *request,
                       struct https_handler *handler, struct https_exchange **ret_exchange,
                       struct error *err)
{
    char host[sizeof(((struct https_exchange *)0)->host)];
    assert(request->timeout_ms > 0);
    if (!url_host(request->url, host, sizeof(host)))
        return url_refuse(request->url, err);
    if (client->exchange_count >= HTTPS_REQUESTS_MAX)
        return error_set(err, ERR_LIMIT, "more than %u requests at once", HTTPS_REQUESTS_MAX);
    int result = client_open(client, err);
    if (result < 0)
        return result;

    struct https_exchange *exchange = calloc(1, sizeof(*exchange));
    if (!exchange)
        abort();
    list_init(&exchange->node);
    exchange->client = client;
    exchange->handler = handler;
    exchange->timeout_ms = request->timeout_ms;
    exchange->is_connect_only = request->is_connect_only;
    exchange->body = BUF_INIT(request->response_limit_bytes);
    exchange->content_type = exchange->location = BUF_INIT(HTTPS_HEADER_MAX);
    exchange->retry_after = exchange->replay_nonce = BUF_INIT(HTTPS_HEADER_MAX);
    for (size_t i = 0; i < LINKS_MAX; i++)
        exchange->links[i] = BUF_INIT(HTTPS_HEADER_MAX);
    memcpy(exchange->host, host, sizeof(host));
    exchange->easy = https_library.easy_init();
    result = exchange->easy ? exchange_set(exchange, request, err)
                            : error_set(err, ERR_LIMIT, "out of memory");
    if (result == 0 && https_library.multi_add_handle(client->multi, exchange->easy) != CURLM_OK)
        result = error_set(err, ERR_INTERNAL, HTTPS_LIBRARY " takes no request");
    if (result < 0) {
        exchange_free(exchange);
        return result;
    }
    list_push_back(&client->exchanges, &exchange->node);
    client->exchange_count++;
    loop_timer_stop(&client->idle);
    *ret_exchange = exchange;
    return 0;
}
