"""Definitions and custom resources for tests, and an API server that takes them."""

from typing import Any

from direct import Direct, Refused

from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION

Document = dict[str, Any]
GROUP = "stable.example.com"
API_VERSION = f"{GROUP}/v1"


def version(name: str = "v1", spec: Document | None = None, *, storage: bool = True, **rest: Any) -> Document:
    """One version whose spec has this schema; anything when None."""
    inner = {"type": "object", "x-kubernetes-preserve-unknown-fields": True} if spec is None else spec
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": inner, "status": status}}}
    return {"name": name, "served": True, "storage": storage, "schema": schema, **rest}


def definition(*versions: Document, plural: str = "crontabs", kind: str = "CronTab", **spec: Any) -> Document:
    names = {"plural": plural, "kind": kind, **spec.pop("names", {})}
    body = {"group": GROUP, "scope": "Namespaced", "names": names, "versions": list(versions) or [version()], **spec}
    return {"metadata": {"name": f"{plural}.{GROUP}"}, "spec": body}


def object_of(**properties: Any) -> Document:
    required = [name for name, schema in properties.items() if schema.pop("must", False)]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


class Defined(Direct):
    """A server with one definition, and requests to its objects."""

    def __init__(self, *definitions: Document) -> None:
        super().__init__()
        for each in definitions:
            self.define(each)

    def define(self, document: Document) -> Document:
        return self.create(CUSTOM_RESOURCE_DEFINITION, document)

    def redefine(self, document: Document) -> Document:
        held = self.get(CUSTOM_RESOURCE_DEFINITION, document["metadata"]["name"])
        return self.update(CUSTOM_RESOURCE_DEFINITION, {**held, "spec": document["spec"]})

    def path(self, name: str = "", subresource: str = "", version: str = "v1", plural: str = "crontabs") -> str:
        parts = [f"/apis/{GROUP}/{version}/namespaces/default/{plural}", name, subresource]
        return "/".join(part for part in parts if part)

    def make(self, spec: Any, name: str = "one", version: str = "v1", **rest: Any) -> Document:
        query = {key: rest.pop(key) for key in ("fieldValidation", "dryRun") if key in rest}
        body = {"apiVersion": f"{GROUP}/{version}", "kind": "CronTab", "metadata": {"name": name}, "spec": spec, **rest}
        return self.send("POST", self.path(version=version), body, **query)

    def read(self, name: str = "one", version: str = "v1") -> Document:
        return self.send("GET", self.path(name, version=version))

    def amend(self, spec: Document, name: str = "one", subresource: str = "", **rest: Any) -> Document:
        return self.send("PATCH", self.path(name, subresource), {"spec": spec, **rest}, "application/merge-patch+json")

    def refused(self, spec: Any, **rest: Any) -> dict[str, str]:
        """The causes for which an object is not created: {field: message}."""
        try:
            self.make(spec, name="refused", **rest)
        except Refused as refusal:
            assert refusal.code == 422, refusal.message
            return refusal.causes
        raise AssertionError("it was accepted")


def causes(document: Document) -> dict[str, str]:
    """Why a definition is refused."""
    try:
        Defined(document)
    except Refused as refusal:
        assert refusal.code == 422, refusal.message
        return refusal.causes
    raise AssertionError("it was accepted")


def schema_causes(spec: Document) -> dict[str, str]:
    """Why a schema of a spec is refused, by the path below it."""
    above = "spec.validation.openAPIV3Schema.properties[spec]"
    return {field.removeprefix(above): message for field, message in causes(definition(version(spec=spec))).items()}
