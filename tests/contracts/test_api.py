"""What must every Api do? One class of tests, on the server's core in memory and on the real server over HTTPS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from mooring.edges.memory.api import MemoryApi
from mooring.model.kinds import CONFIG_MAP, NAMESPACE, POD, SERVICE
from mooring.ports.api import Api, ApiError, WatchEvent
from mooring.testing.api_server import real_server


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "labels": {"test": "contract"}}, "data": data}


async def take(api: Api, revision: str, count: int, **where: str) -> list[WatchEvent]:
    """The first events of a watch that are no bookmarks."""
    events: list[WatchEvent] = []
    async with asyncio.timeout(60), aclosing(api.watch(CONFIG_MAP, revision, "default", **where)) as watch:  # type: ignore[type-var]
        async for event in watch:
            if event.type != "BOOKMARK":
                events.append(event)
            if len(events) == count:
                break
    return events


@pytest.fixture(params=["memory", "https"])
async def api(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Api]:
    if request.param == "memory":
        memory = MemoryApi()
        await memory.write("create", NAMESPACE, "", "default", {"metadata": {"name": "default"}})
        yield memory
        return
    async with real_server(tmp_path) as client:
        yield client


class TestApi:
    async def test_what_is_created_can_be_read(self, api: Api) -> None:
        created = await api.write("create", CONFIG_MAP, "default", "", config_map("a", v="1"))
        read = await api.get(CONFIG_MAP, "default", "a")
        assert read == created
        assert read["metadata"]["uid"]
        assert int(read["metadata"]["resourceVersion"]) > 0

    async def test_a_name_can_be_generated(self, api: Api) -> None:
        document = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": "made-"}}
        created = await api.write("create", CONFIG_MAP, "default", "", document)
        assert created["metadata"]["name"].startswith("made-")
        assert len(created["metadata"]["name"]) == len("made-") + 5

    @pytest.mark.parametrize(
        ("verb", "name", "body", "code", "reason"),
        [
            pytest.param("create", "", config_map("a"), 409, "AlreadyExists", id="creating what is there"),
            pytest.param("update", "b", config_map("b"), 404, "NotFound", id="updating what is not"),
            pytest.param("patch", "b", {}, 404, "NotFound", id="patching what is not"),
            pytest.param("delete", "b", None, 404, "NotFound", id="deleting what is not"),
            pytest.param("create", "", config_map("Not A Name"), 422, "Invalid", id="a name that is none"),
            pytest.param("create", "", {"kind": "Secret", "apiVersion": "v1"}, 400, "BadRequest", id="another kind"),
        ],
    )
    async def test_a_refusal_carries_code_and_reason(
        self, api: Api, verb: Any, name: str, body: Any, code: int, reason: str
    ) -> None:
        await api.write("create", CONFIG_MAP, "default", "", config_map("a"))
        with pytest.raises(ApiError) as caught:
            await api.write(verb, CONFIG_MAP, "default", name, body)
        assert (caught.value.code, caught.value.reason) == (code, reason)
        assert caught.value.message

    async def test_reading_what_is_not_there_is_not_found(self, api: Api) -> None:
        with pytest.raises(ApiError, match='configmaps "a" not found') as caught:
            await api.get(CONFIG_MAP, "default", "a")
        assert caught.value.code == 404

    async def test_an_update_of_an_old_version_is_a_conflict(self, api: Api) -> None:
        first = await api.write("create", CONFIG_MAP, "default", "", config_map("a", v="1"))
        await api.write("update", CONFIG_MAP, "default", "a", {**first, "data": {"v": "2"}})
        with pytest.raises(ApiError) as caught:
            await api.write("update", CONFIG_MAP, "default", "a", {**first, "data": {"v": "3"}})
        assert (caught.value.code, caught.value.reason) == (409, "Conflict")
        assert (await api.get(CONFIG_MAP, "default", "a"))["data"] == {"v": "2"}

    @pytest.mark.parametrize(
        ("patch_type", "patch"),
        [
            pytest.param("application/merge-patch+json", {"data": {"v": None, "w": "2"}}, id="merge"),
            pytest.param("application/strategic-merge-patch+json", {"data": {"v": None, "w": "2"}}, id="strategic"),
            pytest.param(
                "application/json-patch+json",
                [{"op": "remove", "path": "/data/v"}, {"op": "add", "path": "/data/w", "value": "2"}],
                id="json",
            ),
        ],
    )
    async def test_patches(self, api: Api, patch_type: str, patch: Any) -> None:
        await api.write("create", CONFIG_MAP, "default", "", config_map("a", v="1"))
        patched = await api.write("patch", CONFIG_MAP, "default", "a", patch, patch_type=patch_type)
        assert patched["data"] == {"w": "2"}

    async def test_a_status_is_written_apart_from_the_spec(self, api: Api) -> None:
        spec = {"ports": [{"port": 80}], "type": "LoadBalancer"}
        service = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "web"}, "spec": spec}
        await api.write("create", SERVICE, "default", "", service)
        status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}, "spec": {"type": "ClusterIP"}}
        written = await api.write("patch", SERVICE, "default", "web", status, subresource="status")
        assert written["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.1"
        assert written["spec"]["type"] == "LoadBalancer"

    async def test_a_pod_is_bound_to_its_node(self, api: Api) -> None:
        spec = {"containers": [{"name": "c", "image": "echo"}]}
        pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": spec}
        await api.write("create", POD, "default", "", pod)
        target = {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
        await api.write("create", POD, "default", "p", target, subresource="binding")
        assert (await api.get(POD, "default", "p"))["spec"]["nodeName"] == "n"

    async def test_a_deletion_has_preconditions(self, api: Api) -> None:
        await api.write("create", CONFIG_MAP, "default", "", config_map("a"))
        with pytest.raises(ApiError) as caught:
            await api.write("delete", CONFIG_MAP, "default", "a", {"preconditions": {"uid": "another"}})
        assert caught.value.code == 409
        await api.write("delete", CONFIG_MAP, "default", "a")

    async def test_a_list_follows_its_pages_to_the_end(self, api: Api) -> None:
        for number in range(1, 1102, 100):
            names = [config_map(f"m{each}") for each in range(number, min(number + 100, 1102))]
            await asyncio.gather(*(api.write("create", CONFIG_MAP, "default", "", each) for each in names))
        listing = await api.list(CONFIG_MAP, "default", labels="test=contract")
        assert {f"m{number}" for number in range(1, 1102)} == {item["metadata"]["name"] for item in listing.items}
        assert {("ConfigMap", "v1")} == {(item["kind"], item["apiVersion"]) for item in listing.items}

    async def test_a_list_selects_by_label_and_field(self, api: Api) -> None:
        await api.write("create", CONFIG_MAP, "default", "", config_map("a"))
        await api.write("create", CONFIG_MAP, "default", "", {**config_map("b"), "metadata": {"name": "b"}})
        by_label = await api.list(CONFIG_MAP, labels="test=contract")
        by_field = await api.list(CONFIG_MAP, "default", fields="metadata.name=b")
        assert [item["metadata"]["name"] for item in by_label.items] == ["a"]
        assert [item["metadata"]["name"] for item in by_field.items] == ["b"]

    async def test_a_watch_tells_what_happened_after_a_list(self, api: Api) -> None:
        await api.write("create", CONFIG_MAP, "default", "", config_map("before"))
        listing = await api.list(CONFIG_MAP, "default")
        created = await api.write("create", CONFIG_MAP, "default", "", config_map("a", v="1"))
        changed = await api.write("patch", CONFIG_MAP, "default", "a", {"data": {"v": "2"}})
        await api.write("delete", CONFIG_MAP, "default", "a")
        events = await take(api, listing.resource_version, 3)
        assert [event.type for event in events] == ["ADDED", "MODIFIED", "DELETED"]
        assert [event.object for event in events[:2]] == [created, changed]
        assert int(events[2].object["metadata"]["resourceVersion"]) > int(changed["metadata"]["resourceVersion"])

    async def test_a_watch_waits_for_what_has_not_happened_yet(self, api: Api) -> None:
        listing = await api.list(CONFIG_MAP, "default")
        waiting = asyncio.create_task(take(api, listing.resource_version, 1, labels="test=contract"))
        await api.write("create", CONFIG_MAP, "default", "", {**config_map("b"), "metadata": {"name": "b"}})
        await api.write("create", CONFIG_MAP, "default", "", config_map("a"))
        assert [event.object["metadata"]["name"] for event in await waiting] == ["a"]

    async def test_a_watch_from_a_revision_to_come_is_refused(self, api: Api) -> None:
        with pytest.raises(ApiError) as caught:
            await take(api, "1000000000", 1)
        assert caught.value.code in (410, 504)
