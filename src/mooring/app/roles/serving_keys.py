"""How does the API server follow its keys? Its listening TLS, its client of kubelets, its tokens."""

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from mooring.apiserver.contract import Settings
from mooring.edges.http.authn import ServiceAccountTokens
from mooring.edges.http.kubelet import KubeletDialer
from mooring.edges.http.renewal import Followed, Renewable, again_and_again
from mooring.edges.http.tls import Authorities, client_context, server_context
from mooring.edges.pki import Pki

RENEWAL_CHECK = 12 * 3600.0
"""Seconds between two looks at what nears its end."""


class ServingKeys:
    """Made anew by `follow` whenever the files say something else, whoever exchanged them."""

    def __init__(self, pki: Pki, names: tuple[str, ...], issuer: str, kubelet_namespace: str = "") -> None:
        """`names` are those to certify. Raises DamagedKey, OSError."""
        self._pki, self._names = pki, names
        self._renew()
        served = (pki.authority, pki.server(names).path, pki.kubelet_client().path)
        self._followed = Followed((*served, pki.service_account_key(), pki.retired_keys))
        self.tls = Renewable(lambda: server_context(served[1], pki.authority))
        self._client = partial(client_context, pki.authority, served[2])
        self.dial = KubeletDialer(self._client(), kubelet_namespace)
        self._authorities = Authorities(pki.authority.read_bytes())
        self.renounce: Callable[[Callable[[bytes], bool]], None] = lambda trusted: None
        """Called when an authority is trusted no more, with what tells whether a client's certificate still is."""
        self.tokens = ServiceAccountTokens(pki.service_account_key().read_bytes(), issuer, retired=self._retired())

    def settings(self, settings: Settings) -> Settings:
        """With what the core needs of the tokens."""
        tokens = self.tokens
        return msgspec.structs.replace(
            settings, token_signer=tokens.sign, token_verifier=tokens.review, token_keys=tokens.key_set
        )

    async def follow(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._followed.follow(self._use))
            tasks.create_task(again_and_again(self._renew, RENEWAL_CHECK))

    def _use(self) -> None:
        self.tls.renew()
        self.dial.renew(self._client())
        self.tokens.use(self._pki.service_account_key().read_bytes(), self._retired())
        before, self._authorities = self._authorities, Authorities(self._pki.authority.read_bytes())
        if self._authorities.lacks(before):
            self.renounce(self._authorities.signed)

    def _retired(self) -> bytes:
        return self._pki.retired_keys.read_bytes() if self._pki.retired_keys.exists() else b""

    def _renew(self) -> None:
        self._pki.server(self._names)
        self._pki.kubelet_client()
