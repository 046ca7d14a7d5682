/* pattern_parse.c - text → tree → program (Thompson's construction). The tree exists because {m,n}
 * compiles its operand several times. */
#include <ctype.h>

#include "logd/pattern.h"
#include "logd/pattern_private.h"

#define NODES_MAX    1024u
#define NESTING_MAX  50u
#define COMPILED_MAX 20000u
#define REPEAT_MAX   255u
#define UNBOUNDED    UINT16_MAX

enum node_type { NODE_EMPTY, NODE_BYTE, NODE_JOIN, NODE_EITHER, NODE_REPEAT, NODE_BEGIN, NODE_END };

struct node {
    uint8_t type;
    uint16_t left, right; /* JOIN, EITHER; REPEAT: left; BYTE: left = set */
    uint16_t min, max;
};

struct parser {
    struct slice text;
    size_t at;
    unsigned nesting;
    bool ignores_case;
    struct node nodes[NODES_MAX];
    size_t node_count;
    unsigned compiled; /* bounds repetitions of what compiles to nothing */
    struct pattern_program *program;
    struct error *err;
};

static int parse_either(struct parser *parser, uint16_t *ret_node);

static int fail(struct parser *parser, const char *what)
{
    error_set(parser->err, ERR_INVALID, "unable to read the expression at character %zu: %s",
              parser->at + 1, what);
    error_hint(parser->err, "a backslash before a character makes it mean itself, as in \\(");
    return ERR_INVALID;
}

static int too_large(struct parser *parser)
{
    return error_set(parser->err, ERR_LIMIT, "the expression is too large");
}

static int node_add(struct parser *parser, struct node node, uint16_t *ret_node)
{
    if (parser->node_count == NODES_MAX)
        return too_large(parser);
    parser->nodes[parser->node_count] = node;
    *ret_node = (uint16_t)parser->node_count++;
    return 0;
}

static void set_add(struct pattern_set *set, unsigned byte)
{
    set->bits[byte / 64] |= UINT64_C(1) << (byte % 64);
}

static void set_add_range(struct pattern_set *set, unsigned from, unsigned to)
{
    for (unsigned byte = from; byte <= to; byte++)
        set_add(set, byte);
}

static void set_invert(struct pattern_set *set)
{
    for (size_t i = 0; i < 4; i++)
        set->bits[i] = ~set->bits[i];
}

static int set_node(struct parser *parser, struct pattern_set set, uint16_t *ret_node)
{
    struct pattern_program *program = parser->program;
    size_t i = 0;

    if (parser->ignores_case)
        for (unsigned lower = 'a'; lower <= 'z'; lower++)
            if (pattern_set_has(&set, lower) || pattern_set_has(&set, lower - 32)) {
                set_add(&set, lower);
                set_add(&set, lower - 32);
            }
    while (i < program->set_count && memcmp(&program->sets[i], &set, sizeof set) != 0)
        i++;
    if (i == program->set_count) {
        if (i == PATTERN_SETS_MAX)
            return too_large(parser);
        program->sets[program->set_count++] = set;
    }
    return node_add(parser, (struct node){.type = NODE_BYTE, .left = (uint16_t)i}, ret_node);
}

static int byte_node(struct parser *parser, unsigned char byte, uint16_t *ret_node)
{
    struct pattern_set set = {0};

    set_add(&set, byte);
    return set_node(parser, set, ret_node);
}

/* \d, \w, \s and their complements; false for any other letter. */
static bool set_add_escape(struct pattern_set *set, char letter)
{
    struct pattern_set class = {0};

    switch (letter | 32) {
    case 'd':
        set_add_range(&class, '0', '9');
        break;
    case 'w':
        set_add_range(&class, '0', '9');
        set_add_range(&class, 'A', 'Z');
        set_add_range(&class, 'a', 'z');
        set_add(&class, '_');
        break;
    case 's':
        set_add_range(&class, '\t', '\r');
        set_add(&class, ' ');
        break;
    default:
        return false;
    }
    if (letter < 'a')
        set_invert(&class);
    for (size_t i = 0; i < 4; i++)
        set->bits[i] |= class.bits[i];
    return true;
}

