"""Which Ingresses does this front end serve, and in which order of seniority?"""

from datetime import UTC, datetime

from mooring.model.ingress import CLASS_ANNOTATION, PROXIES, Ingress, IngressClass
from mooring.routing.finding import ObjectName
from mooring.routing.ingress.objects import Objects

_NEVER = datetime.max.replace(tzinfo=UTC)

Seniority = tuple[datetime, str, str]
"""(creation time, namespace, name): where two claim the same, the lesser has it. One not yet created comes last."""


def class_of(ingress: Ingress) -> str:
    """The name of its IngressClass, '' for none. The field wins over the annotation, which is older."""
    if ingress.spec.ingress_class_name is not None:
        return ingress.spec.ingress_class_name
    return (ingress.metadata.annotations or {}).get(CLASS_ANNOTATION, "")


def is_ours(found: IngressClass | None) -> bool:
    return found is not None and found.spec.controller in PROXIES


def seniority(ingress: Ingress) -> Seniority:
    metadata = ingress.metadata
    return metadata.creation_timestamp or _NEVER, metadata.namespace, metadata.name


def of_class(objects: Objects, class_name: str) -> list[Ingress]:
    """Every Ingress of the class, the most senior first; none if the class is not there or another controller's."""
    if not is_ours(objects.classes.get(class_name)):
        return []
    return sorted([each for each in objects.ingresses.values() if class_of(each) == class_name], key=seniority)


def about(ingress: Ingress) -> ObjectName:
    return ObjectName("Ingress", ingress.metadata.namespace, ingress.metadata.name)
