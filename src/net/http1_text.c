/* http1_text.c - words and dates of HTTP, and the serialiser helpers over struct buf. */
#include "base/error.h"
#include "net/http1_private.h"

static const struct {
    unsigned status;
    const char *text;
} status_texts[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
};

const char *http1_status_text(unsigned status)
{
    for (size_t i = 0; i < ARRAY_LEN(status_texts); i++)
        if (status_texts[i].status == status)
            return status_texts[i].text;
    return "";
}

void http1_append_request_line(struct buf *buf, struct slice method, struct slice target)
{
    buf_append_slice(buf, method);
    buf_append_byte(buf, ' ');
    buf_append_slice(buf, target);
    buf_append_text(buf, " HTTP/1.1\r\n");
}

void http1_append_status_line(struct buf *buf, unsigned status)
{
    buf_append_text(buf, "HTTP/1.1 ");
    buf_append_u64(buf, status);
    buf_append_byte(buf, ' ');
    buf_append_text(buf, http1_status_text(status));
    buf_append_text(buf, "\r\n");
}

void http1_append_field(struct buf *buf, const char *name, struct slice value)
{
    buf_append_text(buf, name);
    buf_append_text(buf, ": ");
    buf_append_slice(buf, value);
    buf_append_text(buf, "\r\n");
}

void http1_append_field_u64(struct buf *buf, const char *name, uint64_t value)
{
    buf_append_text(buf, name);
    buf_append_text(buf, ": ");
    buf_append_u64(buf, value);
    buf_append_text(buf, "\r\n");
}

void http1_append_end(struct buf *buf)
{
    buf_append_text(buf, "\r\n");
}

/* ---- dates */

static const char day_names[] = "SunMonTueWedThuFriSat";
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

struct date {
    unsigned year, month, day; /* month and day from 1 */
    unsigned hour, minute, second;
};

/* Days since 1970-01-01 and back, in the proleptic Gregorian calendar with years that begin in
 * March (H. Hinnant, "chrono-compatible low-level date algorithms"). */
static uint64_t days_from_date(const struct date *date)
{
    uint64_t year = date->year - (date->month <= 2);
    uint64_t era = year / 400, of_era = year - era * 400;
    uint64_t month = date->month > 2 ? date->month - 3 : date->month + 9;
    uint64_t of_year = (153 * month + 2) / 5 + date->day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void date_from_days(uint64_t days, struct date *ret_date)
{
    uint64_t shifted = days + 719468, era = shifted / 146097, of_era = shifted - era * 146097;
    uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    uint64_t month = (5 * of_year + 2) / 153;

    ret_date->day = (unsigned)(of_year - (153 * month + 2) / 5 + 1);
    ret_date->month = (unsigned)(month < 10 ? month + 3 : month - 9);
    ret_date->year = (unsigned)(year + era * 400 + (ret_date->month <= 2));
}

static void two_digits(char *to, unsigned value)
{
    to[0] = (char)('0' + value / 10 % 10);
    to[1] = (char)('0' + value % 10);
}

char *http1_format_date(uint64_t epoch_seconds, char buffer[HTTP1_DATE_SIZE])
{
    uint64_t days = epoch_seconds / 86400, rest = epoch_seconds % 86400;
    struct date date;

    date_from_days(days, &date);
    memcpy(buffer, "Sun, 00 Jan 0000 00:00:00 GMT", HTTP1_DATE_SIZE);
    memcpy(buffer, day_names + (days + 4) % 7 * 3, 3);
    two_digits(buffer + 5, date.day);
    memcpy(buffer + 8, month_names + (size_t)(date.month - 1) * 3, 3);
    two_digits(buffer + 12, date.year / 100);
    two_digits(buffer + 14, date.year % 100);
    two_digits(buffer + 17, (unsigned)(rest / 3600));
    two_digits(buffer + 20, (unsigned)(rest / 60 % 60));
    two_digits(buffer + 23, (unsigned)(rest % 60));
    return buffer;
}

/* Match `text` against a pattern: 'D' a digit, '_' a space or digit, 'a' a letter, everything else
 * itself. */
static bool date_matches(struct slice text, const char *pattern)
{
    size_t len = strlen(pattern);

    if (text.len != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        char byte = text.ptr[i];
        bool is_digit = http1_is(byte, HTTP1_CLASS_DIGIT);

        if (pattern[i] == 'D'   ? !is_digit
            : pattern[i] == '_' ? !is_digit && byte != ' '
                                : (pattern[i] == 'a' ? ((uint8_t)byte | 0x20u) < 'a' ||
                                                           ((uint8_t)byte | 0x20u) > 'z'
                                                     : byte != pattern[i]))
            return false;
    }
    return true;
}

static unsigned date_number(const char *digits, unsigned count)
{
    unsigned value = 0;

    for (unsigned i = 0; i < count; i++)
        value = value * 10 + (digits[i] == ' ' ? 0 : (unsigned)(digits[i] - '0'));
    return value;
}

static unsigned date_month(const char *name)
{
    for (unsigned i = 0; i < 12; i++)
        if (memcmp(month_names + (size_t)i * 3, name, 3) == 0)
            return i + 1;
    return 0;
}

static void date_time(struct date *date, const char *at)
{
    date->hour = date_number(at, 2);
    date->minute = date_number(at + 3, 2);
    date->second = date_number(at + 6, 2);
}

int http1_parse_date(struct slice text, uint64_t *ret_epoch_seconds)
{
    struct date date = {0};

    if (date_matches(text, "aaa, DD aaa DDDD DD:DD:DD GMT")) { /* IMF-fixdate */
        date.day = date_number(text.ptr + 5, 2);
        date.month = date_month(text.ptr + 8);
        date.year = date_number(text.ptr + 12, 4);
        date_time(&date, text.ptr + 17);
    } else if (date_matches(text, "aaa aaa _D DD:DD:DD DDDD")) { /* asctime */
        date.month = date_month(text.ptr + 4);
        date.day = date_number(text.ptr + 8, 2);
        date_time(&date, text.ptr + 11);
        date.year = date_number(text.ptr + 20, 4);
    } else { /* rfc850-date: the name of the day varies in length */
        ptrdiff_t comma = slice_find_byte(text, ',');
        struct slice rest = comma > 5 ? slice_sub(text, (size_t)comma, text.len) : SLICE("");

        if (!date_matches(rest, ", DD-aaa-DD DD:DD:DD GMT"))
            return ERR_INVALID;
        date.day = date_number(rest.ptr + 2, 2);
        date.month = date_month(rest.ptr + 5);
        date.year = date_number(rest.ptr + 9, 2);
        date.year += date.year < 70 ? 2000 : 1900;
        date_time(&date, rest.ptr + 12);
    }
    if (date.month == 0 || date.day == 0 || date.day > 31 || date.year < 1970 || date.hour > 23 ||
        date.minute > 59 || date.second > 60)
        return ERR_INVALID;
    *ret_epoch_seconds =
        days_from_date(&date) * 86400 + date.hour * 3600 + date.minute * 60 + date.second;
    return 0;
}
