#!/usr/bin/env python3
"""Our CPU runner beside llama.cpp, taking turns in the same minutes, as ratios with their spread.

    python3 benches/beside_llama_cpp.py --library DIR --model FILE.gguf [--rounds 5]
        [--threads 2] [--batch 1,8,32,64] [--prompt 64] [--tokens 64]
        [--formats same,q4_0,q8_0,bf16,f16]

DIR holds a real libllama.so, for example of a llama-server package. llama.cpp is called through
its C interface, without a server: the prompts, then so many tokens for each row, greedy. Our
side is `cargo bench --bench model`. llama.cpp also runs copies of the model in other formats,
which its own quantiser makes into --scratch (where the library has none, benches/requantise.py
makes them, which wants the package gguf); its best format is what we are compared with.

Machines change their speed from minute to minute: a ratio is taken within one round only.
"""
import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time

PREFILL = 512  # tokens of a pass, or a longer prompt
# numbers of enum llama_ftype
FTYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "bf16": 32}


class Opaque(ctypes.Structure):
    """A parameter struct of llama.h, larger than any version of it; fields are set by offset."""

    _fields_ = [("bytes", ctypes.c_uint8 * 1024)]

    def put(self, offset, value, kind="<i4"):
        data = int(value).to_bytes(int(kind[2:]), "little", signed=value < 0)
        self.bytes[offset : offset + len(data)] = data

    def get(self, offset):
        return int.from_bytes(bytes(self.bytes[offset : offset + 4]), "little", signed=True)


class Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.POINTER(ctypes.c_float)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


def library(folder):
    for name in ("libggml-base.so", "libggml-cpu.so", "libggml.so", "libllama.so"):
        path = os.path.join(folder, name)
        loaded = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL) if os.path.exists(path) else None
    lib = loaded
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    lib.quiet = quiet
    lib.llama_log_set(quiet, None)
    for name in ("llama_model_default_params", "llama_context_default_params"):
        getattr(lib, name).restype = Opaque
    lib.llama_model_load_from_file.restype = ctypes.c_void_p
    lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Opaque]
    lib.llama_init_from_model.restype = ctypes.c_void_p
    lib.llama_init_from_model.argtypes = [ctypes.c_void_p, Opaque]
    if hasattr(lib, "llama_model_quantize"):
        lib.llama_model_quantize_default_params.restype = Opaque
        lib.llama_model_quantize.restype = ctypes.c_uint32
        lib.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
    lib.llama_batch_init.restype = Batch
    lib.llama_decode.argtypes = [ctypes.c_void_p, Batch]
    lib.llama_get_logits_ith.restype = ctypes.c_void_p
    lib.llama_get_logits_ith.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    lib.llama_get_memory.restype = ctypes.c_void_p
    lib.llama_get_memory.argtypes = [ctypes.c_void_p]
    lib.llama_memory_clear.argtypes = [ctypes.c_void_p, ctypes.c_bool]
    lib.llama_backend_init()
    return lib


def copy_in(lib, model, scratch, name):
    """The model in another format, made once."""
    path = os.path.join(scratch, f"{os.path.basename(model)}.{name}.gguf")
    if not os.path.exists(path) and not hasattr(lib, "llama_model_quantize"):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "requantise.py")
        subprocess.run([sys.executable, script, model, path, name], check=True)
    elif not os.path.exists(path):
        params = lib.llama_model_quantize_default_params()
        params.put(4, FTYPES[name])  # ftype
        params.put(16, 1, "<u1")  # allow_requantize
        params.put(19, 1, "<u1")  # pure
        if lib.llama_model_quantize(model.encode(), path.encode(), ctypes.byref(params)) != 0:
            raise SystemExit(f"llama.cpp cannot write {name}")
    return path


