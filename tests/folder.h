/* A folder for a test's files, and files written and read whole. */
#ifndef TN_TEST_FOLDER_H
#define TN_TEST_FOLDER_H

#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64];

/* Good until the call after the next. */
static inline const char *in_folder(const char *name)
{
    static char path[2][128];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static inline void write_file(const char *path, const void *data, size_t size)
{
    unlink(path); /* some file systems wait for the disk where a file is written over */
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

static inline size_t read_file(const char *path, unsigned char *data, size_t size)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t got = read(fd, data, size);
    close(fd);
    assert_true(got >= 0);
    return (size_t)got;
}

static inline bool make_folder(const char *name)
{
    snprintf(folder, sizeof folder, "/tmp/tenon-%s-XXXXXX", name);
    return mkdtemp(folder) != NULL;
}

static inline bool remove_folder(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) == 0;
}

#endif