static bool set_add_class(struct pattern_set *set, struct slice name)
{
    static const struct {
        const char *name;
        int (*is)(int);
    } classes[] = {
        {"alnum", isalnum}, {"alpha", isalpha}, {"blank", isblank}, {"cntrl", iscntrl},
        {"digit", isdigit}, {"graph", isgraph}, {"lower", islower}, {"print", isprint},
        {"punct", ispunct}, {"space", isspace}, {"upper", isupper}, {"xdigit", isxdigit},
    };

    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        if (!slice_eq(name, slice_from(classes[i].name)))
            continue;
        for (unsigned byte = 0; byte < 128; byte++)
            if (classes[i].is((int)byte))
                set_add(set, byte);
        return true;
    }
    return false;
}

static int parse_set_named(struct parser *parser, struct pattern_set *set)
{
    struct slice rest = slice_sub(parser->text, parser->at + 2, parser->text.len);
    ptrdiff_t end = slice_find(rest, SLICE(":]"));

    if (end < 0 || !set_add_class(set, slice_sub(rest, 0, (size_t)end)))
        return fail(parser, "unknown class; known are [:alpha:], [:digit:], [:space:] and so on");
    parser->at += 2 + (size_t)end + 2;
    return 0;
}

/* Between '[' and ']'. A backslash escapes here, too, as people expect it to, though POSIX has it
 * stand for itself. */
static int parse_set(struct parser *parser, uint16_t *ret_node)
{
    struct slice text = parser->text;
    struct pattern_set set = {0};
    bool is_inverted = false, is_first = true;

    parser->at++;
    if (parser->at < text.len && text.ptr[parser->at] == '^') {
        is_inverted = true;
        parser->at++;
    }
    for (;; is_first = false) {
        unsigned char from, to;
        if (parser->at >= text.len)
            return fail(parser, "'[' is never closed");
        from = (unsigned char)text.ptr[parser->at];
        if (from == ']' && !is_first)
            break;
        if (from == '[' && parser->at + 1 < text.len && text.ptr[parser->at + 1] == ':') {
            int code = parse_set_named(parser, &set);
            if (code)
                return code;
            continue;
        }
        if (from == '\\' && parser->at + 1 < text.len) {
            parser->at++;
            if (set_add_escape(&set, text.ptr[parser->at])) {
                parser->at++;
                continue;
            }
            from = (unsigned char)text.ptr[parser->at];
            from = from == 't' ? '\t' : from;
        }
        if (from >= 0x80)
            return fail(parser, "only ASCII characters can stand between '[' and ']'");
        parser->at++;
        to = from;
        if (parser->at + 1 < text.len && text.ptr[parser->at] == '-' &&
            text.ptr[parser->at + 1] != ']') {
            to = (unsigned char)text.ptr[parser->at + 1];
            if (to < from || to >= 0x80)
                return fail(parser, "the range is not in order");
            parser->at += 2;
        }
        set_add_range(&set, from, to);
    }
    parser->at++;
    if (is_inverted)
        set_invert(&set);
    return set_node(parser, set, ret_node);
}

static int parse_escape(struct parser *parser, uint16_t *ret_node)
{
    struct pattern_set set = {0};
    char letter;

    if (parser->at + 1 >= parser->text.len)
        return fail(parser, "nothing follows the backslash");
    letter = parser->text.ptr[parser->at + 1];
    if (letter >= '1' && letter <= '9')
        return fail(parser, "back-references are not supported");
    if (set_add_escape(&set, letter)) {
        parser->at += 2;
        return set_node(parser, set, ret_node);
    }
    if (letter == 't')
        letter = '\t';
    else if (isalnum((unsigned char)letter))
        return fail(parser, "unknown escape; known are \\d \\w \\s \\D \\W \\S \\t");
    parser->at += 2;
    return byte_node(parser, (unsigned char)letter, ret_node);
}

/* A character of several bytes counts as one, so that a following '+' repeats all of it. */
static int parse_literal(struct parser *parser, uint16_t *ret_node)
{
    uint16_t whole, next;
    int code = byte_node(parser, (unsigned char)parser->text.ptr[parser->at], &whole);
    bool is_multibyte = (unsigned char)parser->text.ptr[parser->at++] >= 0xc0;

    while (!code && is_multibyte && parser->at < parser->text.len &&
           ((unsigned char)parser->text.ptr[parser->at] & 0xc0) == 0x80) {
        code = byte_node(parser, (unsigned char)parser->text.ptr[parser->at++], &next);
        if (!code)
            code = node_add(parser, (struct node){NODE_JOIN, whole, next, 0, 0}, &whole);
    }
    if (!code)
        *ret_node = whole;
    return code;
}

