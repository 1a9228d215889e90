"""How does everybody else learn with which options a node carries out Services? The agent writes them into its Node.

Defaults need no words: then the annotation is taken away. It is a courtesy to who reads (`mooring trace`, `explain`, `plan`):
an agent that may not write Nodes works all the same.
"""

import asyncio

import msgspec
import structlog

from mooring.control.informer import Informer
from mooring.model.kinds import NODE
from mooring.model.node import Node
from mooring.ports.api import Api, ApiError, ApiUnavailable
from mooring.services.locality import ANNOTATION, ProxyOptions, options_of

FIRST_PAUSE, LAST_PAUSE = 1.0, 300.0
"""Seconds between attempts, doubled each time."""

log = structlog.get_logger(__name__)


async def publish(api: Api, nodes: Informer[Node], name: str, options: ProxyOptions) -> None:
    """Keeps the annotation of the Node `name` true until cancelled. The informer is run by somebody else."""
    changed = asyncio.Event()
    undo = nodes.subscribe(lambda before, after: changed.set())
    told, pause = False, FIRST_PAUSE
    try:
        while True:
            await changed.wait()
            changed.clear()
            me = nodes.cache.get("", name)
            if me is None or _says(me) == options:
                continue
            try:
                await api.write("patch", NODE, "", name, {"metadata": {"annotations": {ANNOTATION: _text(options)}}})
            except (ApiError, ApiUnavailable) as error:
                if not told:
                    log.warning("others cannot read this node's proxy options", node=name, error=str(error))
                told = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE)
                changed.set()
            else:
                told, pause = False, FIRST_PAUSE
    finally:
        undo()


def _says(me: Node) -> ProxyOptions | None:
    """What the annotation says; None where it cannot be understood, or says needlessly what is the default."""
    try:
        said = options_of(me)
    except msgspec.DecodeError:
        return None
    return None if said == ProxyOptions() and ANNOTATION in (me.metadata.annotations or {}) else said


def _text(options: ProxyOptions) -> str | None:
    """None takes the annotation away."""
    return None if options == ProxyOptions() else msgspec.json.encode(options).decode()
