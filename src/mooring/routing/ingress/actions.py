"""What becomes of a request that a path of an Ingress matches? Its wishes in the RouteTable's words."""

import msgspec

from mooring.routing.finding import ObjectName
from mooring.routing.ingress.backends import Target
from mooring.routing.ingress.paths import is_challenge, rewrite
from mooring.routing.ingress.reading import Candidate
from mooring.routing.ingress.wishes import Wishes
from mooring.routing.table import CookieAffinity, ErrorPages, Filters, Forward, WeightedCluster


def forward(wishes: Wishes, path: str, patterns: bool, *to: WeightedCluster) -> Forward:
    """To these clusters. An affinity's cookie is for the path of its own rule unless it says otherwise, so that rules of a host
    do not overwrite each other's."""
    affinity: CookieAffinity | None = wishes.affinity
    if affinity is not None and not affinity.path:
        affinity = msgspec.structs.replace(affinity, path="/" if patterns else path)
    return Forward(to, affinity, wishes.hash_on)


def filters(wishes: Wishes, candidate: Candidate, about: ObjectName, pages: str) -> Filters:
    """All that is done on the way. `pages` is the cluster of the error pages, '' for none."""
    asks = not is_challenge(candidate.path)
    basic_auth = wishes.basic_auth if asks else None
    request_headers = wishes.request_headers
    if basic_auth is not None:
        # The password is the proxy's matter. A backend with passwords of its own would refuse it.
        gone = (*request_headers.remove, "authorization")
        request_headers = msgspec.structs.replace(request_headers, remove=gone)
    return Filters(
        access=wishes.access,
        rate=wishes.rate,
        basic_auth=basic_auth,
        external_auth=wishes.external_auth if asks else None,
        satisfy_any=wishes.satisfy_any,
        cors=wishes.cors,
        rewrite=None if candidate.is_default else rewrite(wishes, candidate.path),
        host=wishes.host,
        request_headers=request_headers,
        response_headers=wishes.response_headers,
        mirrors=(wishes.mirror,) if wishes.mirror else (),
        error_pages=_error_pages(wishes, candidate.target, about, pages),
    )


def _error_pages(wishes: Wishes, target: Target | None, about: ObjectName, cluster: str) -> ErrorPages | None:
    if not wishes.error_statuses or not cluster:
        return None
    headers = [("x-namespace", about.namespace), ("x-ingress-name", about.name)]
    if target is not None:
        headers += [("x-service-name", target.service), ("x-service-port", str(target.port))]
    return ErrorPages(wishes.error_statuses, cluster, tuple(headers))
