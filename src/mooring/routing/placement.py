"""Where does a proxy listen? The ports that clients name, at the addresses and ports that it binds."""

from collections.abc import Mapping

from msgspec import Struct, field


class Placement(Struct, frozen=True):
    """`ports`: for each port of a Listener the one to bind; those not named are bound as they are. `folder` holds the proxy's
    files and sockets. `ready_port` answers /readyz with 200 while requests are served and 503 while the proxy drains."""

    folder: str
    addresses: tuple[str, ...] = ("::",)
    """Each is bound; `::` takes IPv4 too."""
    ports: Mapping[int, int] = field(default_factory=lambda: {80: 8080, 443: 8443})
    ready_port: int = 8081

    def bound(self, port: int) -> int:
        return self.ports.get(port, port)
