#include "config_test.h"

#define ROUTES(lines) "app: a\nservices: {web: {start: x}, site: {type: static}}\nroutes:\n" lines
#define SITE          "  - {path: /site, service: site}\n"

static void a_word_is_short_for_the_map(void **state)
{
    struct fixture *f = *state;
    const struct manifest *m =
        parsed(f, ROUTES("  - {host: a.org, service: web, tls: acme}\n" SITE));
    const struct manifest_tls *tls = &m->routes[0].tls;

    assert_true(tls->is_given);
    assert_int_equal(tls->mode, MANIFEST_TLS_ACME);
    assert_int_equal(tls->challenge, CHALLENGE_AUTO);
    assert_int_equal(tls->minimum_version, MANIFEST_TLS_1_2);
    assert_true(tls->is_redirected);
    assert_true(tls->is_http2);
    assert_false(tls->hsts.is_given);
    assert_false(tls->on_demand.is_given);
    assert_false(m->routes[1].tls.is_given);
    assert_int_equal(m->routes[1].tls.mode, MANIFEST_TLS_OFF);
    assert_false(m->acme.is_given);
    assert_string_equal(m->acme.directory, "https://acme-v02.api.letsencrypt.org/directory");
}

static void every_key_is_read(void **state)
{
    struct fixture *f = *state;
    const struct manifest *m = parsed(
        f, ROUTES("  - host: '*.shop.org'\n"
                  "    service: web\n"
                  "    tls: {mode: acme, challenge: dns-01, dnsHook: bin/dns, minVersion: 1.3,\n"
                  "          redirect: no, hsts: 30d, http2: false}\n"
                  "    clientCertificate: {ca: /etc/ca.pem, require: false}\n"
                  "    upstream: {protocol: h2, tls: {verify: false, serverName: api.internal}}\n"
                  "  - {service: site, tls: {cert: /c.pem, key: /k.pem,\n"
                  "      hsts: {maxAge: 400d, includeSubDomains: true, preload: true}}}\n"
                  "  - {path: /p, service: web, upstream: {proxyProtocol: v2, tls: {}}}\n"
                  "acme: {email: a@b.org, directory: 'https://ca.test/d', caFile: /ca.pem,\n"
                  "       eab: {keyId: k, hmacFile: /eab}, fallback: {directory: 'https://two/'}}\n"
                  "edge: {trustedProxies: [10.0.0.0/8, '::1'], proxyProtocol: [192.0.2.1]}\n"));
    const struct manifest_route *shop = &m->routes[0], *files = &m->routes[1];

    assert_int_equal(shop->tls.challenge, CHALLENGE_DNS_01);
    assert_string_equal(shop->tls.dns_hook, "bin/dns");
    assert_int_equal(shop->tls.minimum_version, MANIFEST_TLS_1_3);
    assert_false(shop->tls.is_redirected);
    assert_false(shop->tls.is_http2);
    assert_true(shop->tls.hsts.is_given);
    assert_int_equal(shop->tls.hsts.max_age_ms, 30ull * 86400000);
    assert_string_equal(shop->client_certificate.ca, "/etc/ca.pem");
    assert_false(shop->client_certificate.is_required);
    assert_int_equal(shop->upstream.protocol, UPSTREAM_H2);
    assert_true(shop->upstream.tls.is_given);
    assert_false(shop->upstream.tls.is_verified);
    assert_string_equal(shop->upstream.tls.server_name, "api.internal");
    assert_int_equal(files->tls.mode, MANIFEST_TLS_FILES);
    assert_true(files->tls.hsts.is_preload);
    assert_false(files->upstream.tls.is_given);
    assert_true(m->routes[2].upstream.tls.is_given);
    assert_true(m->routes[2].upstream.tls.is_verified);
    assert_int_equal(m->routes[2].upstream.proxy_protocol, 2);
    assert_string_equal(m->acme.email, "a@b.org");
    assert_string_equal(m->acme.eab.hmac_file, "/eab");
    assert_string_equal(m->acme.fallback.directory, "https://two/");
    assert_int_equal(m->edge.trusted_proxy_count, 2);
    assert_string_equal(m->edge.trusted_proxies[1].text, "::1");
    assert_string_equal(m->edge.proxy_protocol[0].text, "192.0.2.1");
    /* What is written is read back as the same. */
    const char *json = json_of(f, m);
    assert_string_equal(json_of(f, parsed(f, json)), json);
    assert_non_null(strstr(json, "\"trustedProxies\":[\"10.0.0.0/8\",\"::1\"]"));
}

static void a_manifest_without_tls_says_nothing_of_it(void **state)
{
    struct fixture *f = *state;
    const char *json = json_of(f, parsed(f, ROUTES("  - {service: web}\n" SITE)));

    assert_null(strstr(json, "\"tls\""));
    assert_null(strstr(json, "acme"));
    assert_null(strstr(json, "clientCertificate"));
    assert_null(strstr(json, "\"edge\""));
}

