"""A chat-completion server on loopback that answers as a test has planned."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Plan = Callable[[int, dict[str, Any]], "Say"]
"""(number of the request, from 0; its data: question, right answer, student's answer) -> what is said."""


@dataclass
class Say:
    """A reply; `body` overrides the well-formed one around `text`."""

    text: str = "CORRECT"
    status: int = 200
    body: bytes | None = None
    after_s: float = 0.0
    model: str = "judge-1"


@dataclass
class Server:
    """What it was asked: parsed bodies, headers, and how many at the same time at most."""

    base_url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0


def data_of(body: dict[str, Any]) -> dict[str, Any]:
    """The object between the tags; fails where they are not exactly one pair around valid JSON."""
    text = body["messages"][1]["content"]
    assert text.count("<") == text.count(">") == 2 and text.startswith("<data>") and text.endswith("</data>")
    found: dict[str, Any] = json.loads(text.removeprefix("<data>").removesuffix("</data>"))
    return found


@contextmanager
def serving(plan: Plan) -> Iterator[Server]:
    server, lock, now = Server(), threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(length := int(self.headers["content-length"]))
            if len(sent) < length:
                return  # the client gave up
            body = json.loads(sent)
            with lock:
                number = len(server.bodies)
                server.bodies.append(body)
                server.headers.append({key.lower(): value for key, value in self.headers.items()})
                now[0] += 1
                server.most_at_once = max(server.most_at_once, now[0])
            say = plan(number, data_of(body))
            time.sleep(say.after_s)
            with lock:
                now[0] -= 1
            message = {"role": "assistant", "content": say.text}
            whole = {"id": "1", "object": "chat.completion", "created": 1, "model": say.model, "choices": [{"index": 0, "message": message}]}
            reply = json.dumps(whole).encode() if say.body is None else say.body
            try:
                self.send_response(say.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(reply)))
                self.send_header("retry-after-ms", "5")  # the client waits as long as it is told
                self.end_headers()
                self.wfile.write(reply)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.base_url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
