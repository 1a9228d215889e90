"""What does a cluster leave behind, and how is all of it removed? By name alone, so that it works after any crash."""

import shutil
import subprocess
from pathlib import Path

from mooring.app.files import Files
from mooring.edges import cgroups
from mooring.edges.netlink import topology


def sweep(cluster: str, files: Files) -> None:
    """Ends every process of the cluster and removes its mounts, namespaces, links, cgroups and pods' files. Harmless to repeat.

    The API server's state, the volumes, the keys and the logs stay: `up` resumes from them. Raises CgroupError, NetworkError.
    """
    cgroups.remove(cgroups.subtree(cluster))
    unmount_below(files.root)
    topology.remove(cluster)
    shutil.rmtree(files.nodes, ignore_errors=True)
    files.forget_running()


def stop_roles(cluster: str) -> None:
    """Ends the roles that a dead supervisor left running, and DNS workers, whose sockets were its own; pods, their network and
    the rules in the kernel stay.
    """
    group = cgroups.subtree(cluster)
    of_nodes = (*group.glob("*/agent"), *group.glob("*/dns"))
    for role in (group / "supervisor", group / "apiserver", group / "controllers", *of_nodes):
        cgroups.kill(role)


def unmount_below(root: Path) -> None:
    """Detaches every mount at or below a directory, the innermost first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # Fields as proc(5) gives them; blanks and backslashes in paths are octal escapes.
        where = Path(line.split(" ")[4].encode().decode("unicode_escape"))
        if where.is_relative_to(root):
            found.append(where)
    for where in sorted(found, key=lambda path: len(path.parts), reverse=True):
        subprocess.run(["umount", "--lazy", str(where)], check=False, capture_output=True)


def purge(files: Files) -> None:
    """Removes what we made in the data directory, and the directory itself if nothing else is in it."""
    for path in (files.pki, files.logs, files.nodes, files.volumes):
        shutil.rmtree(path, ignore_errors=True)
    for path in (files.kubeconfig, files.settings, *files.root.glob("state.db*"), *files.root.glob(".*.[0-9]*"), *files.own()):
        path.unlink(missing_ok=True)
    if files.root.is_dir() and not any(files.root.iterdir()):
        files.root.rmdir()
