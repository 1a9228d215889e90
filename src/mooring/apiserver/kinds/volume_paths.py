"""Where on its node may a volume be? Of pods, their templates and PersistentVolumes alike.

Source: validateHostPathVolumeSource in k8s.io/kubernetes/pkg/apis/core/validation.
"""

from mooring.apiserver.kinds.problems import invalid, required, unsupported
from mooring.apiserver.strategy import Document, FieldError

HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip


def check_host_path(source: Document, field: str) -> list[FieldError]:
    found = check_path(source.get("path", ""), f"{field}.path")
    if source.get("type", "") not in HOST_PATH_TYPES:
        found.append(unsupported(f"{field}.type", source["type"], HOST_PATH_TYPES[1:]))
    return found


def check_path(path: str, field: str) -> list[FieldError]:
    if not path:
        return [required(field)]
    if ".." in path.split("/"):
        return [invalid(field, path, "must not contain '..'")]
    return []
