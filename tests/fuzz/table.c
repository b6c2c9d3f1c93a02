/* CSV and TSV, plain and gzip-ed: the first byte says how they are read, the others are the file. */
#include "fuzz.h"

#include <string.h>

static struct {
    char separator, quote;
    bool header;
} how;

/* Every field, as text, as a number of each kind and as a class. */
static void read_back(const char *path)
{
    const tn_table *table = tn_load_table(path, .separator = how.separator, .quote = how.quote, .header = how.header);
    int64_t rows = table ? tn_table_rows(table) : 0, columns = rows < 1 << 16 && table ? tn_table_columns(table) : 0;
    size_t length = 0;
    for (int64_t k = 0; k < columns && k < 16; k++) {
        const char *name = tn_table_name(table, k), *names[4];
        int64_t count;
        if (how.header != (name != NULL) || (name && tn_table_column(table, name) > k))
            abort();
        for (int64_t i = 0; i < rows; i++)
            length += strlen(tn_table_text(table, i, k));
        look_at(tn_table_classes(table, k, names, 4, &count));
        if (tn_last_status() != TN_OK || count > rows || (rows && count < 1))
            abort();
        for (int dtype = 0; dtype < 3; dtype++) {
            look_at(tn_table_numbers(table, k, .dtype = (tn_dtype[]){TN_F32, TN_F64, TN_I64}[dtype]));
            tn_clear_error();
        }
    }
    if (columns > 1)
        look_at(tn_table_numbers(table, 0, .columns = columns));
    if (length > (size_t)1 << 30)
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const struct {
        const char *name, *text;
    } seeds[] = {
        {"plain", "8a,b,c\n1,2.5,x\n-3,1e9,\"y, \"\"z\"\"\"\n,nan,0x1p3\n"},
        {"bare", "61;2\r\n\r\n3;4\r\n"},
        {"tabs", "1\xef\xbb\xbf" "9223372036854775807\tinf\n-9223372036854775808\t-0.0"},
        {"quotes", "2\"a\nb\";\"\"\n\"\";c"},
    };
    static const uint8_t gzip[] = { /* "8", then "a,b" and 30000 times "1,2" */
        '8', 31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 237, 195, 65, 17, 0, 0, 4, 0, 176, 191, 44, 62, 52, 162, 127, 8, 13, 36, 216, 238, 54,
        185, 81, 217, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170,
        170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170,
        170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170,
        170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170,
        170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 62, 15, 45, 159, 220, 100,
        196, 212, 1, 0
    };
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++)
        put_seed(*argv, *argc, seeds[i].name, seeds[i].text, strlen(seeds[i].text));
    put_seed(*argv, *argc, "gzip", gzip, sizeof gzip);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return -1;
    how.separator = ",\t; "[data[0] & 3];
    how.quote = data[0] & 4 ? 0 : '"';
    how.header = data[0] & 8;
    try_bytes(data + 1, size - 1);
    return 0;
}
