"""Do the tables tell of a frontend's arms what the policies mean, and alike wherever the same arms are met?"""

from mooring.dataplane.arms import Way, told, untold
from mooring.dataplane.ruleset import FRONTENDS, MASQUERADED, OUTSIDE_FRONTENDS, OUTSIDE_SHAPES, SHAPES, TRANSPARENT
from mooring.dataplane.shapes import DROP_SHAPE, REJECT_SHAPE
from mooring.endpoints.select import Basis, Endpoint, Pools
from mooring.services import traffic_policy
from mooring.services.locality import Locality
from mooring.services.traffic_policy import Arms
from mooring.services.view import Entry, Family, Frontend

HERE = Locality("a", pod_cidrs=("10.244.0.0/24",))
FAR = Endpoint("10.244.1.1", 80, "b")
NEAR = Endpoint("10.244.0.1", 80, "a", True)
BOTH = Pools((NEAR, FAR), (NEAR,))


def at(entry: Entry, arms: Arms, address: str = "192.0.2.1") -> Frontend:
    return Frontend(entry, address, 80, arms.pod, arms.node, arms.outside)


def test_where_each_source_is_led_and_whose_is_hidden() -> None:
    everywhere, nowhere, far = BOTH, Pools(), Pools((FAR,))
    local, cluster = "Local", "Cluster"
    pick, pick_near = Way(FRONTENDS, SHAPES, 0, None), Way(OUTSIDE_FRONTENDS, OUTSIDE_SHAPES, 1, None)
    drop, refuse = Way(OUTSIDE_FRONTENDS, OUTSIDE_SHAPES, 1, DROP_SHAPE), Way(FRONTENDS, SHAPES, 0, REJECT_SHAPE)
    said = {
        (entry, policy, pools): (told(frontend).ways, told(frontend).hiding)
        for entry, policy, pools, arms in (
            (Entry.CLUSTER_IP, cluster, everywhere, traffic_policy.internal),
            (Entry.NODE_PORT, cluster, everywhere, traffic_policy.external),
            (Entry.NODE_PORT, local, everywhere, traffic_policy.external),
            (Entry.LOAD_BALANCER, local, far, traffic_policy.external),
            (Entry.EXTERNAL_IP, cluster, nowhere, traffic_policy.external),
        )
        for frontend in (at(entry, arms(policy, pools, HERE, Family.IPV4)),)
    }
    assert said == {
        (Entry.CLUSTER_IP, cluster, everywhere): ((pick,), ""),
        (Entry.NODE_PORT, cluster, everywhere): ((pick,), MASQUERADED),
        (Entry.NODE_PORT, local, everywhere): ((pick, pick_near), TRANSPARENT),
        (Entry.LOAD_BALANCER, local, far): ((pick, drop), TRANSPARENT),
        (Entry.EXTERNAL_IP, cluster, nowhere): ((refuse,), ""),
    }


def test_the_same_arms_are_the_same_object_at_every_service() -> None:
    other = Pools((Endpoint("10.244.1.9", 81, "b"), FAR), (), Basis.READY)
    assert traffic_policy.external("Cluster", BOTH, HERE, Family.IPV4) == traffic_policy.external(
        "Cluster", other, HERE, Family.IPV4
    )
    one, two = (
        at(Entry.NODE_PORT, traffic_policy.external("Local", BOTH, HERE, Family.IPV4), each) for each in ("1.1.1.1", "2.2.2.2")
    )
    assert told(one) is told(two)


def test_arms_that_fit_a_node_that_tells_its_pods_need_not_fit_one_that_does_not() -> None:
    frontend = at(Entry.CLUSTER_IP, traffic_policy.internal("Cluster", BOTH, HERE, Family.IPV4))
    assert ("", True) == (untold(frontend, True), "no table can hold" in untold(frontend, False))
