"""A service of buckets that speaks S3, on loopback.

with Service() as service:
    service.url                                  # endpoint_url
    service.create("bucket")
    service.objects("bucket")                    # content by key
    service.refuse = lambda request: (503, "SlowDown") if request["REQUEST_METHOD"] == "PUT" else None
"""

import logging
from collections.abc import Callable
from http import HTTPStatus
from threading import Thread
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

KEYS = {"AWS_ACCESS_KEY_ID": "AKIALOOPBACK", "AWS_SECRET_ACCESS_KEY": "secret-of-the-bucket"}
REGION = "us-east-1"


class Service:
    """A running service, whose buckets are in memory."""

    def __init__(self) -> None:
        self.refuse: Callable[[dict[str, Any]], tuple[int, str] | None] = lambda _: None
        """Status and code with which a request is answered, by its WSGI environment; None: it is done."""
        self.requests: list[dict[str, Any]] = []
        application = DomainDispatcherApplication(create_backend_app)

        def answer(request: dict[str, Any], start: Any) -> Any:
            self.requests.append(request)
            if refusal := self.refuse(request):
                status, code = refusal
                start(f"{status} {HTTPStatus(status).phrase}", [("Content-Type", "application/xml")])
                key = KEYS["AWS_ACCESS_KEY_ID"]  # as AWS does
                text = f"<Error><Code>{code}</Code><Message>no</Message><AWSAccessKeyId>{key}</AWSAccessKeyId></Error>"
                return [text.encode()]
            return application(request, start)

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", 0, answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def create(self, bucket: str) -> None:
        """Create a bucket."""
        self._buckets.create_bucket(bucket, REGION)

    def objects(self, bucket: str) -> dict[str, Any]:
        """Objects of a bucket by key; ``value`` is the content, which may be changed."""
        return dict(self._buckets.buckets[bucket].keys.items())

    def delete(self, bucket: str, key: str) -> None:
        """Lose an object."""
        del self._buckets.buckets[bucket].keys[key]

    @property
    def _buckets(self) -> Any:
        return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]

    def __enter__(self) -> "Service":
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
