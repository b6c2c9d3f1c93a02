/* TensorBoard's event files: records of the TFRecord format, each a tensorflow.Event in protobuf's wire format, of which four fields
 * are written by hand (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto). */
#include "core/core.h"

#include <tenon/events.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct tn_event_writer {
    tn_object base;
    int fd;
    char path[4096];
};

static void writer_free(void *self)
{
    tn_event_writer *w = self;
    if (w->fd > 0)
        close(w->fd);
}
static const tn_class writer_class = {"event_writer", sizeof(tn_event_writer), writer_free};

/* ---- records ------------------------------------------------------------------------------------------------------------ */

/* CRC-32C (Castagnoli), reflected, a byte a step. */
static uint32_t crc_table[256];
static void fill_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0x82f63b78u ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
}

/* As TFRecord stores it: turned and moved, so that a checksum of data with checksums in it is none of theirs. */
static uint32_t masked_crc(const uint8_t *data, size_t n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_crc_table);
    uint32_t c = ~0u;
    for (size_t i = 0; i < n; i++)
        c = crc_table[(c ^ data[i]) & 0xff] ^ (c >> 8);
    c = ~c;
    return ((c >> 15) | (c << 17)) + 0xa282ead8u;
}

/* A message being put together. */
enum { MOST_TAG = 512 };
typedef struct message {
    uint8_t data[MOST_TAG + 128];
    size_t size;
} message;

static void put_bytes(message *m, const void *data, size_t n)
{
    memcpy(m->data + m->size, data, n);
    m->size += n;
}

static void put_little(message *m, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        m->data[m->size++] = (uint8_t)(value >> 8 * i);
}

static void put_varint(message *m, uint64_t value)
{
    for (; value >= 128; value >>= 7)
        m->data[m->size++] = (uint8_t)(value | 128);
    m->data[m->size++] = (uint8_t)value;
}

/* The kinds of protobuf's fields. */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
static void put_field(message *m, int number, int kind) { put_varint(m, (uint64_t)(number << 3 | kind)); }

static void put_double(message *m, int number, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_field(m, number, FIXED64);
    put_little(m, bits, 8);
}

static void put_data(message *m, int number, const void *data, size_t n)
{
    put_field(m, number, BYTES);
    put_varint(m, n);
    put_bytes(m, data, n);
}

static tn_status io_error(const char *op, const char *path, const char *what)
{
    char text[128] = "";
    int number = errno;
    tn_fail(TN_ERR_IO, "%s: %s: %s: %s", op, path, what, strerror_r(number, text, sizeof text));
    return tn_last_status();
}

/* Length, its checksum, the event, its checksum, by one write: another process sees all of it or nothing. */
static tn_status write_record(tn_event_writer *w, const char *op, const message *event)
{
    message record = {.size = 0};
    put_little(&record, event->size, 8);
    put_little(&record, masked_crc(record.data, 8), 4);
    put_bytes(&record, event->data, event->size);
    put_little(&record, masked_crc(event->data, event->size), 4);
    ssize_t put;
    do
        put = write(w->fd, record.data, record.size);
    while (put < 0 && errno == EINTR);
    if (put >= 0 && (size_t)put != record.size)
        errno = ENOSPC;
    return put == (ssize_t)record.size ? TN_OK : io_error(op, w->path, "cannot write");
}

/* ---- the writer --------------------------------------------------------------------------------------------------------- */

static double wall_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A file of a name that no other has, begun by the record that says which version it is. */
static bool open_file(tn_event_writer *w, const char *folder)
{
    static const char version[] = "brain.Event:2";
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        io_error("event_writer_new", folder, "cannot make the folder");
        return false;
    }
    double now = wall_time();
    for (int count = 0; w->fd <= 0; count++) {
        int length = snprintf(w->path, sizeof w->path, "%s/events.out.tfevents.%lld.%ld.%d", folder, (long long)now, (long)getpid(), count);
        if (length < 0 || (size_t)length >= sizeof w->path) {
            tn_fail(TN_ERR_ARGUMENT, "event_writer_new: the folder's name is longer than a path may be");
            return false;
        }
        w->fd = open(w->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        if (w->fd < 0 && errno != EEXIST) {
            io_error("event_writer_new", w->path, "cannot be made");
            return false;
        }
    }
    message event = {.size = 0};
    put_double(&event, 1, now);
    put_data(&event, 3, version, sizeof version - 1);
    return write_record(w, "event_writer_new", &event) == TN_OK;
}

tn_event_writer *tn_event_writer_new(const char *folder)
{
    if (tn_failing())
        return NULL;
    if (!folder)
        return tn_fail(TN_ERR_ARGUMENT, "event_writer_new: folder is NULL");
    tn_event_writer *w = tn_object_new(&writer_class);
    if (!w || open_file(w, folder))
        return w;
    tn_release(w);
    return NULL;
}

/* Event { 1: wall_time, 2: step, 5: Summary { 1: Value { 1: tag, 2: simple_value } } } */
tn_status tn_event_scalar_with(const tn_event_scalar_args *a)
{
    TN_KNOWN(tn_event_scalar_args, a);
    if (!tn_failing() && (!a->writer || a->writer->base.cls != &writer_class || !a->tag))
        tn_fail(TN_ERR_ARGUMENT, "event_scalar: %s is %s", !a->writer || a->tag ? "writer" : "tag", a->writer && a->tag ? "none" : "NULL");
    if (!tn_failing() && (!*a->tag || strlen(a->tag) > MOST_TAG))
        tn_fail(TN_ERR_ARGUMENT, "event_scalar: the tag has %zu bytes: 1 to %d are right", strlen(a->tag), MOST_TAG);
    if (tn_failing())
        return tn_last_status();
    float number = (float)a->value;
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    message value = {.size = 0}, summary = {.size = 0}, event = {.size = 0};
    put_data(&value, 1, a->tag, strlen(a->tag));
    put_field(&value, 2, FIXED32);
    put_little(&value, bits, 4);
    put_data(&summary, 1, value.data, value.size);
    put_double(&event, 1, a->wall_time != 0 ? a->wall_time : wall_time());
    put_field(&event, 2, VARINT);
    put_varint(&event, (uint64_t)a->step);
    put_data(&event, 5, summary.data, summary.size);
    return write_record(a->writer, "event_scalar", &event);
}

const char *tn_event_path(const tn_event_writer *w) { return w ? w->path : NULL; }
