/* certificates_acme.c - what acme.h asks of its owner: specs from manifests, challenges to the
 * edges, hooks as units. */
#include "base/log.h"
#include "control/certificates_private.h"
#include "net/snapshot.h"
#include "os/file.h"
#include <stdio.h>

#define HOOK_GRACE_MS 2000u
#define EAB_BYTES_MAX 4096u

static struct certificates *certificates_of(struct acme_handler *handler)
{
    return container_of(handler, struct certificates, acme_handler);
}

/* ---- what is wanted */

static int read_eab(const struct manifest_eab *eab, struct buf *hmac, struct acme_ca *ca,
                    struct error *err)
{
    struct slice text;
    int code;

    if (!eab->is_given)
        return 0;
    code = file_read(eab->hmac_file, EAB_BYTES_MAX, hmac, err);
    if (code != 0)
        return code;
    text = slice_trim(buf_slice(hmac));
    memmove(hmac->ptr, text.ptr, text.len);
    hmac->ptr[text.len] = '\0';
    ca->eab_key_id = eab->key_id;
    ca->eab_hmac = hmac->ptr;
    return 0;
}

static enum acme_challenge_kind challenge_of(enum manifest_challenge challenge)
{
    static const enum acme_challenge_kind kinds[] = {
        [CHALLENGE_AUTO] = ACME_AUTO,
        [CHALLENGE_HTTP_01] = ACME_HTTP_01,
        [CHALLENGE_TLS_ALPN_01] = ACME_TLS_ALPN_01,
        [CHALLENGE_DNS_01] = ACME_DNS_01,
    };

    return kinds[challenge];
}

void certificate_want_acme(struct certificate *certificate)
{
    const struct certificate_config *config = certificate_settings(certificate);
    const struct manifest_acme *acme = &config->acme;
    struct buf hmac = BUF_INIT(EAB_BYTES_MAX), fallback_hmac = BUF_INIT(EAB_BYTES_MAX);
    const char *names[] = {certificate->host};
    struct acme_ca cas[2] = {{acme->directory, acme->email, NULL, NULL, acme->ca_file},
                             {acme->fallback.directory,
                              acme->fallback.email ? acme->fallback.email : acme->email, NULL, NULL,
                              acme->fallback.ca_file}};
    struct acme_spec spec = {
        .names = names,
        .name_count = 1,
        .cas = cas,
        .ca_count = acme->fallback.is_given ? 2 : 1,
        .challenge = challenge_of(config->challenge),
        .dns_hook = config->dns_hook,
        .is_on_demand = certificate->is_demanded,
        .is_check_skipped = !acme->is_checked,
    };
    struct error err = {0};
    int code = read_eab(&acme->eab, &hmac, &cas[0], &err);

    if (code == 0 && acme->fallback.is_given)
        code = read_eab(&acme->fallback.eab, &fallback_hmac, &cas[1], &err);
    if (code == 0)
        code = acme_want(certificate->all->acme, &spec, &err);
    certificate->is_asked_of_acme = code == 0;
    if (code != 0) {
        certificate_failed(certificate, &err);
        certificate_work_in(certificate, 60000);
    }
    buf_wipe(&hmac);
    buf_wipe(&fallback_hmac);
}

void certificate_forget_acme(struct certificate *certificate)
{
    if (certificate->is_asked_of_acme)
        acme_forget(certificate->all->acme, certificate->host);
    certificate->is_asked_of_acme = false;
}

/* ---- what it tells */

static void on_certificate(struct acme_handler *handler, const char *name, struct slice chain_pem,
                           struct slice key_pem)
{
    struct certificates *all = certificates_of(handler);
    struct certificate *certificate = certificate_find(all, slice_from(name));
    const struct material *now;
    struct material *material;
    struct error err = {0};

    if (!certificate)
        return;
    now = certificate_newest(certificate);
    if (now && slice_eq((struct slice){now->chain, now->chain_len}, chain_pem))
        return; /* the store had it */
    if (material_make(certificate->host, chain_pem, key_pem, &material, &err) != 0) {
        certificate_failed(certificate, &err);
        return;
    }
    certificate_succeeded(certificate);
    certificate_offer(certificate, material, key_pem);
}

