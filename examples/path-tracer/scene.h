/* The scene: what a text file says, and refusing what it may not say.
 *
 * Here: `read_scene`, the list of its words in `read_line`, vectors.
 * Not here: light (tracer.c), pixels into a file (png.h).
 * Keeps: whatever is wrong with a scene is said with its file and line, and ends the program with 1.
 *
 *     image WIDTH HEIGHT
 *     samples COUNT                      of each pixel
 *     bounces COUNT                      at most
 *     seed NUMBER
 *     camera FROM AT ANGLE LENS          two points, degrees from top to bottom, radius of the lens
 *     sky HORIZON ZENITH                 two colours
 *     material NAME matte COLOUR
 *     material NAME checker COLOUR COLOUR SIZE
 *     material NAME metal COLOUR BLUR
 *     material NAME glass INDEX
 *     material NAME light COLOUR         may be brighter than 1
 *     sphere CENTRE RADIUS MATERIAL
 *     plane POINT NORMAL MATERIAL
 *
 * Points and colours are three numbers. Up is y. Empty lines and lines that begin with # say nothing.
 */

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE_MAX = 4096, SAMPLES_MAX = 65536, BOUNCES_MAX = 64, WORDS_MAX = 16, NAME_BYTES_MAX = 32 };
enum { MATERIALS_MAX = 64, SPHERES_MAX = 1024, PLANES_MAX = 64 };

typedef struct {
    double x, y, z;
} Vector;

typedef enum { MATTE, CHECKER, METAL, GLASS, LIGHT } Kind;

typedef struct {
    char name[NAME_BYTES_MAX];
    Kind kind;
    Vector colour, other;
    double number; /* checker: size; metal: blur; glass: index */
} Material;

typedef struct {
    Vector centre;
    double radius;
    int material;
} Sphere;

typedef struct {
    Vector point, normal;
    int material;
} Plane;

typedef struct {
    int width, height, samples, bounces;
    uint64_t seed;
    Vector from, at, horizon, zenith;
    double angle, lens;
    Material materials[MATERIALS_MAX];
    Sphere spheres[SPHERES_MAX];
    Plane planes[PLANES_MAX];
    int lights[SPHERES_MAX]; /* which spheres shine */
    int material_count, sphere_count, plane_count, light_count;
} Scene;

