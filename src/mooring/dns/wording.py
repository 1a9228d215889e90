"""In which words are numbers of the DNS told? Types, classes and rcodes for logs and people, by their registered names."""

from contextlib import suppress

import dns.rcode
import dns.rdataclass
import dns.rdatatype

from mooring.dns.records import Rcode


def kind_text(number: int) -> str:
    """'A', 'TYPE65280' (RFC 3597)."""
    return str(dns.rdatatype.to_text(dns.rdatatype.RdataType.make(number)))


def kind_number(text: str) -> int:
    """The other way round. Raises ValueError."""
    try:
        return int(dns.rdatatype.from_text(text))
    except Exception as error:
        raise ValueError(f"{text!r} is no type of record") from error


def class_text(number: int) -> str:
    return str(dns.rdataclass.to_text(dns.rdataclass.RdataClass.make(number)))


def rcode_text(number: int) -> str:
    with suppress(ValueError):
        return Rcode(number).name
    return str(dns.rcode.to_text(dns.rcode.Rcode.make(number)))


def rcode_number(text: str) -> int:
    """Raises ValueError."""
    try:
        return int(dns.rcode.from_text(text))
    except Exception as error:
        raise ValueError(f"{text!r} is no rcode") from error
