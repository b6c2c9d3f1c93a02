/* Files of weights as modules. */
#include "models/weights.h"

#include "nn/module.h"

/* Copies each weight into the parameter of its name. */
static bool fill(tn_module *llama, const tn_weights *w)
{
    for (int64_t i = 0; i < w->count; i++) {
        TN_SCOPE;
        TN_NO_GRAD;
        const tn_dtype dtype = tn_quant_dtype(w->weights[i].blocks.type);
        tn_tensor *from = tn_weight_tensor(w, &w->weights[i], 0, dtype == TN_DTYPE_DEFAULT ? TN_F32 : dtype);
        tn_tensor *to = from ? tn_parameter(llama, w->weights[i].name) : NULL;
        if (!to || tn_overwrite(to, from) != TN_OK)
            return false;
    }
    return true;
}

tn_module *tn_llama_load_with(const tn_llama_load_args *args)
{
    TN_KNOWN(tn_llama_load_args, args);
    TN_SCOPE;
    tn_weights *w = tn_adopt(tn_weights_open("llama_load", args->path));
    if (!w)
        return NULL;
    tn_llama_args config = w->config;
    config.dtype = args->dtype;
    tn_this.undrawn = true;
    tn_module *llama = tn_llama_new_with(&config);
    tn_this.undrawn = false;
    if (llama && fill(llama, w))
        return llama;
    tn_release(llama);
    return NULL;
}
