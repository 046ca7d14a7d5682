/* identity.c - who the client is, when those in front of us may tell.
 *
 * What a connection says of a client (X-Forwarded-*, X-Real-IP, Forwarded) is overwritten, unless
 * its address is one of the route's trusted proxies. Then the lists are carried on with this peer's
 * address behind them, and the client is the first address from the right that is not trusted:
 * what stands left of it, a stranger may have written. X-Forwarded-For and -Proto count before
 * Forwarded (RFC 7239), which is read where they are absent. Of several protocols the last one
 * counts: the nearest proxy's word.
 */
#include "base/network.h"
#include "edge/edge_private.h"
#include "net/forwarded.h"

/* Trusted proxies one behind the other: a list may be long, and each costs a look over all of it.
 */
#define HOPS_MAX 32u

static bool is_listed(const struct snapshot *snapshot, struct snapshot_range range,
                      const uint8_t address[16])
{
    for (uint32_t i = 0; i < range.count; i++) {
        const struct snapshot_network *listed = &snapshot->networks[range.first + i];
        struct network network = {.prefix_bits = listed->prefix_bits};

        memcpy(network.address, listed->address, sizeof(network.address));
        if (network_contains(&network, address))
            return true;
    }
    return false;
}

bool identity_is_proxy(const struct edge *edge, const uint8_t address[16])
{
    return edge->table && edge->settings.proxy_networks.count &&
           is_listed(&edge->table->snapshot, edge->settings.proxy_networks, address);
}

static bool is_trusted(const struct client *client, const uint8_t address[16])
{
    const struct request *request = &client->request;

    return is_listed(&request->table->snapshot, request->route->trusted_proxies, address);
}

/* ---- who came before */

static void take_proto(struct request *request, struct slice proto)
{
    if (slice_eq_nocase(proto, SLICE("https")))
        request->is_secure = true;
    else if (slice_eq_nocase(proto, SLICE("http")))
        request->is_secure = false;
}

/* One more address to the left. False: the walk is over. */
static bool step_left(struct client *client, struct slice element)
{
    struct request *request = &client->request;
    uint8_t address[16];

    if (!forwarded_address(element, address))
        return false;
    memcpy(request->forwarded_for, address, sizeof(address));
    return is_trusted(client, address);
}

static void walk(struct client *client, const struct http1_head *head, enum http1_field_id id)
{
    unsigned hops = 0;

    for (unsigned i = head->field_count; i-- > 0;) {
        struct slice list = head->fields[i].value;

        if (head->fields[i].id != id)
            continue;
        while (list.len) {
            struct slice element = forwarded_cut_last(&list, ',');

            if (element.len == 0) /* RFC 9110 §5.6.1: empty elements do not count */
                continue;
            if (id == HTTP1_FIELD_FORWARDED) { /* each proxy tells of the hop that reached it */
                take_proto(&client->request, forwarded_parameter(element, SLICE("proto")));
                element = forwarded_parameter(element, SLICE("for"));
            }
            if (!step_left(client, element) || ++hops == HOPS_MAX)
                return;
        }
    }
}

/* ---- what the request gets to know */

static struct slice first_value(const struct http1_head *head, enum http1_field_id id)
{
    const struct http1_field *field = http1_field_find(head, id);
    struct slice rest = field ? field->value : SLICE("");

    return slice_trim(slice_cut(&rest, ','));
}

static struct slice last_value(const struct http1_head *head, enum http1_field_id id)
{
    struct slice value = SLICE("");

    for (unsigned i = 0; i < head->field_count; i++)
        if (head->fields[i].id == id)
            value = head->fields[i].value;
    return forwarded_cut_last(&value, ',');
}

void identity_find(struct client *client, const struct http1_head *head)
{
    struct request *request = &client->request;

    request->is_secure = client->facts->is_tls;
    if (LIKELY(!request->route || request->route->trusted_proxies.count == 0) ||
        !is_trusted(client, client->facts->address))
        return;
    request->is_forwarded = true;
    memcpy(request->forwarded_for, client->facts->address, sizeof(request->forwarded_for));
    walk(client, head,
         http1_field_find(head, HTTP1_FIELD_X_FORWARDED_FOR) ? HTTP1_FIELD_X_FORWARDED_FOR
                                                             : HTTP1_FIELD_FORWARDED);
    take_proto(request, last_value(head, HTTP1_FIELD_X_FORWARDED_PROTO));
}

size_t identity_address(const struct client *client, char text[INET6_ADDRSTRLEN])
{
    return connection_address_text(client->request.is_forwarded ? client->request.forwarded_for
                                                                : client->facts->address,
                                   text);
}

