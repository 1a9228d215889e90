"""Which IngressClasses are ours, which Ingresses are of a class, and what are its proxies called?"""

from collections.abc import Iterator

from mooring.control.naming import digest
from mooring.control.reconciler import Document, World
from mooring.model.ingress import CLASS_ANNOTATION, PROXIES
from mooring.model.kinds import CONFIG_MAP, INGRESS, INGRESS_CLASS

NAMESPACE_NAME = "mooring-system"
"""Where the proxies of all classes run."""
CLASS_LABEL = "mooring.dev/ingress-class"
APP_LABEL, APP = "app.kubernetes.io/name", "mooring-ingress"
LONGEST = 63 - len("ingress-") - len("-1234567890-12345")
"""Of a class whose name can be part of a Service's, a pod's and a label's value as it is."""


def class_of(ingress: Document) -> str:
    """The class that an Ingress names, '' for none. The field wins over the annotation."""
    field = (ingress.get("spec") or {}).get("ingressClassName")
    return str((ingress["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION, "") if field is None else field)


def proxy_of(ingress_class: Document | None) -> str:
    """envoy or nginx; '' for a class that is not ours, or on its way out."""
    if ingress_class is None or ingress_class["metadata"].get("deletionTimestamp"):
        return ""
    return PROXIES.get((ingress_class.get("spec") or {}).get("controller", ""), "")


def our_classes(world: World) -> Iterator[str]:
    return (each["metadata"]["name"] for each in world.list(INGRESS_CLASS) if proxy_of(each))


def of_class(name: str, world: World) -> list[Document]:
    """Every Ingress that names the class."""
    return list(world.indexed(INGRESS, "ingress_class", name))


def label_value(name: str) -> str:
    """A class's name as a label's value and part of other names: dots become hyphens, what is too long is cut, both told
    apart by a digest."""
    plain = name.replace(".", "-")[:LONGEST].rstrip("-")
    return plain if plain == name else f"{plain[: LONGEST - 6].rstrip('-')}-{digest(name, 5)}"


def proxies_name(name: str) -> str:
    """Of a class's ServiceAccount, Deployment and Service in NAMESPACE_NAME."""
    return f"ingress-{label_value(name)}"


def labels(name: str) -> dict[str, str]:
    """By which everything that a class's proxies consist of is known."""
    return {APP_LABEL: APP, CLASS_LABEL: label_value(name)}


def is_of_proxies(document: Document, name: str) -> bool:
    held = document["metadata"].get("labels") or {}
    return all(held.get(label) == value for label, value in labels(name).items())


def parameters_key(ingress_class: Document) -> tuple[str, str] | None:
    """(namespace, name) of the ConfigMap with a class's parameters."""
    given = (ingress_class.get("spec") or {}).get("parameters") or {}
    if given.get("kind") != CONFIG_MAP.kind or given.get("apiGroup") or not given.get("namespace"):
        return None
    return given["namespace"], given["name"]
