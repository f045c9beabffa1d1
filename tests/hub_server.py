"""A Hub on the loopback interface, with as much of its interface as huggingface_hub needs.

    with hub_server({"org/tiny": folder}, gated={"org/closed"}) as hub:
        ...  # in a process that was started with HF_ENDPOINT=hub.url and without HF_HUB_OFFLINE

It answers ``/api/models`` (a search), ``/api/models/{id}`` (with ``/revision/{rev}``,
``/tree/{rev}``) and ``/{id}/resolve/{rev}/{file}``, by HEAD and GET, whole or by ranges.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_API = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)(/(?P<what>revision|tree)/(?P<rev>[^/]+))?")
_FILE = re.compile(r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<file>.+)")


@dataclass
class Hub:
    """What is served, and what was asked for."""

    models: Mapping[str, Path]
    gated: frozenset[str] = frozenset()
    tokens: dict[str, str] = field(default_factory=dict)
    """The token that each gated model asks for."""
    cut: str = ""
    """A file whose transfer breaks off in the middle ..."""
    cuts: int = 10**9
    """... so many times."""
    changed: str = ""
    """A file that arrives with other bytes than its hash is of."""
    removed: frozenset[str] = frozenset()
    """Models that were taken down."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """The task that a model's page names; ``"text-generation"`` for the others."""
    fails: int = 0
    """The status that every request gets, such as 429; 0 for none."""
    says: str = ""
    """What comes with that status."""
    slow_s: float = 0.0
    """Seconds before an answer."""
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes that were sent of each file."""
    url: str = ""
    asked: list[str] = field(default_factory=list)
    """Every request: ``"GET /org/tiny/resolve/main/config.json"``."""

    def fetched(self) -> set[str]:
        """Return the names of the files whose contents were sent."""
        asked = (_FILE.fullmatch(each.removeprefix("GET ")) for each in self.asked)
        return {found["file"] for found in asked if found}


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            time.sleep(hub.slow_s)
            if hub.fails:
                self._refuse(hub.fails, hub.says)
            elif path == "/api/models":
                self._search({k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()})
            elif api := _API.fullmatch(path):
                self._about(api["id"], api["what"], api["rev"] or "main")
            elif file := _FILE.fullmatch(path):
                self._file(file["id"], file["rev"], file["file"])
            else:
                self._refuse(404, "EntryNotFound")

        def _refused(self, model: str, revision: str, *, needs_access: bool) -> bool:
            if model not in hub.models:
                self._refuse(401, "RepoNotFound")  # as the Hub does for whoever is not logged in
            elif model in hub.removed:
                self._refuse(403, "", "Access to this resource is disabled.")
            elif revision not in ("main", COMMIT):
                self._refuse(404, "RevisionNotFound")
            elif needs_access and model in hub.gated and not self._may_read(model):
                self._refuse(403, "GatedRepo")
            else:
                return False
            return True

        def _may_read(self, model: str) -> bool:
            token = hub.tokens.get(model)
            return token is not None and self.headers["Authorization"] == f"Bearer {token}"

        def _search(self, asked: Mapping[str, str]) -> None:
            found = [
                _described(name, folder, hub)
                for name, folder in hub.models.items()
                if asked.get("search", "").lower() in name.lower()
                and asked.get("pipeline_tag") in (None, hub.tags.get(name, "text-generation"))
            ]
            self._json(found[: int(asked.get("limit", "1000"))])

        def _about(self, model: str, what: str | None, revision: str) -> None:
            if self._refused(model, revision, needs_access=False):
                return
            folder = hub.models[model]
            files = sorted(each for each in folder.rglob("*") if each.is_file())
            names = [each.relative_to(folder).as_posix() for each in files]
            if what == "tree":
                sizes = [each.stat().st_size for each in files]
                self._json(
                    [
                        {"type": "file", "path": name, "size": size, "oid": "0"}
                        for name, size in zip(names, sizes, strict=True)
                    ]
                )
            else:
                siblings = [{"rfilename": name} for name in names]
                self._json({"id": model, "modelId": model, "sha": COMMIT, "siblings": siblings})

        def _file(self, model: str, revision: str, name: str) -> None:
            if self._refused(model, revision, needs_access=True):
                return
            file = hub.models[model] / name
            if not file.is_file():
                self._refuse(404, "EntryNotFound")
                return
            body = file.read_bytes()
            large = file.suffix in (".safetensors", ".bin")  # these the Hub names by their SHA-256
            etag = (hashlib.sha256 if large else hashlib.sha1)(body).hexdigest()
            if name == hub.changed:
                body = body[:-1] + bytes([body[-1] ^ 1])
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            status, total = 200, len(body)
            if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or ""):
                first, last = int(part[1]), min(int(part[2] or total), total - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{total}"
                status, body = 206, body[first : last + 1]
            cut = name == hub.cut and self.command == "GET" and hub.cuts > 0
            hub.cuts -= cut
            if self.command == "GET":
                hub.sent[name] += len(body) // 2 if cut else len(body)
            self._send(status, body, headers, cut=cut)

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _refuse(self, status: int, code: str, message: str = "") -> None:
            headers = {"X-Error-Code": code, "X-Error-Message": message or code}
            if status == 429:  # as the Hub says when to try again: at once
                headers["ratelimit"] = '"api";r=0;t=0'
            self._send(status, json.dumps({"error": code}).encode(), headers)

        def _send(
            self, status: int, body: bytes, headers: Mapping[str, str], *, cut: bool = False
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[: len(body) // 2] if cut else body)
                self.close_connection = cut

    return Handler


def _described(name: str, folder: Path, hub: Hub) -> dict[str, Any]:
    """Return what a search says of a model: an excerpt of its config, and its parameters."""
    config = json.loads((folder / "config.json").read_text())
    tokenizer = folder / "tokenizer_config.json"
    template = json.loads(tokenizer.read_text()).get("chat_template") if tokenizer.is_file() else ""
    said: dict[str, Any] = {
        "id": name,
        "downloads": 1000 + len(name),
        "gated": "manual" if name in hub.gated else False,
        "pipeline_tag": hub.tags.get(name, "text-generation"),
        "tags": ["transformers", "license:apache-2.0"],
        "config": {
            **{each: config.get(each) for each in ("architectures", "model_type")},
            "tokenizer_config": {"chat_template": template} if template else {},
        },
    }
    if (jinja := folder / "chat_template.jinja").is_file():
        said["config"]["chat_template_jinja"] = jinja.read_text()
    weights = folder / "model.safetensors"
    if weights.is_file():
        with weights.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        counts: Counter[str] = Counter()
        for key, each in header.items():
            if key != "__metadata__":
                counts[each["dtype"]] += math.prod(each["shape"])
        said["safetensors"] = {"parameters": counts, "total": counts.total()}
    return said


@contextlib.contextmanager
def hub_server(models: Mapping[str, Path], **settings: Any) -> Iterator[Hub]:
    """Serve folders as models until the block ends."""
    hub = Hub(models, **settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
