/* https_private.h - libcurl as https_client.c calls it: loaded when it is first needed, so that a
 * platform that never asks anybody anything does not carry it and its TLS library. */
#ifndef NET_HTTPS_PRIVATE_H
#define NET_HTTPS_PRIVATE_H

#include "net/https_client.h"
#include <curl/curl.h>

#define HTTPS_LIBRARY "libcurl.so.4"

/* The functions that are used, typed as the header says. */
#define CURL_FUNCTIONS(X)                                                                          \
    X(global_init)                                                                                 \
    X(easy_init)                                                                                   \
    X(easy_setopt)                                                                                 \
    X(easy_getinfo)                                                                                \
    X(easy_cleanup)                                                                                \
    X(easy_strerror)                                                                               \
    X(slist_append)                                                                                \
    X(slist_free_all)                                                                              \
    X(multi_init)                                                                                  \
    X(multi_setopt)                                                                                \
    X(multi_add_handle)                                                                            \
    X(multi_remove_handle)                                                                         \
    X(multi_socket_action)                                                                         \
    X(multi_assign)                                                                                \
    X(multi_info_read)                                                                             \
    X(multi_cleanup)

struct https_library {
    bool is_loaded;
#define X(name) __typeof__(curl_##name) *name;
    CURL_FUNCTIONS(X)
#undef X
};
extern struct https_library https_library;

/* Does nothing when it is loaded. ERR_UNSUPPORTED: it is not installed, or lacks a function. */
MUST_USE int https_library_load(struct error *err);
/* Between two uses, hours apart, its code need not be counted as ours. */
void https_library_page_out(void);

#endif
