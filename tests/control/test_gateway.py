"""Does a gateway follow the API: tables, endpoints without tables, and the proxy's refusals as Events on their objects?"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from mooring.control import gateway
from mooring.control.gateway import Build, Gateway
from mooring.control.gateway_metrics import GatewayMetrics
from mooring.control.gateway_objects import GatewayObjects
from mooring.control.recorder import Recorder
from mooring.edges.memory.api import MemoryApi
from mooring.edges.memory.proxy import MemoryProxy, routes
from mooring.edges.memory.resolver import MemoryResolver
from mooring.model.kinds import (
    CONFIG_MAP,
    CORE_EVENT,
    ENDPOINT_SLICE,
    INGRESS,
    INGRESS_CLASS,
    NAMESPACE,
    SECRET,
    SERVICE,
)
from mooring.ports.api import Api, Document
from mooring.routing.ingress.build import build
from mooring.routing.ingress.objects import Objects, Translation
from mooring.routing.table import Fixed, Member
from mooring.testing.api_server import real_server

CLASS = "mooring-envoy"
DEADLINE = 60.0


def plain(objects: Objects, now: datetime) -> Translation:
    return build(objects, CLASS, now)


class Running:
    """A gateway on a memory proxy."""

    def __init__(self, api: Api, make: Build, names: MemoryResolver) -> None:
        self.api, self.proxy, self.registry, self.names = api, MemoryProxy(), CollectorRegistry(), names
        self.built = 0

        def counted(objects: Objects, now: datetime) -> Translation:
            self.built += 1
            return make(objects, now)

        recorder = Recorder(api, "mooring-gateway")
        metrics = GatewayMetrics(self.registry)
        self.gateway = Gateway(api, counted, self.proxy, recorder, metrics, self.names, hold_off=0.02)

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        end = asyncio.get_running_loop().time() + DEADLINE
        while not holds():
            assert asyncio.get_running_loop().time() < end, what
            self.proxy.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self.proxy.changed.wait()

    async def until_routes(self, *hosts: str) -> None:
        await self.until(lambda: set(hosts) == self.hosts(), f"{self.hosts()} never became {set(hosts)}")

    def hosts(self) -> set[str]:
        table = self.proxy.table
        listeners = table.listeners[:1] if table else ()
        return {name for each in listeners for host in each.chains[0].virtual_hosts for name in host.hosts}

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"mooring_gateway_{name}", labels)


@asynccontextmanager
async def running(api: Api, make: Build = plain, names: MemoryResolver | None = None) -> AsyncIterator[Running]:
    made = Running(api, make, names or MemoryResolver({}))
    task = asyncio.create_task(made.gateway.run())
    try:
        yield made
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def api() -> AsyncIterator[MemoryApi]:
    async with MemoryApi() as made:
        await made.write("create", NAMESPACE, "", "default", {"metadata": {"name": "default"}})
        await begin(made)
        yield made


async def begin(api: Api) -> None:
    spec = {"controller": "mooring.dev/envoy"}
    await api.write("create", INGRESS_CLASS, "", CLASS, {"metadata": {"name": CLASS}, "spec": spec})
    ports = [{"name": "http", "port": 80}]
    await api.write("create", SERVICE, "default", "web", {"metadata": {"name": "web"}, "spec": {"ports": ports}})


def ingress(name: str, host: str) -> Document:
    backend = {"service": {"name": "web", "port": {"name": "http"}}}
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {"metadata": {"name": name}, "spec": {"ingressClassName": CLASS, "rules": [rule]}}


def slice_of(*addresses: str, **conditions: bool) -> Document:
    endpoints = [{"addresses": [each], "conditions": {"ready": True, **conditions}} for each in addresses]
    labels = {"kubernetes.io/service-name": "web"}
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    return {"metadata": {"name": "web-1", "labels": labels}, "addressType": "IPv4", "endpoints": endpoints, "ports": ports}


async def test_a_gateway_follows_the_real_api(tmp_path: Path) -> None:
    async with real_server(tmp_path) as api, running(api) as made:
        assert "" != made.gateway.missing()
        await begin(api)
        await made.until(made.gateway.built.is_set, "no first table")
        assert "" == made.gateway.missing()
        await api.write("create", ENDPOINT_SLICE, "default", "web-1", slice_of("10.0.0.1"))
        await api.write("create", INGRESS, "default", "one", ingress("one", "one.example"))
        await made.until_routes("one.example")
        await made.until(lambda: [(Member("10.0.0.1", 8080),)] == list(made.proxy.members.values()), "no endpoint")
        await api.write("create", INGRESS, "default", "two", ingress("two", "two.example"))
        await made.until_routes("one.example", "two.example")
        await api.write("delete", INGRESS, "default", "one")
        await made.until_routes("two.example")


async def test_endpoints_change_without_a_table(api: MemoryApi) -> None:
    await api.write("create", ENDPOINT_SLICE, "default", "web-1", slice_of("10.0.0.1"))
    await api.write("create", INGRESS, "default", "one", ingress("one", "one.example"))
    async with running(api) as made:
        await made.until_routes("one.example")
        built, (name,) = made.built, made.proxy.members
        steps = [
            (slice_of("10.0.0.2", "10.0.0.1"), ("10.0.0.1", "10.0.0.2")),
            (slice_of("10.0.0.3", ready=False, serving=True, terminating=True), ("10.0.0.3",)),
            (slice_of("10.0.0.3", ready=False), ()),
        ]
        for document, addresses in steps:
            held = await api.get(ENDPOINT_SLICE, "default", "web-1")
            await api.write("update", ENDPOINT_SLICE, "default", "web-1", {**held, "endpoints": document["endpoints"]})
            expected = tuple(Member(each, 8080) for each in addresses)
            await made.until(lambda expected=expected: expected == made.proxy.members[name], f"never {addresses}")
        assert built == made.built
        assert 4 == made.metric("endpoint_updates_total")


async def test_while_there_are_none_a_name_stands_in_and_is_looked_up_again(api: MemoryApi, monkeypatch) -> None:
    """A default-backend of type ExternalName."""
    monkeypatch.setattr(gateway, "LOOK_UP", 0.02)
    spec = {"type": "ExternalName", "externalName": "far.example", "ports": [{"port": 81}]}
    await api.write("create", SERVICE, "default", "far", {"metadata": {"name": "far"}, "spec": spec})
    made_of = ingress("one", "one.example")
    made_of["metadata"]["annotations"] = {"nginx.ingress.kubernetes.io/default-backend": "far"}
    await api.write("create", INGRESS, "default", "one", made_of)
    async with running(api) as made:
        made.names.hosts["far.example"] = ("192.0.2.1",)

        async def until(*wanted: Member) -> None:
            await made.until(lambda: [wanted] == list(made.proxy.members.values()), f"never {wanted}")

        await until(Member("192.0.2.1", 81))
        made.names.hosts["far.example"] = ("192.0.2.2",)
        await until(Member("192.0.2.2", 81))
        await api.write("create", ENDPOINT_SLICE, "default", "web-1", slice_of("10.0.0.1"))
        await until(Member("10.0.0.1", 8080))


async def test_a_set_that_no_table_names_any_more_is_followed_for_the_last_requests(api: MemoryApi, monkeypatch) -> None:
    """Whose address another pod may have by the time that an upload has been read."""
    monkeypatch.setattr(gateway, "LOOK_UP", 0.02)
    monkeypatch.setattr(gateway, "LAST_REQUESTS", 3600.0)
    await api.write("create", ENDPOINT_SLICE, "default", "web-1", slice_of("10.0.0.1"))
    await api.write("create", INGRESS, "default", "one", ingress("one", "one.example"))

    async def moved(*addresses: str) -> None:
        held = await api.get(ENDPOINT_SLICE, "default", "web-1")
        await api.write("update", ENDPOINT_SLICE, "default", "web-1", {**held, "endpoints": slice_of(*addresses)["endpoints"]})

    async with running(api) as made:
        await made.until_routes("one.example")
        (name,) = made.proxy.members
        await api.write("delete", INGRESS, "default", "one")
        await made.until_routes()
        await moved("10.0.0.2")
        await made.until(lambda: (Member("10.0.0.2", 8080),) == made.proxy.members[name], "not followed")
        await moved()
        await made.until(lambda: not made.gateway._members_of(made.gateway._followed[name]), "not heard")
        made.gateway._see_off()
        assert (Member("10.0.0.2", 8080),) == made.proxy.members[name], "requests may be on their way"
        monkeypatch.setattr(gateway, "LAST_REQUESTS", 0.0)
        await made.until(lambda: not made.proxy.members[name], "never emptied")
        monkeypatch.setattr(gateway, "KEPT", 0.0)
        await made.until(lambda: not made.gateway._followed, "followed for ever")


class Hesitant(MemoryResolver):
    """Answers only who waits a second."""

    async def look_up(self, wanted: Iterable[Fixed], patience: float) -> dict[Fixed, tuple[Member, ...]]:
        return await super().look_up(wanted, patience) if patience >= 1.0 else {}


async def test_the_first_table_waits_for_names_because_the_proxy_may_have_their_addresses(api: MemoryApi) -> None:
    """Of an earlier control process, which has died."""
    spec = {"type": "ExternalName", "externalName": "far.example", "ports": [{"port": 81}]}
    await api.write("create", SERVICE, "default", "far", {"metadata": {"name": "far"}, "spec": spec})
    made_of = ingress("one", "one.example")
    made_of["metadata"]["annotations"] = {"nginx.ingress.kubernetes.io/default-backend": "far"}
    await api.write("create", INGRESS, "default", "one", made_of)
    async with running(api, names=Hesitant({"far.example": ("192.0.2.1",)})) as made:
        await made.until(made.gateway.built.is_set, "no first table")
        assert [(Member("192.0.2.1", 81),)] == list(made.proxy.members.values())


async def test_what_routing_does_not_read_makes_no_table(api: MemoryApi) -> None:
    await api.write("create", INGRESS, "default", "one", ingress("one", "one.example"))
    await api.write("create", SECRET, "default", "token", {"metadata": {"name": "token"}, "type": "helm.sh/release.v1"})
    async with running(api) as made:
        await made.until_routes("one.example")
        built = made.built
        status = {"status": {"loadBalancer": {"ingress": [{"ip": "10.1.1.1"}]}}}
        await api.write("patch", INGRESS, "default", "one", status, subresource="status")
        await api.write("patch", SECRET, "default", "token", {"data": {"release": "eA=="}})
        await api.write("create", INGRESS, "default", "two", ingress("two", "two.example"))
        await made.until_routes("one.example", "two.example")
        assert built + 1 == made.built


async def test_a_refusal_becomes_an_event_and_its_end_too(api: MemoryApi) -> None:
    await api.write("create", INGRESS, "default", "good", ingress("good", "good.example"))
    await api.write("create", INGRESS, "default", "bad", ingress("bad", "bad.example"))
    async with running(api) as made:
        made.proxy.refuses = lambda route: "no such thing" if "default/bad" in route.source else ""
        await made.until_routes("good.example", "bad.example")
        assert made.proxy.table is not None
        assert {"default/good"} == {route.source.split()[1] for route in routes(made.proxy.table)}
        assert 1 == made.metric("rejections")
        made.proxy.refuses = lambda route: ""
        await api.write("create", INGRESS, "default", "more", ingress("more", "more.example"))
        await made.until_routes("good.example", "bad.example", "more.example")
        await made.until(lambda: 0 == made.metric("rejections"), "the rejection never ended")
        events: list[Document] = []
        end = asyncio.get_running_loop().time() + DEADLINE
        while len(events) < 2:
            assert asyncio.get_running_loop().time() < end, events
            await asyncio.sleep(0.02)
            events = (await api.list(CORE_EVENT, "default")).items
        uid = (await api.get(INGRESS, "default", "bad"))["metadata"]["uid"]
        assert {("bad", uid)} == {(each["involvedObject"]["name"], each["involvedObject"]["uid"]) for each in events}
        assert {("Warning", "ProxyRejected"), ("Normal", "ProxyAccepted")} == {
            (each["type"], each["reason"]) for each in events
        }
        assert any("no such thing" in each["message"] for each in events)


async def test_a_table_that_cannot_be_made_stops_nothing(api: MemoryApi) -> None:
    def broken(objects: Objects, now: datetime) -> Translation:
        if ("default", "evil") in objects.ingresses:
            raise RuntimeError("a mistake of ours")
        return plain(objects, now)

    await api.write("create", INGRESS, "default", "one", ingress("one", "one.example"))
    async with running(api, broken) as made:
        await made.until_routes("one.example")
        await api.write("create", INGRESS, "default", "evil", ingress("evil", "evil.example"))
        await made.until(lambda: 1 == made.metric("rebuilds_total", result="error"), "no error was counted")
        assert {"one.example"} == made.hosts()
        await api.write("delete", INGRESS, "default", "evil")
        await api.write("create", INGRESS, "default", "two", ingress("two", "two.example"))
        await made.until_routes("one.example", "two.example")


async def test_only_secrets_of_use_are_kept_and_they_stay_encoded(api: MemoryApi) -> None:
    for name, type_ in (("cert", "Opaque"), ("issued", "example.com/certificate"), ("release", "helm.sh/release.v1")):
        document = {"metadata": {"name": name}, "type": type_, "data": {"key": "dmFsdWU="}}
        await api.write("create", SECRET, "default", name, document)
    await api.write("create", CONFIG_MAP, "default", "c", {"metadata": {"name": "c"}, "data": {"a": "b"}})
    objects = GatewayObjects(api)
    tasks = [asyncio.create_task(each.run()) for each in objects.informers]
    try:
        for each in objects.informers:
            await each.synced.wait()
        found = objects.take()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for name in ("cert", "issued"):
        assert {"key": b"value"} == dict(found.secrets["default", name].data)
    assert {} == dict(found.secrets["default", "release"].data)
    assert {"a": "b"} == found.config_maps["default", "c"]
