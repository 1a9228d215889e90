"""Where do a node's provisioned volumes lie? A directory each, below one folder, which nothing here leaves."""

import asyncio
import os
import re
import shutil
from pathlib import Path

from mooring.ports.pods import RuntimeFailure

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""A DNS subdomain: no slash, no dot in front."""


class VolumeDirectories:
    """The Directories port. Every step is taken from the open folder on, so that no name and no link leads elsewhere."""

    def __init__(self, root: Path) -> None:
        self.root = root

    async def make(self, name: str) -> str:
        """For all users to write into, as there is one volume and nobody knows whose."""
        self._check(name)
        try:
            await asyncio.to_thread(self._make, name)
        except OSError as error:
            raise RuntimeFailure("ProvisioningFailed", str(error)) from error
        return str(self.root / name)

    async def remove(self, name: str, path: str) -> None:
        self._check(name)
        if path != str(self.root / name):
            raise RuntimeFailure("VolumeFailedDelete", f'volume "{name}": {path} is not the directory made for it')
        try:
            await asyncio.to_thread(self._remove, name)
        except OSError as error:
            raise RuntimeFailure("VolumeFailedDelete", str(error)) from error

    def _check(self, name: str) -> None:
        if not _NAME.fullmatch(name) or ".." in name:
            raise RuntimeFailure("InvalidName", f"{name!r} cannot be a directory's name")

    def _make(self, name: str) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = self._open()
        try:
            try:
                os.mkdir(name, dir_fd=folder)
            except FileExistsError:
                return  # made before, and not yet told of
            made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            try:
                os.fchmod(made, 0o777)
            finally:
                os.close(made)
        finally:
            os.close(folder)

    def _remove(self, name: str) -> None:
        try:
            folder = self._open()
        except FileNotFoundError:
            return
        try:
            shutil.rmtree(name, dir_fd=folder)
        except FileNotFoundError:
            return
        finally:
            os.close(folder)

    def _open(self) -> int:
        return os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
