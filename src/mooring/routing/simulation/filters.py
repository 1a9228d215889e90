"""Which filter of a route stops a request, what do the others do, and on whose word does the answer depend?"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from mooring.endpoints.addresses import contains
from mooring.routing.simulation.changes import Setting, filled
from mooring.routing.simulation.matching import Head
from mooring.routing.simulation.passwords import NOBODY, proven
from mooring.routing.table import Access, BasicAuth, Cors, ExternalAuth, Filters, RateLimit

PREFLIGHT_STATUS = 204


class Step(Struct, frozen=True):
    """One decision. `because` names the rule; `source` where it is written, '' where nobody wrote it."""

    decision: str
    because: str
    source: str = ""


class Stopped(Struct, frozen=True):
    """The proxy answers instead of going on."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


class Passage(Struct, frozen=True):
    """`stopped` None: it goes on. `provided`: on what that depends, which is not known here."""

    steps: tuple[Step, ...]
    stopped: Stopped | None = None
    provided: tuple[str, ...] = ()
    response_headers: tuple[tuple[str, str], ...] = ()


def passed(filters: Filters, head: Head, setting: Setting) -> Passage:
    """In the order that RouteTable.Filters tells, but for preflights: browsers send them without any proof of who asks."""
    steps: list[Step] = []
    provided: list[str] = []
    asked = _cors(filters.cors, head, steps)
    if asked is not None and asked.stopped is not None:
        return asked
    shown = asked.response_headers if asked else ()
    refusal = _access(filters.access, setting.client, steps)
    if refusal and not (filters.satisfy_any and (filters.basic_auth or filters.external_auth)):
        return Passage(tuple(steps), _with(refusal, shown))
    if filters.rate is not None:
        _rate(filters.rate, setting.client, steps, provided)
    enough = filters.satisfy_any and filters.access is not None and bool(filters.access.allowed) and refusal is None
    if enough and (filters.basic_auth or filters.external_auth):
        steps.append(Step("nobody is asked who the client is", "its address is enough"))
    elif (stopped := _proven(filters, head, setting, steps, provided)) is not None:
        return Passage(tuple(steps), _with(stopped, shown), tuple(provided))
    return Passage(tuple(steps), None, tuple(provided), shown)


def _proven(filters: Filters, head: Head, setting: Setting, steps: list[Step], provided: list[str]) -> Stopped | None:
    """By the password and by another server, or with `satisfy_any` by either."""
    either = filters.satisfy_any and filters.external_auth is not None
    guessed: list[str] = []
    stopped = _basic(filters.basic_auth, head, steps, guessed if either else provided)
    if stopped is not None and not either:
        return stopped
    if stopped is not None or guessed or filters.basic_auth is None or not either:
        _external(filters.external_auth, head, setting, steps, provided)
    return None


def _with(stopped: Stopped, shown: tuple[tuple[str, str], ...]) -> Stopped:
    """Scripts may read a refusal too."""
    return Stopped(stopped.status, (*stopped.headers, *shown))


def _access(access: Access | None, client: str, steps: list[Step]) -> Stopped | None:
    if access is None:
        return None
    denied = next((cidr for cidr in access.denied if contains(cidr, client)), None)
    if denied is not None:
        steps.append(Step("403: the client may not come in", f"{client} is in {denied}, which is denied"))
        return Stopped(403)
    if not access.allowed:
        return None
    allowed = next((cidr for cidr in access.allowed if contains(cidr, client)), None)
    if allowed is None:
        steps.append(Step("403: the client may not come in", f"{client} is in none of {', '.join(access.allowed)}"))
        return Stopped(403)
    steps.append(Step("the client may come in", f"{client} is in {allowed}"))
    return None


