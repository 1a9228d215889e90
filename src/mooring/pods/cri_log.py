"""What does a line of a container's log say? The CRI log format: `timestamp stream tag text`."""

from datetime import UTC, datetime

from msgspec import Struct


class Line(Struct, frozen=True, gc=False):
    """`stamp` as it stands in the file; `whole` is False for a part of a line (tag P), which is shown without an end."""

    stamp: str
    stream: str
    whole: bool
    text: bytes

    @property
    def time(self) -> datetime:
        """To the microsecond."""
        return (
            datetime.fromisoformat(self.stamp[:26] + "+00:00") if len(self.stamp) > 26 else datetime.fromisoformat(self.stamp)
        )


def parse(data: bytes) -> Line | None:
    """One line without its newline. None when it is malformed: a file may end in a half-written line after a crash."""
    parts = data.split(b" ", 3)
    if len(parts) != 4 or parts[1] not in (b"stdout", b"stderr") or not parts[0].endswith(b"Z"):
        return None
    return Line(parts[0].decode("latin-1"), parts[1].decode(), parts[2].split(b":")[0] == b"F", parts[3])


def shown(line: Line, *, timestamps: bool, begins: bool = True) -> bytes:
    """What a reader of the log gets; a timestamp only where a line begins."""
    stamp = line.stamp.encode() + b" " if timestamps and begins else b""
    return stamp + line.text + (b"\n" if line.whole else b"")


def since(line: Line, moment: datetime | None) -> bool:
    return moment is None or line.time >= moment.astimezone(UTC)
