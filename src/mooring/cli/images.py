"""mooring images: which images can pods name?"""

from typing import Annotated

import typer

from mooring.cli import output
from mooring.cli.main import CommandError
from mooring.cli.target import DataDir, Kubeconfig, files
from mooring.edges.pods.images.table import BadImageFile, ImageTable, read


def command(
    data_dir: DataDir = None,
    config: Kubeconfig = None,
    form: Annotated[str, typer.Option("--output", "-o", help="json, yaml or name")] = "",
) -> None:
    """The images that pods can name: the built-in ones and those of `images.yaml` in the cluster's directory."""
    file = files(data_dir, config).root / "images.yaml"
    try:
        if file.exists():
            read(file)
    except BadImageFile as error:
        raise CommandError(str(error)) from error
    found = ImageTable(file).all()
    if form == "name":
        print("\n".join(image.name for image in found))
    elif form:
        output.document([{"name": image.name, "id": image.id, "description": image.description} for image in found], form)
    else:
        print(output.columns(["NAME", "DESCRIPTION"], [[image.name, image.description] for image in found]))
