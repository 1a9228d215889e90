"""What must be written so that every default role and binding is there? Missing rules and subjects are added.

Nothing is taken but what an option no longer asks for. Upstream reconciles at every start what carries the annotation
rbac.authorization.kubernetes.io/autoupdate: "true".
"""

from typing import Any

from mooring.apiserver import metadata
from mooring.apiserver.authorization.default_roles import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, NODES_READ_PODS
from mooring.apiserver.authorization.rules import document, rule, uncovered
from mooring.apiserver.contract import Env
from mooring.model import codec
from mooring.model.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, Kind
from mooring.store.records import Compare, Delete, Put, Txn
from mooring.store.snapshot import Snapshot

Document = dict[str, Any]

_AUTO = "rbac.authorization.kubernetes.io/autoupdate"


def missing(snapshot: Snapshot, env: Env) -> list[Txn]:
    """One transaction for each object to be made or amended; none when all is well."""
    found = []
    bindings = (*CLUSTER_ROLE_BINDINGS, *((NODES_READ_PODS,) if env.settings.nodes_read_pods else ()))
    for kind, defaults in ((CLUSTER_ROLE, CLUSTER_ROLES), (CLUSTER_ROLE_BINDING, bindings)):
        for default in defaults:
            if txn := _wanted(kind, default, snapshot, env):
                found.append(txn)
    unasked = snapshot.get(CLUSTER_ROLE_BINDING.key("", NODES_READ_PODS["metadata"]["name"]))
    if unasked and not env.settings.nodes_read_pods and _is_ours(codec.decode(unasked.value)):
        found.append(Txn((Compare(unasked.key, unasked.mod_revision),), (Delete(unasked.key),)))
    return found


def _is_ours(document: Document) -> bool:
    return (document["metadata"].get("annotations") or {}).get(_AUTO) == "true"


def _wanted(kind: Kind, default: Document, snapshot: Snapshot, env: Env) -> Txn | None:
    key = kind.key("", default["metadata"]["name"])
    record = snapshot.get(key)
    if record is None:
        made = {**default, "metadata": dict(default["metadata"])}
        metadata.begin(made["metadata"], env.now, env.rng)
        return Txn((Compare(key, 0),), (Put(key, codec.canonical(made)),))
    now = codec.decode(record.value)
    if not _is_ours(now) or not _amend(kind, now, default):
        return None
    return Txn((Compare(key, record.mod_revision),), (Put(key, codec.canonical(now)),))


def _amend(kind: Kind, now: Document, default: Document) -> bool:
    """Adds what the object lacks of its default; whether anything was."""
    if kind is CLUSTER_ROLE_BINDING:
        subjects = now.get("subjects") or []
        lacking = [subject for subject in default["subjects"] if subject not in subjects]
        now["subjects"] = [*subjects, *lacking]
        return bool(lacking)
    if "aggregationRule" in default:
        lacks = "aggregationRule" not in now
        now.setdefault("aggregationRule", default["aggregationRule"])
        return lacks
    rules = now.get("rules") or []
    lacking = uncovered([rule(each) for each in default["rules"]], [rule(each) for each in rules])
    now["rules"] = [*rules, *map(document, lacking)]
    return bool(lacking)
