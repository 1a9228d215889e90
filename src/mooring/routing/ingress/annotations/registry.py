"""Which annotations are known, and what does an Ingress ask for with its own?"""

import difflib
from collections.abc import Mapping

from msgspec import structs

from mooring.model.ingress import Ingress
from mooring.routing.finding import Finding
from mooring.routing.ingress.annotations.access import ACCESS
from mooring.routing.ingress.annotations.annotation import Annotation, Kind
from mooring.routing.ingress.annotations.asking import ASKING
from mooring.routing.ingress.annotations.backend import BACKEND
from mooring.routing.ingress.annotations.balance import BALANCE
from mooring.routing.ingress.annotations.canary import CANARY, is_canary
from mooring.routing.ingress.annotations.certificates import CERTIFICATES
from mooring.routing.ingress.annotations.cors import CORS
from mooring.routing.ingress.annotations.notes import Notes
from mooring.routing.ingress.annotations.passwords import PASSWORDS
from mooring.routing.ingress.annotations.paths import PATHS
from mooring.routing.ingress.annotations.snippets import SNIPPETS
from mooring.routing.ingress.annotations.transfer import TRANSFER
from mooring.routing.ingress.annotations.watching import WATCHING
from mooring.routing.ingress.objects import Objects
from mooring.routing.ingress.wishes import PLAIN, Wishes

FAMILIES = (
    PATHS,
    TRANSFER,
    BACKEND,
    CERTIFICATES,
    BALANCE,
    CANARY,
    ACCESS,
    PASSWORDS,
    ASKING,
    CORS,
    SNIPPETS,
    WATCHING,
)
"""In the order of reading: backends before their certificates, rewriting before what depends on it."""

KNOWN: Mapping[str, Annotation] = {known.name: known for family in FAMILIES for known in family.annotations}
"""Every annotation of ingress-nginx, those that upstream has dropped included, by its name without the prefix."""

MOST_UNKNOWN = 10
NOTHING = frozenset(("", "off", "0", "f", "F", "FALSE", "false", "False"))
"""Values with which a refused annotation asks for nothing."""

_OF_CANARY = frozenset(known.name for family in FAMILIES if family.of_canary for known in family.annotations)


def read(ingress: Ingress, objects: Objects) -> tuple[Wishes, tuple[Finding, ...]]:
    """What its annotations ask for, and what there is to say about them. Never raises, whatever they hold."""
    notes = Notes(ingress, objects)
    if not notes.values:
        return PLAIN, ()
    canary = is_canary(ingress)
    _tell_unknown(notes)
    for name in sorted(KNOWN.keys() & notes.values.keys()):
        _announce(notes, KNOWN[name], canary)
    if canary:
        notes.values = {name: value for name, value in notes.values.items() if name in _OF_CANARY}
    wishes = PLAIN
    for family in FAMILIES:
        if any(known.name in notes.values for known in family.annotations):
            wishes = family.read(notes, wishes)
    if notes.closed:
        wishes = structs.replace(wishes, refused="; ".join(notes.closed))
    return wishes, tuple(notes.findings)


def _tell_unknown(notes: Notes) -> None:
    """With the nearest known name; of very many only the first, as an Ingress may have thousands."""
    unknown = sorted(notes.values.keys() - KNOWN.keys())
    for name in unknown[:MOST_UNKNOWN]:
        near = difflib.get_close_matches(name[:63], KNOWN, 1)
        guess = f"; did you mean {near[0]}?" if near else ""
        more = (
            f"; nor the {len(unknown) - MOST_UNKNOWN} after it"
            if len(unknown) > MOST_UNKNOWN and name == unknown[MOST_UNKNOWN - 1]
            else ""
        )
        notes.tell(name, "AnnotationUnknown", f"ingress-nginx has no such annotation{guess}{more}", "it is left out")


def _announce(notes: Notes, known: Annotation, canary: bool) -> None:
    """What can be said without reading the value."""
    if canary and known.name not in _OF_CANARY:
        notes.ignore(known.name, "a canary takes this from the main Ingress of its hosts and paths")
    elif known.kind is Kind.NO_OP:
        notes.ignore(known.name, known.here)
    elif known.kind is Kind.REFUSED and notes.values[known.name].strip() not in NOTHING:
        notes.refuse(known.name, known.here)
