/* What is used of cuDNN 9.1 and newer: its backend API, and its recurrent layers. Source: NVIDIA's documentation of cuDNN 9, "cudnn_graph
 * Library" and "cudnn_adv Library". */
#ifndef TN_CUDA_CUDNN_H
#define TN_CUDA_CUDNN_H

#define TN_CUDNN_NUMBERS(X)                                                                                                   \
    X(CUDNN_STATUS_SUCCESS, 0)                                                                                                \
    X(CUDNN_STATUS_BAD_PARAM, 2000)                                                                                           \
    X(CUDNN_STATUS_NOT_SUPPORTED, 3000)                                                                                       \
    X(CUDNN_DATA_FLOAT, 0)                                                                                                    \
    X(CUDNN_CROSS_CORRELATION, 1)                                                                                             \
    X(CUDNN_POINTWISE_ADD, 0)                                                                                                 \
    X(CUDNN_POINTWISE_RELU_FWD, 100)                                                                                          \
    X(CUDNN_PROPAGATE_NAN, 1)                                                                                                 \
    X(CUDNN_HEUR_MODE_B, 1)                                                                                                   \
    X(CUDNN_HEUR_MODE_FALLBACK, 2)                                                                                            \
    X(CUDNN_HEUR_MODE_A, 3)                                                                                                   \
    /* cudnnBackendDescriptorType_t */                                                                                        \
    X(CUDNN_BACKEND_POINTWISE_DESCRIPTOR, 0)                                                                                  \
    X(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, 1)                                                                                \
    X(CUDNN_BACKEND_ENGINE_DESCRIPTOR, 2)                                                                                     \
    X(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, 3)                                                                                  \
    X(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, 4)                                                                                 \
    X(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, 5)                                                                             \
    X(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, 10)                                                             \
    X(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, 11)                                                     \
    X(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, 12)                                                       \
    X(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, 13)                                                                       \
    X(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, 15)                                                                            \
    X(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, 16)                                                                              \
    X(CUDNN_BACKEND_TENSOR_DESCRIPTOR, 17)                                                                                    \
    /* cudnnBackendNumericalNote_t */                                                                                         \
    X(CUDNN_NUMERICAL_NOTE_TENSOR_CORE, 0)                                                                                    \
    X(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, 1)                                                                            \
    X(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, 2)                                                                    \
    X(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, 4)                                                                               \
    /* cudnnBackendAttributeType_t */                                                                                         \
    X(CUDNN_TYPE_HANDLE, 0)                                                                                                   \
    X(CUDNN_TYPE_DATA_TYPE, 1)                                                                                                \
    X(CUDNN_TYPE_BOOLEAN, 2)                                                                                                  \
    X(CUDNN_TYPE_INT64, 3)                                                                                                    \
    X(CUDNN_TYPE_FLOAT, 4)                                                                                                    \
    X(CUDNN_TYPE_VOID_PTR, 6)                                                                                                 \
    X(CUDNN_TYPE_CONVOLUTION_MODE, 7)                                                                                         \
    X(CUDNN_TYPE_HEUR_MODE, 8)                                                                                                \
    X(CUDNN_TYPE_NAN_PROPOGATION, 10)                                                                                         \
    X(CUDNN_TYPE_NUMERICAL_NOTE, 11)                                                                                          \
    X(CUDNN_TYPE_POINTWISE_MODE, 14)                                                                                          \
    X(CUDNN_TYPE_BACKEND_DESCRIPTOR, 15)                                                                                      \
    /* cudnnBackendAttributeName_t */                                                                                         \
    X(CUDNN_ATTR_POINTWISE_MODE, 0)                                                                                           \
    X(CUDNN_ATTR_POINTWISE_MATH_PREC, 1)                                                                                      \
    X(CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, 2)                                                                                \
    X(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, 100)                                                                                  \
    X(CUDNN_ATTR_CONVOLUTION_CONV_MODE, 101)                                                                                  \
    X(CUDNN_ATTR_CONVOLUTION_DILATIONS, 102)                                                                                  \
    X(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 103)                                                                             \
    X(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 104)                                                                              \
    X(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 105)                                                                               \
    X(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 106)                                                                               \
    X(CUDNN_ATTR_ENGINEHEUR_MODE, 200)                                                                                        \
    X(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, 201)                                                                             \
    X(CUDNN_ATTR_ENGINEHEUR_RESULTS, 202)                                                                                     \
    X(CUDNN_ATTR_ENGINECFG_ENGINE, 300)                                                                                       \
    X(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, 400)                                                                                  \
    X(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, 401)                                                                           \
    X(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 402)                                                                          \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 700)                                                                    \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 701)                                                                     \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, 702)                                                                \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, 703)                                                                        \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, 704)                                                                        \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, 705)                                                                        \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 706)                                                                   \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 707)                                                                    \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, 708)                                                               \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, 709)                                                                       \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, 710)                                                                      \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, 711)                                                                      \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 712)                                                                 \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 713)                                                                  \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, 714)                                                             \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, 715)                                                                    \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, 716)                                                                     \
    X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, 717)                                                                    \
    X(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, 750)                                                                      \
    X(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, 751)                                                                              \
    X(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, 752)                                                                              \
    X(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, 753)                                                                              \
    X(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, 800)                                                                                  \
    X(CUDNN_ATTR_OPERATIONGRAPH_OPS, 801)                                                                                     \
    X(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 900)                                                                                  \
    X(CUDNN_ATTR_TENSOR_DATA_TYPE, 901)                                                                                       \
    X(CUDNN_ATTR_TENSOR_DIMENSIONS, 902)                                                                                      \
    X(CUDNN_ATTR_TENSOR_STRIDES, 903)                                                                                         \
    X(CUDNN_ATTR_TENSOR_UNIQUE_ID, 906)                                                                                       \
    X(CUDNN_ATTR_TENSOR_IS_VIRTUAL, 907)                                                                                      \
    X(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, 1000)                                                                               \
    X(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, 1001)                                                                            \
    X(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, 1003)                                                                                \
    X(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, 1303)

