/* fuzz_log_label.c - arbitrary bytes as a label: what is accepted is five fields that add up to the
 * text. */
#include "base/error.h"
#include "base/peer_protocol.h"
#include "logd/label.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct label label;

    if (label_parse(text, &label) == 0) {
        assert(label.app.len + label.service.len + label.release.len + label.instance.len +
                   label.kind.len + 4 ==
               size);
        for (size_t i = 0; i < size; i++)
            assert(data[i] >= 0x20 || data[i] == LABEL_SEPARATOR);
    }
    label = label_parse_or_empty(text);
    assert(label.app.len <= size);
    return 0;
}
