#include "cli/cli_private.h"

#include "base/text.h"

#define WIDTH ((size_t)80)

/* Append words of `text`, broken at WIDTH columns; later lines begin at `indent`. `column` is where
 * the cursor stands. */
static void append_wrapped(struct buf *buf, const char *text, size_t indent, size_t column)
{
    struct slice rest = slice_from(text);
    bool is_first = true;
    while (rest.len) {
        struct slice word = slice_cut(&rest, ' ');
        if (!is_first && column + 1 + text_columns(word) > WIDTH) {
            buf_printf(buf, "\n%*s", (int)indent, "");
            column = indent;
            is_first = true;
        }
        if (!is_first) {
            buf_append_byte(buf, ' ');
            column++;
        }
        buf_append_slice(buf, word);
        column += text_columns(word);
        is_first = false;
    }
    buf_append_byte(buf, '\n');
}

void help_overview(struct buf *ret_text)
{
    buf_append_text(ret_text, "slipway " SLIPWAY_VERSION
                              " - from a folder to a running, losslessly deployed service\n\n"
                              "usage: slipway COMMAND [ARGUMENTS] [OPTIONS]\n\n");
    for (size_t i = 0; i < operation_verb_count; i++) {
        const struct operation_verb *verb = &operation_verbs[i];
        char left[64];
        if (!verb->description)
            continue;
        snprintf(left, sizeof(left), "%s%s%s", verb->name, verb->usage[0] ? " " : "", verb->usage);
        buf_printf(ret_text, "  %-28s  ", left);
        append_wrapped(ret_text, verb->summary, 32, 32);
    }
    buf_append_text(ret_text,
                    "\n'slipway help COMMAND' explains one; the manifest: man slipway.yaml\n");
}

static void append_option(struct buf *buf, const struct operation_option *option)
{
    char left[64];
    snprintf(left, sizeof(left), "%s%s%s--%s%s%s", option->short_name[0] ? "-" : "",
             option->short_name, option->short_name[0] ? ", " : "    ", option->long_name,
             option->value ? " " : "", option->value ? option->value : "");
    size_t column = strlen(left) + 4;
    if (column > 30) {
        buf_printf(buf, "  %s\n%32s", left, "");
    } else {
        buf_printf(buf, "  %-28s  ", left);
    }
    append_wrapped(buf, option->description, 32, 32);
}

void help_verb(const struct operation_verb *verb, struct buf *ret_text)
{
    bool has_examples = false;
    buf_printf(ret_text, "usage: slipway %s%s%s [OPTIONS]\n\n", verb->name,
               verb->usage[0] ? " " : "", verb->usage);
    append_wrapped(ret_text, verb->summary, 0, 0);
    if (verb->description && verb->description[0]) {
        buf_append_byte(ret_text, '\n');
        append_wrapped(ret_text, verb->description, 0, 0);
    }
    buf_append_text(ret_text, "\noptions:\n");
    for (size_t i = 0; i < operation_option_count; i++)
        if (strcmp(operation_options[i].verb, verb->name) == 0)
            append_option(ret_text, &operation_options[i]);
    for (size_t i = 0; i < operation_option_count; i++)
        if (strcmp(operation_options[i].verb, "*") == 0)
            append_option(ret_text, &operation_options[i]);
    for (size_t i = 0; i < operation_example_count; i++) {
        if (strcmp(operation_examples[i].verb, verb->name) != 0)
            continue;
        if (!has_examples)
            buf_append_text(ret_text, "\nexamples:\n");
        has_examples = true;
        buf_printf(ret_text, "  %s\n      %s\n", operation_examples[i].command,
                   operation_examples[i].text);
    }
}

void help_exit_codes(struct buf *ret_text)
{
    buf_append_text(ret_text,
                    "exit status of every command:\n\n  0    it worked; a deploy is live\n");
    for (int status = 1; status < 10; status++) {
        struct buf meaning = BUF_INIT(4096);
#define X(code, name, http, exit, text)                                                            \
    if ((exit) == status)                                                                          \
        buf_printf(&meaning, "%s%s", meaning.len ? "; " : "", text);
#include "base/errors.def"
#undef X
        if (meaning.len) {
            buf_printf(ret_text, "  %-3d  ", status);
            append_wrapped(ret_text, buf_text(&meaning), 7, 7);
        }
        buf_done(&meaning);
    }
    buf_printf(ret_text, "  %-3d  interrupted with Ctrl-C\n", CLI_EXIT_INTERRUPTED);
}

int verb_help(struct command *command)
{
    struct buf text = BUF_INIT(65536);
    struct error err = {0};
    const char *topic = command_argument(command, 0);
    if (!topic) {
        help_overview(&text);
    } else if (strcmp(topic, "exit-codes") == 0) {
        help_exit_codes(&text);
    } else if (operation_verb_find(topic)) {
        help_verb(operation_verb_find(topic), &text);
    } else {
        error_set(&err, ERR_USAGE, "there is no command '%s'", topic);
        error_hint(&err, "'slipway help' lists the commands");
        return fail_with(&err);
    }
    print_buf(&text);
    buf_done(&text);
    return 0;
}
