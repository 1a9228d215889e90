"""From changes to writes: dedup, own writes seen first, retries, reports, and mistakes that stay where they are made."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from faulty_api import FaultyApi
from msgspec import structs
from prometheus_client import CollectorRegistry
from workloads import namespace, node, pod

from mooring.control.amend import create
from mooring.control.informer import Informer
from mooring.control.loop import MOST_REFUSED, PATIENCE, Loop
from mooring.control.queue import QueueMetrics
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Refusal, Report, World
from mooring.control.reconcilers.pod_cidrs import PodCidrs
from mooring.control.reconcilers.scheduler import Scheduler
from mooring.control.recorder import Recorder
from mooring.control.world import InformerWorld
from mooring.model.kinds import CONFIG_MAP, CORE_EVENT, NAMESPACE, NODE, POD, SECRET, Kind
from mooring.ports.api import ApiError, ApiUnavailable
from mooring.testing.clock import virtual_time


def config_map(name: str, value: str = "1", namespace: str = "default") -> Document:
    metadata = {"name": name, "namespace": namespace, "uid": name}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"v": value}}


class Copying:
    """Keeps, for every ConfigMap, Secrets with generated names: as many as its value says. Duplicates cannot be undone."""

    name = "copying"
    watches: tuple[Kind, ...] = (CONFIG_MAP, SECRET)

    def __init__(self, serial: bool = False) -> None:
        self.serial = serial
        self.planned: list[Key] = []
        self.mistake = ""

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        document = change.after or change.before
        assert document is not None
        metadata = document["metadata"]
        return ((metadata["namespace"], metadata.get("labels", {}).get("of", metadata["name"])),)

    def plan(self, key: Key, world: World) -> Plan:
        self.planned.append(key)
        if key[1] == self.mistake:
            raise ZeroDivisionError
        wanted = world.get(CONFIG_MAP, *key)
        if wanted is None:
            return NOTHING
        held = [secret for secret in world.list(SECRET, key[0]) if secret["metadata"]["labels"]["of"] == key[1]]
        missing = int(wanted["data"]["v"]) - len(held)
        body = {"metadata": {"generateName": f"{key[1]}-", "labels": {"of": key[1]}}}
        writes = tuple(Apply("create", SECRET, key[0], "", body) for _ in range(missing))
        reports = (Report(wanted, "Normal", "Copied", f"Made {missing}"),) if missing else ()
        return Plan(writes, reports, 60.0 if wanted["data"].get("again") else None)


class Outcomes:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def planned(self, key: Key, plan: Plan, outcome: str) -> None:
        self.seen.append(outcome)


@asynccontextmanager
async def looping(api: FaultyApi, reconciler: Any) -> AsyncIterator[tuple[Loop, Recorder]]:
    informers = {kind: Informer[Document](api, kind, rng=Random(0)) for kind in reconciler.watches}
    recorder = Recorder(api, "copying-controller")
    loop = Loop(reconciler, InformerWorld(informers, Random(0)), api, recorder, QueueMetrics(CollectorRegistry()))
    tasks = [asyncio.create_task(part.run()) for part in (*informers.values(), recorder, loop)]  # type: ignore[attr-defined]
    try:
        yield loop, recorder
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(7200):
        while not condition():
            await asyncio.sleep(0.01)


def secrets(api: FaultyApi) -> int:
    return len(list(api.world.list(SECRET)))


def events(api: FaultyApi) -> list[tuple[str, str, int]]:
    return [(event["reason"], event["message"], event["count"]) for event in api.world.list(CORE_EVENT)]


def test_what_exists_at_the_start_is_looked_after() -> None:
    async def scenario() -> None:
        api = FaultyApi(config_map("a", "2"), config_map("b", "1"))
        async with looping(api, Copying()):
            await until(lambda: secrets(api) == 3)

    with virtual_time() as run:
        run(scenario())


def test_a_key_is_never_planned_from_before_its_own_write() -> None:
    """The Secret made is not seen yet when the ConfigMap changes again: a stale plan would make another one."""

    async def scenario() -> None:
        api, reconciler = FaultyApi(config_map("a", "0")), Copying()
        async with looping(api, reconciler) as (loop, _):
            await until(lambda: reconciler.planned != [] and loop.queue.idle)
            api.hold(SECRET)
            api.add(config_map("a", "1"))
            await until(lambda: secrets(api) == 1)
            changed = config_map("a", "1")
            changed["data"]["more"] = "text"
            api.add(changed)
            await asyncio.sleep(PATIENCE / 2)
            assert secrets(api) == 1
            api.hold()
            await until(lambda: loop.queue.idle)
        assert secrets(api) == 1

    with virtual_time() as run:
        run(scenario())


def test_with_doubled_and_delayed_events_nothing_is_made_twice() -> None:
    async def scenario() -> None:
        api, rng = FaultyApi(*(config_map(f"m{number}", "0") for number in range(5))), Random(1)
        api.doubled = True
        async with looping(api, Copying()) as (loop, _):
            for step in range(1, 60):
                api.hold(*(kind for kind in (CONFIG_MAP, SECRET) if rng.random() < 0.5))
                if rng.random() < 0.2:
                    api.cut()
                api.add(config_map(f"m{rng.randrange(5)}", str(step // 10)))
                await asyncio.sleep(rng.random() / 10)
            api.hold()
            await until(lambda: loop.queue.idle)
            await asyncio.sleep(5)
        for held in api.world.list(CONFIG_MAP):
            made = [each for each in api.world.list(SECRET) if each["metadata"]["labels"]["of"] == held["metadata"]["name"]]
            assert len(made) == int(held["data"]["v"])

    with virtual_time() as run:
        run(scenario())


def test_a_serial_reconciler_works_on_one_key_at_a_time() -> None:
    class Counting(Copying):
        inside = most = 0

    async def scenario() -> None:
        api, reconciler = FaultyApi(*(config_map(f"m{number}") for number in range(9))), Counting(serial=True)
        write = api.write

        async def counted(*arguments: Any, **options: Any) -> Document:
            ours = arguments[1] == SECRET
            reconciler.inside += ours
            reconciler.most = max(reconciler.most, reconciler.inside)
            try:
                return await write(*arguments, **options)
            finally:
                reconciler.inside -= ours

        api.write = counted  # type: ignore[method-assign]
        async with looping(api, reconciler):
            await until(lambda: secrets(api) == 9)
        assert reconciler.most == 1

    with virtual_time() as run:
        run(scenario())


def test_a_conflict_has_the_key_planned_again() -> None:
    async def scenario() -> None:
        api, reconciler = FaultyApi(config_map("a")), Copying()
        outcomes = reconciler.observer = Outcomes()  # type: ignore[attr-defined]
        api.refuse = [ApiError(409, "Conflict", "modified"), ApiError(500, "InternalError", "broken"), ApiUnavailable("reset")]
        async with looping(api, reconciler) as (loop, _):
            await until(lambda: secrets(api) == 1 and loop.queue.idle)
        assert outcomes.seen[:4] == ["stale", "error", "error", "success"]

    with virtual_time() as run:
        run(scenario())


def test_a_slow_binding_holds_up_no_other_pod_and_counts_until_it_fails() -> None:
    """A Pod binds slowly, to the only processor; another wants it too, and a third wants none."""

    def asking(name: str, processors: str) -> Document:
        wants = {"containers": [{"name": "main", "image": "echo:1", "resources": {"requests": {"cpu": processors}}}]}
        return pod(name, spec=wants)

    async def scenario() -> None:
        only = node("n", status={"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}})
        api, refusal = FaultyApi(only, namespace(), asking("slow", "1")), asyncio.Event()
        write = api.write

        async def slowly(*arguments: Any, **options: Any) -> Document:
            if arguments[3] == "slow" and options["subresource"] == "binding" and not refusal.is_set():
                await refusal.wait()
                raise ApiError(403, "Forbidden", "a webhook says no")
            return await write(*arguments, **options)

        def placed() -> list[str]:
            return sorted(each["metadata"]["name"] for each in api.world.indexed(POD, "node", "n"))

        def told(name: str) -> set[str]:
            return {each["message"] for each in api.world.list(CORE_EVENT) if each["involvedObject"]["name"] == name}

        api.write = slowly  # type: ignore[method-assign]
        async with looping(api, Scheduler()):
            await asyncio.sleep(1)
            api.add(asking("modest", "0"))
            api.add(asking("greedy", "1"))
            await until(lambda: placed() == ["modest"])
            await until(lambda: told("greedy") == {"0/1 nodes are available: 1 Insufficient cpu."})
            await asyncio.sleep(PATIENCE * 2)
            assert placed() == ["modest"]
            refusal.set()
            await until(lambda: placed() == ["greedy", "modest"])
            await until(lambda: len(told("slow")) == 2)
            assert 'running Bind plugin "DefaultBinder": a webhook says no' in told("slow")
            api.remove(POD, "default", "greedy")
            await until(lambda: placed() == ["modest", "slow"])

    with virtual_time() as run:
        run(scenario())


def test_a_binding_that_was_made_but_not_answered_keeps_its_place() -> None:
    """The answer is lost and the watch is late, as when the API server starts again: another Pod wants the same processor."""

    def asking(name: str) -> Document:
        wants = {"containers": [{"name": "main", "image": "echo:1", "resources": {"requests": {"cpu": "1"}}}]}
        return pod(name, spec=wants)

    async def scenario() -> None:
        only = node("n", status={"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}})
        api, refused, lost = FaultyApi(only, namespace()), asyncio.Event(), 0
        write = api.write

        async def unanswered(*arguments: Any, **options: Any) -> Document:
            nonlocal lost
            held = api.world.get(POD, *arguments[2:4]) if options.get("subresource") == "binding" else None
            if held and held["spec"].get("nodeName"):
                raise ApiError(409, "Conflict", f'pod {arguments[3]} is already assigned to node "n"')
            if options.get("subresource") == "binding" and not lost:
                await refused.wait()
                lost += 1
                api.hold(POD)
                await write(*arguments, **options)
                raise ApiUnavailable("connection reset")
            return await write(*arguments, **options)

        api.write = unanswered  # type: ignore[method-assign]
        async with looping(api, Scheduler()):
            await asyncio.sleep(1)
            api.add(asking("first"))
            api.add(asking("second"))
            await until(lambda: bool(list(api.world.list(CORE_EVENT))))  # There is no place for the second.
            refused.set()
            await until(lambda: lost == 1)
            await asyncio.sleep(PATIENCE / 2)
            assert 1 == len(list(api.world.indexed(POD, "node", "n")))
            api.hold()
            await asyncio.sleep(PATIENCE)
            assert 1 == len(list(api.world.indexed(POD, "node", "n")))

    with virtual_time() as run:
        run(scenario())


def test_a_pod_that_was_made_anew_while_its_namesakes_binding_was_under_way_is_placed_at_once() -> None:
    async def scenario() -> None:
        api, answered = FaultyApi(node("n"), namespace(), pod("db-0", metadata={"uid": "first"})), asyncio.Event()
        write = api.write

        async def slowly(*arguments: Any, **options: Any) -> Document:
            answer = await write(*arguments, **options)
            if options.get("subresource") == "binding":
                await answered.wait()
            return answer

        api.write = slowly  # type: ignore[method-assign]
        async with looping(api, Scheduler()):
            await until(lambda: bool(list(api.world.indexed(POD, "node", "n"))))
            api.remove(POD, "default", "db-0")
            api.add(pod("db-0", metadata={"uid": "second"}))
            await asyncio.sleep(1)
            answered.set()
            await asyncio.sleep(1)
            assert ["second"] == [each["metadata"]["uid"] for each in api.world.indexed(POD, "node", "n")]

    with virtual_time() as run:
        run(scenario())


def test_a_choice_that_was_made_but_not_answered_counts_for_the_next_key() -> None:
    """The answer is lost and the watch is late, as when the API server starts again: two nodes would have one range."""

    async def scenario() -> None:
        api, lost = FaultyApi(), 0
        write = api.write

        async def unanswered(*arguments: Any, **options: Any) -> Document:
            nonlocal lost
            answer = await write(*arguments, **options)
            if not lost:
                lost += 1
                api.hold(NODE)
                raise ApiUnavailable("connection reset")
            return answer

        api.write = unanswered  # type: ignore[method-assign]
        async with looping(api, PodCidrs()):
            await asyncio.sleep(1)
            api.add(node("a", spec={}))
            api.add(node("b", spec={}))
            await until(lambda: lost == 1)
            await asyncio.sleep(PATIENCE / 2)
            api.hold()
            await asyncio.sleep(PATIENCE)
            ranges = [each["spec"].get("podCIDR") for each in api.world.list(NODE)]
            assert ["10.244.0.0/24", "10.244.1.0/24"] == sorted(ranges)

    with virtual_time() as run:
        run(scenario())


def test_what_a_plan_ignores_counts_as_done() -> None:
    class Deleting(Copying):
        def plan(self, key: Key, world: World) -> Plan:
            self.planned.append(key)
            return Plan((Apply("delete", SECRET, key[0], "gone", ignore=("NotFound",)),))

    async def scenario() -> None:
        api, reconciler = FaultyApi(config_map("a")), Deleting()
        async with looping(api, reconciler) as (loop, _):
            await until(lambda: bool(reconciler.planned) and loop.queue.idle)
            await asyncio.sleep(100)
        assert reconciler.planned == [("default", "a")]

    with virtual_time() as run:
        run(scenario())


@pytest.mark.parametrize(
    ("parts", "made", "told"),
    [(("", "", "", ""), "wxyz", set()), (("1", "2", "3", ""), "xywz", {"2", "3"}), (("1", "1", "2", ""), "ywxz", {"2"})],
    ids=["whatever comes after", "no other part", "the rest of its part"],
)
def test_a_refusal_holds_up_what_rests_on_it_and_all_is_tried_again(parts: tuple[str, ...], made: str, told: set[str]) -> None:
    """The first of four is refused once."""

    refused = asyncio.Event()

    class Making(Copying):
        told: tuple[Refusal, ...] = ()

        def plan(self, key: Key, world: World) -> Plan:
            metadata = [{"name": name, "namespace": key[0], "labels": {"of": key[1]}} for name in "wxyz"]
            writes = (create(SECRET, {"metadata": each}, "AlreadyExists") for each in metadata)
            reports = tuple(Report(config_map("a"), "Normal", "Made", part, part) for part in parts)
            return Plan(tuple(structs.replace(write, part=part) for write, part in zip(writes, parts, strict=True)), reports)

        def refused(self, key: Key, refusals: tuple[Refusal, ...], world: World) -> Plan:
            self.told = tuple(refusals)
            assert len(list(world.list(SECRET))) == made.index("w")
            refused.set()
            return NOTHING

    async def scenario() -> None:
        api, reconciler = FaultyApi(config_map("a")), Making()
        api.refuse = [ApiError(403, "Forbidden", "a webhook says no")]
        async with looping(api, reconciler) as (_, recorder):
            await refused.wait()
            await recorder.flush()
            assert told == {message for _, message, _ in events(api)}
            await until(lambda: sum(write.kind == SECRET for write in api.written) == 4)
        assert made == "".join(write.name for write in api.written if write.kind == SECRET)
        assert ["w: a webhook says no"] == [f"{each.write.name}: {each.error}" for each in reconciler.told]

    with virtual_time() as run:
        run(scenario())


def test_what_is_refused_again_and_again_is_not_asked_for_each_of_many() -> None:
    async def scenario() -> None:
        api, reconciler = FaultyApi(config_map("a", "500")), Copying()
        plan = reconciler.plan
        reconciler.plan = lambda key, world: Plan(parted(plan(key, world).writes))  # type: ignore[method-assign]
        reconciler.refused = lambda key, refusals, world: told.append(len(refusals)) or NOTHING  # type: ignore[attr-defined]
        api.refuse = [ApiError(403, "Forbidden", "exceeded quota")] * MOST_REFUSED
        told: list[int] = []

        def parted(writes: Iterable[Apply]) -> tuple[Apply, ...]:
            return tuple(structs.replace(write, part=str(number)) for number, write in enumerate(writes))

        async with looping(api, reconciler):
            await until(lambda: secrets(api) == 500)
        assert told == [MOST_REFUSED]

    with virtual_time() as run:
        run(scenario())


def test_creating_in_a_namespace_that_goes_away_is_given_up() -> None:
    async def scenario() -> None:
        api, reconciler = FaultyApi(config_map("a")), Copying()
        causes = {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}
        api.refuse = [ApiError(403, "Forbidden", "namespace default is being terminated", causes)]
        async with looping(api, reconciler) as (loop, _):
            await until(lambda: bool(reconciler.planned) and loop.queue.idle)
            await asyncio.sleep(100)
        assert reconciler.planned == [("default", "a")]

    with virtual_time() as run:
        run(scenario())


def test_a_mistake_about_one_object_leaves_the_others_alone_and_is_tried_again() -> None:
    async def scenario() -> None:
        api, reconciler = FaultyApi(config_map("bad"), config_map("good")), Copying()
        reconciler.mistake = "bad"
        async with looping(api, reconciler):
            await until(lambda: secrets(api) == 1)
            await until(lambda: reconciler.planned.count(("default", "bad")) > 5)
            reconciler.mistake = ""
            await until(lambda: secrets(api) == 2)

    with virtual_time() as run:
        run(scenario())


def test_a_plan_may_ask_to_be_made_again_later() -> None:
    async def scenario() -> None:
        patient = config_map("a", "0")
        patient["data"]["again"] = "yes"
        api, reconciler = FaultyApi(patient), Copying()
        async with looping(api, reconciler):
            await asyncio.sleep(60 * 5 + 1)
        assert len(reconciler.planned) == 6

    with virtual_time() as run:
        run(scenario())


def test_reports_become_events_once_the_writes_are_made() -> None:
    async def scenario() -> None:
        api = FaultyApi(config_map("a"))
        api.refuse = [ApiError(500, "InternalError", "broken")]
        async with looping(api, Copying()) as (_, recorder):
            await until(lambda: secrets(api) == 1)
            await recorder.flush()
        assert events(api) == [("Copied", "Made 1", 1)]

    with virtual_time() as run:
        run(scenario())


def test_a_kind_without_informer_is_an_error_not_a_silent_nothing() -> None:
    world = InformerWorld({})
    try:
        world.get(NAMESPACE, "", "default")
    except KeyError as error:
        assert error.args == (NAMESPACE,)
    else:
        raise AssertionError("reading what nobody watches must not look like reading nothing")
