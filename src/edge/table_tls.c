/* table_tls.c - the TLS side of a table: certificates, names, authorities, challenges.
 *
 * Thousands of certificates take longer than a loop turn may: the work is done in steps, and the
 * table before serves until the last one. What was parsed once is found again (net/tls_server.c),
 * so a step is mostly hashing. A certificate or an authority that cannot be used costs the names
 * that need it, not the table; the log names it.
 */
#include "edge/edge_private.h"
#include <stdlib.h>

#define STEP_CHECK 8u /* certificates between two looks at the clock */

static uint32_t *indices_new(uint32_t count)
{
    uint32_t *indices = malloc(sizeof(*indices) * (count ? count : 1));

    if (!indices)
        abort();
    memset(indices, 0xff, sizeof(*indices) * (count ? count : 1));
    return indices;
}

static void compile_authorities(struct table *table)
{
    const struct snapshot *snapshot = &table->snapshot;

    for (uint32_t i = 0; i < snapshot->authorities_count; i++) {
        struct error err = {0};

        if (tls_server_client_ca(table->tls, snapshot_slice(snapshot, snapshot->authorities[i].pem),
                                 &table->authorities[i], &err) != 0)
            log_failure(&err, "client certificates of authority %u are not accepted", i);
    }
}

static bool compile_begin(struct table *table)
{
    struct error err = {0};

    if (tls_server_new(&table->tls, &err) != 0) {
        log_failure(&err, "TLS is not served");
        return false;
    }
    if (table->snapshot.settings->ticket_keys.len &&
        tls_server_ticket_keys(
            table->tls, snapshot_slice(&table->snapshot, table->snapshot.settings->ticket_keys),
            &err) != 0)
        log_failure(&err, "TLS sessions are not resumed");
    table->certificates = indices_new(table->snapshot.certificates_count);
    table->authorities = indices_new(table->snapshot.authorities_count);
    compile_authorities(table);
    return true;
}

static void compile_certificate(struct table *table, uint32_t index)
{
    const struct snapshot *snapshot = &table->snapshot;
    const struct snapshot_certificate *certificate = &snapshot->certificates[index];
    struct tls_certificate_spec spec = {
        .chain_pem = snapshot_slice(snapshot, certificate->chain_pem),
        .ocsp_der = snapshot_slice(snapshot, certificate->ocsp_der),
    };
    struct error err = {0};

    memcpy(spec.key_id, certificate->key_id, sizeof(spec.key_id));
    if (tls_server_certificate(table->tls, &spec, &table->certificates[index], &err) != 0)
        log_failure(&err, "the certificate of " SLICE_FORMAT " is not used",
                    SLICE_ARG(snapshot_slice(snapshot, certificate->name)));
}

static void compile_host(struct table *table, const struct snapshot_host *host)
{
    struct tls_name_spec spec = {
        .name = snapshot_slice(&table->snapshot, host->name),
        .certificate =
            host->certificate ? table->certificates[host->certificate - 1] : TLS_NO_CERTIFICATE,
        .client_ca = host->client_authority ? table->authorities[host->client_authority - 1]
                                            : TLS_NO_CLIENT_CA,
        .is_on_demand = host->is_on_demand,
        .is_tls13_only = host->is_tls13_only,
        .is_http2 = !host->is_http2_off,
    };
    struct error err = {0};

    if (host->is_tls && tls_server_name(table->tls, &spec, &err) != 0)
        log_failure(&err, SLICE_FORMAT " is not served over TLS", SLICE_ARG(spec.name));
}

static void compile_challenges(struct table *table)
{
    const struct snapshot *snapshot = &table->snapshot;

    for (uint32_t i = 0; i < snapshot->challenges_count; i++) {
        const struct snapshot_challenge *challenge = &snapshot->challenges[i];
        struct error err = {0};

        if (challenge->kind == SNAPSHOT_CHALLENGE_TLS && challenge->certificate &&
            table->certificates[challenge->certificate - 1] != TLS_NO_CERTIFICATE &&
            tls_server_challenge(table->tls, snapshot_slice(snapshot, challenge->name),
                                 table->certificates[challenge->certificate - 1], &err) != 0)
            log_failure(&err, "a challenge is not answered");
    }
}

static bool table_has_tls(const struct table *table)
{
    if (table->snapshot.certificates_count || table->snapshot.challenges_count)
        return true;
    for (uint32_t i = 0; i < table->snapshot.hosts_count; i++)
        if (table->snapshot.hosts[i].is_tls)
            return true;
    return false;
}

bool table_tls_step(struct table *table, uint64_t end_us)
{
    const struct snapshot *snapshot = &table->snapshot;

    if (!table->tls && (!table_has_tls(table) || !compile_begin(table)))
        return true;
    while (table->certificates_done < snapshot->certificates_count) {
        compile_certificate(table, table->certificates_done++);
        if (table->certificates_done % STEP_CHECK == 0 && clock_monotonic_us() >= end_us)
            return false;
    }
    while (table->hosts_done < snapshot->hosts_count) {
        compile_host(table, &snapshot->hosts[table->hosts_done++]);
        if (table->hosts_done % 256 == 0 && clock_monotonic_us() >= end_us)
            return false;
    }
    compile_challenges(table);
    return true;
}

void table_tls_done(struct table *table)
{
    tls_server_unref(table->tls);
    free(table->certificates);
    free(table->authorities);
}
