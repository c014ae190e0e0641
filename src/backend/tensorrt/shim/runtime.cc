// TensorRT's runtime behind C functions: plans opened, given the constants that they wait for, bound to memory and run. `shim.cc` builds
// them; `running.rs` is the only caller, and sees to it that a handle outlives what it made. Whoever binds memory has compared what a plan
// says of its tensors with the network (`driver/enabled.rs`). A plan is code of its GPU: what it does with its memory is believed.

#include "shim.h"

using ShimTake = void* (*)(void* owner, uint64_t n_bytes, uint64_t alignment);
using ShimGive = int32_t (*)(void* owner, void* memory);

using namespace shim;

namespace {

// What TensorRT takes of the device's memory for itself goes through the owner, who counts it.
struct Allocator final : IGpuAllocator {
    ShimTake take;
    ShimGive give;
    void* owner;
    Allocator(ShimTake take_, ShimGive give_, void* owner_) : take(take_), give(give_), owner(owner_) {}
    void* allocate(uint64_t const size, uint64_t const alignment, AllocatorFlags const) noexcept override {
        return take(owner, size, alignment);
    }
    bool deallocate(void* const memory) noexcept override { return give(owner, memory) != 0; }
};

// Members are destroyed from the last to the first.
struct Runtime {
    Allocator allocator;
    std::unique_ptr<IRuntime> runtime;
};

struct Running {
    std::unique_ptr<ICudaEngine> engine;
    std::unique_ptr<IRefitter> refitter;
    std::unique_ptr<IExecutionContext> context;
};

}  // namespace

extern "C" {

// `create` is the library's createInferRuntime_INTERNAL.
Runtime* shim_runtime_new(void* create, ShimLog log, ShimTake take, ShimGive give, void* owner) {
    return guarded<>(static_cast<Runtime*>(nullptr), [&]() -> Runtime* {
        auto made = std::unique_ptr<Runtime>(new Runtime{Allocator(take, give, owner), nullptr});
        auto* function = reinterpret_cast<void* (*)(void*, int32_t)>(create);
        made->runtime.reset(static_cast<IRuntime*>(function(shim_logger(log), NV_TENSORRT_VERSION)));
        if (made->runtime == nullptr) {
            return nullptr;
        }
        made->runtime->setGpuAllocator(&made->allocator);
        return made.release();
    });
}

void shim_runtime_free(Runtime* runtime) { delete runtime; }

// A plan, which is given its constants and then started.
Running* shim_running_new(Runtime* runtime, void const* bytes, int64_t n_bytes) {
    return guarded<>(static_cast<Running*>(nullptr), [&]() -> Running* {
        auto made = std::make_unique<Running>();
        made->engine.reset(runtime->runtime->deserializeCudaEngine(bytes, static_cast<size_t>(n_bytes)));
        return made->engine != nullptr ? made.release() : nullptr;
    });
}

// Whether a plan waits for a constant of that name, type and length. The bytes stay where they are until the plan was started. `create` is
// the library's createInferRefitter_INTERNAL.
int32_t shim_running_give(
    Running* running, void* create, ShimLog log, char const* name, int32_t element, void const* values, int64_t n_elements) {
    return guarded<>(0, [&]() -> int32_t {
        if (running->refitter == nullptr) {
            auto* function = reinterpret_cast<void* (*)(void*, void*, int32_t)>(create);
            running->refitter.reset(
                static_cast<IRefitter*>(function(running->engine.get(), shim_logger(log), NV_TENSORRT_VERSION)));
        }
        Weights const weights{static_cast<DataType>(element), values, n_elements};
        return running->refitter != nullptr && running->refitter->setNamedWeights(name, weights) ? 1 : 0;
    });
}

// Whether a plan has everything that it needs, and can be run in memory that the caller gives it.
int32_t shim_running_start(Running* running) {
    return guarded<>(0, [&]() -> int32_t {
        if (running->refitter != nullptr && !running->refitter->refitCudaEngine()) {
            return 0;
        }
        running->refitter.reset();
        running->context.reset(running->engine->createExecutionContext(ExecutionContextAllocationStrategy::kUSER_MANAGED));
        return running->context != nullptr ? 1 : 0;
    });
}

void shim_running_free(Running* running) { delete running; }

int64_t shim_running_scratch_bytes(Running* running) { return running->engine->getDeviceMemorySizeV2(); }

void shim_running_set_scratch(Running* running, void* memory, int64_t n_bytes) { running->context->setDeviceMemoryV2(memory, n_bytes); }

int32_t shim_running_n_tensors(Running* running) { return running->engine->getNbIOTensors(); }

// How many axes a tensor has, -1 if there is no such tensor; its element type, whether it is an input (1) or an output (0), its extents
// (-1 for one that varies), of which there is room for eight.
int32_t shim_running_tensor(Running* running, char const* name, int32_t* element, int32_t* is_input, int64_t* extents) {
    TensorIOMode const mode = running->engine->getTensorIOMode(name);
    if (mode == TensorIOMode::kNONE) {
        return -1;
    }
    *is_input = mode == TensorIOMode::kINPUT;
    *element = static_cast<int32_t>(running->engine->getTensorDataType(name));
    Dims const dims = running->engine->getTensorShape(name);
    for (int32_t i = 0; i < dims.nbDims; ++i) {
        extents[i] = dims.d[i];
    }
    return dims.nbDims;
}

// The most rows that an input may have, -1 if TensorRT does not tell.
int64_t shim_running_rows_max(Running* running, char const* name) {
    Dims const dims = running->engine->getProfileShape(name, 0, OptProfileSelector::kMAX);
    return dims.nbDims > 0 ? dims.d[0] : -1;
}

int32_t shim_running_set_extents(Running* running, char const* name, int32_t n, int64_t const* extents) {
    Dims dims{};
    dims.nbDims = n;
    for (int32_t i = 0; i < n; ++i) {
        dims.d[i] = extents[i];
    }
    return running->context->setInputShape(name, dims);
}

int32_t shim_running_set_address(Running* running, char const* name, void* address) {
    return running->context->setTensorAddress(name, address);
}

int32_t shim_running_enqueue(Running* running, void* stream) {
    return guarded<>(0, [&] { return running->context->enqueueV3(static_cast<cudaStream_t>(stream)) ? 1 : 0; });
}

}  // extern "C"
