/* Scores a summary that readings.c made: 0 to 100 on the last line, a reason for every point that is lost.
 *
 * Here: what can be seen from the result alone: form, order, that every group's figures agree with each
 * other and all of them with the totals. Not here: CSV and numbers (table.h).
 * Keeps: the score is a sum of five parts of 20; nothing in the result can make it stop or crash.
 */

#include <stdlib.h>

#include "table.h"

enum { COLUMNS = 8, NAME_BYTES_MAX = 256, JSON_BYTES_MAX = 1 << 20 };

static const char *const HEADER[COLUMNS] = {"group", "readings", "missing", "sum",
                                            "mean",  "least",    "most",    "most_at"};

typedef struct {
    int64_t groups, rows, missing, sum;
    bool is_table, is_numeric, is_ordered, is_coherent;
} Seen;

static int64_t absolute(int64_t value) { return value < 0 ? -value : value; }

/* One line of the table; figures are in thousandths, counts as well. */
static void look_at(Seen *seen, const Table *table, char *previous) {
    int64_t figure[COLUMNS] = {0};
    if (table->fields != COLUMNS) {
        seen->is_table = false;
        return;
    }
    seen->is_ordered &= seen->groups == 0 || strcmp(previous, table->field[0]) < 0;
    snprintf(previous, NAME_BYTES_MAX, "%s", table->field[0]);
    seen->groups += 1;
    for (int column = 1; column < COLUMNS - 1; column++) {
        if (!parse_thousandths(table->field[column], &figure[column])) {
            seen->is_numeric = false;
            return;
        }
    }
    int64_t readings = figure[1] / 1000, missing = figure[2] / 1000;
    int64_t sum = figure[3], mean = figure[4], least = figure[5], most = figure[6], product;
    bool is_whole = figure[1] % 1000 == 0 && figure[2] % 1000 == 0 && readings >= 0 && missing >= 0;
    seen->is_numeric &= is_whole;
    seen->is_coherent &= !__builtin_mul_overflow(mean, readings, &product) &&
                         absolute(sum - product) <= readings / 2 && least <= mean && mean <= most;
    seen->rows += readings + missing;
    seen->missing += missing;
    seen->sum += sum;
}

static Seen read_table(const char *path) {
    static Table table;
    char previous[NAME_BYTES_MAX] = "";
    Seen seen = {.is_numeric = true, .is_ordered = true, .is_coherent = true};
    seen.is_table = open_table(&table, path) && next_record(&table) && table.fields == COLUMNS;
    for (int column = 0; seen.is_table && column < COLUMNS; column++) {
        seen.is_table = strcmp(table.field[column], HEADER[column]) == 0;
    }
    while (seen.is_table && next_record(&table)) {
        look_at(&seen, &table, previous);
    }
    seen.is_table &= seen.groups > 0 && !table.why;
    return seen;
}

/* The number that follows "name": in the first lines of the JSON file, in thousandths. */
static bool total_of(const char *json, const char *name, int64_t *value) {
    char key[32], number[32];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *found = strstr(json, key);
    if (!found) {
        return false;
    }
    found += strlen(key);
    found += strspn(found, " ");
    size_t length = strspn(found, "-.0123456789");
    if (length == 0 || length >= sizeof number) {
        return false;
    }
    memcpy(number, found, length);
    number[length] = 0;
    return parse_thousandths(number, value);
}

static bool has_totals(const char *path, const Seen *seen) {
    static char json[JSON_BYTES_MAX];
    int64_t rows, missing, sum;
    FILE *file = fopen(path, "rb");
    if (!file) {
        return false;
    }
    json[fread(json, 1, sizeof json - 1, file)] = 0;
    return total_of(json, "rows", &rows) && total_of(json, "missing", &missing) &&
           total_of(json, "sum", &sum) && rows == 1000 * seen->rows && missing == 1000 * seen->missing &&
           sum == seen->sum;
}

static int part(bool is_good, const char *complaint) {
    if (!is_good) {
        printf("lost 20: %s\n", complaint);
    }
    return is_good ? 20 : 0;
}

int main(void) {
    Seen seen = read_table("/result/summary.csv");
    bool is_table = seen.is_table;
    int score = part(is_table, "summary.csv is no table of groups");
    score += part(is_table && seen.is_numeric, "a figure in summary.csv is no number");
    score += part(is_table && seen.is_ordered, "the groups are not in order, or one comes twice");
    score += part(is_table && seen.is_coherent, "sum, mean, least and most of a group disagree");
    score += part(is_table && has_totals("/result/summary.json", &seen), "summary.json has other totals");
    printf("%d\n", score);
    return 0;
}
