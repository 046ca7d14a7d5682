/* banned.h - calls that do not compile here.
 *
 * Why: each of them has caused overflows or silent truncation in programs like this one, and each
 * has a bounded replacement in base/. Force-included before every source file.
 */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok gets atoi atol atoll      \
    asctime ctime

#endif
