/* Digits drawn here: where there is no data to fetch, there is still something to learn. */
#include "core/core.h"
#include "kernels/philox.h"

#include <tenon/data.h>

#include <math.h>
#include <string.h>

enum { SIDE = 28, PIXELS = SIDE * SIDE, BLOCKS = 128 }; /* BLOCKS: of the random stream, what each image may use */

/* A stroke through points in hundredths of half the digit's height, y downwards: a curve through them where smooth, else lines. */
typedef struct {
    uint8_t digit, form, smooth, count;
    int8_t points[9][2];
} stroke;

static const uint8_t forms[10] = {1, 3, 2, 2, 2, 1, 1, 2, 1, 2}; /* in how many ways each digit is written */
static const stroke strokes[] = {
    {0, 0, 1, 9, {{10, -98}, {-38, -72}, {-56, 0}, {-38, 72}, {2, 98}, {40, 72}, {56, 0}, {38, -72}, {2, -98}}},
    {1, 0, 0, 2, {{0, -100}, {0, 100}}},
    {1, 1, 0, 3, {{-34, -62}, {5, -100}, {5, 100}}},
    {1, 2, 0, 3, {{-34, -62}, {5, -100}, {5, 100}}},
    {1, 2, 0, 2, {{-38, 100}, {44, 100}}},
    {2, 0, 1, 7, {{-48, -55}, {-25, -92}, {15, -98}, {46, -65}, {38, -20}, {-5, 40}, {-52, 95}}},
    {2, 0, 0, 2, {{-52, 95}, {55, 92}}},
    {2, 1, 1, 8, {{-45, -60}, {0, -98}, {42, -62}, {20, 0}, {-32, 84}, {-52, 72}, {-18, 64}, {58, 92}}},
    {3, 0, 1, 5, {{-45, -75}, {-5, -100}, {40, -70}, {30, -25}, {-10, -5}}},
    {3, 0, 1, 5, {{-10, -5}, {42, 20}, {46, 65}, {0, 100}, {-50, 75}}},
    {3, 1, 0, 3, {{-45, -97}, {42, -97}, {-5, -20}}},
    {3, 1, 1, 5, {{-5, -20}, {45, 15}, {45, 65}, {0, 100}, {-48, 78}}},
    {4, 0, 0, 3, {{-36, -92}, {-52, 12}, {54, 6}}},
    {4, 0, 0, 2, {{34, -94}, {28, 100}}},
    {4, 1, 0, 3, {{20, -100}, {-55, 30}, {58, 30}}},
    {4, 1, 0, 2, {{22, -98}, {22, 100}}},
    {5, 0, 0, 3, {{48, -97}, {-32, -97}, {-40, -18}}},
    {5, 0, 1, 6, {{-40, -18}, {0, -35}, {46, 0}, {46, 55}, {0, 98}, {-50, 78}}},
    {6, 0, 1, 9, {{30, -98}, {-25, -55}, {-50, 20}, {-40, 75}, {0, 98}, {42, 70}, {42, 25}, {5, 2}, {-44, 40}}},
    {7, 0, 0, 3, {{-50, -95}, {52, -95}, {-10, 100}}},
    {7, 1, 0, 3, {{-50, -95}, {52, -95}, {-10, 100}}},
    {7, 1, 0, 2, {{-22, 2}, {42, 2}}},
    {8, 0, 1, 9, {{0, -5}, {-40, -45}, {0, -98}, {40, -50}, {0, -5}, {-48, 50}, {0, 98}, {48, 50}, {0, -5}}},
    {9, 0, 1, 7, {{46, -70}, {5, -98}, {-42, -70}, {-40, -22}, {0, -5}, {38, -30}, {46, -70}}},
    {9, 0, 1, 3, {{46, -70}, {42, 10}, {20, 100}}},
    {9, 1, 1, 7, {{46, -70}, {5, -98}, {-42, -70}, {-40, -22}, {0, -5}, {38, -30}, {46, -70}}},
    {9, 1, 1, 4, {{46, -70}, {46, 40}, {8, 98}, {-40, 76}}},
};

