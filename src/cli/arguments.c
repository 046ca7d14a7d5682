#include "cli/cli_private.h"

#include "base/text.h"

/* "list | restore ID": from 1 to 2 words. */
static void alternatives_bounds(struct slice text, size_t *ret_least, size_t *ret_most)
{
    size_t least = SIZE_MAX, most = 0, words = 0;
    while (text.len) {
        struct slice word = slice_cut(&text, ' ');
        bool is_separator = slice_eq(word, SLICE("|"));
        words += !is_separator;
        if (is_separator || !text.len) {
            least = MIN(least, words);
            most = MAX(most, words);
            words = 0;
        }
    }
    *ret_least = least;
    *ret_most = most;
}

void usage_bounds(const char *usage, size_t *ret_least, size_t *ret_most)
{
    size_t least = 0, most = 0, group_least, group_most;
    struct slice rest = slice_from(usage);
    while (rest.len) {
        ptrdiff_t end = slice_find_byte(rest, ']');
        if (rest.ptr[0] == '[' && end > 0) {
            alternatives_bounds(slice_sub(rest, 1, (size_t)end - 1), &group_least, &group_most);
            most += group_most;
            rest = slice_trim(slice_sub(rest, (size_t)end + 1, rest.len));
        } else if (slice_find_byte(rest, '[') < 0 && slice_find(rest, SLICE(" | ")) > 0) {
            alternatives_bounds(rest, &group_least, &group_most);
            least += group_least;
            most += group_most;
            break;
        } else {
            struct slice word = slice_cut(&rest, ' ');
            least++;
            most = slice_ends_with(word, SLICE("...")) ? SIZE_MAX / 2 : most + 1;
        }
    }
    *ret_least = least;
    *ret_most = most;
}

static int unknown_verb(const char *word, struct error *err)
{
    const char *names[64];
    size_t count = 0;
    for (size_t i = 0; i < operation_verb_count && count < ARRAY_LEN(names); i++)
        if (operation_verbs[i].description)
            names[count++] = operation_verbs[i].name;
    const char *near = text_suggest(slice_from(word), names, count);
    error_set(err, ERR_USAGE, "there is no command '%s'", word);
    return near ? error_hint(err, "did you mean 'slipway %s'?", near)
                : error_hint(err, "'slipway help' lists the commands");
}

static int unknown_option(const struct command *command, struct slice name, struct error *err)
{
    const char *names[64];
    const char *verb = command->verb ? command->verb->name : "*";
    size_t count = 0;
    for (size_t i = 0; i < operation_option_count && count < ARRAY_LEN(names); i++)
        if (strcmp(operation_options[i].verb, "*") == 0 ||
            strcmp(operation_options[i].verb, verb) == 0)
            names[count++] = operation_options[i].long_name;
    const char *near = name.len > 1 ? text_suggest(name, names, count) : NULL;
    const char *dashes = name.len > 1 ? "--" : "-";
    if (!command->verb) {
        error_set(err, ERR_USAGE, "unknown option '%s" SLICE_FORMAT "'", dashes, SLICE_ARG(name));
        return error_hint(err, "'slipway help' lists the commands");
    }
    error_set(err, ERR_USAGE, "%s has no option '%s" SLICE_FORMAT "'", verb, dashes,
              SLICE_ARG(name));
    return near ? error_hint(err, "did you mean '--%s'?", near)
                : error_hint(err, "'slipway help %s' lists its options", verb);
}

static int explained(const struct command *command, struct error *err)
{
    return command->verb
               ? error_hint(err, "'slipway help %s' lists its options", command->verb->name)
               : error_hint(err, "'slipway help' lists the commands");
}

static const char **option_slot(struct command *command, const struct operation_option *option)
{
    return &command->options[option - operation_options];
}

/* What stands behind the name of an option: `attached` ("--n=5", "-n5") or the next argument. */
static int take_value(struct command *command, const struct operation_option *option,
                      const char *attached, int argc, char *const *argv, int *index,
                      struct error *err)
{
    if (!option->value) {
        if (attached) {
            error_set(err, ERR_USAGE, "'--%s' takes no value", option->long_name);
            return explained(command, err);
        }
        *option_slot(command, option) = "";
        return 0;
    }
    if (!attached && *index + 1 >= argc) {
        error_set(err, ERR_USAGE, "'--%s' needs a value: %s", option->long_name, option->value);
        return explained(command, err);
    }
    const char *value = attached ? attached : argv[++*index];
    const char *earlier = *option_slot(command, option);
    if (earlier && strcmp(earlier, value) != 0) {
        error_set(err, ERR_USAGE, "'--%s' is given twice, as '%s' and '%s'", option->long_name,
                  earlier, value);
        return error_hint(err, "give it once");
    }
    *option_slot(command, option) = value;
    return 0;
}

