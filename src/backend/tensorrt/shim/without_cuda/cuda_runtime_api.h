// The two names of CUDA's that TensorRT's headers use, for machines that build without CUDA's own.
#pragma once
typedef struct CUevent_st* cudaEvent_t;
typedef struct CUstream_st* cudaStream_t;
