"""The card of a dictionary: README.md beside its weights, for whoever finds the folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD = "README.md"

_FACTS: Mapping[str, str] = {
    "model_name": "Subject",
    "hook_name": "Place",
    "architecture": "Architecture",
    "d_in": "Width of the activations",
    "d_sae": "Features",
    "sink_features": "Of these, for attention sinks",
    "training_tokens": "Tokens trained on, repetitions counted",
    "unique_tokens": "Different tokens",
    "context_size": "Tokens of a window",
    "prepend_bos": "BOS before each window",
    "seed": "Seed",
    "held_out_tokens": "Tokens kept out of training",
    "l0": "Features active in one of them",
    "explained_variance": "Variance of these explained",
    "num_dead_features": "Features that never fire",
    "corpus_sha256": "Corpus (SHA-256)",
    "subject_sha256": "Weights of the subject (SHA-256)",
}
"""Key of the configuration or its metadata → how the card says it."""


def write_card(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the card of a dictionary from its configuration."""
    (folder / CARD).write_text(card_text(folder.name, config), encoding="utf-8")


def card_text(name: str, config: Mapping[str, Any]) -> str:
    """The card as Markdown: what the dictionary is, how it was trained, how good it is, where it ends.

    Examples
    --------
    >>> print(card_text("l15", {"d_sae": 64, "metadata": {"l0": 31.98}}).splitlines()[4])
    | Features | 64 |
    """
    metadata = config.get("metadata", {})
    known = {**config, **metadata}
    facts = [f"| {said} | {_text(known[key])} |" for key, said in _FACTS.items() if key in known]
    recipe = [f"{key} = {_text(value)}" for key, value in dict(metadata.get("recipe", {})).items()]
    return "\n".join(
        [
            f"# {name}",
            "",
            "| | |",
            "|---|---|",
            *facts,
            "",
            "Load it with `neurosae.load_dictionary(FOLDER)`, or `SAE.load_from_disk(FOLDER)` of sae-lens.",
            "",
            "## Recipe",
            "",
            "```",
            *recipe,
            "```",
            "",
            "## Limits",
            "",
            "Figures are of tokens from the corpus it was trained on, attention sinks left out; other text "
            "is rebuilt less well. Features differ from seed to seed: a claim about one of them is a claim "
            "about this dictionary. " + _sinks(metadata),
            "",
        ]
    )


def _sinks(metadata: Mapping[str, Any]) -> str:
    if metadata.get("sink_features"):
        return f"Attention sinks pass through the last {metadata['sink_features']} features nearly unharmed."
    return "Attention sinks are not rebuilt: leave them out, and BOS with them."


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
