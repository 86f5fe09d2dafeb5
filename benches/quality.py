#!/usr/bin/env python3
"""What rounding costs: our CPU runner and llama.cpp on one file, each against the model in f32.

    python3 benches/quality.py --library DIR --model FILE.gguf [--text benches/quality.txt]

Both read the same tokens of a fixed text. For every token the distribution of the next one is
compared with that of the same weights computed in f32 throughout (our exact mode): the mean
Kullback-Leibler divergence with its standard error, and how often the most probable token is the
same. llama.cpp on a copy of the model in F32 shows how far the two engines agree without rounding.
"""
import argparse
import ctypes
import os
import subprocess
import tempfile

import numpy as np

import beside_llama_cpp as beside

CHUNK = 64


def tokens_of(lib, model, text):
    lib.llama_model_get_vocab.restype = ctypes.c_void_p
    lib.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
    lib.llama_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32,
                                   ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.c_bool,
                                   ctypes.c_bool]
    lib.llama_vocab_n_tokens.argtypes = [ctypes.c_void_p]
    vocab = lib.llama_model_get_vocab(model)
    data = text.encode()
    ids = (ctypes.c_int32 * (len(data) + 8))()
    count = lib.llama_tokenize(vocab, data, len(data), ids, len(ids), True, False)
    return list(ids[:count]), lib.llama_vocab_n_tokens(vocab)


def theirs(lib, path, threads, text):
    """The tokens of the text and llama.cpp's logits after each."""
    engine = beside.Llama(lib, path, 1, threads, context=4096)
    tokens, vocabulary = tokens_of(lib, engine.model, text)
    logits = np.empty((len(tokens), vocabulary), np.float32)
    for first in range(0, len(tokens), CHUNK):
        chunk = tokens[first : first + CHUNK]
        engine.decode([(t, first + i, 0, 1) for i, t in enumerate(chunk)])
        for i in range(len(chunk)):
            row = ctypes.cast(lib.llama_get_logits_ith(engine.context, i),
                              ctypes.POINTER(ctypes.c_float))
            logits[first + i] = np.ctypeslib.as_array(row, (vocabulary,))
    return tokens, logits


def ours(program, path, tokens, vocabulary, *flags):
    with tempfile.TemporaryDirectory() as folder:
        ids, out = os.path.join(folder, "ids"), os.path.join(folder, "logits")
        with open(ids, "w") as file:
            file.write(" ".join(map(str, tokens)))
        subprocess.run([program, "--model", path, "--tokens", ids, "--out", out, *flags],
                       check=True)
        return np.fromfile(out, "<f4").reshape(len(tokens), vocabulary)


def log_probabilities(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def compare(name, reference, logits):
    p, q = log_probabilities(reference), log_probabilities(logits)
    divergence = (np.exp(p) * (p - q)).sum(1)
    same = (p.argmax(1) == q.argmax(1)).sum()
    error = divergence.std(ddof=1) / len(divergence) ** 0.5
    print(f"{name:28} KL {divergence.mean():.6f} +- {error:.6f}, largest {divergence.max():.4f}, "
          f"same most probable token {same} of {len(divergence)} ({100 * same / len(divergence):.1f} %)")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="folder of libllama.so")
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", default=os.path.join(os.path.dirname(__file__), "quality.txt"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scratch", default="target/formats")
    parser.add_argument("--ours", help="the benchmark's program; built where it is not given")
    arguments = parser.parse_args()
    program = arguments.ours or beside.build("logits")
    with open(arguments.text) as file:
        text = file.read()
    os.makedirs(arguments.scratch, exist_ok=True)
    lib = beside.library(arguments.library)
    tokens, quantised = theirs(lib, arguments.model, arguments.threads, text)
    vocabulary = quantised.shape[1]
    exact = ours(program, arguments.model, tokens, vocabulary, "--exact")
    print(f"{len(tokens)} tokens of {arguments.text}")
    for name, flags in [("this engine, prompts", []), ("this engine, answers", ["--answers"])]:
        compare(name, exact, ours(program, arguments.model, tokens, vocabulary, *flags))
    compare("llama.cpp", exact, quantised)
    widened = beside.copy_in(lib, arguments.model, arguments.scratch, "f32")
    compare("llama.cpp, F32 weights", exact, theirs(lib, widened, arguments.threads, text)[1])


main()
