"""Who gives to a name that several objects may give to? An index of reverse zones and of the zone for the outside.

An address may be the endpoint of several Services, and a host that of an Ingress and of a Service. Names that have nothing of
their own, but others below, are counted: they go when the last of those has gone (RFC 8020).
"""

from mooring.dns.addresses import reverse_name
from mooring.dns.layout import Layout, layout
from mooring.dns.names import LABEL_LIMIT, NAME_LIMIT, BadName, Name, below, from_text
from mooring.dns.zone import Giver, Index, PublishedIngress, PublishedNamespace, Source, Zone, giver_of
from mooring.services.names import PublishedService
from mooring.services.view import ServiceName


class SharedNames:
    """Who keeps a Zone calls `change` for each object before the Zone is read again."""

    def __init__(self, within: Layout) -> None:
        self._layout = within
        self._givers: dict[Name, tuple[Giver, ...]] = {}
        self._between: dict[Name, int] = {}

    def get(self, name: Name) -> tuple[Giver, ...] | None:
        """As Index has it."""
        found = self._givers.get(name)
        return () if found is None and name in self._between else found

    def change(self, key: ServiceName, before: Source | None, after: Source | None) -> None:
        """An object publishes something else than before; None when it is not there."""
        source = after or before
        if source is None:
            return
        giver = giver_of(key, source)
        was = set(shared_names(self._layout, key, before))
        now = set(shared_names(self._layout, key, after))
        alone = (giver,)  # one tuple for all the names of an object: there may be 100,000
        for name in now - was:
            held = self._givers.get(name)
            self._givers[name] = alone if held is None else tuple(sorted((*held, giver)))
            if held is None:
                self._count(name, 1)
        for name in was - now:
            left = tuple([each for each in self._givers[name] if each != giver])
            if left:
                self._givers[name] = left
            else:
                del self._givers[name]
                self._count(name, -1)

    def _count(self, name: Name, step: int) -> None:
        for above in between(self._layout, name):
            count = self._between.get(above, 0) + step
            if count:
                self._between[above] = count
            else:
                del self._between[above]


def index(zone: Zone) -> SharedNames:
    """Of all objects of a Zone."""
    found = SharedNames(layout(zone.options))
    for key, source in zone.sources():
        found.change(key, None, source)
    return found


def index_of(zone: Zone) -> Index:
    """The Zone's own, or a new one."""
    return index(zone) if zone.shared is None else zone.shared


def shared_names(within: Layout, key: ServiceName, source: Source | None) -> list[Name]:
    """The names in reverse zones and in the zone for the outside to which an object gives, those without records too."""
    match source:
        case PublishedService():
            found = reverse_names(within, key, source)
            outer = outer_name(within, key)
            if outer and (source.external or source.external_hosts):
                found.append(outer)
                if source.external:
                    found += port_names(outer, source)
            return found
        case PublishedIngress() if within.external:
            return ingress_names(within, source)
        case PublishedNamespace() if within.external:
            name = label(key[1]) + within.external
            return [name] if within.apex(name) == within.external else []
    return []


def service_name(within: Layout, key: ServiceName) -> Name:
    """<service>.<namespace>.svc.<domain>, in lower case. Raises BadName when it does not fit."""
    name = label(key[1]) + label(key[0]) + within.services
    if len(name) > NAME_LIMIT:
        raise BadName(f"a name has at most {NAME_LIMIT} octets, not {len(name)}")
    return name


def reverse_names(within: Layout, key: ServiceName, source: PublishedService) -> list[Name]:
    """Of each of its addresses that lies in a reverse zone, each once."""
    if not within.reverse:
        return []
    try:
        service_name(within, key)
    except BadName:
        return []
    each_once = dict.fromkeys((*source.addresses, *[each.address for each in source.endpoints], *source.external))
    names = [reverse_name(address) for address in each_once]
    return [name for name in names if within.reverse_apex(name) is not None]


def outer_name(within: Layout, key: ServiceName) -> Name | None:
    """<service>.<namespace>.<external>; None when there is no such zone, or it does not fit."""
    if not within.external:
        return None
    try:
        name = label(key[1]) + label(key[0]) + within.external
    except BadName:
        return None
    return name if len(name) <= NAME_LIMIT and within.apex(name) == within.external else None


def port_names(base: Name, source: PublishedService) -> list[Name]:
    """_<port>._<protocol>.<base> of each of the Service's own named ports."""
    named = dict.fromkeys((each.name, each.protocol) for each in source.ports if each.name)
    found = [port_name(base, port, protocol) for port, protocol in named]
    return [name for name in found if name is not None]


def port_name(base: Name, port: str, protocol: str) -> Name | None:
    """None when it does not fit: a port's name may have 63 letters, and then there is no room for the underscore."""
    if len(port) >= LABEL_LIMIT:
        return None
    name = label(f"_{port}") + label(f"_{protocol}") + base
    return name if len(name) <= NAME_LIMIT else None


def ingress_names(within: Layout, source: PublishedIngress) -> list[Name]:
    """The hosts that lie in the zone for the outside, where the Ingress has a place at all."""
    if not within.external or not (source.addresses or source.aliases):
        return []
    found: list[Name] = []
    for host in source.hosts:
        try:
            name = from_text(host.lower())
        except BadName:
            continue
        if below(name, within.external) and within.apex(name) == within.external and name not in found:
            found.append(name)
    return found


def between(within: Layout, name: Name) -> list[Name]:
    """The names between a name and its zone's apex, both left out."""
    apex = within.apex(name)
    found: list[Name] = []
    while apex is not None and name != apex:
        name = name[1 + name[0] :]
        if name != apex:
            found.append(name)
    return found


def label(text: str) -> bytes:
    """One label. Raises BadName for an empty or long one, which the API lets nobody write."""
    data = text.encode()
    if not 0 < len(data) <= LABEL_LIMIT:
        raise BadName(f"a label has 1 to {LABEL_LIMIT} octets, not {len(data)}")
    return bytes((len(data),)) + data
