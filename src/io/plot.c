/* Pictures of curves and surfaces: a script for gnuplot, and the numbers as CSV. */
#include "io/file.h"

#include <tenon/plot.h>

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct point {
    double x, y, z;
} point;

typedef struct series {
    char *name;
    tn_plot_style style;
    bool right;
    int colour;    /* its place, or another's */
    point *points; /* [count] */
    int64_t count, capacity;
    int64_t next; /* of the CSV being written: the first point not yet in a row */
} series;

struct tn_plot {
    tn_object base;
    char *path, *csv, *title, *xlabel, *ylabel, *y2label, *zlabel; /* a label that was not given is NULL */
    bool svg;
    bool space; /* has points of three coordinates, or a surface */
    series *all; /* [count] */
    int count, capacity;
    tn_tensor *surface; /* f64 [rows, columns], or NULL */
    double x0, x1, y0, y1;
};

static char *copy_text(const char *text)
{
    size_t size = text ? strlen(text) + 1 : 0;
    char *copy = text ? tn_alloc(size) : NULL;
    return copy ? memcpy(copy, text, size) : NULL;
}

static void free_text(char *text)
{
    if (text)
        tn_free(text, strlen(text) + 1);
}

static void plot_free(void *self)
{
    tn_plot *plot = self;
    char *texts[] = {plot->path, plot->csv, plot->title, plot->xlabel, plot->ylabel, plot->y2label, plot->zlabel};
    for (int i = 0; i < TN_COUNT(texts); i++)
        free_text(texts[i]);
    for (int i = 0; i < plot->count; i++) {
        free_text(plot->all[i].name);
        tn_free(plot->all[i].points, (size_t)plot->all[i].capacity * sizeof(point));
    }
    tn_free(plot->all, (size_t)plot->capacity * sizeof *plot->all);
    tn_release(plot->surface);
}
static const tn_class plot_class = {"plot", sizeof(tn_plot), plot_free};

static bool folder_is_there(const char *path)
{
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) + 1 : 1;
    char *folder = tn_alloc(length + 1);
    if (!folder)
        return false;
    memcpy(folder, slash ? path : ".", length);
    folder[length] = 0;
    const bool there = access(folder, W_OK) == 0;
    tn_free(folder, length + 1);
    if (!there)
        tn_fail(TN_ERR_IO, "plot: %s: its folder is not there, or cannot be written to", path);
    return there;
}

tn_plot *tn_plot_new_with(const tn_plot_args *a)
{
    TN_KNOWN(tn_plot_args, a);
    if (tn_failing())
        return NULL;
    size_t length = a->path ? strlen(a->path) : 0;
    const char *end = length > 4 ? a->path + length - 4 : "";
    if (strcmp(end, ".png") != 0 && strcmp(end, ".svg") != 0)
        return tn_fail(TN_ERR_ARGUMENT, "plot: the path is %s%s%s: it must end in .png or .svg", a->path ? "\"" : "", a->path ? a->path : "NULL",
                       a->path ? "\"" : "");
    tn_plot *plot = tn_object_new(&plot_class);
    if (!plot || !folder_is_there(a->path)) { /* said before a long training, not after it */
        tn_release(plot);
        return NULL;
    }
    plot->svg = strcmp(end, ".svg") == 0;
    plot->path = copy_text(a->path);
    plot->csv = copy_text(a->path);
    plot->title = copy_text(a->title);
    plot->xlabel = copy_text(a->xlabel);
    plot->ylabel = copy_text(a->ylabel);
    plot->y2label = copy_text(a->y2label);
    plot->zlabel = copy_text(a->zlabel);
    if (tn_failing()) {
        tn_release(plot);
        return NULL;
    }
    memcpy(plot->csv + length - 4, ".csv", 4);
    return plot;
}

/* An array of at least count + 1 items, the old ones copied; false on no memory. */
static bool grow(void **items, size_t item, int64_t count, int64_t *capacity)
{
    if (count < *capacity)
        return true;
    int64_t bigger = *capacity ? 2 * *capacity : 16;
    void *more = tn_alloc((size_t)bigger * item);
    if (!more)
        return false;
    if (count)
        memcpy(more, *items, (size_t)count * item);
    tn_free(*items, (size_t)*capacity * item);
    *items = more;
    *capacity = bigger;
    return true;
}

static series *find_series(const tn_plot *plot, const char *name)
{
    for (int i = 0; i < plot->count; i++)
        if (strcmp(plot->all[i].name, name) == 0)
            return &plot->all[i];
    return NULL;
}

