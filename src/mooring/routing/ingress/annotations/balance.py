"""Which endpoint gets a request? Balancing, hashing and cookies that stick. A canary has these of its own."""

import re

from msgspec import structs

from mooring.routing.ingress.annotations.annotation import Annotation, Family, Kind, no_op, refused
from mooring.routing.ingress.annotations.notes import BASIC, MOST, URL, VARIABLES, Notes
from mooring.routing.ingress.annotations.variables import UnknownVariable, pieces
from mooring.routing.ingress.wishes import Wishes
from mooring.routing.table import Balance, CookieAffinity, HashKey, HashOn

_ALGORITHMS = {"round_robin": Balance.ROUND_ROBIN, "ewma": Balance.EWMA}
_UPSTREAM_ALGORITHMS = ("round_robin", "ewma", "chash", "chashsubset", "sticky_balanced", "sticky_persistent")
_COOKIE = re.compile(r"[A-Za-z0-9\-_.~]+", re.ASCII)
_SECONDS = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_DOMAIN = re.compile(r"\.?[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,251}[A-Za-z0-9])?", re.ASCII)
_KEYS = {
    "request_uri": HashKey(HashOn.PATH),
    "host": HashKey(HashOn.HOST),
    "http_host": HashKey(HashOn.HOST),
    "best_http_host": HashKey(HashOn.HOST),
    "remote_addr": HashKey(HashOn.SOURCE_ADDRESS),
    "binary_remote_addr": HashKey(HashOn.SOURCE_ADDRESS),
    "the_real_ip": HashKey(HashOn.SOURCE_ADDRESS),
}
_NAMED_KEYS = (("http_", HashOn.HEADER), ("cookie_", HashOn.COOKIE), ("arg_", HashOn.QUERY))

_ANNOTATIONS = (
    Annotation(
        "load-balance", "round_robin, ewma", "The others that upstream lists follow from upstream-hash-by and affinity."
    ),
    Annotation("service-upstream", "true, false", "To the Service's cluster IP in place of its endpoints."),
    Annotation(
        "upstream-hash-by",
        "$request_uri, $host, $remote_addr, $http_NAME, $cookie_NAME, $arg_NAME, and text between",
        "Requests that agree in all of these go to the same endpoint. Other variables are refused. Wins over load-balance.",
    ),
    refused("upstream-hash-by-subset", "true, false", "subsets are not made: each key sticks to one endpoint"),
    no_op("upstream-hash-by-subset-size", "a number", "subsets are not made"),
    Annotation("affinity", "cookie", "The first answer's cookie names the endpoint, which later requests go to."),
    Annotation(
        "affinity-mode", "balanced, persistent", "Default balanced: with its endpoint not ready a session gets a new one."
    ),
    Annotation("affinity-canary-behavior", "sticky, legacy", "Default sticky: who was served by the canary stays with it."),
    Annotation("session-cookie-name", "a name", "Default INGRESSCOOKIE."),
    Annotation("session-cookie-max-age", "seconds", "Default: while the browser runs."),
    Annotation("session-cookie-expires", "seconds", "As session-cookie-max-age, which wins."),
    Annotation("session-cookie-path", "a path", "Default the rule's own path; `/` where that is a regular expression."),
    Annotation("session-cookie-domain", "a domain", "Default the request's host alone."),
    Annotation("session-cookie-samesite", "None, Lax, Strict", "In any letter case. Default: the attribute is left out."),
    Annotation("session-cookie-secure", "true, false", "Default as the request came: Secure over https."),
    Annotation("session-cookie-change-on-failure", "true, false", "With true a failed attempt moves the session."),
    no_op(
        "session-cookie-conditional-samesite-none",
        "true, false",
        "SameSite=None is sent to every browser; those that misread it are from before 2020",
    ),
    refused("session-cookie-partitioned", "true, false", "the attribute Partitioned cannot be set"),
)


_OF_COOKIE = tuple(
    known.name
    for known in _ANNOTATIONS
    if known.name.startswith(("session-cookie-", "affinity-mode")) and known.kind is Kind.UNDERSTOOD
)


