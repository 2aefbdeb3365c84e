/* A path tracer: spheres and planes of matte, metal, glass and light, one PNG for every scene.
 *
 *     tracer [--size WIDTHxHEIGHT] [--samples COUNT]
 *
 * Renders every .txt file of /input, in order of name, into a .png of the same name in /output, and prints
 * lines `EUB_PROGRESS 120/320` on the way. The options take the place of what the scenes say.
 *
 * Here: camera, light, arguments. Not here: the scene's language (scene.h), random numbers (random.h), the
 * image file (png.h).
 * Keeps: a pixel depends on the scene, its place and the seed only, so the image is the same to the byte
 * on every machine, and a part of it could be rendered anywhere.
 * Exit status: 0 done; 1 a scene cannot be used; 2 wrong arguments.
 */

#include "png.h"
#include "random.h"

#include <dirent.h>

enum { FILES_MAX = 64, PATH_BYTES_MAX = 300, ROWS_PER_PROGRESS = 8, SURE_BOUNCES = 3 };

static const double DEGREE = 3.14159265358979323846 / 180, NEAR = 1e-6, FAR = 1e12;
/* A lamp met by chance, mirrored or through glass, after a matte point: more would be a white speck that
 * only very many samples average out. The one place where the image is darker than physics. */
static const double CHANCE_LIGHT_MAX = 1.5;

typedef struct {
    Vector from, towards;
} Ray;

typedef struct {
    double distance;
    Vector point, normal; /* the normal points against the ray */
    const Material *material;
    int sphere; /* -1: a plane */
    bool is_inside;
} Hit;

/* ----------------------------------------------------------------------------------------- things */

static double distance_to_sphere(const Sphere *sphere, const Ray *ray) {
    Vector away = subtract(ray->from, sphere->centre);
    double half = dot(away, ray->towards);
    double rest = half * half - (dot(away, away) - sphere->radius * sphere->radius);
    if (rest <= 0) {
        return FAR;
    }
    double root = sqrt(rest), least = NEAR * (1 + sphere->radius);
    if (-half - root > least) {
        return -half - root;
    }
    return -half + root > least ? -half + root : FAR;
}

static double distance_to_plane(const Plane *plane, const Ray *ray) {
    double slope = dot(plane->normal, ray->towards);
    if (fabs(slope) < 1e-9) {
        return FAR;
    }
    double distance = dot(subtract(plane->point, ray->from), plane->normal) / slope;
    return distance > NEAR * 10 ? distance : FAR;
}

/* Whether anything but `target` lies nearer than it. */
static bool is_hidden(const Scene *scene, const Ray *ray, int target, double distance) {
    for (int index = 0; index < scene->plane_count; index++) {
        if (distance_to_plane(&scene->planes[index], ray) < distance) {
            return true;
        }
    }
    for (int index = 0; index < scene->sphere_count; index++) {
        if (index != target && distance_to_sphere(&scene->spheres[index], ray) < distance) {
            return true;
        }
    }
    return false;
}

static bool find_hit(const Scene *scene, const Ray *ray, Hit *hit) {
    int sphere = -1, plane = -1;
    hit->distance = FAR;
    for (int index = 0; index < scene->sphere_count; index++) {
        double distance = distance_to_sphere(&scene->spheres[index], ray);
        if (distance < hit->distance) {
            hit->distance = distance;
            sphere = index;
        }
    }
    for (int index = 0; index < scene->plane_count; index++) {
        double distance = distance_to_plane(&scene->planes[index], ray);
        if (distance < hit->distance) {
            hit->distance = distance;
            plane = index;
        }
    }
    if (hit->distance == FAR) {
        return false;
    }
    hit->sphere = plane < 0 ? sphere : -1;
    hit->point = add(ray->from, scale(ray->towards, hit->distance));
    if (plane >= 0) {
        hit->material = &scene->materials[scene->planes[plane].material];
        hit->normal = scene->planes[plane].normal;
    } else {
        hit->material = &scene->materials[scene->spheres[sphere].material];
        hit->normal = unit(subtract(hit->point, scene->spheres[sphere].centre));
    }
    hit->is_inside = dot(hit->normal, ray->towards) > 0;
    if (hit->is_inside) {
        hit->normal = scale(hit->normal, -1);
    }
    return true;
}

