"""mooring images: which images can pods name?"""

from typing import Annotated

import typer

from mooring.cli import output
from mooring.cli.target import DataDir, Kubeconfig, files
from mooring.edges.pods.images.table import ImageTable


def command(
    data_dir: DataDir = None,
    config: Kubeconfig = None,
    form: Annotated[str, typer.Option("--output", "-o", help="json, yaml or name")] = "",
) -> None:
    """The images that pods can name: the built-in ones and those of `images.yaml` in the cluster's directory."""
    found = ImageTable(files(data_dir, config).root / "images.yaml").all()
    if form == "name":
        print("\n".join(image.name for image in found))
    elif form:
        output.document([{"name": image.name, "id": image.id, "description": image.description} for image in found], form)
    else:
        print(output.columns(["NAME", "DESCRIPTION"], [[image.name, image.description] for image in found]))
