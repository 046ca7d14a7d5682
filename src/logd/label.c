#include "logd/label.h"

#include "base/error.h"
#include "base/peer_protocol.h"

#define LABEL_FIELDS 5u

int label_parse(struct slice text, struct label *ret_label)
{
    struct slice fields[LABEL_FIELDS];
    size_t field = 0, start = 0;
    struct label label;
    uint64_t number;

    if (text.len > LABEL_LEN_MAX)
        return ERR_INVALID;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];
        if (byte == LABEL_SEPARATOR) {
            if (field == LABEL_FIELDS - 1)
                return ERR_INVALID;
            fields[field++] = slice_sub(text, start, i - start);
            start = i + 1;
        } else if (byte < 0x20 || byte == 0x7f) {
            return ERR_INVALID;
        }
    }
    if (field != LABEL_FIELDS - 1)
        return ERR_INVALID;
    fields[field] = slice_sub(text, start, text.len - start);
    label = (struct label){fields[0], fields[1], fields[2], fields[3], fields[4], 0};
    if (!slice_to_u64(label.release, &number) && number <= UINT32_MAX)
        label.release_number = (uint32_t)number;
    *ret_label = label;
    return 0;
}

struct label label_parse_or_empty(struct slice text)
{
    struct label label = {0};

    return label_parse(text, &label) ? (struct label){0} : label;
}
