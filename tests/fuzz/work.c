/* work.c: counts what a fuzzer runs. Its program and the library in it are compiled with -fsanitize-coverage=trace-pc
 * (clang: edge,trace-pc) and -DFUZZ_WORK, this file without: then every basic block that runs is counted here. */
unsigned long long fuzz_work;
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void) { fuzz_work++; }
