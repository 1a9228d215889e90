"""Which proxies serve a class's Ingresses? A Deployment, its ServiceAccount and a Service, while any Ingress names the class.

They belong to the IngressClass: with it they go, and with its last Ingress. What is ours in them is corrected; what people add
(annotations, resources, tolerations, another type of Service, replicas where the class's parameters say none) is left alone.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mooring.control.amend import amend, create, delete
from mooring.control.ingress_class import (
    NAMESPACE_NAME,
    class_of,
    is_of_proxies,
    labels,
    of_class,
    our_classes,
    parameters_key,
    proxies_name,
    proxy_of,
)
from mooring.control.ingress_pods import CONTAINER, DRAIN_SECONDS, IMAGE, REPLICAS, REQUESTS, Wish, pod_template
from mooring.control.namespaces import active_namespace
from mooring.control.owners import controller_reference, controlling
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Report, World
from mooring.model.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    INGRESS,
    INGRESS_CLASS,
    NAMESPACE,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)
from mooring.routing.ingress.values import BadValue, seconds, whole

PARTS = (SERVICE_ACCOUNT, DEPLOYMENT, SERVICE)
LIST_KEYS = ("name", "mountPath", "topologyKey")
"""By which the entries of a list are known."""


class IngressProxies:
    name = "ingress-proxies"
    watches = (INGRESS, INGRESS_CLASS, CONFIG_MAP, NAMESPACE, *PARTS)
    serial = False

    def __init__(self, image: str = IMAGE) -> None:
        self._image = image

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        """("", name of the class)."""
        either = change.after or change.before or {}
        metadata = either["metadata"]
        if change.kind == INGRESS:
            return [("", name) for name in dict.fromkeys(map(class_of, filter(None, (change.before, change.after)))) if name]
        if change.kind == INGRESS_CLASS:
            return [("", metadata["name"])]
        if change.kind == NAMESPACE:
            return [("", name) for name in our_classes(world)] if metadata["name"] == NAMESPACE_NAME else ()
        if change.kind == CONFIG_MAP:
            key = metadata["namespace"], metadata["name"]
            return [("", each["metadata"]["name"]) for each in world.list(INGRESS_CLASS) if parameters_key(each) == key]
        if metadata["namespace"] != NAMESPACE_NAME:
            return ()
        return [("", name) for name in our_classes(world) if proxies_name(name) == metadata["name"]]

    def plan(self, key: Key, world: World) -> Plan:
        name = key[1]
        ingress_class = world.get(INGRESS_CLASS, "", name)
        proxy = proxy_of(ingress_class)
        if ingress_class is None or not proxy or not of_class(name, world):
            return Plan(tuple(_removed(name, world)))
        held = world.get(NAMESPACE, "", NAMESPACE_NAME)
        if held is not None and not active_namespace(world, NAMESPACE_NAME):
            return NOTHING  # once it is gone, we hear of it
        namespace = () if held else (create(NAMESPACE, {"metadata": {"name": NAMESPACE_NAME}}, "AlreadyExists"),)
        wish = Wish(name, proxy, self._image, *_parameters(ingress_class, world))
        writes, reports = list(namespace), []
        for kind, fields in _wanted(wish).items():
            metadata = {"labels": labels(name), "ownerReferences": [controller_reference(INGRESS_CLASS, ingress_class)]}
            there = world.get(kind, NAMESPACE_NAME, proxies_name(name))
            if there is not None and not _is_ours(there, name):
                reports.append(Report(ingress_class, "Warning", "NameTaken", _taken(kind, name)))
                continue
            writes += _restored(kind, there, {"metadata": metadata, **fields}, wish)
        return Plan(tuple(writes), tuple(reports))


def _is_ours(part: Document, name: str) -> bool:
    owner = controlling(part, INGRESS_CLASS)
    return is_of_proxies(part, name) or (owner is not None and owner[1] == name)


def _taken(kind: Kind, name: str) -> str:
    return f"{kind.kind} {NAMESPACE_NAME}/{proxies_name(name)} is somebody else's: the proxies of this class need its name"


def _removed(name: str, world: World) -> Iterator[Apply]:
    for kind in PARTS:
        there = world.get(kind, NAMESPACE_NAME, proxies_name(name))
        if there is not None and _is_ours(there, name) and not there["metadata"].get("deletionTimestamp"):
            yield delete(kind, there, policy="Background")


def _parameters(ingress_class: Document, world: World) -> tuple[int | None, int]:
    """Replicas, None when the class's ConfigMap says none, and seconds of draining. What cannot be read counts as not said:
    the front end tells it (routing/ingress/parameters.py)."""
    key = parameters_key(ingress_class)
    data = ((world.get(CONFIG_MAP, *key) if key else None) or {}).get("data") or {}

    def read(name: str, reader: Callable[[str], Any], otherwise: int | None) -> Any:
        try:
            return reader(data[name].strip())
        except (KeyError, BadValue):
            return otherwise

    return read("replicas", whole(1, 100), None), int(read("drain-seconds", seconds, DRAIN_SECONDS))


def _wanted(wish: Wish) -> dict[Kind, Document]:
    """What is ours of each part."""
    selector = labels(wish.class_name)
    replicas = {} if wish.replicas is None else {"replicas": wish.replicas}
    update = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    return {
        SERVICE_ACCOUNT: {},
        SERVICE: {"spec": {"selector": selector, "ports": _ports(wish.proxy)}},
        DEPLOYMENT: {"spec": {**replicas, "strategy": update, "template": pod_template(wish)}},
    }


def _ports(proxy: str) -> list[Document]:
    ports = [("http", "TCP", 80), ("https", "TCP", 443), *([("http3", "UDP", 443)] if proxy == "envoy" else ())]
    return [{"name": name, "protocol": protocol, "port": port, "targetPort": name} for name, protocol, port in ports]


def _first(kind: Kind, wish: Wish) -> Document:
    """What a part begins with, and people may change."""
    if kind == DEPLOYMENT:
        replicas = REPLICAS if wish.replicas is None else wish.replicas
        template = {"spec": {"containers": [{"name": CONTAINER, "resources": {"requests": dict(REQUESTS)}}]}}
        return {"spec": {"replicas": replicas, "selector": {"matchLabels": labels(wish.class_name)}, "template": template}}
    if kind == SERVICE:
        spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ipFamilyPolicy": "PreferDualStack"}
        return {"spec": spec}
    return {}


def _restored(kind: Kind, there: Document | None, fields: Document, wish: Wish) -> tuple[Apply, ...]:
    if there is None:
        metadata = {"namespace": NAMESPACE_NAME, "name": proxies_name(wish.class_name)}
        return (create(kind, _laid(_laid({"metadata": metadata}, _first(kind, wish)), fields), "AlreadyExists"),)
    return amend(kind, there, _laid(there, fields))


def _laid(have: Any, fields: Any) -> Any:
    """`have` with these fields set at any depth; entries of lists are known by LIST_KEYS, all others are kept."""
    if isinstance(have, dict) and isinstance(fields, dict):
        return {**have, **{name: _laid(have.get(name), value) for name, value in fields.items()}}
    known = _keyed(fields)
    if known is None or (there := _keyed(have)) is None:
        return fields
    laid = {key: _laid(there.get(key), value) for key, value in known.items()}
    return [*(laid.pop(key, each) for key, each in there.items()), *laid.values()]


def _keyed(entries: Any) -> dict[Any, Document] | None:
    """A list of dictionaries by what each is known by, None for anything else."""
    if not isinstance(entries, list) or not entries or not all(isinstance(each, dict) for each in entries):
        return None
    for key in LIST_KEYS:
        if all(key in each for each in entries):
            return {each[key]: each for each in entries}
    return None
