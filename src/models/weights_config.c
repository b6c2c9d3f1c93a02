/* transformers' config.json: what it says of a Llama, a Mistral, a Qwen 2 or 3, read and written. What it asks for and the module has not is an
 * error: nothing is silently computed otherwise. */
#include "models/weights.h"

#include "io/file.h"
#include "nn/module.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#ifdef TENON_HAVE_CJSON
#include <cjson/cJSON.h>

enum { CONFIG_MOST = 16 << 20 }; /* bytes of a config.json */

typedef struct parse {
    tn_weights_source source;
    const cJSON *json;
    tn_llama_args *c;
} parse;

/* A member that is there and not null. */
static const cJSON *member(const cJSON *object, const char *name)
{
    const cJSON *item = object ? cJSON_GetObjectItemCaseSensitive(object, name) : NULL;
    return item && !cJSON_IsNull(item) ? item : NULL;
}

static double number_in(const parse *p, const cJSON *object, const char *name, double missing)
{
    const cJSON *item = member(object, name);
    if (!item || tn_failing())
        return missing;
    if (cJSON_IsNumber(item))
        return item->valuedouble;
    TN_WEIGHTS_BAD(p->source, "\"%s\" is no number", name);
    return missing;
}

static int64_t whole(const parse *p, const char *name, int64_t missing)
{
    const double value = number_in(p, p->json, name, (double)missing);
    if (value >= 0 && value <= INT32_MAX && value == floor(value))
        return (int64_t)value;
    TN_WEIGHTS_BAD(p->source, "\"%s\" is %g: it must be a whole number up to 2^31", name, value);
    return missing;
}

static bool flag(const parse *p, const char *name, bool missing)
{
    const cJSON *item = member(p->json, name);
    if (item && !cJSON_IsBool(item))
        TN_WEIGHTS_BAD(p->source, "\"%s\" is neither true nor false", name);
    return item ? cJSON_IsTrue(item) : missing;
}

static const char *text_in(const parse *p, const cJSON *object, const char *name, const char *missing)
{
    const cJSON *item = member(object, name);
    if (item && !cJSON_IsString(item))
        TN_WEIGHTS_BAD(p->source, "\"%s\" is no text", name);
    return item && cJSON_IsString(item) ? item->valuestring : missing;
}

static void unsupported(const parse *p, const char *what, const char *value)
{
    tn_weights_fail(p->source, TN_ERR_UNSUPPORTED, "%s \"%s\" is not among what Tenon's Llama has", what, value);
}

/* The factors of "longrope", which divide the frequencies one by one; one list for all lengths. */
static tn_tensor *read_factors(const parse *p, const cJSON *scaling)
{
    const cJSON *list = member(scaling, "short_factor"), *other = member(scaling, "long_factor");
    if (!cJSON_IsArray(list) || !cJSON_Compare(list, other, true) || number_in(p, scaling, "attention_factor", 0) != 1) {
        unsupported(p, "rope_scaling", "longrope of two lists or with an attention_factor");
        return NULL;
    }
    const int64_t count = cJSON_GetArraySize(list);
    tn_tensor *factors = tn_new("llama", TN_SHAPE(count), TN_F32, (tn_device_id){TN_CPU, 0});
    float *to = factors ? (float *)(void *)tn_ptr(factors) : NULL;
    for (const cJSON *item = list->child; to && item; item = item->next)
        *to++ = (float)item->valuedouble; /* 0 of what is no number, which is refused */
    return factors;
}

