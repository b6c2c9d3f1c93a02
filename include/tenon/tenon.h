/* Tenon: all of the library's headers. */
#ifndef TENON_TENON_H
#define TENON_TENON_H

#include <tenon/base.h>
#include <tenon/tensor.h>
#include <tenon/autograd.h>
#include <tenon/ops.h>

#endif