/* ---- random numbers ----------------------------------------------------------------------------------------------------- */

/* The blocks of the stream that are one image's: images do not depend on each other. */
typedef struct {
    uint64_t seed, counter;
    uint32_t words[4];
    int left;
} source;

static uint32_t draw(source *s)
{
    if (s->left == 0) {
        tn_philox((const uint32_t[4]){(uint32_t)s->counter, (uint32_t)(s->counter >> 32), 0, 0},
                  (const uint32_t[2]){(uint32_t)s->seed, (uint32_t)(s->seed >> 32)}, s->words);
        s->counter++;
        s->left = 4;
    }
    return s->words[--s->left];
}
static int below(source *s, int n) { return (int)((uint64_t)draw(s) * (uint64_t)n >> 32); }
static float between(source *s, float low, float high) { return low + (high - low) * (float)(draw(s) >> 8) * 0x1p-24f; }

/* ---- drawing ------------------------------------------------------------------------------------------------------------ */

typedef struct {
    float x, y;
} point;

/* How a digit is held and written: its pixels from the glyph's coordinates, and the pen. */
typedef struct {
    float xx, xy, yx, yy, x, y;  /* turn, scale and slant, then shift */
    float sway, phase;           /* a bend of the whole glyph */
    float jitter;                /* of each point */
    float radius, softness, ink; /* pixels, pixels, 0 ... 1 */
} hand;

static hand draw_hand(source *s)
{
    float turn = between(s, -0.22f, 0.22f), slant = between(s, -0.1f, 0.35f);
    float height = between(s, 7.6f, 10.4f), width = height * between(s, 0.72f, 1.15f);
    hand h = {.x = SIDE / 2.0f + between(s, -2, 2), .y = SIDE / 2.0f + between(s, -2, 2)};
    float c = cosf(turn), d = sinf(turn);
    h.xx = c * width;
    h.xy = -d * height - slant * c * width;
    h.yx = d * width;
    h.yy = c * height - slant * d * width;
    h.sway = between(s, 0, 0.12f);
    h.phase = between(s, 0, 6.2831853f);
    h.jitter = between(s, 0.01f, 0.09f);
    h.radius = between(s, 0.75f, 1.75f);
    h.softness = between(s, 1.0f, 1.9f);
    h.ink = between(s, 0.8f, 1.1f);
    return h;
}

static point place(const hand *h, source *s, const int8_t at[2])
{
    float x = 0.01f * at[0] + between(s, -h->jitter, h->jitter), y = 0.01f * at[1] + between(s, -h->jitter, h->jitter);
    x += h->sway * sinf(2.2f * y + h->phase);
    return (point){h->x + h->xx * x + h->xy * y, h->y + h->yx * x + h->yy * y};
}

static float clip(float v, float low, float high) { return v < low ? low : v > high ? high : v; }

static void draw_line(const hand *h, point a, point b, float *image /* [28, 28] */)
{
    float reach = h->radius + h->softness, dx = b.x - a.x, dy = b.y - a.y, squared = dx * dx + dy * dy;
    int left = (int)clip(fminf(a.x, b.x) - reach, 0, SIDE), right = (int)clip(fmaxf(a.x, b.x) + reach + 1, 0, SIDE);
    int top = (int)clip(fminf(a.y, b.y) - reach, 0, SIDE), bottom = (int)clip(fmaxf(a.y, b.y) + reach + 1, 0, SIDE);
    for (int row = top; row < bottom; row++)
        for (int column = left; column < right; column++) {
            float px = (float)column + 0.5f - a.x, py = (float)row + 0.5f - a.y;
            float along = squared > 0 ? clip((px * dx + py * dy) / squared, 0, 1) : 0;
            float ex = px - along * dx, ey = py - along * dy;
            float cover = clip((h->radius - sqrtf(ex * ex + ey * ey)) / h->softness + 0.5f, 0, 1);
            float *pixel = &image[row * SIDE + column];
            *pixel = *pixel > cover ? *pixel : cover;
        }
}

