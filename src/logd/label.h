/* label.h - what a record belongs to, read from the five-field text of base/peer_protocol.h. */
#ifndef LOGD_LABEL_H
#define LOGD_LABEL_H

#include "base/slice.h"

#define LABEL_LEN_MAX 512u

struct label {
    struct slice app, service, release, instance, kind;
    uint32_t release_number; /* 0 when the field is no number */
};

/* Views into `text`. ERR_INVALID: not five fields, too long, or a control character. */
MUST_USE int label_parse(struct slice text, struct label *ret_label);
/* The same, with empty fields for a text that is no label. */
struct label label_parse_or_empty(struct slice text);

#endif
