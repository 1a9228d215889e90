"""Can an authority and a signing key be exchanged step by step, from wherever it was broken off?"""

import asyncio
import itertools
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from mooring.edges.http import renewal
from mooring.edges.http.kubeconfig import KubeconfigError, in_cluster, load
from mooring.edges.http.renewal import Followed, Renewable, again_and_again
from mooring.edges.http.tls import client_context, server_context
from mooring.edges.pki import DamagedKey, Identity, Pki, Stage, kubeconfig, write_private


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki")


def trusted(pki: Pki) -> int:
    return len(x509.load_pem_x509_certificates(pki.authority.read_bytes()))


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """One in memory; TLS 1.3's server speaks last. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client.check_hostname = name is not None
    near = client.wrap_bio(to_client, to_server, server_hostname=name)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (near, far) * 4:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return near, far


def meet(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = "localhost") -> str:
    """Whom the server sees."""
    seen = handshake(server, client, name)[1].getpeercert() or {}
    return next((value for group in seen.get("subject", ()) for key, value in group if key == "commonName"), "")


def shown(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = "localhost") -> bytes:
    """What the client sees."""
    return handshake(server, client, name)[0].getpeercert(binary_form=True) or b""


def der(identity: Identity) -> bytes:
    return ssl.PEM_cert_to_DER_cert(identity.certificate.decode())


def test_at_every_step_old_and_new_identities_meet_whoever_has_looked_again_last(pki: Pki) -> None:
    """Each side may be one step behind the other, as processes are that look every few seconds."""

    def sides() -> tuple[ssl.SSLContext, ssl.SSLContext]:
        return server_context(pki.server(()).path, pki.authority), client_context(pki.authority, pki.admin().path)

    def again() -> None:
        for each in pki.found():
            if not each.current:
                pki.renew(each.name)

    seen = [sides()]
    for step in (pki.introduce, pki.change, again, pki.retire):
        step()
        # `sides` renews what is by another authority, as `again` does
        if step is not pki.change:
            seen.append(sides())
    for (server, client), (later_server, later_client) in itertools.pairwise(seen):
        assert [meet(server, client), meet(later_server, client), meet(server, later_client)] == ["kubernetes-admin"] * 3
    with pytest.raises(ssl.SSLError):
        meet(seen[-1][0], seen[0][1])
    with pytest.raises(ssl.SSLError):
        meet(seen[0][0], seen[-1][1])


def test_every_step_may_be_repeated(pki: Pki) -> None:
    states = []
    for step, stage, authorities in (
        (pki.introduce, Stage.INTRODUCED, 2),
        (pki.change, Stage.CHANGED, 2),
        (pki.retire, Stage.SETTLED, 1),
    ):
        step()
        before = pki.authority.read_bytes()
        if step is not pki.retire:  # from there a new rotation begins
            step()
        assert (pki.stage, trusted(pki), pki.authority.read_bytes()) == (stage, authorities, before)
        states.append(before)
    assert len(set(states)) == 3


def test_steps_out_of_order_do_nothing(pki: Pki) -> None:
    before = pki.authority.read_bytes()
    pki.change()
    pki.retire()
    assert (pki.stage, pki.authority.read_bytes()) == (Stage.SETTLED, before)
    pki.introduce()
    pki.retire()
    assert pki.stage is Stage.INTRODUCED


STEPS = ("introduce", "change", "retire")


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_is_broken_off_at_any_of_its_writes_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    for at in itertools.count():
        pki = Pki(tmp_path / f"{step}{at}")
        for earlier in STEPS[: STEPS.index(step)]:
            getattr(pki, earlier)()
        stage, came_to_the_end = pki.stage, False
        with monkeypatch.context() as failing, suppress(KeyboardInterrupt):
            allow_changes(failing, at)
            getattr(pki, step)()
            came_to_the_end = True
        again = Pki(pki.authority.parent)
        assert Identity(again.authority.with_name("ca.pem")).certificate.strip() in again.authority.read_bytes()
        if again.stage is stage:
            getattr(again, step)()
        for left in STEPS[STEPS.index(step) + 1 :]:
            getattr(again, left)()
        assert (again.stage, trusted(again)) == (Stage.SETTLED, 1)
        assert Identity(again.authority.with_name("ca.pem")).certificate.strip() == again.authority.read_bytes().strip()
        if came_to_the_end:
            return


def allow_changes(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """So many files may be replaced or removed; the next one is what a kill leaves undone."""
    left = iter(range(count))
    replace, unlink = os.replace, os.unlink

    def counted(act: Callable[..., None], *arguments: str | Path) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        act(*arguments)

    monkeypatch.setattr(os, "replace", partial(counted, replace))
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: counted(unlink, path))


def test_a_damaged_next_authority_is_made_anew_and_a_damaged_old_one_is_named(pki: Pki) -> None:
    pki.introduce()
    (pki.authority.with_name("ca.next.pem")).write_bytes(b"half a file")
    assert (Pki(pki.authority.parent).stage, trusted(pki)) == (Stage.SETTLED, 1)
    pki.introduce()
    pki.change()
    (pki.authority.with_name("ca.previous.crt")).write_bytes(b"half a file")
    with pytest.raises(DamagedKey, match=r"ca\.previous\.crt is damaged"):
        Pki(pki.authority.parent)


def test_a_renewed_certificate_is_for_the_same_and_by_another_key(pki: Pki) -> None:
    before = pki.node("a", ["172.30.0.11"])
    certificate, key = before.certificate, before.key
    listed = pki.found()
    pki.renew("node-a")
    assert [(each.name, each.subject) for each in pki.found()] == [(each.name, each.subject) for each in listed]
    assert pki.node("a", ["172.30.0.11"]).certificate != certificate
    assert Identity(before.path).key != key
    for name in ("nobody", "ca"):
        with pytest.raises(KeyError):
            pki.renew(name)


def test_retired_keys_pile_up_once_each_and_can_be_forgotten(pki: Pki) -> None:
    pki.service_account_key()
    for _ in range(2):
        pki.renew_service_account_key()
    assert pki.retired_keys.read_bytes().count(b"BEGIN PUBLIC KEY") == 2
    pki.forget_retired_keys()
    pki.forget_retired_keys()
    assert not pki.retired_keys.exists()


# What listens and who follows


@pytest.mark.parametrize("name", ["localhost", None])
def test_a_socket_that_listens_shows_what_was_made_last_and_forgets_an_authority(pki: Pki, name: str | None) -> None:
    """Also to clients that name no server, as those that dial an address."""
    path = pki.server(()).path
    live = Renewable(lambda: server_context(path, pki.authority))
    old = client_context(pki.authority, pki.admin().path)
    first = der(pki.server(()))
    assert shown(live.context, old, name) == first
    pki.renew("apiserver")
    assert shown(live.context, old, name) == first
    live.renew()
    assert shown(live.context, old, name) == der(pki.server(())) != first
    pki.introduce()
    pki.change()
    for each in ("apiserver", "admin"):
        pki.renew(each)
    live.renew()
    both = client_context(pki.authority, pki.admin().path)
    assert meet(live.context, both, name) == "kubernetes-admin"
    pki.retire()
    live.renew()
    new = client_context(pki.authority, pki.admin().path)
    assert meet(live.context, new, name) == "kubernetes-admin"
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ssl.SSLError):  # whom the old authority signed
        meet(live.context, old, name)


def test_what_cannot_be_loaded_leaves_what_is(pki: Pki) -> None:
    path = pki.server(()).path
    live = Renewable(lambda: server_context(path, pki.authority))
    client, first = client_context(pki.authority), der(pki.server(()))
    path.write_bytes(b"half a file")
    with pytest.raises((ssl.SSLError, OSError)):
        live.renew()
    assert shown(live.context, client) == first


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "LOOK_AGAIN", 0.005)


async def test_files_are_followed_and_a_failure_is_tried_again(quick: None, tmp_path: Path) -> None:
    file, calls = tmp_path / "key", 0
    used = asyncio.Event()

    def use() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("not yet")
        used.set()

    following = asyncio.create_task(Followed([file]).follow(use))
    write_private(file, "key")
    async with asyncio.timeout(10):
        await used.wait()
        assert calls == 2
        used.clear()
        write_private(file, "another")
        await used.wait()
    following.cancel()
    assert calls == 3


async def test_what_fails_to_be_renewed_is_tried_again(tmp_path: Path) -> None:
    done = asyncio.Event()
    loop, calls = asyncio.get_running_loop(), []

    def renew() -> None:
        calls.append(None)
        if len(calls) < 3:
            raise OSError("a full disk")
        loop.call_soon_threadsafe(done.set)

    running = asyncio.create_task(again_and_again(renew, 0.001))
    async with asyncio.timeout(10):
        await done.wait()
    running.cancel()


def test_a_kubeconfig_is_read_again_when_it_or_what_it_names_changes(pki: Pki, tmp_path: Path) -> None:
    file = tmp_path / "config"
    write_private(file, kubeconfig("https://127.0.0.1", pki.authority, pki.admin()))
    access = load(file)
    assert access.renewed() is access
    pki.renew("admin")
    write_private(file, kubeconfig("https://127.0.0.1", pki.authority, pki.admin()))
    renewed = access.renewed()
    assert (renewed.certificate, renewed.renewed()) == (pki.admin().certificate, renewed)
    file.unlink()
    with pytest.raises(KubeconfigError):
        renewed.renewed()


def test_files_that_a_kubeconfig_names_and_a_pods_bundle_are_looked_at(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config"
    file.write_text(
        "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\n"
        "clusters: [{name: c, cluster: {server: 'https://[::1]', certificate-authority: pki/ca.crt}}]\n"
    )
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    write_private(tmp_path / "pki" / "token", "t")
    outside, inside = load(file), in_cluster(tmp_path / "pki")
    assert outside.renewed() is outside
    assert inside.renewed() is inside
    pki.introduce()
    assert outside.renewed().authority == inside.renewed().authority == pki.authority.read_bytes() != outside.authority
