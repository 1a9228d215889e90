"""How is told what becomes of Ingresses? A table for each, what there is to say below it, and totals."""

import textwrap
from collections.abc import Iterator, Mapping

from mooring.cli.output import columns
from mooring.routing.ingress.conversion.remark import WEIGHT, Mark, Remark
from mooring.routing.ingress.conversion.report import ENVOY, GATEWAY, NGINX, TARGETS, IngressReport, Part, Report

CLASSES = (ENVOY, NGINX)
WIDTH = 120
WORDS = {Mark.AS_IT_IS: "as it is", Mark.CHANGES: "changes", Mark.CANNOT: "cannot"}


def lines(found: Report) -> Iterator[str]:
    for each in found.ingresses:
        yield from _ingress(each)
        yield ""
    for target, remarks in found.everywhere.items():
        yield f"Everywhere, {target}"
        yield from (_note("  ", f"{each.mark.value} {each.text}") for each in remarks)
        yield ""
    if found.missing:
        yield _note("", "Taken for granted, for it is in no file: " + ", ".join(map(str, found.missing)))
        yield ""
    yield from _totals(found)
    yield ""
    yield _verdict(found)


def takers(found: Report) -> list[str]:
    """The classes that everything carries over to."""
    return [target for target in CLASSES if found.mark(target) != Mark.CANNOT and not _cannot(found, target)]


def _cannot(found: Report, target: str) -> bool:
    return any(each.mark == Mark.CANNOT for each in found.everywhere.get(target, ()))


def lost(found: Report) -> Iterator[str]:
    """A line for each thing that the objects cannot say, or say otherwise."""
    for each in found.ingresses:
        for part in each.parts:
            for remark in part.remarks.get(GATEWAY, ()):
                yield f"{remark.mark.value} ingress {'/'.join(each.name)}, {part.what}: {remark.text}"
    yield from (f"{each.mark.value} {each.text}" for each in found.everywhere.get(GATEWAY, ()))


def _ingress(found: IngressReport) -> Iterator[str]:
    numbers: dict[Remark, int] = {}
    rows = []
    for part in found.parts:
        for remark in _said(part.remarks):
            numbers.setdefault(remark, len(numbers) + 1)
        rows.append((f"  {part.what}", *(_cell(part, target, numbers) for target in TARGETS)))
    yield columns((f"ingress {'/'.join(found.name)}", *TARGETS), rows)
    for remark, number in numbers.items():
        yield _note(f"{number:4}  ", f"{remark.mark.value} {remark.text}")


def _said(remarks: Mapping[str, tuple[Remark, ...]]) -> list[Remark]:
    """What is said alike of several targets once, the worst first."""
    found = dict.fromkeys(each for target in TARGETS for each in remarks.get(target, ()))
    return sorted(found, key=lambda each: -WEIGHT[each.mark])


def _cell(part: Part, target: str, numbers: Mapping[Remark, int]) -> str:
    notes = sorted(numbers[each] for each in part.remarks.get(target, ()))
    return " ".join([part.mark(target).value, ",".join(map(str, notes))]).rstrip()


def _note(start: str, text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=" " * (len(start) + 2), break_on_hyphens=False)


def _totals(found: Report) -> Iterator[str]:
    marks = {target: [part.mark(target) for each in found.ingresses for part in each.parts] for target in TARGETS}
    rows = [(f"  {target}", *(str(counted.count(mark)) for mark in Mark)) for target, counted in marks.items()]
    ingresses, parts = len(found.ingresses), len(marks[ENVOY])
    title = f"{ingresses} Ingress{'' if ingresses == 1 else 'es'}, {parts} parts"
    yield columns((title, *(f"{mark.value} {WORDS[mark]}" for mark in Mark)), rows)


def _verdict(found: Report) -> str:
    able = takers(found)
    if not able:
        return "Neither class takes everything: see ✗ above."
    if len(able) == 2:
        return f"Everything carries over when the class name becomes {ENVOY} or {NGINX}."
    return f"Everything carries over when the class name becomes {able[0]}."
