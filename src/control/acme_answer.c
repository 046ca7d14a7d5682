/* Nothing here is trusted: an answer is what a stranger sent, even when TLS says which stranger.
 * Sizes are bounded by the reader of the answer, depth by the JSON parser, and every text that goes
 * on (into requests, records, messages) is checked for what it may consist of. */
#include "control/acme_answer.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include <arpa/inet.h>
#include <ctype.h>

#define AUTHORIZATIONS_MAX (ACME_NAMES_MAX + 1u)
#define SUBPROBLEMS_MAX    8u
#define URN                "urn:ietf:params:acme:error:"

/* ---- URLs, names, texts */

/* By address: a name that begins with "127." may lead anywhere. */
static bool host_is_loopback(struct slice host)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    if (slice_eq(host, SLICE("localhost")) || slice_eq(host, SLICE("[::1]")))
        return true;
    snprintf(text, sizeof(text), SLICE_FORMAT, SLICE_ARG(host));
    return host.len < sizeof(text) && inet_pton(AF_INET, text, &address) == 1 &&
           ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET;
}

bool acme_url_is_valid(struct slice url, bool is_plain_allowed)
{
    size_t skip = slice_starts_with(url, SLICE("https://"))  ? 8
                  : slice_starts_with(url, SLICE("http://")) ? 7
                                                             : 0;
    if (!skip || url.len > ACME_URL_MAX)
        return false;
    for (size_t i = 0; i < url.len; i++)
        if (url.ptr[i] <= ' ' || url.ptr[i] > '~' || url.ptr[i] == '"' || url.ptr[i] == '\\')
            return false;
    struct slice authority = slice_sub(url, skip, url.len), host;
    for (size_t i = 0; i < authority.len; i++)
        if (strchr("/?#", authority.ptr[i]))
            authority.len = i;
    if (authority.len == 0 || slice_find_byte(authority, '@') >= 0)
        return false;
    if (skip == 8)
        return true;
    ptrdiff_t port = slice_find_byte(authority, authority.ptr[0] == '[' ? ']' : ':');
    host = authority;
    if (port >= 0)
        host.len = (size_t)port + (authority.ptr[0] == '[');
    return is_plain_allowed && host_is_loopback(host);
}

bool acme_url_is_plain(const char *directory)
{
    struct slice url = slice_from(directory);
    return slice_starts_with(url, SLICE("http://")) && acme_url_is_valid(url, true);
}

bool acme_name_is_valid(const char *name)
{
    struct slice rest = slice_from(name);
    struct in_addr address;
    size_t labels = 0;
    if (slice_starts_with(rest, SLICE("*.")))
        rest = slice_sub(rest, 2, rest.len);
    if (rest.len == 0 || rest.len > 253 || rest.ptr[rest.len - 1] == '.' ||
        inet_pton(AF_INET, rest.ptr, &address) == 1)
        return false;
    while (rest.len) {
        struct slice label = slice_cut(&rest, '.');
        labels++;
        if (label.len == 0 || label.len > 63 || label.ptr[0] == '-' ||
            label.ptr[label.len - 1] == '-')
            return false;
        for (size_t i = 0; i < label.len; i++) {
            char c = label.ptr[i];
            if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
                return false;
        }
    }
    return labels >= 2;
}

const char *acme_text_tame(struct arena *arena, const char *text)
{
    size_t len = strnlen(text, ACME_EXPLANATION_MAX + 1);
    bool is_cut = len > ACME_EXPLANATION_MAX;
    if (is_cut)
        len = ACME_EXPLANATION_MAX;
    char *tame = arena_try(arena, len + 4);
    if (!tame)
        return "";
    for (size_t i = 0; i < len; i++)
        tame[i] = text[i];
    /* Not in the middle of a character. */
    while (is_cut && len && ((unsigned char)text[len] & 0xC0) == 0x80)
        len--;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)tame[i] < ' ' || tame[i] == 127)
            tame[i] = ' ';
    memcpy(tame + len, is_cut ? "..." : "", is_cut ? 4 : 1);
    return tame;
}

int acme_base64url_decode(const char *text, struct buf *ret_bytes)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned have = 0;
    size_t len = strlen(text);
    while (len && text[len - 1] == '=')
        len--;
    if (len % 4 == 1)
        return ERR_INVALID;
    for (size_t i = 0; i < len; i++) {
        /* People paste what their CA shows them, in either alphabet. */
        char c = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
        const char *at = strchr(alphabet, c);
        if (!at || !c)
            return ERR_INVALID;
        bits = bits << 6 | (uint32_t)(at - alphabet);
        have += 6;
        if (have >= 8) {
            have -= 8;
            buf_append_byte(ret_bytes, (char)(bits >> have & 0xFF));
        }
    }
    return ret_bytes->failed ? ERR_LIMIT : 0;
}

