/* Tenon: convolution and pooling. */
#ifndef TENON_OPS_CONV_H
#define TENON_OPS_CONV_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif



#ifdef __cplusplus
}
#endif

#endif