def _read(notes: Notes, wishes: Wishes) -> Wishes:
    word = notes.choice("load-balance", _UPSTREAM_ALGORITHMS, "round_robin")
    if word not in _ALGORITHMS:
        notes.refuse(
            "load-balance",
            f"{word} follows from upstream-hash-by or affinity, and is not chosen by name",
            "taken as round_robin",
        )
    keys = _hash(notes)
    return structs.replace(
        wishes,
        balance=Balance.HASH if keys else _ALGORITHMS.get(word, Balance.ROUND_ROBIN),
        hash_on=keys,
        affinity=_affinity(notes),
        affinity_canary_sticky=notes.choice("affinity-canary-behavior", ("sticky", "legacy"), "sticky") == "sticky",
        service_upstream=notes.boolean("service-upstream"),
    )


def _hash(notes: Notes) -> tuple[HashKey, ...]:
    value = notes.text("upstream-hash-by", VARIABLES, "requests are not hashed").replace(" ", "")
    if not value:
        return ()
    try:
        named = [piece[0] for piece in pieces(value) if not isinstance(piece, str)]
        keys = tuple(dict.fromkeys(_key(name) for name in named))
    except UnknownVariable as unknown:
        notes.refuse("upstream-hash-by", str(unknown.args[0]), "requests are not hashed")
        return ()
    if not keys:
        notes.refuse(
            "upstream-hash-by", "names no variable: upstream would send all to one endpoint", "requests are not hashed"
        )
    return keys


def _key(name: str) -> HashKey:
    if name in _KEYS:
        return _KEYS[name]
    for prefix, on in _NAMED_KEYS:
        if name.startswith(prefix) and len(name) > len(prefix):
            rest = name[len(prefix) :]
            return HashKey(on, rest.replace("_", "-").lower() if on is HashOn.HEADER else rest)
    raise UnknownVariable(f"the variable ${name[:40]} cannot be hashed here")


def _affinity(notes: Notes) -> CookieAffinity | None:
    if notes.choice("affinity", ("cookie",), "") != "cookie":
        notes.idle(_OF_COOKIE, "affinity: cookie")
        return None
    name = notes.text("session-cookie-name", BASIC, "INGRESSCOOKIE is used") or "INGRESSCOOKIE"
    if _COOKIE.fullmatch(name) is None:
        notes.bad("session-cookie-name", "is no cookie's name", "INGRESSCOOKIE is used")
        name = "INGRESSCOOKIE"
    path = notes.text("session-cookie-path", URL, "the rule's path is used")
    if path and not path.startswith("/"):
        notes.bad("session-cookie-path", "is not an absolute path", "the rule's path is used")
        path = ""
    domain = notes.text("session-cookie-domain", BASIC)
    if domain and _DOMAIN.fullmatch(domain) is None:
        notes.bad("session-cookie-domain", "is no domain", "it is left out")
        domain = ""
    return CookieAffinity(
        name,
        seconds=_seconds(notes),
        path=path,
        domain=domain,
        same_site=_same_site(notes),
        secure=True if notes.boolean("session-cookie-secure") else None,
        strict=notes.choice("affinity-mode", ("balanced", "persistent"), "balanced") == "persistent",
        change_on_failure=notes.boolean("session-cookie-change-on-failure"),
    )


def _seconds(notes: Notes) -> int:
    for name in ("session-cookie-max-age", "session-cookie-expires"):
        value = notes.values.get(name, "").strip()
        if not value:
            continue
        if _SECONDS.fullmatch(value) is not None and 0 <= int(value) <= MOST:
            return int(value)
        notes.bad(name, f"is not from 0 to {MOST}", "it is left out")
    return 0


def _same_site(notes: Notes) -> str:
    value = notes.values.get("session-cookie-samesite", "").strip(" \t\r\n").capitalize()
    if value in ("", "None", "Lax", "Strict"):
        return value
    notes.bad("session-cookie-samesite", "is none of None, Lax, Strict", "it is left out")
    return ""


BALANCE = Family(_ANNOTATIONS, _read, of_canary=True)
