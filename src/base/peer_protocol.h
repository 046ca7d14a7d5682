/* peer_protocol.h - the messages between control and the edges, control and logd, control and the
 * signer, the edges and the signer; and the format of the access pipe.
 *
 * The channels come from the keeper (KEEPER_PEER). When either end restarts both get a fresh one;
 * nothing is remembered across: control publishes the present snapshot again, edges acknowledge
 * again and report drained endpoints again.
 */
#ifndef BASE_PEER_PROTOCOL_H
#define BASE_PEER_PROTOCOL_H

#include "base/compiler.h"

enum peer_message_type {
    PEER_SNAPSHOT = 1, /* control → edge; fd: sealed memfd, net/snapshot.h */
    PEER_ACK,          /* edge → control: every new request follows this version */
    PEER_REJECT, /* edge → control: the snapshot is not valid; strings: text. The edge keeps the one
                    it has */
    PEER_DRAINED,    /* edge → control: this endpoint is draining and idle here */
    PEER_LOG_QUERY,  /* control → logd; fd: write end of a pipe for the answer */
    PEER_LOG_REMOVE, /* control → logd: forget an app's records; strings: app */
    PEER_LOG_STATS,  /* logd → control, every 5 s */
    PEER_KEYS,       /* control → signer; fd: sealed memfd, net/keyset.h; replaces all keys */
    PEER_KEYS_ACK,   /* signer → control: the keys of this version are in use */
    PEER_SIGN,       /* edge → signer */
    PEER_SIGNED,     /* signer → edge: the answer, in the order of the requests */
    PEER_CERTIFICATE_WANTED,  /* edge → control; strings: a host that is_on_demand and has no
                                 certificate; the answer is a snapshot that has one, or
                                 CERTIFICATE_REFUSED */
    PEER_CERTIFICATE_REFUSED, /* control → edge; strings: the host: its handshakes fail now */
};

#define PEER_KEY_ID_BYTES   32u   /* SHA-256 of the public key's SubjectPublicKeyInfo, DER */
#define PEER_SIGN_BYTES_MAX 512u  /* what is signed: a digest, or an encoded RSA block */
#define PEER_SIGNATURE_MAX  1024u /* RSA with 8192 bits */

/* Where instances listen: the only TCP ports that an edge may connect to (root mode). */
#define PEER_INSTANCE_PORT_FIRST 21000u
#define PEER_INSTANCE_PORT_COUNT 9000u

struct peer_keys {
    uint32_t type, reserved;
    uint64_t version; /* rises; control publishes a snapshot that needs new keys after the ACK */
};

struct peer_certificate { /* WANTED and REFUSED */
    uint32_t type, reserved;
};

struct peer_keys_ack {
    uint32_t type;
    uint32_t refused; /* keys of the set that could not be read; the log says which */
    uint64_t version;
};

enum peer_sign_kind {
    PEER_SIGN_ECDSA,     /* bytes: the digest; signature: DER */
    PEER_SIGN_RSA_RAW,   /* bytes: as long as the modulus, padding in place (PSS); raw private
                            operation */
    PEER_SIGN_RSA_PKCS1, /* bytes: DigestInfo; PKCS #1 v1.5 padding is added */
    PEER_SIGN_ED25519,   /* bytes: the message */
};

/* The bytes follow the struct. */
struct peer_sign {
    uint32_t type;
    uint32_t kind;    /* enum peer_sign_kind */
    uint64_t request; /* chosen by the edge */
    uint8_t key_id[PEER_KEY_ID_BYTES];
    uint32_t len, reserved;
};

/* The signature follows the struct. */
struct peer_signed {
    uint32_t type;
    uint32_t is_refused; /* unknown key, or one of another kind */
    uint64_t request;
    uint32_t len, reserved;
};

struct peer_snapshot {
    uint32_t type, reserved;
    uint64_t version; /* rises with every publication, across restarts of control */
};

struct peer_ack {
    uint32_t type, reserved;
    uint64_t version;
};

/* A DRAINED is sent once for each snapshot version and condition; control counts one of each from
 * every edge. is_tunnels: 0: no request is in flight (tunnels may be open); 1: no request and no
 * tunnel. */
struct peer_drained {
    uint32_t type;
    uint32_t is_tunnels;
    uint64_t version;
    uint64_t instance; /* snapshot_endpoint.instance */
};

enum { PEER_LOG_FOLLOW = 1, /* go on with new records until the pipe is closed */ };
enum peer_log_kinds { PEER_LOG_OUTPUT = 1, PEER_LOG_ACCESS = 2 /* bits */ };

/* strings: app, service, instance, regex ("" = any each). The answer is JSON lines
 * (docs/design/logd.md), oldest first, then end of file:
 * {"time","app","service","instance","release","unit","kind","stream","line"}; a gap is
 * {"time",...,"kind":"gap","dropped_lines","dropped_bytes"}; an error is {"error": {...}} as the
 * last line. */
struct peer_log_query {
    uint32_t type;
    uint32_t flags;
    uint32_t kinds;
    uint32_t limit;    /* newest N records before following; 0: all, bounded by logd's ceiling */
    uint64_t unit;     /* 0: any */
    uint64_t since_us; /* wall clock; 0: any */
    uint64_t until_us; /* 0: now */
    uint32_t release;  /* 0: any */
    uint32_t reserved;
};

struct peer_log_remove {
    uint32_t type, reserved;
};

struct peer_log_stats {
    uint32_t type, reserved;
    uint64_t lines, bytes, dropped_lines, dropped_bytes; /* since logd's first start */
    uint64_t stored_bytes;                               /* on disk now */
};

/* LABEL: what a stream or an access record belongs to, five fields with the unit separator 0x1f
 * between: app, service, release ("3"), instance ("api-1"; a build is "build"), kind (run | build |
 * preDeploy | database | job). No field has control characters. */
#define LABEL_SEPARATOR '\x1f'

/* The access pipe carries lines "LABEL\x1e{json}\n", written whole (several a write); an empty
 * line means nothing. JSON members:
 * time (RFC 3339, µs), request_id, method, host, path (with query), status, bytes, duration_us,
 * upstream ("127.0.0.1:20001" or ""), upstream_us, client, reason ("" or a short word), protocol;
 * over TLS also: tls ("TLSv1.3"), cipher, sni, resumed (true or false). */
#define ACCESS_SEPARATOR '\x1e'

#endif
