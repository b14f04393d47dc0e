"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Out: TypeAlias = Annotated[Path, typer.Option("-o", "--out", help="Where to write the result.")]
Overwrite: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
Seed: TypeAlias = Annotated[int, typer.Option("--seed", help="Seed of all randomness.")]
SubjectName: TypeAlias = Annotated[
    str | None,
    typer.Option("--subject", help="Another subject than the protocol's: a name or a local folder."),
]
SessionPath: TypeAlias = Annotated[Path, typer.Argument(help="Folder of a recorded session.")]
Site: TypeAlias = Annotated[
    str | None, typer.Option("--site", help="Recorded site, by default the session's first.")
]
Dictionaries: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--dictionary", help="Analyse codes of this dictionary; again for more layers."),
]
Window: TypeAlias = Annotated[
    str, typer.Option("--window", help="Tokens to pool: all, first:5, last:1, target, span:0:20…")
]
How: TypeAlias = Annotated[str, typer.Option("--how", help="Pooling: mean, last, target, max, sum, rate…")]
By: TypeAlias = Annotated[str, typer.Option("--by", help="Column of the stimuli that holds the classes.")]
Permutations: TypeAlias = Annotated[
    int, typer.Option("--permutations", min=1, help="Number of permutations.")
]
