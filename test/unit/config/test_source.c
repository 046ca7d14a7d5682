#include "config_test.h"

#include "config/source.h"
#include <sys/wait.h>

struct listing {
    struct source_visitor visitor;
    struct buf text;
    int answer;
};

static int list_file(struct source_visitor *visitor, const struct source_file *file,
                     struct error *err)
{
    struct listing *listing = container_of(visitor, struct listing, visitor);
    buf_printf(&listing->text, "%s%s\n", file->path,
               file->is_directory ? "/"
               : file->is_link    ? "@"
                                  : "");
    return listing->answer ? error_set(err, listing->answer, "enough") : 0;
}

/* What is walked, one path a line; folders end in '/', links in '@'. */
static const char *walked(struct fixture *f, int code)
{
    struct listing listing = {.visitor = {list_file}, .text = BUF_INIT((size_t)16 * 1024 * 1024)};
    assert_int_equal(source_walk(f->directory, &listing.visitor, &f->err), code);
    const char *copy = arena_text(f->arena, buf_text(&listing.text));
    buf_done(&listing.text);
    return copy;
}

static void run(struct fixture *f, const char *command)
{
    char *whole = arena_printf(
        f->arena,
        "cd '%s' && export HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 && { %s; } >out.tmp 2>&1",
        f->directory, command);
    int status = system(whole);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s", command);
}

static void files_come_in_order_without_what_is_ignored(void **state)
{
    struct fixture *f = *state;
    write_file(f, "b/z.js", "");
    write_file(f, "b/a.log", "");
    write_file(f, "b/.gitignore", "!a.log\n");
    write_file(f, "B.js", "");
    write_file(f, "a.log", "");
    write_file(f, "dist/x.js", "");
    write_file(f, ".gitignore", "*.log\ndist/\n");
    write_file(f, ".git/config", "");
    write_file(f, "node_modules/x/index.js", "");
    write_file(f, "b/node_modules/x/index.js", "");
    assert_string_equal(walked(f, 0), ".gitignore\nB.js\nb/\nb/.gitignore\nb/a.log\nb/z.js\n");
}

static void slipwayignore_has_the_last_word(void **state)
{
    struct fixture *f = *state;
    write_file(f, ".gitignore", "dist/\n");
    write_file(f, ".slipwayignore", "!dist/\ndocs\n!node_modules\n");
    write_file(f, "dist/x.js", "");
    write_file(f, "docs/x.md", "");
    write_file(f, "node_modules/x", "");
    assert_string_equal(walked(f, 0), ".gitignore\n.slipwayignore\ndist/\ndist/x.js\n");
}

static void links_inside_travel_and_others_are_refused(void **state)
{
    struct fixture *f = *state;
    write_file(f, "a/b/file", "");
    assert_int_equal(symlink("b/file", path_in(f, "a/inner")), 0);
    assert_int_equal(symlink("../a", path_in(f, "a/loop")), 0);
    assert_int_equal(symlink("gone", path_in(f, "a/dangling")), 0);
    assert_string_equal(walked(f, 0), "a/\na/b/\na/b/file\na/dangling@\na/inner@\na/loop@\n");
    assert_int_equal(symlink("../../..", path_in(f, "a/out")), 0);
    walked(f, ERR_INVALID);
    assert_string_equal(f->err.text, "the link 'a/out' leaves the folder: it points to '../../..'");
    assert_string_equal(f->err.hint, "copy what it points to, or name the link in .slipwayignore");
    write_file(f, ".slipwayignore", "out\n");
    walked(f, 0);
    assert_int_equal(symlink("/etc/passwd", path_in(f, "absolute")), 0);
    walked(f, ERR_INVALID);
    assert_int_equal(unlink(path_in(f, "absolute")), 0);
    /* Its words stay inside, but one of them is a link that climbs. */
    assert_int_equal(symlink("../..", path_in(f, "a/b/up")), 0);
    walked(f, 0);
    assert_int_equal(symlink("b/up/../x", path_in(f, "a/sly")), 0);
    walked(f, 0); /* there is nothing at its end */
    assert_int_equal(symlink("b/up/..", path_in(f, "a/slier")), 0);
    walked(f, ERR_INVALID);
    assert_string_equal(f->err.text,
                        "the link 'a/slier' leaves the folder: it points to 'b/up/..'");
}

static void special_files_are_left_out(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkfifo(path_in(f, "fifo"), 0600), 0);
    assert_int_equal(mkfifo(path_in(f, ".gitignore"), 0600), 0);
    write_file(f, "x", "");
    assert_string_equal(walked(f, 0), "x\n");
}

static void the_visitor_may_end_the_walk(void **state)
{
    struct fixture *f = *state;
    struct listing listing = {
        .visitor = {list_file}, .text = BUF_INIT(1000), .answer = ERR_CANCELLED};
    write_file(f, "a", "");
    write_file(f, "b", "");
    assert_int_equal(source_walk(f->directory, &listing.visitor, &f->err), ERR_CANCELLED);
    assert_string_equal(buf_text(&listing.text), "a\n");
    buf_done(&listing.text);
    assert_int_equal(source_walk(path_in(f, "none"), &listing.visitor, &f->err), ERR_NOT_FOUND);
}

static void deep_folders_end_somewhere(void **state)
{
    struct fixture *f = *state;
    struct buf path = BUF_INIT(1000);
    for (int i = 0; i < 66; i++)
        buf_append_text(&path, "d/");
    buf_append_text(&path, "x");
    write_file(f, buf_text(&path), "");
    buf_done(&path);
    walked(f, ERR_LIMIT);
    assert_true(strstr(f->err.text, "folders are nested more than 64 deep at 'd/d/") ==
                f->err.text);
}

