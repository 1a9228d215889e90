"""As whom does this request act? Impersonate-User and its companions, each of which must be allowed.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
"""

from urllib.parse import unquote

import msgspec

from mooring.apiserver import access, errors
from mooring.apiserver.authorization.attributes import Attributes
from mooring.apiserver.contract import ANONYMOUS, Request, User
from mooring.model.kinds import SERVICE_ACCOUNT, Kind
from mooring.store.snapshot import Snapshot

_USER, _GROUP, _UID, _EXTRA = "impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-"
_ANY = "impersonate-"
_AUTHENTICATION = "authentication.k8s.io"
_ACCOUNT = "system:serviceaccount:"


def effective(request: Request, snapshot: Snapshot) -> Request:
    """The request as that of the user whom it acts as. Raises StatusError 403, and 500 as upstream."""
    headers = request.headers
    if _ANY not in "\n".join(headers):
        return request
    name = headers.get(_USER, "")
    groups = tuple(filter(None, headers.get(_GROUP, "").split("\n")))
    uid = headers.get(_UID, "")
    told = {key.removeprefix(_EXTRA): value for key, value in headers.items() if key.startswith(_EXTRA)}
    extra = {unquote(key): tuple(value.split("\n")) for key, value in told.items()}
    if not name:
        if groups or uid or extra:
            raise errors.internal("requested impersonation without impersonating a user")
        return request
    _check_user(request.user, name, snapshot)
    for group in groups:
        _check(request.user, snapshot, "groups", "", group)
    for key, values in extra.items():
        for value in values:
            _check(request.user, snapshot, "userextras", _AUTHENTICATION, value, subresource=key)
    if uid:
        _check(request.user, snapshot, "uids", _AUTHENTICATION, uid)
    return msgspec.structs.replace(request, user=User(name, _all_groups(name, groups), uid, extra))


def _all_groups(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    if name.startswith(_ACCOUNT) and name.count(":") == 3 and not groups:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{name.split(':')[2]}")
    if {"system:authenticated", "system:unauthenticated"} & set(groups):
        return groups
    return (*groups, "system:unauthenticated" if name == ANONYMOUS.name else "system:authenticated")


def _check_user(user: User, name: str, snapshot: Snapshot) -> None:
    if name.startswith(_ACCOUNT) and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        _check(user, snapshot, SERVICE_ACCOUNT.plural, "", account, namespace)
    else:
        _check(user, snapshot, "users", "", name)


def _check(
    user: User, snapshot: Snapshot, plural: str, group: str, name: str, namespace: str = "", subresource: str = ""
) -> None:
    asked = Attributes(user, "impersonate", group, "v1" if group else "", plural, subresource, namespace, name)
    verdict = access.authorize(asked, snapshot)
    if verdict.allowed:
        return
    kind = Kind(group, "v1", plural, plural, plural.removesuffix("s"), bool(namespace))
    raise access.forbidden(asked, kind, verdict.reason)
