/* Pictures: the CSV to the letter, a picture by gnuplot where it is installed, and every way in which it can fail. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const char *contents(const char *path)
{
    static char text[1 << 16];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return text;
}

/* Saves, and sees the picture begin as it must; where there is no gnuplot, sees that said. */
static void save_and_look(tn_plot *plot, const char *picture, const char *begins)
{
    if (tn_plot_save(plot) == TN_ERR_UNSUPPORTED) {
        print_message("no gnuplot here: the picture is not looked at\n");
        check_error(TN_ERR_UNSUPPORTED, "no gnuplot to draw");
        assert_int_not_equal(access(picture, F_OK), 0);
        return;
    }
    check_good();
    assert_int_equal(strncmp(contents(picture), begins, strlen(begins)), 0);
}

static void test_curves(void **state)
{
    (void)state;
    const char *picture = in_folder("curve.png");
    tn_plot *plot = tn_plot_new(picture, .title = "It's 5 % of 'all'\nand $more `date`", .xlabel = "epoch", .ylabel = "%", .y2label = "loss");
    tn_check(tn_plot_series(plot, "loss", .style = TN_PLOT_DASHED, .right = true));
    for (int i = 1; i <= 3; i++) {
        tn_check(tn_plot_point(plot, "train, \"all\"", i, 10 * i));
        tn_check(tn_plot_point(plot, "loss", i, i == 2 ? NAN : 1.0 / i));
    }
    tn_check(tn_plot_point(plot, "test", 2.5, 1e-12));
    save_and_look(plot, picture, "\x89PNG");
    assert_string_equal(contents(tn_plot_csv(plot)), "epoch,loss,\"train, \"\"all\"\"\",test\n1,1,10,\n2,,20,\n2.5,,,1e-12\n3,0.3333333333,30,\n");

    tn_check(tn_plot_point(plot, "test", 0, 7)); /* goes back: its series' order holds */
    save_and_look(plot, picture, "\x89PNG");
    assert_string_equal(contents(tn_plot_csv(plot)),
                        "epoch,loss,\"train, \"\"all\"\"\",test\n1,1,10,\n2,,20,\n2.5,,,1e-12\n0,,,7\n3,0.3333333333,30,\n");
    tn_release(plot);
}

/* How often gnuplot's SVG sets a colour. */
static int times(const char *svg, const char *colour)
{
    int count = 0;
    for (; (svg = strstr(svg, colour)); svg++)
        count++;
    return count;
}

static void test_a_series_in_the_colour_of_another(void **state)
{
    (void)state;
    static const char *const names[] = {"plain", "other", "plain, loss"};
    tn_plot *plot = tn_plot_new(in_folder("colours.svg"));
    tn_check(tn_plot_series(plot, "plain"));
    tn_check(tn_plot_series(plot, "other"));
    tn_check(tn_plot_series(plot, "plain, loss", .style = TN_PLOT_DASHED, .right = true, .colour_of = "plain"));
    for (int i = 0; i < 6; i++)
        tn_check(tn_plot_point(plot, names[i / 2], i % 2, i));
    save_and_look(plot, in_folder("colours.svg"), "<?xml");
    if (access(in_folder("colours.svg"), F_OK) == 0) {
        const char *svg = contents(in_folder("colours.svg"));
        int blue = times(svg, "rgb( 31, 119, 180)"), red = times(svg, "rgb(214,  39,  40)");
        if (red == 0 || blue != 2 * red || strstr(svg, "rgb( 44, 160,  44)"))
            fail_msg("blue %d times, red %d, green %d: two curves in blue, one in red were due", blue, red, times(svg, "rgb( 44, 160,  44)"));
    }
    assert_int_equal(tn_plot_series(plot, "new", .colour_of = "absent"), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "plot: .colour_of is \"absent\": there is no such series yet");
    (void)!tn_plot_save(plot);
    tn_clear_error();
    assert_null(strstr(contents(tn_plot_csv(plot)), "new")); /* nor was it made */
    tn_release(plot);
}

/* Where an SVG has a text. */
static void legend_at(const char *svg, const char *text, double *x, double *y)
{
    const char *place = NULL, *here = strstr(svg, text);
    assert_non_null(here);
    for (const char *p = svg; (p = strstr(p, "translate(")) && p < here; p++)
        place = p;
    assert_non_null(place);
    assert_int_equal(sscanf(place, "translate(%lf,%lf)", x, y), 2);
}