/* The series of that name, made where there is none; NULL with an error. */
static series *series_of(tn_plot *plot, const char *name)
{
    if (tn_failing())
        return NULL;
    if (!plot || !name)
        return tn_fail(TN_ERR_ARGUMENT, "plot: %s is NULL", plot ? "the series' name" : "the plot");
    series *there = find_series(plot, name);
    if (there)
        return there;
    void *all = plot->all;
    int64_t capacity = plot->capacity;
    bool room = grow(&all, sizeof *plot->all, plot->count, &capacity);
    plot->all = all;
    plot->capacity = (int)capacity;
    char *copy = room ? copy_text(name) : NULL;
    if (!copy)
        return NULL;
    plot->all[plot->count] = (series){.name = copy, .colour = plot->count};
    return &plot->all[plot->count++];
}

tn_status tn_plot_series_with(const tn_plot_series_args *a)
{
    TN_KNOWN(tn_plot_series_args, a);
    const series *like = a->plot && a->colour_of ? find_series(a->plot, a->colour_of) : NULL;
    const int colour = like ? like->colour : -1;
    if (!tn_failing() && a->plot && a->colour_of && !like)
        tn_fail(TN_ERR_ARGUMENT, "plot: .colour_of is \"%s\": there is no such series yet", a->colour_of);
    series *s = series_of(a->plot, a->name);
    if (s) {
        s->style = a->style;
        s->right = a->right;
        s->colour = like ? colour : (int)(s - a->plot->all);
    }
    return tn_last_status();
}

static tn_status add_point(tn_plot *plot, const char *name, point p, bool space)
{
    if (!tn_failing() && !isfinite(p.x)) {
        tn_fail(TN_ERR_ARGUMENT, "plot: x is %g: a finite number is needed", p.x);
        return TN_ERR_ARGUMENT;
    }
    series *s = series_of(plot, name);
    if (!s)
        return tn_last_status();
    void *points = s->points;
    bool room = grow(&points, sizeof *s->points, s->count, &s->capacity);
    s->points = points;
    if (!room)
        return TN_ERR_MEMORY;
    s->points[s->count++] = p;
    plot->space |= space;
    return TN_OK;
}

tn_status tn_plot_point(tn_plot *plot, const char *name, double x, double y) { return add_point(plot, name, (point){x, y, NAN}, false); }

tn_status tn_plot_point3(tn_plot *plot, const char *name, double x, double y, double z)
{
    return add_point(plot, name, (point){x, y, z}, true);
}

tn_status tn_plot_surface(tn_plot *plot, const tn_tensor *z, double x0, double x1, double y0, double y1)
{
    if (!tn_ready("plot_surface", "z", z))
        return tn_last_status();
    if (!plot)
        tn_fail(TN_ERR_ARGUMENT, "plot_surface: the plot is NULL");
    else if (z->ndim != 2 || z->sizes[0] < 2 || z->sizes[1] < 2)
        tn_fail(TN_ERR_SHAPE, "plot_surface: z is %s: heights over a grid, [rows, columns], at least [2, 2], are needed", tn_text(z));
    if (tn_failing())
        return tn_last_status();
    tn_tensor *copy = tn_new_owned("plot_surface", tn_shape_of(z), TN_F64, (tn_device_id){TN_CPU, 0});
    if (!copy || tn_to_doubles(z, (double *)tn_ptr(copy), z->numel) != TN_OK) {
        tn_release(copy);
        return tn_last_status();
    }
    tn_release(plot->surface);
    plot->surface = copy;
    plot->space = true;
    plot->x0 = x0, plot->x1 = x1, plot->y0 = y0, plot->y1 = y1;
    return TN_OK;
}

const char *tn_plot_csv(const tn_plot *plot) { return plot ? plot->csv : NULL; }

/* ---- the numbers -------------------------------------------------------------------------------------------------------- */

static void put_quoted(FILE *out, const char *text)
{
    for (; *text; text++)
        fprintf(out, *text == '"' ? "\"\"" : "%c", *text);
}

/* The head of a column: in quotes where it has a comma, a quote or a line's end; of a path's the series' name and what is measured. */
static void put_head(FILE *out, const char *name, const char *measured)
{
    const char *quote = name[strcspn(name, ",\"\r\n")] || measured[strcspn(measured, ",\"\r\n")] ? "\"" : "";
    fputs(quote, out);
    put_quoted(out, name);
    fputs(*measured ? ": " : "", out);
    put_quoted(out, measured);
    fputs(quote, out);
}

static void put_number(FILE *out, double value)
{
    if (isnan(value))
        fputc(',', out);
    else
        fprintf(out, ",%.10g", value);
}