/* ---- fields for the upstream */

/* All lines of a field as one list, ready for one more element. */
static char *put_list(char *at, const struct http1_head *head, enum http1_field_id id)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (head->fields[i].id == id && head->fields[i].value.len) {
            at = rewrite_slice(at, head->fields[i].value);
            at = PUT(at, ", ");
        }
    return at;
}

static char *put_address(char *at, const uint8_t address[16])
{
    char text[INET6_ADDRSTRLEN] = "";
    size_t len = connection_address_text(address, text);

    return rewrite_slice(at, (struct slice){text, len});
}

/* An element of Forwarded for this connection: RFC 7239 §4, §6. */
static char *put_forwarded(char *at, const struct client *client)
{
    const struct connection_facts *facts = client->facts;

    if (facts->is_ipv4) {
        at = put_address(PUT(at, "for="), facts->address);
    } else if (slice_eq(connection_address(facts), SLICE("unix"))) {
        at = PUT(at, "for=unknown");
    } else {
        at = put_address(PUT(at, "for=\"["), facts->address);
        at = PUT(at, "]\"");
    }
    at = PUT(at, ";host=\"");
    at = rewrite_slice(at, client->request.host); /* of an alphabet without quotes */
    return facts->is_tls ? PUT(at, "\";proto=https\r\n") : PUT(at, "\";proto=http\r\n");
}

static char *put_port(char *at, const struct client *client, const struct http1_head *head)
{
    struct slice port = first_value(head, HTTP1_FIELD_X_FORWARDED_PORT);
    uint64_t number;

    if (port.len == 0 || slice_to_u64(port, &number) != 0 || number == 0 || number > 65535) {
        number = client->facts->port;
        if (client->request.is_secure != client->facts->is_tls)
            number = client->request.is_secure ? 443 : 80;
    }
    if (number == 0)
        return at;
    at = rewrite_u64(PUT(at, "X-Forwarded-Port: "), number);
    return PUT(at, "\r\n");
}

static char *put_trusted(char *at, const struct client *client, const struct http1_head *head)
{
    struct slice host = first_value(head, HTTP1_FIELD_X_FORWARDED_HOST);

    at = put_list(PUT(at, "X-Forwarded-For: "), head, HTTP1_FIELD_X_FORWARDED_FOR);
    if (!http1_field_find(head, HTTP1_FIELD_X_FORWARDED_FOR) &&
        memcmp(client->request.forwarded_for, client->facts->address, 16) != 0)
        at = PUT(put_address(at, client->request.forwarded_for), ", "); /* Forwarded told */
    at = rewrite_slice(at, connection_address(client->facts));
    at = put_address(PUT(at, "\r\nX-Real-IP: "), client->request.forwarded_for);
    at = client->request.is_secure ? PUT(at, "\r\nX-Forwarded-Proto: https\r\n")
                                   : PUT(at, "\r\nX-Forwarded-Proto: http\r\n");
    at = put_port(at, client, head);
    if (http1_field_find(head, HTTP1_FIELD_FORWARDED)) {
        at = put_list(PUT(at, "Forwarded: "), head, HTTP1_FIELD_FORWARDED);
        at = put_forwarded(at, client);
    }
    at = PUT(at, "X-Forwarded-Host: ");
    at = rewrite_slice(at, host.len && http1_host_is_valid(host) ? host : client->request.host);
    return PUT(at, "\r\n");
}

static char *put_certificate(char *at, const struct tls *tls)
{
    struct slice subject = tls_client_subject(tls);

    if (subject.len == 0)
        return at;
    at = rewrite_slice(PUT(at, "X-Client-Certificate-Subject: "), subject);
    at = PUT(at, "\r\nX-Client-Certificate-Fingerprint: ");
    at = rewrite_slice(at, tls_client_fingerprint(tls));
    return PUT(at, "\r\nX-Client-Certificate-Verify: SUCCESS\r\n");
}

char *identity_put(struct client *client, const struct http1_head *head, char *at)
{
    if (UNLIKELY(client->request.is_forwarded)) {
        at = put_trusted(at, client, head);
    } else {
        memcpy(at, client->facts->fields, client->facts->fields_len);
        at += client->facts->fields_len;
        at = PUT(at, "X-Forwarded-Host: ");
        at = rewrite_slice(at, client->request.host);
        at = PUT(at, "\r\n");
    }
    return client->facts->tls ? put_certificate(at, client->facts->tls) : at;
}
