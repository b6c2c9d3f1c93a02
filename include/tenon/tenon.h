/* Tenon: all of the library's headers. */
#ifndef TENON_TENON_H
#define TENON_TENON_H

#include <tenon/base.h>
#include <tenon/tensor.h>
#include <tenon/cuda.h>
#include <tenon/autograd.h>
#include <tenon/ops.h>
#include <tenon/io.h>
#include <tenon/quant.h>
#include <tenon/gguf.h>
#include <tenon/table.h>
#include <tenon/data.h>
#include <tenon/metrics.h>
#include <tenon/image.h>
#include <tenon/nn.h>
#include <tenon/llama.h>
#include <tenon/decoder.h>
#include <tenon/generate.h>
#include <tenon/chat.h>
#include <tenon/optim.h>
#include <tenon/schedule.h>
#include <tenon/checkpoint.h>
#include <tenon/progress.h>
#include <tenon/events.h>
#include <tenon/plot.h>
#include <tenon/profile.h>
#include <tenon/tokenizer.h>

/* Last: macros of the functions' names that tell where in a program an error arose, and the options' short forms. */
#ifndef TN_NO_SITES
#include <tenon/sites.h>
#endif

#endif
