"""What is asked for when somebody connects to a Pod, a Service or a node? The options object that admission sees (CONNECT)."""

import re

from mooring.apiserver.admission import chain
from mooring.apiserver.call import Call
from mooring.apiserver.strategy import Document
from mooring.model.kinds import NODE, POD, SERVICE, Kind

_PORT = re.compile(r"[0-9]{1,5}")
_FLAGS = ("stdin", "stdout", "stderr", "tty")


def _options(kind: str) -> Kind:
    return Kind("", "v1", kind, kind.lower(), kind.lower(), True)


_KINDS = {
    ("exec", POD): _options("PodExecOptions"),
    ("attach", POD): _options("PodAttachOptions"),
    ("portforward", POD): _options("PodPortForwardOptions"),
    ("proxy", POD): _options("PodProxyOptions"),
    ("proxy", SERVICE): _options("ServiceProxyOptions"),
    ("proxy", NODE): _options("NodeProxyOptions"),
}
CONNECTED = frozenset(subresource for subresource, _ in _KINDS)


def admit(call: Call) -> None:
    """Raises StatusError, Unanswered."""
    kind = _KINDS[call.target.subresource, call.kind]
    document: Document = {"kind": kind.kind, "apiVersion": kind.api_version}
    subresource = call.target.subresource
    if subresource == "proxy":
        document["path"] = call.target.path
    elif subresource == "portforward":
        document["ports"] = [int(value) for name, value in call.request.query if name == "ports" and _PORT.fullmatch(value)]
    else:
        document |= {name: True for name in _FLAGS if call.flag(name)}
        document |= {"container": call.query("container")} if call.query("container") else {}
        if subresource == "exec":
            document["command"] = [value for name, value in call.request.query if name == "command"]
    chain.connect(call, document, kind)
