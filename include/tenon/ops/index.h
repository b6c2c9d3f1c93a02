/* Tenon: indexing, gathering, scattering. */
#ifndef TENON_OPS_INDEX_H
#define TENON_OPS_INDEX_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif



#ifdef __cplusplus
}
#endif

#endif
