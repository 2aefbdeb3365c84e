/* Meter readings in words: what each group of a table used, and when it used most.
 *
 *     readings GROUP VALUE LABEL
 *
 * Reads every .csv file of /input in order of name. GROUP, VALUE and LABEL are columns of their first
 * lines. For each group it counts, adds and compares the values, and writes /output/summary.csv,
 * /output/summary.json and a sentence per group on standard output. A value that is not a number is
 * counted as missing, never guessed.
 *
 * Here: the groups and the three ways to show them. Not here: CSV and numbers (table.h).
 * Exit status: 0 done; 1 the input cannot be used; 2 wrong arguments.
 */

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>

#include "table.h"

enum { FILES_MAX = 256, NAME_BYTES_MAX = 255, LABEL_BYTES_MAX = 64 };

typedef struct {
    char *name;
    char most_at[LABEL_BYTES_MAX];
    int64_t readings, missing, sum, least, most; /* the last three in thousandths */
} Group;

typedef struct {
    Group *groups; /* ascending by name */
    size_t count, room;
    int64_t rows, missing, sum;
} Summary;

static _Noreturn void give_up(const char *file, int line, const char *why) {
    if (line) {
        fprintf(stderr, "%s, line %d: %s\n", file, line, why);
    } else {
        fprintf(stderr, "%s: %s\n", file, why);
    }
    exit(1);
}

static void *must(void *memory) {
    if (!memory) {
        give_up("readings", 0, "there is not enough memory; ask for more in the task file");
    }
    return memory;
}

/* The group of this name, made where it belongs if it is new. */
static Group *group_of(Summary *summary, const char *name) {
    size_t low = 0, high = summary->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, summary->groups[middle].name);
        if (order == 0) {
            return &summary->groups[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if (summary->count == summary->room) {
        summary->room = summary->room ? 2 * summary->room : 64;
        summary->groups = must(realloc(summary->groups, summary->room * sizeof(Group)));
    }
    Group *place = &summary->groups[low];
    memmove(place + 1, place, (summary->count - low) * sizeof(Group));
    memset(place, 0, sizeof *place);
    place->name = must(strdup(name));
    summary->count += 1;
    return place;
}

static void add_reading(Summary *summary, const char *name, const char *value, const char *label) {
    Group *group = group_of(summary, name);
    int64_t number;
    summary->rows += 1;
    if (!parse_thousandths(value, &number)) {
        group->missing += 1;
        summary->missing += 1;
        return;
    }
    if (group->readings == 0 || number < group->least) {
        group->least = number;
    }
    if (group->readings == 0 || number > group->most) {
        group->most = number;
        snprintf(group->most_at, sizeof group->most_at, "%s", label);
    }
    group->readings += 1;
    if (__builtin_add_overflow(group->sum, number, &group->sum) ||
        __builtin_add_overflow(summary->sum, number, &summary->sum)) {
        give_up(name, 0, "the sum is too large for this program");
    }
}

static int column_of(const Table *table, const char *name, const char *file) {
    for (int column = 0; column < table->fields; column++) {
        if (strcmp(table->field[column], name) == 0) {
            return column;
        }
    }
    fprintf(stderr, "%s: there is no column '%s'; its columns are:", file, name);
    for (int column = 0; column < table->fields; column++) {
        fprintf(stderr, "%s %s", column ? "," : "", table->field[column]);
    }
    fputc('\n', stderr);
    exit(1);
}

static void read_table(Summary *summary, const char *path, char **columns) {
    static Table table;
    if (!open_table(&table, path)) {
        give_up(path, 0, "it cannot be opened");
    }
    if (!next_record(&table)) {
        give_up(path, table.line, table.why ? table.why : "it is empty; a first line names the columns");
    }
    int wanted[3];
    for (int which = 0; which < 3; which++) {
        wanted[which] = column_of(&table, columns[which], path);
    }
    int fields = table.fields;
    while (next_record(&table)) {
        if (table.fields == 1 && !table.field[0][0]) {
            continue; /* an empty line */
        }
        if (table.fields != fields) {
            give_up(path, table.line, "it has more or fewer columns than the first line");
        }
        add_reading(summary, table.field[wanted[0]], table.field[wanted[1]], table.field[wanted[2]]);
    }
    if (table.why) {
        give_up(path, table.line, table.why);
    }
    fclose(table.file);
}

static int by_name(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static size_t find_tables(char **paths) {
    size_t count = 0;
    DIR *directory = opendir("/input");
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        size_t length = strlen(entry->d_name);
        if (length > 4 && strcmp(entry->d_name + length - 4, ".csv") == 0) {
            if (count == FILES_MAX) {
                give_up("/input", 0, "it holds more than 256 .csv files");
            }
            paths[count] = must(malloc(NAME_BYTES_MAX + 16));
            snprintf(paths[count++], NAME_BYTES_MAX + 16, "/input/%s", entry->d_name);
        }
    }
    if (count == 0) {
        give_up("/input", 0, "it holds no .csv file");
    }
    qsort(paths, count, sizeof *paths, by_name);
    return count;
}

/* A name inside quotation marks; `mark` is what a quotation mark in it is preceded by. */
static void write_quoted(FILE *file, const char *text, char mark) {
    putc('"', file);
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (mark == '\\' && byte < 0x20) {
            fprintf(file, "\\u%04x", byte);
            continue;
        }
        if (byte == '"' || (mark == '\\' && byte == '\\')) {
            putc(mark, file);
        }
        putc(byte, file);
    }
    putc('"', file);
}

