"""How are a cluster's certificates looked at and exchanged, while it runs? What `mooring certs` does.

Only files are written. The processes that use them find them by themselves within seconds (edges/http/renewal.py), and between
the steps of an authority's exchange there is time for that.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from mooring.app import identities
from mooring.app.connection import Connection, Refused, Unreachable
from mooring.app.files import Files
from mooring.app.settings import load
from mooring.edges.http import kubeconfig
from mooring.edges.pki import Pki, Stage

Tell = Callable[[str], None]
USERS = {
    "ca": "everybody trusts it",
    "admin": "the kubeconfig of kubectl and of the supervisor",
    "apiserver": "the API server, as a server",
    "apiserver-kubelet-client": "the API server, to kubelets",
    "controllers": "the controllers",
}
PUBLISHED_WITHIN = 60.0
"""Seconds that the ConfigMaps for pods get to hold a new bundle."""


class Unknown(Exception):
    """There is no such certificate; the message says which there are."""


class Listed(Struct, frozen=True):
    """`authority`: whether it is signed by the authority that signs now: 'current', 'old', or '' for a damaged file."""

    name: str
    subject: str
    names: tuple[str, ...]
    expires: datetime | None
    authority: str
    used_by: str


def listed(files: Files) -> list[Listed]:
    """Every certificate of a data directory."""
    return [
        Listed(
            each.name,
            str(each.subject) if each.subject else "damaged",
            each.subject.names if each.subject else (),
            each.expires,
            ("current" if each.current else "old") if each.subject else "",
            USERS.get(each.name) or f"{each.name}: client of the API server, and the kubelet's server",
        )
        for each in Pki(files.pki).found()
    ]


def renew(files: Files, names: Sequence[str]) -> list[str]:
    """New keys and certificates by the authority there is, for all or for the named, and the kubeconfigs with them.

    Returns the names. Raises Unknown, and then nothing has been written; DamagedKey.
    """
    pki = Pki(files.pki)
    there = [each.name for each in pki.found() if each.name != "ca"]
    if unknown := [name for name in names if name not in there]:
        raise Unknown(f"there is no certificate {unknown[0]!r}; there are {', '.join(there)}")
    wanted = list(names) or there
    for name in wanted:
        pki.renew(name)
    _write_kubeconfigs(files)
    return wanted


def rotate_authority(files: Files, pause: float, only_next: bool, tell: Tell) -> None:
    """From one authority to another, from wherever an earlier run was broken off. Raises DamagedKey, NotPublished.

    Before each step all have to know what the last one wrote: `pause` seconds, unless it is the caller who waits (`only_next`).
    """
    pki = Pki(files.pki)
    wait = 0.0 if only_next or not _in_use(files) else pause
    if pki.stage is Stage.SETTLED:
        pki.introduce()
        _write_kubeconfigs(files)
        tell("1/3  a new authority is trusted beside the old one")
        if only_next:
            return
    if pki.stage is Stage.INTRODUCED:
        _write_kubeconfigs(files)  # perhaps an earlier run did not come so far
        _await_published(files, pki.authority)
        time.sleep(wait)
        pki.change()
        _renew_old(pki)
        _write_kubeconfigs(files)
        tell("2/3  every certificate is by the new authority")
        if only_next:
            return
    _renew_old(pki)
    _write_kubeconfigs(files)
    time.sleep(wait)
    pki.retire()
    _write_kubeconfigs(files)
    tell("3/3  the old authority is trusted no more")


def _in_use(files: Files) -> bool:
    """Whether roles may run: those of a supervisor, even if that was killed, or an API server by itself."""
    return files.running() is not None or not files.settings.exists()


def _renew_old(pki: Pki) -> None:
    for each in pki.found():
        if not each.current and each.subject:
            pki.renew(each.name)


def renew_service_account_key(files: Files, forget: bool) -> None:
    """Another key signs tokens; or, with `forget`, those of all keys before the one that signs are void. Raises DamagedKey."""
    pki = Pki(files.pki)
    if forget:
        pki.forget_retired_keys()
    else:
        pki.renew_service_account_key()


class NotPublished(Exception):
    """Pods have not been told of a new authority; the rotation stops where nothing is lost."""


def _await_published(files: Files, bundle: Path) -> None:
    """Until every namespace of a running cluster has the bundle for its pods. Raises NotPublished."""
    if files.running() is None:
        return
    wanted, deadline, missing = bundle.read_text(), time.monotonic() + PUBLISHED_WITHIN, ["the API server does not answer"]
    while time.monotonic() < deadline:
        try:
            missing = list(lacking(Connection(kubeconfig.load(files.kubeconfig), timeout=5.0), wanted))
        except (Refused, Unreachable) as error:
            missing = [str(error)]
        if not missing:
            return
        time.sleep(0.2)
    raise NotPublished(
        f"not every pod can be told of the new authority: {missing[0]}\n"
        "  what to do: see `mooring status`, then run the same command again; it goes on where it was"
    )


def lacking(connection: Connection, wanted: str) -> Iterator[str]:
    """Which namespaces' pods are told to trust something else, in words. One that is going gets nothing new any more."""
    try:
        namespaces = connection.get("/api/v1/namespaces").get("items") or ()
        going = {each["metadata"]["name"] for each in namespaces if each["metadata"].get("deletionTimestamp")}
        query = {"fieldSelector": "metadata.name=kube-root-ca.crt"}
        for each in connection.get("/api/v1/configmaps", query).get("items") or ():
            namespace = each["metadata"]["namespace"]
            if namespace not in going and (each.get("data") or {}).get("ca.crt") != wanted:
                yield f"ConfigMap kube-root-ca.crt of namespace {namespace} is an older one"
    finally:
        connection.close()


def _write_kubeconfigs(files: Files) -> None:
    """Those of a running cluster; one that does not run has none until `mooring up`."""
    if (running := files.running()) and files.settings.exists():
        identities.ensure(load({"data-dir": files.root}, {}, stored=files.stored_settings()), files, running)
