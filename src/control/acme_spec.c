/* What a certificate is to be: checked, told apart from another, kept. */
#include "control/acme_private.h"

#include "base/hash.h"

#define SPEC_BYTES (256ull * 1024)

static size_t text_bytes(const char *text)
{
    return text ? strlen(text) : 0;
}

/* Of what people may make as long as they like; names have a limit of their own. */
static size_t spec_bytes(const struct acme_spec *spec)
{
    size_t bytes = text_bytes(spec->dns_hook);
    for (size_t i = 0; i < spec->ca_count; i++) {
        const struct acme_ca *ca = &spec->cas[i];
        bytes += text_bytes(ca->directory) + text_bytes(ca->email) + text_bytes(ca->eab_key_id) +
                 text_bytes(ca->eab_hmac) + text_bytes(ca->ca_file);
    }
    return bytes;
}

int acme_spec_check(const struct acme_spec *spec, struct error *err)
{
    if (spec->name_count == 0 || spec->name_count > ACME_NAMES_MAX || spec->ca_count == 0 ||
        spec->ca_count > ACME_CAS_MAX)
        return error_set(err, ERR_LIMIT, "a certificate has 1 to %u names and 1 to %u CAs",
                         ACME_NAMES_MAX, ACME_CAS_MAX);
    for (size_t i = 0; i < spec->name_count; i++) {
        if (!acme_name_is_valid(spec->names[i]))
            return error_set(err, ERR_INVALID, "'%.253s' is not a name that a CA can certify",
                             spec->names[i]);
        bool has_dns =
            spec->dns_hook && (spec->challenge == ACME_AUTO || spec->challenge == ACME_DNS_01);
        if (spec->names[i][0] == '*' && !has_dns)
            return error_set(err, ERR_INVALID, "'%s' needs DNS-01 and its hook", spec->names[i]);
    }
    if (spec->challenge == ACME_DNS_01 && !spec->dns_hook)
        return error_set(err, ERR_INVALID, "DNS-01 needs a hook");
    if (spec_bytes(spec) > SPEC_BYTES / 4)
        return error_set(err, ERR_LIMIT, "the settings of certificate %s are too long",
                         spec->names[0]);
    for (size_t i = 0; i < spec->ca_count; i++)
        if (!acme_url_is_valid(slice_from(spec->cas[i].directory), true))
            return error_set(err, ERR_INVALID, "'%.200s' is not the URL of an ACME directory",
                             spec->cas[i].directory);
    return 0;
}

static uint64_t hash_text(uint64_t seed, const char *text)
{
    return text ? hash_fast(text, strlen(text) + 1, seed) : hash_fast("\1", 1, seed);
}

uint64_t acme_spec_fingerprint(const struct acme_spec *spec)
{
    uint64_t hash = spec->name_count;
    for (size_t i = 0; i < spec->name_count; i++)
        hash = hash_text(hash, spec->names[i]);
    for (size_t i = 0; i < spec->ca_count; i++) {
        hash = hash_text(hash, spec->cas[i].directory);
        hash = hash_text(hash, spec->cas[i].email);
        hash = hash_text(hash, spec->cas[i].eab_key_id);
        hash = hash_text(hash, spec->cas[i].eab_hmac);
        hash = hash_text(hash, spec->cas[i].ca_file);
    }
    const uint64_t rest[] = {spec->challenge, spec->dns_delay_ms, spec->is_on_demand,
                             spec->is_check_skipped};
    return hash_text(hash_fast(rest, sizeof(rest), hash), spec->dns_hook);
}

void acme_spec_copy(const struct acme_spec *spec, struct acme_item *item)
{
    struct arena *arena = arena_new(SPEC_BYTES);
    const char **names = arena_array_of(arena, const char *, spec->name_count);
    struct acme_ca *cas = arena_array_of(arena, struct acme_ca, spec->ca_count);
    for (size_t i = 0; i < spec->name_count; i++)
        names[i] = arena_text(arena, spec->names[i]);
    for (size_t i = 0; i < spec->ca_count; i++)
        cas[i] = (struct acme_ca){
            .directory = arena_text(arena, spec->cas[i].directory),
            .email = arena_text(arena, spec->cas[i].email),
            .eab_key_id = arena_text(arena, spec->cas[i].eab_key_id),
            .eab_hmac = arena_text(arena, spec->cas[i].eab_hmac),
            .ca_file = arena_text(arena, spec->cas[i].ca_file),
        };
    arena_free(item->arena);
    item->arena = arena;
    item->spec = *spec;
    item->spec.names = names;
    item->spec.cas = cas;
    item->spec.dns_hook = arena_text(arena, spec->dns_hook);
}