/* The member as a URL. 0 with NULL when it is absent and may be. */
static int get_url(const struct json *object, const char *key, bool is_plain_allowed,
                   bool is_optional, const char **ret_url, struct error *err)
{
    const char *url = json_get_text(object, key, NULL);
    *ret_url = NULL;
    if (!url && is_optional)
        return 0;
    if (!url)
        return error_set(err, ERR_INVALID, "the CA's answer has no \"%s\"", key);
    if (!acme_url_is_valid(slice_from(url), is_plain_allowed))
        return error_set(err, ERR_INVALID, "\"%s\" of the CA's answer is not a URL of https", key);
    *ret_url = url;
    return 0;
}

static int parse(struct arena *arena, struct slice text, struct json **ret_json, struct error *err)
{
    if (text.len > ACME_ANSWER_MAX)
        return error_set(err, ERR_LIMIT, "the CA's answer is larger than %u bytes",
                         ACME_ANSWER_MAX);
    int result = json_parse(arena, text, ret_json, err);
    if (result < 0)
        return error_wrap(err, "the CA's answer is not JSON");
    if ((*ret_json)->type != JSON_OBJECT)
        return error_set(err, ERR_INVALID, "the CA's answer is not a JSON object");
    return 0;
}

/* ---- directory */

int acme_answer_directory(struct arena *arena, struct slice json, bool is_plain_allowed,
                          struct acme_endpoints *ret_endpoints, struct error *err)
{
    struct acme_endpoints endpoints = {0};
    struct json *root;
    int result = parse(arena, json, &root, err);
    if (result == 0)
        result = get_url(root, "newNonce", is_plain_allowed, false, &endpoints.new_nonce, err);
    if (result == 0)
        result = get_url(root, "newAccount", is_plain_allowed, false, &endpoints.new_account, err);
    if (result == 0)
        result = get_url(root, "newOrder", is_plain_allowed, false, &endpoints.new_order, err);
    if (result == 0)
        result = get_url(root, "renewalInfo", is_plain_allowed, true, &endpoints.renewal_info, err);
    if (result < 0)
        return result;
    endpoints.needs_external_account =
        json_get_boolean(json_get(root, "meta"), "externalAccountRequired", false);
    *ret_endpoints = endpoints;
    return 0;
}

/* ---- problems */

static const struct {
    const char *name;
    bool is_of_name;
} problems[] = {
#define CA                   false
#define NAME                 true
#define X(kind, name, scope) [kind] = {name, scope},
    ACME_PROBLEMS(X)
#undef X
#undef CA
#undef NAME
};

bool acme_problem_is_of_name(enum acme_problem_kind kind)
{
    return problems[kind].is_of_name;
}

bool acme_problem_is_policy(enum acme_problem_kind kind)
{
    return kind == ACME_PROBLEM_REJECTED || kind == ACME_PROBLEM_UNSUPPORTED ||
           kind == ACME_PROBLEM_CAA;
}

static const char *problem_type(const struct json *object)
{
    const char *type = json_get_text(object, "type", "");
    size_t len = strlen(URN);
    return strncmp(type, URN, len) == 0 ? type + len : type;
}

static void problem_append(struct arena *arena, struct buf *text, const struct json *object)
{
    const char *type = acme_text_tame(arena, problem_type(object));
    const char *detail = acme_text_tame(arena, json_get_text(object, "detail", ""));
    const char *name = json_text(json_path(object, "identifier.value"), NULL);
    if (name)
        buf_printf(text, "%s: ", acme_text_tame(arena, name));
    buf_printf(text, "%s%s%s", type, *type && *detail ? ": " : "", detail);
}

static void problem_read(struct arena *arena, const struct json *object,
                         struct acme_problem *ret_problem)
{
    struct buf text CLEANUP(buf_done) = BUF_INIT(4096);
    const char *type = problem_type(object);
    size_t count = 0;
    *ret_problem = (struct acme_problem){ACME_PROBLEM_OTHER, ""};
    if (!object || object->type != JSON_OBJECT ||
        (!json_get_text(object, "type", NULL) && !json_get_text(object, "detail", NULL)))
        return;
    for (size_t i = 1; i < ARRAY_LEN(problems); i++)
        if (strcmp(problems[i].name, type) == 0)
            ret_problem->kind = (enum acme_problem_kind)i;
    problem_append(arena, &text, object);
    json_each (child, json_get(object, "subproblems")) {
        if (child->type != JSON_OBJECT || count == SUBPROBLEMS_MAX)
            continue;
        buf_append_text(&text, count++ ? "; " : " (");
        problem_append(arena, &text, child);
    }
    if (count)
        buf_append_byte(&text, ')');
    char *copy = arena_try(arena, text.len + 1);
    if (copy && text.len) {
        memcpy(copy, text.ptr, text.len + 1);
        ret_problem->text = copy;
    }
}

