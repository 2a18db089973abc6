"""A service of buckets that speaks as much of S3 as stores need, on loopback; buckets are in memory.

with Service() as service:
    service.url                          # endpoint_url
    service.buckets["regrowth"] = {}     # a bucket: content by key, which may be changed
    service.refuse = lambda request: (503, "SlowDown") if request.method == "PUT" else None
"""

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

KEYS = {"AWS_ACCESS_KEY_ID": "AKIALOOPBACK", "AWS_SECRET_ACCESS_KEY": "secret-of-the-bucket"}


class Request(NamedTuple):
    """A request that was received."""

    method: str
    path: str
    headers: Any


class Service:
    """A running service."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, bytes]] = {}
        self.refuse: Callable[[Request], tuple[int, str] | None] = lambda _: None
        """Status and code with which a request is answered; None: it is done."""
        self._written: dict[str, datetime] = {}
        service, one_at_a_time = self, Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                request = Request(self.command, self.path, self.headers)
                body = self._body()
                refusal = service.refuse(request)
                if refusal is None and "Credential=" + KEYS["AWS_ACCESS_KEY_ID"] not in self.headers["Authorization"]:
                    refusal = 403, "InvalidAccessKeyId"
                with one_at_a_time:
                    status, content, headers = _refused(*refusal) if refusal else service.answer(request, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", headers.get("Content-Length", str(len(content))))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
                    return body
                content = b""
                while (size := int(body.partition(b"\r\n")[0].partition(b";")[0], 16)) > 0:
                    body = body.partition(b"\r\n")[2]
                    content, body = content + body[:size], body[size + 2 :]
                return content

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, request: Request, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers of the answer to a request."""
        parts = urlsplit(request.path)
        name, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = {one: values[0] for one, values in parse_qs(parts.query, keep_blank_values=True).items()}
        objects = self.buckets.get(name)
        if objects is None:
            return _refused(404, "NoSuchBucket")
        if not key and request.method == "POST":
            return _deleted(objects, body)
        if not key:
            return self._listed(objects, query)
        if request.method == "PUT":
            return self._put(objects, key, body, request.headers)
        if request.method == "DELETE":
            objects.pop(key, None)
            return 204, b"", {}
        if key not in objects:
            return _refused(404, "NoSuchKey")
        content, headers = objects[key], {"ETag": _etag(objects[key]), "Last-Modified": self._when(key)}
        if span := re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", "")):
            first = int(span[1]) if span[1] else len(content) - int(span[2])
            last = min(int(span[2]), len(content) - 1) if span[1] and span[2] else len(content) - 1
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return 206, content[first : last + 1], headers
        return 200, content, headers

    def _put(self, objects: dict[str, bytes], key: str, body: bytes, headers: Any) -> tuple[int, bytes, dict[str, str]]:
        known = _etag(objects[key]) if key in objects else None
        expected = headers.get("If-Match")
        if (expected and expected.strip('"') != (known or "").strip('"')) or (headers.get("If-None-Match") and known):
            return _refused(412, "PreconditionFailed")
        self._written[key] = datetime.now(UTC)
        if source := headers.get("x-amz-copy-source"):
            bucket, _, origin = unquote(source).lstrip("/").partition("/")
            if origin not in self.buckets[bucket]:
                return _refused(404, "NoSuchKey")
            objects[key] = self.buckets[bucket][origin]
            text = f"<CopyObjectResult><ETag>{_etag(objects[key])}</ETag></CopyObjectResult>"
            return 200, text.encode(), {"Content-Type": "application/xml"}
        objects[key] = body
        return 200, b"", {"ETag": _etag(body)}

    def _listed(self, objects: dict[str, bytes], query: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        keys, folders = [], set()
        for key in sorted(key for key in objects if key.startswith(prefix)):
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if found:
                folders.add(prefix + head + found)
            else:
                keys.append(key)
        named = [f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in sorted(folders)]
        listed = [
            f"<Contents><Key>{escape(key)}</Key><LastModified>{self._written[key]:%Y-%m-%dT%H:%M:%S}.000Z</LastModified><ETag>{_etag(objects[key])}</ETag>"
            f"<Size>{len(objects[key])}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in keys
        ]
        text = f"<ListBucketResult><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys) + len(folders)}</KeyCount>"
        text += f"<IsTruncated>false</IsTruncated>{''.join(listed + named)}</ListBucketResult>"
        return 200, text.encode(), {"Content-Type": "application/xml"}

    def _when(self, key: str) -> str:
        return format_datetime(self._written[key], usegmt=True)

    def __enter__(self) -> "Service":
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _refused(status: int, code: str) -> tuple[int, bytes, dict[str, str]]:
    text = f"<Error><Code>{code}</Code><Message>no</Message>"  # AWS names the key too
    text += f"<AWSAccessKeyId>{KEYS['AWS_ACCESS_KEY_ID']}</AWSAccessKeyId></Error>"
    return status, text.encode(), {"Content-Type": "application/xml"}


def _deleted(objects: dict[str, bytes], body: bytes) -> tuple[int, bytes, dict[str, str]]:
    for key in ET.fromstring(body).iter():
        if key.tag.endswith("Key"):
            objects.pop(key.text or "", None)
    return 200, b"<DeleteResult></DeleteResult>", {"Content-Type": "application/xml"}
