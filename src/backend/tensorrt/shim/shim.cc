// TensorRT's classes behind C functions: no NVIDIA library is linked, and nothing is thrown across.
//
// Builds against TensorRT 10.3 and later and TensorRT-RTX 1.3 and later. What is asked of TensorRT stands in one struct of numbers,
// `ShimLayer`, which `shim_add_layer` takes and `shim_read_layer` fills from TensorRT's own getters: so a network can be compared with
// what it was meant to be. `raw.rs` beside this file has the same structs, and `ffi.rs` is the only caller; it checks indices, lengths and
// that a handle outlives what it made.

#include "shim.h"

using namespace shim;

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

namespace {

struct Log final : ILogger {
    ShimLog function;
    explicit Log(ShimLog function_) : function(function_) {}
    void log(Severity severity, AsciiChar const* line) noexcept override { function(static_cast<int32_t>(severity), line); }
};

}  // namespace

// TensorRT has one logger in a process: the first that it is given, for as long as it has anything. So there is one, for ever.
ILogger* shim_logger(ShimLog function) {
    static Log* const log = new Log(function);
    return log;
}

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
        building->builder.reset(static_cast<IBuilder*>(function(shim_logger(log), NV_TENSORRT_VERSION)));
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

void shim_mark_output(Building* building, ITensor* tensor, char const* name) {
    tensor->setName(name);
    building->network->markOutput(*tensor);
}

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
        std::unique_ptr<IRuntime> runtime(static_cast<IRuntime*>(function(shim_logger(log), NV_TENSORRT_VERSION)));
        if (runtime == nullptr) {
            return 0;
        }
        std::unique_ptr<ICudaEngine> engine(runtime->deserializeCudaEngine(bytes, static_cast<size_t>(n_bytes)));
        return engine != nullptr ? 1 : 0;
    });
}

}  // extern "C"
