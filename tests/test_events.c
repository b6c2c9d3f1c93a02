/* labels: quick */
/* Event files, to the byte. tests/reference/read_events.py reads one with TensorBoard's own reader. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

/* The records of one writer with fixed times, as tensorboard.compat.proto and its masked CRC32C have them. */
static void test_bytes(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/run", folder);
    tn_event_writer *w = tn_event_writer_new(path);
    check_good();
    assert_int_equal(tn_event_scalar(w, "loss/a", 0.25, 3, .wall_time = 1700000000.5), TN_OK);
    assert_int_equal(tn_event_scalar(w, "b", NAN, 300, .wall_time = 1), TN_OK);
    assert_int_equal(tn_event_scalar(w, "b", 1e300, -1), TN_OK);
    uint8_t data[512];
    FILE *f = fopen(tn_event_path(w), "rb"); /* all is there before the writer goes */
    assert_non_null(f);
    size_t size = fread(data, 1, sizeof data, f);
    fclose(f);
    static const uint8_t scalar[] = {
#include "reference/event_record.h"
    };
    assert_int_equal(data[0], 24); /* the first record: 8 + 4 + 24 + 4 bytes */
    assert_memory_equal(data + 12 + 9, "\x1a\x0d" "brain.Event:2", 15);
    assert_memory_equal(data + 40, scalar, sizeof scalar);
    assert_int_equal(size, 40 + sizeof scalar + (16 + 9 + 3 + 2 + 2 + 8) + (16 + 9 + 11 + 2 + 2 + 8));

    tn_event_writer *other = tn_event_writer_new(path); /* in the same second: a file of its own */
    check_good();
    assert_string_not_equal(tn_event_path(w), tn_event_path(other));
    tn_release(other);
    tn_release(w);
}

static void test_errors(void **state)
{
    (void)state;
    char path[128], tag[600];
    assert_null(tn_event_writer_new(NULL));
    check_error(TN_ERR_ARGUMENT, "folder is NULL");
    assert_null(tn_event_writer_new("/nonexistent/run"));
    check_error(TN_ERR_IO, "/nonexistent/run: cannot make the folder");
    snprintf(path, sizeof path, "%s/file", folder);
    fclose(fopen(path, "w"));
    assert_null(tn_event_writer_new(path));
    check_error(TN_ERR_IO, "cannot be made");
    tn_event_writer *w = tn_event_writer_new(folder);
    memset(tag, 'x', sizeof tag);
    tag[sizeof tag - 1] = 0;
    assert_int_equal(tn_event_scalar(w, tag, 1, 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "the tag has 599 bytes");
    tag[512] = 0;
    assert_int_equal(tn_event_scalar(w, tag, 1, INT64_MIN), TN_OK);
    assert_int_equal(tn_event_scalar(w, "", 1, 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "0 bytes");
    assert_int_equal(tn_event_scalar(w, NULL, 1, 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "tag is NULL");
    assert_int_equal(tn_event_scalar(NULL, "a", 1, 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "writer is NULL");
    tn_release(w);
}

static int make_folder(void **state)
{
    (void)state;
    const char *keep = getenv("TN_TEST_KEEP"); /* for tests/reference/read_events.py to read */
    snprintf(folder, sizeof folder, "%s", keep ? keep : "/tmp/tenon-events-XXXXXX");
    return keep ? (mkdir(folder, 0777), 0) : mkdtemp(folder) ? 0 : -1;
}
static int remove_folder(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return getenv("TN_TEST_KEEP") ? 0 : system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bytes),
        TEST(test_errors),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
