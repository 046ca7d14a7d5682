/* archive_private.h - what reading and writing share. */
#ifndef OS_ARCHIVE_PRIVATE_H
#define OS_ARCHIVE_PRIVATE_H

#include <locale.h>

/* libarchive converts names by the thread's locale, and the C locale would refuse all but ASCII. So
 * each call that touches names stands between archive_locale_enter and the restoring of what it
 * returned. */
locale_t archive_locale_enter(void);
void archive_locale_leavep(locale_t *previous); /* for CLEANUP */

#endif