/* ------------------------------------------------------------------------------------------ light */

static Vector sky(const Scene *scene, Vector towards) {
    double height = towards.y > 0 ? towards.y : 0;
    return add(scale(scene->horizon, 1 - height), scale(scene->zenith, height));
}

static Vector colour_at(const Hit *hit) {
    const Material *material = hit->material;
    if (material->kind != CHECKER) {
        return material->colour;
    }
    /* A little off the surface, so that rounding does not decide between two squares. */
    double size = material->number, off = 1e-4 * size;
    int64_t squares = (int64_t)floor((hit->point.x + off) / size) +
                      (int64_t)floor((hit->point.y + off) / size) +
                      (int64_t)floor((hit->point.z + off) / size);
    return squares % 2 == 0 ? material->colour : material->other;
}

/* A direction within `cosine` of `axis`, all equally likely. */
static Vector in_cone(Vector axis, double cosine, uint64_t *state) {
    double x, y, square = in_circle(&x, &y, state), along = 1 - square * (1 - cosine);
    double across = sqrt((1 - along * along) / square);
    Vector side = unit(cross(fabs(axis.x) > 0.5 ? vector(0, 1, 0) : vector(1, 0, 0), axis));
    Vector other = cross(axis, side);
    return add(scale(axis, along), add(scale(side, across * x), scale(other, across * y)));
}

/* What one of the lamps, drawn at random, gives a matte point. */
static Vector lamp_light(const Scene *scene, const Hit *hit, uint64_t *state) {
    int drawn = (int)(fraction(state) * scene->light_count);
    int index = scene->lights[drawn];
    const Sphere *lamp = &scene->spheres[index];
    Vector away = subtract(lamp->centre, hit->point);
    double square = dot(away, away), sine_square = lamp->radius * lamp->radius / square;
    if (sine_square >= 1) {
        return vector(0, 0, 0);
    }
    double cosine = sqrt(1 - sine_square);
    Ray ray = {hit->point, in_cone(scale(away, 1 / sqrt(square)), cosine, state)};
    double slope = dot(hit->normal, ray.towards), distance = distance_to_sphere(lamp, &ray);
    if (slope <= 0 || distance == FAR || is_hidden(scene, &ray, index, distance)) {
        return vector(0, 0, 0);
    }
    Vector brightness = scene->materials[lamp->material].colour;
    /* Over all directions the brightness times slope / π; 2π(1 − cosine) of them point at the lamp. */
    return scale(brightness, 2 * (1 - cosine) * slope * scene->light_count);
}

static Vector reflect(Vector towards, Vector normal) {
    return subtract(towards, scale(normal, 2 * dot(towards, normal)));
}

static Vector through_glass(const Hit *hit, Vector towards, uint64_t *state) {
    double index = hit->is_inside ? hit->material->number : 1 / hit->material->number;
    double cosine = -dot(towards, hit->normal), sine_square = index * index * (1 - cosine * cosine);
    double edge = (1 - index) / (1 + index), upright = 1 - cosine;
    /* Schlick: how much is reflected grows towards the edge. */
    double reflected = edge * edge + (1 - edge * edge) * upright * upright * upright * upright * upright;
    if (sine_square >= 1 || fraction(state) < reflected) {
        return reflect(towards, hit->normal);
    }
    return unit(add(scale(towards, index), scale(hit->normal, index * cosine - sqrt(1 - sine_square))));
}

static Vector limited(Vector light, double most) {
    double size = light.x > light.y ? light.x : light.y;
    size = light.z > size ? light.z : size;
    return size > most ? scale(light, most / size) : light;
}

