// One source, two compilers. NVRTC compiles a kernel for the device; a C++ compiler makes the same text a function whose
// blocks and threads are loops, so that tests can compare it with the CPU path on a machine without a GPU.
//
// A kernel is written in phases: `THREADS(t) { … }` is done by every thread t of the block before any begins the next. What
// outlives a phase stands in `SHARED` arrays; what stands between phases is the same for all threads. A kernel whose elements
// do not know each other is one `EACH(i, n) { … }`.

typedef unsigned char u8;
typedef short i16;
typedef int i32;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

#ifdef __CUDACC_RTC__

#define SHARED __shared__
#define N_THREADS blockDim.x
#define KERNEL(name, Arguments) extern "C" __global__ void name(const Arguments a)
#define THREADS(t) for (u32 t = threadIdx.x, once = 1; once; once = 0, __syncthreads())
#define EACH(i, n) \
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (u64)gridDim.x * blockDim.x)
#define FUNCTION static __device__ __forceinline__
template <typename T> FUNCTION void add(T *place, T value) { atomicAdd(place, value); }
FUNCTION u64 high_product(u64 a, u64 b) { return __umul64hi(a, b); }
FUNCTION u32 bits_of(float value) { return __float_as_uint(value); }
FUNCTION float float_of(u32 bits) { return __uint_as_float(bits); }

#else

#include <cmath>
#include <cstring>

struct Launch {
    u32 block, n_blocks, n_threads;
    bool is_backwards; // Which thread comes first must not matter.
};

#define SHARED
#define N_THREADS launch.n_threads
#define KERNEL(name, Arguments)                                                                        \
    static void name##_block(const Arguments &a, const Launch &launch);                                \
    extern "C" void name(const Arguments *a, u32 n_blocks, u32 n_threads, u32 is_backwards) {          \
        for (u32 block = 0; block < n_blocks; ++block)                                                 \
            name##_block(*a, Launch{block, n_blocks, n_threads, is_backwards != 0});                   \
    }                                                                                                  \
    static void name##_block(const Arguments &a, const Launch &launch)
#define THREADS(t)                                                                                     \
    for (u32 turn = 0, t; turn < launch.n_threads &&                                                   \
                          (t = launch.is_backwards ? launch.n_threads - 1 - turn : turn, true); ++turn)
#define EACH(i, n)                                                                                     \
    THREADS(thread)                                                                                    \
    for (u64 i = (u64)launch.block * launch.n_threads + thread; i < (n); i += (u64)launch.n_blocks * launch.n_threads)
#define FUNCTION static inline
template <typename T> FUNCTION void add(T *place, T value) { *place += value; }
FUNCTION u64 high_product(u64 a, u64 b) { return (u64)((unsigned __int128)a * b >> 64); }
FUNCTION u32 bits_of(float value) {
    u32 bits;
    memcpy(&bits, &value, 4);
    return bits;
}
FUNCTION float float_of(u32 bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

#endif
