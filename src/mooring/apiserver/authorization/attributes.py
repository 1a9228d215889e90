"""What is asked for, as an authorizer sees it?"""

from msgspec import Struct

from mooring.apiserver.contract import Request, User
from mooring.apiserver.paths import Target
from mooring.apiserver.selectors import pinned


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
    fields: tuple[tuple[str, str], ...] = ()
    """What a list, watch or deletecollection of many is confined to by its field selector: (field, value)."""

    @property
    def combined(self) -> str:
        """The resource as rules name it: 'pods', 'pods/log'."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def of_request(request: Request, target: Target | None, verb: str) -> Attributes:
    """As upstream's RequestInfo: a list or watch of one name (fieldSelector=metadata.name=x) is a request for that name.

    Of several selectors the first counts, as for who answers the request.
    """
    if target is None:
        return Attributes(request.user, request.method.lower(), path=request.path)
    kind, name = target.kind, target.name
    namespace = target.namespace
    if kind.plural == "namespaces" and not kind.group and name:
        namespace = name
    fields: tuple[tuple[str, str], ...] = ()
    if not name and request.query and verb in ("list", "watch", "deletecollection"):
        fields = pinned(next((value for key, value in request.query if key == "fieldSelector"), ""))
        name = next((value for field, value in fields if field == "metadata.name"), "")
    where = kind.group, kind.version, kind.plural, target.subresource, namespace, name
    return Attributes(request.user, verb, *where, request.path, fields)
