"""What is wrong with a Service that the API accepts? Every problem in plain words, each with what a person can do about it.

    problems(Case(document=document, service=service(document), slices=slices, pods=pods, ...))

`mooring explain` shows them all, and the controllers tell the broken ones as Events. One module for each concern; a check is
a generator from the case to its problems.
"""

from collections.abc import Callable, Iterator

from mooring.services.problems import addresses, balancer, labels, names, pods, policies, ports, slices
from mooring.services.problems.problem import Case as Case
from mooring.services.problems.problem import Problem as Problem
from mooring.services.problems.problem import Severity as Severity

CHECKS: tuple[Callable[[Case], Iterator[Problem]], ...] = tuple(
    check for concern in (labels, names, pods, ports, slices, addresses, balancer, policies) for check in concern.CHECKS
)


def problems(case: Case) -> tuple[Problem, ...]:
    """The worst first; else in the order of CHECKS, which follows a request from the name to the pod's neighbourhood."""
    found = [problem for check in CHECKS for problem in check(case)]
    order = list(Severity)
    return tuple(sorted(found, key=lambda problem: order.index(problem.severity)))