static void read_scaling(const parse *p, const cJSON *scaling, tn_tensor **factors)
{
    const char *kind = text_in(p, scaling, "rope_type", text_in(p, scaling, "type", "default"));
    tn_llama_args *c = p->c;
    if (strcmp(kind, "default") == 0)
        return;
    if (strcmp(kind, "longrope") == 0) {
        *factors = read_factors(p, scaling);
        return;
    }
    if (strcmp(kind, "linear") != 0 && strcmp(kind, "llama3") != 0) {
        unsupported(p, "rope_scaling", kind);
        return;
    }
    c->rope_factor = number_in(p, scaling, "factor", 0);
    if (strcmp(kind, "linear") == 0)
        return;
    c->rope_low_freq_factor = number_in(p, scaling, "low_freq_factor", 0);
    c->rope_high_freq_factor = number_in(p, scaling, "high_freq_factor", 0);
    c->rope_original_length = number_in(p, scaling, "original_max_position_embeddings", 0);
    if (!(c->rope_original_length > 0))
        TN_WEIGHTS_BAD(p->source, "rope_scaling has no original_max_position_embeddings");
}

/* Newer files have rope_theta in rope_parameters and the scaling there. */
static void read_rope(const parse *p, tn_tensor **factors)
{
    const cJSON *parameters = member(p->json, "rope_parameters"), *scaling = member(p->json, "rope_scaling");
    if ((parameters && !cJSON_IsObject(parameters)) || (scaling && !cJSON_IsObject(scaling)))
        TN_WEIGHTS_BAD(p->source, "rope_scaling is no object");
    p->c->rope_theta = number_in(p, parameters, "rope_theta", number_in(p, p->json, "rope_theta", 10000));
    const double part = number_in(p, parameters, "partial_rotary_factor", number_in(p, p->json, "partial_rotary_factor", 1));
    if (part != 1)
        tn_weights_fail(p->source, TN_ERR_UNSUPPORTED, "partial_rotary_factor is %g: all of a head is turned", part);
    if (!tn_failing())
        read_scaling(p, parameters ? parameters : scaling, factors);
}

/* The window, and which of Qwen's layers are without: those that layer_types says, or else the first max_window_layers. Of no sliding_window
 * transformers makes 4096, of null none. */
static void read_window(const parse *p, bool qwen)
{
    const cJSON *types = qwen ? member(p->json, "layer_types") : NULL, *type = types ? types->child : NULL;
    const int64_t layers = p->c->num_hidden_layers, full = qwen ? whole(p, "max_window_layers", 28) : 0;
    const bool none = qwen && !flag(p, "use_sliding_window", false), null = cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(p->json, "sliding_window"));
    const int64_t window = none || null ? 0 : whole(p, "sliding_window", 4096);
    int64_t sliding = types ? 0 : layers - full;
    if (!types && (!window || sliding <= 0))
        return;
    if (types && (!cJSON_IsArray(types) || cJSON_GetArraySize(types) != layers))
        TN_WEIGHTS_BAD(p->source, "layer_types is no list of %lld layers", (long long)layers);
    for (int64_t i = 0; i < (types ? layers : full) && !tn_failing(); i++, type = type ? type->next : NULL) {
        const char *kind = !type ? "full_attention" : cJSON_IsString(type) ? type->valuestring : "none";
        const bool slides = strcmp(kind, "sliding_attention") == 0;
        if (!slides && strcmp(kind, "full_attention") != 0)
            unsupported(p, "layer_types of", kind);
        else if (slides && !window)
            TN_WEIGHTS_BAD(p->source, "layer_types has layers of sliding_attention, and there is no sliding_window");
        else if (!slides && i < 256)
            p->c->full_layers.bits[i / 64] |= (uint64_t)1 << i % 64;
        else if (!slides && window)
            unsupported(p, "layer_types of", "full_attention beyond 256 layers");
        sliding += slides;
    }
    if (sliding)
        p->c->sliding_window = window;
    else
        p->c->full_layers = (tn_layer_set){{0}};
}