def _rate(rate: RateLimit, client: str, steps: list[Step], provided: list[str]) -> None:
    exempt = next((cidr for cidr in rate.exempt if contains(cidr, client)), None)
    if exempt is not None:
        steps.append(Step("no rate limit", f"{client} is in {exempt}, which is exempt"))
        return
    limits = (
        (rate.per_second, "requests a second"),
        (rate.per_minute, "requests a minute"),
        (rate.connections, "connections at a time"),
    )
    words = " and ".join(f"{number} {what}" for number, what in limits if number)
    if words:
        steps.append(Step(f"within {words}, else {rate.status}", f"counted for {client} alone, bursts of {rate.burst} times"))
        provided.append(f"{client} has not exceeded {words}")


def _basic(auth: BasicAuth | None, head: Head, steps: list[Step], provided: list[str]) -> Stopped | None:
    if auth is None:
        return None
    challenge = Stopped(401, (("www-authenticate", f'Basic realm="{auth.realm}"'),))
    header = head.header("authorization")
    if header is None:
        steps.append(Step("401: a name and password are asked for", f"realm {auth.realm}: the request brings none"))
        return challenge
    proof = proven(header, auth.users)
    if proof is NOBODY:
        steps.append(Step("401: a name and password are asked for", f"realm {auth.realm}: the request's are not right"))
        return challenge
    if not proof.certain:
        provided.append(f"the password is {proof.name}'s")
    because = "the password is right" if proof.certain else "if the password is right; its form is read by the proxy alone"
    steps.append(Step(f"{proof.name} may come in", f"realm {auth.realm}: {because}"))
    return None


def _external(auth: ExternalAuth | None, head: Head, setting: Setting, steps: list[Step], provided: list[str]) -> None:
    if auth is None:
        return
    asked = f"{auth.method or head.method} {auth.host}{filled(auth.path, head, setting)}"
    otherwise = f"a redirect to {filled(auth.sign_in, head, setting)}" if auth.sign_in else "its 401 or 403 is handed on"
    steps.append(Step(f"{auth.cluster} is asked first: {asked}", f"2xx lets the request on, else {otherwise}"))
    provided.append(f"{auth.cluster} answers 2xx to {asked}")


def _cors(cors: Cors | None, head: Head, steps: list[Step]) -> Passage | None:
    """None without any. Caches must keep every answer for the scripts of that origin alone."""
    origin = head.header("origin")
    if cors is None:
        return None
    varies = (("vary", "Origin"),)
    if origin is None or not any(origin_fits(each, origin) for each in cors.origins):
        if origin is not None:
            steps.append(Step(f"no word of CORS for {origin}", f"it is none of {', '.join(cors.origins)}"))
        return Passage((), None, (), varies)
    shown = (*_cors_headers(cors, origin), *varies)
    plain = (*shown, *_listed("access-control-expose-headers", cors.expose))
    if head.method != "OPTIONS" or head.header("access-control-request-method") is None:
        steps.append(Step(f"scripts of {origin} may read the answer", "CORS allows this origin"))
        return Passage((), None, (), plain)
    steps.append(Step(f"{PREFLIGHT_STATUS}: a preflight, answered here", f"CORS allows {origin}"))
    return Passage(tuple(steps), Stopped(PREFLIGHT_STATUS, (*shown, *_preflight_headers(cors))))


def origin_fits(allowed: str, origin: str) -> bool:
    """`*`, the same, or with one label for the one star."""
    before, star, after = allowed.partition("*")
    if not star:
        return allowed == origin
    label = origin.removeprefix(before).removesuffix(after) if origin.startswith(before) and origin.endswith(after) else ""
    return allowed == "*" or bool(label and "." not in label and len(label) + len(before + after) == len(origin))


def _cors_headers(cors: Cors, origin: str) -> Iterator[tuple[str, str]]:
    yield "access-control-allow-origin", origin
    if cors.credentials:
        yield "access-control-allow-credentials", "true"


def _preflight_headers(cors: Cors) -> Iterator[tuple[str, str]]:
    yield from _listed("access-control-allow-methods", cors.methods)
    yield from _listed("access-control-allow-headers", cors.headers)
    yield "access-control-max-age", str(cors.max_age)


def _listed(name: str, values: Sequence[str]) -> Iterator[tuple[str, str]]:
    if values:
        yield name, ", ".join(values)