/* Follow one path of light backwards from the camera. */
static Vector trace(const Scene *scene, Ray ray, uint64_t *state) {
    Vector seen = vector(0, 0, 0), share = vector(1, 1, 1);
    bool sees_lamps = true; /* false after a matte point, which asked for the lamps itself */
    bool is_scattered = false;
    for (int bounce = 0; bounce < scene->bounces; bounce++) {
        Hit hit;
        if (!find_hit(scene, &ray, &hit)) {
            return add(seen, tint(share, sky(scene, ray.towards)));
        }
        const Material *material = hit.material;
        if (material->kind == LIGHT) {
            Vector light = tint(share, material->colour);
            if (hit.sphere < 0) {
                return add(seen, light); /* a plane is not asked for */
            }
            light = is_scattered ? limited(light, CHANCE_LIGHT_MAX) : light;
            return sees_lamps ? add(seen, light) : seen;
        }
        Vector towards = ray.towards;
        if (material->kind == GLASS) {
            towards = through_glass(&hit, towards, state);
            sees_lamps = true;
        } else if (material->kind == METAL) {
            towards = reflect(towards, hit.normal);
            towards = unit(add(towards, scale(on_sphere(state), material->number * fraction(state))));
            if (dot(towards, hit.normal) <= 0) {
                return seen;
            }
            share = tint(share, material->colour);
            sees_lamps = true;
        } else {
            share = tint(share, colour_at(&hit));
            if (scene->light_count) {
                seen = add(seen, tint(share, lamp_light(scene, &hit, state)));
            }
            towards = unit(add(hit.normal, scale(on_sphere(state), 1 - 1e-9)));
            sees_lamps = false;
            is_scattered = true;
        }
        if (bounce >= SURE_BOUNCES) {
            /* Dim paths end early; those that go on count for them. */
            double chance = share.x > share.y ? share.x : share.y;
            chance = share.z > chance ? share.z : chance;
            if (fraction(state) >= chance) {
                return seen;
            }
            share = scale(share, 1 / chance);
        }
        ray = (Ray){hit.point, towards};
    }
    return seen;
}

/* ------------------------------------------------------------------------------------------ image */

/* How a camera turns places in the image into rays. */
typedef struct {
    Vector from, corner, right, down, lens_right, lens_up;
} Camera;

static Camera place_camera(const Scene *scene) {
    Vector away = subtract(scene->from, scene->at);
    double distance = sqrt(dot(away, away));
    double height = 2 * distance * tan(scene->angle * DEGREE / 2), width = height * scene->width / scene->height;
    Vector back = scale(away, 1 / distance), right = unit(cross(vector(0, 1, 0), back));
    Vector up = cross(back, right);
    Camera camera = {.from = scene->from};
    camera.right = scale(right, width / scene->width);
    camera.down = scale(up, -height / scene->height);
    camera.corner = subtract(scene->at, add(scale(right, width / 2), scale(up, -height / 2)));
    camera.lens_right = scale(right, scene->lens);
    camera.lens_up = scale(up, scene->lens);
    return camera;
}

static Ray ray_through(const Camera *camera, double x, double y, uint64_t *state) {
    double right, up;
    in_circle(&right, &up, state);
    Vector from = add(camera->from, add(scale(camera->lens_right, right), scale(camera->lens_up, up)));
    Vector target = add(camera->corner, add(scale(camera->right, x), scale(camera->down, y)));
    return (Ray){from, unit(subtract(target, from))};
}

/* Light into a byte: as on film bright parts fade towards white, then comes the screen's curve. */
static uint8_t byte_of(double light) {
    return (uint8_t)(pow(1 - exp(-1.4 * light), 1 / 2.2) * 255 + 0.5);
}

static void render_pixel(const Scene *scene, const Camera *camera, int x, int y, uint8_t *pixel) {
    uint64_t state = begin(scene->seed, x, y);
    Vector sum = vector(0, 0, 0);
    for (int sample = 0; sample < scene->samples; sample++) {
        double across = x + fraction(&state), below = y + fraction(&state);
        sum = add(sum, trace(scene, ray_through(camera, across, below, &state), &state));
    }
    sum = scale(sum, 1.0 / scene->samples);
    pixel[0] = byte_of(sum.x);
    pixel[1] = byte_of(sum.y);
    pixel[2] = byte_of(sum.z);
}

