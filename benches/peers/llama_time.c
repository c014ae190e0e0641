/* Times llama.cpp through its C API at what `perihelion bench` times of text alone, and prints one JSON object.
 *
 *     llama_time MODEL.gguf THREADS PROMPT GENERATE RUNS WARMUP REPACK
 *
 * `load_ms`: from the path to a context of 4096 tokens. `prefill_ms`: PROMPT random ids to the last one's logits, for each run.
 * `itl_ms`: each further token, at the context that the prompt left. REPACK 0 leaves the weights as the file has them (its `--repack 0`).
 * `private_bytes`: the most that the process held of its own after any call. Everything else is llama.cpp's default. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "llama.h"

enum { CONTEXT = 4096 };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void fail(const char *what)
{
    fprintf(stderr, "llama_time: %s\n", what);
    exit(1);
}

static int number(const char *text)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || *end || end == text || n < 0 || CONTEXT < n) fail("numbers are whole, from 0 to 4096");
    return (int)n;
}

static void quiet(enum ggml_log_level level, const char *text, void *unused)
{
    (void)unused;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

/* Bytes of memory that no file backs, as the kernel counts them now. */
static long private_bytes(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;
    if (!status) fail("/proc/self/status cannot be read");
    while (fgets(line, sizeof line, status)) sscanf(line, "RssAnon: %ld", &kib);
    fclose(status);
    return kib * 1024;
}

static uint32_t random_state = 1;

static llama_token any_token(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (llama_token)(random_state >> 24); /* the first 256 ids, as ours */
}

static void decode(struct llama_context *context, llama_token *tokens, int n)
{
    if (llama_decode(context, llama_batch_get_one(tokens, n))) fail("llama_decode failed");
    if (!llama_get_logits_ith(context, -1)) fail("no logits");
}

static llama_token likeliest(struct llama_context *context, int n_vocab)
{
    const float *logits = llama_get_logits_ith(context, -1);
    int best = 0;
    for (int i = 1; i < n_vocab; i++) if (logits[best] < logits[i]) best = i;
    return best;
}

static void print(const char *name, const double *values, int n)
{
    printf(", \"%s\": [", name);
    for (int i = 0; i < n; i++) printf("%s%.4f", i ? ", " : "", values[i]);
    printf("]");
}

int main(int argc, char **argv)
{
    if (argc != 8) fail("MODEL.gguf THREADS PROMPT GENERATE RUNS WARMUP REPACK");
    int threads = number(argv[2]), n_prompt = number(argv[3]), n_generate = number(argv[4]);
    int n_runs = number(argv[5]), n_warmup = number(argv[6]);
    if (!threads || !n_prompt || !n_generate || !n_runs || CONTEXT < n_prompt + n_generate) fail("a count that cannot be");
    double *prefill_ms = calloc(n_runs, sizeof *prefill_ms), *itl_ms = calloc((size_t)n_runs * n_generate, sizeof *itl_ms);
    llama_token *prompt = calloc(n_prompt, sizeof *prompt), first = 0;
    if (!prefill_ms || !itl_ms || !prompt) fail("no memory");
    llama_log_set(quiet, NULL);
    llama_backend_init();

    double start = now_ms();
    struct llama_model_params model_params = llama_model_default_params();
    model_params.use_extra_bufts = number(argv[7]) != 0;
    struct llama_model *model = llama_model_load_from_file(argv[1], model_params);
    if (!model) fail("the model cannot be loaded");
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = CONTEXT;
    params.n_threads = params.n_threads_batch = threads;
    struct llama_context *context = llama_init_from_model(model, params);
    if (!context) fail("no context");
    double load_ms = now_ms() - start;
    int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model)), n_itl = 0;
    long most = private_bytes(), loaded = most;

    for (int run = -n_warmup; run < n_runs; run++) {
        for (int i = 0; i < n_prompt; i++) prompt[i] = any_token();
        llama_memory_clear(llama_get_memory(context), false);
        start = now_ms();
        decode(context, prompt, n_prompt);
        llama_token token = likeliest(context, n_vocab);
        if (run == -n_warmup) first = token;
        if (0 <= run) prefill_ms[run] = now_ms() - start;
        for (int i = 1; i < n_generate; i++) {
            start = now_ms();
            decode(context, &token, 1);
            token = likeliest(context, n_vocab);
            if (0 <= run) itl_ms[n_itl++] = now_ms() - start;
        }
        long bytes = private_bytes();
        if (most < bytes) most = bytes;
    }
    printf("{\"load_ms\": %.3f, \"prompt_tokens\": %d, \"private_bytes\": %ld, \"loaded_private_bytes\": %ld, \"first_token\": %d",
           load_ms, n_prompt, most, loaded, first);
    print("prefill_ms", prefill_ms, n_runs);
    print("itl_ms", itl_ms, n_itl);
    printf("}\n");
    llama_free(context);
    llama_model_free(model);
    return 0;
}
