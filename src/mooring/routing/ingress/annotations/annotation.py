"""What is known of an annotation of ingress-nginx? Its name, its values, and what becomes of it here."""

from collections.abc import Callable

from msgspec import Struct

from mooring.model.choice import Choice
from mooring.routing.ingress.annotations.notes import Notes
from mooring.routing.ingress.wishes import Wishes


class Kind(Choice):
    UNDERSTOOD = "understood"
    NO_OP = "without effect"
    """Harmless to leave out: a Finding of level Normal says why."""
    REFUSED = "refused"
    """Not done; a Finding says so unless the value asks for nothing."""


class Annotation(Struct, frozen=True):
    """`form`: which values. `here`: what becomes of it, for people; of one without effect or
    refused, the reason that users get."""

    name: str
    form: str
    here: str
    kind: Kind = Kind.UNDERSTOOD


class Family(Struct, frozen=True):
    """Annotations that are read together. `of_canary`: a canary has its own; the others it takes from its main Ingress."""

    annotations: tuple[Annotation, ...]
    read: Callable[[Notes, Wishes], Wishes]
    of_canary: bool = False


def no_op(name: str, form: str, here: str) -> Annotation:
    return Annotation(name, form, here, Kind.NO_OP)


def refused(name: str, form: str, here: str) -> Annotation:
    return Annotation(name, form, here, Kind.REFUSED)
