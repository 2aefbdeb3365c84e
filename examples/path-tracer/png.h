/* Pixels into a PNG file: 8 bits per colour, no dependence on anything.
 *
 * Here: filters, one deflate block with a Huffman code made for this image, checksums.
 * Not here: what the pixels show (tracer.c).
 * Keeps: the smallest honest deflate. There are no matches: in the grain of a traced image they would save
 * a percent or two; the filters and the code save a third.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SYMBOLS = 257, END_OF_BLOCK = 256, CODE_BITS_MAX = 15, CHANNELS = 3 };

typedef struct {
    uint8_t *bytes;
    size_t size;
    uint64_t waiting; /* bits that are no whole byte yet, the first one lowest */
    int waiting_bits;
} Bits;

static void put_bits(Bits *bits, uint32_t value, int count) {
    bits->waiting |= (uint64_t)value << bits->waiting_bits;
    for (bits->waiting_bits += count; bits->waiting_bits >= 8; bits->waiting_bits -= 8) {
        bits->bytes[bits->size++] = (uint8_t)bits->waiting;
        bits->waiting >>= 8;
    }
}

/* Huffman codes are written from their highest bit. */
static void put_code(Bits *bits, uint32_t code, int count) {
    for (int bit = count - 1; bit >= 0; bit--) {
        put_bits(bits, code >> bit & 1, 1);
    }
}

/* Lengths of an optimal prefix code for these counts; returns the longest. */
static int code_lengths(const uint32_t *counts, uint8_t *lengths) {
    uint32_t weight[2 * SYMBOLS];
    int parent[2 * SYMBOLS], nodes = SYMBOLS, longest = 0;
    bool is_joined[2 * SYMBOLS] = {false};
    for (int symbol = 0; symbol < SYMBOLS; symbol++) {
        weight[symbol] = counts[symbol];
        is_joined[symbol] = counts[symbol] == 0;
    }
    for (;;) {
        int least = -1, second = -1;
        for (int node = 0; node < nodes; node++) {
            if (is_joined[node]) {
                continue;
            }
            if (least < 0 || weight[node] < weight[least]) {
                second = least;
                least = node;
            } else if (second < 0 || weight[node] < weight[second]) {
                second = node;
            }
        }
        if (second < 0) {
            break; /* one is left: the root */
        }
        weight[nodes] = weight[least] + weight[second];
        is_joined[least] = is_joined[second] = true;
        parent[least] = parent[second] = nodes++;
    }
    for (int symbol = 0; symbol < SYMBOLS; symbol++) {
        int depth = 0;
        for (int node = symbol; counts[symbol] && node != nodes - 1; node = parent[node]) {
            depth += 1;
        }
        lengths[symbol] = (uint8_t)depth;
        longest = depth > longest ? depth : longest;
    }
    return longest;
}

/* Codes in the order that deflate prescribes: by length, then by symbol. */
static void assign_codes(const uint8_t *lengths, uint32_t *codes) {
    uint32_t code = 0;
    for (int length = 1; length <= CODE_BITS_MAX; length++) {
        for (int symbol = 0; symbol < SYMBOLS; symbol++) {
            if (lengths[symbol] == length) {
                codes[symbol] = code++;
            }
        }
        code <<= 1;
    }
}

static void deflate(Bits *bits, const uint8_t *data, size_t size) {
    uint32_t counts[SYMBOLS] = {0}, codes[SYMBOLS];
    uint8_t lengths[SYMBOLS];
    for (size_t index = 0; index < size; index++) {
        counts[data[index]] += 1;
    }
    counts[END_OF_BLOCK] = 1;
    while (code_lengths(counts, lengths) > CODE_BITS_MAX) {
        for (int symbol = 0; symbol < SYMBOLS; symbol++) {
            counts[symbol] = (counts[symbol] + 1) / 2; /* flatter counts make a flatter tree */
        }
    }
    assign_codes(lengths, codes);
    put_bits(bits, 1, 1); /* the last block */
    put_bits(bits, 2, 2); /* with a code of its own */
    put_bits(bits, SYMBOLS - 257, 5);
    put_bits(bits, 0, 5); /* one distance code, which is not used */
    put_bits(bits, 19 - 4, 4);
    /* Lengths 0 to 15 are themselves written in four bits each; the three codes for runs are not used. */
    for (int index = 0; index < 19; index++) {
        put_bits(bits, index < 3 ? 0 : 4, 3);
    }
    for (int symbol = 0; symbol < SYMBOLS; symbol++) {
        put_code(bits, lengths[symbol], 4);
    }
    put_code(bits, 0, 4);
    for (size_t index = 0; index < size; index++) {
        put_code(bits, codes[data[index]], lengths[data[index]]);
    }
    put_code(bits, codes[END_OF_BLOCK], lengths[END_OF_BLOCK]);
    if (bits->waiting_bits) {
        put_bits(bits, 0, 8 - bits->waiting_bits);
    }
}

