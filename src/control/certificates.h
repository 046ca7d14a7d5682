/* certificates.h - the certificates of all hosts: what is wanted, where each comes from, and how it
 * reaches the signer and the edges.
 *
 * What is wanted follows from the routes of live releases, looked at whenever a snapshot is built
 * (certificates_add_tls). A host has one source: files on the server, the local authority, or an
 * ACME authority; also names that were only seen in a handshake ("on demand"). New material goes to
 * the signer first and into a snapshot once its key is there. Everything that serves is in the
 * store under /certificates/, so that a control that starts serves at once
 * (docs/design/certificates.md). Threads: the loop's. Blocks for small files and a store commit
 * only.
 */
#ifndef CONTROL_CERTIFICATES_H
#define CONTROL_CERTIFICATES_H

#include "base/buf.h"
#include "base/error.h"
#include "config/manifest.h"

struct certificates;
struct control;
struct deploy;
struct json_writer;
struct snapshot_builder;

/* Loads what the store has. ERR_CORRUPT, ERR_IO. */
MUST_USE int certificates_new(struct control *control, struct certificates **ret_certificates,
                              struct error *err);
/* The keeper's table is complete and the model resumed: sources may begin to work. */
void certificates_start(struct certificates *all);
/* The platform stops: nothing is begun any more. */
void certificates_freeze(struct certificates *all);
void certificates_free(struct certificates *all); /* NULL allowed */

/* ---- what the others tell */

/* The key set that the keeper holds since an earlier life; taken over. */
void certificates_take_held(struct certificates *all, int *fd);
/* A fresh channel to the signer; taken over. */
void certificates_connect_signer(struct certificates *all, int *fd);
/* An edge acknowledged a snapshot, came or went. */
void certificates_edges_changed(struct certificates *all);
/* An edge holds a handshake for a name that has no certificate yet. */
void certificates_wanted(struct certificates *all, struct slice wanted);

/* ---- for the snapshot (struct platform_port) */

void certificates_add_tls(struct certificates *all, struct snapshot_builder *builder);
struct slice certificates_authority(struct certificates *all, const char *ca);

/* ---- for people */

#define CERTIFICATES_PROBLEMS_MAX 20u
/* "certificates": {"total", "problems": [{"name","state","reason","hint"}]}: those that do not
 * serve, or whose renewal fails. */
void certificates_write_problems(struct certificates *all, struct json_writer *writer);

/* Files that a manifest names: readable, of one pair, not expired. The error says what to do. */
MUST_USE int certificates_check(const struct manifest *manifest, struct error *err);

/* Tells the deploy's watchers of files whose certificate is not for the host of its route: it is
 * served all the same, since somebody may want just that, but clients will refuse it. */
void certificates_say_doubts(const struct manifest *manifest, struct deploy *deploy);

#endif
