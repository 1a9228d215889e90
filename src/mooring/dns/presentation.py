"""How is a record's data written for people? As in a zone file (RFC 1035 section 5), names without the final dot."""

from ipaddress import IPv4Address, IPv6Address

from mooring.dns.names import Name, labels, to_text
from mooring.dns.records import Type


def data_text(kind: int, data: bytes) -> str:
    """Data that is not of its type's form, and that of types without one here, is written by RFC 3597 section 5."""
    try:
        return _known(kind, data)
    except (ValueError, IndexError):
        return f"\\# {len(data)} {data.hex()}".rstrip()


def _known(kind: int, data: bytes) -> str:
    match kind:
        case Type.A:
            return str(IPv4Address(data))
        case Type.AAAA:
            return str(IPv6Address(data))
        case Type.NS | Type.CNAME | Type.PTR:
            return to_text(data)
        case Type.SRV:
            return " ".join([*_numbers(data[:6], 2), to_text(data[6:])])
        case Type.SOA:
            nameserver, rest = _cut(data)
            mailbox, rest = _cut(rest)
            return " ".join([to_text(nameserver), to_text(mailbox), *_numbers(rest, 4)])
        case Type.TXT:
            return " ".join(f'"{each.decode("ascii")}"' for each in labels(data + b"\0"))
    raise ValueError(f"type {kind} has no form here")


def _numbers(data: bytes, size: int) -> list[str]:
    return [str(int.from_bytes(data[at : at + size], "big")) for at in range(0, len(data), size)]


def _cut(data: bytes) -> tuple[Name, bytes]:
    """The name that data begins with, and the rest."""
    at = 0
    while data[at]:
        at += 1 + data[at]
    return data[: at + 1], data[at + 1 :]
