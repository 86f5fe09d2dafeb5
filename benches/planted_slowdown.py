#!/usr/bin/env python3
"""Does `compare` find a slowdown of 5 %, and does it find none where there is none?

    cargo build --release
    python3 benches/planted_slowdown.py [--repeats 10] [--rows 8] [--tokens 32] [--model MODEL]
    python3 benches/planted_slowdown.py --apart
    python3 benches/planted_slowdown.py --paced

Two pairs of real runs of the same plan on the local engine, each pair in turns: two alike, and two
of which one's process is stopped for 5 of every 100 ms. `batchgen-tui compare` judges each pair.
With `--apart` the runs of a pair are one after the other instead. How much a repeat varies, and how
much the ratio of two that belong together, says what can be found: docs/method.md has the rates.
With `--paced` the runs are against a server of this script that sends a token every 10 ms, or every
10.5: the way from the wire to the verdict, whatever the machine does meanwhile.
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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PERIOD, STOPPED = 0.100, 0.005
PACE = 0.010
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Paced(BaseHTTPRequestHandler):
    """Answers chats at its server's pace, token by token."""

    protocol_version = "HTTP/1.1"
    # a token goes out when its time has come
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.whole({"data": [{"id": "paced"}]} if self.path == "/v1/models" else None)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/v1/chat/completions":
            return self.whole(None)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        tokens = body.get("max_completion_tokens") or body["max_tokens"]
        start = time.monotonic()
        for token in range(1, tokens + 1):
            # each by the clock and not after the one before, so that no delay adds up
            time.sleep(max(0.0, start + token * self.server.pace - time.monotonic()))
            self.event({"choices": [{"index": 0, "delta": {"content": f"{token} "}}]})
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}],
                    "usage": {"prompt_tokens": 8, "completion_tokens": tokens}})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, data):
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())

    def whole(self, data):
        body = json.dumps(data).encode()
        self.send_response(404 if data is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    # of the 5 that Python waits for, more at once make some connect a second later
    request_queue_size = 64


def paced(pace):
    server = Server(("127.0.0.1", 0), Paced)
    server.pace = pace
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Run:
    """A run that was started, against a server of its own or on the local engine."""

    def __init__(self, args, folder, name, slowed):
        self.report = os.path.join(folder, f"{name}.json")
        self.over = threading.Event()
        self.server = paced(PACE * (1.05 if slowed else 1.0)) if args.paced else None
        lanes = "sequential,async:8" if args.paced else "sequential,batched:8"
        self.command = [args.program, "run", "--prompts", os.path.join(folder, "prompts.txt"),
                        "--quiet", "--lanes", lanes, "--repeats", str(args.repeats),
                        "--max-tokens", str(args.tokens), "--report", self.report]
        if args.paced:
            address = f"http://127.0.0.1:{self.server.server_port}"
            self.command += ["--provider", "openai", "--base-url", address]
        else:
            self.command += ["--ignore-eos"]
        self.command += ["--model", args.model] if args.model else []
        self.command += [] if args.apart else ["--turns", os.path.join(folder, "turns")]
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)
        if slowed and not args.paced:
            stop = (self.process.pid, self.over)
            threading.Thread(target=stop_now_and_then, args=stop, daemon=True).start()

    def end(self):
        status = self.process.wait()
        self.stop()
        if status != 0:
            sys.exit(f"{' '.join(self.command)} ended with {status}")

    def stop(self):
        """Leaves nothing of it behind, however it stands."""
        self.over.set()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


def pair(args, folder, slowed):
    """Runs two, of which the second may be slowed, and says what `compare` says."""
    runs = []
    try:
        for name in ("first", "second"):
            runs.append(Run(args, folder, name, slowed and name == "second"))
            if args.apart:
                runs[-1].end()
        for run in runs:
            run.end()
    finally:
        for run in runs:
            run.stop()
    first, second = (run.report for run in runs)
    for line in noise(first, second):
        print(line)
    compared = [args.program, "compare", first, second]
    print(subprocess.run(compared, check=True, capture_output=True, text=True).stdout, flush=True)


def stop_now_and_then(pid, over):
    """Stops the process for its share of every period, whatever the sleeps really took."""
    while not over.wait(PERIOD - STOPPED):
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STOPPED)
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return


def noise(first, second):
    """How much throughput varies: standard deviation over mean, of a repeat and of a ratio."""
    reports = [json.load(open(report)) for report in (first, second)]
    for ours, theirs in zip(*(report["lanes"] for report in reports)):
        a, b = ([repeat["output_tokens_per_s"] for repeat in lane["repeats"]]
                for lane in (ours, theirs))
        share = [f"{statistics.stdev(of) / statistics.mean(of):.1%}"
                 for of in (a, b, [after / before for before, after in zip(a, b)])]
        yield f"{ours['label']} varies by {share[0]} and {share[1]}, the ratio of two by {share[2]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default=os.path.join(ROOT, "target/release/batchgen-tui"))
    parser.add_argument("--model")
    parser.add_argument("--paced", action="store_true")
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "prompts.txt"), "w") as file:
            file.writelines(f"Tell me about the number {row}.\n" for row in range(args.rows))
        for title, slowed in [("the same again", False), ("slowed by 5 %", True)]:
            print(f"== {title}")
            pair(args, folder, slowed)


if __name__ == "__main__":
    main()
