"""Who may send requests: the names under which the server answers, and the token it asks for."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qsl

from deocclude.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,252}[a-z0-9])?")
HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}")


class Refused(Exception):
    """A request that is not let through: the HTTP status, and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a request must bring.

    names: host names of this server, in lower case, besides the loopback ones. addresses: whether any IP address is one
    too. token: the secret that every request shows; None where whoever reaches the server may use it.
    """

    names: frozenset[str] = frozenset()
    addresses: bool = False
    token: str | None = None

    @classmethod
    def at(cls, host: str, *, allowed: Iterable[str] = (), token: str | None = None) -> Access:
        """Of a server that listens at `host`. allowed: more names. Without a token, one is made outside of loopback.

        Raises InputError for a token that is too short or has other characters than an address may have, and for what
        is no host name.
        """
        if token is not None and not TOKEN.fullmatch(token):
            raise InputError("a token is 16 to 200 letters, digits, - and _; without --token a random one is made")
        allowed = {name.lower() for name in allowed}
        for name in allowed:
            if not NAME.fullmatch(name):
                raise InputError(f"'{name}' is no host name; give the name alone, without http:// and a port")
        if is_loopback(host):
            return cls(names=frozenset({host.lower(), *allowed}), token=token)
        names = frozenset({host.lower(), *own_names(), *allowed})
        return cls(names=names, addresses=True, token=token or secrets.token_urlsafe(24))

    @property
    def cookie(self) -> str:
        """The name of the cookie that holds the token: another one for another token, since cookies know no ports."""
        return f"deocclude-{sha256((self.token or '').encode()).hexdigest()[:8]}"

    def check_sender(self, method: str, headers: Mapping[str, str]) -> None:
        """No page of another site may use this server, and no name that was made to point here. Raises Refused."""
        host = headers.get("host", "").lower()
        if not self._is_ours(host):
            raise Refused(403, "this server does not answer to that name; 'deocclude serve --allow-host NAME' adds one")
        origin = headers.get("origin", "").lower()
        if method not in ("GET", "HEAD") and origin and origin.partition("://")[2] != host:
            raise Refused(403, "another site may not send requests here")

    def _is_ours(self, host: str) -> bool:
        found = HOST.fullmatch(host)
        if not found:
            return False
        name = found["address"] or found["name"]
        return name in LOOPBACK or name in self.names or (self.addresses and _is_address(name))

    def check_token(self, headers: Mapping[str, str]) -> None:
        """The token is in the cookie or the Authorization header. Raises Refused."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        shown = [given.strip()] if scheme.lower() == "bearer" else []
        cookies = (one.strip().partition("=") for one in headers.get("cookie", "").split(";"))
        shown += [value for name, _, value in cookies if name == self.cookie]
        if not any(self._is_token(one) for one in shown):
            raise Refused(
                401,
                "this server asks for its token: open the address that 'deocclude serve' has printed, "
                "or send it as 'Authorization: Bearer TOKEN'",
            )

    def opens(self, query: bytes) -> bool:
        """Whether the query of an address holds the token, as the printed address does."""
        return any(name == "token" and self._is_token(value) for name, value in parse_qsl(query.decode("latin-1")))

    def _is_token(self, text: str) -> bool:
        return self.token is not None and secrets.compare_digest(text.encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    return host in LOOPBACK or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def own_names() -> set[str]:
    """What this machine calls itself, and what its network may."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return {name, short, f"{short}.local"} if short else set()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
