"""What stands behind a pod's claim on this machine: a local path that must be there, and an fsGroup that gets all of it."""

import os
from pathlib import Path

import pytest

from mooring.edges.pods.volumes import backing_folders, give_to_group
from mooring.pods.wishes import Volume
from mooring.ports.pods import RuntimeFailure

GROUP = 4321


def mode(path: Path) -> tuple[int, int]:
    """(group, permissions)"""
    seen = path.stat()
    return seen.st_gid, seen.st_mode & 0o7777


def test_a_local_path_that_is_not_there_is_told_and_not_made(tmp_path):
    wish = Volume("data", "host", str(tmp_path / "gone"), "local")
    with pytest.raises(
        RuntimeFailure, match=r'NewMounter initialization failed for volume "data" : path ".*gone" does not exist'
    ):
        backing_folders(tmp_path / "pod", (wish,))
    assert not (tmp_path / "gone").exists()


def test_a_local_path_is_mounted_as_it_is_and_given_to_the_group(tmp_path):
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "file").write_text("x")
    os.chmod(data / "deep" / "file", 0o600)
    made = backing_folders(tmp_path / "pod", (Volume("data", "host", str(data), "local", group=GROUP),))
    assert made.volumes == {"data": str(data)}
    assert mode(data) == (GROUP, 0o2775)
    assert mode(data / "deep") == (GROUP, 0o2775)
    assert mode(data / "deep" / "file") == (GROUP, 0o660)


def test_a_link_is_given_away_without_what_it_points_to(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("x")
    os.chmod(outside, 0o600)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(outside)
    give_to_group(str(tmp_path / "data"), GROUP)
    assert mode(outside) == (0, 0o600)
    assert os.lstat(tmp_path / "data" / "link").st_gid == GROUP


def test_a_volume_that_is_the_groups_already_is_not_walked_again(tmp_path):
    (tmp_path / "data").mkdir()
    give_to_group(str(tmp_path / "data"), GROUP)
    (tmp_path / "data" / "later").write_text("x")
    os.chown(tmp_path / "data" / "later", 0, 0)
    give_to_group(str(tmp_path / "data"), GROUP)
    assert (tmp_path / "data" / "later").stat().st_gid == 0
