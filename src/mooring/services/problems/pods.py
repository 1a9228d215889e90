"""Does the selector choose pods, and can they serve? Where not: which pods come near, and what each one lacks."""

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from mooring.endpoints.addresses import readable
from mooring.endpoints.desired import families
from mooring.endpoints.pods import PodFacts, address_of, pod_facts, resolved_ports, selects
from mooring.services.problems.listed import listed
from mooring.services.problems.problem import Case, Document, Problem, Severity
from mooring.services.problems.why_not import Cause, Circumstances, why_not
from mooring.services.problems.words import are, counted, have, labels, listing, pod_names, verb


class Standing(Struct, frozen=True):
    """A chosen pod, and why it does not serve: None when it does."""

    pod: Document
    facts: PodFacts
    cause: Cause | None


def standings(case: Case) -> list[Standing]:
    around = Circumstances({each["metadata"]["name"]: each for each in case.nodes} if case.nodes else None, case.events)
    known = [(pod, pod_facts(pod)) for pod in case.pods]
    return [Standing(pod, facts, why_not(pod, facts, around)) for pod, facts in known]


def chosen(case: Case) -> Iterator[Problem]:
    """Everything about the pods that the selector chooses: each of them is judged once."""
    if not case.selects:
        return
    if not case.pods:
        yield no_pod(case)
        return
    judged = standings(case)
    yield from (_published if case.service.spec.publish_not_ready_addresses else _not_serving)(case, judged)
    serving = [each for each in judged if each.cause is None]
    yield from _missing_family(case, serving)
    yield from _outdated_slices(case, serving)


# No pod ---------------------------------------------------------------------------------------------------------------------


def no_pod(case: Case) -> Problem:
    """The selector matches nothing: what comes near is told, nearest first."""
    selector = case.service.spec.selector or {}
    sentence = f"no pod in namespace {case.namespace} has the labels {labels(selector)}"
    near = next((found for hint in NEAR_MISSES if (found := hint(case, selector))), None)
    more, fix = near or ("", "start pods with these labels, or correct spec.selector")
    return case.problem("NoMatchingPods", Severity.BROKEN, "spec.selector", sentence + (f"; {more}" if more else ""), fix)


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
    sentence = f"{pod_names(pods)} {have(pods)} all of them but {key}={selector[key]}: {has}"
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


def _not_serving(case: Case, judged: Sequence[Standing]) -> Iterator[Problem]:
    """None of the pods is ready, or only some are. Those that have ended or are going are missed only where nobody serves."""
    failing = [each for each in judged if each.cause]
    if len(failing) < len(judged):
        failing = [each for each in failing if not each.facts.terminating and not each.facts.terminal]
        if failing:
            sentence = f"{len(failing)} of {counted(len(judged), 'matching pod')} {verb(failing, 'does', 'do')} not serve: "
            yield _pods_problem("PodsNotReady", Severity.WARNING, sentence, failing)
    elif draining := [each for each in judged if each.facts.terminating and each.facts.ready and each.facts.addresses]:
        names = pod_names(each.pod for each in draining)
        sentence = f"every pod that still serves is being deleted: {names}; with the last of them the Service ends"
        fix = "start pods in their place"
        yield case.problem("OnlyTerminatingPods", Severity.WARNING, "spec.selector", sentence, fix)
    else:
        who = f"none of the {len(judged)} matching pods is" if len(judged) > 1 else "the matching pod is not"
        yield _pods_problem("NoReadyPods", Severity.BROKEN, f"{who} ready: ", failing)


def _pods_problem(reason: str, severity: Severity, sentence: str, failing: Sequence[Standing]) -> Problem:
    """Pods with the same cause are told together, the commonest cause first."""
    groups: dict[Cause, list[Document]] = {}
    named: dict[str, Cause] = {}
    for each in failing:
        if each.cause:
            groups.setdefault(named.setdefault(each.cause.text, each.cause), []).append(each.pod)
    ordered = sorted(groups.items(), key=lambda group: len(group[1]), reverse=True)
    told = [f"{pod_names(pods)} {cause.text}" for cause, pods in ordered[:3]]
    if rest := sum(len(pods) for _, pods in ordered[3:]):
        told.append(f"{counted(rest, 'more pod')}, each for a reason of its own")
    fixes: dict[str, list[Document]] = {}
    for cause, pods in ordered[:3]:
        fixes.setdefault(cause.fix, []).extend(pods)
    fix = "; ".join(f"{pod_names(pods)}: {each}" for each, pods in fixes.items()) if len(fixes) > 1 else next(iter(fixes))
    cause, [pod, *_] = ordered[0]
    return Problem(reason, severity, f"pod/{pod['metadata']['name']}", cause.field, sentence + "; ".join(told), fix)


def _published(case: Case, judged: Sequence[Standing]) -> Iterator[Problem]:
    """publishNotReadyAddresses: whoever has not ended gets traffic."""
    listed = [each for each in judged if each.facts.addresses and not each.facts.terminal]
    unready = [each for each in listed if each.cause]
    if not listed:
        yield _pods_problem("NoReadyPods", Severity.BROKEN, "no matching pod has an address: ", judged)
    elif unready and unready[0].cause:
        sentence = (
            f"{pod_names(each.pod for each in unready)} {are(unready)} not ready and {are(unready)} published all the same: "
            f"{unready[0].cause.text}"
        )
        fix = "remove spec.publishNotReadyAddresses unless the pods must find each other before they are ready"
        field = "spec.publishNotReadyAddresses"
        yield case.problem("NotReadyPodsPublished", Severity.WARNING, field, sentence, fix)


# Pods that the slices miss --------------------------------------------------------------------------------------------------


def _missing_family(case: Case, serving: Sequence[Standing]) -> Iterator[Problem]:
    """A family of the Service in which no pod, or only some, has an address."""
    for family in families(case.document) if serving else ():
        lacking = [each.pod for each in serving if not address_of(each.facts, family)]
        if not lacking:
            continue
        if len(lacking) == len(serving):
            severity, sentence = Severity.BROKEN, f"no ready pod has an {family} address, so nothing answers over {family}"
        else:
            severity = Severity.WARNING
            sentence = (
                f"{pod_names(lacking)} {have(lacking)} no {family} address and {verb(lacking, 'gets', 'get')} "
                f"no traffic over {family}"
            )
        fix = f"give the nodes an {family} pod range and start the pods anew, or remove {family} from spec.ipFamilies"
        yield case.problem("PodsLackFamily", severity, "spec.ipFamilies", sentence, fix)


def _outdated_slices(case: Case, serving: Sequence[Standing]) -> Iterator[Problem]:
    """Ready pods that no slice lists: the controller is behind, or is not there."""
    written = {each.address for each in listed(case.slices)}
    wanted = families(case.document)
    missing = [
        each.pod
        for each in serving
        if written.isdisjoint(readable(each.facts.addresses))
        and any(address_of(each.facts, family) for family in wanted)
        and (resolved_ports(case.document, each.pod) or not case.service.spec.ports)
    ]
    if missing:
        sentence = f"{pod_names(missing)} {are(missing)} ready and in no EndpointSlice"
        fix = (
            "wait a moment; if it lasts, see whether the EndpointSlice controller runs and what it says in the Service's Events"
        )
        severity = Severity.WARNING if written else Severity.BROKEN
        yield case.problem("EndpointSlicesOutdated", severity, "metadata.name", sentence, fix)


CHECKS: tuple[Callable[[Case], Iterator[Problem]], ...] = (chosen,)
