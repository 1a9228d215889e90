"""How does a pod's status reach the API server? The latest wish, as soon as the one before has been written."""

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
_ANOTHER = "UID in precondition"
"""In a Conflict that says that the pod of this name is another one; others say that somebody else wrote first."""


class StatusWriter:
    """One pod's status. `written` is what the server has, as far as is known; `gone()` is called when it has no such pod."""

    def __init__(self, api: Api, pod: Pod, gone: Callable[[], None]) -> None:
        self.api, self.gone = api, gone
        self.namespace, self.name, self.uid = pod.metadata.namespace, pod.metadata.name, pod.uid
        self.written: Document = pod.status
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

    async def flushed(self) -> None:
        """Returns when nothing is left to write."""
        await self._idle.wait()

    async def run(self) -> None:
        """Until cancelled."""
        wait = _FIRST_WAIT
        while True:
            await self._wake.wait()
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
            else:
                self._wake.set()

    async def _write(self, status: Document) -> None:
        """Raises ApiUnavailable, and ApiError where it is to be tried again."""
        body = {"metadata": {"uid": self.uid}, "status": _replacing(self.written, status)}
        try:
            await self.api.write(
                "patch", POD, self.namespace, self.name, body, subresource="status",
                patch_type="application/strategic-merge-patch+json",
            )  # fmt: skip
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