static void where_the_certificate_comes_from_must_be_clear(void **state)
{
    expect(*state,
           ROUTES("  - {host: a.org, service: web, tls: {hsts: 30d}}\n"
                  "  - {host: b.org, service: web, tls: {cert: /c.pem}}\n"
                  "  - {host: c.org, service: web, tls: {mode: acme, cert: /c.pem, key: /k.pem}}\n"
                  "  - {host: d.org, service: web, tls: files}\n"
                  "  - {host: e.org, service: web, tls: {cert: tls/c.pem, key: /k.pem}}\n"
                  "  - {host: f.org, service: web, tls: amce}\n" SITE),
           "4:33 routes[0].tls: 'tls' does not say where the certificate comes from (write 'mode: "
           "acme', 'mode: internal', or 'cert' and 'key')\n"
           "5:39 routes[1].tls.cert: 'key' is missing (give both: the chain as 'cert' and its "
           "private key as 'key')\n"
           "6:51 routes[2].tls.cert: 'cert' has no effect in mode acme (remove it, or remove "
           "'mode')\n"
           "7:33 routes[3].tls: 'cert' is missing (give both: the chain as 'cert' and its private "
           "key as 'key')\n"
           "8:45 routes[4].tls.cert: 'tls/c.pem' is not an absolute path: write where the file "
           "lies on the server, beginning with '/'\n"
           "9:38 routes[5].tls: expected one of off, acme, internal or files, got 'amce' (did you "
           "mean 'acme'?)\n");
}

static void acme_needs_a_name_that_can_be_proven(void **state)
{
    expect(
        *state,
        ROUTES("  - {service: web, tls: acme}\n"
               "  - {host: '*.a.org', service: web, tls: acme}\n"
               "  - {host: localhost, service: web, tls: acme}\n"
               "  - {host: 192.0.2.1, service: web, tls: acme}\n"
               "  - {host: b.org, service: web, tls: {mode: acme, challenge: dns-01}}\n"
               "  - {host: c.org, service: web, tls: {mode: internal, dnsHook: x, onDemand: "
               "'http://x/'}}\n"
               "  - {host: d.org, service: web, tls: {mode: acme, onDemand: {}}}\n"
               "  - {host: e.org, service: web, tls: {mode: acme, onDemand: 'ftp://x'}}\n" SITE),
        "4:20 routes[0].tls: a certificate is for a name, and this route has none (give the route "
        "a "
        "'host', or allow names with onDemand: {ask: URL})\n"
        "5:37 routes[1].tls.challenge: a certificate for '*.a.org' needs a proof by DNS (write "
        "'challenge: "
        "dns-01' with a 'dnsHook', or onDemand: {ask: URL})\n"
        "6:37 routes[2].tls: no public authority gives a certificate for 'localhost' (use 'tls: "
        "internal')\n"
        "7:37 routes[3].tls: no public authority gives a certificate for '192.0.2.1' (use 'tls: "
        "internal')\n"
        "8:51 routes[4].tls.challenge: 'dns-01' needs a 'dnsHook' (give the command that sets the "
        "record as 'dnsHook')\n"
        "9:55 routes[5].tls.dnsHook: 'dnsHook' has no effect in mode internal (write 'mode: acme', "
        "or remove it)\n"
        "9:67 routes[5].tls.onDemand: 'onDemand' has no effect in mode internal (write 'mode: "
        "acme', "
        "or remove it)\n"
        "10:51 routes[6].tls.onDemand: 'ask' is missing\n"
        "11:61 routes[7].tls.onDemand: 'ftp://x' begins neither with 'https://' nor with "
        "'http://'\n");
    (void)parsed(*state, ROUTES("  - {service: web, tls: {mode: acme, onDemand: 'http://x/a'}}\n"
                                "  - {host: '*.a.org', path: /s, service: site,\n"
                                "     tls: {mode: acme, dnsHook: bin/dns}}\n"));
}

static void routes_of_one_host_agree_or_say_nothing(void **state)
{
    (void)parsed(*state, ROUTES("  - {host: a.org, service: web, tls: acme}\n"
                                "  - {host: a.org, path: /s, service: site}\n"));
    expect(
        *state,
        ROUTES("  - {host: a.org, service: web, tls: acme}\n"
               "  - {host: a.org, path: /s, service: site, tls: {mode: acme, minVersion: 1.3}}\n"
               "  - {host: a.org, path: /t, service: site, tls: off}\n"
               "  - {host: b.org, service: web, tls: internal, clientCertificate: /one}\n"
               "  - {host: b.org, path: /s, service: web, clientCertificate: {ca: /two}}\n"),
        "5:62 routes[1].tls.minVersion: 'minVersion' differs from that of routes[0] in line 4, "
        "which has the same host (write it the same, or at one of them only)\n"
        "6:44 routes[2].tls.mode: 'mode' differs from that of routes[0] in line 4, which has the "
        "same host (write it the same, or at one of them only)\n"
        "8:63 routes[4].clientCertificate.ca: 'ca' differs from that of routes[3] in line 7, "
        "which has the same host (routes of one host share it)\n");
}

