"""What does the scheduler see when it looks for a node? The nodes, who runs on them, and what else the filters ask about."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct

from mooring.control.reconciler import Document
from mooring.control.selectors import Labels
from mooring.control.volume_matching import PodVolumes

Residents = Sequence[Document]
"""The Pods that run on the node, or are bound to it."""
Verdict = Callable[[Document], list[str]]
"""Why a Pod cannot run on a node, [] when it can."""
NO_VOLUMES = PodVolumes()


class Situation(Struct, frozen=True):
    """`residents` by node name, `namespaces` are the labels of each, `volumes` those that the Pod in question claims."""

    nodes: Sequence[Document]
    residents: Mapping[str, Residents]
    namespaces: Mapping[str, Labels] = {}
    volumes: PodVolumes = NO_VOLUMES

    def placed(self) -> Iterator[tuple[Document, Residents]]:
        """Each node with its Pods."""
        for node in self.nodes:
            yield node, self.residents.get(node["metadata"]["name"], ())
