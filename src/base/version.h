/* version.h - the version text of this binary.
 *
 * A symbol and not a macro, so that a test can link the same objects under another version. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define VERSION_TEXT_SIZE 64u

extern const char slipway_version[];

#endif
