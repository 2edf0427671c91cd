"""Which addresses another system may be reached at: none of this machine's and none of its network's, unless allowed.

A name is looked up once, every address is checked, and the connection goes to one of those: a name that leads
elsewhere a moment later leads nowhere.
"""

from __future__ import annotations

import ipaddress
import socket

from felix.adapters.outbound import AddressNotSafe, NotReachable

#: Whoever has more addresses than this for one name means something else.
MAX_ADDRESSES = 8


def safe_addresses(host: str, port: int, *, private: bool = False) -> list[str]:
    """The addresses of a host. ``private`` allows this machine and its network.

    Raises ``AddressNotSafe`` when any of them may not be asked, and ``NotReachable`` when there are none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotReachable(f"{host} has no address.") from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))[:MAX_ADDRESSES]
    if not private and not all(_is_public(address) for address in addresses):
        raise AddressNotSafe(f"{host} is at an address of this machine or its network.", host=host)
    return addresses


def _is_public(address: str) -> bool:
    """Also for what is written as another kind of address: ::ffff:127.0.0.1, 64:ff9b::7f00:1."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is not None:
            parsed = inner
        elif parsed in ipaddress.ip_network("64:ff9b::/96"):
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    return parsed.is_global and not parsed.is_multicast
