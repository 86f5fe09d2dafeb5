"""Drives mlx-lm's BatchGenerator for batchgen-tui.

Requests come as JSON lines on stdin, events go as JSON lines to stdout; both are described in
message.rs. It ends when stdin ends, so it never outlives the program that started it.
"""

import sys

sys.path[:] = [path for path in sys.path if path]  # never import from the current folder

import hashlib
import importlib.metadata
import json
import os
import queue
import signal
import threading
from collections import deque


class Pipe:
    """Events to the program. Everything else that prints goes to stderr."""

    def __init__(self):
        self.out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        os.dup2(2, 1)

    def send(self, event, **fields):
        try:
            self.out.write(json.dumps({"event": event, **fields}, separators=(",", ":")) + "\n")
            self.out.flush()
        except (BrokenPipeError, ValueError):
            os._exit(0)


def read_requests(requests):
    """Reads until the program is gone, also in the middle of a long forward pass."""
    for line in sys.stdin.buffer:
        requests.put(json.loads(line))
    os._exit(0)


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


class BadPrompt(Exception):
    """A prompt that this model cannot be given."""


class Model:
    """A loaded model, and what a prompt becomes for it."""

    def __init__(self, name):
        import mlx.core as mx
        import mlx_lm
        from mlx.utils import tree_flatten
        from mlx_lm.models.cache import make_prompt_cache
        from mlx_lm.utils import get_total_parameters

        self.mx = mx
        self.model, self.tokenizer, self.config = mlx_lm.load(name, return_config=True)
        weights = [array for _, array in tree_flatten(self.model.parameters())]
        self.weights = sum(array.nbytes for array in weights)
        self.parameters = int(get_total_parameters(self.model))
        largest = max(weights, key=lambda array: array.nbytes)
        self.dtype = str(largest.dtype).rsplit(".", 1)[-1]
        self.batches = all(hasattr(part, "merge") for part in make_prompt_cache(self.model))
        text = self.config.get("text_config") or {}
        context = self.config.get("max_position_embeddings") or text.get("max_position_embeddings")
        self.context = context if isinstance(context, int) and context > 0 else None
        self.ends = sorted(self.tokenizer.eos_token_ids)

    def describe(self):
        """The facts of the `ready` event."""
        mx = self.mx
        device = "cpu"
        if mx.default_device().type == mx.DeviceType.gpu:
            device = "metal" if mx.metal.is_available() else "cuda"
        quantization = self.config.get("quantization") or {}
        bits, group = quantization.get("bits"), quantization.get("group_size")
        return {
            "device": device,
            "device_name": str(mx.device_info().get("device_name") or ""),
            "architecture": str(self.config.get("model_type") or ""),
            "parameters": self.parameters,
            "quantization": "%s-bit, groups of %s" % (bits, group) if bits else self.dtype,
            "weights": self.weights,
            "context": self.context,
            "batches": self.batches,
        }

    def encode(self, row):
        """The token ids of a prompt."""
        tokenizer = self.tokenizer
        text, messages = row.get("text"), row.get("messages")
        templated = tokenizer.has_chat_template and not (text is not None and row["raw"])
        if messages is not None and not tokenizer.has_chat_template:
            raise BadPrompt(
                "the prompt is a conversation, but the model has no chat template; "
                "use plain text prompts or a model with a template"
            )
        try:
            if templated:
                messages = messages or [{"role": "user", "content": text}]
                ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
            else:
                ids = tokenizer.encode(text)
        except Exception as error:
            raise BadPrompt("the prompt cannot be encoded: %s" % error) from error
        ids = list(ids)
        if not ids:
            raise BadPrompt("the prompt is empty, and this model needs at least one token")
        if self.context is not None and len(ids) >= self.context:
            raise BadPrompt(
                "the prompt has %d tokens, and the model's context only %d"
                % (len(ids), self.context)
            )
        return ids

    def sampler(self, sampling, row):
        """A row's own sampler, which draws the same whatever the row is batched with."""
        mx = self.mx
        from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p

        top_k, top_p = sampling.get("top_k"), sampling.get("top_p")
        min_p, temperature = sampling.get("min_p"), sampling["temperature"]
        digest = hashlib.sha256(b"%d/%d" % (sampling["seed"], row)).digest()
        state = mx.random.key(int.from_bytes(digest[:8], "little"))

        def sample(logprobs):
            nonlocal state
            if top_p is not None and top_p < 1.0:
                logprobs = apply_top_p(logprobs, top_p)
            if min_p:
                logprobs = apply_min_p(logprobs, min_p)
            if top_k is not None and top_k < logprobs.shape[-1]:
                logprobs = apply_top_k(logprobs, top_k)
            state, key = mx.random.split(state)
            return mx.random.categorical(logprobs * (1.0 / temperature), key=key)

        return sample


