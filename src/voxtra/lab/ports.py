"""Free ports for labs that run side by side."""

from __future__ import annotations

import random
import socket

from voxtra.lab.errors import LabError

__all__ = ["Ports"]

# Below the range from which the kernel takes ports for outgoing connections (32768 and up): a port
# of a lab that was killed and is to come back at the same place can't be taken by a client's
# connection meanwhile.
_BLOCKS = range(12000, 32000, 1000)


class Ports:
    """A block of 1000 port numbers on loopback that no other lab of this machine uses.

    The block is ours while a socket of an abstract name is bound: the kernel frees it however the
    process ends, and the name is in the same network namespace as the ports. `http` (TCP), `sip`
    (UDP) and `rtp` (UDP, first and last, two for each call) lie in the block.
    """

    def __init__(self, base: int, guard: socket.socket) -> None:
        self._guard = guard
        self.http = base
        self.sip = base + 1
        self.rtp = (base + 2, base + 999)

    @classmethod
    def reserve(cls) -> Ports:
        """Take a free block. Raises LabError when all are taken."""
        for base in random.sample(_BLOCKS, len(_BLOCKS)):
            guard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                guard.bind(f"\0voxtra-lab-{base}")
                _probe(socket.SOCK_STREAM, base)
                _probe(socket.SOCK_DGRAM, base + 1)
            except OSError:
                guard.close()
                continue
            return cls(base, guard)
        msg = (
            f"all {len(_BLOCKS)} blocks of ports are taken: stop some labs (voxtra lab down --all)"
        )
        raise LabError(msg)

    def release(self) -> None:
        """Let others have the block; a running Asterisk goes on holding its ports by itself."""
        self._guard.close()


def _probe(kind: socket.SocketKind, port: int) -> None:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
