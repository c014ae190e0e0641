// TensorRT's classes behind C functions: no NVIDIA library is linked, and nothing is thrown across.
//
// Builds against TensorRT 10.3 and later and TensorRT-RTX 1.3 and later. What is asked of TensorRT stands in one struct of numbers,
// `Layer`, which `shim_add_layer` takes and `shim_read_layer` fills from TensorRT's own getters: so a network can be compared with
// what it was meant to be. `raw.rs` beside this file has the same structs, and `ffi.rs` is the only caller; it checks indices, lengths and
// that a handle outlives what it made.

#include <NvInfer.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

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

// The numbers that Rust passes through are TensorRT's own.
static_assert(static_cast<int>(DataType::kFLOAT) == 0 && static_cast<int>(DataType::kHALF) == 1 &&
              static_cast<int>(DataType::kINT8) == 2 && static_cast<int>(DataType::kINT32) == 3 && static_cast<int>(DataType::kBOOL) == 4 &&
              static_cast<int>(DataType::kFP8) == 6 && static_cast<int>(DataType::kBF16) == 7 &&
              static_cast<int>(DataType::kINT64) == 8 && static_cast<int>(DataType::kINT4) == 9);
#if SHIM_HAS_FP4
static_assert(static_cast<int>(DataType::kFP4) == 10);
#endif
static_assert(static_cast<int>(ElementWiseOperation::kSUM) == 0 && static_cast<int>(ElementWiseOperation::kPROD) == 1 &&
              static_cast<int>(ElementWiseOperation::kMAX) == 2 &&
              static_cast<int>(ElementWiseOperation::kSUB) == 4 && static_cast<int>(ElementWiseOperation::kDIV) == 5 &&
              static_cast<int>(ElementWiseOperation::kFLOOR_DIV) == 7 && static_cast<int>(ElementWiseOperation::kGREATER) == 12);
static_assert(static_cast<int>(UnaryOperation::kSQRT) == 2 && static_cast<int>(UnaryOperation::kSIN) == 6 &&
              static_cast<int>(UnaryOperation::kCOS) == 7);
static_assert(static_cast<int>(ActivationType::kRELU) == 0 && static_cast<int>(ActivationType::kSIGMOID) == 1 &&
              static_cast<int>(ActivationType::kGELU_ERF) == 12 && static_cast<int>(ActivationType::kGELU_TANH) == 13);
static_assert(static_cast<int>(ReduceOperation::kSUM) == 0 && static_cast<int>(ReduceOperation::kAVG) == 4);
static_assert(static_cast<int>(ILogger::Severity::kWARNING) == 2);

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