static void test_surface_with_a_path(void **state)
{
    (void)state;
    const char *picture = in_folder("surface.svg");
    tn_plot *plot = tn_plot_new(picture, .xlabel = "a", .zlabel = "f");
    tn_check(tn_plot_surface(plot, tn_reshape(tn_arange(0, 6), TN_SHAPE(2, 3)), 0, 1, 0, 1));
    tn_check(tn_plot_point3(plot, "path", 0.5, 0.25, 3));
    tn_check(tn_plot_point3(plot, "path", 0.25, 0.5, 2));
    save_and_look(plot, picture, "<?xml");
    if (access(picture, F_OK) == 0) {
        double x, y;
        legend_at(contents(picture), ">path<", &x, &y);
        assert_true(x > 60 && x < 300 && y > 540 && y < 600); /* whole, and below the axes */
    }
    assert_string_equal(contents(tn_plot_csv(plot)), "a,path: y,path: f\n0.5,0.25,3\n0.25,0.5,2\n");
    tn_release(plot);
}

static void test_without_gnuplot_the_numbers_are_written(void **state)
{
    (void)state;
    char *path = strdup(getenv("PATH"));
    setenv("PATH", folder, 1);
    tn_plot *plot = tn_plot_new(in_folder("none.png"));
    tn_check(tn_plot_point(plot, "y", 1, 2));
    tn_status status = tn_plot_save(plot);
    setenv("PATH", path, 1);
    free(path);
    assert_int_equal(status, TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_UNSUPPORTED, "none.png with: install it; the numbers are in");
    assert_string_equal(contents(tn_plot_csv(plot)), "x,y\n1,2\n");
    tn_release(plot);
}

static void test_saving_works_while_an_error_sticks(void **state)
{
    (void)state;
    tn_plot *plot = tn_plot_new(in_folder("stuck.png"));
    tn_check(tn_plot_point(plot, "y", 1, 2));
    tn_fail(TN_ERR_STATE, "an earlier one");
    assert_int_equal(tn_plot_point(plot, "y", 2, 3), TN_ERR_STATE);
    tn_status status = tn_plot_save(plot);
    assert_true(status == TN_OK || status == TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_STATE, "an earlier one");
    assert_string_equal(contents(tn_plot_csv(plot)), "x,y\n1,2\n");
    tn_release(plot);
}

static void test_what_is_wrong_is_said(void **state)
{
    (void)state;
    assert_null(tn_plot_new("curve.jpeg"));
    check_error(TN_ERR_ARGUMENT, "\"curve.jpeg\": it must end in .png or .svg");
    assert_null(tn_plot_new(NULL));
    check_error(TN_ERR_ARGUMENT, "the path is NULL");
    assert_null(tn_plot_new(".png"));
    check_error(TN_ERR_ARGUMENT, "must end in");

    assert_null(tn_plot_new(in_folder("absent/curve.png")));
    check_error(TN_ERR_IO, "absent/curve.png: its folder is not there");
    tn_plot *plot = tn_plot_new(in_folder("gone.png"));
    assert_int_equal(tn_plot_point(plot, "y", NAN, 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "x is nan");
    assert_int_equal(tn_plot_point(plot, NULL, 1, 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "the series' name is NULL");
    assert_int_equal(tn_plot_point(NULL, "y", 1, 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "the plot is NULL");
    assert_int_equal(tn_plot_surface(plot, tn_ones(TN_SHAPE(1, 4)), 0, 1, 0, 1), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "z is [1, 4]");
    assert_int_equal(tn_plot_surface(NULL, tn_ones(TN_SHAPE(2, 4)), 0, 1, 0, 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "the plot is NULL");
    assert_int_equal(tn_plot_save(NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "the plot is NULL");
    tn_check(tn_plot_point(plot, "y", 1, 1));
    assert_int_equal(mkdir(in_folder("gone.csv"), 0700), 0); /* in the table's place */
    assert_int_equal(tn_plot_save(plot), TN_ERR_IO);
    check_error(TN_ERR_IO, "gone.csv: cannot be written: it is no regular file");
    tn_release(plot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_curves),
        TEST(test_a_series_in_the_colour_of_another),
        TEST(test_surface_with_a_path),
        TEST(test_without_gnuplot_the_numbers_are_written),
        TEST(test_saving_works_while_an_error_sticks),
        TEST(test_what_is_wrong_is_said),
    };
    snprintf(folder, sizeof folder, "/tmp/tenon-plot-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command) != 0 || failed;
}