void acme_answer_problem(struct arena *arena, struct slice json, struct acme_problem *ret_problem)
{
    struct json *root;
    *ret_problem = (struct acme_problem){ACME_PROBLEM_OTHER, ""};
    if (json.len && parse(arena, json, &root, NULL) == 0)
        problem_read(arena, root, ret_problem);
}

/* ---- orders and authorizations */

static int get_status(const struct json *object, enum acme_object_status *ret_status,
                      struct error *err)
{
    static const struct {
        const char *name;
        enum acme_object_status status;
    } names[] = {
        {"pending", ACME_OBJECT_PENDING},       {"ready", ACME_OBJECT_READY},
        {"processing", ACME_OBJECT_PROCESSING}, {"valid", ACME_OBJECT_VALID},
        {"invalid", ACME_OBJECT_INVALID},       {"deactivated", ACME_OBJECT_INVALID},
        {"expired", ACME_OBJECT_INVALID},       {"revoked", ACME_OBJECT_INVALID},
    };
    const char *text = json_get_text(object, "status", "");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i].name, text) == 0) {
            *ret_status = names[i].status;
            return 0;
        }
    }
    return error_set(err, ERR_INVALID, "the CA's answer has no \"status\" that is known");
}

int acme_answer_order(struct arena *arena, struct slice json, bool is_plain_allowed,
                      struct acme_answer_order *ret_order, struct error *err)
{
    struct acme_answer_order order = {0};
    struct json *root;
    int result = parse(arena, json, &root, err);
    if (result == 0)
        result = get_status(root, &order.status, err);
    if (result == 0)
        result = get_url(root, "finalize", is_plain_allowed, false, &order.finalize, err);
    if (result == 0)
        result = get_url(root, "certificate", is_plain_allowed, order.status != ACME_OBJECT_VALID,
                         &order.certificate, err);
    if (result < 0)
        return result;
    const struct json *list = json_get(root, "authorizations");
    if (!list || list->type != JSON_ARRAY || list->count == 0 || list->count > AUTHORIZATIONS_MAX)
        return error_set(err, ERR_INVALID, "the CA's order has no authorizations, or too many");
    order.authorizations = arena_try(arena, list->count * sizeof(*order.authorizations));
    if (!order.authorizations)
        return error_set(err, ERR_LIMIT, "the CA's answer is too large");
    json_each (child, list) {
        const char *url = json_text(child, "");
        if (!acme_url_is_valid(slice_from(url), is_plain_allowed))
            return error_set(err, ERR_INVALID,
                             "an authorization of the CA's is not a URL of https");
        order.authorizations[order.authorization_count++] = url;
    }
    problem_read(arena, json_get(root, "error"), &order.problem);
    *ret_order = order;
    return 0;
}

static bool token_is_valid(const char *token)
{
    size_t len = strlen(token);
    if (len == 0 || len > ACME_TOKEN_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)token[i]) && token[i] != '-' && token[i] != '_')
            return false;
    return true;
}

static bool challenge_kind(const char *type, enum acme_challenge_kind *ret_kind)
{
    if (strcmp(type, "http-01") == 0)
        *ret_kind = ACME_HTTP_01;
    else if (strcmp(type, "tls-alpn-01") == 0)
        *ret_kind = ACME_TLS_ALPN_01;
    else if (strcmp(type, "dns-01") == 0)
        *ret_kind = ACME_DNS_01;
    else
        return false;
    return true;
}

