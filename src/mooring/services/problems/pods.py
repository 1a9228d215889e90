"""Does the selector choose pods, and can they serve? Where not: which pods come near, and what each one lacks."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from mooring.endpoints.desired import families
from mooring.endpoints.pods import PodFacts, address_of, pod_facts, resolved_ports, selects
from mooring.services.problems.listed import listed
from mooring.services.problems.problem import Case, Document, Problem, Severity
from mooring.services.problems.why_not import Cause, Circumstances, why_not
from mooring.services.problems.words import are, counted, have, labels, listing, verb


def circumstances(case: Case) -> Circumstances:
    return Circumstances({each["metadata"]["name"]: each for each in case.nodes} if case.nodes else None, case.events)


# No pod ---------------------------------------------------------------------------------------------------------------------


def no_pod(case: Case) -> Iterator[Problem]:
    """The selector matches nothing: what comes near is told, nearest first."""
    if not case.selects or case.pods:
        return
    selector = case.service.spec.selector or {}
    sentence = f"no pod in namespace {case.namespace} has the labels {labels(selector)}"
    near = next((found for hint in NEAR_MISSES if (found := hint(case, selector))), None)
    more, fix = near or ("", "start pods with these labels, or correct spec.selector")
    yield case.problem("NoMatchingPods", Severity.BROKEN, "spec.selector", sentence + (f"; {more}" if more else ""), fix)


Hint = tuple[str, str]
"""What was found, and what to do about it."""


def _idle_workloads(case: Case, selector: dict[str, str]) -> Hint | None:
    for each in case.workloads:
        spec, status = each.get("spec") or {}, each.get("status") or {}
        template = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
        if not selects(selector, template):
            continue
        name, wanted = f"deployment/{each['metadata']['name']}", spec.get("replicas", 1)
        if not wanted:
            return f"{name} makes such pods, but wants 0", f"`kubectl scale {name} -n {case.namespace} --replicas=1`"
        failed = [one for one in status.get("conditions") or () if one.get("type") == "ReplicaFailure"]
        why = f": {failed[0].get('message', '')}" if failed else ""
        return f"{name} wants {wanted} and has made none{why}", f"`mooring describe {name} -n {case.namespace}` tells more"
    return None


def _all_but_one(case: Case, selector: dict[str, str]) -> Hint | None:
    found: dict[str, list[Document]] = {}
    for pod in case.others:
        own = pod["metadata"].get("labels") or {}
        missing = [key for key, value in selector.items() if own.get(key) != value]
        if pod["metadata"]["namespace"] == case.namespace and len(missing) == 1 and len(selector) > 1:
            found.setdefault(missing[0], []).append(pod)
    if not found:
        return None
    key = max(sorted(found), key=lambda each: len(found[each]))
    pods = found[key]
    values = sorted({(pod["metadata"].get("labels") or {}).get(key, "") for pod in pods})
    has = "without it" if values == [""] else f"with {listing(f'{key}={value}' for value in values if value)}"
    sentence = f"{_names(pods)} {have(pods)} all of them but {key}={selector[key]}: {has}"
    return sentence, f"correct {key} in spec.selector or in the pods' labels, whichever is wrong"


def _in_another_namespace(case: Case, selector: dict[str, str]) -> Hint | None:
    found = [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for pod in case.others
        if pod["metadata"]["namespace"] != case.namespace and selects(selector, pod["metadata"].get("labels"))
    ]
    if not found:
        return None
    where = sorted({each.partition("/")[0] for each in found})
    sentence = f"{listing(sorted(found))} {have(found)} them, in {verb(where, 'another namespace', 'others')}"
    fix = f"a selector sees its own namespace alone: make the Service in {listing(where)}, and an ExternalName here if need be"
    return sentence, fix


def _other_values(case: Case, selector: dict[str, str]) -> Hint | None:
    """For a selector of one pair: which values that label has here."""
    if len(selector) != 1:
        return None
    [key] = selector
    here = [pod["metadata"] for pod in case.others if pod["metadata"]["namespace"] == case.namespace]
    values = sorted({metadata["labels"][key] for metadata in here if key in (metadata.get("labels") or {})})
    if not values:
        return None
    sentence = f"pods here have {listing(f'{key}={value}' for value in values)}"
    return sentence, f"correct {key} in spec.selector, or start pods with {labels(selector)}"


NEAR_MISSES: tuple[Callable[[Case, dict[str, str]], Hint | None], ...] = (
    _idle_workloads,
    _all_but_one,
    _in_another_namespace,
    _other_values,
)


# Pods that do not serve -----------------------------------------------------------------------------------------------------


def not_serving(case: Case) -> Iterator[Problem]:
    """None of the pods is ready, or only some are. Those that have ended or are going are missed only where nobody serves."""
    if not case.selects or not case.pods:
        return
    around = circumstances(case)
    judged = [(pod, pod_facts(pod), why_not(pod, around)) for pod in case.pods]
    if case.service.spec.publish_not_ready_addresses:
        yield from _published(case, judged)
        return
    failing = [(pod, cause) for pod, _, cause in judged if cause]
    if len(failing) < len(judged):
        failing = [(pod, cause) for pod, facts, cause in judged if cause and not facts.terminating and not facts.terminal]
        if failing:
            sentence = f"{len(failing)} of {counted(len(judged), 'matching pod')} {verb(failing, 'does', 'do')} not serve: "
            yield _pods_problem("PodsNotReady", Severity.WARNING, sentence, failing)
    elif draining := [pod for pod, facts, _ in judged if facts.terminating and facts.ready and facts.addresses]:
        sentence = f"every pod that still serves is being deleted: {_names(draining)}; with the last of them the Service ends"
        fix = "start pods in their place"
        yield case.problem("OnlyTerminatingPods", Severity.WARNING, "spec.selector", sentence, fix)
    else:
        matching = f"the {len(judged)} matching pods" if len(judged) > 1 else "the matching pod"
        sentence = f"none of {matching} is ready: " if len(judged) > 1 else f"{matching} is not ready: "
        yield _pods_problem("NoReadyPods", Severity.BROKEN, sentence, failing)


def _pods_problem(reason: str, severity: Severity, sentence: str, failing: Sequence[tuple[Document, Cause]]) -> Problem:
    """Pods with the same cause are told together, the commonest cause first."""
    groups: dict[str, list[tuple[Document, Cause]]] = {}
    for pod, cause in failing:
        groups.setdefault(cause.text, []).append((pod, cause))
    ordered = sorted(groups.values(), key=len, reverse=True)
    told = [f"{_names(pod for pod, _ in group)} {group[0][1].text}" for group in ordered[:3]]
    if rest := sum(map(len, ordered[3:])):
        told.append(f"{counted(rest, 'more pod')}, each for a reason of its own")
    fixes: dict[str, list[Document]] = {}
    for group in ordered[:3]:
        fixes.setdefault(group[0][1].fix, []).extend(pod for pod, _ in group)
    fix = "; ".join(f"{_names(pods)}: {each}" for each, pods in fixes.items()) if len(fixes) > 1 else next(iter(fixes))
    pod, cause = ordered[0][0]
    return Problem(reason, severity, f"pod/{pod['metadata']['name']}", cause.field, sentence + "; ".join(told), fix)


def _published(case: Case, judged: Sequence[tuple[Document, PodFacts, Cause | None]]) -> Iterator[Problem]:
    """publishNotReadyAddresses: whoever has not ended gets traffic."""
    serving = [(pod, cause) for pod, facts, cause in judged if facts.addresses and not facts.terminal]
    if not serving:
        failing = [(pod, cause) for pod, _, cause in judged if cause]
        yield _pods_problem("NoReadyPods", Severity.BROKEN, "no matching pod has an address: ", failing)
    elif unready := [(pod, cause) for pod, cause in serving if cause]:
        sentence = (
            f"{_names(pod for pod, _ in unready)} {are(unready)} not ready and {are(unready)} "
            f"published all the same: {unready[0][1].text}"
        )
        fix = "remove spec.publishNotReadyAddresses unless the pods must find each other before they are ready"
        field = "spec.publishNotReadyAddresses"
        yield case.problem("NotReadyPodsPublished", Severity.WARNING, field, sentence, fix)


# Pods that the slices miss --------------------------------------------------------------------------------------------------


def missing_family(case: Case) -> Iterator[Problem]:
    """A family of the Service in which no pod, or only some, has an address."""
    ready = list(_ready(case))
    for family in families(case.document) if ready else ():
        lacking = [pod for pod, facts in ready if not address_of(facts, family)]
        if not lacking:
            continue
        if len(lacking) == len(ready):
            severity, sentence = Severity.BROKEN, f"no ready pod has an {family} address, so nothing answers over {family}"
        else:
            severity = Severity.WARNING
            sentence = (
                f"{_names(lacking)} {have(lacking)} no {family} address and {verb(lacking, 'gets', 'get')} "
                f"no traffic over {family}"
            )
        fix = f"give the nodes an {family} pod range and start the pods anew, or remove {family} from spec.ipFamilies"
        yield case.problem("PodsLackFamily", severity, "spec.ipFamilies", sentence, fix)


def outdated_slices(case: Case) -> Iterator[Problem]:
    """Ready pods that no slice lists: the controller is behind, or is not there."""
    written = {each.address for each in listed(case.slices)}
    expected = [
        (pod, facts)
        for pod, facts in _ready(case)
        if any(address_of(facts, family) for family in families(case.document))
        and (resolved_ports(case.document, pod) or not case.service.spec.ports)
    ]
    missing = [pod for pod, facts in expected if not written & set(facts.addresses)]
    if not missing:
        return
    severity = Severity.BROKEN if len(missing) == len(expected) and not written else Severity.WARNING
    sentence = f"{_names(missing)} {are(missing)} ready and in no EndpointSlice"
    fix = "wait a moment; if it lasts, see whether the EndpointSlice controller runs and what it says in the Service's Events"
    yield Problem("EndpointSlicesOutdated", severity, case.name, "metadata.name", sentence, fix)


def _ready(case: Case) -> Iterator[tuple[Document, PodFacts]]:
    """The pods that should be ready endpoints."""
    if not case.selects:
        return
    around = circumstances(case)
    for pod in case.pods:
        if why_not(pod, around) is None:
            yield pod, pod_facts(pod)


def _names(pods: Iterable[Document]) -> str:
    return listing(f"pod/{pod['metadata']['name']}" for pod in pods)


def whereabouts(case: Case) -> Iterator[tuple[Document, Cause | None]]:
    """Every chosen pod with what stands in its way, for whoever shows them all."""
    around = circumstances(case)
    for pod in case.pods:
        yield pod, why_not(pod, around)


CHECKS: tuple[Callable[[Case], Iterator[Problem]], ...] = (no_pod, not_serving, missing_family, outdated_slices)