/* The Catmull-Rom curve through p[1] and p[2], at t in 0 ... 1 between them. */
static point on_curve(const point p[4], float t)
{
    float a = ((2 - t) * t - 1) * t / 2, b = ((3 * t - 5) * t * t + 2) / 2, c = ((4 - 3 * t) * t + 1) * t / 2, d = (t - 1) * t * t / 2;
    return (point){a * p[0].x + b * p[1].x + c * p[2].x + d * p[3].x, a * p[0].y + b * p[1].y + c * p[2].y + d * p[3].y};
}

static void draw_stroke(const hand *h, source *s, const stroke *line, float *image)
{
    enum { PIECES = 5 };
    point points[TN_COUNT(line->points) + 2]; /* the first and the last twice: a curve's ends */
    int count = line->count;
    for (int i = 0; i < count; i++)
        points[i + 1] = place(h, s, line->points[i]);
    points[0] = points[1];
    points[count + 1] = points[count];
    for (int i = 0; i + 1 < count; i++) {
        point from = points[i + 1];
        for (int k = 1; line->smooth && k < PIECES; k++) {
            point to = on_curve(points + i, (float)k / PIECES);
            draw_line(h, from, to, image);
            from = to;
        }
        draw_line(h, from, points[i + 2], image);
    }
}

static uint8_t draw_digit(source *s, uint8_t *out /* [28, 28] */)
{
    float image[PIXELS] = {0};
    int digit = below(s, 10), form = below(s, forms[digit]);
    hand h = draw_hand(s);
    for (int i = 0; i < TN_COUNT(strokes); i++)
        if (strokes[i].digit == digit && strokes[i].form == form)
            draw_stroke(&h, s, &strokes[i], image);
    float noise = between(s, 0, 0.12f);
    for (int i = 0; i < PIXELS; i += 2) { /* a triangle's distribution: the difference of two bytes, twice from each word */
        uint32_t r = draw(s);
        float first = (float)(int)((r & 255) - (r >> 8 & 255)), second = (float)(int)((r >> 16 & 255) - (r >> 24));
        out[i] = (uint8_t)clip(255 * h.ink * image[i] + noise * first, 0, 255);
        out[i + 1] = (uint8_t)clip(255 * h.ink * image[i + 1] + noise * second, 0, 255);
    }
    return (uint8_t)digit;
}

tn_tensor *tn_draw_digits(int64_t n, tn_tensor **labels)
{
    if (labels)
        *labels = NULL;
    if (tn_failing())
        return NULL;
    if (n < 0 || !labels)
        return tn_fail(TN_ERR_ARGUMENT, "draw_digits: n is %lld and labels is %s: n >= 0 digits, and a place for their labels", (long long)n,
                       labels ? "given" : "NULL");
    tn_device_id cpu = {TN_CPU, 0};
    tn_tensor *images = tn_new("draw_digits", TN_SHAPE(n, SIDE, SIDE), TN_U8, cpu);
    tn_tensor *y = images ? tn_new("draw_digits", TN_SHAPE(n), TN_U8, cpu) : NULL;
    if (!y)
        return NULL;
    tn_random_state state = tn_get_random_state();
    uint8_t *pixels = (uint8_t *)tn_ptr(images), *digits = (uint8_t *)tn_ptr(y);
    for (int64_t i = 0; i < n; i++, state.offset += BLOCKS) {
        source s = {.seed = state.seed, .counter = state.offset};
        digits[i] = draw_digit(&s, pixels + i * PIXELS);
    }
    tn_set_random_state(state);
    *labels = y;
    return images;
}
