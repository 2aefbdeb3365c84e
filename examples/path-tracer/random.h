/* Random numbers that are the same everywhere, and places and directions drawn with them.
 *
 * Here: the generator, where each pixel begins, circles and spheres. Not here: what light does (tracer.c).
 * Keeps: one state per pixel, so that pixels do not depend on the order in which they are rendered.
 */

#include "scene.h"

/* Knuth's multiplier; the high bits are the random ones. */
static uint64_t draw(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 11;
}

/* From 0 up to, but not including, 1. */
static double fraction(uint64_t *state) { return (double)draw(state) * 0x1p-53; }

/* Where a pixel's numbers begin: neighbours must not look alike. */
static uint64_t begin(uint64_t seed, int x, int y) {
    uint64_t state = seed * 0x9e3779b97f4a7c15u + (uint64_t)y * SIDE_MAX + (uint64_t)x;
    state = (state ^ state >> 30) * 0xbf58476d1ce4e5b9u;
    state = (state ^ state >> 27) * 0x94d049bb133111ebu;
    return state ^ state >> 31;
}

/* A place in the circle of radius 1, and the square of its distance from the middle. Drawing again what
 * lies outside is cheaper than a sine and a cosine. */
static double in_circle(double *x, double *y, uint64_t *state) {
    double square;
    do {
        *x = 2 * fraction(state) - 1;
        *y = 2 * fraction(state) - 1;
        square = *x * *x + *y * *y;
    } while (square >= 1 || square == 0);
    return square;
}

/* Marsaglia: a circle bent into a sphere. */
static Vector on_sphere(uint64_t *state) {
    double x, y, square = in_circle(&x, &y, state), bend = 2 * sqrt(1 - square);
    return vector(x * bend, y * bend, 1 - 2 * square);
}
