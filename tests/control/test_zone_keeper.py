"""Does the Zone follow Services, slices, Namespaces, Ingresses and Pods, and tell nothing before it has seen them all?"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mooring.control import informer
from mooring.control.dns import ZoneKeeper
from mooring.control.informer import Informer
from mooring.dns.names import from_text
from mooring.dns.owners import Change, changed, everything
from mooring.dns.records import Question, Type
from mooring.dns.shared import index
from mooring.dns.zone import PodNames, PublishedNamespace, Zone, ZoneOptions
from mooring.edges.memory.api import MemoryApi
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, INGRESS, NAMESPACE, POD, SERVICE, Kind
from mooring.model.service import Service, service
from mooring.ports.api import ApiUnavailable, Listing, WatchEvent
from mooring.services.names import PublishedService
from mooring.testing.queries import simulated

Told = tuple[str, ...]
PORTS = [{"port": 80}]
OPTIONS = ZoneOptions(reverse=("10.96.0.0/16", "10.244.0.0/16"))


async def create(api: MemoryApi, kind: Kind, body: dict[str, Any]) -> None:
    document = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
    await api.write("create", kind, "default" if kind.namespaced else "", body["metadata"]["name"], document)


async def endpoints(api: MemoryApi, name: str, *hosts: str) -> None:
    """A slice with one address for each host."""
    listed = [{"addresses": [f"10.244.0.{n + 7}"], "hostname": host} for n, host in enumerate(hosts)]
    metadata = {"name": f"{name}-a", "labels": {"kubernetes.io/service-name": name}}
    await create(api, ENDPOINT_SLICE, {"metadata": metadata, "addressType": "IPv4", "endpoints": listed, "ports": []})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def keeping(api: Any, options: ZoneOptions = OPTIONS, **more: Any) -> AsyncIterator[ZoneKeeper]:
    services: Informer[Service] = Informer(api, SERVICE, service)
    slices: Informer[EndpointSlice] = Informer(api, ENDPOINT_SLICE, endpoint_slice)
    keeper = ZoneKeeper(api, services, slices, options, **more)
    assert not keeper.synced and not keeper.zone.synced
    tasks = [asyncio.create_task(each.run()) for each in (services, slices, keeper)]
    try:
        await asyncio.wait_for(keeper.wait_synced(), 60)
        yield keeper
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def ask(keeper: ZoneKeeper, name: str, kind: int = Type.A) -> Told:
    whole = name if name.endswith(".") else f"{name}.default.svc.cluster.local"
    return simulated(keeper.zone, Question(from_text(whole), kind))


async def furnished() -> MemoryApi:
    api = MemoryApi()
    await create(api, NAMESPACE, {"metadata": {"name": "default"}})
    await create(api, SERVICE, {"metadata": {"name": "web"}, "spec": {"ports": PORTS}})
    await create(api, SERVICE, {"metadata": {"name": "peers"}, "spec": {"clusterIP": "None", "ports": PORTS}})
    await create(
        api, SERVICE, {"metadata": {"name": "away"}, "spec": {"type": "ExternalName", "externalName": "db.example.org"}}
    )
    return api


async def test_names_come_change_and_go_with_their_objects() -> None:
    api = await furnished()
    address = (await api.get(SERVICE, "default", "web"))["spec"]["clusterIP"]
    async with keeping(api) as keeper:
        assert ask(keeper, "web") == (address,)
        assert ask(keeper, "peers") == ("NXDOMAIN",)
        assert ask(keeper, "away") == ("CNAME db.example.org",)
        await endpoints(api, "peers", "one")
        await until(lambda: ask(keeper, "peers") == ("10.244.0.7",))
        assert ask(keeper, "one.peers") == ("10.244.0.7",)
        assert ask(keeper, "7.0.244.10.in-addr.arpa.", Type.PTR) == ("one.peers.default.svc.cluster.local",)
        await api.write("delete", ENDPOINT_SLICE, "default", "peers-a")
        await api.write("delete", SERVICE, "default", "web")
        await until(lambda: ask(keeper, "peers") == ask(keeper, "web") == ("NXDOMAIN",))
        assert ask(keeper, "7.0.244.10.in-addr.arpa.", Type.PTR) == ("NXDOMAIN",)


async def test_an_alias_follows_its_target_and_its_type() -> None:
    api = await furnished()
    async with keeping(api) as keeper:
        await api.write("patch", SERVICE, "default", "away", {"spec": {"externalName": "other.example.org"}})
        await until(lambda: ask(keeper, "away") == ("CNAME other.example.org",))
        change = {"spec": {"type": "ClusterIP", "externalName": None, "ports": PORTS}}
        await api.write("patch", SERVICE, "default", "away", change)
        await until(lambda: ask(keeper, "away")[0].startswith("10.96."))


async def test_subscribers_hear_of_each_change_once_the_zone_has_it() -> None:
    api = await furnished()
    async with keeping(api) as keeper:
        table = dict(everything(keeper.zone))
        heard: list[tuple[Change, int]] = []

        def hear(change: Change) -> None:
            heard.append((change, keeper.zone.serial))
            for name, given in changed(keeper.zone, change):
                if given is None:
                    del table[name]
                else:
                    table[name] = given

        serial = keeper.zone.serial
        undo = keeper.subscribe(hear)
        await endpoints(api, "peers", "one", "two")
        await until(lambda: bool(heard))
        ((change, then),) = heard
        assert (change.key, change.before) == (("default", "peers"), PublishedService())
        assert isinstance(change.after, PublishedService) and [each.host for each in change.after.endpoints] == ["one", "two"]
        assert then == keeper.zone.serial > serial
        await create(api, NAMESPACE, {"metadata": {"name": "second"}})
        await until(lambda: len(heard) > 1)
        assert heard[1][0] == Change(("", "second"), None, PublishedNamespace())
        assert _without_soa(table) == _without_soa(dict(everything(keeper.zone)))
        undo()
        await api.write("delete", SERVICE, "default", "web")
        await until(lambda: ask(keeper, "web") == ("NXDOMAIN",))
        assert len(heard) == 2


def _without_soa(table: dict[Any, Any]) -> dict[Any, Any]:
    """An apex's SOA has the new serial after each change."""
    return {name: given for name, given in table.items() if all(each.type != Type.SOA for each in given.rrsets)}