static void write_thousandths(FILE *file, int64_t value) {
    uint64_t size = value < 0 ? -(uint64_t)value : (uint64_t)value;
    fprintf(file, "%s%" PRIu64 ".%03" PRIu64, value < 0 ? "-" : "", size / 1000, size % 1000);
}

/* Divide and round half away from zero. */
static int64_t divide_rounded(int64_t value, int64_t count) {
    int64_t whole = value / count, rest = value % count;
    if (rest >= count - rest) {
        return whole + 1;
    }
    return -rest >= count + rest ? whole - 1 : whole;
}

static int64_t mean_of(const Group *group) {
    return group->readings ? divide_rounded(group->sum, group->readings) : 0;
}

static FILE *create(const char *path) {
    FILE *file = fopen(path, "wb");
    if (!file) {
        give_up(path, 0, "it cannot be written");
    }
    return file;
}

static void finish(FILE *file, const char *path) {
    if (ferror(file) | fclose(file)) {
        give_up(path, 0, "it cannot be written; is the disk of the task too small?");
    }
}

static void write_csv(const Summary *summary) {
    const char *path = "/output/summary.csv";
    FILE *file = create(path);
    fputs("group,readings,missing,sum,mean,least,most,most_at\n", file);
    for (size_t index = 0; index < summary->count; index++) {
        const Group *group = &summary->groups[index];
        const int64_t numbers[] = {group->sum, mean_of(group), group->least, group->most};
        write_quoted(file, group->name, '"');
        fprintf(file, ",%" PRId64 ",%" PRId64, group->readings, group->missing);
        for (int which = 0; which < 4; which++) {
            putc(',', file);
            write_thousandths(file, numbers[which]);
        }
        putc(',', file);
        write_quoted(file, group->most_at, '"');
        putc('\n', file);
    }
    finish(file, path);
}

static void write_json(const Summary *summary, size_t files) {
    const char *path = "/output/summary.json";
    FILE *file = create(path);
    fprintf(file, "{\n  \"files\": %zu,\n  \"rows\": %" PRId64 ",\n", files, summary->rows);
    fprintf(file, "  \"missing\": %" PRId64 ",\n  \"sum\": ", summary->missing);
    write_thousandths(file, summary->sum);
    fputs(",\n  \"groups\": [", file);
    for (size_t index = 0; index < summary->count; index++) {
        const Group *group = &summary->groups[index];
        fputs(index ? ",\n    {\"group\": " : "\n    {\"group\": ", file);
        write_quoted(file, group->name, '\\');
        fprintf(file, ", \"readings\": %" PRId64 ", \"mean\": ", group->readings);
        write_thousandths(file, mean_of(group));
        fputs(", \"most\": ", file);
        write_thousandths(file, group->most);
        fputs(", \"most_at\": ", file);
        write_quoted(file, group->most_at, '\\');
        putc('}', file);
    }
    fputs("\n  ]\n}\n", file);
    finish(file, path);
}

static void say(const Summary *summary, const char *unit) {
    for (size_t index = 0; index < summary->count; index++) {
        const Group *group = &summary->groups[index];
        printf("%s: ", group->name);
        write_thousandths(stdout, group->sum);
        printf(" %s in %" PRId64 " readings", unit, group->readings);
        if (group->readings) {
            printf(", most at %s (", group->most_at);
            write_thousandths(stdout, group->most);
            putchar(')');
        }
        if (group->missing) {
            printf("; %" PRId64 " missing", group->missing);
        }
        putchar('\n');
    }
}

int main(int count, char **arguments) {
    static char *paths[FILES_MAX];
    Summary summary = {0};
    if (count != 4) {
        fputs("usage: readings GROUP VALUE LABEL (names of columns, as in: building kwh hour)\n", stderr);
        return 2;
    }
    size_t files = find_tables(paths);
    for (size_t index = 0; index < files; index++) {
        read_table(&summary, paths[index], arguments + 1);
        printf("EUB_PROGRESS %zu/%zu\n", index + 1, files + 1);
        fflush(stdout);
    }
    write_csv(&summary);
    write_json(&summary, files);
    say(&summary, arguments[2]);
    printf("EUB_PROGRESS %zu/%zu\n", files + 1, files + 1);
    return 0;
}