static bool read_config(const parse *p, tn_tensor **factors)
{
    const char *kind = text_in(p, p->json, "model_type", "none");
    const bool llama = strcmp(kind, "llama") == 0, mistral = strcmp(kind, "mistral") == 0, qwen2 = strcmp(kind, "qwen2") == 0,
               qwen3 = strcmp(kind, "qwen3") == 0;
    if (!llama && !mistral && !qwen2 && !qwen3)
        unsupported(p, "model_type", kind);
    if (strcmp(text_in(p, p->json, "hidden_act", "silu"), "silu") != 0)
        unsupported(p, "hidden_act", text_in(p, p->json, "hidden_act", ""));
    if (member(p->json, "quantization_config"))
        unsupported(p, "a folder with a", "quantization_config");
    if (flag(p, "mlp_bias", false))
        unsupported(p, "a folder with", "mlp_bias");
    *p->c = tn_llama_defaults();
    p->c->vocab_size = whole(p, "vocab_size", 0);
    p->c->hidden_size = whole(p, "hidden_size", 0);
    p->c->intermediate_size = whole(p, "intermediate_size", 0);
    p->c->num_hidden_layers = whole(p, "num_hidden_layers", 0);
    p->c->num_attention_heads = whole(p, "num_attention_heads", 0);
    p->c->num_key_value_heads = whole(p, "num_key_value_heads", 0);
    p->c->head_dim = whole(p, "head_dim", qwen3 ? 128 : 0);
    p->c->max_position_embeddings = whole(p, "max_position_embeddings", 2048);
    p->c->rms_norm_eps = number_in(p, p->json, "rms_norm_eps", 1e-6);
    p->c->initializer_range = number_in(p, p->json, "initializer_range", 0.02);
    p->c->tie_word_embeddings = flag(p, "tie_word_embeddings", false);
    p->c->attention_bias = flag(p, "attention_bias", false) || qwen2;
    p->c->qk_norm = qwen3;
    read_rope(p, factors);
    if (!llama && !tn_failing())
        read_window(p, qwen2 || qwen3);
    return !tn_failing();
}

bool tn_llama_config_parse(tn_weights_source source, const char *text, size_t length, tn_llama_config_text *out)
{
    TN_C_NUMBERS;
    cJSON *json = cJSON_ParseWithLength(text, length);
    const parse p = {source, json, &out->config};
    out->rope_freqs = NULL;
    if (!cJSON_IsObject(json))
        TN_WEIGHTS_BAD(source, "config.json is no JSON object");
    const bool good = !tn_failing() && read_config(&p, &out->rope_freqs);
    cJSON_Delete(json);
    return good;
}

bool tn_llama_config_read(tn_weights_source source, bool is_folder, bool *found, tn_llama_config_text *out)
{
    char path[4096];
    struct stat st;
    tn_reader r;
    const char *slash = strrchr(source.path, '/');
    const int length = is_folder ? (int)strlen(source.path) : slash ? (int)(slash - source.path) : 1;
    snprintf(path, sizeof path, "%.*s/config.json", length, is_folder || slash ? source.path : ".");
    *found = stat(path, &st) == 0;
    if (!*found)
        return !tn_failing();
    if (!tn_reader_open(&r, source.op, path, false))
        return false;
    const size_t size = (size_t)r.size;
    char *text = r.size <= CONFIG_MOST ? tn_alloc(size + 1) : TN_WEIGHTS_BAD(source, "config.json has %lld bytes", (long long)r.size);
    const bool good = text && tn_reader_read(&r, text, r.size) &&
                      tn_llama_config_parse((tn_weights_source){source.op, path}, text, size, out);
    tn_free(text, size + 1);
    tn_reader_close(&r);
    return good;
}

#else

bool tn_llama_config_parse(tn_weights_source source, const char *text, size_t length, tn_llama_config_text *out)
{
    (void)text, (void)length, (void)out;
    return tn_weights_fail(source, TN_ERR_UNSUPPORTED, "this build is without cJSON: build with it (libcjson-dev)");
}

bool tn_llama_config_read(tn_weights_source source, bool is_folder, bool *found, tn_llama_config_text *out)
{
    *found = false;
    return !is_folder || tn_llama_config_parse(source, NULL, 0, out);
}

#endif

/* ---- writing -------------------------------------------------------------------------------------------------------------------- */

