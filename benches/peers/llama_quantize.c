/* Makes a GGUF file of another type through llama.cpp's C API, as its tool `llama-quantize` does, which needs half of llama.cpp to be compiled.
 *
 *     llama_quantize IN.gguf OUT.gguf {Q8_0,Q4_K_M} */
#include <stdio.h>
#include <string.h>

#include "llama.h"

int main(int argc, char **argv)
{
    struct llama_model_quantize_params params = llama_model_quantize_default_params();
    if (argc == 4 && !strcmp(argv[3], "Q8_0")) {
        params.ftype = LLAMA_FTYPE_MOSTLY_Q8_0;
    } else if (argc == 4 && !strcmp(argv[3], "Q4_K_M")) {
        params.ftype = LLAMA_FTYPE_MOSTLY_Q4_K_M;
    } else {
        fprintf(stderr, "usage: llama_quantize IN.gguf OUT.gguf {Q8_0,Q4_K_M}\n");
        return 2;
    }
    llama_backend_init();
    if (llama_model_quantize(argv[1], argv[2], &params)) {
        fprintf(stderr, "llama_quantize: %s cannot be made of %s\n", argv[2], argv[1]);
        return 1;
    }
    return 0;
}
