"""How many Pods may each ReplicaSet of a Deployment have now? The arithmetic of rolling, recreating and scaling, and no more.

Upstream: pkg/controller/deployment/{rolling,recreate,sync}.go. One difference: a ReplicaSet that has been told to shrink counts
with the Pods it still has, so that maxSurge bounds the Pods there are and not only the Pods that are wished for.
"""

from math import ceil, floor

from msgspec import Struct
from msgspec.structs import replace


class Budget(Struct, frozen=True):
    """`replicas` are wished for; up to `surge` more may exist, up to `unavailable` fewer be available."""

    replicas: int
    surge: int
    unavailable: int

    @property
    def most(self) -> int:
        return self.replicas + self.surge

    @property
    def fewest(self) -> int:
        return self.replicas - self.unavailable


class Member(Struct, frozen=True):
    """One ReplicaSet: its spec.replicas, status.replicas and status.availableReplicas.

    `desired` and `most` are the Deployment's replicas and replicas plus surge when this one was last scaled, None when it
    never was (annotations desired-replicas and max-replicas). `created` orders by age.
    """

    name: str
    replicas: int
    actual: int = 0
    available: int = 0
    created: str = ""
    desired: int | None = None
    most: int | None = None

    @property
    def occupied(self) -> int:
        return max(self.replicas, self.actual)

    @property
    def healthy(self) -> int:
        """Available Pods that stay: the unavailable are deleted first."""
        return min(self.replicas, self.available)


class Family(Struct, frozen=True):
    """`new` has the Deployment's template, None while there is none."""

    new: Member | None
    old: tuple[Member, ...]

    @property
    def all(self) -> tuple[Member, ...]:
        return self.old if self.new is None else (self.new, *self.old)

    def resized(self, sizes: dict[str, int]) -> "Family":
        def of(member: Member) -> Member:
            return replace(member, replicas=sizes[member.name]) if member.name in sizes else member

        return Family(of(self.new) if self.new else None, tuple(map(of, self.old)))


def budget(replicas: int, surge: int | str, unavailable: int | str) -> Budget:
    """Percentages are of `replicas`: surge rounds up, unavailable down; both 0 would never get anywhere, so one may be missing.

    Raises ValueError for a string that is no percentage.
    """
    most, fewest = _share(surge, replicas, up=True), _share(unavailable, replicas, up=False)
    if most == 0 and fewest == 0:
        fewest = 1
    return Budget(replicas, most, min(fewest, replicas))


def _share(value: int | str, total: int, up: bool) -> int:
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"invalid value for IntOrString: {value!r} is neither an integer nor a percentage")
    share = int(value[:-1]) * total / 100
    return ceil(share) if up else floor(share)


def rolled(family: Family, limits: Budget) -> Family:
    """As far as a rolling update can go now: the new one grows into the room there is, then the old ones shrink."""
    while True:
        further = _shrunk(_grown(family, limits), limits)
        if further == family:
            return family
        family = further


def _grown(family: Family, limits: Budget) -> Family:
    new = family.new
    if new is None or new.replicas == limits.replicas:
        return family
    if new.replicas > limits.replicas:
        return family.resized({new.name: limits.replicas})
    room = limits.most - sum(member.occupied for member in family.all)
    # The new one's own Pods beyond its wish leave no room for others, but need none themselves when it grows.
    room += new.occupied - new.replicas
    return family.resized({new.name: min(limits.replicas, new.replicas + max(room, 0))})


def _shrunk(family: Family, limits: Budget) -> Family:
    """First the unhealthy of the old ones, which costs no availability, then whatever availability allows."""
    new = family.new
    lacking = new.replicas - new.healthy if new else 0
    allowed = sum(member.replicas for member in family.all) - limits.fewest - lacking
    if allowed <= 0:
        return family
    family = _cut(family, allowed, healthy=False)
    spare = sum(member.healthy for member in family.all) - limits.fewest
    return _cut(family, spare, healthy=True)


def _cut(family: Family, most: int, healthy: bool) -> Family:
    """Takes up to `most` replicas from the old ones, the eldest first: all of them, or only those that are not healthy."""
    sizes = {}
    for member in sorted(family.old, key=_eldest):
        cut = max(0, min(most, member.replicas if healthy else member.replicas - member.healthy))
        sizes[member.name] = member.replicas - cut
        most -= cut
    return family.resized(sizes)


def recreated(family: Family, limits: Budget, old_pods_exist: bool) -> Family:
    """The old ones go down to none; when none of their Pods is left, the new one comes up whole."""
    if any(member.replicas for member in family.old):
        return family.resized({member.name: 0 for member in family.old})
    if family.new is None or old_pods_exist:
        return family
    return family.resized({family.new.name: limits.replicas})


def must_scale(family: Family, limits: Budget) -> bool:
    """The Deployment's replicas have changed since an active member was last scaled."""
    return any(member.replicas and member.desired not in (None, limits.replicas) for member in family.all)


def scaled(family: Family, limits: Budget, rolling: bool, observed: int) -> Family:
    """The change of the Deployment's size, shared out. `observed` is status.replicas, for members that were never annotated.

    One active member takes all of it. Once the new one is saturated the others go. In the midst of a rolling update every
    active member takes its proportion, so that a bad new version does not get all the new Pods.
    """
    active = [member for member in family.all if member.replicas]
    only = active[0] if len(active) == 1 else _latest(family) if not active else None
    if only is not None or not active:
        return family.resized({only.name: limits.replicas}) if only else family
    if family.new and _saturated(family.new, limits):
        return family.resized({member.name: 0 for member in family.old})
    return family.resized(_proportions(active, limits, observed)) if rolling else family


def _latest(family: Family) -> Member | None:
    return family.new or max(family.old, key=_eldest, default=None)


def _saturated(new: Member, limits: Budget) -> bool:
    return new.replicas == new.desired == new.available == limits.replicas


def _proportions(active: list[Member], limits: Budget, observed: int) -> dict[str, int]:
    add = (limits.most if limits.replicas else 0) - sum(member.replicas for member in active)
    # The largest first; of equals the newest when growing, the eldest when shrinking.
    active = sorted(active, key=_eldest, reverse=add > 0)
    active.sort(key=lambda member: -member.replicas)
    sizes, added = {}, 0
    for member in active:
        part = 0 if not add or added == add else _proportion(member, limits, observed)
        part = min(part, add - added) if add > 0 else max(part, add - added)
        sizes[member.name] = member.replicas + part
        added += part
    first = active[0].name
    sizes[first] = max(0, sizes[first] + add - added)  # what rounding left over
    return sizes


def _proportion(member: Member, limits: Budget, observed: int) -> int:
    if not limits.replicas:
        return -member.replicas
    before = member.most or observed
    # Half away from zero, as upstream rounds; all terms are positive.
    return floor(member.replicas * limits.most / before + 0.5) - member.replicas if before else 0


def _eldest(member: Member) -> tuple[str, str]:
    return member.created, member.name
