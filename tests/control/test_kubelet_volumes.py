"""The node's side of volumes: what is provisioned and removed, never outside of its folder; what a pod may mount."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from volume_documents import STANDARD, claim, storage_class, using, volume
from workloads import document

from mooring.apiserver.authorization import bootstrap
from mooring.apiserver.contract import Env, Settings, User
from mooring.app.roles.controllers import Controllers
from mooring.control.kubelet_volumes import FINALIZER, Host, VolumeKeeper, at_home, provisioned, volumes_of
from mooring.control.reconcilers.persistent_volumes import PersistentVolumes
from mooring.control.reconcilers.scheduler import Scheduler
from mooring.control.recorder import Recorder
from mooring.control.volume_matching import PROVISIONED_BY, PROVISIONER
from mooring.edges.memory.api import MemoryApi
from mooring.edges.pods.directories import VolumeDirectories
from mooring.model.kinds import (
    CORE_EVENT,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    STORAGE_CLASS,
    Kind,
)
from mooring.model.pod import pod as pod_view
from mooring.pods.sources import Missing
from mooring.pods.volumes import backing
from mooring.ports.api import ApiError
from mooring.ports.pods import RuntimeFailure

Document = dict[str, Any]
MINE = {"annotations": {PROVISIONED_BY: PROVISIONER}, "finalizers": [FINALIZER]}


# The folder -------------------------------------------------------------------------------------------------------------


async def test_a_directory_is_open_to_every_user_and_closed_to_the_host(tmp_path):
    directories = VolumeDirectories(tmp_path / "volumes")
    path = tmp_path / "volumes" / "pvc-1"
    assert await directories.make("pvc-1") == str(path)
    assert (path.stat().st_mode & 0o7777, path.parent.stat().st_mode & 0o7777) == (0o777, 0o700)


async def test_making_it_again_keeps_what_is_in_it(tmp_path):
    directories = VolumeDirectories(tmp_path)
    path = Path(await directories.make("pvc-1"))
    (path / "file").write_text("kept")
    assert await directories.make("pvc-1") == str(path)
    assert (path / "file").read_text() == "kept"


async def test_it_goes_with_all_that_is_in_it_and_with_nothing_that_it_points_to(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    directories, path = VolumeDirectories(tmp_path / "volumes"), tmp_path / "volumes" / "pvc-1"
    await directories.make("pvc-1")
    (path / "link").symlink_to(outside)
    (path / "deep" / "er").mkdir(parents=True)
    await directories.remove("pvc-1", str(path))
    await directories.remove("pvc-1", str(path))
    assert not path.exists()
    assert (outside / "precious").read_text() == "kept"


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../outside", "a/../../outside", "/etc", ".hidden", "UPPER", "a" * 254, "a\0b", "a..b"]
)
async def test_no_name_leads_out_of_the_folder(tmp_path, name):
    (tmp_path / "outside").mkdir()
    directories = VolumeDirectories(tmp_path / "volumes")
    await directories.make("pvc-1")
    for attempt in (directories.make(name), directories.remove(name, str(tmp_path / "volumes" / name))):
        with pytest.raises(RuntimeFailure):
            await attempt
    assert sorted(each.name for each in tmp_path.iterdir()) == ["outside", "volumes"]
    assert [each.name for each in (tmp_path / "volumes").iterdir()] == ["pvc-1"]


async def test_a_path_that_was_not_made_for_the_volume_is_not_removed(tmp_path):
    (tmp_path / "precious").mkdir()
    directories = VolumeDirectories(tmp_path / "volumes")
    with pytest.raises(RuntimeFailure, match="is not the directory made for it"):
        await directories.remove("pvc-1", str(tmp_path / "precious"))
    assert (tmp_path / "precious").exists()


async def test_a_link_in_a_volumes_place_is_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    directories = VolumeDirectories(tmp_path / "volumes")
    await directories.make("pvc-1")
    os.rmdir(tmp_path / "volumes" / "pvc-1")
    (tmp_path / "volumes" / "pvc-1").symlink_to(tmp_path / "precious")
    with pytest.raises(RuntimeFailure):
        await directories.remove("pvc-1", str(tmp_path / "volumes" / "pvc-1"))
    assert (tmp_path / "precious").exists()


# The keeper, with the controllers on the API's own core -----------------------------------------------------------------


class Node:
    """A node whose claims are kept, and the controllers that serve it."""

    def __init__(self, api: MemoryApi, root: Path) -> None:
        self.api, self.root = api, root

    async def create(self, kind: Kind, given: Document) -> Document:
        metadata = {name: value for name, value in given["metadata"].items() if name != "uid"}
        namespace = "default" if kind.namespaced else ""
        return await self.api.write("create", kind, namespace, "", {**given, "metadata": metadata})

    async def get(self, kind: Kind, name: str) -> Document | None:
        try:
            return await self.api.get(kind, "default" if kind.namespaced else "", name)
        except ApiError:
            return None

    async def events(self, name: str) -> list[str]:
        found = (await self.api.list(CORE_EVENT, "default", fields=f"involvedObject.name={name}")).items
        return [f"{each['reason']} {each['message']}" for each in found]

    def directories(self) -> list[str]:
        return sorted(each.name for each in self.root.iterdir()) if self.root.exists() else []


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(60):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
        return found


@contextlib.asynccontextmanager
async def a_node(root: Path) -> AsyncIterator[Node]:
    api = MemoryApi()
    made = Node(api, root)
    await api.write("create", NAMESPACE, "", "", {"metadata": {"name": "default"}})
    await made.create(NODE, document(NODE, "a", metadata={"labels": {"kubernetes.io/hostname": "a"}}))
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    await api.write("patch", NODE, "", "a", {"status": ready}, subresource="status")
    await made.create(STORAGE_CLASS, STANDARD)
    for txn in bootstrap.missing(api.store.snapshot, Env(datetime.now(UTC), Random(1), Settings())):
        await api.store.commit(txn)
    own = MemoryApi(api.store, user=User("system:node:a", ("system:nodes", "system:authenticated")))
    keeper = VolumeKeeper(own, "a", VolumeDirectories(root), Recorder(own, f"{PROVISIONER}_a", "a"))
    ruling = MemoryApi(api.store, user=User("system:kube-controller-manager", ("system:authenticated",)))
    controllers = Controllers(ruling, [PersistentVolumes(), Scheduler()], CollectorRegistry())
    tasks = [asyncio.create_task(controllers.run()), asyncio.create_task(keeper.run())]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def a_pod(name: str, *claims: str) -> Document:
    return document(POD, name, spec={"containers": [{"name": "main", "image": "echo:1"}], **using(*claims)})


async def phase(node: Node, name: str) -> str:
    found = await node.get(PERSISTENT_VOLUME_CLAIM, name)
    return found["status"]["phase"] if found else ""


async def placed(node: Node, name: str) -> bool:
    found = await node.get(POD, name)
    return bool(found and found["spec"].get("nodeName"))


async def test_a_claims_whole_life(tmp_path):
    """Waiting, provisioned for its first pod, shared with a second, kept while in use, and gone with its files."""
    root = tmp_path / "volumes"
    async with a_node(root) as node:
        await node.create(PERSISTENT_VOLUME_CLAIM, claim("data"))
        await until(lambda: node.events("data"))
        assert await node.events("data") == ["WaitForFirstConsumer waiting for first consumer to be created before binding"]
        assert node.directories() == []

        await node.create(POD, a_pod("first", "data"))
        await until(lambda: placed(node, "first"))
        held = await node.get(PERSISTENT_VOLUME_CLAIM, "data")
        assert held is not None
        name = f"pvc-{held['metadata']['uid']}"
        assert (held["status"]["phase"], held["spec"]["volumeName"], node.directories()) == ("Bound", name, [name])

        async def told() -> bool:
            return f"ProvisioningSucceeded Successfully provisioned volume {name}" in await node.events("data")

        await until(told)
        first = await node.get(POD, "first")
        assert first is not None
        assert "nominatedNodeName" not in first["status"]
        (root / name / "file").write_text("data")

        await node.create(POD, a_pod("second", "data"))
        await until(lambda: placed(node, "second"))
        await node.api.write("delete", PERSISTENT_VOLUME_CLAIM, "default", "data")
        for pod in ("first", "second"):
            assert (await node.get(PERSISTENT_VOLUME_CLAIM, "data")) is not None
            assert (root / name / "file").read_text() == "data"
            await node.api.write("delete", POD, "default", pod, {"gracePeriodSeconds": 0})

        async def gone() -> bool:
            return await node.get(PERSISTENT_VOLUME_CLAIM, "data") is None and await node.get(PERSISTENT_VOLUME, name) is None

        await until(gone)
        assert node.directories() == []


async def test_a_retained_volume_keeps_its_files_even_when_people_delete_it(tmp_path):
    root = tmp_path / "volumes"
    async with a_node(root) as node:
        await node.create(STORAGE_CLASS, storage_class("kept", mode="Immediate") | {"reclaimPolicy": "Retain"})
        await node.create(PERSISTENT_VOLUME_CLAIM, claim("data", "kept"))

        async def bound() -> bool:
            return await phase(node, "data") == "Bound"

        await until(bound)
        (name,) = node.directories()
        await node.api.write("delete", PERSISTENT_VOLUME_CLAIM, "default", "data")

        async def released() -> bool:
            found = await node.get(PERSISTENT_VOLUME, name)
            return bool(found and found["status"]["phase"] == "Released")

        await until(released)
        await node.api.write("delete", PERSISTENT_VOLUME, "", name)

        async def gone() -> bool:
            return await node.get(PERSISTENT_VOLUME, name) is None

        await until(gone)
        assert node.directories() == [name]


async def test_what_a_directory_cannot_be_is_refused_with_an_event(tmp_path):
    async with a_node(tmp_path / "volumes") as node:
        await node.create(STORAGE_CLASS, storage_class("now", mode="Immediate"))
        await node.create(PERSISTENT_VOLUME_CLAIM, claim("disk", "now", volumeMode="Block"))

        async def refused() -> bool:
            return any(each.startswith("ProvisioningFailed") for each in await node.events("disk"))

        await until(refused)
        words = 'failed to provision volume with StorageClass "now": raw block volumes are not supported'
        assert f"ProvisioningFailed {words}" in await node.events("disk")
        assert node.directories() == []


async def test_a_volume_that_only_pretends_to_be_ours_costs_nobody_a_file(tmp_path):
    """Somebody with access to the API makes one that names another directory, and lets it be reclaimed."""
    precious = tmp_path / "precious"
    precious.mkdir()
    async with a_node(tmp_path / "volumes") as node:
        spec = {"persistentVolumeReclaimPolicy": "Delete", "local": {"path": str(precious)}, "accessModes": ["ReadWriteOnce"]}
        false = volume("false", node="a", metadata=MINE, **spec)
        await node.create(PERSISTENT_VOLUME, false)
        await node.api.write("delete", PERSISTENT_VOLUME, "", "false")

        async def complained() -> bool:
            return any(each.startswith("VolumeFailedDelete") for each in await node.events("false"))

        await until(complained)
        assert precious.exists()
        assert await node.get(PERSISTENT_VOLUME, "false") is not None


def test_a_volume_is_at_home_on_its_node_alone():
    made = provisioned(claim("data"), STANDARD, "a", "/x")
    assert (at_home(made, "a"), at_home(made, "b")) == (True, False)
    assert not at_home(volume("v", node="a"), "a")


# Mounts -----------------------------------------------------------------------------------------------------------------


class Read:
    """An Api that has these objects."""

    def __init__(self, *documents: Document) -> None:
        self.documents = {(each["kind"], each["metadata"]["name"]): each for each in documents}

    async def get(self, kind: Kind, namespace: str, name: str) -> Document:
        try:
            return self.documents[kind.kind, name]
        except KeyError:
            raise ApiError(404, "NotFound", f'{kind.group_resource} "{name}" not found') from None


HERE = Host("a", {"kubernetes.io/hostname": "a"})


async def mounted(*documents: Document) -> dict[str, Document]:
    return await volumes_of(Read(*documents), pod_view(a_pod("p", "data")), HERE)  # type: ignore[arg-type]


async def test_a_bound_claim_is_mounted_from_its_volume():
    found = await mounted(claim("data", bound="v"), volume("v", node="a", claim="data"))
    pod = pod_view(a_pod("p", "data"))
    wish = backing(pod, {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}, found)
    assert (wish.backing, wish.path, wish.host_type) == ("host", "/srv/v", "local")


@pytest.mark.parametrize(
    ("documents", "why"),
    [
        ([], 'failed to fetch PVC from API server: persistentvolumeclaims "data" not found'),
        ([claim("data")], "PVC is not bound"),
        ([claim("data", bound="v", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})], "PVC is being deleted"),
        ([claim("data", bound="v")], 'failed to fetch PV v from API server: persistentvolumes "v" not found'),
        ([claim("data", bound="v"), volume("v", claim="other")], "PV v is not bound to the PVC"),
        ([claim("data", bound="v"), volume("v", node="b", claim="data")],
         'MountVolume.NodeAffinity check failed for volume "v"'),
    ],
)  # fmt: skip
async def test_a_pod_waits_for_its_claim_and_says_why(documents, why):
    with pytest.raises(Missing) as missing:
        await mounted(*documents)
    assert str(missing.value) == (
        "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process volumes=[data]: "
        f"error processing PVC default/data: {why}"
    )


async def test_a_volume_of_another_kind_has_no_plugin():
    found = await mounted(claim("data", bound="v"), volume("v", claim="data", local=None, nfs={"server": "s", "path": "/"}))
    with pytest.raises(Missing, match='volume "v": no volume plugin matched'):
        backing(pod_view(a_pod("p", "data")), {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}, found)
