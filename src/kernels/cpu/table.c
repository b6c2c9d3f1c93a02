/* The table of one instruction set. */
#include "kernels/cpu/cpu.h"

#define TN_TEXT2_(x) #x
#define TN_TEXT_(x) TN_TEXT2_(x)

const tn_kernels TN_K(kernels) = {
    .name = TN_TEXT_(TN_ISA),
#define TN_KERNEL_ENTRY_(slot, parameters, names) .slot = TN_K(slot),
    TN_KERNEL_LIST(TN_KERNEL_ENTRY_)
#undef TN_KERNEL_ENTRY_
};
