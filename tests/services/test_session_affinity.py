"""For how long is a client remembered?"""

from typing import Any

import pytest

from mooring.model.service import service
from mooring.services.session_affinity import seconds


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, 0, id="not at all"),
        pytest.param({"sessionAffinity": "None"}, 0, id="None: not at all"),
        pytest.param({"sessionAffinity": "ClientIP"}, 10800, id="ClientIP: three hours"),
        pytest.param({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {}}, 10800, id="an empty config says nothing"),
        pytest.param({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {}}}, 10800, id="nor does this one"),
        pytest.param(
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}}, 1, id="as it says"
        ),
        pytest.param(
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}}},
            86400,
            id="for a day at most",
        ),
        pytest.param(
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
            10800,
            id="what the API would refuse is read as the default",
        ),
        pytest.param(
            {"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}},
            0,
            id="a config without ClientIP has no meaning",
        ),
    ],
)
def test_a_client_comes_back_for_so_many_seconds(spec: dict[str, Any], expected: int) -> None:
    assert expected == seconds(service({"metadata": {"name": "web"}, "spec": spec}))