class Llama:
    def __init__(self, lib, path, batch, threads, prompt=64, tokens=64, context=None):
        self.lib, self.size, self.prompt, self.tokens = lib, batch, prompt, tokens
        self.together = max(PREFILL, batch, prompt)
        room = context or batch * (prompt + tokens)
        params = lib.llama_model_default_params()
        params.put(16, 0)  # n_gpu_layers
        self.model = lib.llama_model_load_from_file(path.encode(), params)
        context = lib.llama_context_default_params()
        # the places of n_threads and n_threads_batch differ between versions; both default to 4
        at = next(i for i in range(16, 48, 4) if context.get(i) == context.get(i + 4) == 4)
        context.put(0, room)
        context.put(4, self.together)
        context.put(8, self.together)
        context.put(12, batch)  # n_seq_max
        context.put(at, threads)
        context.put(at + 4, threads)
        self.context = lib.llama_init_from_model(self.model, context)
        if not self.model or not self.context:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.batch = lib.llama_batch_init(self.together, 0, 1)

    def decode(self, rows):
        """Rows of (token, position, sequence, wants logits)."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wants) in enumerate(rows):
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, sequence, wants
        if self.lib.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")

    def measure(self):
        """Prompt and output tokens a second. The next token is a fixed one: choosing it is not
        llama.cpp's work here, so its logits are computed and not looked at."""
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        prompts = [[(s * 7919 + p * 104729 + 13) % 32000 for p in range(self.prompt)]
                   for s in range(self.size)]
        spent = 0.0
        each = max(1, PREFILL // self.prompt)
        for first in range(0, self.size, each):
            some = range(first, min(first + each, self.size))
            rows = [(t, p, s, p + 1 == self.prompt) for s in some for p, t in enumerate(prompts[s])]
            spent += self.timed(rows, len(rows) - 1)
        prefill = self.size * self.prompt / spent
        spent = 0.0
        for step in range(self.tokens - 1):
            token = step % self.prompt
            rows = [(prompts[s][token], self.prompt + step, s, 1) for s in range(self.size)]
            spent += self.timed(rows, self.size - 1)
        return prefill, self.size * (self.tokens - 1) / spent

    def timed(self, rows, last):
        begun = time.perf_counter()
        self.decode(rows)
        self.lib.llama_get_logits_ith(self.context, last)  # waits for the result
        return time.perf_counter() - begun


def worker(arguments):
    """One measurement of llama.cpp in a process of its own."""
    lib = library(arguments.library)
    llama = Llama(lib, arguments.model, int(arguments.batch), arguments.threads, arguments.prompt,
                  arguments.tokens)
    llama.measure()
    prefill, decode = llama.measure()
    print(json.dumps({"prefill": prefill, "decode": decode}))


def theirs(arguments, path, batch):
    command = [sys.executable, os.path.abspath(__file__), "--worker", "--library",
               arguments.library, "--model", path, "--batch", str(batch),
               "--threads", str(arguments.threads), "--prompt", str(arguments.prompt),
               "--tokens", str(arguments.tokens)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def ours(arguments, batch):
    command = [arguments.ours, "--model", arguments.model, "--batch", str(batch), "--threads",
               str(arguments.threads), "--prompt", str(arguments.prompt), "--tokens",
               str(arguments.tokens), "--rounds", "2", "--json"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(output.splitlines()[-1])


def build(name="model"):
    """A benchmark's program."""
    command = ["cargo", "bench", "--bench", name, "--no-run", "--message-format", "json"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    messages = [json.loads(line) for line in output.splitlines()]
    return next(m["executable"] for m in messages
                if m.get("target", {}).get("name") == name and m.get("executable"))


def compare(arguments):
    arguments.ours = arguments.ours or build()
    lib = library(arguments.library)
    os.makedirs(arguments.scratch, exist_ok=True)
    paths = {name: arguments.model if name == "same"
             else copy_in(lib, arguments.model, arguments.scratch, name)
             for name in arguments.formats.split(",")}
    batches = [int(batch) for batch in arguments.batch.split(",")]
    ratios = {}
    for number in range(arguments.rounds):
        for batch in batches:
            seen = {"ours": [ours(arguments, batch)]}
            for name, path in paths.items():
                seen[name] = [theirs(arguments, path, batch)]
            seen["ours"].append(ours(arguments, batch))
            for what in ("decode", "prefill"):
                mean = statistics.mean(s[what] for s in seen["ours"])
                other = {name: seen[name][0][what] for name in paths}
                best = max(other, key=other.get)
                against = {"best": other[best]} | ({"same": other["same"]} if "same" in other else {})
                for name, speed in against.items():
                    ratios.setdefault((what, batch, name), []).append((mean / speed, mean, speed))
                print(f"round {number + 1} batch {batch} {what}: ours {mean:.0f}, llama.cpp "
                      + ", ".join(f"{n} {v:.0f}" for n, v in other.items())
                      + f"; {mean / other[best]:.2f}x of its best", flush=True)
    print("\nratio to llama.cpp, middle (lowest to highest) of", arguments.rounds, "rounds")
    for (what, batch, name), values in sorted(ratios.items()):
        found = sorted(v[0] for v in values)
        speeds = f"{statistics.median(v[1] for v in values):.0f} against {statistics.median(v[2] for v in values):.0f} tok/s"
        print(f"{what:8} batch {batch:3} {name:5} {statistics.median(found):5.2f}x "
              f"({found[0]:.2f} to {found[-1]:.2f})  {speeds}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="folder of libllama.so")
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", default="1,8,32,64")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens written for each row")
    parser.add_argument("--formats", default="same,q4_0,q8_0,bf16,f16")
    parser.add_argument("--scratch", default="target/formats")
    parser.add_argument("--ours", help="the benchmark's program; built where it is not given")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prompt < 1 or arguments.tokens < 2:
        parser.error("a prompt has a token at least, and two are written: the first comes with it")
    (worker if arguments.worker else compare)(arguments)


if __name__ == "__main__":
    main()
