"""What is there to say about an object? Findings: one voice for Events, `explain`, `convert` and the closing of a trace."""

from msgspec import Struct

from mooring.model.choice import Choice


class Level(Choice):
    NORMAL = "Normal"
    WARNING = "Warning"


class ObjectName(Struct, frozen=True, gc=False, cache_hash=True, order=True):
    """`kind` as the API writes it (Ingress)."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.namespace}/{self.name}"


class Finding(Struct, frozen=True, gc=False, cache_hash=True):
    """`reason` is an Event's reason (CamelCase); `field` where it was found (`spec.rules[0].http.paths[1].backend`,
    `metadata.annotations[nginx.ingress.kubernetes.io/auth-url]`); `message` a sentence without it; `effect` what the proxies do
    about it, for people ('the rule answers 503')."""

    about: ObjectName
    level: Level
    reason: str
    field: str
    message: str
    effect: str = ""

    @property
    def text(self) -> str:
        """As an Event's message."""
        return f"{self.field}: {self.message}" + (f"; {self.effect}" if self.effect else "")
