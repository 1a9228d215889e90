"""Where are a pod's logs, its streams and its ports? At the kubelet API of the pod's node.

As pkg/registry/core/pod/strategy.go (LogLocation, ExecLocation, AttachLocation, PortForwardLocation) builds the addresses.
"""

from datetime import UTC, datetime

from mooring.apiserver import errors, read
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Proxy, Response
from mooring.apiserver.errors import bad_request
from mooring.apiserver.strategy import Document, FieldError
from mooring.model import codec
from mooring.model.kinds import NODE, Kind

KUBELET_PORT = 10250
_ADDRESS_ORDER = ("InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "Hostname")
_POD_LOG_OPTIONS = Kind("", "v1", "PodLogOptions", "", "", True)
_STREAMS = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty"))
_LOG_STREAMS = ("All", "Stderr", "Stdout")
_CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
_STATUS_LISTS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_PULLS = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}

Query = tuple[tuple[str, str], ...]


def log(call: Call) -> Proxy | Response:
    """GET pods/<name>/log. A pod that no node has yet has an empty log."""
    query = _log_query(call)
    pod = call.resource.load(read.existing(call).value)
    container = _container(call, pod)
    node = pod["spec"].get("nodeName")
    if not node:
        return Response(200, b"", "text/plain")
    if not call.flag("previous") and (why := _not_started(pod, container)):
        raise bad_request(f'container "{container}" in pod "{call.name}" is waiting to start: {why}')
    return _proxy(call, node, f"/containerLogs/{call.namespace}/{call.name}/{container}", query)


def execute(call: Call) -> Proxy:
    """GET or POST pods/<name>/exec, whose upgrade is carried through unchanged."""
    command = tuple((name, value) for name, value in call.request.query if name == "command")
    streams = _streams(call)
    if not command:
        raise bad_request("you must specify at least one command for the container")
    return _upgraded(call, "exec", (*streams, *command))


def attach(call: Call) -> Proxy:
    """GET or POST pods/<name>/attach: to the container's own process."""
    return _upgraded(call, "attach", _streams(call))


def port_forward(call: Call) -> Proxy:
    """GET or POST pods/<name>/portforward. Which ports is asked within the streams, or by `ports` of old WebSocket clients."""
    ports = [value for name, value in call.request.query if name == "ports"]
    pod = call.resource.load(read.existing(call).value)
    node = _node_of(call, pod)
    _must_upgrade(call)
    query = (("port", ",".join(ports)),) if ports else ()
    return _proxy(call, node, f"/portForward/{call.namespace}/{call.name}", query)


def _streams(call: Call) -> Query:
    if not any(call.flag(name) for name in ("stdin", "stdout", "stderr")):
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    return tuple((there, "1") for here, there in _STREAMS if call.flag(here))


def _upgraded(call: Call, what: str, query: Query) -> Proxy:
    pod = call.resource.load(read.existing(call).value)
    container = _container(call, pod)
    node = _node_of(call, pod)
    _must_upgrade(call)
    return _proxy(call, node, f"/{what}/{call.namespace}/{call.name}/{container}", query)


def _node_of(call: Call, pod: Document) -> str:
    node: str = pod["spec"].get("nodeName", "")
    if not node:
        raise bad_request(f"pod {call.name} does not have a host assigned")
    return node


def _must_upgrade(call: Call) -> None:
    if not upgrades(call):
        raise bad_request("Upgrade request required")


def upgrades(call: Call) -> bool:
    """Whether the client asks for another protocol on the connection."""
    return "upgrade" in call.request.headers.get("connection", "").lower()


def _container(call: Call, pod: Document) -> str:
    """The container asked for, or the only one. Raises StatusError 400."""
    asked, spec = call.query("container"), pod.get("spec") or {}
    names = [one["name"] for group in _CONTAINER_LISTS for one in spec.get(group) or ()]
    if asked:
        if asked not in names:
            raise bad_request(f"container {asked} is not valid for pod {call.name}")
        return asked
    regular = spec.get("containers") or []
    if len(regular) == 1:
        only: str = regular[0]["name"]
        return only
    choices = f", choose one of: [{' '.join(names)}]" if regular else ""
    raise bad_request(f"a container name must be specified for pod {call.name}{choices}")


def _not_started(pod: Document, container: str) -> str:
    """Why a container has never run, empty when it has or nobody knows: validateContainerLogStatus of the kubelet."""
    status = pod.get("status") or {}
    for one in (one for group in _STATUS_LISTS for one in status.get(group) or ()):
        if one["name"] == container and not (one.get("lastState") or {}).get("terminated"):
            reason: str = ((one.get("state") or {}).get("waiting") or {}).get("reason", "")
            return _PULLS.get(reason, reason)
    return ""


def _log_query(call: Call) -> Query:
    """PodLogOptions as the kubelet takes them. Raises StatusError 422."""
    found: list[FieldError] = []
    query = [(name, "true") for name in ("follow", "previous", "timestamps") if call.flag(name)]
    for name, least in (("sinceSeconds", 1), ("tailLines", 0), ("limitBytes", 1)):
        number = call.number(name)
        if number is not None and number < least:
            why = "must be greater than 0" if least else "must be greater than or equal to 0"
            found.append(FieldError("FieldValueInvalid", name, f"Invalid value: {number}: {why}"))
        if number is not None:
            query.append((name, str(number)))
    if since := call.query("sinceTime"):
        try:
            aware = datetime.fromisoformat(since).tzinfo is not None
            datetime.fromisoformat(since).astimezone(UTC)
        except (ValueError, OverflowError):
            aware = False
        if not aware:
            raise bad_request(f"parsing time {errors.quote(since)} as RFC 3339: cannot parse")
        query.append(("sinceTime", since))
        if call.query("sinceSeconds"):
            found.append(
                FieldError(
                    "FieldValueForbidden", "", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
                )
            )
    if (stream := call.query("stream") or "All") != "All":
        if stream not in _LOG_STREAMS:
            supported = ", ".join(errors.quote(each) for each in _LOG_STREAMS)
            why = f"Unsupported value: {errors.quote(stream)}: supported values: {supported}"
            found.append(FieldError("FieldValueNotSupported", "stream", why))
        elif call.query("tailLines"):
            why = "Forbidden: `tailLines` and specific `stream` are mutually exclusive for now"
            found.append(FieldError("FieldValueForbidden", "", why))
        query.append(("stream", stream))
    if found:
        raise errors.invalid(_POD_LOG_OPTIONS, call.name, found)
    return tuple(query)


def _proxy(call: Call, name: str, path: str, query: Query) -> Proxy:
    address, port = kubelet_address(call, name)
    return Proxy(name, address, port, path, query)


def kubelet_address(call: Call, name: str) -> tuple[str, int]:
    """Where the kubelet of a node is, by its Node object. Raises StatusError 404, 500."""
    record = call.snapshot.get(NODE.key("", name))
    if record is None:
        raise errors.not_found(NODE, name)
    status = codec.decode(record.value).get("status") or {}
    addresses = {entry["type"]: entry["address"] for entry in reversed(status.get("addresses") or ())}
    address = next((addresses[kind] for kind in _ADDRESS_ORDER if kind in addresses), "")
    if not address:
        raise errors.internal(f"no preferred addresses found; known addresses: {sorted(addresses.items())}")
    return address, ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or KUBELET_PORT
