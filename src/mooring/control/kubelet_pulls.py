"""What is said of an image that is not in the node's table, and when is it looked for again? As of a pull that fails."""

from datetime import timedelta
from typing import Literal

from msgspec import Struct

from mooring.model.pod import Container
from mooring.pods.restart import INITIAL, LONGEST
from mooring.ports.pods import Images

_FIRST_RETRY = timedelta(seconds=1)


class Lack(Struct, frozen=True):
    """`events`: (type, reason, message) of each; `reason` and `message` are what the container waits with."""

    reason: str
    message: str
    delay: timedelta
    events: tuple[tuple[Literal["Normal", "Warning"], str, str], ...]


class Pulls:
    """One pod's: the waits grow as long as an image is not there."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self._delays: dict[str, timedelta] = {}

    def lack(self, container: Container) -> Lack | None:
        """None when the image is there."""
        if self.images.find(container.image) is not None:
            self._delays.pop(container.name, None)
            return None
        known = ", ".join(image.name for image in self.images.all())
        why = f'image "{container.image}": not in the local image table; known images: {known}'
        delay = self._delays.get(container.name)
        if delay is None:
            self._delays[container.name] = INITIAL
            text = f"Failed to pull {why}"
            events = ("Warning", "Failed", text), ("Warning", "Failed", "Error: ErrImagePull")
            return Lack("ErrImagePull", text, _FIRST_RETRY, events)
        self._delays[container.name] = min(delay * 2, LONGEST)
        text = f"Back-off pulling {why}"
        return Lack(
            "ImagePullBackOff", text, delay, (("Normal", "BackOff", text), ("Warning", "Failed", "Error: ImagePullBackOff"))
        )
