"""The addresses that a client is given: one head's, or several heads' of one cache.

Owns: what may be written, and what is refused.
Must not know: which head is asked (roaming.py), sockets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from audio_pool.errors import InvalidConfig
from audio_pool.transport.endpoints import MAX_IPC_PATH_BYTES, check_connect, default_connect

__all__ = ["Addresses", "all_share_files", "parse_addresses"]

Addresses = str | Sequence[str] | None
"""``"tcp://a:5555,tcp://b:5555"``, a list of such, or nothing: this user's default address."""

_MOST = 64
_COMMA = re.compile(r"\s*,\s*(?=(?:ipc|tcp|inproc)://)")
"""Before another address only: the path of a socket may have a comma."""
_UNWRITABLE = re.compile(r"[\s\x00-\x1f]")
"""What zmq takes for no address at all."""


def parse_addresses(given: Addresses) -> tuple[str, ...]:
    """Return the addresses, in the order given.

    Raises:
        InvalidConfig: one of them is none, stands there twice, or there are none or more than 64.
        Refused: none is given, and the default one's directory is another user's.
    """
    if given is None:
        return (default_connect(),)
    texts = [given] if isinstance(given, str) else list(given)
    if not all(isinstance(text, str) for text in texts):
        raise InvalidConfig(f"addresses: given {given!r:.200}, allowed are texts such as 'tcp://10.0.0.5:5555'")
    found = [address for text in texts for address in _COMMA.split(text.strip())]
    if not found:
        raise InvalidConfig("addresses: given none, allowed are 1 to 64; None means this user's default address")
    if len(found) > _MOST:
        raise InvalidConfig(f"addresses: given {len(found)}, allowed are {_MOST} at most")
    for address in found:
        _check(address, alone=len(found) == 1)
        if found.count(address) > 1:
            raise InvalidConfig(f"addresses: {address!r} is given {found.count(address)} times; name each head once")
    return tuple(found)


def _check(address: str, *, alone: bool) -> None:
    if "," in address and address.startswith("tcp://"):
        raise InvalidConfig(
            f"endpoint: given {address!r}, allowed are several of the form tcp://HOST:PORT or ipc://PATH with commas "
            "between them, e.g. tcp://10.0.0.5:5555,tcp://10.0.0.6:5555"
        )
    check_connect(address)
    if alone:  # zmq refuses it, with its own words
        return
    if address.startswith("inproc://"):
        raise InvalidConfig(f"endpoint: given {address!r}, allowed among several are tcp://HOST:PORT and ipc://PATH")
    if address.startswith("ipc://"):
        if len(os.fsencode(address)) - len("ipc://") > MAX_IPC_PATH_BYTES:
            raise InvalidConfig(
                f"endpoint: the path of {address!r} has {len(os.fsencode(address)) - len('ipc://')} bytes, "
                f"allowed are {MAX_IPC_PATH_BYTES} at most"
            )
    elif _UNWRITABLE.search(address) or int(address.rpartition(":")[2]) > 65_535:
        raise InvalidConfig(f"endpoint: given {address!r}, allowed is tcp://HOST:PORT with a port up to 65535")


def all_share_files(given: Addresses) -> bool:
    """Return whether every head that is named is on this machine, so that a path means the same file there."""
    return all(address.startswith("ipc://") for address in parse_addresses(given))
