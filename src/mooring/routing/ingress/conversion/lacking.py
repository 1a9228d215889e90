"""What does a proxy's lack mean for who moves there: is something lost or done otherwise, and which annotation asked for it?"""

import re
from collections.abc import Iterable, Iterator

from mooring.routing.ingress.conversion.remark import Mark, Remark

LOST = re.compile(r"\bcannot\b|\banswers? 5\d\d\b|\brefused\b|\bnot limited\b|\bno copy\b")
"""In a sentence that says so, something that was asked for is not done; others say how it is done."""
ASKED = (
    (r"cookie|session", ("affinity*", "session-cookie-*")),
    (r"declared length|body is buffered", ("proxy-body-size", "proxy-request-buffering")),
    (r"password", ("auth-secret", "auth-type")),
    (r"authentication server", ("auth-url",)),
    (r"mirror", ("mirror-*",)),
    (r"connections of each client", ("limit-connections",)),
    (r"how fast", ("limit-rate*",)),
    (r"exempt|rate", ("limit-whitelist", "limit-rps", "limit-rpm")),
    (r"error pages", ("custom-http-errors",)),
    (r"tried again", ("proxy-next-upstream",)),
    (r"latency|take turns", ("load-balance", "upstream-hash-by")),
    (r"pass through", ("ssl-passthrough",)),
    (r"ciphers", ("ssl-ciphers", "proxy-ssl-ciphers")),
    (r"FastCGI", ("backend-protocol",)),
    (r"show certificates", ("auth-tls-secret",)),
)
"""The first whose words are in the sentence names the annotations that may have asked for it."""


def remarks(lacks: Iterable[tuple[str, str]]) -> Iterator[Remark]:
    """`lacks` are (source, sentence). What the front door lacks (source '') no Ingress has asked for."""
    for source, sentence in lacks:
        lost = bool(source) and LOST.search(sentence) is not None
        words = f"{source}: {sentence}" if source.startswith(("service ", "secret ")) else sentence
        asked = next((names for pattern, names in ASKED if re.search(pattern, sentence)), ())
        yield Remark(
            source,
            Mark.CANNOT if lost else Mark.CHANGES,
            words,
            "take the other class, or do without" if lost else "",
            asked,
        )
