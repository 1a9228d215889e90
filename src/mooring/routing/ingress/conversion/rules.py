"""Which rules of HTTPRoutes and GRPCRoutes do a virtual host's routes become?"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from mooring.routing.ingress.annotations.notes import PREFIX
from mooring.routing.ingress.conversion import filters, matches
from mooring.routing.ingress.conversion.backends import Backends
from mooring.routing.ingress.conversion.remark import Document, Mark, Remark
from mooring.routing.table import Answer, Cluster, Forward, PathKind, Redirect, Route, Speaks

MOST_RULES, MOST_MATCHES, MOST_MATCHES_OF_A_RULE = 16, 128, 64
"""Of one HTTPRoute, by its schema and rules; a GRPCRoute's are the same."""
REASON = re.compile(rf"{re.escape(PREFIX)}([a-z0-9-]+): ")
"""Begins what is told of rules that an annotation closes."""
GRPC_PATH = re.compile(r"/([A-Za-z_][\w.]*)(?:/([A-Za-z_]\w*)?)?")

Spec = dict[str, Any]


class Rule(Struct):
    """`body`: all of a rule but its matches. `policies`: objects that it needs beside the route."""

    source: str
    matches: list[Spec]
    body: Spec
    policies: tuple[Document, ...] = ()

    def takes(self, other: "Rule") -> bool:
        """Whether the other's matches can stand here: same doings, and no rewriting that depends on the match."""
        prefixes = any("ReplacePrefixMatch" in repr(each) for each in self.body.get("filters", ()))
        return self.body == other.body and not prefixes and len(self.matches) < MOST_MATCHES_OF_A_RULE


def rules(routes: Iterable[Route], backends: Backends, namespace: str) -> tuple[list[Rule], list[Remark]]:
    """In the routes' order. Neighbours that do the same become one."""
    made: list[Rule] = []
    remarks: list[Remark] = []
    for route in routes:
        found = _rule(route, backends, namespace)
        remarks += [each for each in found if isinstance(each, Remark)]
        for rule in found:
            if isinstance(rule, Rule):
                if made and made[-1].takes(rule):
                    made[-1].matches += rule.matches
                else:
                    made.append(rule)
    return made, remarks


def parts(made: list[Rule]) -> Iterator[list[Rule]]:
    """As many at a time as one route may hold."""
    part: list[Rule] = []
    for rule in made:
        if part and (len(part) == MOST_RULES or sum(len(each.matches) for each in [*part, rule]) > MOST_MATCHES):
            yield part
            part = []
        part.append(rule)
    if part:
        yield part


def _rule(route: Route, backends: Backends, namespace: str) -> list[Rule | Remark]:
    source = route.source
    found = matches.told(route.match, route.filters.rewrite if isinstance(route.action, Forward) else None, source)
    said: list[Rule | Remark] = [*found.remarks]
    if found.match is None:
        return said
    body: Spec = {}
    policies: list[Document] = []
    steps = [*filters.told(route.filters, found.rewrite, backends, namespace, source)]
    match route.action:
        case Redirect():
            # A redirect answers by itself: of the filters only those that change its answer mean anything.
            steps = [each for each in steps if isinstance(each, Remark) or each["type"] in ("ResponseHeaderModifier", "CORS")]
            steps += filters.redirect(route.action, source)
        case Forward():
            references = [*filters.backend_references(route, route.action, backends, namespace)]
            said += [each for each in references if isinstance(each, Remark)]
            listed = [each for each in references if not isinstance(each, Remark)]
            if listed and not filters.guarded(route.filters):
                body["backendRefs"] = listed
            times = [*filters.timeouts(route.policy, source)]
            said += [each for each in times if isinstance(each, Remark)]
            body.update(("timeouts", each) for each in times if not isinstance(each, Remark))
            secured = [*filters.backend_policies(route.action, backends, source)]
            said += [each for each in secured if isinstance(each, Remark)]
            policies += [each for each in secured if not isinstance(each, Remark)]
        case Answer():
            said.append(_answer(route.action, source))
    said += [each for each in steps if isinstance(each, Remark)]
    listed = [each for each in steps if not isinstance(each, Remark)]
    if listed:
        body = {"filters": listed, **body}
    return [*said, Rule(source, [found.match], body, tuple(policies))]


def _answer(answer: Answer, source: str) -> Remark:
    why = f" ({answer.because})" if answer.because else ""
    words = f"answering {answer.status} by itself{why}; the rule is printed without backends and answers an error of its own"
    asked = REASON.match(answer.because)
    todo = "mend the rule" if answer.because else "have a Service answer"
    return Remark(source, Mark.CANNOT, words, todo, (asked[1],) if asked else ())


# gRPC -----------------------------------------------------------------------------------------------------------------------


def speaks_grpc(routes: Iterable[Route], clusters: Iterable[Cluster | None], made: list[Rule]) -> bool:
    """Whether a GRPCRoute can say it all: gRPC backends alone, matched by service and method, and no rewriting. One host of
    one listener cannot have HTTPRoutes and GRPCRoutes."""
    everything = [*routes]
    return (
        all(each is not None and each.speaks == Speaks.GRPC for each in clusters)
        and bool(everything)
        and all(isinstance(each.action, Forward) and each.action.to for each in everything)
        and all(each.match.path.kind in (PathKind.EXACT, PathKind.PREFIX) for each in everything)
        and all(_grpc_match(each) is not None for rule in made for each in rule.matches)
        and all(each["type"] in ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror")
                for rule in made for each in rule.body.get("filters", ()))
    )  # fmt: skip


def grpc(rule: Rule) -> tuple[Spec, list[Remark]]:
    """A GRPCRoute's rule."""
    found = [_grpc_match(each) for each in rule.matches]
    spec: Spec = {"matches": [each for each in found if each]}
    remarks = []
    if "timeouts" in rule.body:
        words = "a GRPCRoute has no timeouts; a gRPC client sends its own deadline"
        remarks.append(Remark(rule.source, Mark.CHANGES, words, annotations=("proxy-read-timeout",)))
    if not all(found):
        del spec["matches"]
    return spec | {field: value for field, value in rule.body.items() if field != "timeouts"}, remarks


def _grpc_match(match: Spec) -> Spec | None:
    """{} matches everything; None cannot be said."""
    if "method" in match or "queryParams" in match:
        return None
    path = match.get("path", {"type": "PathPrefix", "value": "/"})
    headers = {"headers": match["headers"]} if "headers" in match else {}
    if path["value"] == "/" and path["type"] == "PathPrefix":
        return headers
    found = GRPC_PATH.fullmatch(path["value"])
    if not found or (path["type"] == "Exact" and not found[2]):
        return None
    method = {"method": found[2]} if found[2] else {}
    return {"method": {"type": "Exact", "service": found[1], **method}, **headers}
