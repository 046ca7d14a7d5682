/* signer_private.h - what the files of the signer share. */
#ifndef SIGNER_SIGNER_PRIVATE_H
#define SIGNER_SIGNER_PRIVATE_H

#include "base/compiler.h"

/* From here on this process does nothing but its work (seccomp). */
void signer_confine(void);

#endif