async def test_a_change_that_does_not_show_leaves_the_serial_alone() -> None:
    api = await furnished()
    async with keeping(api, now=lambda: 1000.0) as keeper:
        heard = list[Change]()
        keeper.subscribe(heard.append)
        await api.write("patch", SERVICE, "default", "web", {"metadata": {"labels": {"a": "b"}}})
        await api.write("patch", SERVICE, "default", "peers", {"spec": {"ports": [{"port": 81}]}})
        await api.write("patch", SERVICE, "default", "web", {"spec": {"externalIPs": ["203.0.113.9"]}})
        await create(api, SERVICE, {"metadata": {"name": "empty"}, "spec": {"clusterIP": "None", "ports": PORTS}})
        await create(api, SERVICE, {"metadata": {"name": "last"}, "spec": {"ports": PORTS}})
        await until(lambda: ask(keeper, "last") != ("NXDOMAIN",))
        assert [each.key for each in heard] == [("default", "last")]
        assert keeper.zone.serial == 1001


async def test_the_serial_is_the_time_and_never_goes_back() -> None:
    api, clock = await furnished(), [1000.0]
    async with keeping(api, now=lambda: clock[0]) as keeper:
        assert keeper.zone.serial == 1000
        for n, (now, serial) in enumerate([(1000.5, 1001), (1000.6, 1002), (2000.0, 2000), (1500.0, 2001)]):
            clock[0] = now
            await create(api, SERVICE, {"metadata": {"name": f"s{n}"}, "spec": {"ports": PORTS}})
            await until(lambda n=n: ask(keeper, f"s{n}") != ("NXDOMAIN",))
            assert keeper.zone.serial == serial
    async with keeping(api, serial=2001, now=lambda: 1600.0) as keeper:
        assert keeper.zone.serial == 2002


async def test_hosts_of_ingresses_are_followed_where_there_is_a_zone_for_the_outside() -> None:
    api = await furnished()
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    await create(
        api, INGRESS, {"metadata": {"name": "shop"}, "spec": {"defaultBackend": backend, "rules": [{"host": "a.out.org"}]}}
    )
    async with keeping(api, ZoneOptions(external="out.org")) as keeper:
        assert ask(keeper, "a.out.org.") == ("NXDOMAIN",)
        status = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}}
        await api.write("patch", INGRESS, "default", "shop", status, subresource="status")
        await until(lambda: ask(keeper, "a.out.org.") == ("203.0.113.9",))
        await api.write("delete", INGRESS, "default", "shop")
        await until(lambda: ask(keeper, "a.out.org.") == ("NXDOMAIN",))


