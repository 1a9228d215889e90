"""Do simulator, real Envoy and real NGINX find the same route, in tables and for requests at random?

`MOORING_ROUTE_TABLES` says how many tables, `MOORING_SEED` which.
"""

import os
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tests.routing.proxy_lab import RealProxy, both
from tests.routing.random_tables import a_request, tables

from mooring.routing.simulate import Request, simulate
from mooring.routing.table import RouteTable
from mooring.routing.table_text import text

TABLES = int(os.environ.get("MOORING_ROUTE_TABLES", "25"))
SEED = int(os.environ.get("MOORING_SEED", "1"))
REQUESTS = 40


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RealProxy]]:
    with both(tmp_path_factory.mktemp("proxies")) as found:
        yield found


@seed(SEED)
@settings(
    max_examples=TABLES,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
@given(tables(), st.integers(0, 2**16))
def test_all_find_the_same_route(proxies: list[RealProxy], table: RouteTable, number: int) -> None:
    random = Random(number)
    asked = [a_request(random) for _ in range(REQUESTS)]
    for proxy in proxies:
        proxy.serve(table, {})
        wrong = [told for request in asked if (told := _difference(proxy, table, request))]
        assert [] == wrong, "\n".join((*wrong, text(table)))


def _difference(proxy: RealProxy, table: RouteTable, request: Request) -> str:
    told, reply = simulate(table, request), proxy.ask(request)
    body = reply.body.decode() if reply.status == 200 else ""
    if (reply.status, body) == (told.status, told.body):
        return ""
    path = f"{request.method} {request.host} {request.path} {dict(request.headers)}"
    return f"{path}: {told.status} {told.body}, but {proxy.name} says {reply.status} {body}{reply.why}"
