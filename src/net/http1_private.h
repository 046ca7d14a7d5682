/* http1_private.h - what the files of the codec share: classes of bytes. */
#ifndef NET_HTTP1_PRIVATE_H
#define NET_HTTP1_PRIVATE_H

#include "net/http1.h"

enum http1_class {
    HTTP1_CLASS_TOKEN = 1,  /* tchar, RFC 9110 §5.6.2 */
    HTTP1_CLASS_TARGET = 2, /* visible ASCII but '#' */
    HTTP1_CLASS_VALUE = 4,  /* HTAB, SP, visible, obs-text */
    HTTP1_CLASS_DIGIT = 8,
    HTTP1_CLASS_HEX = 16,
    HTTP1_CLASS_HOST = 32, /* unreserved of RFC 3986: what a reg-name of ours may have */
};

extern const uint8_t http1_class_table[256];

static inline bool http1_is(char byte, unsigned classes)
{
    return (http1_class_table[(uint8_t)byte] & classes) != 0;
}

static inline unsigned http1_hex_value(char byte)
{
    unsigned lower = (uint8_t)byte | 0x20u;

    return lower <= '9' ? lower - '0' : lower - 'a' + 10;
}

static inline enum http1_result http1_bad(struct http1_failure *failure, unsigned status,
                                          const char *reason)
{
    *failure = (struct http1_failure){.status = status, .reason = reason};
    return HTTP1_BAD;
}

#endif
