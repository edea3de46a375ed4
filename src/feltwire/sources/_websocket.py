"""A websocket as a client reads it: one thread, time limits that hold, and the frames of one read at a time.

`websockets`' own clients hand over one message a call, through a queue and a second thread; a replay of the
firehose brings hundreds in one read of the socket. So the protocol is theirs (`ClientProtocol`, their layer
without I/O) and the socket is read here.
"""

import socket
import ssl
import time
from typing import Final, NamedTuple

import msgspec
import zstandard
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, PayloadTooBig
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

MAX_MESSAGE_BYTES: Final = 4 * 2**20
MAX_INFLATED_BYTES: Final = 2**20
_READ_BYTES: Final = 2**18
_SEND_TIMEOUT_S: Final = 2.0


class Message(NamedTuple):
    """A whole message, put together if it came in fragments."""

    data: bytes | bytearray
    binary: bool


class RefusedError(OSError):
    """The server answered the handshake with something else than a websocket."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.error = _error_name(body)
        """The name of an XRPC error (`{"error": …}`), or an empty string."""
        super().__init__(f"HTTP {status} {self.error}".rstrip())


class ClosedError(OSError):
    """The connection is over. `oversized`: because the server sent a message above MAX_MESSAGE_BYTES."""

    def __init__(self, reason: str, *, oversized: bool = False) -> None:
        self.oversized = oversized
        super().__init__(reason)


class Inflater:
    """Reads frames that were compressed with a zstd dictionary. One thread at a time."""

    def __init__(self, dictionary: bytes) -> None:
        """Raises ValueError if it is no zstd dictionary (RFC 8878, section 5)."""
        try:
            trained = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT)
            self._decompressor = zstandard.ZstdDecompressor(dict_data=trained)
        except zstandard.ZstdError as error:
            raise ValueError(f"no zstd dictionary: {error}") from error
        self.dictionary_id: int = trained.dict_id()

    def fits(self, frame: bytes | bytearray) -> bool:
        """Whether the frame, if it is zstd at all, was made with this dictionary."""
        try:
            return zstandard.get_frame_parameters(frame).dict_id in (0, self.dictionary_id)
        except zstandard.ZstdError:
            return True

    def inflate(self, frame: bytes | bytearray) -> bytes:
        """The frame's content. Raises ValueError if it is broken or longer than MAX_INFLATED_BYTES."""
        try:
            if zstandard.frame_content_size(frame) > MAX_INFLATED_BYTES:
                raise ValueError(f"longer than {MAX_INFLATED_BYTES} bytes once decompressed")
            content: bytes = self._decompressor.decompress(frame, max_output_size=MAX_INFLATED_BYTES)
        except zstandard.ZstdError as error:
            raise ValueError(f"broken zstd: {error}") from error
        return content


class Connection:
    """An open websocket. One thread at a time; `close` may come from any."""

    def __init__(self, sock: socket.socket, protocol: ClientProtocol) -> None:
        self._sock = sock
        self._protocol = protocol
        self._partial: bytearray | None = None
        self._partial_binary = False
        self.heard_at = time.monotonic()
        """When the last bytes came, pongs included (`time.monotonic`)."""

    @classmethod
    def open(cls, url: str, *, subprotocol: str | None, deflate: bool, timeout_s: float) -> "Connection":
        """Connect and shake hands. Raises RefusedError, or another OSError, within about `timeout_s` a step."""
        uri = parse_uri(url)
        protocol = ClientProtocol(
            uri,
            extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=True)] if deflate else None,
            subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
            max_size=MAX_MESSAGE_BYTES,
        )
        sock = socket.create_connection((uri.host, uri.port), timeout_s)
        try:
            if uri.secure:
                sock = ssl.create_default_context().wrap_socket(sock, server_hostname=uri.host)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = cls(sock, protocol)
            connection._shake_hands(time.monotonic() + timeout_s)
        except BaseException:
            sock.close()
            raise
        return connection

    def receive(self, timeout_s: float) -> list[Message]:
        """The messages that one read brings; empty if nothing came for `timeout_s`. Raises ClosedError, or an OSError.

        What came before the end of the connection is returned first.
        """
        waiting = self._messages()  # frames may have come along with the handshake's answer
        if waiting:
            return waiting
        if self._protocol.state is not State.OPEN:
            raise self._closed()
        self._sock.settimeout(max(timeout_s, 0.001))
        try:
            data = self._sock.recv(_READ_BYTES)
        except TimeoutError:
            return []
        if data:
            self.heard_at = time.monotonic()
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        messages = self._messages()
        self._flush()
        return messages

    def ping(self) -> None:
        """Ask the server for a sign of life: its pong moves `heard_at`."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"feltwire")
            self._flush()

    def close(self) -> None:
        """Say goodbye if that costs no time, and release the socket."""
        try:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(1000)
                self._send(0.1)
        except OSError:
            pass  # the other side is gone already
        finally:
            self._sock.close()

    def _shake_hands(self, deadline: float) -> None:
        protocol = self._protocol
        protocol.send_request(protocol.connect())
        self._send(_SEND_TIMEOUT_S)
        while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("no answer to the websocket handshake")
            self._sock.settimeout(left_s)
            data = self._sock.recv(_READ_BYTES)
            if data:
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
        failure = protocol.handshake_exc
        if isinstance(failure, InvalidStatus):
            raise RefusedError(failure.response.status_code, bytes(failure.response.body or b""))
        if failure is not None:
            raise ClosedError(f"no websocket: {failure}")

    def _messages(self) -> list[Message]:
        messages = []
        for event in self._protocol.events_received():
            if not isinstance(event, Frame):
                continue  # the answer to the handshake
            if event.opcode is Opcode.TEXT or event.opcode is Opcode.BINARY:
                binary = event.opcode is Opcode.BINARY
                if event.fin:
                    messages.append(Message(event.data, binary))  # type: ignore[arg-type]
                else:
                    self._partial, self._partial_binary = bytearray(event.data), binary
            elif event.opcode is Opcode.CONT and self._partial is not None:
                self._partial += event.data
                if event.fin:
                    messages.append(Message(self._partial, self._partial_binary))
                    self._partial = None
        return messages

    def _closed(self) -> ClosedError:
        failure = self._protocol.parser_exc
        if isinstance(failure, PayloadTooBig):
            return ClosedError(f"a message above {MAX_MESSAGE_BYTES} bytes", oversized=True)
        end = self._protocol.close_rcvd
        if end is not None:
            return ClosedError(f"closed by the server with code {int(end.code)}")
        return ClosedError(
            "ended without a goodbye" if failure is None or isinstance(failure, EOFError) else str(failure)
        )

    def _flush(self) -> None:
        """Send what the protocol has to say (pongs). A failure must not cost the messages that were just read."""
        try:
            self._send(_SEND_TIMEOUT_S)
        except OSError:
            self._protocol.receive_eof()  # the next receive() says so

    def _send(self, timeout_s: float) -> None:
        for data in self._protocol.data_to_send():
            self._sock.settimeout(timeout_s)
            if data:
                self._sock.sendall(data)
            else:
                self._sock.shutdown(socket.SHUT_WR)


class _XrpcError(msgspec.Struct):
    error: str = ""


def _error_name(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_XrpcError).error[:100]
    except (ValueError, RecursionError):
        return ""
