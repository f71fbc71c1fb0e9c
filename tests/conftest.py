"""What holds for every test: no network but loopback, and nothing inherited from the user's shell."""

import ipaddress
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Examples are drawn from a fixed seed, so that a red run is red again; time limits are pytest-timeout's task.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")

for name in [name for name in os.environ if name.startswith("PROCESS_ENGINE_")]:
    del os.environ[name]


def _is_loopback(address: object) -> bool:
    if not isinstance(address, tuple):
        return True  # a path: AF_UNIX never leaves the machine
    host = str(address[0])
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host in ("localhost", "")


@pytest.fixture(autouse=True, scope="session")
def only_loopback() -> Iterator[None]:
    """Connections to anywhere but this machine fail at once, with the address in the message."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        yield


def _guarded(original):
    def connect(self, address):
        assert _is_loopback(address), f"a test reached out to {address}; only loopback is allowed"
        return original(self, address)

    return connect
