"""From what was applied last, what is, and what is wanted, to a patch: checked against the server's own patching."""

import copy
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.apiserver import patch_strategic, schema
from mooring.cli.three_way import patch
from mooring.model.kinds import DEPLOYMENT, SERVICE

Document = dict[str, Any]
service = partial(schema.patch_meta, SERVICE)
deployment = partial(schema.patch_meta, DEPLOYMENT)


def applied(last: Document, live: Document, wanted: Document) -> Document:
    """The document after the patch, and the promise that a second apply finds nothing to do."""
    result = patch_strategic.apply(copy.deepcopy(live), patch(last, live, wanted, service), service)
    assert patch(wanted, result, wanted, service) == {}
    return result


def spec(*ports: Document, **more: Any) -> Document:
    return {"spec": {"ports": list(ports), **more}}


WEB, DNS = {"name": "web", "port": 80}, {"name": "dns", "port": 53}


@pytest.mark.parametrize(
    ("last", "live", "wanted", "expected"),
    [
        (spec(WEB), spec(WEB | {"nodePort": 30080}), spec(WEB), spec(WEB | {"nodePort": 30080})),
        (spec(WEB), spec(WEB, DNS), spec(WEB), spec(WEB, DNS)),
        (spec(WEB, DNS), spec(WEB, DNS), spec(WEB), spec(WEB)),
        (spec(WEB), spec(WEB), spec(WEB | {"targetPort": "http"}), spec(WEB | {"targetPort": "http"})),
        (spec(WEB, type="NodePort"), spec(WEB, type="NodePort"), spec(WEB), spec(WEB)),
        (spec(WEB), spec(WEB, sessionAffinity="None"), spec(WEB), spec(WEB, sessionAffinity="None")),
        ({"spec": {"selector": {"a": "1", "b": "2"}}}, {"spec": {"selector": {"a": "1", "b": "2", "c": "3"}}},
         {"spec": {"selector": {"a": "9"}}}, {"spec": {"selector": {"a": "9", "c": "3"}}}),
        ({}, {"metadata": {"labels": {"other": "x"}}}, {"metadata": {"labels": {"mine": "y"}}},
         {"metadata": {"labels": {"other": "x", "mine": "y"}}}),
    ],
    ids=[
        "what the server filled in stays",
        "a port that others added stays",
        "a port that the last manifest had goes",
        "a port is changed where its key is found",
        "a field that the last manifest had goes",
        "a default stays",
        "a map loses what was ours, keeps what was not, changes what is",
        "labels of others stay on an object never applied before",
    ],
)  # fmt: skip
def test_cases(last: Document, live: Document, wanted: Document, expected: Document) -> None:
    assert applied(last, live, wanted) == expected


def test_nothing_to_do_is_an_empty_patch() -> None:
    assert patch(spec(WEB), spec(WEB | {"protocol": "TCP"}), spec(WEB), service) == {}


def test_changing_the_strategy_drops_the_fields_of_the_old_one() -> None:
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}}}
    wanted = {"spec": {"strategy": {"type": "Recreate"}}}
    change = patch({}, live, wanted, deployment)
    assert patch_strategic.apply(live, change, deployment) == wanted


names = st.sampled_from(["a", "b", "c", "d"])
ports = st.dictionaries(st.integers(1, 5), st.fixed_dictionaries({}, optional={"name": names, "targetPort": st.integers(1, 3)}))
specs = st.fixed_dictionaries(
    {"ports": ports.map(lambda found: [{"port": port, **more} for port, more in found.items()])},
    optional={"type": names, "selector": st.dictionaries(names, names), "externalIPs": st.lists(names)},
)


@given(last=specs, live=specs, wanted=specs)
def test_what_is_wanted_is_there_afterwards_and_what_we_took_back_is_not(
    last: Document, live: Document, wanted: Document
) -> None:
    result = applied({"spec": last}, {"spec": live}, {"spec": wanted})["spec"]
    for port in wanted["ports"]:
        found = next(each for each in result["ports"] if each["port"] == port["port"])
        assert port.items() <= found.items()
    left = {each["port"] for each in last["ports"]} - {each["port"] for each in wanted["ports"]}
    assert left.isdisjoint(each["port"] for each in result["ports"])
    assert wanted.get("selector", {}).items() <= (result.get("selector") or {}).items()
    for field in ("type", "externalIPs"):
        if field in wanted:
            assert result[field] == wanted[field]
        elif field in last:
            assert field not in result
