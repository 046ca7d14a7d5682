/* cli_private.h - what the files of the command line share: the parsed command, the terminal, the
 * talk with the platform. */
#ifndef CLI_CLI_PRIVATE_H
#define CLI_CLI_PRIVATE_H

#include "admin/operations.h"
#include "base/json.h"
#include "base/map.h"
#include "cli/cli.h"
#include "config/manifest.h"
#include "loop/loop.h"

#define CLI_ARGUMENTS_MAX    64
#define CLI_EXIT_INTERRUPTED 130 /* 128 + SIGINT */

/* ---- command line (arguments.c) */

struct command {
    struct arena *arena;
    const struct cli_platform *platform;
    const struct operation_verb *verb;
    const char *arguments[CLI_ARGUMENTS_MAX];
    size_t argument_count;
    const char **options;        /* by row of operation_options; NULL: not given, "" for flags */
    const char *state_directory; /* absolute */
};

/* Split argv by the table. ERR_USAGE with a suggestion. */
MUST_USE int command_parse(struct command *command, int argc, char *const *argv, struct error *err);
/* Value of an option; NULL: not given, or the verb has no such option. */
const char *command_option(const struct command *command, const char *long_name);
const char *command_argument(const struct command *command, size_t index); /* NULL: not given */
/* Fewest and most arguments that a usage text allows; SIZE_MAX: any number. */
void usage_bounds(const char *usage, size_t *ret_least, size_t *ret_most);
/* A number given to an option; ERR_USAGE. */
MUST_USE int command_number(const struct command *command, const char *long_name, uint64_t fallback,
                            uint64_t most, uint64_t *ret_value, struct error *err);

/* ---- what is written (terminal.c, table.c) */

enum colour {
    COLOUR_NONE,
    COLOUR_BOLD,
    COLOUR_DIM,
    COLOUR_RED,
    COLOUR_GREEN,
    COLOUR_YELLOW,
    COLOUR_BLUE,
    COLOUR_MAGENTA,
    COLOUR_CYAN
};

struct terminal {
    bool is_terminal, has_colours;
    unsigned width; /* columns; 0: no limit */
};
struct terminal terminal_of(int fd);
const char *colour_on(const struct terminal *terminal, enum colour colour); /* "" without colours */
const char *colour_off(const struct terminal *terminal);
enum colour colour_of_state(const char *state);
/* Append text that an application chose. On a terminal control characters are made visible, so that
 * it cannot play with it; with is_styled, colours (SGR) stay where the terminal has them and are
 * dropped where not. */
void terminal_append(struct buf *buf, const struct terminal *terminal, struct slice text,
                     bool is_styled);
size_t text_columns(struct slice text); /* UTF-8 characters, SGR sequences not counted */
/* "" for zero; "12s", "3m", "5h", "2d". */
char *age_format(struct arena *arena, uint64_t us);
char *time_ago(struct arena *arena, const char *rfc3339); /* "3m ago"; "-" when absent */
char *duration_format(struct arena *arena, uint64_t us);  /* "310ms", "8.3s", "2m05s" */
char *size_format(struct arena *arena, int64_t bytes);
void print_failure(const struct error *err); /* "slipway: …" and "HINT: …" on stderr */
void print_buf(struct buf *buf);             /* to stdout, and clear it */
void print_note(const char *format, ...) PRINTF_LIKE(1, 2); /* a line on stderr that is no error */

/* Cells from JSON; NULL where there is nothing to show. */
const char *cell_number(struct command *command, const struct json *number);
const char *cell_release(struct command *command, const struct json *release); /* "v12" */

#define TABLE_COLUMNS_MAX 16
struct table_cell {
    const char *text;
    enum colour colour;
};
struct table {
    struct arena *arena;
    const char *const *headers; /* a leading '>' aligns to the right */
    size_t column_count, row_count, row_capacity;
    struct table_cell *cells;
    unsigned indent;
};
void table_init(struct table *table, struct arena *arena, const char *const *headers,
                size_t column_count);
void table_add(struct table *table,
               const struct table_cell *cells); /* column_count of them; texts are borrowed */
/* Aligned; on a terminal the widest column is shortened until the rows fit. */
void table_write(const struct table *table, const struct terminal *terminal, struct buf *ret_text);

/* ---- the platform (client.c) */

