/* signer.h - the signer role: the only process that has the private keys of the certificates.
 *
 * Why: an edge reads bytes from the whole internet, so it holds public things only and asks for
 * signatures (PEER_SIGN). The keys come from control (PEER_KEYS), and after a restart from the
 * keeper (HELD "keys"). Threads: one. Opens no file and no connection.
 */
#ifndef SIGNER_SIGNER_H
#define SIGNER_SIGNER_H

/* Run the role on KEEPER_CHANNEL_FD until the keeper says QUIT or goes away. Returns the exit
 * status. */
int signer_main(void);

#endif
