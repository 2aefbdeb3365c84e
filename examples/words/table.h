/* What the job and its check share: reading a CSV file, and numbers with three decimals.
 *
 * Here: `open_table`, `next_record` (quoted fields, CRLF, a last line without newline), thousandths from text.
 * Not here: what is computed (readings.c), what is asked of the result (check.c).
 * Keeps: whole numbers only. A sum of floating-point numbers depends on its order; this does not, so the
 * result is the same to the last digit however the files are named and whoever computes it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { LINE_BYTES_MAX = 4096, FIELDS_MAX = 64, DIGITS_MAX = 12 };

typedef struct {
    FILE *file;
    int line;
    int fields;
    char *field[FIELDS_MAX];
    const char *why; /* not null: the file is malformed at this line */
    char text[2 * LINE_BYTES_MAX];
} Table;

/* Begin at the start of a file, after the mark that some programs put before UTF-8. */
static bool open_table(Table *table, const char *path) {
    memset(table, 0, sizeof *table);
    table->file = fopen(path, "rb");
    if (!table->file) {
        return false;
    }
    for (const char *mark = "\xef\xbb\xbf"; *mark; mark++) {
        if (getc(table->file) != (unsigned char)*mark) {
            rewind(table->file);
            break;
        }
    }
    return true;
}

/* Read one record into `field`; false at the end of the file and when `why` says that it is malformed. */
static bool next_record(Table *table) {
    size_t used = 0;
    bool is_quoted = false, is_new = true;
    int byte = getc(table->file);
    if (byte == EOF) {
        return false;
    }
    table->line += 1;
    table->fields = 0;
    for (;; byte = getc(table->file)) {
        if (is_new) {
            if (table->fields == FIELDS_MAX) {
                table->why = "it has more than 64 columns";
                return false;
            }
            table->field[table->fields++] = table->text + used;
            is_new = false;
            if (byte == '"') {
                is_quoted = true;
                continue;
            }
        }
        if (used >= LINE_BYTES_MAX) {
            table->why = "it has more than 4096 bytes";
            return false;
        }
        if (is_quoted) {
            if (byte == EOF) {
                table->why = "a quotation mark is never closed";
                return false;
            }
            if (byte != '"') {
                table->text[used++] = (char)byte;
                continue;
            }
            byte = getc(table->file);
            if (byte == '"') {
                table->text[used++] = '"';
                continue;
            }
            is_quoted = false;
        }
        if (byte == ',') {
            table->text[used++] = 0;
            is_new = true;
        } else if (byte == '\n' || byte == EOF) {
            if (used > 0 && table->text[used - 1] == '\r') {
                used -= 1;
            }
            table->text[used] = 0;
            return true;
        } else {
            table->text[used++] = (char)byte;
        }
    }
}

/* A number such as -12.5 in thousandths; false for anything else. At most twelve digits before the point. */
static bool parse_thousandths(const char *text, int64_t *value) {
    bool is_negative = *text == '-';
    int64_t number = 0;
    int digits = 0, decimals = -1;
    for (text += is_negative; *text; text++) {
        if (*text == '.' && decimals < 0) {
            decimals = 0;
        } else if (*text >= '0' && *text <= '9' && decimals < 3 && digits < DIGITS_MAX + 3) {
            number = 10 * number + (*text - '0');
            digits += 1;
            decimals += decimals >= 0;
        } else {
            return false;
        }
    }
    if (digits == 0 || decimals == 0 || digits - (decimals > 0 ? decimals : 0) > DIGITS_MAX) {
        return false;
    }
    for (decimals = decimals < 0 ? 0 : decimals; decimals < 3; decimals++) {
        number *= 10;
    }
    *value = is_negative ? -number : number;
    return true;
}
