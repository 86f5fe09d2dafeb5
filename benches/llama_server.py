"""A real llama.cpp server for the scripts beside this one."""
import socket
import subprocess
import sys
import time
import urllib.request


def start(server, model, slots, *flags):
    """The process and its address, once it answers; each slot has a context of 1,024 tokens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [server, "-m", model, "--host", "127.0.0.1", "--port", str(port), "-ngl", "0",
               "-np", str(slots), "-c", str(1024 * slots), "-t", "2", "--metrics", "--no-ui",
               "--cache-ram", "0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1)
            return process, url
        except OSError:
            if process.poll() is not None:
                sys.exit(f"the server ended with {process.returncode}")
            time.sleep(0.1)
    process.kill()
    sys.exit("the server did not become ready")