static void put_number(uint8_t *place, uint32_t number) {
    for (int index = 0; index < 4; index++) {
        place[index] = (uint8_t)(number >> (24 - 8 * index));
    }
}

static uint32_t adler(const uint8_t *data, size_t size) {
    uint32_t first = 1, second = 0;
    for (size_t index = 0; index < size; index++) {
        first = (first + data[index]) % 65521;
        second = (second + first) % 65521;
    }
    return second << 16 | first;
}

static uint32_t checksum(const uint8_t *data, size_t size) {
    uint32_t sum = 0xffffffff;
    for (size_t index = 0; index < size; index++) {
        sum ^= data[index];
        for (int bit = 0; bit < 8; bit++) {
            sum = sum & 1 ? sum >> 1 ^ 0xedb88320 : sum >> 1;
        }
    }
    return ~sum;
}

/* `body` has room for the kind in front: 4 bytes, then `size` bytes. */
static void write_chunk(FILE *file, const char *kind, uint8_t *body, size_t size) {
    uint8_t number[4];
    memcpy(body, kind, 4);
    put_number(number, (uint32_t)size);
    fwrite(number, 1, 4, file);
    fwrite(body, 1, size + 4, file);
    put_number(number, checksum(body, size + 4));
    fwrite(number, 1, 4, file);
}

static uint8_t predict(int filter, int left, int up, int corner) {
    int guess = left + up - corner;
    int to_left = abs(guess - left), to_up = abs(guess - up), to_corner = abs(guess - corner);
    switch (filter) {
        case 0:
            return 0;
        case 1:
            return (uint8_t)left;
        case 2:
            return (uint8_t)up;
        case 3:
            return (uint8_t)((left + up) / 2);
        default:
            if (to_left <= to_up && to_left <= to_corner) {
                return (uint8_t)left;
            }
            return (uint8_t)(to_up <= to_corner ? up : corner);
    }
}

/* Write a row as differences from its neighbours, with the filter that leaves the smallest ones. */
static void filter_row(const uint8_t *row, const uint8_t *above, int size, uint8_t *into) {
    uint64_t least = UINT64_MAX;
    int best = 0;
    for (int round = 0; round < 6; round++) {
        int filter = round < 5 ? round : best;
        uint64_t sum = 0;
        into[0] = (uint8_t)filter;
        for (int index = 0; index < size; index++) {
            int left = index < CHANNELS ? 0 : row[index - CHANNELS], up = above ? above[index] : 0;
            int corner = above && index >= CHANNELS ? above[index - CHANNELS] : 0;
            into[1 + index] = (uint8_t)(row[index] - predict(filter, left, up, corner));
            sum += (uint64_t)abs((int8_t)into[1 + index]);
        }
        if (sum < least) {
            least = sum;
            best = filter;
        }
    }
}

/* Write the image; false if it cannot be written. `pixels`: rows from the top, three bytes each pixel. */
static bool write_png(const char *path, const uint8_t *pixels, int width, int height) {
    size_t row_size = (size_t)width * CHANNELS, size = (row_size + 1) * (size_t)height;
    uint8_t *filtered = malloc(size), header[4 + 13] = {0};
    Bits bits = {.bytes = malloc(2 * size + 1024)};
    FILE *file = fopen(path, "wb");
    bool is_good = filtered && bits.bytes && file;
    if (is_good) {
        for (int y = 0; y < height; y++) {
            const uint8_t *row = pixels + (size_t)y * row_size;
            filter_row(row, y ? row - row_size : NULL, (int)row_size, filtered + (size_t)y * (row_size + 1));
        }
        put_number(header + 4, (uint32_t)width);
        put_number(header + 8, (uint32_t)height);
        header[12] = 8; /* bits of each colour */
        header[13] = 2; /* red, green and blue */
        bits.size = 4;  /* the chunk's kind */
        bits.bytes[bits.size++] = 0x78;
        bits.bytes[bits.size++] = 0x01;
        deflate(&bits, filtered, size);
        put_number(bits.bytes + bits.size, adler(filtered, size));
        bits.size += 4;
        fwrite("\x89PNG\r\n\x1a\n", 1, 8, file);
        write_chunk(file, "IHDR", header, 13);
        write_chunk(file, "IDAT", bits.bytes, bits.size - 4);
        write_chunk(file, "IEND", (uint8_t[4]){0}, 0);
    }
    free(filtered);
    free(bits.bytes);
    return file && !(ferror(file) | fclose(file)) && is_good;
}