struct call {
    const char *method, *target;
    struct slice body;  /* JSON; {NULL, 0}: none */
    bool is_repeatable; /* may be sent again when the connection broke in the middle */
};
/* One exchange with the admin API. While the platform is there but its control is not (restarting),
 * it is tried again for 10 s. out: ret_text, the body of a 2xx answer in the command's arena.
 * Errors are the platform's own, or ERR_UNAVAILABLE "nothing serves at …". */
MUST_USE int platform_call(struct command *command, const struct call *call, struct slice *ret_text,
                           struct error *err);
MUST_USE int platform_call_json(struct command *command, const struct call *call,
                                struct slice *ret_text, struct json **ret_json, struct error *err);
/* True while a keeper holds the state folder's lock. */
bool platform_is_there(const char *state_directory);
int platform_absent(const struct command *command,
                    struct error *err); /* ERR_UNAVAILABLE with the hint */
/* The error of an answer {"error": …}. */
int platform_error(int status, struct slice body, struct error *err);
/* Append `text` percent-encoded. */
void append_encoded(struct buf *buf, const char *text);
const char *target_format(struct command *command, const char *format, ...)
    PRINTF_LIKE(2, 3); /* arguments must be encoded */
const char *encoded(struct command *command, const char *text);
/* The app that the command is about: its argument, else the one of ./slipway.yaml, else the only
 * one there is. */
MUST_USE int command_app(struct command *command, const char *argument, const char **ret_app,
                         struct error *err);

/* ---- deploys (source.c → platform, watch.c) */

struct deploy_ticket {
    const char *app;
    uint64_t deploy, release;
};
MUST_USE int ticket_read(struct command *command, const struct json *answer,
                         struct deploy_ticket *ret_ticket, struct error *err);
/* Send the folder as the deploy's source. ERR_CANCELLED: Ctrl-C. ERR_IO: the connection broke; the
 * deploy is to be made anew. */
MUST_USE int source_send(struct command *command, const char *directory,
                         const struct deploy_ticket *ticket, uint64_t source_bytes,
                         struct error *err);
/* Follow a deploy to its end and show it. 0: live (or what it wanted is done). ERR_FAILED,
 * ERR_CANCELLED: it ended otherwise, and everything about it is printed. *ret_is_interrupted:
 * Ctrl-C ended the watching, not the deploy. */
MUST_USE int deploy_watch(struct command *command, const struct deploy_ticket *ticket,
                          bool *ret_is_interrupted, struct error *err);
/* Deploy a folder whose manifest was checked: create, send, watch. Returns the exit status. */
int deploy_folder(struct command *command, const char *directory, const struct manifest *manifest,
                  bool is_detached);
/* Load and print all findings. Returns 0 or an error that is printed already. */
MUST_USE int folder_check(struct command *command, const char *directory,
                          struct manifest **ret_manifest);
/* POST/DELETE that begins a deploy, then watch it. Returns the exit status. */
int change_and_watch(struct command *command, const struct call *call);

struct log_selection {
    const char *app, *service, *regex;
    uint64_t lines, since_us;
    bool is_followed, with_access, is_json;
};
/* Print records until the end or Ctrl-C (*ret_is_interrupted). stop_pidfd: -1, or a descriptor that
 * ends the following when readable. */
MUST_USE int logs_print(struct command *command, const struct log_selection *selection, int stop_fd,
                        bool *ret_is_interrupted, struct error *err);

/* ---- help (help.c, manual.c, completion.c) */

void help_overview(struct buf *ret_text);
void help_verb(const struct operation_verb *verb, struct buf *ret_text);
void help_exit_codes(struct buf *ret_text);
void manual_slipway(struct buf *ret_text);      /* man(7) source of slipway(1) */
void manual_manifest(struct buf *ret_text);     /* of slipway.yaml(5) */
void manual_cli_markdown(struct buf *ret_text); /* docs/cli.md */
void completion_bash(struct buf *ret_text);
void completion_zsh(struct buf *ret_text);

/* ---- verbs: each returns the exit status and has printed its errors */

#define VERB(name, usage, summary, description) int verb_##name(struct command *command);
#define HIDDEN(name, usage, summary)            int verb_##name(struct command *command);
#include "admin/operations.def"

int fail_with(const struct error *err); /* print_failure, and its exit status */

#endif
