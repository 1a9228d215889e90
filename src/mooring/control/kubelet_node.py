"""How does a node stay known? It registers, renews its lease, and writes its status when that changes or grows old."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from mooring.control.kubelet_watch import Follower
from mooring.model.kinds import LEASE, NODE
from mooring.pods.node import LEASE_NAMESPACE, LEASE_SECONDS, HostFacts, NodeIdentity, differs, labels, lease, node_status
from mooring.ports.api import Api, ApiError, ApiUnavailable
from mooring.ports.pods import Images

Document = dict[str, Any]
log = structlog.get_logger("kubelet")
_STATUS_AGE = 300.0
"""Seconds after which an unchanged status is written again."""
_RETRY = 1.0
_NO_NETWORK = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Node.spec.podCIDRs is not set"
)


class NodeReporter:
    """This node's object. `pod_cidrs` are known once `ready` is set."""

    def __init__(self, api: Api, identity: NodeIdentity, facts: HostFacts, images: Images) -> None:
        self.api, self.identity, self.facts, self.images = api, identity, facts, images
        self.document: Document = {}
        self.ready = asyncio.Event()
        self._changed = asyncio.Event()
        self._registered = asyncio.Event()
        self.follower = Follower(api, NODE, self._seen, fields=f"metadata.name={identity.name}")

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        spec = self.document.get("spec") or {}
        return tuple(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))

    @property
    def allocatable(self) -> dict[str, str]:
        return (self.document.get("status") or {}).get("allocatable") or {}

    @property
    def labels(self) -> dict[str, str]:
        return (self.document.get("metadata") or {}).get("labels") or {}

    def _seen(self, _uid: str, document: Document | None) -> None:
        if document is None:
            self._registered.clear()
            self.document = {}
        else:
            self.document = document
            if self.pod_cidrs:
                self.ready.set()
        self._changed.set()

    def _believe(self, answer: Document) -> None:
        """What a write was answered, unless the watch has told of something later meanwhile: it will not tell of it again."""
        if _revision(answer) > _revision(self.document):
            self.document = answer

    async def run(self, started: Callable[[], None]) -> None:
        """Until cancelled. `started` is called once, when the node is registered."""
        async with asyncio.TaskGroup() as tasks:
            await _until_done(self._register, "registering the node")
            started()
            tasks.create_task(self.follower.run())
            tasks.create_task(self._keep_lease())
            tasks.create_task(self._keep_status())

    async def _register(self) -> None:
        """Creates the Node, or brings an existing one's labels up to date."""
        name = self.identity.name
        meta = {"name": name, "labels": labels(self.identity, self.facts)}
        status = node_status(self.identity, self.facts, self._images(), (False, _NO_NETWORK), {}, datetime.now(UTC))
        try:
            document = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {}, "status": status}
            self._believe(await self.api.write("create", NODE, "", name, document))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            self._believe(await self.api.write("patch", NODE, "", name, {"metadata": {"labels": meta["labels"]}}))
        self._registered.set()
        if self.pod_cidrs:
            self.ready.set()

    async def _keep_status(self) -> None:
        written = 0.0
        while True:
            self._changed.clear()
            if not self._registered.is_set():
                await _until_done(self._register, "registering the node")
            before = self.document.get("status") or {}
            ready = (bool(self.pod_cidrs), _NO_NETWORK)
            after = node_status(self.identity, self.facts, self._images(), ready, before, datetime.now(UTC))
            now = asyncio.get_running_loop().time()
            if differs(before, after) or now - written > _STATUS_AGE:
                try:
                    # Addresses merge by type, of which a dual-stack node has one twice: they are replaced as a whole.
                    patch = {**after, "addresses": [{"$patch": "replace"}, *after["addresses"]]}
                    answer = await self.api.write(
                        "patch", NODE, "", self.identity.name, {"status": patch}, subresource="status",
                        patch_type="application/strategic-merge-patch+json",
                    )  # fmt: skip
                    self._believe(answer)
                    written = now
                except (ApiError, ApiUnavailable) as error:
                    log.warning("node status not written", error=str(error))
                    await asyncio.sleep(_RETRY)
                    continue
            try:
                async with asyncio.timeout(_STATUS_AGE):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _keep_lease(self) -> None:
        while True:
            await _until_done(self._renew, "renewing the lease")
            await asyncio.sleep(LEASE_SECONDS / 4)

    async def _renew(self) -> None:
        name = self.identity.name
        wanted = lease(name, self.document.get("metadata", {}).get("uid", ""), datetime.now(UTC))
        try:
            await self.api.write("patch", LEASE, LEASE_NAMESPACE, name, {"spec": wanted["spec"]})
        except ApiError as error:
            if error.code != 404:
                raise
            await self.api.write("create", LEASE, LEASE_NAMESPACE, name, wanted)

    def _images(self) -> list[tuple[str, str]]:
        return [(image.name, image.id) for image in self.images.all()]


def _revision(document: Document) -> int:
    return int((document.get("metadata") or {}).get("resourceVersion") or 0)


async def _until_done(act: Callable[[], Any], what: str) -> None:
    """Tries every second: nothing else makes sense before it has worked. Says why, once for each reason."""
    said = ""
    while True:
        try:
            await act()
            return
        except (ApiError, ApiUnavailable) as error:
            if str(error) != said:
                said = str(error)
                log.warning("trying again", doing=what, error=said)
            await asyncio.sleep(_RETRY)
