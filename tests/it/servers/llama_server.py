"""llama.cpp's server of the package xllamacpp, started with the flags of llama-server.

That package runs on any x86-64 processor with AVX2; the one with llama-server itself was built for
AVX-512 and AVX-VNNI and dies without them.
"""
import argparse
import os
import struct
import tempfile
import threading

# its threads must not spin for each other while other tests need the processors
os.environ["OMP_WAIT_POLICY"] = "passive"
import xllamacpp  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-m", dest="model", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("-ngl", dest="gpu_layers", type=int, default=0)
    parser.add_argument("-np", dest="slots", type=int, default=4)
    parser.add_argument("-c", dest="context", type=int, default=0)
    parser.add_argument("-t", dest="threads", type=int)
    parser.add_argument("--cache-ram", type=int)
    parser.add_argument("--override-kv", default="")
    parser.add_argument("-ctk", dest="keys", choices=("f16", "f32"), default="f16")
    parser.add_argument("-ctv", dest="values", choices=("f16", "f32"), default="f16")
    parser.add_argument("-fa", dest="flash", choices=("off", "auto"), default="auto")
    for flag in ("--metrics", "--no-ui", "--no-warmup", "--no-cache-prompt", "--jinja"):
        parser.add_argument(flag, action="store_true")
    return parser.parse_args()


def with_string(model, key, value):
    """A copy of a GGUF file with another text under `key`, in a temporary file."""
    with open(model, "rb") as file:
        data = bytearray(file.read())
    name = struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", 8)
    start = data.index(name) + len(name)
    (length,) = struct.unpack_from("<Q", data, start)
    new = struct.pack("<Q", len(value)) + value.encode()
    # one more entry keeps the tensors, which follow, where their alignment wants them
    entry = struct.pack("<Q", 11) + b"padding.key" + struct.pack("<I", 8)
    growth = len(new) - (8 + length) + len(entry) + 8
    padding = -growth % 32
    new += entry + struct.pack("<Q", padding) + b" " * padding
    data[start : start + 8 + length] = new
    (entries,) = struct.unpack_from("<Q", data, 16)
    struct.pack_into("<Q", data, 16, entries + 1)
    copy = tempfile.NamedTemporaryFile(suffix=".gguf")
    copy.write(data)
    copy.flush()
    return copy


def main():
    wanted = arguments()
    params = xllamacpp.CommonParams()
    copy = None
    if wanted.override_kv:
        key, value = wanted.override_kv.split("=str:")
        copy = with_string(wanted.model, key, value)
    params.model.path = copy.name if copy else wanted.model
    params.hostnames = [wanted.host]
    params.port = wanted.port
    params.n_gpu_layers = wanted.gpu_layers
    params.n_parallel = wanted.slots
    params.n_ctx = wanted.context
    params.endpoint_metrics = wanted.metrics
    params.ui = not wanted.no_ui
    params.warmup = not wanted.no_warmup
    params.cache_prompt = not wanted.no_cache_prompt
    kinds = {"f16": xllamacpp.ggml_type.GGML_TYPE_F16, "f32": xllamacpp.ggml_type.GGML_TYPE_F32}
    params.cache_type_k, params.cache_type_v = kinds[wanted.keys], kinds[wanted.values]
    if wanted.flash == "off":
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if wanted.cache_ram is not None:
        params.cache_ram_mib = wanted.cache_ram
    if wanted.threads:
        params.cpuparams.n_threads = wanted.threads
        params.cpuparams_batch.n_threads = wanted.threads
    server = xllamacpp.Server(params)
    print("listening on", server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
