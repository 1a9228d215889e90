"""Which zones can a node keep at all?"""

import pytest

from mooring.app.resolver import zone_options
from mooring.dns.settings import DnsSettings, DnsSettingsError

RANGES = ("10.96.0.0/16", "10.244.0.0/16")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        pytest.param({"external_zone": "cluster.local"}, "the cluster's own names", id="the outside is the cluster's domain"),
        pytest.param({"external_zone": "LOCAL."}, "the cluster's own names", id="the outside is above it"),
        pytest.param({"reverse": ("10.0.0.0/9", "172.0.0.0/9")}, "reverse: 258 zones, at most 256", id="more than a table has"),
    ],
)
def test_zones_that_cannot_be_kept_are_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(DnsSettingsError, match=complaint):
        zone_options(DnsSettings(**settings), "cluster.local", RANGES, ())  # type: ignore[arg-type]


def test_an_outside_below_the_clusters_domain_is_well() -> None:
    found = zone_options(DnsSettings(external_zone="out.cluster.local"), "cluster.local", RANGES, ("10.96.0.10",))
    assert ("out.cluster.local", ("10.96.0.10",)) == (found.external, found.addresses)
