"""Shares of a recording: which shards each of several processes makes, and the merge that finishes them."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import TypeAlias

from neurosae.errors import StorageError
from neurosae.recording.completion import finish
from neurosae.recording.lock import writing_alone
from neurosae.recording.session import Session, open_session, read_header
from neurosae.recording.stores import complete_shards, store_attrs, sweep
from neurosae.schema.spelling import listed

Share: TypeAlias = tuple[int, int]
"""(i, n): the i-th of n shares, i from 1."""

_COMMANDS = 10
"""Commands that a refusal lists."""


def parse_share(text: str) -> Share:
    """The share that a text such as '3/20' means.

    Raises
    ------
    StorageError
        If it has another form.

    Examples
    --------
    >>> parse_share("3/20")
    (3, 20)
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, flags=re.ASCII)
    if match is None:
        raise StorageError(f"share {text!r} is given; it must read i/n, such as 3/20: the third of 20.")
    share = (int(match[1]), int(match[2]))
    check_share(share)
    return share


def check_share(share: Share | None, *, overwrite: bool = False, client: object = None) -> None:
    """Refuse a share that does not exist, or that is asked for with what needs the whole.

    Raises
    ------
    StorageError
        With what is needed.
    """
    if share is None:
        return
    number, n_shares = share
    if not 1 <= number <= n_shares:
        raise StorageError(f"share {number} of {n_shares} is given; shares are numbered from 1.")
    if overwrite:
        raise StorageError(
            "a share cannot overwrite a session: it would remove what the others make. Remove that first."
        )
    if client is not None:
        raise StorageError("a share and a client are given. Give one: a cluster shares the work by itself.")


def share_name(share: Share) -> str:
    """Name under which a process enters the files it makes."""
    return f"{share[0]}-of-{share[1]}"


def share_numbers(share: Share, n_shards: int) -> range:
    """Numbers of the shards that a share holds: every n-th.

    Examples
    --------
    >>> list(share_numbers((2, 3), 8))
    [1, 4, 7]
    """
    return range(share[0] - 1, n_shards, share[1])


def merge(path: Path | str) -> Session:
    """Finish a session whose shards were recorded by several processes.

    Every shard is read and compared with its SHA-256. The result is that of a single run.

    Parameters
    ----------
    path : folder of the session

    Returns
    -------
    Session

    Raises
    ------
    StorageError
        If shards are missing or damaged, with the commands that make them; or a process still records there.

    Examples
    --------
    >>> merge("no/such/folder")
    Traceback (most recent call last):
    neurosae.errors.StorageError: no/such/folder holds no session (no session.json). Record one with record().
    """
    path = Path(path)
    if read_header(path)["status"] != "complete":
        with writing_alone(path):
            header = read_header(path)
            stores, n_shards = store_attrs(header), len(header["config"]["shards"])
            sweep(path, stores)
            missing = sorted({*range(n_shards)} - complete_shards(path, stores, range(n_shards)))
            if missing:
                raise StorageError(_how_to_make(path, stores, missing, n_shards))
            finish(path, header)
    return open_session(path)


def _how_to_make(path: Path, stores: Collection[str], missing: list[int], n_shards: int) -> str:
    command = f"neurosae record PROTOCOL.toml -o {path}"
    n_shares = _n_shares(path, stores)
    shares = sorted({number % n_shares + 1 for number in missing}) if n_shares else []
    commands = [f"{command} --shard {number}/{n_shares}" for number in shares] or [command]
    told = "\n".join(commands[:_COMMANDS])
    more = f"\n… ({len(commands)} commands in all)" if len(commands) > _COMMANDS else ""
    return (
        f"{path}: {len(missing)} of {n_shards} shards are missing or damaged: {listed(map(str, missing))}. "
        f"Make them with:\n{told}{more}"
    )


def _n_shares(path: Path, stores: Collection[str]) -> int:
    """Number of shares of those processes that left a manifest, the largest if they differ; 0 for none."""
    names = [its.name for store in stores for its in (path / store).glob("manifest.*-of-*.jsonl")]
    return max((int(match[1]) for name in names if (match := re.search(r"-of-(\d+)\.", name))), default=0)
