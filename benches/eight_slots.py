#!/usr/bin/env python3
"""What eight slots of a real llama.cpp server gain over one request at a time, by weight format.

    cargo build --release
    python3 benches/eight_slots.py --server LLAMA_SERVER MODEL.gguf [MODEL.f16.gguf …]
        [--repeats 3] [--tokens 64] [--prompts 16]

Each file is served by a server of its own with `-np 8`; `sequential` and `async 8` take turns, every
second repeat in reverse order. The files may be one model in several formats, as
benches/requantise.py makes them. A ratio is taken within one repeat; the table has the middle and
the range of them.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile

import llama_server

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(args, url, folder):
    prompts, report = (os.path.join(folder, name) for name in ("prompts.txt", "report.json"))
    with open(prompts, "w") as file:
        for number in range(args.prompts):
            print(f"Tell me something interesting about the number {number + 1}", file=file)
    command = [args.program, "run", "--provider", "openai", "--base-url", url, "--prompts", prompts,
               "--lanes", "sequential,async:8", "--max-tokens", str(args.tokens), "--ignore-eos",
               "--temperature", "0", "--warmup", "1", "--repeats", str(args.repeats), "--quiet",
               "--report", report]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    with open(report) as file:
        return json.load(file)["lanes"]


def show(name, lanes):
    rates = [[one["output_tokens_per_s"] for one in lane["repeats"]] for lane in lanes]
    ratios = [many / one for one, many in zip(*rates)]
    one, many = (statistics.median(rate) for rate in rates)
    waits = ", ".join(f"{lane['label']} {1e3 * lane['itl_s']['p50']:.1f} ms" for lane in lanes)
    print(f"{name:32} {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})  "
          f"{many:.0f} against {one:.0f} tok/s; ITL {waits}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--server", required=True)
    parser.add_argument("--program", default=os.path.join(ROOT, "target/release/batchgen-tui"))
    for name, default in (("--repeats", 3), ("--tokens", 64), ("--prompts", 16)):
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    for model in args.models:
        process, url = llama_server.start(args.server, model, 8)
        try:
            with tempfile.TemporaryDirectory() as folder:
                show(os.path.basename(model), run(args, url, folder))
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
