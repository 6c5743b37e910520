"""llama.cpp's server in a process of its own: `python llama_cpp_process.py GGUF THREADS CONTEXT SPECULATION`. Prints its address, and ends
when the process that started it ends. It imports nothing of this project."""

import sys

import xllamacpp

model, threads, context, speculation = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
params = xllamacpp.CommonParams()
params.model.path = model
params.n_ctx, params.n_parallel, params.verbosity = context, 1, -1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
if speculation:
    params.speculative.types = [getattr(xllamacpp.common_speculative_type, speculation)]
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()  # until the other end is closed
