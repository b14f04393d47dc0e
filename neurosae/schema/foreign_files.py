"""What a file is that is not what its name says: the page of an error, a pointer, a pickle."""

from pathlib import Path

PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib")
"""Endings of files that can run code when they are read."""

_HEAD_BYTES = 512
_PAGE_BEGINS = (b"<!doctype", b"<html", b"<head", b"<?xml")


def mistaken_for(path: Path) -> str:
    """End of a sentence that says what ``path`` is instead of data and what to do, or "" if nothing is known.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = Path(folder) / "weights.safetensors"
    ...     _ = page.write_text("<!DOCTYPE html><title>404</title>")
    ...     mistaken_for(page)
    'looks like a web page (HTML), as a failed download leaves one. Download the file itself.'
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "is empty. Fetch it again."
    if start.startswith(b"version https://git-lfs"):
        return "looks like a Git LFS pointer, not the file itself. Fetch that: git lfs pull."
    if start.startswith(_PAGE_BEGINS):
        return "looks like a web page (HTML), as a failed download leaves one. Download the file itself."
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and len(head) > 1:
        return "looks like a pickle, which can run code when it is read, and is refused."
    return ""
