#include "cli/cli_private.h"

#define GAP 2u

void table_init(struct table *table, struct arena *arena, const char *const *headers,
                size_t column_count)
{
    assert(column_count <= TABLE_COLUMNS_MAX);
    *table = (struct table){.arena = arena, .headers = headers, .column_count = column_count};
}

void table_add(struct table *table, const struct table_cell *cells)
{
    size_t count = table->column_count;
    if (table->row_count == table->row_capacity) {
        size_t capacity = table->row_capacity ? table->row_capacity * 2 : 16;
        struct table_cell *grown =
            arena_array_of(table->arena, struct table_cell, capacity * count);
        if (table->row_count)
            memcpy(grown, table->cells, table->row_count * count * sizeof(*grown));
        table->cells = grown;
        table->row_capacity = capacity;
    }
    for (size_t i = 0; i < count; i++) {
        struct table_cell cell = cells[i];
        cell.text = cell.text && cell.text[0] ? cell.text : "-";
        table->cells[table->row_count * count + i] = cell;
    }
    table->row_count++;
}

static bool is_right(const struct table *table, size_t column)
{
    return table->headers[column][0] == '>';
}

static const char *header(const struct table *table, size_t column)
{
    return table->headers[column] + is_right(table, column);
}

/* The first `columns` characters; the last one becomes "…" when something is cut off. */
static void append_clipped(struct buf *buf, struct slice text, size_t columns)
{
    bool is_cut = text_columns(text) > columns;
    size_t shown = 0, limit = is_cut ? columns - 1 : columns;
    for (size_t i = 0; i < text.len && shown <= limit; i++) {
        shown += ((unsigned char)text.ptr[i] & 0xc0) != 0x80;
        if (shown <= limit)
            buf_append_byte(buf, text.ptr[i]);
    }
    if (is_cut)
        buf_append_text(buf, "…");
}

static void append_cell(struct buf *buf, const struct terminal *terminal,
                        const struct table_cell *cell, size_t width, bool is_right_aligned,
                        bool is_last)
{
    struct buf clean = BUF_INIT(65536);
    terminal_append(&clean, terminal, slice_from(cell->text), false);
    size_t columns = MIN(text_columns(buf_slice(&clean)), width);
    size_t padding = is_right_aligned || !is_last ? width - columns : 0;
    if (is_right_aligned)
        buf_printf(buf, "%*s", (int)padding, "");
    buf_append_text(buf, colour_on(terminal, cell->colour));
    append_clipped(buf, buf_slice(&clean), width);
    if (cell->colour != COLOUR_NONE)
        buf_append_text(buf, colour_off(terminal));
    if (!is_right_aligned)
        buf_printf(buf, "%*s", (int)padding, "");
    buf_printf(buf, "%*s", is_last ? 0 : (int)GAP, "");
    buf_done(&clean);
}

static void measure(const struct table *table, const struct terminal *terminal, size_t *widths)
{
    size_t total = table->indent;
    for (size_t i = 0; i < table->column_count; i++) {
        widths[i] = text_columns(slice_from(header(table, i)));
        for (size_t row = 0; row < table->row_count; row++) {
            struct buf clean = BUF_INIT(65536);
            terminal_append(&clean, terminal,
                            slice_from(table->cells[row * table->column_count + i].text), false);
            widths[i] = MAX(widths[i], text_columns(buf_slice(&clean)));
            buf_done(&clean);
        }
        total += widths[i] + (i ? GAP : 0);
    }
    while (terminal->width && total > terminal->width) {
        size_t widest = 0;
        for (size_t i = 1; i < table->column_count; i++)
            widest = widths[i] >= widths[widest] ? i : widest;
        if (widths[widest] <= 8)
            return; /* too narrow to help: let it wrap */
        widths[widest]--;
        total--;
    }
}

void table_write(const struct table *table, const struct terminal *terminal, struct buf *ret_text)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    measure(table, terminal, widths);
    for (size_t row = 0; row <= table->row_count; row++) {
        buf_printf(ret_text, "%*s", (int)table->indent, "");
        for (size_t i = 0; i < table->column_count; i++) {
            struct table_cell cell = {header(table, i), COLOUR_DIM};
            if (row)
                cell = table->cells[(row - 1) * table->column_count + i];
            append_cell(ret_text, terminal, &cell, widths[i], is_right(table, i),
                        i + 1 == table->column_count);
        }
        buf_append_byte(ret_text, '\n');
    }
}
