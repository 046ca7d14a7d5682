/* edge.h - the edge role: every byte from clients, on its way to instances and back.
 *
 * One single-threaded process; the keeper starts one a core and hands each the same listener, so
 * the kernel spreads connections. Design: docs/design/edge.md
 */
#ifndef EDGE_EDGE_H
#define EDGE_EDGE_H

#include "base/compiler.h"

/* Run as an edge: fd 3 is the channel to the keeper (base/keeper_protocol.h). Returns the process's
 * exit status: 0 after KEEPER_QUIT, 1 when the keeper is gone or the start failed (logged). */
int edge_main(void);

#endif
