/* The progress bar: plain lines where the output is no terminal, one line drawn anew where it is. */
#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* ---- no terminal: lines of a file --------------------------------------------------------------------------------------- */

static char text[16384];

static const char *text_of(FILE *file)
{
    fflush(file);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    return text;
}

static int count_of(const char *where, const char *what)
{
    int count = 0;
    for (; (where = strstr(where, what)); where++)
        count++;
    return count;
}

/* What a bar of that total writes for so many steps; the k-th has the text "loss k". */
static const char *run(int64_t total, int steps)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    tn_progress_bar *bar = tn_progress_new(total, file);
    for (int k = 1; k <= steps; k++)
        tn_progress(bar, "loss %d", k);
    tn_release(bar);
    text_of(file);
    fclose(file);
    return text;
}

static void test_a_line_at_each_tenth(void **state)
{
    (void)state;
    const char *out = run(40, 40);
    assert_int_equal(count_of(out, "\n"), 10);
    assert_null(strchr(out, '\r'));
    assert_null(strchr(out, '\033'));
    for (int k = 1; k <= 40; k++) {
        char due[32];
        snprintf(due, sizeof due, "%3d%%  %d/40  ", k * 100 / 40, k);
        assert_int_equal(count_of(out, due), k % 4 == 0);
        snprintf(due, sizeof due, "it/s  loss %d  ", k);
        assert_int_equal(count_of(out, due), k % 4 == 0);
    }
    assert_int_equal(count_of(out, " left\n"), 9); /* all but the last, which says how long it took */
    assert_non_null(strstr(out, "100%  40/40  "));

    out = run(25, 25); /* a tenth rounded up, and the end */
    assert_int_equal(count_of(out, "\n"), 9);
    assert_non_null(strstr(out, "100%  25/25  "));
    assert_int_equal(count_of(run(3, 3), "\n"), 3);
    assert_int_equal(count_of(run(40, 7), "\n"), 1);
    assert_int_equal(count_of(run(INT64_MAX, 50), "\n"), 0);
}

static void test_more_steps_than_were_said(void **state)
{
    (void)state;
    const char *out = run(2, 9);
    assert_int_equal(count_of(out, "\n"), 2);
    assert_null(strstr(out, "3/2"));
}

static void test_an_unknown_total(void **state)
{
    (void)state;
    const char *out = run(0, 20);
    assert_int_equal(count_of(out, "\n"), 5);
    for (int k = 1; k <= 16; k *= 2) {
        char due[32];
        snprintf(due, sizeof due, "loss %d  ", k);
        assert_int_equal(count_of(out, due), 1);
    }
    assert_null(strchr(out, '%'));
    assert_null(strstr(out, "left"));
    assert_int_equal(count_of(run(-1, 3), "\n"), 2);
}

/* 50 steps of 10 ms: the rate is below 100 a second and above what a slow machine can make of it, the time left is that of the rest. */
static void test_rate_and_time(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    tn_progress_bar *bar = tn_progress_new(2000, file);
    for (int k = 0; k < 200; k++) {
        if (k < 50)
            usleep(10000);
        tn_progress(bar, NULL);
    }
    tn_release(bar);
    double rate;
    int done, minutes, seconds;
    assert_int_equal(sscanf(text_of(file), " 10%%  %d/2000  %lf it/s  %d:%d left", &done, &rate, &minutes, &seconds), 4);
    fclose(file);
    assert_int_equal(done, 200);
    assert_true(rate < 400.1 && rate > 1);
    assert_true(fabs(1800 / rate - (60 * minutes + seconds)) <= 1.1);
}

static void test_errors_and_nothing(void **state)
{
    (void)state;
    tn_progress(NULL, "loss %d", 1);
    check_good();
    FILE *file = tmpfile();
    tn_progress_bar *bar = tn_progress_new(2, file);
    tn_fail(TN_ERR_STATE, "an earlier error");
    assert_null(tn_progress_new(2, file));
    tn_progress(bar, "loss %d", 1);
    check_error(TN_ERR_STATE, "an earlier error");
    assert_string_equal(text_of(file), "");
    char longer[600];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    tn_progress(bar, "%s", longer); /* cut at 255 bytes */
    assert_int_equal(count_of(text_of(file), "x"), 255);
    tn_release(bar);
    fclose(file);
    bar = tn_progress_new(5, NULL); /* to stderr */
    assert_non_null(bar);
    tn_release(bar);
}

/* ---- a terminal --------------------------------------------------------------------------------------------------------- */

static const char *on_terminal(int columns, int total, int steps, int pause_us)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) {
        print_message("skipped: no pseudo-terminal here\n");
        skip();
    }
    FILE *out = fopen(ptsname(master), "w");
    assert_non_null(out);
    struct winsize window = {.ws_row = 24, .ws_col = (unsigned short)columns};
    assert_int_equal(ioctl(fileno(out), TIOCSWINSZ, &window), 0);
    tn_progress_bar *bar = tn_progress_new(total, out);
    for (int k = 1; k <= steps; k++) {
        if (pause_us)
            usleep((useconds_t)pause_us);
        tn_progress(bar, "loss %d", k);
    }
    tn_release(bar);
    assert_int_equal(fcntl(master, F_SETFL, O_NONBLOCK), 0);
    size_t length = 0;
    for (ssize_t got; length < sizeof text - 1 && (got = read(master, text + length, sizeof text - 1 - length)) > 0;)
        length += (size_t)got;
    text[length] = 0;
    fclose(out);
    close(master);
    return text;
}

static void test_a_terminal(void **state)
{
    (void)state;
    const char *out = on_terminal(100, 1000, 1000, 0); /* quick: the first step and the last are drawn, in the same line */
    assert_int_equal(count_of(out, "\n"), 1);
    assert_true(count_of(out, "\r\033[?7l") >= 2 && count_of(out, "\033[?7l") < 100);
    assert_non_null(strstr(out, "[..............................]   0%  1/1000  "));
    assert_non_null(strstr(out, "[##############################] 100%  1000/1000  "));
    assert_non_null(strstr(out, "loss 1000"));

    out = on_terminal(100, 1000, 500, 0); /* released half-way: the line is ended */
    assert_int_equal(count_of(out, "\n"), 1);
    out = on_terminal(100, 4, 9, 0); /* beyond its end nothing is drawn */
    assert_int_equal(count_of(out, "\n"), 1);
    out = on_terminal(30, 2, 2, 0); /* no room for a bar */
    assert_null(strchr(out, '#'));
    out = on_terminal(100, 0, 5, 0); /* nor one of an unknown total */
    assert_null(strchr(out, '#'));
    assert_null(strchr(out, '%'));
    assert_int_equal(count_of(out, "\n"), 1);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    out = on_terminal(100, 100, 50, 4000); /* at most ten times a second */
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
    assert_true(count_of(out, "it/s") >= 2 && count_of(out, "it/s") <= 1 + 10 * seconds);
    assert_non_null(strstr(out, "left"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_line_at_each_tenth), TEST(test_more_steps_than_were_said), TEST(test_an_unknown_total),
        TEST(test_rate_and_time),        TEST(test_errors_and_nothing),        TEST(test_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
