"""Files that hold a model's weights: they lie where the model lies, or the model is refused.

An ONNX file may name any path, and ONNX Runtime's and TensorRT's own checks differ by version.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from deal.errors import ModelError

__all__ = ["check_external"]

_IN_MEMORY = "_ORT_MEM_ADDR_"  # ONNX Runtime takes such a location for an address in memory


def check_external(path: Path, name: str) -> None:
    """Refuse weights of the model ``path`` in a file ``name`` that a stranger may have chosen.

    The file lies in the model's folder or below, by every link on the way. Of a model in a Hugging
    Face cache (``snapshots/<revision>/`` beside ``blobs/``) it may be a link into those blobs.

    Raises
    ------
    ModelError
        The location is no relative path, leads out of the folder, or names no regular file; or the
        file has a second name (a hard link), of which nobody can tell where it is.
    """
    where = f"model {path} keeps weights in {name[:200]!r}"
    is_odd = "\0" in name or _IN_MEMORY in name or not name
    if is_odd:
        raise ModelError(f"{where}, which is no file name: export it again")
    folder = path.parent.resolve()
    try:
        target = (folder / name).resolve()
        is_absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive
        is_inside = not is_absolute and any(
            target.is_relative_to(root) for root in (folder, *_blobs(path))
        )
        if not is_inside:
            raise ModelError(f"{where}, outside its folder: put them beside the model")
        if not target.is_file():
            raise ModelError(
                f"model {path}: its weights {name[:200]!r} are missing; copy them beside it"
            )
        links = target.stat().st_nlink
    except (OSError, RuntimeError) as error:  # a name too long; links in a circle
        reason = getattr(error, "strerror", None) or "links in a circle"
        raise ModelError(f"{where}, which cannot be read: {reason}") from error
    if links > 1:
        raise ModelError(
            f"{where}, a file with {links} names (hard links), which may be anybody's: copy it"
        )


def _blobs(path: Path) -> tuple[Path, ...]:
    """The folder of a Hugging Face cache to which the links of a snapshot lead."""
    for snapshots in path.absolute().parents:
        if snapshots.name == "snapshots":
            blobs = snapshots.parent / "blobs"
            if blobs.is_dir() and not blobs.is_symlink():
                return (blobs.resolve(),)
    return ()
