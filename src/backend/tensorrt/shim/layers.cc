// Layers added to a network of TensorRT's, each as `ShimLayer` says.

#include "shim.h"

using namespace shim;

namespace {

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

}  // namespace

extern "C" {

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

}  // extern "C"