/* X(what it returns, name, (parameters)); enumerations are int, descriptors and handles void *. */
#define TN_CUDNN_FUNCTIONS(X)                                                                                                 \
    X(size_t, cudnnGetVersion, (void))                                                                                        \
    X(const char *, cudnnGetErrorString, (int status))                                                                        \
    X(int, cudnnCreate, (void **handle))                                                                                      \
    X(int, cudnnSetStream, (void *handle, cudaStream_t stream))                                                               \
    X(int, cudnnBackendCreateDescriptor, (int type, void **descriptor))                                                       \
    X(int, cudnnBackendDestroyDescriptor, (void *descriptor))                                                                 \
    X(int, cudnnBackendFinalize, (void *descriptor))                                                                          \
    X(int, cudnnBackendSetAttribute, (void *descriptor, int name, int type, int64_t count, const void *elements))             \
    X(int, cudnnBackendGetAttribute, (void *descriptor, int name, int type, int64_t asked, int64_t *count, void *elements))   \
    X(int, cudnnBackendExecute, (void *handle, void *plan, void *pack))

/* Recurrent layers: of libcudnn_adv.so.9 and what it is linked to. */
#define TN_CUDNN_RNN_NUMBERS(X)                                                                                               \
    X(CUDNN_DATA_DOUBLE, 1)                                                                                                   \
    X(CUDNN_DEFAULT_MATH, 0) /* products of f32 may round their operands to TF32 */                                           \
    X(CUDNN_FMA_MATH, 3)                                                                                                      \
    X(CUDNN_RNN_ALGO_STANDARD, 0)                                                                                             \
    X(CUDNN_RNN_RELU, 0)                                                                                                      \
    X(CUDNN_RNN_TANH, 1)                                                                                                      \
    X(CUDNN_LSTM, 2)                                                                                                          \
    X(CUDNN_GRU, 3)                                                                                                           \
    X(CUDNN_RNN_DOUBLE_BIAS, 2)                                                                                               \
    X(CUDNN_UNIDIRECTIONAL, 0)                                                                                                \
    X(CUDNN_LINEAR_INPUT, 0)                                                                                                  \
    X(CUDNN_RNN_PADDED_IO_DISABLED, 0)                                                                                        \
    X(CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED, 1)                                                                              \
    X(CUDNN_FWD_MODE_INFERENCE, 0)                                                                                            \
    X(CUDNN_FWD_MODE_TRAINING, 1)                                                                                             \
    X(CUDNN_WGRAD_MODE_ADD, 0)

