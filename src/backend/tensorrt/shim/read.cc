// A network of TensorRT's read back through its getters: what it says that it was told.

#include "shim.h"

using namespace shim;

namespace {

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

}  // namespace

extern "C" {

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

}  // extern "C"
