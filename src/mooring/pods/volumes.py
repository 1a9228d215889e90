"""What backs each volume of a pod, and which files does it hold? (docs: "Volumes", "Projected Volumes")"""

import base64
from collections.abc import Mapping

from msgspec import Struct, convert

from mooring.model.pod import Pod, ResourceFieldRef
from mooring.pods.quantity import parse
from mooring.pods.sources import Document, Facts, Missing, field, named, resource
from mooring.pods.wishes import File, Volume

FILES = ("configMap", "secret", "downwardAPI", "projected")
_MODE = 0o644


class Token(Struct, frozen=True):
    """A service account token that a projected volume asks for. `seconds` is the life asked for."""

    volume: str
    path: str
    audience: str
    seconds: int


def backing(pod: Pod, volume: Document, claimed: Mapping[str, Document] = {}) -> Volume:
    """How a volume is backed; `claimed`: the PersistentVolumes behind those that name a claim, by the volume's name.

    Raises Missing for a kind that no plugin serves.
    """
    name = volume["name"]
    group = pod.spec.security_context.fs_group if pod.spec.security_context else None
    if any(volume.get(kind) is not None for kind in FILES):
        return Volume(name, "files", group=group)
    if volume.get("hostPath") is not None:
        return Volume(name, "host", volume["hostPath"]["path"], volume["hostPath"].get("type") or "")
    given = volume.get("emptyDir")
    if given is not None or set(volume) == {"name"}:
        given = given or {}
        size = int(parse(given["sizeLimit"])) if given.get("sizeLimit") else 0
        return Volume(name, "memory" if given.get("medium") == "Memory" else "disk", size=size, group=group)
    if name in claimed:
        return _persistent(name, claimed[name], group)
    kind = next(key for key in volume if key != "name")
    served = ", ".join(("emptyDir", "hostPath", "persistentVolumeClaim", *FILES))
    raise Missing(f'volume "{name}": no volume plugin matched "{kind}"; served are {served}')


def _persistent(name: str, volume: Document, group: int | None) -> Volume:
    """A hostPath stays as it is; a local volume belongs to the pod's fsGroup."""
    spec, title = volume["spec"], volume["metadata"]["name"]
    if (path := spec.get("hostPath")) is not None:
        return Volume(name, "host", path["path"], path.get("type") or "")
    if (path := spec.get("local")) is not None:
        return Volume(name, "host", path["path"], "local", group=group)
    raise Missing(f'volume "{title}": no volume plugin matched; served are hostPath and local')


def tokens(pod: Pod) -> tuple[Token, ...]:
    """Every token that the pod's projected volumes ask for."""
    found = []
    for volume in pod.spec.volumes or ():
        for source in (volume.get("projected") or {}).get("sources") or []:
            if token := source.get("serviceAccountToken"):
                seconds = token.get("expirationSeconds") or 3600
                found.append(Token(volume["name"], token["path"], token.get("audience") or "", seconds))
    return tuple(found)


def files(pod: Pod, volume: Document, facts: Facts, held: dict[Token, str]) -> dict[str, File]:
    """Relative paths to contents of a 'files' volume. `held` are the tokens at hand. Raises Missing."""
    found: dict[str, File] = {}
    projected = volume.get("projected")
    mode = next((volume[kind].get("defaultMode") for kind in FILES if volume.get(kind)), None)
    mode = _MODE if mode is None else mode
    for source in (projected.get("sources") or []) if projected else [volume]:
        for kind, section in (("ConfigMap", "configMap"), ("Secret", "secret")):
            if source.get(section) is not None:
                found |= _keys(pod, kind, source[section], facts, mode)
        if source.get("downwardAPI") is not None:
            found |= _fields(pod, source["downwardAPI"], facts, mode)
        if token := source.get("serviceAccountToken"):
            wanted = next(one for one in tokens(pod) if (one.volume, one.path) == (volume["name"], token["path"]))
            if wanted not in held:
                raise Missing(f"failed to fetch token: no token for service account {pod.spec.service_account_name}")
            found[token["path"]] = File(held[wanted].encode(), mode)
    return found


def _keys(pod: Pod, kind: str, source: Document, facts: Facts, mode: int) -> dict[str, File]:
    name = source.get("secretName") or source.get("name") or ""
    document = facts.objects.get((kind, name))
    if document is None:
        if source.get("optional"):
            return {}
        raise Missing(f'{kind.lower()} "{name}" not found')
    data = _payload(kind, document)
    if not source.get("items"):
        return {key: File(value, mode) for key, value in data.items()}
    found = {}
    for item in source["items"]:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            kinds = "configmap" if kind == "ConfigMap" else "secret"
            raise Missing(f"{kinds} references non-existent {'config' if kind == 'ConfigMap' else 'secret'} key: {item['key']}")
        found[item["path"]] = File(data[item["key"]], mode if item.get("mode") is None else item["mode"])
    return found


def _payload(kind: str, document: Document) -> dict[str, bytes]:
    plain, binary = document.get("data") or {}, document.get("binaryData") or {}
    if kind == "Secret":
        return {key: base64.b64decode(value or "") for key, value in plain.items()}
    return {key: value.encode() for key, value in plain.items()} | {
        key: base64.b64decode(value) for key, value in binary.items()
    }


def _fields(pod: Pod, source: Document, facts: Facts, mode: int) -> dict[str, File]:
    found = {}
    for item in source.get("items") or []:
        if item.get("fieldRef"):
            text = field(pod, item["fieldRef"]["fieldPath"], facts)
        else:
            ref = convert(item["resourceFieldRef"], ResourceFieldRef)
            text = resource(named(pod.containers, ref.container_name), ref, facts)
        found[item["path"]] = File(text.encode(), mode if item.get("mode") is None else item["mode"])
    return found