async def test_pods_are_followed_only_where_they_are_needed() -> None:
    api = await furnished()
    await create(api, POD, {"metadata": {"name": "client"}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}})
    status = {"status": {"phase": "Running", "podIP": "10.244.0.9", "podIPs": [{"ip": "10.244.0.9"}]}}
    await api.write("patch", POD, "default", "client", status, subresource="status")
    name = "10-244-0-9.default.pod.cluster.local."
    async with keeping(api) as keeper:
        assert keeper.zone.pods == {}
    async with keeping(api, clients=True) as keeper:
        assert keeper.zone.pods["default"] == {"10.244.0.9"}
    async with keeping(api, ZoneOptions(pods=PodNames.VERIFIED)) as keeper:
        assert ask(keeper, name) == ("10.244.0.9",)
        await api.write("patch", POD, "default", "client", {"status": {"phase": "Succeeded"}}, subresource="status")
        await until(lambda: ask(keeper, name) == ("NXDOMAIN",))


async def test_a_namespace_with_services_exists_before_the_namespaces_are_listed() -> None:
    api = await furnished()
    services: Informer[Service] = Informer(api, SERVICE, service)
    keeper = ZoneKeeper(api, services, Informer(api, ENDPOINT_SLICE, endpoint_slice), OPTIONS)
    task = asyncio.create_task(services.run())
    try:
        await until(lambda: ask(keeper, "web")[0].startswith("10.96."))
        assert ask(keeper, "default.svc.cluster.local.") == ("NODATA",)
        assert ask(keeper, "other.svc.cluster.local.") == ask(keeper, "nobody") == ("SERVFAIL",)
        await api.write("delete", SERVICE, "default", "web")
        await until(lambda: ask(keeper, "web") == ("SERVFAIL",))
        assert ask(keeper, "default.svc.cluster.local.") == ("NODATA",)
        for name in ("peers", "away"):
            await api.write("delete", SERVICE, "default", name)
        await until(lambda: ask(keeper, "default.svc.cluster.local.") == ("SERVFAIL",))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_subscriber_that_breaks_keeps_the_change_from_nobody_else() -> None:
    api = await furnished()
    async with keeping(api) as keeper:
        seen: list[Told] = []

        def broken(_: Change) -> None:
            raise RuntimeError("boom")

        keeper.subscribe(broken)
        keeper.subscribe(lambda _: seen.append(ask(keeper, "away")))
        targets = ("db1.example.org", "db2.example.org")
        for target in targets:
            await api.write("patch", SERVICE, "default", "away", {"spec": {"externalName": target}})
            await until(lambda target=target: ask(keeper, "away") == (f"CNAME {target}",))
        assert [(f"CNAME {target}",) for target in targets] == seen


class Rewinding:
    """An API whose every watch ends after a few events, and begins anew with what was told long before."""

    def __init__(self, api: MemoryApi) -> None:
        self._api = api
        self.watches = 0

    async def list(self, kind: Kind, **where: Any) -> Listing:
        return await self._api.list(kind, **where)

    async def watch(self, kind: Kind, revision: str, **where: Any) -> AsyncIterator[WatchEvent]:
        self.watches += 1
        told = 0
        async for event in self._api.watch(kind, "1", **where):
            yield event
            told += int(event.object["metadata"]["resourceVersion"]) > int(revision)
            if told > 1:
                raise ApiUnavailable("the connection broke")


async def test_answers_never_go_back_in_time_when_a_watch_is_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informer, "LAST_PAUSE", informer.FIRST_PAUSE)
    memory = await furnished()
    api = Rewinding(memory)
    async with keeping(api) as keeper:
        seen: list[tuple[Told, int]] = []
        zone: Zone = keeper.zone

        def look(_: Change) -> None:
            seen.append((ask(keeper, "away"), keeper.zone.serial))

        keeper.subscribe(look)
        for number in range(8):
            target = {"spec": {"externalName": f"db{number}.example.org"}}
            await memory.write("patch", SERVICE, "default", "away", target)
            await until(lambda number=number: ask(keeper, "away") == (f"CNAME db{number}.example.org",))
        assert api.watches > 4
        assert [told for told, _ in seen] == [(f"CNAME db{number}.example.org",) for number in range(8)]
        assert [serial for _, serial in seen] == sorted({serial for _, serial in seen})
        assert keeper.zone.serial > zone.serial
        assert dict(everything(keeper.zone)) == dict(everything(Zone(
            keeper.zone.options, keeper.zone.services, keeper.zone.namespaces, keeper.zone.serial, shared=index(keeper.zone)
        )))  # fmt: skip
