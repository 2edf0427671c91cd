"""Where a request comes from: the peer, or, behind proxies that are trusted, whom the last of them names."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import Request

from felix.domain.errors import Invalid

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class NotANetwork(Invalid):
    """FELIX_TRUSTED_PROXIES is not a list of addresses and networks. It looks like 10.0.0.7, 192.168.1.0/24."""


def read_networks(text: str) -> tuple[Network, ...]:
    """Networks and single addresses, separated by commas. Raises :class:`NotANetwork`."""
    try:
        return tuple(ip_network(each.strip()) for each in text.split(",") if each.strip())
    except ValueError:
        raise NotANetwork() from None


def client_address(request: Request, trusted: Sequence[Network]) -> str:
    """The address that a request comes from, as far as it can be believed.

    Each proxy adds the address of its peer at the end of ``X-Forwarded-For``; what stands further in front than the
    last one that is trusted anybody may have written.
    """
    peer = request.client.host if request.client is not None else ""
    found = _read(peer)
    if found is None or not _is_of(found, trusted):
        return peer if found is None else str(found)
    named = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    for text in reversed(named):
        before = _read(text.strip())
        if before is None:
            break
        found = before
        if not _is_of(found, trusted):
            break
    return str(found)


def _read(text: str) -> Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _is_of(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)