static int parse_group(struct parser *parser, uint16_t *ret_node)
{
    int code;

    if (++parser->nesting > NESTING_MAX)
        return too_large(parser);
    parser->at++;
    if (parser->at + 1 < parser->text.len && parser->text.ptr[parser->at] == '?') {
        if (parser->text.ptr[parser->at + 1] != ':')
            return fail(parser, "unknown kind of group");
        parser->at += 2;
    }
    code = parse_either(parser, ret_node);
    if (code)
        return code;
    if (parser->at >= parser->text.len)
        return fail(parser, "'(' is never closed");
    parser->at++;
    parser->nesting--;
    return 0;
}

static int parse_atom(struct parser *parser, uint16_t *ret_node)
{
    struct pattern_set all = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};

    switch (parser->text.ptr[parser->at]) {
    case '(':
        return parse_group(parser, ret_node);
    case '[':
        return parse_set(parser, ret_node);
    case '\\':
        return parse_escape(parser, ret_node);
    case '.':
        parser->at++;
        return set_node(parser, all, ret_node);
    case '^':
        parser->at++;
        return node_add(parser, (struct node){.type = NODE_BEGIN}, ret_node);
    case '$':
        parser->at++;
        return node_add(parser, (struct node){.type = NODE_END}, ret_node);
    case '*':
    case '+':
    case '?':
        return fail(parser, "nothing to repeat");
    default:
        return parse_literal(parser, ret_node);
    }
}

/* "{m}", "{m,}" or "{m,n}" at the cursor. A '{' that is none of these stands for itself, as in JSON
 * lines. */
static bool parse_interval(struct parser *parser, uint16_t *ret_min, uint16_t *ret_max)
{
    struct slice rest = slice_sub(parser->text, parser->at + 1, parser->text.len);
    ptrdiff_t end = slice_find_byte(rest, '}');
    struct slice inner, low;
    uint64_t min, max;
    bool has_comma;

    if (end < 0)
        return false;
    inner = slice_sub(rest, 0, (size_t)end);
    has_comma = slice_find_byte(inner, ',') >= 0;
    low = slice_cut(&inner, ',');
    if (slice_to_u64(low, &min) || min > UINT16_MAX - 1)
        return false;
    max = min;
    if (has_comma && inner.len == 0)
        max = UNBOUNDED;
    else if (has_comma && (slice_to_u64(inner, &max) || max > UINT16_MAX - 1))
        return false;
    parser->at += (size_t)end + 2;
    *ret_min = (uint16_t)min;
    *ret_max = (uint16_t)max;
    return true;
}

static int parse_repeated(struct parser *parser, uint16_t *ret_node)
{
    uint16_t node;
    int code = parse_atom(parser, &node);

    while (!code && parser->at < parser->text.len) {
        struct node repeat = {.type = NODE_REPEAT, .left = node, .max = UNBOUNDED};
        char sign = parser->text.ptr[parser->at];
        if (sign == '{') {
            if (!parse_interval(parser, &repeat.min, &repeat.max))
                break;
            if (repeat.min > REPEAT_MAX || (repeat.max != UNBOUNDED && repeat.max > REPEAT_MAX))
                return fail(parser, "a repetition is larger than 255");
            if (repeat.max < repeat.min)
                return fail(parser, "the repetition is not in order");
        } else if (sign == '*' || sign == '+' || sign == '?') {
            repeat.min = sign == '+';
            repeat.max = sign == '?' ? 1 : UNBOUNDED;
            parser->at++;
        } else {
            break;
        }
        code = node_add(parser, repeat, &node);
    }
    if (!code)
        *ret_node = node;
    return code;
}

static int parse_joined(struct parser *parser, uint16_t *ret_node)
{
    uint16_t whole, next;
    int code = node_add(parser, (struct node){.type = NODE_EMPTY}, &whole);

    while (!code && parser->at < parser->text.len) {
        char byte = parser->text.ptr[parser->at];
        if (byte == '|' || (byte == ')' && parser->nesting > 0))
            break;
        code = parse_repeated(parser, &next);
        if (!code)
            code = node_add(parser, (struct node){NODE_JOIN, whole, next, 0, 0}, &whole);
    }
    if (!code)
        *ret_node = whole;
    return code;
}

static int parse_either(struct parser *parser, uint16_t *ret_node)
{
    uint16_t whole, next;
    int code = parse_joined(parser, &whole);

    while (!code && parser->at < parser->text.len && parser->text.ptr[parser->at] == '|') {
        parser->at++;
        code = parse_joined(parser, &next);
        if (!code)
            code = node_add(parser, (struct node){NODE_EITHER, whole, next, 0, 0}, &whole);
    }
    if (!code)
        *ret_node = whole;
    return code;
}

