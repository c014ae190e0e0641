// What the files of the shim have in common: what a version of TensorRT may lack, the structs that `raw.rs` has too, a network under
// construction. Nothing is thrown across to Rust.

#pragma once

#include <NvInfer.h>

#include <cstdint>
#include <memory>

#ifdef TRT_MAJOR_RTX
#define SHIM_IS_RTX 1
#else
#define SHIM_IS_RTX 0
#endif

// From here on every network is strongly typed, and asking for it is deprecated.
#if SHIM_IS_RTX
#define SHIM_ALWAYS_TYPED (1 < NV_TENSORRT_MAJOR || 5 <= NV_TENSORRT_MINOR)
#else
#define SHIM_ALWAYS_TYPED (11 <= NV_TENSORRT_MAJOR)
#endif

// What a version may lack.
#if SHIM_IS_RTX
#define SHIM_SINCE(rtx_minor, major, minor) (1 < NV_TENSORRT_MAJOR || rtx_minor <= NV_TENSORRT_MINOR)
#else
#define SHIM_SINCE(rtx_minor, major, minor) (major < NV_TENSORRT_MAJOR || (major == NV_TENSORRT_MAJOR && minor <= NV_TENSORRT_MINOR))
#endif
#define SHIM_HAS_FP4 SHIM_SINCE(0, 10, 8)
#define SHIM_HAS_ATTENTION SHIM_SINCE(5, 11, 0)
#define SHIM_HAS_PLACEHOLDERS SHIM_SINCE(7, 11, 3)

using namespace nvinfer1;

extern "C" {

using ShimLog = void (*)(int32_t severity, char const* line);

// What a layer computes, in the order of `Code` in translate.rs.
enum ShimKind : int32_t {
    kConstant,
    kMatrixMultiply,
    kElementWise,
    kUnary,
    kActivation,
    kReduce,
    kSoftMax,
    kShuffle,
    kConcatenation,
    kSlice,
    kGather,
    kSelect,
    kShape,
    kCast,
    kIdentity,
    kConvolution,
    kResize,
    kPlaceholder,
    kQuantize,
    kDequantize,
    kDynamicQuantize,
    kCacheUpdate,
    kAttention,
};

// Lists of extents or axes with how many there are; -1 where there is none.
struct ShimAxes {
    int64_t n;
    int64_t at[Dims::MAX_DIMS];
};

struct ShimLayer {
    int32_t kind;
    int32_t operation;  // TensorRT's number; of attention, whether it is causal
    int32_t element;    // of a constant, or what is cast to
    int32_t axis;       // -1 where there is none
    uint32_t axes;      // a bit each
    int32_t keeps;      // whether reduced axes stay as ones; of attention, whether it decomposes
    int32_t transposed[2];
    ShimAxes dims;      // of a constant, of a reshape, the size of a slice, of a kernel
    ShimAxes first;     // order of axes before a reshape, start of a slice, padding before
    ShimAxes second;    // order of axes after a reshape, padding after
    ShimAxes stride;
    int64_t maps;       // of a convolution; or elements of a block
    int64_t n_scales;
    float scales[Dims::MAX_DIMS];
    void const* bytes;
    int64_t n_elements;
};

struct ShimTensor {
    void const* tensor;
    char const* name;
    int32_t element;
    int32_t is_there;
    ShimAxes dims;
};

}  // extern "C"

// The one logger of the process, which calls this function.
ILogger* shim_logger(ShimLog function);

namespace shim {

// A network under construction and all that it needs; members are destroyed from the last to the first.
struct Building {
    std::unique_ptr<IBuilder> builder;
    std::unique_ptr<IBuilderConfig> config;
    std::unique_ptr<INetworkDefinition> network;
    bool lacks_weights = false;
};

inline Dims to_dims(ShimAxes const& axes) {
    Dims dims{};
    dims.nbDims = static_cast<int32_t>(axes.n);
    for (int64_t i = 0; i < axes.n; ++i) {
        dims.d[i] = axes.at[i];
    }
    return dims;
}

inline ShimAxes from_dims(Dims const& dims) {
    ShimAxes axes{};
    axes.n = dims.nbDims;
    for (int32_t i = 0; i < dims.nbDims; ++i) {
        axes.at[i] = dims.d[i];
    }
    return axes;
}

inline Permutation to_permutation(ShimAxes const& axes) {
    Permutation order{};
    for (int32_t i = 0; i < Dims::MAX_DIMS; ++i) {
        order.order[i] = i < axes.n ? static_cast<int32_t>(axes.at[i]) : i;
    }
    return order;
}

inline ShimAxes from_permutation(Permutation const& order, int32_t n) {
    ShimAxes axes{};
    axes.n = n;
    for (int32_t i = 0; i < n; ++i) {
        axes.at[i] = order.order[i];
    }
    return axes;
}

// What TensorRT throws by mistake ends here.
template <typename F, typename T>
T guarded(T otherwise, F body) noexcept {
    try {
        return body();
    } catch (...) {
        return otherwise;
    }
}

}  // namespace shim
