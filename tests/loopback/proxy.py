"""A forward proxy on loopback: requests by http, tunnels for https; it notes what it sees.

with Proxy(names={"archive.example": server.host}) as proxy:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    proxy.requests      # "GET http://archive.example/x", "CONNECT archive.example:443"
"""

import http.client
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit


class Proxy:
    """A running proxy.

    Parameters
    ----------
    names : mapping of str to str, ``host:port`` behind each name that only the proxy knows
    answer : (status, body), what it sends instead of passing a request on; None: it passes it on
    """

    def __init__(self, names: Mapping[str, str] | None = None, answer: tuple[int, bytes] | None = None) -> None:
        self.requests: list[str] = []
        self.logins: list[str | None] = []
        proxy, known = self, dict(names or {})

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                proxy.requests.append(f"{self.command} {self.path}")
                proxy.logins.append(self.headers.get("Proxy-Authorization"))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if answer or self.command == "CONNECT":
                    return self._send(*(answer or (403, b"no")))
                parts = urlsplit(self.path)
                connection = http.client.HTTPConnection(known.get(parts.hostname or "", parts.netloc), timeout=20)
                path = parts._replace(scheme="", netloc="").geturl()
                connection.request(self.command, path, body or None, dict(self.headers))
                response = connection.getresponse()
                self._send(response.status, response.read(), dict(response.headers))
                connection.close()
                return None

            do_GET = do_POST = do_HEAD = do_CONNECT = _answer  # as http.server names them

            def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in (headers or {"Content-Type": "text/html"}).items():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> "Proxy":
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
