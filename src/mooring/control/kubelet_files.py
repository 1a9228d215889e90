"""How do a pod's ConfigMap, Secret, downward-API and token files come to be, and stay true while it runs?"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from msgspec import structs

from mooring.control.kubelet_objects import HeldToken, Objects, Reference, request_token
from mooring.control.kubelet_wishes import NodeView
from mooring.model.pod import Pod
from mooring.pods import volumes
from mooring.pods.observed import PodSeen
from mooring.pods.restart import INITIAL
from mooring.pods.sources import Facts, Missing, references
from mooring.pods.volumes import Token
from mooring.ports.api import Api, ApiUnavailable
from mooring.ports.pods import Volumes

Document = dict[str, Any]
log = structlog.get_logger("kubelet")


class PodFiles:
    """One pod's 'files' volumes. `stale`: what the pod names is not written yet; `changed()` is called when that begins."""

    def __init__(self, api: Api, objects: Objects, port: Volumes, changed: Callable[[], None]) -> None:
        self.api, self.objects, self.port, self.changed = api, objects, port, changed
        self.stale = True
        self._tokens: dict[Token, HeldToken] = {}

    def spoil(self) -> None:
        """Something that the files show is new."""
        self.stale = True
        self.changed()

    async def facts(self, pod: Pod, seen: PodSeen | None, node: NodeView, *, services: bool = False) -> Facts:
        """What the pod's environment and files draw on now. Raises ApiUnavailable when Services cannot be listed."""
        held: set[Reference] = {(kind, pod.metadata.namespace, name) for kind, name in references(pod)}
        await self.objects.hold(pod.uid, held, self.spoil)
        return Facts(
            node_name=node.name,
            host_ips=node.addresses,
            pod_ips=seen.ips if seen else (),
            objects=self.objects.documents(held),
            services=await self.objects.services(pod) if services else (),
            allocatable=node.allocatable,
        )

    async def write(self, pod: Pod, seen: PodSeen, node: NodeView, *, first: bool) -> None:
        """Writes all volumes if anything changed or a token grew old.

        Raises Missing at `first` only: an object deleted under a running pod leaves its last content, as upstream does.
        RuntimeFailure when the sandbox has gone.
        """
        now = datetime.now(UTC)
        due = {token for token, held in self._tokens.items() if held.renew_at <= now}
        if not self.stale and not due:
            return
        facts = await self.facts(pod, seen, node)
        self.stale = False
        group = pod.spec.security_context.fs_group if pod.spec.security_context else None
        for volume in pod.spec.volumes or ():
            if any(volume.get(kind) is not None for kind in volumes.FILES):
                try:
                    await self._write(pod, volume, facts, due, group)
                except Missing as error:
                    self.stale = self.stale or first  # Meanwhile something else may have changed.
                    text = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                    if first:
                        raise Missing(text) from error
                    log.info("volume not refreshed", pod=pod.key, error=text)

    async def _write(self, pod: Pod, volume: Document, facts: Facts, due: set[Token], group: int | None) -> None:
        await self._fetch_tokens(pod, volume["name"], due)
        files = volumes.files(pod, volume, facts, {token: held.text for token, held in self._tokens.items()})
        await self.port.write(pod.uid, volume["name"], files, group)

    async def _fetch_tokens(self, pod: Pod, volume: str, due: set[Token]) -> None:
        wanted = [one for one in volumes.tokens(pod) if one.volume == volume and (one not in self._tokens or one in due)]
        for token in wanted:
            try:
                self._tokens[token] = await request_token(self.api, pod, token)
            except (Missing, ApiUnavailable):
                if token not in self._tokens:
                    raise
                self._tokens[token] = structs.replace(self._tokens[token], renew_at=datetime.now(UTC) + INITIAL)

    @property
    def renewal(self) -> datetime | None:
        """When a token must next be renewed."""
        return min((held.renew_at for held in self._tokens.values()), default=None)

    async def release(self, uid: str) -> None:
        """The pod is no longer this agent's; should it be again, nothing is known of its files."""
        self.stale = True
        await asyncio.shield(self.objects.release(uid))