static void on_failure(struct acme_handler *handler, const char *name, const struct error *err)
{
    struct certificates *all = certificates_of(handler);
    struct certificate *certificate = certificate_find(all, slice_from(name));

    if (!certificate)
        return;
    certificate_failed(certificate, err);
    if (certificate->is_demanded && !certificate_newest(certificate))
        certificates_refuse(all, name);
}

/* ---- challenges */

static void on_challenges_changed(struct acme_handler *handler)
{
    struct certificates *all = certificates_of(handler);

    all->are_challenges_due = true;
    all->challenge_keys = 0;
    certificates_keys_due(all);
}

/* False: its key is still on its way. */
static bool add_challenge(struct certificates *all, struct snapshot_builder *builder,
                          const struct acme_challenge *challenge)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)1024 * 1024);
    struct x509_facts facts;

    if (challenge->kind == ACME_HTTP_01) {
        snapshot_builder_challenge(builder, SNAPSHOT_CHALLENGE_HTTP, challenge->token,
                                   challenge->key_authorization, 0);
        return true;
    }
    if (x509_read(challenge->certificate_pem, arena, &facts, NULL) != 0)
        return true;
    if (!certificates_key_is_known(all, facts.key_id))
        return false;
    snapshot_builder_challenge(builder, SNAPSHOT_CHALLENGE_TLS, challenge->name, NULL,
                               snapshot_builder_certificate(builder, challenge->name,
                                                            challenge->certificate_pem,
                                                            (struct slice){0}, facts.key_id));
    return true;
}

void certificates_add_challenges(struct certificates *all, struct snapshot_builder *builder)
{
    const struct acme_challenge *challenges;
    size_t count;
    uint64_t generation = acme_challenges(all->acme, &challenges, &count);
    bool is_complete = true;

    for (size_t i = 0; i < count; i++)
        is_complete = add_challenge(all, builder, &challenges[i]) && is_complete;
    if (!is_complete)
        return;
    all->generation = generation;
    all->generation_version = all->control->platform->version;
}

/* Every edge has the snapshot that carries the newest challenges? Then say so. */
void certificates_edges_changed(struct certificates *all)
{
    const struct acme_challenge *challenges;
    size_t count;

    if (!all->are_challenges_due || all->generation_version == 0 ||
        all->generation != acme_challenges(all->acme, &challenges, &count) ||
        !platform_is_acked(all->control->platform, all->generation_version))
        return;
    all->are_challenges_due = false;
    acme_published(all->acme, all->generation);
}

/* ---- hooks */

struct hook_run {
    struct list node;
    struct certificates *all;
    struct acme_hook *hook; /* NULL: nobody waits any more */
    struct unit unit;
    struct loop_timer timer;
    bool is_late;
};

static void hook_run_free(struct hook_run *run)
{
    if (run->all->control->platform)
        platform_unit_release(run->all->control->platform, &run->unit);
    loop_timer_stop(&run->timer);
    list_remove(&run->node);
    free(run);
}

static void hook_end(struct hook_run *run, const struct error *err)
{
    struct acme_hook *hook = run->hook;

    hook_run_free(run);
    if (hook)
        hook->on_done(hook, err);
}

static void on_hook_changed(struct unit *unit)
{
    struct hook_run *run = container_of(unit, struct hook_run, unit);
    char words[UNIT_WORDS_SIZE];
    struct error err = {0};

    if (unit->state != UNIT_EXITED)
        return;
    if (unit->refusal)
        error_set(&err, unit->refusal->code, "the dnsHook was not started: %s",
                  unit->refusal->text);
    else if (run->is_late)
        error_set(&err, ERR_TIMEOUT, "the dnsHook did not end within %llu s",
                  (unsigned long long)(run->hook ? run->hook->timeout_ms / 1000 : 0));
    else if (!unit_exit_is_success(&unit->exit))
        error_set(&err, ERR_FAILED, "the dnsHook %s", unit_exit_words(&unit->exit, 0, words));
    if (err.code != 0)
        error_hint(&err, "`slipway logs` shows what it printed");
    hook_end(run, err.code != 0 ? &err : NULL);
}