static void render(const Scene *scene, const char *path, int done, int scenes) {
    uint8_t *pixels = malloc((size_t)scene->width * (size_t)scene->height * CHANNELS), *pixel = pixels;
    Camera camera = place_camera(scene);
    for (int y = 0; pixels && y < scene->height; y++) {
        for (int x = 0; x < scene->width; x++, pixel += CHANNELS) {
            render_pixel(scene, &camera, x, y, pixel);
        }
        if ((y + 1) % ROWS_PER_PROGRESS == 0 || y + 1 == scene->height) {
            printf("EUB_PROGRESS %d/%d\n", done * scene->height + y + 1, scenes * scene->height);
            fflush(stdout);
        }
    }
    if (!pixels || !write_png(path, pixels, scene->width, scene->height)) {
        fprintf(stderr, "%s cannot be written: ask for more memory or disk in the task file\n", path);
        exit(1);
    }
    free(pixels);
}

/* -------------------------------------------------------------------------------------- arguments */

static _Noreturn void explain_usage(void) {
    fputs("usage: tracer [--size WIDTHxHEIGHT] [--samples COUNT]\n", stderr);
    exit(2);
}

/* A whole number from 1 to `most`; `end` is what must follow it. */
static int whole(const char **text, int most, char end) {
    char *rest;
    long number = strtol(*text, &rest, 10);
    if (rest == *text || *rest != end || number < 1 || number > most) {
        explain_usage();
    }
    *text = rest + 1;
    return (int)number;
}

static int by_name(const void *left, const void *right) { return strcmp(left, right); }

static int find_scenes(char names[][PATH_BYTES_MAX]) {
    int count = 0;
    DIR *directory = opendir("/input");
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        size_t length = strlen(entry->d_name);
        if (length > 4 && length < 256 && strcmp(entry->d_name + length - 4, ".txt") == 0) {
            if (count == FILES_MAX) {
                fputs("/input holds more than 64 scenes\n", stderr);
                exit(1);
            }
            snprintf(names[count++], PATH_BYTES_MAX, "%.*s", (int)length - 4, entry->d_name);
        }
    }
    if (count == 0) {
        fputs("/input holds no scene: a file whose name ends with .txt\n", stderr);
        exit(1);
    }
    qsort(names, (size_t)count, PATH_BYTES_MAX, by_name);
    return count;
}

int main(int count, char **arguments) {
    static char names[FILES_MAX][PATH_BYTES_MAX];
    static Scene scene;
    int width = 0, height = 0, samples = 0, scenes = find_scenes(names);
    for (int index = 1; index < count; index += 2) {
        const char *value = index + 1 < count ? arguments[index + 1] : "";
        if (strcmp(arguments[index], "--size") == 0) {
            width = whole(&value, SIDE_MAX, 'x');
            height = whole(&value, SIDE_MAX, 0);
        } else if (strcmp(arguments[index], "--samples") == 0) {
            samples = whole(&value, SAMPLES_MAX, 0);
        } else {
            explain_usage();
        }
    }
    for (int index = 0; index < scenes; index++) {
        char path[PATH_BYTES_MAX + 16];
        snprintf(path, sizeof path, "/input/%s.txt", names[index]);
        read_scene(path, &scene);
        scene.width = width ? width : scene.width;
        scene.height = height ? height : scene.height;
        scene.samples = samples ? samples : scene.samples;
        printf("%s: %d x %d pixels, %d samples each, %d spheres, %d planes\n", names[index], scene.width,
               scene.height, scene.samples, scene.sphere_count, scene.plane_count);
        fflush(stdout);
        snprintf(path, sizeof path, "/output/%s.png", names[index]);
        render(&scene, path, index, scenes);
    }
    return 0;
}
