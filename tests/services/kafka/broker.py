"""A real broker for tests: Apache Kafka in KRaft mode, one node, on loopback; its jars come by Maven, once."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

SCRAM = "SCRAM-SHA-512"
VERSION = "4.1.1"  # as in pom.xml
POM = Path(__file__).with_name("pom.xml")
REPOSITORY = Path(__file__).parents[3]

Absent = Callable[[str], None]


def jars(absent: Absent) -> Path:
    """The folder of the broker's jars: fetched on the first call, then kept in the repository's `.cache`, or where
    XDG_CACHE_HOME says."""
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None:
        absent("no java on the PATH: apt-get install openjdk-17-jre-headless")
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "feltwire" if "XDG_CACHE_HOME" in os.environ else REPOSITORY / ".cache"
    folder = cache / "kafka" / VERSION
    if list(folder.glob("kafka_2.13-*.jar")):
        return folder
    if maven is None:
        absent("no mvn on the PATH, which fetches the broker: apt-get install maven")
    new = folder.with_name(f"{VERSION}-{os.getpid()}")
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={new}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    if done.returncode:
        shutil.rmtree(new, ignore_errors=True)
        absent(f"the broker cannot be fetched by Maven: {(done.stdout + done.stderr)[-500:]}")
    try:
        new.rename(folder)
    except OSError:  # another run was faster
        shutil.rmtree(new)
    return folder


class Broker:
    """One broker, which can be killed and started again on the same port with the same data."""

    def __init__(
        self, folder: Path, jars: Path, *, users: dict[str, str] | None = None, tls: Path | None = None
    ) -> None:
        """With `users` (name: password) clients have to come by SASL PLAIN; with `tls` too, a folder that holds
        cert.pem and key.pem, by SCRAM-SHA-512 over TLS."""
        self.folder = folder
        self.users = users or {}
        self.tls = tls
        self.port, self._controller = _free_port(), _free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._java = ["java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = folder / "server.properties"
        folder.mkdir(parents=True, exist_ok=True)
        self._settings.write_text(self._properties())
        cluster = urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=").replace("-", "a")
        tool = ["kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(self._settings)]
        if tls:
            (folder / "pair.pem").write_text((tls / "key.pem").read_text() + (tls / "cert.pem").read_text())
            for user, password in self.users.items():
                tool += ["--add-scram", f"{SCRAM}=[name={user},password={password}]"]
        subprocess.run([*self._java, *tool], check=True, capture_output=True, timeout=60)

    def start(self) -> None:
        """Start it, and return once it answers."""
        with (self.folder / "broker.log").open("ab") as out:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._settings)], stdout=out, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                AdminClient({**self.client(), "log_level": 0}).list_topics(timeout=1.0)
                self._warm()
                return
            except KafkaException:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self.folder / "broker.log").read_text()[-3000:]) from None
                time.sleep(0.1)

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        self._end("terminate")

    def kill(self) -> None:
        """SIGKILL."""
        self._end("kill")

    def client(self) -> dict[str, Any]:
        """What a client is configured with."""
        config: dict[str, Any] = {"bootstrap.servers": self.address}
        if self.users:
            user, password = next(iter(self.users.items()))
            sasl = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN"}
            if self.tls:
                sasl = {"security.protocol": "sasl_ssl", "sasl.mechanism": SCRAM}
                config["ssl.ca.location"] = str(self.tls / "cert.pem")
            config |= {**sasl, "sasl.username": user, "sasl.password": password}
        return config

    def uri(self, topic: str) -> str:
        """The log in a topic of it."""
        return f"kafka:{self.address}/{topic}"

    def cpu_s(self) -> float:
        """CPU time of its process so far, on Linux."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def produce(self, topic: str, *messages: tuple[bytes | None, bytes | None], partition: int = 0) -> None:
        """Put (key, value) messages into a topic, as others would."""
        producer = Producer(self.client())
        for key, value in messages:
            producer.produce(topic, value, key=key, partition=partition)
        assert producer.flush(10) == 0

    def _warm(self) -> None:
        """The first transaction waits for a topic of the broker's own: have it made now."""
        producer = Producer({**self.client(), "transactional.id": "warm", "log_level": 0})
        producer.init_transactions(20)

    def _end(self, how: str) -> None:
        if self._process is not None:
            getattr(self._process, how)()
            self._process.wait(60)
            self._process = None

    def _properties(self) -> str:
        protocol = "SASL_SSL" if self.tls else "SASL_PLAINTEXT" if self.users else "PLAINTEXT"
        lines = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self._controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"CLIENTS://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": f"CLIENTS://127.0.0.1:{self.port}",
            "inter.broker.listener.name": "CLIENTS",
            "listener.security.protocol.map": f"CLIENTS:{protocol},CONTROLLER:PLAINTEXT",
            "log.dirs": self.folder / "data",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "auto.create.topics.enable": "false",
            "log.retention.check.interval.ms": 1000,
            "log.segment.delete.delay.ms": 0,
        }
        if self.tls:
            name, password = next(iter(self.users.items()))
            scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
            lines |= {
                "listener.name.clients.scram-sha-512.sasl.jaas.config": (
                    f'{scram} required username="{name}" password="{password}";'
                ),
                "sasl.enabled.mechanisms": SCRAM,
                "sasl.mechanism.inter.broker.protocol": SCRAM,
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": self.folder / "pair.pem",
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": self.tls / "cert.pem",
            }
        elif self.users:
            name, password = next(iter(self.users.items()))
            known = " ".join(f'user_{user}="{secret}"' for user, secret in self.users.items())
            plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
            lines["listener.name.clients.plain.sasl.jaas.config"] = (
                f'{plain} required username="{name}" password="{password}" {known};'
            )
            lines["sasl.enabled.mechanisms"] = "PLAIN"
            lines["sasl.mechanism.inter.broker.protocol"] = "PLAIN"
        return "".join(f"{key}={value}\n" for key, value in lines.items())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def main() -> None:
    """Run a broker until Ctrl-C, with its data in a folder that goes with it; tell its address."""

    def give_up(reason: str) -> None:
        raise SystemExit(reason)

    with TemporaryDirectory() as folder:
        broker = Broker(Path(folder), jars(give_up))
        broker.start()
        sys.stdout.write(f"kafka:{broker.address}/TOPIC\n")
        sys.stdout.flush()
        try:
            signal.pause()
        except KeyboardInterrupt:
            broker.stop()


if __name__ == "__main__":
    main()