static void on_hook_late(struct loop_timer *timer)
{
    struct hook_run *run = container_of(timer, struct hook_run, timer);

    if (!run->is_late) {
        run->is_late = true;
        platform_unit_stop(run->all->control->platform, &run->unit, SIGTERM, HOOK_GRACE_MS);
    }
}

static void hook_start(struct hook_run *run, const struct app *app)
{
    struct platform *platform = run->all->control->platform;
    const char *arguments[] = {"/bin/sh", "-c", run->hook->command};
    const char *environment[16];
    char path[4096 + 8], label[NAMES_LABEL_SIZE], tag[NAMES_KEY_SIZE], folder[NAMES_PATH_SIZE];
    size_t count = 0;

    (void)snprintf(path, sizeof path, "PATH=%s", platform->settings.unit_path);
    environment[count++] = path;
    for (size_t i = 0; i < run->hook->environment_count && count < ARRAY_LEN(environment); i++)
        environment[count++] = run->hook->environment[i];
    names_path(folder, "%s/apps/%s/releases/%llu/source", platform->settings.state_directory,
               app->name, (unsigned long long)app->current);
    struct unit_spec spec = {
        .uid = app->uid,
        .gid = app->uid,
        .tag = names_key(tag, "%s dns-hook", app->name),
        .label = names_label(label, app->name, "", app->current, "dns-hook", "job"),
        .directory = app->current ? folder : "/",
        .cgroup = "dns-hook",
        .arguments = arguments,
        .argument_count = ARRAY_LEN(arguments),
        .environment = environment,
        .environment_count = count,
        .stdin_fd = -1,
    };
    platform_unit_start(platform, &run->unit, platform_unit_number(platform), &spec);
}

static void on_hook_refused(struct loop_timer *timer)
{
    struct hook_run *run = container_of(timer, struct hook_run, timer);
    struct error err = {0};

    error_set(&err, ERR_UNAVAILABLE, "the app of the dnsHook is not there any more");
    hook_end(run, &err);
}

static void run_hook(struct acme_handler *handler, struct acme_hook *hook)
{
    struct certificates *all = certificates_of(handler);
    struct certificate *certificate = certificate_find(all, slice_from(hook->certificate));
    struct app *app = certificate ? platform_app_find(all->control->platform,
                                                      certificate_settings(certificate)->app)
                                  : NULL;
    struct hook_run *run = calloc(1, sizeof *run);

    if (!run)
        abort();
    run->all = all;
    run->hook = hook;
    run->unit.on_change = on_hook_changed;
    run->timer.on_timer = app ? on_hook_late : on_hook_refused;
    hook->driver = run;
    list_push_back(&all->hooks, &run->node);
    loop_timer_start_in(all->control->loop, &run->timer, app ? LOOP_MS(hook->timeout_ms) : 0);
    if (app)
        hook_start(run, app);
}

static void cancel_hook(struct acme_handler *handler, struct acme_hook *hook)
{
    struct hook_run *run = hook->driver;

    (void)handler;
    run->hook = NULL;
    hook_run_free(run); /* its process is stopped as a stranger */
}

/* ---- life */

static unsigned port_of(const char *variable)
{
    const char *text = getenv(variable);
    uint64_t port;

    return text && slice_to_u64(slice_from(text), &port) == 0 && port < 65536 ? (unsigned)port : 0;
}

int certificates_acme_new(struct certificates *all, struct error *err)
{
    /* Where an authority of one's own looks, which is not always where the internet does. */
    struct acme_settings settings = {.http_port = port_of("SLIPWAY_ACME_HTTP_PORT"),
                                     .https_port = port_of("SLIPWAY_ACME_HTTPS_PORT")};

    all->acme_handler = (struct acme_handler){
        .on_certificate = on_certificate,
        .on_failure = on_failure,
        .on_challenges_changed = on_challenges_changed,
        .run_hook = run_hook,
        .cancel_hook = cancel_hook,
    };
    all->https = https_client_new(all->control->loop);
    return acme_new(all->control->loop, all->control->store, all->https, &all->acme_handler,
                    &settings, &all->acme, err);
}

void certificates_acme_free(struct certificates *all)
{
    acme_free(all->acme);
    list_each_safe (node, &all->hooks)
        hook_run_free(container_of(node, struct hook_run, node));
    https_client_free(all->https);
}