static void a_private_key_in_the_manifest_is_not_repeated(void **state)
{
    expect(*state,
           ROUTES("  - {host: a.org, service: web, tls: internal, clientCertificate: "
                  "'-----BEGIN EC PRIVATE KEY-----MHcCAQEEIMWomWbz'}\n"
                  "  - {host: b.org, service: site}\n"),
           "4:67 routes[0].clientCertificate: '-----BEGIN EC PRIVATE KEY-----...' holds a private "
           "key: it does not belong here\n");
}

static void what_has_no_effect_or_no_sense_is_told(void **state)
{
    expect(
        *state,
        ROUTES("  - {host: a.org, service: web, clientCertificate: /ca.pem}\n"
               "  - {host: b.org, service: site, upstream: {protocol: h2}}\n"
               "  - {host: c.org, service: web, upstream: {protocol: h2, proxyProtocol: v1}}\n"
               "  - {host: d.org, service: web, tls: {mode: internal, hsts: {preload: true}}}\n"
               "  - {host: e.org, service: web, tls: internal,\n"
               "     clientCertificate: {ca: \"-----BEGIN PRIVATE KEY-----\"}}\n"
               "acme: {email: nobody, directory: 'http://ca.test/d', eab: {keyId: k},\n"
               "       fallback: {directory: 'https://b.test/d', email: 'mailto:a@b.org'}}\n"
               "edge: {trustedProxies: [10.0.0.0/40, {a: b}]}\n"),
        "4:33 routes[0].clientCertificate: clients show certificates over TLS only, and this host "
        "has none (add 'tls' to the route)\n"
        "5:34 routes[1].upstream: service 'site' is static: the edge itself serves it (remove "
        "it)\n"
        "6:58 routes[2].upstream.proxyProtocol: a connection with h2 carries requests of many "
        "clients, a PROXY header names one (use Forwarded and X-Forwarded-For)\n"
        "7:55 routes[3].tls.hsts: 'preload' needs includeSubDomains and a maxAge of at least "
        "365d (write {maxAge: 365d, includeSubDomains: true, preload: true})\n"
        "9:30 routes[4].clientCertificate.ca: '-----BEGIN PRIVATE KEY-----' holds a private key: "
        "it does not belong here\n"
        "10:15 acme.email: 'nobody' is not a mail address\n"
        "10:34 acme.directory: an authority is asked over https only (use https)\n"
        "10:54 acme.eab: 'hmacFile' is missing\n"
        "11:57 acme.fallback.email: 'mailto:a@b.org' is a URL: write the mail address alone\n"
        "12:25 edge.trustedProxies[0]: '10.0.0.0/40' is not a network: write an address such as "
        "192.0.2.7, or a prefix such as 10.0.0.0/8\n"
        "12:38 edge.trustedProxies[1]: expected a network such as 10.0.0.0/8, got a map\n");
}

static const char *changes(struct fixture *f, const char *from, const char *to)
{
    struct manifest *before = parsed(f, from), *after = parsed(f, to);
    struct buf text = BUF_INIT(65536);
    struct manifest_change *list;
    size_t count;

    assert_int_equal(manifest_diff(f->arena, before, after, &list, &count, &f->err), 0);
    for (size_t i = 0; i < count; i++)
        buf_printf(&text, "%c %s: %s -> %s\n", "+-~"[list[i].kind], list[i].path,
                   list[i].before ? list[i].before : "", list[i].after ? list[i].after : "");
    const char *copy = arena_text(f->arena, buf_text(&text));
    buf_done(&text);
    return copy;
}

static void a_plan_shows_what_changes(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(changes(f, ROUTES("  - {host: a.org, service: web}\n" SITE),
                                ROUTES("  - {host: a.org, service: web, tls: acme}\n" SITE
                                       "edge: {trustedProxies: [10.0.0.0/8]}\n")),
                        "+ routes[a.org /].tls:  -> acme\n+ edge:  -> \n");
    assert_string_equal(
        changes(f,
                ROUTES("  - {host: a.org, service: web, tls: {mode: acme, hsts: 1d}}\n" SITE
                       "edge: {trustedProxies: [10.0.0.0/8]}\n"),
                ROUTES("  - {host: a.org, service: web, tls: internal}\n" SITE
                       "edge: {trustedProxies: [10.0.0.0/8, '::1']}\n")),
        "~ routes[a.org /].tls.mode: acme -> internal\n"
        "- routes[a.org /].tls.hsts: 1d -> \n+ edge.trustedProxies[::1]:  -> \n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_word_is_short_for_the_map),
        TEST(every_key_is_read),
        TEST(a_manifest_without_tls_says_nothing_of_it),
        TEST(where_the_certificate_comes_from_must_be_clear),
        TEST(acme_needs_a_name_that_can_be_proven),
        TEST(routes_of_one_host_agree_or_say_nothing),
        TEST(a_private_key_in_the_manifest_is_not_repeated),
        TEST(what_has_no_effect_or_no_sense_is_told),
        TEST(a_plan_shows_what_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
