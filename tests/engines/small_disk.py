"""A file system of a few megabytes that can be filled and given room again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE_MB = 24
IN_NAMESPACE = "FELTWIRE_TEST_MAY_MOUNT"
"""Set where the tests run in a user namespace of their own, in which anybody may mount."""


class SmallDisk:
    """A mounted tmpfs. A ballast file takes the room that shall not be there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    @property
    def free(self) -> int:
        """Bytes that are free."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Take all room but `leave` bytes."""
        with self._ballast.open("ab") as ballast:
            while self.free > leave:
                try:
                    ballast.write(bytes(min(65_536, self.free - leave)))
                    ballast.flush()
                except OSError:
                    break

    def make_room(self) -> None:
        """Give it all back."""
        self._ballast.unlink()


@contextmanager
def mounted(path: Path) -> Iterator[SmallDisk]:
    """A small disk at `path`, a new folder. Raises PermissionError when this process may not mount."""
    path.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(path)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(done.stderr.strip())
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def in_namespace(test: str) -> subprocess.CompletedProcess[str] | None:
    """Run a test (its node id) where it may mount; None when this machine lets nobody do so."""
    enter = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        able = subprocess.run([*enter, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    if able.returncode or IN_NAMESPACE in os.environ:
        return None
    command = [*enter, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    environment = {**os.environ, IN_NAMESPACE: "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
