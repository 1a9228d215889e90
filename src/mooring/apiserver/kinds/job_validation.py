"""Which Jobs are refused, and which changes of one? (pkg/apis/batch/validation)"""

import re

from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.job_policies import check_failure_policy, check_success_policy
from mooring.apiserver.kinds.label_selectors import check_label_selector
from mooring.apiserver.kinds.metadata import check_labels
from mooring.apiserver.kinds.problems import IMMUTABLE, invalid, required, too_long, unsupported
from mooring.apiserver.kinds.workloads import NOT_NEGATIVE, check_template, matches
from mooring.apiserver.strategy import Document, FieldError

MOST_PARALLEL = MOST_FAILED = MANY = 100_000
FEW = 10_000
"""Above MANY completions so many Pods may run at once, and so many indexes fail."""
MODES = ("Indexed", "NonIndexed")
RESTARTS = ("Never", "OnFailure")
_COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex",
    "maxFailedIndexes",
)  # fmt: skip
_FIXED = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_MANAGER = re.compile(r"[^/]+/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")
_PLACING = ("nodeSelector", "tolerations", "schedulingGates")


def check_job_spec(spec: Document) -> list[FieldError]:
    found = [invalid(f"spec.{name}", spec[name], NOT_NEGATIVE) for name in _COUNTS if spec.get(name, 0) < 0]
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        found.append(required("spec.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    found += _check_manager(spec.get("managedBy"))
    found += _check_mode(spec)
    found += check_failure_policy(spec)
    if "successPolicy" in spec and spec["completionMode"] == "Indexed":
        found += check_success_policy(spec)
    allowed = ("Failed",) if "podFailurePolicy" in spec else ("Failed", "TerminatingOrFailed")
    if spec["podReplacementPolicy"] not in allowed:
        found.append(unsupported("spec.podReplacementPolicy", spec["podReplacementPolicy"], allowed))
    found += check_template(spec, ("Always", *RESTARTS))
    found += _check_restart(spec)
    return found + _check_selector(spec)


def _check_manager(manager: str | None) -> list[FieldError]:
    if manager is None:
        return []
    found = []
    if not manager:
        found.append(required("spec.managedBy"))
    elif not _MANAGER.fullmatch(manager) or formats.subdomain(manager.partition("/")[0]):
        found.append(invalid("spec.managedBy", manager, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    if len(manager) > 63:
        found.append(too_long("spec.managedBy", 63))
    return found


def _check_mode(spec: Document) -> list[FieldError]:
    mode = spec["completionMode"]
    if mode not in MODES:
        return [unsupported("spec.completionMode", mode, MODES)]
    if mode == "NonIndexed":
        unfit = [name for name in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy") if name in spec]
        return [invalid(f"spec.{name}", spec[name], "requires indexed completion mode") for name in unfit]
    completions, parallel, most = spec.get("completions"), spec["parallelism"], spec.get("maxFailedIndexes")
    found: list[FieldError] = []
    if completions is None:
        found.append(required("spec.completions", "when completion mode is Indexed"))
    if parallel > MOST_PARALLEL:
        words = f"must be less than or equal to {MOST_PARALLEL} when completion mode is Indexed"
        found.append(invalid("spec.parallelism", parallel, words))
    if most is not None and completions is not None and most > completions:
        found.append(invalid("spec.maxFailedIndexes", most, "must be less than or equal to completions"))
    if most is not None and most > MOST_FAILED:
        found.append(invalid("spec.maxFailedIndexes", most, f"must be less than or equal to {MOST_FAILED}"))
    if completions is not None and completions > MANY and "backoffLimitPerIndex" in spec:
        if most is None:
            found.append(required("spec.maxFailedIndexes", f"must be specified when completions is above {MANY}"))
        words = f"must be less than or equal to {FEW} when completions are above {MANY} and used with backoff limit per index"
        large = [name for name in ("parallelism", "maxFailedIndexes") if spec.get(name, 0) > FEW]
        found += [invalid(f"spec.{name}", spec[name], words) for name in large]
    return found


def _check_restart(spec: Document) -> list[FieldError]:
    field, policy = "spec.template.spec.restartPolicy", spec["template"]["spec"].get("restartPolicy")
    if policy in ("Always", ""):
        return [required(field, 'valid values: "OnFailure", "Never"')]
    if policy == "OnFailure" and "podFailurePolicy" in spec:
        return [invalid(field, policy, 'only "Never" is supported when podFailurePolicy is specified')]
    return []


def _check_selector(spec: Document) -> list[FieldError]:
    labels, selector = spec["template"]["metadata"].get("labels") or {}, spec.get("selector")
    found = check_labels(labels, "spec.template.metadata.labels")
    if selector is None:
        return [*found, required("spec.selector")]
    broken = check_label_selector(selector, "spec.selector")
    if not broken and not matches(selector, labels):
        broken.append(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
    return found + broken


def check_spec_change(document: Document, old: Document) -> list[FieldError]:
    spec, before = document["spec"], old.get("spec") or {}
    found = _check_completions(spec, before)
    if spec.get("selector") != before.get("selector"):
        found.append(invalid("spec.selector", spec.get("selector"), IMMUTABLE))
    # Where its Pods run may still be said of a Job that has never begun.
    waiting = bool(before.get("suspend")) and not (old.get("status") or {}).get("startTime")
    if _fixed(spec["template"], waiting) != _fixed(before.get("template") or {}, waiting):
        found.append(invalid("spec.template", spec["template"], IMMUTABLE))
    changed = [name for name in _FIXED if spec.get(name) != before.get(name)]
    return found + [invalid(f"spec.{name}", spec.get(name), IMMUTABLE) for name in changed]


def _check_completions(spec: Document, before: Document) -> list[FieldError]:
    completions = spec.get("completions")
    if completions == before.get("completions") or (spec["completionMode"] == "Indexed" and completions is None):
        return []
    if spec["completionMode"] != "Indexed":
        return [invalid("spec.completions", completions, IMMUTABLE)]
    if completions == spec["parallelism"]:
        return []
    return [invalid("spec.completions", completions, "can only be modified in tandem with spec.parallelism")]


def _fixed(template: Document, waiting: bool) -> Document:
    """What of the template may not change."""
    if not waiting:
        return template
    metadata, spec = dict(template.get("metadata") or {}), dict(template.get("spec") or {})
    for name in ("labels", "annotations"):
        metadata.pop(name, None)
    for name in _PLACING:
        spec.pop(name, None)
    affinity = dict(spec.pop("affinity", None) or {})
    affinity.pop("nodeAffinity", None)
    return {**template, "metadata": metadata, "spec": {**spec, "affinity": affinity}}
