/* source.h - what of a folder belongs to a release: the walk that honours .gitignore and
 * .slipwayignore. Client side. */
#ifndef CONFIG_SOURCE_H
#define CONFIG_SOURCE_H

#include "base/error.h"
#include "base/slice.h"

struct source_file {
    const char *path; /* relative, "backend/server.js" */
    uint64_t bytes;
    bool is_directory, is_link;
};

struct source_visitor {
    /* Parents come before their content, names in byte order. Non-zero ends the walk and is
     * returned. */
    int (*on_file)(struct source_visitor *visitor, const struct source_file *file,
                   struct error *err);
};

/* Walk `directory`: .git, node_modules are always left out, then what .gitignore (each folder's,
 * with negation) and .slipwayignore say. A symlink that leaves the folder is ERR_INVALID (named);
 * special files are left out. Ceilings: 500,000 files, depth 64. */
MUST_USE int source_walk(const char *directory, struct source_visitor *visitor, struct error *err);

/* The git commit of the folder ("" without git), 40 hex digits plus "-dirty" when tracked files
 * differ; runs git with a deadline. */
void source_commit(const char *directory, char ret_commit[64]);

#endif
