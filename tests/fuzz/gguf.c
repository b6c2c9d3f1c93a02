/* GGUF: all values asked for as everything, all tensors dequantised.
 * seeds: files/values.gguf */
#include "fuzz.h"

static void read_back(const char *path)
{
    const tn_gguf *file = tn_map_gguf(path);
    for (int64_t i = 0; i < tn_gguf_key_count(file); i++) {
        const tn_gguf_entry entry = tn_gguf_entry_at(file, i);
        if (tn_gguf_find_key(file, entry.key) != i)
            abort();
        (void)tn_gguf_int(file, entry.key, 0);
        tn_clear_error();
        (void)tn_gguf_float(file, entry.key, 0);
        tn_clear_error();
        (void)tn_gguf_bool(file, entry.key, false);
        tn_clear_error();
        (void)tn_gguf_string(file, entry.key, NULL);
        tn_clear_error();
        look_at(tn_gguf_numbers(file, entry.key));
        tn_clear_error();
        if (entry.kind == TN_GGUF_ARRAY && entry.element == TN_GGUF_STRING)
            for (int64_t k = 0; k < entry.count; k++)
                if (!tn_gguf_string_at(file, entry.key, k, NULL))
                    abort();
    }
    for (int64_t i = 0; i < tn_gguf_count(file); i++) {
        if (tn_gguf_find(file, tn_gguf_name(file, i)) != i)
            abort();
        look_at(tn_gguf_tensor(file, tn_gguf_name(file, i), TN_F16));
        look_at(tn_gguf_tensor(file, tn_gguf_name(file, i), TN_DTYPE_DEFAULT));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_bytes(data, size);
    return 0;
}
