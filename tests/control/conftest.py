"""Whatever the reconcilers plan in any of these tests, the role of the controllers must let them write."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import wraps
from random import Random
from typing import Any

import pytest

from mooring.apiserver import access
from mooring.apiserver.authorization import bootstrap
from mooring.apiserver.authorization.attributes import Attributes
from mooring.apiserver.contract import Env, Settings, User
from mooring.control import reconcilers
from mooring.control.reconciler import Apply, Plan
from mooring.store.state import State

CONTROLLERS = User("system:kube-controller-manager", ("system:authenticated",))


def _rights() -> State:
    state = State()
    for txn in bootstrap.missing(state, Env(datetime(2026, 1, 1, tzinfo=UTC), Random(1), Settings())):
        state.apply(txn)
    return state


def _allowed(write: Apply, rights: State) -> bool:
    kind = write.kind
    where = kind.group, kind.version, kind.plural, write.subresource, write.namespace, write.name
    return access.authorize(Attributes(CONTROLLERS, write.verb, *where), rights).allowed


def _classes() -> Iterator[Any]:
    for each in pkgutil.iter_modules(reconcilers.__path__):
        module = importlib.import_module(f"{reconcilers.__name__}.{each.name}")
        yield from (one for one in vars(module).values() if isinstance(one, type) and hasattr(one, "watches"))


@pytest.fixture(autouse=True, scope="session")
def what_is_planned_may_be_written() -> Iterator[None]:
    rights, patch = _rights(), pytest.MonkeyPatch()

    def checked(plan: Callable[..., Plan]) -> Callable[..., Plan]:
        @wraps(plan)
        def planned(*given: Any) -> Plan:
            made = plan(*given)
            refused = [write for write in made.writes if not _allowed(write, rights)]
            assert not refused, f"controllers may not {refused[0].verb} {refused[0].kind.plural}/{refused[0].subresource}"
            return made

        return planned

    for one in set(_classes()):
        for method in ("plan", "refused"):
            if method in vars(one):
                patch.setattr(one, method, checked(getattr(one, method)))
    yield
    patch.undo()