namespace {

struct Log final : ILogger {
    ShimLog function;
    explicit Log(ShimLog function_) : function(function_) {}
    void log(Severity severity, AsciiChar const* line) noexcept override { function(static_cast<int32_t>(severity), line); }
};

// TensorRT has one logger in a process: the first that it is given, for as long as it has anything. So there is one, for ever.
ILogger* logger(ShimLog function) {
    static Log* const log = new Log(function);
    return log;
}

// A network under construction and all that it needs; members are destroyed from the last to the first.
struct Building {
    std::unique_ptr<IBuilder> builder;
    std::unique_ptr<IBuilderConfig> config;
    std::unique_ptr<INetworkDefinition> network;
    bool lacks_weights = false;
};

Dims to_dims(ShimAxes const& axes) {
    Dims dims{};
    dims.nbDims = static_cast<int32_t>(axes.n);
    for (int64_t i = 0; i < axes.n; ++i) {
        dims.d[i] = axes.at[i];
    }
    return dims;
}

ShimAxes from_dims(Dims const& dims) {
    ShimAxes axes{};
    axes.n = dims.nbDims;
    for (int32_t i = 0; i < dims.nbDims; ++i) {
        axes.at[i] = dims.d[i];
    }
    return axes;
}

Permutation to_permutation(ShimAxes const& axes) {
    Permutation order{};
    for (int32_t i = 0; i < Dims::MAX_DIMS; ++i) {
        order.order[i] = i < axes.n ? static_cast<int32_t>(axes.at[i]) : i;
    }
    return order;
}

ShimAxes from_permutation(Permutation const& order, int32_t n) {
    ShimAxes axes{};
    axes.n = n;
    for (int32_t i = 0; i < n; ++i) {
        axes.at[i] = order.order[i];
    }
    return axes;
}

ILayer* add_shuffle(INetworkDefinition& network, ShimLayer const& layer, ITensor* const* inputs, int32_t n_inputs) {
    auto* shuffle = network.addShuffle(*inputs[0]);
    if (shuffle == nullptr) {
        return nullptr;
    }
    shuffle->setZeroIsPlaceholder(false);
    if (0 < layer.first.n) {
        shuffle->setFirstTranspose(to_permutation(layer.first));
    }
    if (1 < n_inputs) {
        shuffle->setInput(1, *inputs[1]);
    } else if (0 <= layer.dims.n) {
        shuffle->setReshapeDimensions(to_dims(layer.dims));
    }
    if (0 < layer.second.n) {
        shuffle->setSecondTranspose(to_permutation(layer.second));
    }
    return shuffle;
}

ILayer* add_slice(INetworkDefinition& network, ShimLayer const& layer, ITensor* const* inputs, int32_t n_inputs) {
    bool const is_given = n_inputs == 3;
    Dims ones{};
    ones.nbDims = static_cast<int32_t>(layer.stride.n);
    for (int32_t i = 0; i < ones.nbDims; ++i) {
        ones.d[i] = 1;
    }
    auto* slice = network.addSlice(*inputs[0], is_given ? ones : to_dims(layer.first), is_given ? ones : to_dims(layer.dims),
                                   to_dims(layer.stride));
    if (slice != nullptr && is_given) {
        slice->setInput(1, *inputs[1]);
        slice->setInput(2, *inputs[2]);
    }
    return slice;
}

ILayer* add_convolution(INetworkDefinition& network, ShimLayer const& layer, ITensor* const* inputs, int32_t n_inputs) {
    Weights const none{inputs[0]->getType(), nullptr, 0};
    auto* convolution = network.addConvolutionNd(*inputs[0], static_cast<int32_t>(layer.maps), to_dims(layer.dims), none, none);
    if (convolution == nullptr) {
        return nullptr;
    }
    for (int32_t i = 1; i < n_inputs; ++i) {
        convolution->setInput(i, *inputs[i]);
    }
    convolution->setStrideNd(to_dims(layer.stride));
    convolution->setPrePadding(to_dims(layer.first));
    convolution->setPostPadding(to_dims(layer.second));
    return convolution;
}

ILayer* add_resize(INetworkDefinition& network, ShimLayer const& layer, ITensor* const* inputs) {
    auto* resize = network.addResize(*inputs[0]);
    if (resize == nullptr) {
        return nullptr;
    }
    resize->setScales(layer.scales, static_cast<int32_t>(layer.n_scales));
    resize->setResizeMode(InterpolationMode::kNEAREST);
    resize->setCoordinateTransformation(ResizeCoordinateTransformation::kASYMMETRIC);
    resize->setNearestRounding(ResizeRoundMode::kFLOOR);
    return resize;
}

// A constant whose bytes are given to the plan under this name.
ILayer* add_placeholder(Building& building, ShimLayer const& layer, char const* name) {
#if SHIM_HAS_PLACEHOLDERS
    Weights const none{static_cast<DataType>(layer.element), nullptr, layer.n_elements};
    auto* constant = building.network->addConstant(to_dims(layer.dims), none);
    // TensorRT has put a mark of its own in place of the missing address, by which it knows them.
    if (constant == nullptr || !building.network->setWeightsName(constant->getWeights(), name)) {
        return nullptr;
    }
    building.lacks_weights = true;
    return constant;
#else
    static_cast<void>(building);
    static_cast<void>(layer);
    static_cast<void>(name);
    return nullptr;
#endif
}

ILayer* add_dequantize(INetworkDefinition& network, ShimLayer const& layer, ITensor* const* inputs) {
    auto* dequantize = network.addDequantize(*inputs[0], *inputs[1], static_cast<DataType>(layer.element));
    if (dequantize != nullptr && 0 <= layer.axis) {
        dequantize->setAxis(layer.axis);
    }
    return dequantize;
}

ILayer* add_dynamic_quantize(INetworkDefinition& network, ShimLayer const& layer, ITensor* const* inputs) {
#if SHIM_HAS_FP4
// Its successor takes no scale of scales in RTX 1.7.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    auto* quantize = network.addDynamicQuantize(*inputs[0], layer.axis, static_cast<int32_t>(layer.maps), DataType::kFP4, DataType::kFP8);
#pragma GCC diagnostic pop
    if (quantize != nullptr) {
        quantize->setInput(1, *inputs[1]);
    }
    return quantize;
#else
    static_cast<void>(network);
    static_cast<void>(layer);
    static_cast<void>(inputs);
    return nullptr;
#endif
}

ILayer* add_cache_update(INetworkDefinition& network, ITensor* const* inputs) {
#if SHIM_HAS_ATTENTION
    return network.addKVCacheUpdate(*inputs[0], *inputs[1], *inputs[2], KVCacheMode::kLINEAR);
#else
    static_cast<void>(network);
    static_cast<void>(inputs);
    return nullptr;
#endif
}

// Attention is no layer of its own but two, at its beginning and its end.
ITensor* add_attention(INetworkDefinition& network, ShimLayer const& layer, ITensor* const* inputs, int32_t n_inputs, char const* name) {
#if SHIM_HAS_ATTENTION
    auto const mask = layer.operation != 0 ? CausalMaskKind::kLOWER_RIGHT : CausalMaskKind::kNONE;
    auto* attention = network.addAttentionV2(*inputs[0], *inputs[1], *inputs[2], AttentionNormalizationOp::kSOFTMAX, mask);
    bool const is_whole = attention != nullptr && attention->setDecomposable(layer.keeps != 0) &&
                          (n_inputs < 4 || attention->setKeyValueLengths(inputs[3])) && attention->setName(name);
    return is_whole ? attention->getOutput(0) : nullptr;
#else
    static_cast<void>(network);
    static_cast<void>(layer);
    static_cast<void>(inputs);
    static_cast<void>(n_inputs);
    static_cast<void>(name);
    return nullptr;
#endif
}

ILayer* add(Building& building, ShimLayer const& layer, ITensor* const* inputs, int32_t n_inputs, char const* name) {
    INetworkDefinition& network = *building.network;
    switch (layer.kind) {
    case kConstant:
        return network.addConstant(to_dims(layer.dims), Weights{static_cast<DataType>(layer.element), layer.bytes, layer.n_elements});
    case kMatrixMultiply: {
        auto operation = [&](int i) { return layer.transposed[i] != 0 ? MatrixOperation::kTRANSPOSE : MatrixOperation::kNONE; };
        return network.addMatrixMultiply(*inputs[0], operation(0), *inputs[1], operation(1));
    }
    case kElementWise:
        return network.addElementWise(*inputs[0], *inputs[1], static_cast<ElementWiseOperation>(layer.operation));
    case kUnary: return network.addUnary(*inputs[0], static_cast<UnaryOperation>(layer.operation));
    case kActivation: return network.addActivation(*inputs[0], static_cast<ActivationType>(layer.operation));
    case kReduce:
        return network.addReduce(*inputs[0], static_cast<ReduceOperation>(layer.operation), layer.axes, layer.keeps != 0);
    case kSoftMax: {
        auto* softmax = network.addSoftMax(*inputs[0]);
        if (softmax != nullptr) {
            softmax->setAxes(layer.axes);
        }
        return softmax;
    }
    case kShuffle: return add_shuffle(network, layer, inputs, n_inputs);
    case kConcatenation: {
        auto* concatenation = network.addConcatenation(inputs, n_inputs);
        if (concatenation != nullptr) {
            concatenation->setAxis(layer.axis);
        }
        return concatenation;
    }
    case kSlice: return add_slice(network, layer, inputs, n_inputs);
    case kGather: return network.addGather(*inputs[0], *inputs[1], layer.axis);
    case kSelect: return network.addSelect(*inputs[0], *inputs[1], *inputs[2]);
    case kShape: return network.addShape(*inputs[0]);
    case kCast: return network.addCast(*inputs[0], static_cast<DataType>(layer.element));
    case kIdentity: return network.addIdentity(*inputs[0]);
    case kConvolution: return add_convolution(network, layer, inputs, n_inputs);
    case kResize: return add_resize(network, layer, inputs);
    case kPlaceholder: return add_placeholder(building, layer, name);
    case kQuantize: return network.addQuantize(*inputs[0], *inputs[1], static_cast<DataType>(layer.element));
    case kDequantize: return add_dequantize(network, layer, inputs);
    case kDynamicQuantize: return add_dynamic_quantize(network, layer, inputs);
    case kCacheUpdate: return add_cache_update(network, inputs);
    default: return nullptr;
    }
}

// Whether the layer is as this shim adds them; a field that it never sets must have the default.
bool read(ILayer& layer, ShimLayer& out) {
    int32_t const rank = layer.getInput(0) != nullptr ? layer.getInput(0)->getDimensions().nbDims : 0;
    switch (layer.getType()) {
    case LayerType::kCONSTANT: {
        auto& constant = static_cast<IConstantLayer&>(layer);
        Weights const weights = constant.getWeights();
        out.kind = kConstant;
        out.element = static_cast<int32_t>(weights.type);
        out.bytes = weights.values;
        out.n_elements = weights.count;
        out.dims = from_dims(constant.getDimensions());
        return true;
    }
    case LayerType::kMATRIX_MULTIPLY: {
        auto& product = static_cast<IMatrixMultiplyLayer&>(layer);
        out.kind = kMatrixMultiply;
        for (int32_t i = 0; i < 2; ++i) {
            out.transposed[i] = product.getOperation(i) == MatrixOperation::kTRANSPOSE;
        }
        return product.getOperation(0) != MatrixOperation::kVECTOR && product.getOperation(1) != MatrixOperation::kVECTOR;
    }
    case LayerType::kELEMENTWISE:
        out.kind = kElementWise;
        out.operation = static_cast<int32_t>(static_cast<IElementWiseLayer&>(layer).getOperation());
        return true;
    case LayerType::kUNARY:
        out.kind = kUnary;
        out.operation = static_cast<int32_t>(static_cast<IUnaryLayer&>(layer).getOperation());
        return true;
    case LayerType::kACTIVATION:
        out.kind = kActivation;
        out.operation = static_cast<int32_t>(static_cast<IActivationLayer&>(layer).getActivationType());
        return true;
    case LayerType::kREDUCE: {
        auto& reduce = static_cast<IReduceLayer&>(layer);
        out.kind = kReduce;
        out.operation = static_cast<int32_t>(reduce.getOperation());
        out.axes = reduce.getReduceAxes();
        out.keeps = reduce.getKeepDimensions();
        return true;
    }
    case LayerType::kSOFTMAX:
        out.kind = kSoftMax;
        out.axes = static_cast<ISoftMaxLayer&>(layer).getAxes();
        return true;
    case LayerType::kSHUFFLE: {
        auto& shuffle = static_cast<IShuffleLayer&>(layer);
        out.kind = kShuffle;
        out.first = from_permutation(shuffle.getFirstTranspose(), rank);
        out.dims = from_dims(shuffle.getReshapeDimensions());
        out.second = from_permutation(shuffle.getSecondTranspose(), layer.getOutput(0)->getDimensions().nbDims);
        return !shuffle.getZeroIsPlaceholder();
    }
    case LayerType::kCONCATENATION:
        out.kind = kConcatenation;
        out.axis = static_cast<IConcatenationLayer&>(layer).getAxis();
        return true;
    case LayerType::kSLICE: {
        auto& slice = static_cast<ISliceLayer&>(layer);
        out.kind = kSlice;
        out.first = from_dims(slice.getStart());
        out.dims = from_dims(slice.getSize());
        out.stride = from_dims(slice.getStride());
        return slice.getMode() == SampleMode::kSTRICT_BOUNDS;
    }
    case LayerType::kGATHER: {
        auto& gather = static_cast<IGatherLayer&>(layer);
        out.kind = kGather;
        out.axis = gather.getGatherAxis();
        return gather.getMode() == GatherMode::kDEFAULT && gather.getNbElementWiseDims() == 0;
    }
    case LayerType::kSELECT: out.kind = kSelect; return true;
    case LayerType::kSHAPE: out.kind = kShape; return true;
    case LayerType::kCAST:
        out.kind = kCast;
        out.element = static_cast<int32_t>(static_cast<ICastLayer&>(layer).getToType());
        return true;
    case LayerType::kIDENTITY: out.kind = kIdentity; return true;
    case LayerType::kCONVOLUTION: {
        auto& convolution = static_cast<IConvolutionLayer&>(layer);
        out.kind = kConvolution;
        out.maps = convolution.getNbOutputMaps();
        out.dims = from_dims(convolution.getKernelSizeNd());
        out.stride = from_dims(convolution.getStrideNd());
        out.first = from_dims(convolution.getPrePadding());
        out.second = from_dims(convolution.getPostPadding());
        Dims const dilation = convolution.getDilationNd();
        bool is_plain = convolution.getNbGroups() == 1 && convolution.getPaddingMode() == PaddingMode::kEXPLICIT_ROUND_DOWN &&
                        convolution.getKernelWeights().count == 0 && convolution.getBiasWeights().count == 0;
        for (int32_t i = 0; i < dilation.nbDims; ++i) {
            is_plain = is_plain && dilation.d[i] == 1;
        }
        return is_plain;
    }
    case LayerType::kRESIZE: {
        auto& resize = static_cast<IResizeLayer&>(layer);
        out.kind = kResize;
        // It copies if asked for as many as there are.
        out.n_scales = resize.getScales(rank, out.scales);
        return resize.getResizeMode() == InterpolationMode::kNEAREST &&
               resize.getCoordinateTransformation() == ResizeCoordinateTransformation::kASYMMETRIC &&
               resize.getNearestRounding() == ResizeRoundMode::kFLOOR;
    }
    case LayerType::kQUANTIZE: {
        auto& quantize = static_cast<IQuantizeLayer&>(layer);
        out.kind = kQuantize;
        out.element = static_cast<int32_t>(quantize.getToType());
        return quantize.getAxis() == -1;
    }
    case LayerType::kDEQUANTIZE: {
        auto& dequantize = static_cast<IDequantizeLayer&>(layer);
        out.kind = kDequantize;
        out.element = static_cast<int32_t>(dequantize.getToType());
        out.axis = dequantize.getAxis();
        return true;
    }
#if SHIM_HAS_FP4
    case LayerType::kDYNAMIC_QUANTIZE: {
        auto& quantize = static_cast<IDynamicQuantizeLayer&>(layer);
        out.kind = kDynamicQuantize;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        out.axis = quantize.getAxis();
        out.maps = quantize.getBlockSize();
#pragma GCC diagnostic pop
        return quantize.getToType() == DataType::kFP4 && quantize.getScaleType() == DataType::kFP8;
    }
#endif
#if SHIM_HAS_ATTENTION
    case LayerType::kKVCACHE_UPDATE:
        out.kind = kCacheUpdate;
        return static_cast<IKVCacheUpdateLayer&>(layer).getCacheMode() == KVCacheMode::kLINEAR;
    case LayerType::kATTENTION_OUTPUT: {
        IAttention& attention = *static_cast<IAttentionOutputLayer&>(layer).getAttention();
        out.kind = kAttention;
        out.operation = attention.getCausalKind() == CausalMaskKind::kLOWER_RIGHT;
        out.keeps = attention.getDecomposable();
        return attention.getCausalKind() != CausalMaskKind::kUPPER_LEFT && attention.getMask() == nullptr &&
               attention.getNormalizationOperation() == AttentionNormalizationOp::kSOFTMAX &&
               attention.getNormalizationQuantizeScale() == nullptr && attention.getQueryForm() == AttentionIOForm::kPADDED_BHND &&
               attention.getKeyValueForm() == AttentionIOForm::kPADDED_BHND && attention.getQueryLengths() == nullptr;
    }
#endif
    default: return false;
    }
}

// The end of an attention, which is where it is told of whole; its beginning is then left out.
#if SHIM_HAS_ATTENTION
IAttention* attention_of(ILayer* layer) {
    return layer->getType() == LayerType::kATTENTION_OUTPUT ? static_cast<IAttentionOutputLayer*>(layer)->getAttention() : nullptr;
}
bool is_left_out(ILayer const& layer) { return layer.getType() == LayerType::kATTENTION_INPUT; }
#else
bool is_left_out(ILayer const&) { return false; }
#endif

ShimTensor describe(ITensor const* tensor) {
    ShimTensor out{};
    if (tensor != nullptr) {
        out.tensor = tensor;
        out.name = tensor->getName();
        out.element = static_cast<int32_t>(tensor->getType());
        out.is_there = 1;
        out.dims = from_dims(tensor->getDimensions());
    }
    return out;
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

}  // namespace

// For runtime.cc, which has the same one.
ILogger* shim_logger(ShimLog function) { return logger(function); }

extern "C" {

int32_t shim_header_major() { return NV_TENSORRT_MAJOR; }
int32_t shim_header_minor() { return NV_TENSORRT_MINOR; }
int32_t shim_header_is_rtx() { return SHIM_IS_RTX; }
int64_t shim_struct_bytes() { return static_cast<int64_t>(sizeof(ShimLayer) * 1000 + sizeof(ShimTensor)); }

// `create` is the library's createInferBuilder_INTERNAL.
Building* shim_building_new(void* create, ShimLog log) {
    return guarded<>(static_cast<Building*>(nullptr), [&]() -> Building* {
        auto building = std::make_unique<Building>();
        auto* function = reinterpret_cast<void* (*)(void*, int32_t)>(create);
        building->builder.reset(static_cast<IBuilder*>(function(logger(log), NV_TENSORRT_VERSION)));
        if (building->builder == nullptr) {
            return nullptr;
        }
#if SHIM_ALWAYS_TYPED
        uint32_t const typed = 0;
#else
        auto const typed = 1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#endif
        building->config.reset(building->builder->createBuilderConfig());
        building->network.reset(building->builder->createNetworkV2(typed));
        if (building->config == nullptr || building->network == nullptr) {
            return nullptr;
        }
        // What is asked for in f32 is computed in f32: by default products would take ten bits of each number.
        building->config->clearFlag(BuilderFlag::kTF32);
        return building.release();
    });
}

void shim_building_free(Building* building) { delete building; }

ITensor* shim_add_input(Building* building, char const* name, int32_t element, ShimAxes const* dims) {
    return guarded<>(static_cast<ITensor*>(nullptr),
                     [&] { return building->network->addInput(name, static_cast<DataType>(element), to_dims(*dims)); });
}

void shim_name_axis(ITensor* tensor, int32_t axis, char const* name) { tensor->setDimensionName(axis, name); }

// Whether this TensorRT has layers of a kind.
int32_t shim_has(int32_t kind) {
    switch (kind) {
    case kPlaceholder: return SHIM_HAS_PLACEHOLDERS;
    case kDynamicQuantize: return SHIM_HAS_FP4;
    case kCacheUpdate:
    case kAttention: return SHIM_HAS_ATTENTION;
    default: return 1;
    }
}

// What the layer yields; `second` is set if that is two values.
ITensor* shim_add_layer(Building* building, ShimLayer const* layer, ITensor* const* inputs, int32_t n_inputs, char const* name,
                        ITensor** second) {
    *second = nullptr;
    return guarded<>(static_cast<ITensor*>(nullptr), [&]() -> ITensor* {
        if (layer->kind == kAttention) {
            return add_attention(*building->network, *layer, inputs, n_inputs, name);
        }
        ILayer* added = add(*building, *layer, inputs, n_inputs, name);
        if (added == nullptr) {
            return nullptr;
        }
        added->setName(name);
        *second = added->getNbOutputs() == 2 ? added->getOutput(1) : nullptr;
        return added->getOutput(0);
    });
}

void shim_mark_output(Building* building, ITensor* tensor, char const* name) {
    tensor->setName(name);
    building->network->markOutput(*tensor);
}

int32_t shim_n_layers(Building* building) { return building->network->getNbLayers(); }
int32_t shim_n_inputs(Building* building) { return building->network->getNbInputs(); }
int32_t shim_n_outputs(Building* building) { return building->network->getNbOutputs(); }

// Whether the layer is one that this shim adds: 1, or 2 if it is the beginning of one that is told of at its end, or 0. How many
// inputs it has and its name are told in any case.
int32_t shim_read_layer(Building* building, int32_t i, ShimLayer* out, int32_t* n_inputs, char const** name) {
    ILayer* layer = building->network->getLayer(i);
    *n_inputs = layer->getNbInputs();
    *name = layer->getName();
#if SHIM_HAS_ATTENTION
    if (IAttention* attention = attention_of(layer)) {
        *n_inputs = 4;
        *name = attention->getName();
    }
#endif
    if (is_left_out(*layer)) {
        return 2;
    }
    return read(*layer, *out) && layer->getNbOutputs() == (out->kind == kDynamicQuantize ? 2 : 1);
}

void shim_layer_input(Building* building, int32_t i, int32_t k, ShimTensor* out) {
    ILayer* layer = building->network->getLayer(i);
#if SHIM_HAS_ATTENTION
    if (IAttention* attention = attention_of(layer)) {
        *out = describe(k < 3 ? attention->getInput(k) : attention->getKeyValueLengths());
        return;
    }
#endif
    *out = describe(layer->getInput(k));
}

void shim_layer_output(Building* building, int32_t i, int32_t k, ShimTensor* out) {
    *out = describe(building->network->getLayer(i)->getOutput(k));
}

void shim_input(Building* building, int32_t i, ShimTensor* out) { *out = describe(building->network->getInput(i)); }
void shim_output(Building* building, int32_t i, ShimTensor* out) { *out = describe(building->network->getOutput(i)); }

// For which GPUs: 1 taken, 0 refused, -1 where this TensorRT builds for the GPU that it runs on alone.
int32_t shim_target(Building* building, int32_t n, int32_t const* capabilities) {
#if SHIM_IS_RTX
    if (!building->config->setNbComputeCapabilities(n)) {
        return 0;
    }
    for (int32_t i = 0; i < n; ++i) {
        if (!building->config->setComputeCapability(static_cast<ComputeCapability>(capabilities[i]), i)) {
            return 0;
        }
    }
    return 1;
#else
    static_cast<void>(building);
    static_cast<void>(n);
    static_cast<void>(capabilities);
    return -1;
#endif
}

IOptimizationProfile* shim_profile(Building* building) { return building->builder->createOptimizationProfile(); }

// Smallest, most likely and largest extents of an input.
int32_t shim_profile_dims(IOptimizationProfile* profile, char const* name, ShimAxes const* min, ShimAxes const* opt, ShimAxes const* max) {
    return profile->setDimensions(name, OptProfileSelector::kMIN, to_dims(*min)) &&
           profile->setDimensions(name, OptProfileSelector::kOPT, to_dims(*opt)) &&
           profile->setDimensions(name, OptProfileSelector::kMAX, to_dims(*max));
}

int32_t shim_add_profile(Building* building, IOptimizationProfile* profile) {
    return building->config->addOptimizationProfile(profile);
}

IHostMemory* shim_build(Building* building) {
    return guarded<>(static_cast<IHostMemory*>(nullptr), [&] {
#if SHIM_HAS_PLACEHOLDERS
        if (building->lacks_weights) {
            building->config->setFlag(BuilderFlag::kSTRIP_PLAN);
            building->config->setFlag(BuilderFlag::kREFIT_INDIVIDUAL);
        }
#endif
        return building->builder->buildSerializedNetwork(*building->network, *building->config);
    });
}

void const* shim_plan_data(IHostMemory* plan) { return plan->data(); }
int64_t shim_plan_bytes(IHostMemory* plan) { return static_cast<int64_t>(plan->size()); }
void shim_plan_free(IHostMemory* plan) { delete plan; }

// Whether a plan can be opened here; the log says why not. `create` is the library's createInferRuntime_INTERNAL.
int32_t shim_can_open(void* create, ShimLog log, void const* bytes, int64_t n_bytes) {
    return guarded<>(0, [&] {
        auto* function = reinterpret_cast<void* (*)(void*, int32_t)>(create);
        std::unique_ptr<IRuntime> runtime(static_cast<IRuntime*>(function(logger(log), NV_TENSORRT_VERSION)));
        if (runtime == nullptr) {
            return 0;
        }
        std::unique_ptr<ICudaEngine> engine(runtime->deserializeCudaEngine(bytes, static_cast<size_t>(n_bytes)));
        return engine != nullptr ? 1 : 0;
    });
}

}  // extern "C"