static Vector vector(double x, double y, double z) { return (Vector){x, y, z}; }
static Vector add(Vector a, Vector b) { return vector(a.x + b.x, a.y + b.y, a.z + b.z); }
static Vector subtract(Vector a, Vector b) { return vector(a.x - b.x, a.y - b.y, a.z - b.z); }
static Vector scale(Vector a, double by) { return vector(a.x * by, a.y * by, a.z * by); }
static Vector tint(Vector a, Vector b) { return vector(a.x * b.x, a.y * b.y, a.z * b.z); }
static double dot(Vector a, Vector b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static Vector unit(Vector a) { return scale(a, 1.0 / sqrt(dot(a, a))); }
static Vector cross(Vector a, Vector b) {
    return vector(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}

/* One line as it is read: its words, and the place for complaints. */
typedef struct {
    const char *path;
    int number, count, next;
    char *word[WORDS_MAX];
} Line;

static _Noreturn void refuse(const Line *line, const char *why, ...) {
    va_list facts;
    va_start(facts, why);
    fprintf(stderr, "%s, line %d: ", line->path, line->number);
    vfprintf(stderr, why, facts);
    fputc('\n', stderr);
    va_end(facts);
    exit(1);
}

static const char *word_of(Line *line, const char *what) {
    if (line->next == line->count) {
        refuse(line, "%s is missing", what);
    }
    return line->word[line->next++];
}

static double number_of(Line *line, const char *what, double least, double most) {
    const char *text = word_of(line, what);
    char *end;
    double number = strtod(text, &end);
    if (*end || end == text || !(number >= least && number <= most)) {
        refuse(line, "%s is a number from %g to %g, not '%s'", what, least, most, text);
    }
    return number;
}

static int count_of(Line *line, const char *what, int least, int most) {
    double number = number_of(line, what, least, most);
    if (number != (int)number) {
        refuse(line, "%s is a whole number", what);
    }
    return (int)number;
}

static Vector point_of(Line *line, const char *what) {
    double x = number_of(line, what, -1e6, 1e6), y = number_of(line, what, -1e6, 1e6);
    return vector(x, y, number_of(line, what, -1e6, 1e6));
}

static Vector colour_of(Line *line, double most) {
    double red = number_of(line, "a part of a colour", 0, most);
    double green = number_of(line, "a part of a colour", 0, most);
    return vector(red, green, number_of(line, "a part of a colour", 0, most));
}

static int material_of(Line *line, const Scene *scene) {
    const char *name = word_of(line, "a material");
    for (int index = 0; index < scene->material_count; index++) {
        if (strcmp(scene->materials[index].name, name) == 0) {
            return index;
        }
    }
    refuse(line, "there is no material '%s' above this line", name);
}

static void *room_for(Line *line, void *list, size_t size, int *count, int most) {
    if (*count == most) {
        refuse(line, "a scene has at most %d of these", most);
    }
    return (char *)list + size * (size_t)(*count)++;
}

static void read_material(Line *line, Scene *scene) {
    Material *made = room_for(line, scene->materials, sizeof *made, &scene->material_count, MATERIALS_MAX);
    snprintf(made->name, sizeof made->name, "%s", word_of(line, "the name of the material"));
    const char *kind = word_of(line, "the kind of the material");
    if (strcmp(kind, "matte") == 0) {
        made->kind = MATTE;
        made->colour = colour_of(line, 1);
    } else if (strcmp(kind, "checker") == 0) {
        made->kind = CHECKER;
        made->colour = colour_of(line, 1);
        made->other = colour_of(line, 1);
        made->number = number_of(line, "the size of a square", 1e-3, 1e6);
    } else if (strcmp(kind, "metal") == 0) {
        made->kind = METAL;
        made->colour = colour_of(line, 1);
        made->number = number_of(line, "the blur", 0, 1);
    } else if (strcmp(kind, "glass") == 0) {
        made->kind = GLASS;
        made->number = number_of(line, "the index", 1, 4);
    } else if (strcmp(kind, "light") == 0) {
        made->kind = LIGHT;
        made->colour = colour_of(line, 1000);
    } else {
        refuse(line, "a material is matte, checker, metal, glass or light, not '%s'", kind);
    }
}

static void read_sphere(Line *line, Scene *scene) {
    Sphere *made = room_for(line, scene->spheres, sizeof *made, &scene->sphere_count, SPHERES_MAX);
    made->centre = point_of(line, "the centre");
    made->radius = number_of(line, "the radius", 1e-3, 1e6);
    made->material = material_of(line, scene);
    if (scene->materials[made->material].kind == LIGHT) {
        scene->lights[scene->light_count++] = scene->sphere_count - 1;
    }
}

static void read_plane(Line *line, Scene *scene) {
    Plane *made = room_for(line, scene->planes, sizeof *made, &scene->plane_count, PLANES_MAX);
    made->point = point_of(line, "a point of the plane");
    made->normal = point_of(line, "the normal");
    made->material = material_of(line, scene);
    if (dot(made->normal, made->normal) == 0) {
        refuse(line, "the normal has no direction");
    }
    made->normal = unit(made->normal);
}

static void read_camera(Line *line, Scene *scene) {
    scene->from = point_of(line, "where the camera is");
    scene->at = point_of(line, "what the camera looks at");
    scene->angle = number_of(line, "the angle of view", 1, 170);
    scene->lens = number_of(line, "the radius of the lens", 0, 100);
    Vector towards = subtract(scene->at, scene->from);
    if (towards.x == 0 && towards.z == 0) {
        refuse(line, "the camera looks straight up or down, so no side of it is up");
    }
}

static void read_line(Line *line, Scene *scene) {
    const char *word = word_of(line, "a word");
    if (strcmp(word, "image") == 0) {
        scene->width = count_of(line, "the width", 1, SIDE_MAX);
        scene->height = count_of(line, "the height", 1, SIDE_MAX);
    } else if (strcmp(word, "samples") == 0) {
        scene->samples = count_of(line, "the number of samples", 1, SAMPLES_MAX);
    } else if (strcmp(word, "bounces") == 0) {
        scene->bounces = count_of(line, "the number of bounces", 1, BOUNCES_MAX);
    } else if (strcmp(word, "seed") == 0) {
        scene->seed = (uint64_t)count_of(line, "the seed", 0, INT32_MAX);
    } else if (strcmp(word, "camera") == 0) {
        read_camera(line, scene);
    } else if (strcmp(word, "sky") == 0) {
        scene->horizon = colour_of(line, 1000);
        scene->zenith = colour_of(line, 1000);
    } else if (strcmp(word, "material") == 0) {
        read_material(line, scene);
    } else if (strcmp(word, "sphere") == 0) {
        read_sphere(line, scene);
    } else if (strcmp(word, "plane") == 0) {
        read_plane(line, scene);
    } else {
        refuse(line, "no line begins with '%s'", word);
    }
    if (line->next < line->count) {
        refuse(line, "'%s' is one word too many", line->word[line->next]);
    }
}

/* Read a scene file; what it does not say has the values given first. */
static void read_scene(const char *path, Scene *scene) {
    char text[512];
    Line line = {.path = path};
    *scene = (Scene){.width = 480, .height = 320, .samples = 64, .bounces = 8, .angle = 40};
    FILE *file = fopen(path, "rb");
    if (!file) {
        refuse(&line, "the file cannot be opened");
    }
    while (fgets(text, sizeof text, file)) {
        line.number += 1;
        line.count = line.next = 0;
        if (!strchr(text, '\n') && !feof(file)) {
            refuse(&line, "the line is too long");
        }
        bool is_remark = text[strspn(text, " \t")] == '#';
        for (char *word = is_remark ? NULL : strtok(text, " \t\r\n"); word; word = strtok(NULL, " \t\r\n")) {
            if (line.count == WORDS_MAX) {
                refuse(&line, "the line has too many words");
            }
            line.word[line.count++] = word;
        }
        if (line.count) {
            read_line(&line, scene);
        }
    }
    if (dot(subtract(scene->at, scene->from), subtract(scene->at, scene->from)) == 0) {
        refuse(&line, "the scene has no camera");
    }
    fclose(file);
}