class Row:
    """A row that is generated: its text so far, and where it ends."""

    def __init__(self, index, prompt_tokens, detokenizer, stops):
        self.index = index
        self.prompt_tokens = prompt_tokens
        self.prefilled = 0
        self.output_tokens = 0
        self.detokenizer = detokenizer
        self.stops = stops
        self.held = ""
        self.stopped = False

    def take(self, token):
        """The text that a token adds, as far as it cannot be part of a stop string."""
        self.output_tokens += 1
        self.detokenizer.add_token(token)
        return self.watch(self.detokenizer.last_segment)

    def finish(self):
        """The text that was still held back."""
        if self.stopped:
            return ""
        try:
            self.detokenizer.finalize()
        except KeyError:  # a special token among unfinished bytes
            return self.held
        text = self.watch(self.detokenizer.last_segment)
        return text if self.stopped else text + self.held

    def watch(self, text):
        if not self.stops:
            return text
        self.held += text
        found = [(self.held.find(stop) + len(stop), self.held.find(stop))
                 for stop in self.stops if stop in self.held]
        if found:
            self.stopped = True
            return self.held[: min(found)[1]]
        keep = max(beginning(self.held, stop) for stop in self.stops)
        text, self.held = self.held[: len(self.held) - keep], self.held[len(self.held) - keep :]
        return text


def beginning(text, stop):
    """The length of the longest end of `text` that begins `stop`."""
    lengths = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)


class Call:
    """The rows of one call. They share forward passes; calls take turns."""

    def __init__(self, request, model, pipe):
        from mlx_lm.generate import BatchGenerator

        self.id = request["call"]
        self.size = request["batch_size"]
        self.missing = request["rows"]
        self.sampling = request["sampling"]
        self.model = model
        self.pipe = pipe
        self.waiting = deque()
        self.active = {}
        self.memory = None
        ends = [] if self.sampling["ignore_eos"] else model.ends
        # how many rows run at a time is decided here, where it can change
        self.generator = BatchGenerator(
            model.model, stop_tokens=[[token] for token in ends], completion_batch_size=1 << 30
        )

    def add(self, row):
        self.waiting.append(row)
        self.missing -= 1

    def ready(self):
        """Rows are begun when all are here: what is batched does not depend on the pipe."""
        return self.missing == 0

    def step(self):
        """One forward pass; whether there is more to do."""
        begun, ended = self.admit(), []
        if not self.active:
            if begun:
                self.pipe.send("step", call=self.id, rows=0, prefill=0, tokens=[], ended=begun)
            return bool(self.waiting)
        prompts, responses = self.generator.next()
        prefill = sum(self.prefilled(response) for response in prompts)
        tokens = []
        for response in responses:
            self.take(response, tokens, ended)
        fields = {"rows": len(responses), "prefill": prefill, "tokens": tokens}
        memory = self.used()
        if memory != self.memory:
            self.memory = fields["memory"] = memory
        self.pipe.send("step", call=self.id, ended=begun + ended, **fields)
        return bool(self.active or self.waiting)

    def admit(self):
        """Begins waiting rows up to the batch size; gives those that cannot be begun."""
        failed, begun = [], []
        while self.waiting and len(self.active) + len(begun) < self.size:
            row = self.waiting.popleft()
            try:
                begun.append((row["row"], self.model.encode(row)))
            except BadPrompt as error:
                failed.append({"row": row["row"], "error": str(error)})
        if begun:
            self.insert(begun)
        return failed

    def insert(self, rows):
        model, sampling = self.model, self.sampling
        limit = sampling["max_tokens"]
        if model.context is None:
            limits = [limit for _ in rows]
        else:
            limits = [min(limit, model.context - len(ids)) for _, ids in rows]
        samplers = None  # greedy, which is one batched call
        if sampling["temperature"] > 0:
            samplers = [model.sampler(sampling, index) for index, _ in rows]
        uids = self.generator.insert([ids for _, ids in rows], limits, samplers=samplers)
        for uid, (index, ids) in zip(uids, rows):
            stops = sampling.get("stop") or []
            self.active[uid] = Row(index, len(ids), model.tokenizer.detokenizer, stops)

    def prefilled(self, response):
        """How many tokens of a row's prompt were computed in this step."""
        row = self.active[response.uid]
        added = response.progress[0] - row.prefilled
        row.prefilled = response.progress[0]
        return added

    def take(self, response, tokens, ended):
        row, reason = self.active[response.uid], response.finish_reason
        if reason != "stop":
            # without an end, the model's end token is a token like any other, but not text
            if response.token in self.model.ends:
                row.output_tokens += 1
                tokens.append([row.index, response.token, ""])
            else:
                tokens.append([row.index, response.token, row.take(response.token)])
        if row.stopped and reason is None:
            self.generator.remove([response.uid])
        if row.stopped:
            reason = "stop"
        if reason is None:
            return
        ended.append({
            "row": row.index,
            "text": row.finish(),
            "prompt_tokens": row.prompt_tokens,
            "output_tokens": row.output_tokens,
            "reason": reason,
        })
        del self.active[response.uid]

    def used(self):
        mx = self.model.mx
        return {
            "kv": self.generator.prompt_cache_nbytes,
            "active": mx.get_active_memory(),
            "peak": mx.get_peak_memory(),
        }


