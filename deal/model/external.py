"""Check files that hold a model's weights: a model with weights outside its folder is refused.

An ONNX file may name any path, and the checks of ONNX Runtime and TensorRT differ by version.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from deal.errors import ModelError

__all__ = ["check_external"]

_IN_MEMORY = "_ORT_MEM_ADDR_"  # ONNX Runtime reads such a location as an address in memory


def check_external(path: Path, name: str) -> None:
    """Refuse weights of the model ``path`` in a file ``name`` outside the model's folder.

    The file must be in the model's folder or below, after all links are followed. In a Hugging Face
    cache (``snapshots/<revision>/`` beside ``blobs/``) it may be a link to one of those blobs.

    Raises
    ------
    ModelError
        The location is not a relative path, leads out of the folder, or is not a regular file; or
        the file has a second name (a hard link), which may be in any folder.
    """
    where = f"model {path} keeps weights in {name[:200]!r}"
    is_odd = "\0" in name or _IN_MEMORY in name or not name
    if is_odd:
        raise ModelError(f"{where}, which is not a file name: export the model again")
    folder = path.parent.resolve()
    try:
        target = (folder / name).resolve()
        is_absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive
        is_inside = not is_absolute and any(
            target.is_relative_to(root) for root in (folder, *_blobs(path))
        )
        if not is_inside:
            raise ModelError(f"{where}, outside its folder: put the weights beside the model")
        if not target.is_file():
            raise ModelError(
                f"model {path}: its weights {name[:200]!r} are missing; copy them beside it"
            )
        links = target.stat().st_nlink
    except (OSError, RuntimeError) as error:  # the name is too long, or links form a circle
        reason = getattr(error, "strerror", None) or "links in a circle"
        raise ModelError(f"{where}, which cannot be read: {reason}") from error
    if links > 1:
        raise ModelError(
            f"{where}, a file with {links} names (hard links), which may be in any folder: copy it"
        )


def _blobs(path: Path) -> tuple[Path, ...]:
    """The folder in a Hugging Face cache to which the links of a snapshot point."""
    for snapshots in path.absolute().parents:
        if snapshots.name == "snapshots":
            blobs = snapshots.parent / "blobs"
            if blobs.is_dir() and not blobs.is_symlink():
                return (blobs.resolve(),)
    return ()
