"""transformers + PEFT as a peer: what a team writes in an afternoon to serve several adapters.

One model, one adapter at a time, answers one after another; OpenAI's chat completions, streamed.

python -m loadtests.peft_server gemma3-270m --port 8000 --adapter name=folder
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from adapters.locations import bases_root
from loadtests.servers import Launch, free_port


def launch(base: str, adapters: Mapping[str, Path]) -> Launch:
    """Return the launch of this server."""
    port = free_port()
    command = [sys.executable, "-m", "loadtests.peft_server", base, "--port", str(port)]
    command += [part for name, path in adapters.items() for part in ("--adapter", f"{name}={path}")]
    return Launch(command, port, "/v1/models", {})


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="name of a fetched base model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--adapter", action="append", default=[], help="NAME=FOLDER; again for more"
    )
    arguments = parser.parse_args()
    adapters = dict(item.split("=", 1) for item in arguments.adapter)
    model = AdapterModel(bases_root() / arguments.base, adapters)
    ThreadingHTTPServer(("127.0.0.1", arguments.port), _handler(model)).serve_forever()


class AdapterModel:
    """A base model with adapters, of which one is set at a time."""

    def __init__(self, base: Path, adapters: Mapping[str, str]) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.names = [*adapters]
        self._lock = threading.Lock()
        self._tokenizer = AutoTokenizer.from_pretrained(base)
        (first, folder), *others = adapters.items()
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
        self._model: Any = PeftModel.from_pretrained(model, folder, adapter_name=first).eval()
        for name, other in others:
            self._model.load_adapter(other, adapter_name=name)

    def stream(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield chat completion chunks. Raises KeyError for an unknown adapter."""
        from transformers import TextIteratorStreamer

        if body["model"] not in self.names:
            raise KeyError(body["model"])
        ids: Any = self._tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        count = body["max_tokens"]
        streamer: Any = TextIteratorStreamer(self._tokenizer, skip_prompt=True)
        wanted = {"max_new_tokens": count, "do_sample": False, "streamer": streamer}
        if body.get("ignore_eos"):
            wanted["min_new_tokens"] = count
        with self._lock:
            self._model.set_adapter(body["model"])
            worker = threading.Thread(target=self._model.generate, kwargs={**ids, **wanted})
            worker.start()
            for text in streamer:
                yield {"choices": [{"index": 0, "delta": {"content": text}}]}
            worker.join()
        yield {"choices": [], "usage": {"completion_tokens": count}}


def _handler(model: AdapterModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            cards = [{"id": name, "parent": "base"} for name in model.names]
            self._json(200, {"object": "list", "data": cards})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            events = model.stream(body)
            try:
                first = next(events)
            except KeyError:
                self._json(404, {"error": {"message": "no such adapter"}})
                return
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self._event(json.dumps(first))
            for event in events:
                self._event(json.dumps(event))
            self._event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")

        def _event(self, data: str) -> None:
            chunk = f"data: {data}\n\n".encode()
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")

        def _json(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


if __name__ == "__main__":
    main()