static void write_freqs(tn_text_out *out, const tn_weights *w)
{
    const float *f = tn_data(w->rope_freqs);
    for (int list = 0; list < 2; list++) {
        tn_put(out, ", \"%s\": [", list ? "long_factor" : "short_factor");
        for (int64_t i = 0; i < w->config.head_dim / 2; i++)
            tn_put(out, "%s%.9g", i ? ", " : "", (double)f[i]);
        tn_put(out, "]");
    }
}

/* How many of the first layers are full, which older versions of transformers go by, and each one's kind, which newer ones do. */
static void write_layers(tn_text_out *out, const tn_llama_args *c)
{
    int64_t first = 0;
    while (first < c->num_hidden_layers && c->sliding_window && !tn_llama_window(c, first))
        first++;
    tn_put(out, "  \"use_sliding_window\": %s,\n  \"max_window_layers\": %lld,\n", c->sliding_window ? "true" : "false", (long long)first);
    for (int64_t i = 0; i < c->num_hidden_layers && tn_llama_mixed(c); i++)
        tn_put(out, "%s\"%s\"%s", i ? ", " : "  \"layer_types\": [", tn_llama_window(c, i) ? "sliding_attention" : "full_attention",
               i + 1 < c->num_hidden_layers ? "" : "],\n");
}

static void write_scaling(tn_text_out *out, const tn_weights *w)
{
    const tn_llama_args *c = &w->config;
    if (w->rope_freqs) {
        tn_put(out, "  \"rope_scaling\": {\"rope_type\": \"longrope\", \"factor\": 1.0, \"attention_factor\": 1.0, "
               "\"original_max_position_embeddings\": %lld", (long long)c->max_position_embeddings);
        write_freqs(out, w);
        tn_put(out, "},\n");
    } else if (c->rope_original_length > 0) {
        tn_put(out, "  \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": %.17g, \"low_freq_factor\": %.17g, \"high_freq_factor\": %.17g, "
               "\"original_max_position_embeddings\": %.17g},\n",
               c->rope_factor, c->rope_low_freq_factor, c->rope_high_freq_factor, c->rope_original_length);
    } else if (c->rope_factor != 1) {
        tn_put(out, "  \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": %.17g},\n", c->rope_factor);
    }
}

size_t tn_llama_config_write(const tn_weights *w, tn_dtype dtype, char *text, size_t size)
{
    const tn_llama_args *c = &w->config;
    const char *kind = c->qk_norm ? "qwen3" : c->attention_bias ? "qwen2" : c->sliding_window ? "mistral" : "llama";
    const char *class = c->qk_norm ? "Qwen3" : c->attention_bias ? "Qwen2" : c->sliding_window ? "Mistral" : "Llama";
    const bool qwen = c->qk_norm || c->attention_bias;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "{\n  \"architectures\": [\"%sForCausalLM\"],\n  \"model_type\": \"%s\",\n  \"hidden_act\": \"silu\",\n", class, kind);
#define WHOLE(field) tn_put(&out, "  \"" #field "\": %lld,\n", (long long)c->field)
    WHOLE(vocab_size);
    WHOLE(hidden_size);
    WHOLE(intermediate_size);
    WHOLE(num_hidden_layers);
    WHOLE(num_attention_heads);
    WHOLE(num_key_value_heads);
    WHOLE(head_dim);
    WHOLE(max_position_embeddings);
#undef WHOLE
    tn_put(&out, "  \"rms_norm_eps\": %.17g,\n  \"rope_theta\": %.17g,\n", c->rms_norm_eps, c->rope_theta);
    write_scaling(&out, w);
    if (c->sliding_window)
        tn_put(&out, "  \"sliding_window\": %lld,\n", (long long)c->sliding_window);
    if (qwen)
        write_layers(&out, c);
    tn_put(&out, "  \"attention_bias\": %s,\n  \"tie_word_embeddings\": %s,\n  \"initializer_range\": %.17g,\n  \"torch_dtype\": \"%s\"\n}\n",
           c->attention_bias ? "true" : "false", c->tie_word_embeddings ? "true" : "false", c->initializer_range, tn_dtype_name(dtype));
    return out.length;
}
