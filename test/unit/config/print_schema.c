/* print_schema.c - the JSON Schema on stdout, for schema_accepts.py. */
#include "config/manifest.h"

int main(void)
{
    struct buf text = BUF_INIT((size_t)1024 * 1024);
    manifest_schema(&text);
    size_t written = fwrite(text.ptr, 1, text.len, stdout);
    int result = written == text.len && !text.failed ? 0 : 1;
    buf_done(&text);
    return result;
}
