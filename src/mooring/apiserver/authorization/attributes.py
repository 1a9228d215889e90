"""What is asked for, as an authorizer sees it?"""

from msgspec import Struct

from mooring.apiserver.contract import Request, User
from mooring.apiserver.errors import StatusError
from mooring.apiserver.paths import Target
from mooring.apiserver.selectors import field_terms


class Attributes(Struct, frozen=True):
    """A request to a resource, or to another path when `resource` is ''. `verb` is lower case; for other paths the method."""

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def combined(self) -> str:
        """The resource as rules name it: 'pods', 'pods/log'."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def of_request(request: Request, target: Target | None, verb: str) -> Attributes:
    """As upstream's RequestInfo: a list or watch of one name (fieldSelector=metadata.name=x) is a request for that name."""
    if target is None:
        return Attributes(request.user, request.method.lower(), path=request.path)
    kind, name = target.kind, target.name
    namespace = target.namespace
    if kind.plural == "namespaces" and not kind.group and name:
        namespace = name
    if not name and verb in ("list", "watch", "deletecollection"):
        name = _selected_name(request)
    where = kind.group, kind.version, kind.plural, target.subresource, namespace, name
    return Attributes(request.user, verb, *where, request.path)


def _selected_name(request: Request) -> str:
    """That of the first selector, which is the one that selects; '' when it is none, as the handler will say."""
    selector = next((value for key, value in request.query if key == "fieldSelector"), "")
    if "metadata.name" not in selector:
        return ""
    try:
        return next((wanted for label, wanted, equal in field_terms(selector) if label == "metadata.name" and equal), "")
    except StatusError:
        return ""
