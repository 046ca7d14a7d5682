/* edge_harness.h - what the files of the harness share. */
#ifndef EDGE_HARNESS_H
#define EDGE_HARNESS_H

#include "base/buf.h"
#include "loop/channel.h"
#include "net/snapshot.h"
#include <sys/types.h>

#define HARNESS_HOSTS_MAX    8192u
#define HARNESS_NETWORKS_MAX 16u

struct harness_host { /* a name that is served over TLS */
    char *name;
    struct buf chain, key_pem, key_der, challenge;
    uint8_t key_id[32];
    struct snapshot_host tls;
    bool is_plain_certificate; /* a file's, not of the harness's authority */
    bool has_client_authority, is_required, is_hidden, is_challenged;
    const char *transport_security;
};

struct harness_networks {
    struct snapshot_network list[HARNESS_NETWORKS_MAX];
    size_t count;
};

struct harness_tls {
    bool is_wanted; /* a TLS listener is asked for */
    const char *directory;
    struct harness_host *hosts;
    unsigned host_count;
    struct buf authority, authority_key;
    struct buf ticket_keys;
    const char *challenge_token, *challenge_value;
    const char *upstream_name;
    struct buf upstream_ca;
    bool is_upstream_tls, is_upstream_unverified, is_upstream_system;
    struct harness_networks trusted, proxies;
    /* the signer role */
    struct loop *loop;
    pid_t pid;
    struct channel keeper;
    bool has_channel;
};

void harness_die(const char *what, const struct error *err) NORETURN;
/* An argument of this file's: taken. */
bool harness_tls_argument(struct harness_tls *tls, struct slice name, const char *value);
void harness_tls_prepare(struct harness_tls *tls);
/* `route` is what every route begins as: gets what was asked for. */
void harness_tls_route(struct harness_tls *tls, struct snapshot_builder *builder,
                       struct snapshot_route *route);
/* Routes of the TLS hosts to `service`, certificates, challenges. */
void harness_tls_build(struct harness_tls *tls, struct snapshot_builder *builder, uint32_t service,
                       const struct snapshot_route *route);
void harness_tls_settings(struct harness_tls *tls, struct snapshot_builder *builder,
                          struct snapshot_settings *settings);
/* A command of this file's: taken. The snapshot is to be published again when *ret_changed. */
bool harness_tls_command(struct harness_tls *tls, struct slice word, const char *argument,
                         bool *ret_changed);

/* In a child: become a role on this channel. `role` does not return. */
void harness_role_run(int channel_fd, int (*role)(void)) NORETURN;
void harness_signer_start(struct harness_tls *tls);
/* A channel to an edge: the edge's end. */
int harness_signer_link(struct harness_tls *tls, uint32_t edge_index);
void harness_signer_stop(struct harness_tls *tls); /* kill and forget; the caller reaps */
void harness_signer_quit(struct harness_tls *tls);

#endif
