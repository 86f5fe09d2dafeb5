#!/usr/bin/env python3
"""Does `compare` find a slowdown of 5 %, and does it find none where there is none?

    cargo build --release
    python3 benches/planted_slowdown.py [--repeats 10] [--rows 8] [--tokens 32] [--model MODEL]

Three real runs of the same plan on the local engine: two alike, and one whose process is stopped
for 5 of every 100 ms. The first is compared with both others, as `batchgen-tui compare` does it.
How much a repeat varies says what can be found: docs/method.md has the rates.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

PERIOD, STOPPED = 0.100, 0.005
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(program, args, folder, name, slowed):
    path = os.path.join(folder, f"{name}.json")
    command = [program, "run", "--prompts", os.path.join(folder, "prompts.txt"), "--quiet",
               "--lanes", "sequential,batched:8", "--repeats", str(args.repeats),
               "--max-tokens", str(args.tokens), "--ignore-eos", "--report", path]
    command += ["--model", args.model] if args.model else []
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    over = threading.Event()
    if slowed:
        threading.Thread(target=stop_now_and_then, args=(process.pid, over), daemon=True).start()
    status = process.wait()
    over.set()
    if status != 0:
        sys.exit(f"{' '.join(command)} ended with {status}")
    return path


def stop_now_and_then(pid, over):
    """Stops the process for its share of every period, whatever the sleeps really took."""
    while not over.wait(PERIOD - STOPPED):
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STOPPED)
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return


def noise(report):
    """How much a repeat of each lane varies in throughput: standard deviation over mean."""
    with open(report) as file:
        lanes = json.load(file)["lanes"]
    figures = [[repeat["output_tokens_per_s"] for repeat in lane["repeats"]] for lane in lanes]
    shares = [statistics.stdev(of) / statistics.mean(of) for of in figures]
    return ", ".join(f"{lane['label']} {share:.1%}" for lane, share in zip(lanes, shares))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default=os.path.join(ROOT, "target/release/batchgen-tui"))
    parser.add_argument("--model")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "prompts.txt"), "w") as file:
            file.writelines(f"Tell me about the number {row}.\n" for row in range(args.rows))
        first = run(args.program, args, folder, "first", False)
        slowed = run(args.program, args, folder, "slowed", True)
        again = run(args.program, args, folder, "again", False)
        for name, report in [("first", first), ("again", again), ("slowed", slowed)]:
            print(f"a repeat varies, {name}: {noise(report)}")
        for title, other in [("the same again", again), ("slowed by 5 %", slowed)]:
            print(f"== {title}")
            print(subprocess.run([args.program, "compare", first, other], check=True,
                                 capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