/* Each point stands in one row. A row has the smallest x of those that come next, and every series whose next x it is. */
static void put_table(FILE *out, tn_plot *plot)
{
    put_head(out, plot->xlabel ? plot->xlabel : "x", "");
    for (int i = 0; i < plot->count; i++) {
        plot->all[i].next = 0;
        fputc(',', out);
        put_head(out, plot->all[i].name, !plot->space ? "" : plot->ylabel ? plot->ylabel : "y");
        if (plot->space) {
            fputc(',', out);
            put_head(out, plot->all[i].name, plot->zlabel ? plot->zlabel : "z");
        }
    }
    for (;;) {
        double x = INFINITY;
        for (int i = 0; i < plot->count; i++) {
            const series *s = &plot->all[i];
            if (s->next < s->count && s->points[s->next].x < x)
                x = s->points[s->next].x;
        }
        fputc('\n', out);
        if (x == INFINITY)
            return;
        fprintf(out, "%.10g", x);
        for (int i = 0; i < plot->count; i++) {
            series *s = &plot->all[i];
            bool here = s->next < s->count && s->points[s->next].x == x;
            point p = here ? s->points[s->next++] : (point){x, NAN, NAN};
            put_number(out, p.y);
            if (plot->space)
                put_number(out, p.z);
        }
    }
}

/* ---- the picture -------------------------------------------------------------------------------------------------------- */

/* What gnuplot reads as this text: in single quotes, those within doubled, control characters as spaces. */
static void put_text(FILE *out, const char *before, const char *text)
{
    fprintf(out, "%s'", before);
    for (; text && *text; text++)
        fprintf(out, *text == '\'' ? "''" : "%c", (unsigned char)*text < ' ' ? ' ' : *text);
    fputs("'", out);
}

static void put_setting(FILE *out, const char *setting, const char *text)
{
    if (!text)
        return;
    put_text(out, setting, text);
    fputs(" noenhanced\n", out);
}

static void put_data(FILE *out, const tn_plot *plot)
{
    for (int i = 0; i < plot->count; i++) {
        const series *s = &plot->all[i];
        fprintf(out, "$series%d << END\n", i);
        for (int64_t k = 0; k < s->count; k++)
            fprintf(out, "%.10g %.10g %.10g\n", s->points[k].x, s->points[k].y, s->points[k].z);
        fputs("END\n", out);
    }
    if (!plot->surface)
        return;
    const double *z = (const double *)tn_ptr(plot->surface); /* [rows, columns] */
    int64_t rows = plot->surface->sizes[0], columns = plot->surface->sizes[1];
    fputs("$surface << END\n", out);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++)
            fprintf(out, "%.10g %.10g %.10g\n", plot->x0 + (plot->x1 - plot->x0) * (double)j / (double)(columns - 1),
                    plot->y0 + (plot->y1 - plot->y0) * (double)i / (double)(rows - 1), z[i * columns + j]);
        fputc('\n', out);
    }
    fputs("END\n", out);
}

static void put_script(FILE *out, const tn_plot *plot, const char *picture)
{
    static const char *const colours[] = {"#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#7f7f7f"};
    static const char *const styles[] = {"lines lw 2", "lines lw 2 dt 2", "points pt 7 ps 0.7", "linespoints lw 2 pt 7 ps 0.8"};
    fprintf(out, "set encoding utf8\nset terminal %s size 960,600 font 'Sans,13'\n", plot->svg ? "svg" : "pngcairo");
    put_text(out, "set output ", picture);
    fputs("\nset datafile missing 'nan'\nset grid lt 1 lw 0.6 lc rgb '#dddddd'\n", out);
    /* below the axes: of a surface at a place on the page, gnuplot cuts it off at the left there otherwise */
    fprintf(out, "set key %s horizontal noenhanced height 1\n", plot->space ? "at screen 0.05,0.06 left center" : "bmargin center");
    put_setting(out, "set title ", plot->title);
    put_setting(out, "set xlabel ", plot->xlabel);
    put_setting(out, "set ylabel ", plot->ylabel);
    put_setting(out, "set y2label ", plot->y2label);
    put_setting(out, "set zlabel ", plot->zlabel);
    bool right = false;
    for (int i = 0; i < plot->count; i++)
        right |= plot->all[i].right;
    fputs(plot->space ? "set view 42,35,1,1.3\nset xyplane 0\nset ticslevel 0\nset pm3d scansautomatic\n"
                        "set palette defined (0 '#440154', 1 '#3b528b', 2 '#21918c', 3 '#5ec962', 4 '#fde725')\n"
                      : right ? "set border 11\nset ytics nomirror\nset y2tics\n" : "set border 3\nset tics nomirror\n", out);
    put_data(out, plot);
    fputs(plot->space ? "splot " : "plot ", out);
    if (plot->surface)
        fputs("$surface using 1:2:3 with pm3d notitle, ", out);
    for (int i = 0; i < plot->count; i++) {
        const series *s = &plot->all[i];
        fprintf(out, "$series%d using 1:2%s%s with %s lc rgb '%s'", i, plot->space ? ":3" : "", s->right && !plot->space ? " axes x1y2" : "",
                styles[s->style], colours[(s->colour + (plot->surface != NULL)) % TN_COUNT(colours)]); /* blue is lost on a surface */
        put_text(out, " title ", s->name);
        fputs(", ", out);
    }
    fputs("\n", out);
}

