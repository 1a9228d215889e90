"""Which images are there? The built-in ones, and those of `images.yaml` in the data directory."""

import hashlib
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import structlog
import yaml
from msgspec import MsgspecError, Struct, convert, json

import mooring
from mooring.ports.pods import ImageRef

log = structlog.get_logger("images")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PYTHON = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
_PYTHON_PATH = {"PATH": f"{os.path.dirname(PYTHON)}:{PATH}"}
PACKAGES = os.path.realpath(sysconfig.get_path("purelib"))
"""Where the packages lie that Mooring uses."""
SOURCE = os.path.dirname(os.path.realpath(mooring.__path__[0]))
_PACKAGED = {
    # The interpreter itself, not the virtual environment's link to it: links in between may be hidden from containers.
    "PATH": f"{os.path.realpath(sys.prefix)}/bin:{_PYTHON_PATH['PATH']}",
    "PYTHONPATH": f"{SOURCE}:{PACKAGES}",
    "PYTHONNOUSERSITE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""Mooring's interpreter with its packages, as any user and on a read-only root."""
_IDENTITY = {"POD_NAME": "{pod}", "POD_NAMESPACE": "{namespace}", "POD_IP": "{ip}", "NODE_NAME": "{node}"}
_FOREVER = "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"


class Image(Struct, frozen=True, forbid_unknown_fields=True):
    """`command` is the entrypoint, `args` its default arguments. `env` may name {pod} {namespace} {ip} {node} {tag}."""

    name: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    working_dir: str = "/"
    description: str = ""

    @property
    def id(self) -> str:
        return f"{self.name}@sha256:{hashlib.sha256(json.encode(self)).hexdigest()}"


def _shell(name: str, description: str) -> Image:
    return Image(name, (), ("/bin/sh",), _PYTHON_PATH, "/", description)


BUILT_IN = (
    Image(
        "mooring.dev/echo",
        (PYTHON, "-I", "-S", str(Path(__file__).with_name("echo.py"))),
        (),
        {**_PYTHON_PATH, **_IDENTITY, "ECHO_VERSION": "{tag}"},
        "/",
        "answers HTTP (8080), TCP (8081) and UDP (8080) with its identity; readiness at /ready?state=on|off",
    ),
    Image(
        "mooring.dev/echo-grpc",
        (PYTHON, "-m", "mooring.edges.pods.images.echo_streams"),
        (),
        {**_PACKAGED, **_IDENTITY},
        "/",
        "answers gRPC (9090) and WebSocket (8080) with its identity, then with what it is sent; ready at /ready",
    ),
    Image(
        "mooring.dev/gateway",
        (PYTHON, "-m", "mooring.cli.main"),
        ("gateway", "--help"),
        {**_PACKAGED, **_IDENTITY},
        "/",
        "the proxies of Ingresses, Envoy and NGINX, with what programs them",
    ),
    Image(
        "mooring.dev/toolbox",
        ("/bin/sh", "-c", _FOREVER),
        (),
        _PYTHON_PATH,
        "/",
        "sleeps; has the host's shell, curl and python3",
    ),
    Image("mooring.dev/pause", ("/bin/sh", "-c", _FOREVER), (), {"PATH": PATH}, "/", "sleeps, and ends at once on SIGTERM"),
    Image("registry.k8s.io/pause", ("/bin/sh", "-c", _FOREVER), (), {"PATH": PATH}, "/", "as mooring.dev/pause"),
    _shell("busybox", "the host's /bin/sh and tools"),
    _shell("alpine", "the host's /bin/sh and tools"),
    _shell("debian", "the host's /bin/sh and tools"),
    Image("bash", (), ("bash",), _PYTHON_PATH, "/", "the host's bash"),
    Image("curlimages/curl", ("curl",), ("--help",), _PYTHON_PATH, "/", "the host's curl"),
    Image("python", (), ("python3",), _PYTHON_PATH, "/", "Mooring's own Python interpreter, without its packages"),
)


def split(image: str) -> tuple[str, str]:
    """Name and tag: 'docker.io/library/busybox:1.36' is ('busybox', '1.36'); a digest is left away."""
    name = image.split("@", 1)[0]
    tag = ""
    if ":" in name.rsplit("/", 1)[-1]:
        name, tag = name.rsplit(":", 1)
    for prefix in ("docker.io/library/", "docker.io/", "index.docker.io/library/", "library/"):
        name = name.removeprefix(prefix)
    return name, tag


class BadImageFile(ValueError):
    """images.yaml is not a list of images; the text says where."""


class ImageTable:
    """Looks names up: an entry with the tag in its name first, then the name alone. The file is read again when it changes;
    one that is no list of images changes nothing, but for being told of."""

    def __init__(self, file: Path | None = None) -> None:
        self.file, self._seen, self._images = file, 0, self._index(())

    def image(self, wanted: str) -> tuple[Image, str] | None:
        """The image and the tag asked for."""
        self._refresh()
        name, tag = split(wanted)
        found = self._images.get(f"{name}:{tag}") or self._images.get(name)
        return (found, tag) if found else None

    def find(self, image: str) -> ImageRef | None:
        found = self.image(image)
        return ImageRef(found[0].name, found[0].id, found[0].description) if found else None

    def all(self) -> list[ImageRef]:
        self._refresh()
        return [ImageRef(image.name, image.id, image.description) for image in self._images.values()]

    @staticmethod
    def _index(more: tuple[Image, ...]) -> dict[str, Image]:
        return {image.name: image for image in (*BUILT_IN, *more)}

    def _refresh(self) -> None:
        stamp = self.file.stat().st_mtime_ns if self.file and self.file.exists() else 0
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._images = self._index(read(self.file) if stamp and self.file else ())
            except BadImageFile as error:
                log.warning("the images stay as they were", error=str(error))


def read(file: Path) -> tuple[Image, ...]:
    """A YAML list of {name, command, args, env, working_dir, description}. Raises BadImageFile."""
    try:
        entries: Any = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return convert(entries or [], tuple[Image, ...])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, MsgspecError) as error:
        raise BadImageFile(f"{file}: {error}") from error
