/* fuzz_manifest.c - arbitrary bytes as a manifest, half of them as its overlay when a line "%%%"
 * parts them: findings within the file, or a manifest whose canonical JSON is read back the same.
 */
#include "config/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_findings(const struct manifest_findings *findings, int result)
{
    size_t errors = 0;
    assert(findings->count <= MANIFEST_FINDINGS_MAX);
    for (size_t i = 0; i < findings->count; i++) {
        const struct manifest_finding *it = &findings->items[i];
        assert(it->file && it->path && it->message && it->message[0] &&
               (it->line == 0) == (it->column == 0));
        errors += it->level != FINDING_WARNING;
    }
    assert(errors == findings->error_count && (result == 0) == (errors == 0));
}

static void check_round_trip(struct arena *arena, const struct manifest *manifest)
{
    CLEANUP(buf_done) struct buf first = BUF_INIT(8 << 20);
    CLEANUP(buf_done) struct buf second = BUF_INIT(8 << 20);
    struct manifest_findings findings;
    struct manifest *again;
    struct manifest_change *changes;
    struct error err = {0};
    size_t count;
    manifest_write_json(manifest, &first);
    if (first.failed || first.len > MANIFEST_BYTES_MAX)
        return;
    int result = manifest_parse(arena, "again", buf_slice(&first), NULL, (struct slice){0}, &again,
                                &findings, &err);
    if (result != 0 && strstr(err.text, "holds more than"))
        return; /* with its defaults written out it may have too many values */
    assert(result == 0);
    manifest_write_json(again, &second);
    assert(slice_eq(buf_slice(&first), buf_slice(&second)));
    assert(manifest_diff(arena, manifest, again, &changes, &count, &err) == 0 && count == 0);
    assert(manifest_diff(arena, NULL, manifest, &changes, &count, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)3 * MANIFEST_ARENA_BYTES);
    struct slice text = {(const char *)data, size}, overlay = {0};
    struct manifest_findings findings;
    struct manifest *manifest = NULL;
    struct error err = {0};
    ptrdiff_t border = slice_find(text, SLICE("\n%%%\n"));
    if (border >= 0) {
        overlay = slice_sub(text, (size_t)border + 5, SIZE_MAX);
        text = slice_sub(text, 0, (size_t)border + 1);
    }
    int result = manifest_parse(arena, "slipway.yaml", text, "slipway.test.yaml", overlay,
                                &manifest, &findings, &err);
    assert(result == 0 || result == ERR_INVALID);
    check_findings(&findings, result);
    if (result == 0)
        check_round_trip(arena, manifest);
    return 0;
}
