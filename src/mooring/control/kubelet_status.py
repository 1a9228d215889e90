"""How does a pod's status reach the API server? The latest wish, as soon as the one before has been written.

Others write there too: who no longer hears of a node marks its pods not ready. Such a write is no longer true once the node is
back, and nobody but the node will take it back: what the server has is compared with what was written.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from mooring.model.kinds import POD
from mooring.model.pod import Pod
from mooring.pods.status import OWNED
from mooring.ports.api import Api, ApiError, ApiUnavailable

Document = dict[str, Any]
log = structlog.get_logger("kubelet")
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
_BETWEEN = 1.0
"""Seconds between two writes over somebody else's, who may be at it still."""
_ANOTHER = "UID in precondition"
"""In a Conflict that says that the pod of this name is another one; others say that somebody else wrote first."""


class StatusWriter:
    """One pod's status. `written` is what the server has, as far as is known; `gone()` is called when it has no such pod,
    `overruled()` when somebody else has changed what is ours."""

    def __init__(self, api: Api, pod: Pod, gone: Callable[[], None], overruled: Callable[[], None] = lambda: None) -> None:
        self.api, self.gone, self.overruled = api, gone, overruled
        self.namespace, self.name, self.uid = pod.metadata.namespace, pod.metadata.name, pod.uid
        self.written: Document = pod.status
        self._told, self._revision, self._held = pod, _revision(pod.metadata.resource_version), _own(pod.status)
        """The newest version from the watch; of our last write's answer the revision, and what is ours of its status."""
        self._again_at = 0.0
        self._wish: Document | None = None
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    @property
    def latest(self) -> Document:
        """What is or will be written."""
        return self._wish or self.written

    def wish(self, status: Document) -> None:
        if _own(status) != _own(self.latest):
            self._wish = status
            self._idle.clear()
            self._wake.set()

    def told(self, pod: Pod) -> None:
        """A version from the watch."""
        self._told = pod
        self._compare()

    def _compare(self) -> None:
        """While a write is under way it is too early: its answer will say which came first."""
        revision, own = _revision(self._told.metadata.resource_version), _own(self._told.status)
        if self._idle.is_set() and revision > self._revision and own != self._held:
            self.written, self._revision, self._held = self._told.status, revision, own
            loop = asyncio.get_running_loop()
            self._again_at = max(loop.time(), self._again_at + _BETWEEN)
            self.overruled()

    async def flushed(self) -> None:
        """Returns when nothing is left to write."""
        await self._idle.wait()

    async def run(self) -> None:
        """Until cancelled; what is not written then is left to the next run."""
        wait = _FIRST_WAIT
        if self._wish is not None:
            self._wake.set()
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._again_at - asyncio.get_running_loop().time())
            self._wake.clear()
            status = self._wish
            if status is None:
                continue
            try:
                await self._write(status)
            except Exception as error:
                if not isinstance(error, ApiUnavailable | ApiError):
                    log.exception("pod status not written", pod=f"{self.namespace}/{self.name}")
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
                self._wake.set()
                continue
            wait = _FIRST_WAIT
            if self._wish is status:
                self._wish = None
                self._idle.set()
                self._compare()
            else:
                self._wake.set()

    async def _write(self, status: Document) -> None:
        """Raises ApiUnavailable, and ApiError where it is to be tried again."""
        body = {"metadata": {"uid": self.uid}, "status": _replacing(self.written, status)}
        try:
            answer = await self.api.write(
                "patch", POD, self.namespace, self.name, body, subresource="status",
                patch_type="application/strategic-merge-patch+json",
            )  # fmt: skip
            version = (answer.get("metadata") or {}).get("resourceVersion")
            self._revision, self._held = _revision(version), _own(answer.get("status") or {})
        except ApiError as error:
            if gone(error):
                self.gone()
            elif error.code == 409 or error.passing:
                raise
            else:
                log.error("pod status refused", pod=f"{self.namespace}/{self.name}", message=error.message)
        self.written = status


def gone(error: ApiError) -> bool:
    """Whether the server says that there is no such pod, or another of its name."""
    return error.code == 404 or (error.code == 409 and _ANOTHER in error.message)


def _replacing(before: Document, after: Document) -> Document:
    """The patch. Conditions merge by type and addresses by ip, so what is no longer there must be named."""
    patch: Document = {key: None for key in ("reason", "message") if key in before}
    patch.update(after)
    patch["conditions"] = [{"reason": None, "message": None, **condition} for condition in after["conditions"]]
    told = {one["type"] for one in after["conditions"]}
    lost = {one.get("type") for one in before.get("conditions") or ()} & set(OWNED) - told
    patch["conditions"] += [{"type": kind, "$patch": "delete"} for kind in sorted(lost)]
    old = [entry["ip"] for entry in before.get("podIPs") or ()]
    new = [entry["ip"] for entry in after.get("podIPs") or ()]
    if old and old != new:
        patch["podIPs"] = [{"$patch": "replace"}, *after.get("podIPs", [])]
    return patch


def _revision(version: str | None) -> int:
    return int(version or 0)


def _own(status: Document) -> Document:
    conditions = {
        one["type"]: (one.get("status"), one.get("reason", ""), one.get("message", ""))
        for one in status.get("conditions") or ()
        if one.get("type") in OWNED
    }
    keys = (
        "phase", "reason", "message", "startTime", "hostIP", "hostIPs", "podIP", "podIPs", "qosClass", "observedGeneration",
        "containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses",
    )  # fmt: skip
    return {"conditions": conditions, **{key: status.get(key) or None for key in keys}}
