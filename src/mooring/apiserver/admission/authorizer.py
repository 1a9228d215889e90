"""What does the `authorizer` of an expression answer? What the server itself would, were the request made."""

from typing import Any

from mooring.apiserver import access
from mooring.apiserver.authorization.attributes import Attributes
from mooring.apiserver.cel.environment import Check
from mooring.apiserver.contract import User
from mooring.apiserver.selectors import pinned
from mooring.store.snapshot import Snapshot

Document = dict[str, Any]


def authorizer(request: Document) -> Document:
    """Of the user of an AdmissionRequest, with what is asked for as `requestResource`."""
    from mooring.apiserver.cel.libraries import authz  # with the rest of what cel/environment.py loads late

    user, resource = request["userInfo"], request["requestResource"]
    more = {
        name: request.get(written, "")
        for name, written in (("subresource", "requestSubResource"), ("namespace", "namespace"), ("name", "name"))
    }
    check = authz.resource_check(user, resource["group"], resource["resource"], **more)
    return {**authz.authorizer(user), "requestResource": check}


def check_in(snapshot: Snapshot) -> Check:
    """Decides by the state of a snapshot."""
    from mooring.apiserver.cel.libraries import authz

    def check(asked: Document, verb: str) -> Document:
        verdict = access.authorize(_attributes(asked, verb), snapshot)
        return authz.decision(verdict.allowed, verdict.reason)

    return check


def _attributes(asked: Document, verb: str) -> Attributes:
    shown = asked["user"]
    user = User(shown.get("username", ""), tuple(shown.get("groups") or ()), shown.get("uid") or "")
    if "group" not in asked:
        return Attributes(user, verb, path=asked["value"])
    return Attributes(
        user, verb, asked["group"], "*", asked["value"], asked.get("subresource", ""), asked.get("namespace", ""),
        asked.get("name", ""), fields=pinned(asked.get("fieldSelector", "")),
    )  # fmt: skip
