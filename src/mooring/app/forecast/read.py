"""What must be known of a cluster to foresee what becomes of it? Read through any API server, and made fit for a copy.

Secrets, ConfigMaps and service accounts are not read: nothing about addresses, names or packets depends on them.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_network

from mooring.apiserver.contract import Settings
from mooring.control.conditions import find
from mooring.control.reconciler import Document
from mooring.control.times import stamp
from mooring.model.kinds import (
    BY_KIND,
    CONTROLLER_REVISION,
    DAEMON_SET,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    ENDPOINTS,
    IP_ADDRESS,
    JOB,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    SERVICE,
    SERVICE_CIDR,
    STATEFUL_SET,
    STORAGE_CLASS,
    STORED,
    Kind,
)
from mooring.ports.api import Api, ApiError

READ = (
    NAMESPACE, NODE, POD, SERVICE, ENDPOINTS, ENDPOINT_SLICE, DEPLOYMENT, REPLICA_SET, SERVICE_CIDR, IP_ADDRESS,
    STATEFUL_SET, DAEMON_SET, JOB, CONTROLLER_REVISION, PERSISTENT_VOLUME_CLAIM, PERSISTENT_VOLUME, STORAGE_CLASS,
)  # fmt: skip
NEWER = frozenset({SERVICE_CIDR, IP_ADDRESS})
"""Servers before 1.33 may not have these."""
ALIVE = timedelta(days=30)
"""For so long the nodes that answer now are taken to go on answering."""


async def read(api: Api) -> list[Document]:
    """All objects of the kinds in READ. Raises ApiError, ApiUnavailable."""
    return [document for found in await asyncio.gather(*(_listed(api, kind) for kind in READ)) for document in found]


async def _listed(api: Api, kind: Kind) -> Sequence[Document]:
    try:
        return (await api.list(kind)).items
    except ApiError as error:
        if error.code == 404 and kind in NEWER:
            return ()
        raise


def copied(documents: Iterable[Document], now: datetime) -> Iterator[Document]:
    """The documents as the copy holds them: owners that were not read are taken to stay, and so are nodes that answer."""
    for document in documents:
        metadata = document["metadata"]
        if references := metadata.get("ownerReferences"):
            kept = [each for each in references if _is_read(each)]
            if len(kept) < len(references):
                metadata = {key: value for key, value in metadata.items() if key != "ownerReferences"}
                document = {**document, "metadata": metadata | ({"ownerReferences": kept} if kept else {})}
        yield _answering(document, now) if document["kind"] == NODE.kind else document


def _is_read(reference: Document) -> bool:
    """Of a kind that we know, the owner could be missed; all other kinds the garbage collector leaves alone."""
    kind = BY_KIND.get((reference.get("apiVersion", ""), reference.get("kind", "")))
    return kind not in STORED or kind in READ


def _answering(node: Document, now: datetime) -> Document:
    """A node is judged by its last heartbeat; one of whom it is not known whether it lives is left as it is."""
    status = node.get("status") or {}
    conditions = status.get("conditions") or []
    held = find(conditions, "Ready")
    if held is None or held["status"] == "Unknown":
        return node
    beating = {**held, "lastHeartbeatTime": stamp(now + ALIVE)}
    return {**node, "status": {**status, "conditions": [beating if each is held else each for each in conditions]}}


def settings_of(documents: Iterable[Document], node_ports: tuple[int, int] = Settings().node_port_range) -> Settings:
    """How the cluster's API server allocates, as far as its objects tell: the default ServiceCIDR, else the address of
    default/kubernetes, in a range of the usual size around it.
    """
    ranges: tuple[str, ...] = ()
    for document in documents:
        name = document["metadata"]["name"]
        if document["kind"] == SERVICE_CIDR.kind and name == "kubernetes":
            return Settings(service_cidrs=tuple(document["spec"]["cidrs"]), node_port_range=node_ports)
        if document["kind"] == SERVICE.kind and (document["metadata"]["namespace"], name) == ("default", "kubernetes"):
            addresses = document["spec"].get("clusterIPs") or [document["spec"].get("clusterIP")]
            ranges = tuple(str(ip_network(f"{each}/{108 if ':' in each else 12}", strict=False)) for each in addresses if each)
    return Settings(service_cidrs=ranges or Settings().service_cidrs, node_port_range=node_ports)
