"""What is one request, once its path, options and accepted form are understood?"""

import re
from collections.abc import Mapping

from msgspec import structs

from mooring.apiserver import body, errors
from mooring.apiserver.apply.managers import name_faults, name_of_agent
from mooring.apiserver.contract import Answer, Env, Question, Request
from mooring.apiserver.kept import kept
from mooring.apiserver.negotiate import Accepted, accepted
from mooring.apiserver.paths import Target
from mooring.apiserver.resources import Resource
from mooring.apiserver.shape import Shape
from mooring.apiserver.strategy import FieldError
from mooring.model.kinds import Kind
from mooring.store.snapshot import Snapshot

_INTEGER = re.compile(r"[+-]?[0-9]+").fullmatch
_DIGITS = 64
"""Python is slow with very long numbers, and refuses the longest; some may begin with zeros."""
_VALIDATIONS = ("", "Ignore", "Strict", "Warn")
_UNASKED = {"_query": {}, "dry_run": False, "validation": "Warn"}
"""What is kept of a request without parameters."""


class Call:
    """A request to a resource, with the state it is decided from. Values are read-only."""

    def __init__(self, request: Request, target: Target, verb: str, snapshot: Snapshot, env: Env) -> None:
        self.request, self.target, self.verb, self.snapshot, self.env = request, target, verb, snapshot, env
        self.resource: Resource = target.resource.within(env, snapshot)
        self.kind, self.namespace, self.name = self.resource.kind, target.namespace, target.name
        if not request.query:
            self.__dict__.update(_UNASKED)
        self.told: list[str] = []
        """Warnings that admission has for the client."""
        self.complaints: tuple[str, ...] = ()
        """About fields of the body that are unknown or repeated."""
        self.managers_decided = False
        """Whether the document to be written has its managedFields already, as a server-side apply's has."""

    def asking(self, answers: Mapping[Question, Answer]) -> "Call":
        """The same request with other answers, for what is decided later than itself."""
        return Call(self.request, self.target, self.verb, self.snapshot, structs.replace(self.env, answers=answers))

    @kept
    def accepted(self) -> Accepted:
        """Raises StatusError 406."""
        return accepted(self.request.headers.get("accept", ""), watching=self.verb == "watch")

    def receive(self, kind: Kind, shape: Shape) -> body.Received:
        """The request's body as a document of `kind`. Raises StatusError 400, 413, 415."""
        request = self.request
        received = body.receive(request.body, request.headers.get("content-type", ""), kind, shape, self.validation)
        self.complaints = received.warnings
        return received

    @kept
    def _query(self) -> dict[str, str]:
        return dict(reversed(self.request.query))

    def query(self, name: str) -> str:
        """The first value of a query parameter, '' when absent."""
        return self._query.get(name, "")

    def has_query(self, name: str) -> bool:
        return name in self._query

    def flag(self, name: str) -> bool:
        """A boolean parameter, read as upstream does: present and empty is true, 'false' and '0' are false."""
        return name in self._query and self._query[name].lower() not in ("false", "0", "f")

    def number(self, name: str) -> int | None:
        """An integer parameter, of 64 bits as upstream's. Raises StatusError 400."""
        text = self.query(name)
        if not text:
            return None
        wrong = "" if _INTEGER(text) else "invalid syntax"
        if not wrong and (len(text) > _DIGITS or not -(1 << 63) <= int(text) < 1 << 63):
            wrong = "value out of range"
        if wrong:
            raise errors.bad_request(f"strconv.ParseInt: parsing {errors.quote(text)}: {wrong}")
        return int(text)

    @kept
    def dry_run(self) -> bool:
        """Raises StatusError 422 for anything but All."""
        values = [value for name, value in self.request.query if name == "dryRun"]
        self.check_dry_run(values)
        return "All" in values

    def check_dry_run(self, values: list[str]) -> None:
        for value in values:
            if value not in ("", "All"):
                message = f'Unsupported value: {errors.quote(value)}: supported values: "All"'
                raise self.bad_options([FieldError("FieldValueNotSupported", "dryRun", message)])

    @kept
    def field_manager(self) -> str:
        """Who the fields that this request sets belong to: fieldManager, else the client's own name. Raises StatusError 422."""
        name = self.query("fieldManager") if self.request.query else ""
        if not name:
            return name_of_agent(self.request.headers.get("user-agent", ""))
        if found := name_faults(name, "fieldManager"):
            raise self.bad_options(found)
        return name

    @kept
    def validation(self) -> str:
        """fieldValidation: Ignore, Warn (the default) or Strict. Raises StatusError 422."""
        value = self.query("fieldValidation")
        if value not in _VALIDATIONS:
            supported = ", ".join(errors.quote(known) for known in _VALIDATIONS)
            message = f"Unsupported value: {errors.quote(value)}: supported values: {supported}"
            raise self.bad_options([FieldError("FieldValueNotSupported", "fieldValidation", message)])
        return value or "Warn"

    def bad_options(self, found: list[FieldError]) -> errors.StatusError:
        names = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}
        options = names.get(self.verb, "DeleteOptions" if self.verb.startswith("delete") else "ListOptions")
        return errors.invalid_kind("meta.k8s.io", options, "", found)
