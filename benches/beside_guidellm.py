#!/usr/bin/env python3
"""This program's report beside guidellm and beside the server's own times, on one real server.

    pip install guidellm==0.8.1
    python3 benches/beside_guidellm.py --server LLAMA_SERVER --guidellm GUIDELLM --model FILE.gguf
        [--rounds 3] [--at-once 1,4] [--tokens 48]

A llama.cpp server with its prompt cache off (both clients send the same list, and the second would
find the first one's prompts in it). Both clients send the quickstart prompts, greedy, exactly
--tokens each, taking turns; every figure is made of the times of single requests:
TTFT and ITL are medians over the requests, throughput is all tokens over the time from the first
request's start to the last one's end. The table has the middle of the rounds and their range.
"""
import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import llama_server

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROMPTS = os.path.join(ROOT, "presets", "prompts", "quickstart.txt")


def figures(requests):
    """Of (start, first token, last token, end, tokens) of every request, in seconds."""
    span = max(end for _, _, _, end, _ in requests) - min(start for start, *_ in requests)
    return {
        "TTFT, ms": 1e3 * statistics.median(first - start for start, first, *_ in requests),
        "ITL, ms": 1e3 * statistics.median(
            (last - first) / (tokens - 1) for _, first, last, _, tokens in requests),
        "tok/s": sum(tokens for *_, tokens in requests) / span,
    }


def ours(args, url, at_once, folder):
    """The report's figures, and the server's own times in it."""
    path = os.path.join(folder, "ours.json")
    command = [args.program, "run", "--provider", "openai", "--base-url", url, "--quiet",
               "--lanes", f"async:{at_once}", "--max-tokens", str(args.tokens), "--ignore-eos",
               "--report", path]
    home = os.path.join(folder, "home")
    shutil.rmtree(home, ignore_errors=True)
    environment = dict(os.environ, BATCHGEN_HOME=home)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, env=environment)
    with open(path) as file:
        lane = json.load(file)["lanes"][0]
    report = {
        "TTFT, ms": 1e3 * lane["ttft_s"]["p50"],
        "ITL, ms": 1e3 * lane["itl_s"]["p50"],
        "tok/s": lane["output_tokens_per_s"],
    }
    return report, server_times(home), lane.get("retries", 0)


def server_times(home):
    """What the server said of each row, which the journal of the run keeps."""
    (journal,) = glob.glob(os.path.join(home, "data", "runs", "*", "*.jsonl"))
    with open(journal) as file:
        lines = [json.loads(line) for line in file]
    rows = [line["row"] for line in lines if isinstance(line, dict) and "row" in line]
    seconds = lambda time: time["secs"] + time["nanos"] / 1e9
    return {
        "TTFT, ms": 1e3 * statistics.median(seconds(row["server"]["prefill"]) for row in rows),
        "ITL, ms": 1e3 * statistics.median(
            seconds(row["server"]["decode"]) / (row["output_tokens"] - 1) for row in rows),
    }


def guidellm(args, url, at_once, folder):
    data = os.path.join(folder, "prompts.jsonl")
    with open(PROMPTS) as source, open(data, "w") as file:
        lines = [line.strip() for line in source if line.strip()]
        file.writelines(json.dumps({"prompt": line}) + "\n" for line in lines)
    result = os.path.join(folder, "guidellm.json")
    backend = {"kind": "openai_http", "target": url, "request_format": "/v1/chat/completions",
               "http2": False, "max_tokens": args.tokens,
               "extras": {"body": {"ignore_eos": True, "temperature": 0}}}
    spec = {"backend": backend, "profile": {"kind": "concurrent", "streams": [at_once]},
            "data": [{"kind": "json_file", "path": data}],
            "constraints": [{"kind": "max_requests", "count": len(lines)}],
            "outputs": [{"kind": "json", "path": result}]}
    config = os.path.join(folder, "scenario.json")
    with open(config, "w") as file:
        json.dump({"spec": spec, "benchmarks": [{"profile.streams": at_once}]}, file)
    command = [args.guidellm, "run", "-c", config, "--disable-console"]
    environment = dict(os.environ, HF_HUB_OFFLINE="1")
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, env=environment,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(result) as file:
        done = json.load(file)["benchmarks"][0]["requests"]["successful"]
    if len(done) != len(lines):
        sys.exit(f"guidellm finished {len(done)} of {len(lines)} requests")
    times = [request["info"]["timings"] for request in done]
    return figures([(of["request_start"], of["first_token_iteration"], of["last_token_iteration"],
                     of["request_end"], request["output_tokens"])
                    for of, request in zip(times, done)])


def shown(rounds, name):
    values = [figures[name] for figures in rounds if name in figures]
    if not values:
        return "-"
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default=os.path.join(ROOT, "target/release/batchgen-tui"))
    parser.add_argument("--server", required=True)
    parser.add_argument("--guidellm", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--at-once", default=[1, 4],
                        type=lambda text: [int(part) for part in text.split(",")])
    args = parser.parse_args()
    process, url = llama_server.start(args.server, args.model, max(args.at_once), "--no-cache-prompt")
    try:
        with tempfile.TemporaryDirectory() as folder:
            for at_once in args.at_once:
                measure(args, url, at_once, folder)
    finally:
        process.kill()


def measure(args, url, at_once, folder):
    report, server, other = [], [], []
    for number in range(args.rounds):
        turns = ["ours", "guidellm"] if number % 2 == 0 else ["guidellm", "ours"]
        for turn in turns:
            if turn == "ours":
                mine, its, retries = ours(args, url, at_once, folder)
                report.append(mine)
                server.append(its)
                if retries:
                    print(f"(round {number + 1}: {retries} rows were sent again)")
            else:
                other.append(guidellm(args, url, at_once, folder))
    print(f"\n{at_once} at once, {args.rounds} rounds: middle (lowest to highest)")
    print(f"{'':10} {'server':>26} {'this report':>26} {'guidellm':>26}")
    for name in ("TTFT, ms", "ITL, ms", "tok/s"):
        columns = [shown(rounds, name) for rounds in (server, report, other)]
        print(f"{name:10} " + " ".join(f"{column:>26}" for column in columns))


if __name__ == "__main__":
    main()