static int take_long(struct command *command, int argc, char *const *argv, int *index,
                     struct error *err)
{
    struct slice rest = slice_from(argv[*index] + 2), name = slice_cut(&rest, '=');
    const char *verb = command->verb ? command->verb->name : "*";
    const struct operation_option *option = operation_option_find(verb, name, 0);
    if (!option)
        return unknown_option(command, name, err);
    bool is_attached = strchr(argv[*index], '=') != NULL;
    const char *value = is_attached ? strchr(argv[*index], '=') + 1 : NULL;
    return take_value(command, option, value, argc, argv, index, err);
}

/* "-f", "-n5", "-n 5", "-fn5" */
static int take_short(struct command *command, int argc, char *const *argv, int *index,
                      struct error *err)
{
    const char *verb = command->verb ? command->verb->name : "*";
    for (const char *letter = argv[*index] + 1; *letter; letter++) {
        const struct operation_option *option =
            operation_option_find(verb, (struct slice){0}, *letter);
        if (!option)
            return unknown_option(command, (struct slice){letter, 1}, err);
        if (option->value)
            return take_value(command, option, letter[1] ? letter + 1 : NULL, argc, argv, index,
                              err);
        *option_slot(command, option) = "";
    }
    return 0;
}

static int take_word(struct command *command, const char *word, struct error *err)
{
    if (!command->verb) {
        command->verb = operation_verb_find(word);
        return command->verb ? 0 : unknown_verb(word, err);
    }
    if (command->argument_count >= CLI_ARGUMENTS_MAX)
        return error_set(err, ERR_USAGE, "too many arguments");
    command->arguments[command->argument_count++] = word;
    return 0;
}

static int check_count(const struct command *command, struct error *err)
{
    size_t least, most;
    usage_bounds(command->verb->usage, &least, &most);
    const char *name = command->verb->name;
    if (command->argument_count < least)
        error_set(err, ERR_USAGE, "%s needs more: slipway %s %s", name, name, command->verb->usage);
    else if (command->argument_count > most)
        error_set(err, ERR_USAGE, "'%s' is one argument too many: slipway %s%s%s",
                  command->arguments[most], name, most ? " " : "", command->verb->usage);
    else
        return 0;
    return error_hint(err, "'slipway help %s' explains it", name);
}

int command_parse(struct command *command, int argc, char *const *argv, struct error *err)
{
    bool is_only_words = false;
    int r = 0;
    command->options = arena_array_of(command->arena, const char *, operation_option_count);
    for (int i = 1; i < argc && r == 0; i++) {
        const char *word = argv[i];
        if (is_only_words || word[0] != '-' || word[1] == '\0')
            r = take_word(command, word, err);
        else if (strcmp(word, "--") == 0)
            is_only_words = true;
        else if (!command->verb && strcmp(word, "--version") == 0)
            r = take_word(command, "version", err);
        else if (word[1] == '-')
            r = take_long(command, argc, argv, &i, err);
        else
            r = take_short(command, argc, argv, &i, err);
    }
    if (r < 0)
        return r;
    if (!command->verb) {
        command->verb = operation_verb_find("help");
        return 0;
    }
    return command_option(command, "help") ? 0 : check_count(command, err);
}

const char *command_option(const struct command *command, const char *long_name)
{
    const struct operation_option *option =
        operation_option_find(command->verb->name, slice_from(long_name), 0);
    return option ? command->options[option - operation_options] : NULL;
}

const char *command_argument(const struct command *command, size_t index)
{
    return index < command->argument_count ? command->arguments[index] : NULL;
}

int command_number(const struct command *command, const char *long_name, uint64_t fallback,
                   uint64_t most, uint64_t *ret_value, struct error *err)
{
    const char *text = command_option(command, long_name);
    uint64_t value = fallback;
    if (text && (slice_to_u64(slice_from(text), &value) < 0 || value > most)) {
        error_set(err, ERR_USAGE, "'--%s %s' is not a number from 0 to %llu", long_name, text,
                  (unsigned long long)most);
        error_hint(err, "'slipway help %s' explains it", command->verb->name);
        return ERR_USAGE;
    }
    *ret_value = value;
    return 0;
}
