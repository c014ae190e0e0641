// Times one product of ggml on one thread: weights [N, K] of a type times M rows of f32.
//
//   ggml_products TYPE K N M RUNS [plain]
//
// Weights lie in the layout that ggml itself prefers for them on this processor, unless `plain` is asked for. Prints the layout's name,
// the median milliseconds of processor time and the bytes of the weights as one JSON object.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

namespace {

double processor_ms() {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

ggml_type type_named(const char *name) {
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        const char *known = ggml_type_name(static_cast<ggml_type>(i));
        if (known && !strcmp(known, name)) return static_cast<ggml_type>(i);
    }
    fprintf(stderr, "no type is named %s\n", name);
    exit(2);
}

ggml_context *context() {
    return ggml_init({ggml_tensor_overhead() * 16 + ggml_graph_overhead(), nullptr, true});
}

// Gives `w` a place in the first buffer type of the processor's own that can multiply it and has a layout for it. Its name, or none.
const char *place_in_own_layout(ggml_backend_t backend, ggml_tensor *w, ggml_tensor *product) {
    ggml_backend_dev_t device = ggml_backend_get_device(backend);
    ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(device);
    auto list = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(registry, "ggml_backend_dev_get_extra_bufts"));
    for (auto type = list ? list(device) : nullptr; type && *type; type++) {
        ggml_backend_buffer_t buffer = ggml_backend_buft_alloc_buffer(*type, ggml_backend_buft_get_alloc_size(*type, w) + 256);
        w->buffer = buffer;
        const bool can = ggml_backend_dev_supports_op(device, product);
        w->buffer = nullptr;
        if (can) {
            ggml_backend_tensor_alloc(buffer, w, ggml_backend_buffer_get_base(buffer));
            if (w->extra) return ggml_backend_buft_name(*type);
            w->data = nullptr;
            w->buffer = nullptr;
        }
        ggml_backend_buffer_free(buffer);
    }
    return nullptr;
}

std::vector<float> numbers(size_t n) {
    std::vector<float> values(n);
    for (float &v : values) v = (rand() % 2001 - 1000) / 1000.0f;
    return values;
}

}  // namespace

int main(int argc, char **argv) {
    if (argc < 6) {
        fprintf(stderr, "ggml_products TYPE K N M RUNS [plain]\n");
        return 2;
    }
    const ggml_type type = type_named(argv[1]);
    const int64_t k = atoll(argv[2]), n = atoll(argv[3]), m = atoll(argv[4]);
    const int runs = atoi(argv[5]);
    const bool plain = argc > 6 && !strcmp(argv[6], "plain");

    ggml_backend_t backend = ggml_backend_cpu_init();
    ggml_backend_cpu_set_n_threads(backend, 1);
    ggml_context *weights = context(), *rest = context();
    ggml_tensor *w = ggml_new_tensor_2d(weights, type, k, n);
    ggml_tensor *x = ggml_new_tensor_2d(rest, GGML_TYPE_F32, k, m);
    ggml_tensor *product = ggml_mul_mat(rest, w, x);
    const char *layout = plain ? nullptr : place_in_own_layout(backend, w, product);
    if (!layout) ggml_backend_alloc_ctx_tensors_from_buft(weights, ggml_backend_cpu_buffer_type());

    const std::vector<float> values = numbers(k * n);
    std::vector<char> stored(ggml_nbytes(w));
    if (type == GGML_TYPE_F32) {
        memcpy(stored.data(), values.data(), stored.size());
    } else {
        ggml_quantize_chunk(type, values.data(), stored.data(), 0, n, k, nullptr);
    }
    ggml_backend_tensor_set(w, stored.data(), 0, stored.size());
    ggml_cgraph *graph = ggml_new_graph(rest);
    ggml_build_forward_expand(graph, product);
    ggml_backend_alloc_ctx_tensors(rest, backend);
    const std::vector<float> rows = numbers(k * m);
    ggml_backend_tensor_set(x, rows.data(), 0, rows.size() * sizeof(float));

    std::vector<double> ms;
    for (int i = -1; i < runs; i++) {
        const double start = processor_ms();
        ggml_backend_graph_compute(backend, graph);
        if (i >= 0) ms.push_back(processor_ms() - start);
    }
    std::sort(ms.begin(), ms.end());
    printf("{\"layout\": \"%s\", \"ms\": %.6f, \"weight_bytes\": %zu}\n", layout ? layout : "plain", ms[ms.size() / 2], stored.size());
}
