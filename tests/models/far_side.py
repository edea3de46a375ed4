"""The far side of a remote model: a real HTTP server on loopback that answers as a test tells it."""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from feltwire.schema import SENTIMENTS

Reply: TypeAlias = "tuple[int, Any] | tuple[int, Any, Mapping[str, str]] | None"
"""Status, JSON document (or bytes as they are), headers; None: the connection is dropped."""

LABELS = ["negative", "neutral", "positive"]


def mood(text: str) -> dict[str, float]:
    """Negative where `bad` stands, positive where `good` stands, otherwise neutral."""
    first = "negative" if "bad" in text else "positive" if "good" in text else "neutral"
    return {label: 0.75 if label == first else 0.125 for label in LABELS}


def as_feltwire(document: Any) -> Reply:
    """Another Feltwire's /api/v1/score, with one head."""
    scores = [{"sentiment": mood(text)} for text in document["texts"]]
    return 200, {"model": "far@1", "languages": None, "heads": {"sentiment": LABELS}, "scores": scores}


def as_comprehend(document: Any) -> Reply:
    """BatchDetectSentiment: a text with `foul` in it is refused, alone."""
    results, errors = [], []
    for i, text in enumerate(document["TextList"]):
        if "foul" in text:
            errors.append({"Index": i, "ErrorCode": "INVALID_REQUEST", "ErrorMessage": f"what is {text}?"})
        else:
            p = {**mood(text), "mixed": 0.0} if "but" not in text else {"mixed": 1.0}
            scores = {label.capitalize(): p.get(label, 0.0) for label in SENTIMENTS}
            results.append({"Index": i, "Sentiment": max(scores, key=lambda k: scores[k]), "SentimentScore": scores})
    results.reverse()  # the order is said by Index
    return 200, {"ResultList": results, "ErrorList": errors}


def certified(folder: Path) -> ssl.SSLContext:
    """TLS for 127.0.0.1, with a certificate of its own that lies in folder/cert.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return tls


class FarSide:
    """Answers POSTs after `delay_s`; `stop` and `start` take it away and bring it back at the same address."""

    def __init__(
        self, reply: Callable[[Any], Reply] = as_feltwire, *, delay_s: float = 0.0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.reply = reply
        self.delay_s = delay_s
        self._tls = tls
        self.documents: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.targets: list[str] = []
        self.at: list[float] = []
        self.most_at_a_time = 0
        self._at_a_time = 0
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}/api/v1/score"

    @property
    def texts(self) -> list[str]:
        """All texts that came, in the order of the requests."""
        return [text for document in self.documents for text in document.get("texts", [])]

    def start(self) -> None:
        self._run(self._open())

    def stop(self) -> None:
        """Refuse connections, and break those that there are."""
        self._run(self._shut())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=1024, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.02)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        document = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.documents.append(document)
        self.headers.append(headers)
        self.targets.append(head[0].split()[1])
        self.at.append(self._loop.time())
        self._at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self._at_a_time)
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            reply = self.reply(document)
        finally:
            self._at_a_time -= 1
        if reply is None:
            return False
        status, body, *more = reply
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{name}: {value}" for name, value in (more[0] if more else {}).items()]
        lines += [f"Content-Length: {len(data)}", "", ""]
        writer.write("\r\n".join([f"HTTP/1.1 {status} Said", *lines]).encode() + data)
        await writer.drain()
        return True
