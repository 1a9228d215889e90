"""What does Envoy not take, known since before control was started again? Parts that were found to be bad, in a file.

The search for a bad part (salvage.py) leaves out what it knows no former state of. Control that has just started knows none,
and Envoy serves: so control begins with what the search of its predecessor has found.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from mooring.edges.envoy.salvage import MESSAGES, Outcome

FILE = "envoy-refused"
NOTHING = Outcome(None, {})

Found = Mapping[str, Mapping[str, Outcome]]
"""By type URL and name of the resource."""

log = structlog.get_logger("envoy")


class Quarantine:
    """Of one proxy, in its folder. What is in the file is a help and never needed."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._found: dict[str, dict[str, Outcome]] = {url: {} for url in MESSAGES} | self._read()

    def of(self, url: str, name: str) -> Outcome:
        return self._found.get(url, {}).get(name, NOTHING)

    def put(self, url: str, name: str, outcome: Outcome) -> None:
        """What was found last, and what is kept of the resource. That all of it is refused is nothing to begin with."""
        found = outcome if outcome.rejected and () not in outcome.rejected else NOTHING
        if url not in self._found or found.rejected == self.of(url, name).rejected:
            return
        if found.rejected:
            self._found[url][name] = found
        else:
            del self._found[url][name]
        try:
            fresh = self._file.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_bytes(msgspec.msgpack.encode(self._found))
            fresh.rename(self._file)
        except OSError as error:
            log.warning("what is refused cannot be written down", error=str(error))

    def _read(self) -> dict[str, dict[str, Outcome]]:
        try:
            return msgspec.msgpack.decode(self._file.read_bytes(), type=dict[str, dict[str, Outcome]])
        except (OSError, msgspec.DecodeError):
            return {}
