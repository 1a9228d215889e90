"""As few slices as possible change."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.endpoints.desired import endpoint_key
from mooring.endpoints.pack import pack

Document = dict[str, Any]
PORTS = ({"name": "", "protocol": "TCP", "port": 80},)
LIMIT = 4


def endpoint(name: str, ready: bool = True) -> Document:
    return {"addresses": [f"ip-{name}"], "conditions": {"ready": ready}, "targetRef": {"namespace": "default", "name": name}}


def slices(*contents: str) -> list[Document]:
    """Slices s0, s1...: a letter is an endpoint, upper case one that is not ready."""
    return [
        {"metadata": {"name": f"s{number}"}, "endpoints": [endpoint(each.lower(), each.islower()) for each in content]}
        for number, content in enumerate(contents)
    ]


def wanted(names: str) -> dict[Any, Document]:
    documents = [endpoint(each.lower(), each.islower()) for each in names]
    return {endpoint_key(each): each for each in documents}


def shown(endpoints: list[Document]) -> str:
    names = (
        each["targetRef"]["name"] if each["conditions"]["ready"] else each["targetRef"]["name"].upper() for each in endpoints
    )
    return "".join(names)


def outcome(existing: list[Document], names: str, outdated: dict[str, bool] | None = None) -> dict[str, str]:
    """What each slice becomes: '-' when it goes; slices that are not written are left out; new ones are +0, +1..."""
    packing = pack(existing, wanted(names), PORTS, LIMIT, outdated or {})
    new = (f"+{number}" for number in range(9))
    become = {each.origin["metadata"]["name"] if each.origin else next(new): shown(each.endpoints) for each in packing.changed}
    return become | {each["metadata"]["name"]: "-" for each in packing.gone}


@pytest.mark.parametrize(
    ("existing", "names", "expected"),
    [
        pytest.param([], "abc", {"+0": "abc"}, id="the first slice"),
        pytest.param([], "abcdef", {"+0": "abcd", "+1": "ef"}, id="as many slices as are needed"),
        pytest.param(["abc"], "abc", {}, id="nothing to do"),
        pytest.param(["abc", "def"], "abCdef", {"s0": "abC"}, id="one changes where it is"),
        pytest.param(["abc", "def"], "abdef", {"s0": "ab"}, id="one goes from where it was"),
        pytest.param(["ab", "c"], "ab", {"s1": "-"}, id="a slice goes with its last endpoint"),
        pytest.param(["ab", "c"], "abcx", {"s0": "abx"}, id="a new one goes to the fullest slice that has room"),
        pytest.param(["abcd", "e"], "abcdex", {"s1": "ex"}, id="a full slice is left alone"),
        pytest.param(["abcd"], "abcdx", {"+0": "x"}, id="a new slice when none has room"),
        pytest.param(["abc", "d"], "abcDx", {"s1": "Dx"}, id="a slice that changes anyway is filled before a fuller one"),
        pytest.param(["ab", "c"], "ABCxyz", {"s0": "ABxy", "s1": "Cz"}, id="changed slices are filled, the fullest first"),
        pytest.param(["abc", "def"], "abcdefxy", {"+0": "xy"}, id="never spread over two unchanged slices"),
        pytest.param(["ab", "cd", "ef"], "abcdef", {}, id="never rebalanced"),
        pytest.param(["abcdef"], "abcdef", {"s0": "abcd", "+0": "ef"}, id="what is over a lowered limit moves on"),
        pytest.param([""], "ab", {"s0": "ab"}, id="an empty slice is filled"),
    ],
)
def test_packing(existing: list[str], names: str, expected: dict[str, str]) -> None:
    assert outcome(slices(*existing), names) == expected


def test_an_outdated_slice_is_written_though_its_endpoints_stay() -> None:
    assert outcome(slices("ab", "cd"), "abcd", {"s1": True}) == {"s1": "cd"}


NAMES = st.text(alphabet="abcdefghijklmnopqrst", max_size=20).map(lambda text: "".join(dict.fromkeys(text)))


@given(st.lists(NAMES, max_size=12))
def test_whatever_happened_the_slices_hold_what_is_wanted_within_the_limit(history: list[str]) -> None:
    held: list[Document] = []
    for step, names in enumerate(history):
        packing = pack(held, wanted(names), PORTS, LIMIT, {})
        before = {key for each in held for key in map(endpoint_key, each["endpoints"])}
        after = wanted(names).keys()
        assert (packing.added, packing.removed) == (len(after - before), len(before - after))
        held = packing.kept + [
            {
                "metadata": draft.origin["metadata"] if draft.origin else {"name": f"{step}-{number}"},
                "endpoints": draft.endpoints,
            }
            for number, draft in enumerate(packing.changed)
        ]
        keys = [endpoint_key(each) for slice_ in held for each in slice_["endpoints"]]
        assert sorted(keys) == sorted(after)
        assert all(len(slice_["endpoints"]) <= LIMIT for slice_ in held)
        again = pack(held, wanted(names), PORTS, LIMIT, {})
        assert (again.changed, again.gone, again.added, again.removed) == ([], [], 0, 0)


@given(NAMES, st.sampled_from("abcdefghijklmnopqrst"))
def test_one_pods_change_touches_one_slice(names: str, changing: str) -> None:
    first = pack([], wanted(names), PORTS, LIMIT, {})
    held = [{"metadata": {"name": f"s{n}"}, "endpoints": draft.endpoints} for n, draft in enumerate(first.changed)]
    for after in (
        names.replace(changing, ""),
        names.replace(changing, changing.upper()),
        names.replace(changing, "") + changing,
    ):
        packing = pack(held, wanted(after), PORTS, LIMIT, {})
        assert len(packing.changed) + len(packing.gone) <= 1