int acme_answer_authorization(struct arena *arena, struct slice json, bool is_plain_allowed,
                              struct acme_answer_authorization *ret_authorization,
                              struct error *err)
{
    struct acme_answer_authorization authorization = {0};
    struct json *root;
    int result = parse(arena, json, &root, err);
    if (result == 0)
        result = get_status(root, &authorization.status, err);
    if (result < 0)
        return result;
    authorization.name = json_text(json_path(root, "identifier.value"), "");
    authorization.is_wildcard = json_get_boolean(root, "wildcard", false);
    if (!acme_name_is_valid(authorization.name) || authorization.name[0] == '*')
        return error_set(err, ERR_INVALID, "the CA's authorization is for no valid name");
    const struct json *list = json_get(root, "challenges");
    if (!list || list->type != JSON_ARRAY || list->count > ACME_CHALLENGES_MAX)
        return error_set(err, ERR_INVALID, "the CA's authorization has no challenges, or too many");
    authorization.challenges =
        arena_try(arena, list->count * sizeof(*authorization.challenges) + 1);
    if (!authorization.challenges)
        return error_set(err, ERR_LIMIT, "the CA's answer is too large");
    json_each (child, list) {
        struct acme_answer_challenge challenge = {.token = json_get_text(child, "token", "")};
        const struct json *problem = json_get(child, "error");
        if (problem && problem->type == JSON_OBJECT)
            problem_read(arena, problem, &authorization.problem);
        if (!challenge_kind(json_get_text(child, "type", ""), &challenge.kind))
            continue;
        result = get_url(child, "url", is_plain_allowed, false, &challenge.url, err);
        if (result < 0)
            return result;
        if (!token_is_valid(challenge.token))
            return error_set(err, ERR_INVALID, "the CA's challenge has a token that is none");
        authorization.challenges[authorization.challenge_count++] = challenge;
    }
    if (!authorization.problem.text)
        authorization.problem = (struct acme_problem){ACME_PROBLEM_OTHER, ""};
    *ret_authorization = authorization;
    return 0;
}

/* ---- times */

/* RFC 3339 as Go and others write it: any number of fractional digits, an offset in place of Z. */
static int parse_time(const char *text, uint64_t *ret_wall_us)
{
    char plain[CLOCK_TEXT_SIZE];
    size_t len = strlen(text), fraction;
    uint64_t wall_us, offset_us, hours, minutes;
    if (len < 20 || len > 48)
        return ERR_INVALID;
    fraction = 19 + (text[19] == '.' ? 1 + strspn(text + 20, "0123456789") : 0);
    snprintf(plain, sizeof(plain), "%.*sZ", (int)MIN(fraction, (size_t)26), text);
    if (clock_parse(plain, &wall_us) < 0)
        return ERR_INVALID;
    const char *zone = text + fraction;
    if (strcmp(zone, "Z") == 0 || strcmp(zone, "z") == 0) {
        *ret_wall_us = wall_us;
        return 0;
    }
    if (strlen(zone) != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':' ||
        slice_to_u64((struct slice){zone + 1, 2}, &hours) < 0 ||
        slice_to_u64((struct slice){zone + 4, 2}, &minutes) < 0 || hours > 23 || minutes > 59)
        return ERR_INVALID;
    offset_us = (hours * 60 + minutes) * 60000000;
    if (zone[0] == '+' && offset_us > wall_us)
        return ERR_INVALID;
    *ret_wall_us = zone[0] == '+' ? wall_us - offset_us : wall_us + offset_us;
    return 0;
}

int acme_answer_renewal(struct arena *arena, struct slice json,
                        struct acme_answer_renewal *ret_renewal, struct error *err)
{
    struct acme_answer_renewal renewal = {0};
    struct json *root;
    int result = parse(arena, json, &root, err);
    if (result < 0)
        return result;
    if (parse_time(json_text(json_path(root, "suggestedWindow.start"), ""), &renewal.start_us) <
            0 ||
        parse_time(json_text(json_path(root, "suggestedWindow.end"), ""), &renewal.end_us) < 0 ||
        renewal.end_us <= renewal.start_us)
        return error_set(err, ERR_INVALID, "the CA's renewal information has no valid window");
    const char *url = json_get_text(root, "explanationURL", NULL);
    if (url && acme_url_is_valid(slice_from(url), false))
        renewal.explanation = url;
    *ret_renewal = renewal;
    return 0;
}

uint64_t acme_retry_after_s(struct slice value, uint64_t wall_us)
{
    char text[64];
    uint64_t seconds;
    struct tm when = {0};
    if (slice_to_u64(value, &seconds) == 0)
        return MIN(seconds, (uint64_t)ACME_RETRY_AFTER_MAX);
    if (value.len == 0 || value.len >= sizeof(text))
        return 0;
    memcpy(text, value.ptr, value.len);
    text[value.len] = '\0';
    const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &when);
    time_t at = end && !*end ? timegm(&when) : -1;
    if (at < 0 || (uint64_t)at <= wall_us / 1000000)
        return 0;
    return MIN((uint64_t)at - wall_us / 1000000, (uint64_t)ACME_RETRY_AFTER_MAX);
}
