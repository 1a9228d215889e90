"""Does every scenario of Ingresses become Gateway API objects that an API server takes, with nothing dropped in silence?"""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from tests.routing.conversion.gateway_schema import faults

from mooring.routing.ingress.build import build
from mooring.routing.ingress.conversion.remark import Mark
from mooring.routing.ingress.conversion.report import ENVOY, GATEWAY, NGINX, report
from mooring.routing.ingress.documents import objects
from mooring.routing.nginx.lacks import lacks as nginx_lacks
from mooring.routing.table import Certificate
from mooring.routing.xds.lacks import lacks as envoy_lacks

SCENARIOS = sorted(path for path in (Path(__file__).parents[2] / "scenarios" / "ingress").iterdir() if path.is_dir())
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize("folder", SCENARIOS, ids=lambda path: path.name)
def test_a_scenario_as_gateway_api(folder: Path) -> None:
    documents = [each for each in yaml.safe_load_all((folder / "input.yaml").read_text()) if each]
    found = report(
        objects(documents),
        NOW,
        build=build,
        lacks={ENVOY: envoy_lacks, NGINX: nginx_lacks},
        certificate=Certificate(b"", b"", "none"),
    )
    assert [] == [fault for each in found.documents for fault in faults(dict(each))]
    routes = [each for each in found.documents if each["kind"] in ("HTTPRoute", "GRPCRoute", "TLSRoute")]
    said = [each.mark(GATEWAY) for each in found.ingresses]
    assert routes or Mark.CANNOT in said
    for route in routes:
        for rule in route["spec"]["rules"]:
            # A rule that neither forwards nor redirects is one that something is said about.
            answers = any(each["type"] == "RequestRedirect" for each in rule.get("filters", ()))
            assert rule.get("backendRefs") or answers or Mark.CANNOT in said
