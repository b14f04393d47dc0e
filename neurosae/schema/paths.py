"""Where a path written in a file may lead: never out of the folder that it belongs to."""

from pathlib import Path, PureWindowsPath


def contained(written: str, base: Path, root: Path) -> Path | None:
    """The path that ``written`` means from ``base``, or None where it leaves ``root``.

    Absolute paths, drives, '~', URLs, NUL characters and links that lead out of ``root`` all leave it. The
    path need not exist.

    Examples
    --------
    >>> contained("../../etc/passwd", Path("study/protocols"), Path("study")) is None
    True
    >>> contained("../stimuli", Path("study/protocols"), Path("study")).name
    'stimuli'
    """
    foreign = written.startswith(("/", "~")) or bool(PureWindowsPath(written).anchor)
    if not written or foreign or "://" in written or "\0" in written:
        return None
    target = (base / written).resolve()
    return target if target.is_relative_to(root.resolve()) else None
