"""How is a Stream spoken to as Envoy does it?"""

from collections.abc import Mapping

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from mooring.edges.envoy.stream import Resource, Snapshot, Stream, Verdict
from mooring.routing.xds.wire import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET

SHORT = {CLUSTER: "cluster", ENDPOINTS: "endpoints", LISTENER: "listener", ROUTES: "routes", SECRET: "secret"}
URLS = {short: url for url, short in SHORT.items()}
Texts = Mapping[str, str]
NOTHING: Texts = {}
"""`type/name` -> version"""


def snapshot(texts: Texts, assignments: Mapping[str, str] = {}) -> Snapshot:
    resources: dict[str, dict[str, Resource]] = {}
    for text, version in texts.items():
        kind, _, name = text.partition("/")
        resources.setdefault(URLS[kind], {})[name] = Resource(version, f"{text}@{version}".encode())
    return Snapshot(resources, assignments)


class Client:
    """Talks to a Stream as Envoy does; `told` is `type/name@version` and `-type/name`, in order. `checks` that the data are
    those of `snapshot`."""

    def __init__(self, linger: float = 5.0, checks: bool = True) -> None:
        self.stream, self.now, self.checks = Stream(linger=linger), 0.0, checks
        self.nonces: dict[str, str] = {}

    def ask(self, kind: str, *names: str, drop: tuple[str, ...] = (), has: Texts = NOTHING) -> None:
        request = DeltaDiscoveryRequest(
            type_url=URLS.get(kind, kind), resource_names_subscribe=names, resource_names_unsubscribe=drop
        )
        request.initial_resource_versions.update(has)
        self.stream.receive(request)

    def told(self, now: Snapshot) -> list[str]:
        found = []
        for data in self.stream.responses(now, self.now):
            response = DeltaDiscoveryResponse.FromString(data)
            kind = SHORT.get(response.type_url, response.type_url)
            self.nonces[kind] = response.nonce
            found += [f"{kind}/{each.name}@{each.version}" for each in response.resources]
            found += [f"-{kind}/{name}" for name in response.removed_resources]
            if not response.resources and not response.removed_resources:
                found.append(f"{kind}: nothing")
            for each in response.resources if self.checks else ():
                assert (response.type_url, f"{kind}/{each.name}@{each.version}".encode()) == (
                    each.resource.type_url,
                    each.resource.value,
                )
        return found

    def accept(self, kind: str) -> Verdict | None:
        return self.stream.receive(DeltaDiscoveryRequest(type_url=URLS[kind], response_nonce=self.nonces[kind]))

    def reject(self, kind: str, reason: str) -> Verdict | None:
        request = DeltaDiscoveryRequest(type_url=URLS[kind], response_nonce=self.nonces[kind])
        request.error_detail.message = reason
        return self.stream.receive(request)

    def settle(self, now: Snapshot) -> list[str]:
        """Takes everything; what was told, in order."""
        found: list[str] = []
        while told := self.told(now):
            found += told
            for kind in dict.fromkeys(text.lstrip("-").partition("/")[0].partition(":")[0] for text in told):
                self.accept(kind)
        return found
