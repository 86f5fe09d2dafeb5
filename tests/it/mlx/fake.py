#!/usr/bin/env python3
"""Speaks as the helper of mlx does, and misbehaves as the model's name says."""

import json
import sys


def send(event, **fields):
    print(json.dumps(dict(fields, event=event)), flush=True)


def ask():
    line = sys.stdin.readline()
    return json.loads(line) if line else sys.exit(0)


def step(call, row, ended=()):
    tokens = [[row, 7, "seven"]]
    send("step", call=call, rows=1, prefill=0, tokens=tokens, ended=list(ended), memory=None)


def misbehave(how, call):
    if how == "crash":
        step(call, 0)
        print("Traceback:\n  \x1b[31mRuntimeError: the GPU is gone", file=sys.stderr)
        sys.exit(3)
    elif how == "garbage":
        print('{"event":"step","call":\x1b[2J', flush=True)
    elif how == "long":
        sys.stdout.write("x" * (5 << 20))
        sys.stdout.flush()
    elif how == "stranger":
        step(call, 99)
    elif how == "twice":
        end = {"row": 0, "text": "", "prompt_tokens": 1, "output_tokens": 1, "reason": "stop"}
        step(call, 0, [end])
        step(call, 0, [end])
    elif how == "unfinished":
        send("done", call=call)
    elif how == "memory":
        send("failed", call=call, kind="memory", message="unable to allocate 9 bytes")
    elif how == "other-calls":
        # what is told about calls that nobody waits for changes nothing
        step(call + 1000, 5)
        end = {"row": 0, "text": "!", "prompt_tokens": 1, "output_tokens": 1, "reason": "length"}
        step(call, 0, [end])
        send("done", call=call)


send(
    "hello",
    protocol=1,
    python="3.11.0",
    executable="python3",
    venv=False,
    mlx_lm="0.32.2",
    mlx="0.32.4",
)
how = ask()["model"].split("/")[1]
if how == "damaged-model":
    send("error", kind="model", message="ValueError: no safetensors here")
    ask()
if how == "import":
    send("error", kind="import", message="libmlx.so is missing")
    ask()
send("progress", line="loading \x1b[1m")
send(
    "ready",
    device="cpu",
    device_name="",
    architecture="fake",
    parameters=1,
    quantization="none",
    weights=4,
    context=None,
    batches=how != "llama4",
)
while True:
    asked = ask()
    if asked["op"] == "row":
        misbehave(how, asked["call"])
