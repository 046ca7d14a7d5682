/* certificates_status.c - what people are told of certificates. */
#include "base/clock.h"
#include "control/certificates_private.h"

struct view { /* of one certificate */
    const char *state;
    const char *error, *hint;
    uint64_t error_at_us, renewal_at_us;
};

static bool is_acme(const struct certificate *certificate)
{
    return certificate_settings(certificate)->mode == MANIFEST_TLS_ACME;
}

static struct view view_of(const struct certificate *certificate)
{
    const struct material *serving = certificate->serving;
    struct view view = {.error = certificate->last_error[0] ? certificate->last_error : NULL,
                        .hint = certificate->hint[0] ? certificate->hint : NULL,
                        .error_at_us = certificate->last_error_at_us};
    struct acme_status status;

    view.state = serving                      ? "valid"
                 : certificate->pending       ? "starting"
                 : certificate->last_error[0] ? "failed"
                                              : "waiting";
    if (serving && material_is_expired(serving))
        view.state = "expired";
    if (certificate_settings(certificate)->mode == MANIFEST_TLS_INTERNAL && serving)
        view.renewal_at_us = material_renewal_s(serving) * 1000000;
    if (!is_acme(certificate))
        return view;
    if (!serving && !certificate->is_demanded && certificate->config.is_on_demand)
        view.state = "on demand";
    if (!certificate->is_asked_of_acme ||
        acme_status(certificate->all->acme, certificate->host, &status) != 0)
        return view;
    if (!serving && !certificate->pending)
        view.state = acme_state_name(status.state);
    view.renewal_at_us = status.next_renewal_at_us;
    view.error = status.last_error;
    view.hint = status.hint;
    view.error_at_us = status.last_error_at_us;
    return view;
}

static void write_one(struct json_writer *writer, const struct certificate *certificate)
{
    const struct material *material =
        certificate->serving ? certificate->serving : certificate->pending;
    const struct certificate_config *config = certificate_settings(certificate);
    struct view view = view_of(certificate);

    json_begin_object(writer, NULL);
    json_write_text(writer, "name", certificate->host);
    json_write_text(writer, "app", config->app);
    json_write_text(writer, "source", tls_mode_name(config->mode));
    json_write_text(writer, "state", view.state);
    json_write_text(writer, "issuer", material ? material->issuer : NULL);
    json_write_text(writer, "names", material ? material->names : NULL);
    json_write_text(writer, "key", material ? material->key_kind : NULL);
    json_write_time(writer, "not_before", material ? material->not_before * 1000000 : 0);
    json_write_time(writer, "not_after", material ? material->not_after * 1000000 : 0);
    json_write_time(writer, "obtained_at", material ? material->obtained_at_us : 0);
    json_write_time(writer, "next_renewal", view.renewal_at_us);
    json_write_boolean(writer, "is_on_demand", certificate->is_demanded);
    json_write_boolean(writer, "is_stapled", material && material->ocsp.len > 0);
    json_write_text(writer, "warning",
                    material && !material->covers_host ? "it is not for this name" : NULL);
    json_write_text(writer, "last_error", view.error);
    json_write_text(writer, "hint", view.hint);
    json_write_time(writer, "last_error_at", view.error_at_us);
    json_end_object(writer);
}

static int compare(const void *left, const void *right)
{
    const struct certificate *const *a = left, *const *b = right;

    return strcmp((*a)->host, (*b)->host);
}

int control_certificates(struct control *control, struct buf *ret_json, struct error *err)
{
    struct certificates *all = control->certificates;
    size_t count = 0, room = map_count(all->by_host);
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)16 * 1024 * 1024);
    const struct certificate **sorted =
        arena_array_of(arena, const struct certificate *, room ? room : 1);
    struct json_writer writer = JSON_WRITER(ret_json);

    certificate_each(certificate, all)
    {
        if (certificate->is_wanted)
            sorted[count++] = certificate;
    }
    qsort(sorted, count, sizeof(void *), compare);
    json_begin_object(&writer, NULL);
    json_begin_array(&writer, "certificates");
    for (size_t i = 0; i < count; i++)
        write_one(&writer, sorted[i]);
    json_end_array(&writer);
    json_end_object(&writer);
    return ret_json->failed ? error_set(err, ERR_LIMIT, "there are too many certificates") : 0;
}

void certificates_write_problems(struct certificates *all, struct json_writer *writer)
{
    size_t total = 0, told = 0;

    json_begin_object(writer, "certificates");
    json_begin_array(writer, "problems");
    certificate_each(certificate, all)
    {
        struct view view;

        if (!certificate->is_wanted)
            continue;
        total++;
        view = view_of(certificate);
        if (told >= CERTIFICATES_PROBLEMS_MAX || strcmp(view.state, "on demand") == 0 ||
            (strcmp(view.state, "valid") == 0 && !view.error))
            continue;
        told++;
        json_begin_object(writer, NULL);
        json_write_text(writer, "name", certificate->host);
        json_write_text(writer, "state", view.state);
        json_write_text(writer, "reason", view.error);
        json_write_text(writer, "hint", view.hint);
        json_end_object(writer);
    }
    json_end_array(writer);
    json_write_integer(writer, "total", (int64_t)total);
    json_end_object(writer);
}

int control_trust(struct control *control, struct buf *ret_json, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)1024 * 1024);
    struct certificates *all = control->certificates;
    struct json_writer writer = JSON_WRITER(ret_json);
    struct x509_facts facts;
    int code = certificates_authority_make(all, err);

    if (code == 0)
        code = x509_read(slice_from(all->authority_pem), arena, &facts, err);
    if (code != 0)
        return code;
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "certificate", all->authority_pem);
    json_write_text(&writer, "name", facts.subject);
    json_write_time(&writer, "not_after", facts.not_after * 1000000);
    json_end_object(&writer);
    return 0;
}

int control_certificate_renew(struct control *control, const char *name, struct buf *ret_json,
                              struct error *err)
{
    struct certificates *all = control->certificates;
    struct certificate *certificate = certificate_find(all, slice_from(name));
    struct json_writer writer = JSON_WRITER(ret_json);
    int code;

    if (!certificate || !certificate->is_wanted) {
        error_set(err, ERR_NOT_FOUND, "there is no certificate of '%s'", name);
        return error_hint(err, "`slipway certificates` lists them");
    }
    if (!is_acme(certificate)) {
        error_set(err, ERR_CONFLICT, "the certificate of '%s' comes from %s, not from an authority",
                  name, certificate->config.mode == MANIFEST_TLS_FILES ? "files" : "this machine");
        return error_hint(err, "it is renewed by itself, or when its files change");
    }
    code = acme_renew(all->acme, name, err);
    if (code != 0)
        return code;
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "name", name);
    json_write_text(&writer, "state", view_of(certificate).state);
    json_end_object(&writer);
    return 0;
}
