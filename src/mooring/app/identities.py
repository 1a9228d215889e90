"""Who is who in a local cluster? The keys and kubeconfigs of the API server's clients: the user, the controllers, the nodes.

The API server makes its own, for the addresses it listens on.
"""

from mooring.app import cluster
from mooring.app.files import Files, Running
from mooring.app.settings import Settings
from mooring.edges.pki import Identity, Pki, kubeconfig, write_private


def ensure(settings: Settings, files: Files, running: Running) -> None:
    """Makes or renews all keys, and writes the kubeconfigs for the ports in use. Harmless to repeat.

    Raises DamagedKey.
    """
    pki = Pki(files.pki)
    pki.service_account_key()

    def access(server: str, identity: Identity, user: str) -> str:
        return kubeconfig(server, pki.authority, identity, settings.name, user)

    here = cluster.server_url(running)
    files.write_kubeconfig(access(here, pki.admin(), "admin"))
    write_private(files.role_kubeconfig("controllers"), access(here, pki.controllers(), "controllers"))
    for place in cluster.network(settings).nodes:
        identity = pki.node(place.name, [str(address.ip) for address in place.addresses])
        write_private(files.role_kubeconfig(place.name), access(cluster.node_network_url(settings), identity, place.name))
