"""Which objects do the words after `get`, `describe` or `delete` name?

`pods`, `pods a b`, `svc/web deploy/web`, `svc,deploy`, `all`: as kubectl reads them.
"""

from collections.abc import Sequence

from msgspec import Struct

from mooring.cli.main import CommandError
from mooring.cli.resources import Resources
from mooring.model.kinds import Kind


class Selection(Struct, frozen=True):
    """One kind, and the one object of that name; '' means all of the kind."""

    kind: Kind
    name: str = ""


def select(resources: Resources, words: Sequence[str]) -> list[Selection]:
    """Raises CommandError for unknown kinds and mixed forms."""
    if not words:
        raise CommandError("say which: a kind such as `pods`, or `kind/name`", 2)
    if any("/" in word for word in words):
        if not all("/" in word for word in words):
            raise CommandError("either `KIND NAME...` or `KIND/NAME...`, not both", 2)
        pairs = [word.split("/", 1) for word in words]
        if not all(kind and name for kind, name in pairs):
            raise CommandError("`KIND/NAME` needs both", 2)
        return [Selection(resources.find(kind), name) for kind, name in pairs]
    first, *names = words
    kinds = [kind for word in first.split(",") for kind in resources.category(word) or [resources.find(word)]]
    return [Selection(kind, name) for kind in kinds for name in names or [""]]