class Helper:
    """Takes requests and gives every call its turns."""

    def __init__(self, requests, pipe):
        self.requests = requests
        self.pipe = pipe
        self.model = None
        self.calls = {}

    def load(self, name):
        self.pipe.send("progress", line="loading %s with mlx-lm" % name)
        try:
            self.model = Model(name)
        except ImportError as error:
            self.pipe.send("error", kind="import", message=str(error))
        except Exception as error:
            self.pipe.send("error", kind=kind(error), message=describe(error))
        else:
            self.pipe.send("ready", **self.model.describe())

    def run(self):
        while True:
            self.listen()
            for call in list(self.calls.values()):
                if call.ready():
                    self.turn(call)
                while not self.requests.empty():
                    self.handle(self.requests.get())

    def listen(self):
        """Waits for a request while there is nothing to do."""
        while not any(call.ready() for call in self.calls.values()):
            self.handle(self.requests.get())

    def turn(self, call):
        if call.id not in self.calls:
            return
        try:
            more = call.step()
        except Exception as error:
            self.end(call.id)
            self.pipe.send("failed", call=call.id, kind=kind(error), message=describe(error))
        else:
            if not more:
                self.end(call.id)
                self.pipe.send("done", call=call.id)

    def handle(self, request):
        op, call = request["op"], self.calls.get(request.get("call"))
        if op == "load":
            self.load(request["model"])
        elif op == "start":
            self.start(request)
        elif op == "cancel":
            self.end(request["call"])
        elif call is None:
            pass  # it has ended meanwhile
        elif op == "row":
            call.add(request)
        elif op == "size":
            call.size = request["batch_size"]

    def start(self, request):
        if not self.calls:
            self.model.mx.reset_peak_memory()
        try:
            self.calls[request["call"]] = Call(request, self.model, self.pipe)
        except Exception as error:
            message = describe(error)
            self.pipe.send("failed", call=request["call"], kind=kind(error), message=message)

    def end(self, call):
        if self.calls.pop(call, None) is not None and not self.calls:
            self.model.mx.clear_cache()


def kind(error):
    """`memory` where there is not enough of it, else `model`."""
    text = str(error).lower()
    words = ("out of memory", "insufficient memory", "unable to allocate", "malloc")
    memory = isinstance(error, MemoryError) or any(word in text for word in words)
    return "memory" if memory else "model"


def describe(error):
    text = str(error).strip()
    return "%s: %s" % (type(error).__name__, text) if text else type(error).__name__


def main():
    # ctrl-c reaches the whole terminal; the program decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe, requests = Pipe(), queue.Queue()
    threading.Thread(target=read_requests, args=(requests,), daemon=True).start()
    pipe.send(
        "hello",
        protocol=1,
        python="%d.%d.%d" % sys.version_info[:3],
        executable=sys.executable,
        venv=sys.prefix != sys.base_prefix,
        mlx_lm=version("mlx-lm"),
        mlx=version("mlx"),
    )
    Helper(requests, pipe).run()


main()