#define TN_CUDNN_RNN_FUNCTIONS(X)                                                                                             \
    X(int, cudnnAdvVersionCheck, (void))                                                                                      \
    X(int, cudnnCreateTensorDescriptor, (void **descriptor))                                                                  \
    X(int, cudnnDestroyTensorDescriptor, (void *descriptor))                                                                  \
    X(int, cudnnSetTensorNdDescriptor, (void *descriptor, int type, int ndim, const int *sizes, const int *strides))          \
    X(int, cudnnCreateDropoutDescriptor, (void **descriptor))                                                                 \
    X(int, cudnnDestroyDropoutDescriptor, (void *descriptor))                                                                 \
    X(int, cudnnSetDropoutDescriptor,                                                                                         \
      (void *descriptor, void *handle, float dropout, void *states, size_t states_size, unsigned long long seed))             \
    X(int, cudnnCreateRNNDescriptor, (void **descriptor))                                                                     \
    X(int, cudnnDestroyRNNDescriptor, (void *descriptor))                                                                     \
    X(int, cudnnSetRNNDescriptor_v8,                                                                                          \
      (void *rnn, int algo, int mode, int bias, int direction, int input, int type, int precision, int math, int32_t in,      \
       int32_t hidden, int32_t projected, int32_t layers, void *dropout, uint32_t flags))                                     \
    X(int, cudnnCreateRNNDataDescriptor, (void **descriptor))                                                                 \
    X(int, cudnnDestroyRNNDataDescriptor, (void *descriptor))                                                                 \
    X(int, cudnnSetRNNDataDescriptor,                                                                                         \
      (void *data, int type, int layout, int steps, int batch, int size, const int *lengths, void *padding))                  \
    X(int, cudnnGetRNNWeightSpaceSize, (void *handle, void *rnn, size_t *size))                                               \
    X(int, cudnnGetRNNWeightParams,                                                                                           \
      (void *handle, void *rnn, int32_t layer, size_t space_size, const void *space, int32_t id, void *matrix,                \
       void **matrix_data, void *bias, void **bias_data))                                                                     \
    X(int, cudnnGetRNNTempSpaceSizes, (void *handle, void *rnn, int mode, void *x, size_t *work, size_t *reserve))            \
    X(int, cudnnRNNForward,                                                                                                   \
      (void *handle, void *rnn, int mode, const int32_t *lengths, void *x, const void *x_data, void *y, void *y_data,         \
       void *h, const void *hx, void *hy, void *c, const void *cx, void *cy, size_t weight_size, const void *weight,          \
       size_t work_size, void *work, size_t reserve_size, void *reserve))                                                     \
    X(int, cudnnRNNBackwardData_v8,                                                                                           \
      (void *handle, void *rnn, const int32_t *lengths, void *y, const void *y_data, const void *dy, void *x, void *dx,       \
       void *h, const void *hx, const void *dhy, void *dhx, void *c, const void *cx, const void *dcy, void *dcx,              \
       size_t weight_size, const void *weight, size_t work_size, void *work, size_t reserve_size, void *reserve))             \
    X(int, cudnnRNNBackwardWeights_v8,                                                                                        \
      (void *handle, void *rnn, int add, const int32_t *lengths, void *x, const void *x_data, void *h, const void *hx,        \
       void *y, const void *y_data, size_t weight_size, void *dweight, size_t work_size, void *work, size_t reserve_size,     \
       void *reserve))

#endif
