"""How are a node's pods put together? One runtime, and the ports that stand on it."""

from pathlib import Path

from msgspec import Struct

from mooring.edges.pods.images.table import ImageTable
from mooring.edges.pods.prober import PodProber
from mooring.edges.pods.runtime import PodRuntime, RuntimeOptions
from mooring.edges.pods.streams import PodStreams
from mooring.edges.pods.volumes import PodVolumes


class Pods(Struct, frozen=True):
    runtime: PodRuntime
    images: ImageTable
    volumes: PodVolumes
    prober: PodProber
    streams: PodStreams


def pods(options: RuntimeOptions, images_file: Path | None = None) -> Pods:
    """Must be used in the node's network namespace, by one event loop."""
    images = ImageTable(images_file)
    runtime = PodRuntime(options, images)
    streams = PodStreams(runtime)
    return Pods(runtime, images, PodVolumes(runtime.volume_folder), PodProber(streams), streams)