static int emit(struct parser *parser, struct pattern_step step)
{
    struct pattern_program *program = parser->program;

    if (program->step_count == PATTERN_PROGRAM_MAX)
        return too_large(parser);
    program->steps[program->step_count++] = step;
    return 0;
}

static int compile(struct parser *parser, uint16_t index);

static int compile_either(struct parser *parser, const struct node *node)
{
    struct pattern_program *program = parser->program;
    size_t split = program->step_count, jump;
    int code = emit(parser, (struct pattern_step){PATTERN_SPLIT, 0, 0});

    if (!code)
        code = compile(parser, node->left);
    jump = program->step_count;
    if (!code)
        code = emit(parser, (struct pattern_step){PATTERN_JUMP, 0, 0});
    if (code)
        return code;
    program->steps[split].x = (uint16_t)(split + 1);
    program->steps[split].y = (uint16_t)program->step_count;
    code = compile(parser, node->right);
    program->steps[jump].x = (uint16_t)program->step_count;
    return code;
}

static int compile_optional(struct parser *parser, const struct node *node, bool is_loop)
{
    struct pattern_program *program = parser->program;
    size_t split = program->step_count;
    int code = emit(parser, (struct pattern_step){PATTERN_SPLIT, (uint16_t)(split + 1), 0});

    if (!code)
        code = compile(parser, node->left);
    if (!code && is_loop)
        code = emit(parser, (struct pattern_step){PATTERN_JUMP, (uint16_t)split, 0});
    if (!code)
        program->steps[split].y = (uint16_t)program->step_count;
    return code;
}

static int compile_repeat(struct parser *parser, const struct node *node)
{
    int code = 0;

    for (unsigned i = 0; !code && i < node->min; i++)
        code = compile(parser, node->left);
    if (node->max == UNBOUNDED)
        return code ? code : compile_optional(parser, node, true);
    for (unsigned i = node->min; !code && i < node->max; i++)
        code = compile_optional(parser, node, false);
    return code;
}

/* JOIN nodes lean to the left, one a character, so their chain is walked in a loop: the recursion
 * is as deep as the parentheses. */
static int compile_join(struct parser *parser, uint16_t index)
{
    uint16_t chain[NODES_MAX];
    size_t count = 0;
    int code = 0;

    while (parser->nodes[index].type == NODE_JOIN) {
        chain[count++] = parser->nodes[index].right;
        index = parser->nodes[index].left;
    }
    code = compile(parser, index);
    while (!code && count > 0)
        code = compile(parser, chain[--count]);
    return code;
}

static int compile(struct parser *parser, uint16_t index)
{
    const struct node *node = &parser->nodes[index];

    if (++parser->compiled > COMPILED_MAX)
        return too_large(parser);
    switch ((enum node_type)node->type) {
    case NODE_EMPTY:
        return 0;
    case NODE_BYTE:
        return emit(parser, (struct pattern_step){PATTERN_BYTE, node->left, 0});
    case NODE_BEGIN:
        return emit(parser, (struct pattern_step){PATTERN_BEGIN, 0, 0});
    case NODE_END:
        return emit(parser, (struct pattern_step){PATTERN_END, 0, 0});
    case NODE_JOIN:
        return compile_join(parser, index);
    case NODE_EITHER:
        return compile_either(parser, node);
    case NODE_REPEAT:
        return compile_repeat(parser, node);
    }
    return 0;
}

int pattern_parse(struct slice text, struct pattern_program *ret_program, struct error *err)
{
    struct parser *parser;
    uint16_t root;
    int code;

    if (text.len > PATTERN_LEN_MAX)
        return error_set(err, ERR_LIMIT, "the expression is longer than %u characters",
                         PATTERN_LEN_MAX);
    parser = calloc(1, sizeof *parser);
    if (!parser)
        return error_set(err, ERR_LIMIT, "out of memory");
    parser->text = text;
    parser->program = ret_program;
    parser->err = err;
    ret_program->step_count = ret_program->set_count = 0;
    if (slice_starts_with(text, SLICE("(?i)"))) {
        parser->ignores_case = true;
        parser->at = 4;
    }
    code = parse_either(parser, &root);
    if (!code)
        code = compile(parser, root);
    if (!code)
        code = emit(parser, (struct pattern_step){PATTERN_MATCH, 0, 0});
    free(parser);
    return code;
}
