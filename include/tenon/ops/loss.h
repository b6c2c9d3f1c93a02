/* Tenon: losses. */
#ifndef TENON_OPS_LOSS_H
#define TENON_OPS_LOSS_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif



#ifdef __cplusplus
}
#endif

#endif
