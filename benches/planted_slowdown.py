#!/usr/bin/env python3
"""Does `compare` find a slowdown of 5 %, and does it find none where there is none?

    cargo build --release
    python3 benches/planted_slowdown.py [--repeats 10] [--rows 8] [--tokens 32] [--model MODEL]
    python3 benches/planted_slowdown.py --paced

Three real runs of the same plan on the local engine: two alike, and one whose process is stopped
for 5 of every 100 ms. The first is compared with both others, as `batchgen-tui compare` does it.
How much a repeat varies says what can be found: docs/method.md has the rates. On a machine whose
speed varies more than that, `--paced` still shows the whole way from the wire to the verdict: the
runs are against a server of this script that sends a token every 10 ms, or every 10.5.
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


def run(program, args, folder, name, slowed):
    path = os.path.join(folder, f"{name}.json")
    lanes = "sequential,async:8" if args.paced else "sequential,batched:8"
    command = [program, "run", "--prompts", os.path.join(folder, "prompts.txt"), "--quiet",
               "--lanes", lanes, "--repeats", str(args.repeats),
               "--max-tokens", str(args.tokens), "--report", path]
    command += ["--model", args.model] if args.model else []
    if args.paced:
        server = paced(PACE * (1.05 if slowed else 1.0))
        address = f"http://127.0.0.1:{server.server_port}"
        ended = subprocess.run(command + ["--provider", "openai", "--base-url", address],
                               stdin=subprocess.DEVNULL)
        server.shutdown()
        server.server_close()
        status = ended.returncode
    else:
        status = run_stopped_or_not(command + ["--ignore-eos"], slowed)
    if status != 0:
        sys.exit(f"{' '.join(command)} ended with {status}")
    return path


def run_stopped_or_not(command, stopped):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    over = threading.Event()
    if stopped:
        threading.Thread(target=stop_now_and_then, args=(process.pid, over), daemon=True).start()
    status = process.wait()
    over.set()
    return status


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
    parser.add_argument("--paced", action="store_true")
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
