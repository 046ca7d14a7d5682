/* fuzz_database_answer.c - arbitrary bytes as what a server answers to a health probe. The first
 * byte chooses the engine. */
#include "data/engine_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[256];
    const struct engine *engine;

    if (size == 0)
        return 0;
    engine = engine_of(data[0] & 1 ? DATABASE_POSTGRES : DATABASE_REDIS);
    memset(text, 'x', sizeof text);
    text[0] = '\0';
    (void)engine->probe_answer((struct slice){(const char *)data + 1, size - 1}, text, sizeof text);
    assert(strnlen(text, sizeof text) < sizeof text);
    return 0;
}
