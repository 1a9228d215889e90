"""Any well-typed document, however odd, is stored or refused, by every kind, on create and on update; nothing else happens."""

from functools import cache

import pytest
from direct import NOW, Direct, Refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mooring.apiserver import schema
from mooring.apiserver.contract import Env, Settings
from mooring.apiserver.kinds import STRATEGIES
from mooring.model.kinds import STORED

WORDS = st.sampled_from(
    ["", "a", "A b", "a.b/c", "None", "TCP", "ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "ClientIP",
     "Local", "IPv4", "IPv6", "RequireDualStack", "10.96.0.9", "010.1.1.1", "fd00::1", "10.0.0.0/8", "fd00::/64",
     "Always", "In", "Exists", "/a", "5%", "Prefix", "x" * 64]
)  # fmt: skip
NUMBERS = st.sampled_from([-1, 0, 1, 80, 10250, 30001, 65536, 2147483647])
SCALARS = {
    "string": WORDS,
    "bool": st.booleans(),
    "int32": NUMBERS,
    "int64": NUMBERS,
    "time": st.just("2026-11-22T12:00:00Z"),
    "micro-time": st.just("2026-11-22T12:00:00.000000Z"),
    "quantity": st.sampled_from(["1", "100m", "1Gi", 2]),
    "bytes": st.sampled_from(["", "YQ=="]),
    "int-or-string": st.one_of(NUMBERS, WORDS),
    "any": st.just({}),
}
SERVER_SET = {
    "kind",
    "apiVersion",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "resourceVersion",
    "managedFields",
    "generation",
}


@cache
def documents(type_name, depth=0):
    """A document of a type with a few of its fields, fewer the deeper it goes."""
    fields = {name: field for name, field in schema.types()[type_name].items() if name not in SERVER_SET}
    if not fields or depth == 7:
        return st.just({})

    @st.composite
    def document(draw):
        return {name: draw(values(fields[name], 0, depth)) for name in sorted(draw(wanted))}

    wanted = st.sets(st.sampled_from(sorted(fields)), max_size=max(1, 6 - depth))
    return document()


@cache
def values(field, level, depth):
    if level < len(field.wrappers):
        inner = values(field, level + 1, depth)
        return st.lists(inner, max_size=2) if field.wrappers[level] == "[]" else st.dictionaries(WORDS, inner, max_size=2)
    return SCALARS[field.base] if field.base in SCALARS else documents(field.base, depth + 1)


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: f"{kind.kind}.{kind.group or 'core'}")
@settings(suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_odd_documents_are_stored_or_refused(kind, data):
    api = Direct()
    name = "10.96.3.3" if kind.kind == "IPAddress" else "odd"
    stored = None
    for verb in (api.create, api.update, api.update):
        document = data.draw(documents(schema.type_of(kind)))
        document["metadata"] = (document.get("metadata") or {}) | {
            "name": name,
            "namespace": "default" if kind.namespaced else "",
        }
        try:
            stored = verb(kind, document)
        except Refused as refusal:
            assert refusal.code in (400, 404, 409, 422), refusal
    if stored is not None:
        strategy = STRATEGIES[kind]
        assert len(strategy.columns) == len(strategy.cells(stored, Env(NOW, None, Settings())))
        assert all(isinstance(value, str) for value in strategy.fields(stored).values())