static tn_status fail_io(const char *path, const char *what, int number)
{
    char text[128] = "";
    tn_fail(TN_ERR_IO, "plot_save: %s: %s: %s", path, what, strerror_r(number, text, sizeof text));
    return TN_ERR_IO;
}

/* Runs gnuplot on the script; what it says on failure goes into the error. */
static tn_status run_gnuplot(const tn_plot *plot, FILE *script, FILE *said)
{
    extern char **environ;
    char *arguments[] = {"gnuplot", "-", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return fail_io(plot->path, "gnuplot cannot be started", ENOMEM);
    int wrong = posix_spawn_file_actions_adddup2(&actions, fileno(script), 0);
    wrong = wrong ? wrong : posix_spawn_file_actions_adddup2(&actions, fileno(said), 1);
    wrong = wrong ? wrong : posix_spawn_file_actions_adddup2(&actions, fileno(said), 2);
    wrong = wrong ? wrong : posix_spawnp(&child, arguments[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (wrong == ENOENT) {
        tn_fail(TN_ERR_UNSUPPORTED, "plot_save: no gnuplot to draw %s with: install it; the numbers are in %s", plot->path, plot->csv);
        return TN_ERR_UNSUPPORTED;
    }
    if (wrong)
        return fail_io(plot->path, "gnuplot cannot be started", wrong);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (status == 0)
        return TN_OK;
    char text[300];
    rewind(said);
    size_t length = fread(text, 1, sizeof text - 1, said);
    text[length] = 0;
    tn_fail(TN_ERR_IO, "plot_save: %s: gnuplot says: %s", plot->path, text + strspn(text, "\n"));
    return TN_ERR_IO;
}

static tn_status draw(const tn_plot *plot, const char *picture)
{
    FILE *script = tmpfile(), *said = tmpfile();
    tn_status status = script && said ? TN_OK : fail_io(plot->path, "no temporary file", errno);
    if (status == TN_OK) {
        TN_C_NUMBERS;
        put_script(script, plot, picture);
        bool written = fflush(script) == 0 && !ferror(script);
        rewind(script);
        status = written ? run_gnuplot(plot, script, said) : fail_io(plot->path, "its script cannot be written", errno);
    }
    if (script)
        fclose(script);
    if (said)
        fclose(said);
    return status;
}

static tn_status write_table(tn_plot *plot)
{
    char *text = NULL;
    size_t size = 0;
    TN_C_NUMBERS;
    FILE *memory = open_memstream(&text, &size);
    if (memory)
        put_table(memory, plot);
    bool whole = memory && !ferror(memory);
    whole = memory && fclose(memory) == 0 && whole;
    tn_status status = whole ? TN_OK : fail_io(plot->csv, "cannot be made", ENOMEM);
    tn_writer w;
    status = status == TN_OK ? tn_writer_open(&w, "plot_save", plot->csv) : status;
    if (status == TN_OK)
        status = tn_writer_close(&w, tn_writer_write(&w, text, size));
    free(text);
    return status;
}

tn_status tn_plot_save(tn_plot *plot)
{
    if (!plot) {
        tn_fail(TN_ERR_ARGUMENT, "plot_save: the plot is NULL");
        return TN_ERR_ARGUMENT;
    }
    tn_status status = write_table(plot);
    size_t size = strlen(plot->path) + 6;
    char *part = status == TN_OK ? tn_alloc(size) : NULL; /* drawn beside its name until it is whole */
    if (!part)
        return status == TN_OK ? TN_ERR_MEMORY : status;
    snprintf(part, size, "%s.part", plot->path);
    status = draw(plot, part);
    if (status == TN_OK && rename(part, plot->path) != 0)
        status = fail_io(plot->path, "cannot be written", errno);
    else if (status != TN_OK)
        unlink(part);
    tn_free(part, size);
    return status;
}
