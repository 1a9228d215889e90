"""What do the pods of this node draw on? The ConfigMaps and Secrets they name, followed one by one; tokens; Services.

A kubelet reads only what its pods name, so that a node never holds other nodes' secrets.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from mooring.control.kubelet_watch import Follower
from mooring.model.kinds import CONFIG_MAP, SECRET, SERVICE, SERVICE_ACCOUNT
from mooring.model.pod import Pod
from mooring.pods.sources import Missing
from mooring.pods.volumes import Token
from mooring.ports.api import Api, ApiError

Document = dict[str, Any]
Reference = tuple[str, str, str]
"""('ConfigMap' or 'Secret', namespace, name)."""
_KINDS = {"ConfigMap": CONFIG_MAP, "Secret": SECRET}


class _Followed:
    def __init__(self, follower: Follower, task: asyncio.Task[None]) -> None:
        self.follower, self.task = follower, task
        self.holders: dict[str, Callable[[], None]] = {}


class Objects:
    """`services(namespace)`, when given, answers from an informer; otherwise the API is asked at each container's start."""

    def __init__(self, api: Api, tasks: asyncio.TaskGroup, services: Callable[[str], list[Document]] | None = None) -> None:
        self.api, self.tasks, self._services = api, tasks, services
        self._followed: dict[Reference, _Followed] = {}

    async def hold(self, uid: str, references: set[Reference], changed: Callable[[], None]) -> None:
        """Follows what a pod names, and lets go of what it no longer names. Returns when all of it has been asked for once.

        What may not be read counts as not there: with a pod that has gone meanwhile goes the right to its Secrets.
        """
        for reference, followed in list(self._followed.items()):
            if uid in followed.holders and reference not in references:
                del followed.holders[uid]
                if not followed.holders:
                    followed.task.cancel()
                    del self._followed[reference]
        for reference in references:
            followed = self._followed.get(reference) or self._follow(reference)
            followed.holders[uid] = changed
        for reference in references:
            await self._followed[reference].follower.answered.wait()

    async def release(self, uid: str) -> None:
        await self.hold(uid, set(), lambda: None)

    def _follow(self, reference: Reference) -> _Followed:
        kind, namespace, name = reference

        def changed(_uid: str, _document: Document | None) -> None:
            for tell in list(self._followed[reference].holders.values()):
                tell()

        follower = Follower(self.api, _KINDS[kind], changed, namespace=namespace, fields=f"metadata.name={name}")
        followed = _Followed(follower, self.tasks.create_task(follower.run(), name=f"follow {kind} {namespace}/{name}"))
        self._followed[reference] = followed
        return followed

    def documents(self, references: set[Reference]) -> Mapping[tuple[str, str], Document | None]:
        """(kind, name) to what is known of it; all of one namespace."""
        found: dict[tuple[str, str], Document | None] = {}
        for kind, namespace, name in references:
            followed = self._followed.get((kind, namespace, name))
            found[kind, name] = next(iter(followed.follower.objects.values()), None) if followed else None
        return found

    async def services(self, pod: Pod) -> tuple[Document, ...]:
        """The Services whose variables the pod's containers get: its namespace's, and default/kubernetes."""
        namespace = pod.metadata.namespace
        if self._services:
            found = self._services(namespace) if pod.spec.enable_service_links is not False else []
            masters = [one for one in self._services("default") if one["metadata"]["name"] == "kubernetes"]
        else:
            found = (await self.api.list(SERVICE, namespace)).items if pod.spec.enable_service_links is not False else []
            masters = (await self.api.list(SERVICE, "default", fields="metadata.name=kubernetes")).items
        return (*found, *masters)


class HeldToken(Struct, frozen=True):
    text: str
    renew_at: datetime
    """After four fifths of its life, or a day (pkg/kubelet/token)."""


async def request_token(api: Api, pod: Pod, token: Token) -> HeldToken:
    """A token of the pod's service account, bound to the pod. Raises Missing when the server refuses."""
    account = pod.spec.service_account_name or "default"
    spec: Document = {
        "expirationSeconds": token.seconds,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.uid},
        "audiences": [token.audience] if token.audience else [],
    }
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec}
    try:
        answer = await api.write("create", SERVICE_ACCOUNT, pod.metadata.namespace, account, body, subresource="token")
    except ApiError as error:
        raise Missing(f"failed to fetch token: {error.message}") from error
    now = datetime.now(UTC)
    expires = datetime.fromisoformat(answer["status"]["expirationTimestamp"])
    return HeldToken(answer["status"]["token"], min(now + (expires - now) * 0.8, now + timedelta(hours=24)))