/* ---- git is asked about random trees */

static unsigned random_state;

static unsigned pick(unsigned count)
{
    random_state = random_state * 1103515245u + 12345u;
    return (random_state >> 16) % count;
}

static void random_rules(struct fixture *f, const char *folder)
{
    static const char *const rules[] = {
        "*.log", "!a.log", "/a",         "b/",    "a/b",       "**/c",
        "a/**",  "a/**/c", "!c",         "*",     "!*/",       "!a/",
        "[ab]",  "[!a]*",  "?",          "a*",    "!a*",       "# a",
        "\\#x",  "/*/b",   "b/**/a.log", "**/b/", "!/b/",      "c ",
        "d\\ ",  "**",     "a**",        "/**/a", "!**/a.log", "[[:alpha:]].log",
        "*.l?g", "a\r"};
    struct buf text = BUF_INIT(4096);
    for (unsigned i = pick(5) + 1; i; i--)
        buf_printf(&text, "%s\n", rules[pick(ARRAY_LEN(rules))]);
    write_file(f, arena_printf(f->arena, "%s.gitignore", folder), buf_text(&text));
    buf_done(&text);
}

static void random_tree(struct fixture *f)
{
    static const char *const names[] = {"a", "b", "c", "d ", "a.log", "b.log", "#x", "ab"};
    for (unsigned i = 0; i < 25; i++) {
        struct buf path = BUF_INIT(256);
        for (unsigned depth = pick(4); depth; depth--)
            buf_printf(&path, "%s_/", names[pick(3)]);
        buf_append_text(&path, names[pick(ARRAY_LEN(names))]);
        /* Folders of the rules' own names, too. */
        if (pick(3) == 0)
            buf_printf(&path, "/%s", names[pick(ARRAY_LEN(names))]);
        struct stat status;
        char *copy = arena_text(f->arena, buf_text(&path));
        char *slash = strrchr(copy, '/');
        bool is_blocked = stat(path_in(f, copy), &status) == 0;
        for (; slash && !is_blocked; slash = strrchr(copy, '/')) {
            *slash = '\0';
            is_blocked = stat(path_in(f, copy), &status) == 0 && !S_ISDIR(status.st_mode);
        }
        if (!is_blocked)
            write_file(f, buf_text(&path), "");
        buf_done(&path);
    }
    random_rules(f, "");
    if (file_is_directory(path_in(f, "a")))
        random_rules(f, "a/");
    if (file_is_directory(path_in(f, "a_/b_")))
        random_rules(f, "a_/b_/");
}

/* Files only, as git knows no folders. */
static const char *files_of(struct fixture *f, const char *listing)
{
    struct buf text = BUF_INIT((size_t)1024 * 1024);
    struct slice rest = slice_from(listing);
    while (rest.len) {
        struct slice line = slice_cut(&rest, '\n');
        if (!slice_ends_with(line, SLICE("/")))
            buf_printf(&text, SLICE_FORMAT "\n", SLICE_ARG(line));
    }
    const char *copy = arena_text(f->arena, buf_text(&text));
    buf_done(&text);
    return copy;
}

static void git_leaves_out_the_same(void **state)
{
    struct fixture *f = *state;
    if (system("git --version >/dev/null 2>&1") != 0)
        skip();
    for (unsigned i = 1; i <= 60; i++) {
        random_state = i * 7919;
        char *name = arena_printf(f->arena, "%s/tree%u", f->directory, i),
             *outer = arena_text(f->arena, f->directory);
        assert_int_equal(mkdir(name, 0700), 0);
        snprintf(f->directory, sizeof(f->directory), "%s", name);
        random_tree(f);
        const char *ours = files_of(f, walked(f, 0));
        run(f, "git init -q . && git -c core.quotePath=false -c core.excludesFile= ls-files -z "
               "--others --exclude-standard | tr '\\0' '\\n' "
               "| grep -v '^out.tmp$' | LC_ALL=C sort > ../git.list");
        write_file(f, "../our.raw", ours);
        run(f, "LC_ALL=C sort ../our.raw > ../our.list; diff ../our.list ../git.list > ../diff || "
               "{ cat ../diff; "
               "head -50 $(find . -name .gitignore); false; } > ../why");
        snprintf(f->directory, sizeof(f->directory), "%s", outer);
    }
}

static void the_commit_is_told_and_whether_files_differ(void **state)
{
    struct fixture *f = *state;
    char commit[64];
    if (system("git --version >/dev/null 2>&1") != 0)
        skip();
    source_commit(f->directory, commit);
    assert_string_equal(commit, "");
    write_file(f, "a", "1");
    run(f, "git init -q . && git add a && git -c user.name=t -c user.email=t@example.org commit -q "
           "-m x");
    source_commit(f->directory, commit);
    assert_int_equal(strlen(commit), 40);
    write_file(f, "a", "2");
    source_commit(f->directory, commit);
    assert_int_equal(strlen(commit), 46);
    assert_string_equal(commit + 40, "-dirty");
    source_commit(path_in(f, "none"), commit);
    assert_string_equal(commit, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_come_in_order_without_what_is_ignored),
        TEST(slipwayignore_has_the_last_word),
        TEST(links_inside_travel_and_others_are_refused),
        TEST(special_files_are_left_out),
        TEST(the_visitor_may_end_the_walk),
        TEST(deep_folders_end_somewhere),
        TEST(git_leaves_out_the_same),
        TEST(the_commit_is_told_and_whether_files_differ),
    };
    return cmocka_run_group_tests_name("source", tests, NULL, NULL);
}
