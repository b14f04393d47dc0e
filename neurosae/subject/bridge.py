"""A Hugging Face language model as a subject: found through TransformerBridge, run as the plain model."""

import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurosae.errors import SubjectError
from neurosae.subject.edits import Editor, check_edit, editors
from neurosae.subject.folder import model_sizes, weights_sha256
from neurosae.subject.hooks import Action, Tap, run_tapped
from neurosae.subject.interface import Change, Readings, Tokens
from neurosae.subject.loading import (
    MIXED,
    boot_bridge,
    find_device,
    find_dtype,
    load_model,
    parameters_sha256,
    untrained_model,
)
from neurosae.subject.padding import Batch, pad
from neurosae.subject.quiet import quiet
from neurosae.subject.sites import Place, find_place, input_width
from neurosae.subject.surprisal import token_bits, token_divergence
from neurosae.subject.tokenizer import SubjectTokenizer


class BridgeSubject:
    """A decoder-only language model in a local folder.

    ``model`` is the plain Hugging Face model that is run; ``bridge`` is a TransformerBridge over a second
    tree of modules with the same weight tensors, which knows where each site is. Weights are used as they
    are: nothing is folded or centred, and processing the weights of ``bridge`` would change the subject.

    Parameters
    ----------
    name : under which provenance knows the subject
    folder : model folder: config.json, tokenizer.json, *.safetensors
    device : 'auto' (a CUDA device if there is one, else the CPU), 'cpu', 'cuda', 'cuda:1', 'mps'
    dtype : 'float32'; 'bfloat16' or 'float16'; 'mixed' keeps float32 but multiplies matrices in bfloat16
    known : facts for `describe` that need not be computed again, such as ``weights_sha256``
    untrained : seed of random weights in the place of the folder's; its name then ends in ``-untrained-seed``

    Raises
    ------
    SubjectError
        If the folder is incomplete, the device or dtype unknown, or the architecture not supported.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        device: str = "auto",
        dtype: str = "float32",
        known: Mapping[str, object] | None = None,
        untrained: int | None = None,
    ) -> None:
        self.name, self._folder, self._known = name, folder, dict(known or {})
        sizes = model_sizes(folder)
        self.n_layers, self.d_model = sizes["n_layers"], sizes["d_model"]
        self.context_length = sizes["context_length"]
        self._tokenizer = SubjectTokenizer(folder)
        self._device, self._is_mixed = find_device(device), dtype == MIXED
        with quiet():
            self.model = self._model(find_dtype(dtype), untrained)
            self.bridge = boot_bridge(self.model, folder)
        self._unembed = self.model.get_submodule(self.bridge.unembed.name)
        self._takes_positions = "position_ids" in inspect.signature(self.model.forward).parameters
        self._places: dict[tuple[str, int], Place] = {}
        self._lock = threading.Lock()

    def _model(self, dtype: torch.dtype, untrained: int | None) -> Any:
        if untrained is None:
            return load_model(self._folder, self._device, dtype)
        model = untrained_model(self._folder, self._device, dtype, seed=untrained)
        self.name = f"{self.name}-untrained-{untrained}"
        self._known |= {"untrained": True, "untrained_seed": untrained}
        self._known |= {"weights_sha256": parameters_sha256(model)}
        return model

    @cached_property
    def _weights_sha256(self) -> str:
        return str(self._known.get("weights_sha256") or weights_sha256(self._folder))

    def describe(self) -> dict[str, object]:
        """Identity for provenance: source, hashes of weights and tokenizer, dtype, BOS policy, versions."""
        config = self.model.config
        return {
            "name": self.name,
            "source": str(self._folder),
            "architecture": type(self.model).__name__,
            **self._known,
            "weights_sha256": self._weights_sha256,
            "tokenizer_sha256": self._tokenizer.sha256,
            "dtype": MIXED if self._is_mixed else str(self.model.dtype).removeprefix("torch."),
            "device": str(self._device),
            "prepend_bos": self._tokenizer.prepend_bos,
            "attention": str(getattr(config, "_attn_implementation", "unknown")),
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            **{package: version(package) for package in ("torch", "transformers", "transformer-lens")},
        }

    def n_features(self, site: str) -> int:
        """Number of features at ``site``; raises SubjectError for a site the subject lacks."""
        place = self._place(site, 0)
        return input_width(place.module) if site in ("attn_z", "mlp_post") else self.d_model

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of each text, BOS first where the subject's policy is to prepend it."""
        return self._tokenizer.tokenize(texts)

    def run(
        self,
        tokens: Sequence[Tokens],
        *,
        sites: Mapping[str, Sequence[int]] | None = None,
        surprisal: bool = False,
        divergence: bool = False,
        edits: Sequence[Change] = (),
    ) -> Readings:
        """One forward pass over a batch of texts, as `neurosae.subject.interface.Subject.run` describes.

        It ends after the deepest layer that ``sites`` and ``edits`` need; no logits are computed unless
        ``surprisal`` or ``divergence`` is True. An edit of resid_mid moves attn_out by the same amount, which
        is the only way into that sum.

        Raises
        ------
        SubjectError
            If a site, layer or feature does not exist, or a text is empty or too long.
        """
        wanted = {site: [int(layer) for layer in layers] for site, layers in (sites or {}).items()}
        self._check(wanted, edits)
        batch = pad(tokens, pad_id=self._pad_id, context_length=self.context_length, device=self._device)
        products = torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_mixed)
        with self._lock, torch.inference_mode(), products, _freeing_memory():
            intact = self._before_unembedding(batch) if divergence else None
            return self._read(batch, wanted, surprisal, editors(edits, batch), intact)

    def _read(
        self,
        batch: Batch,
        wanted: Mapping[str, Sequence[int]],
        surprisal: bool,
        editing: Sequence[Editor],
        intact: Tensor | None,
    ) -> Readings:
        kept = {
            site: torch.empty(len(batch.rows), len(layers), self.n_features(site), device=self._device)
            for site, layers in wanted.items()
        }
        last: list[Tensor] = []
        taps = self._edit_taps(editing)
        taps += self._record_taps(batch, wanted, kept)
        if surprisal or intact is not None:
            taps.append(self._last_tap(batch, last))
        run_tapped(lambda: self._forward(batch), taps)
        return Readings(
            activations={site: values.cpu().numpy() for site, values in kept.items()},
            surprisal=self._bits(batch, last[0]) if surprisal else None,
            shift=tuple(editor.shift for editor in editing),
            edited=tuple(editor.edited for editor in editing),
            divergence=None if intact is None else self._divergence(batch, intact, last[0]),
        )

    def _last_tap(self, batch: Batch, last: list[Tensor]) -> Tap:
        _, predicting = batch.predicting()
        ends = Place(self._unembed, "in")
        return Tap(ends, lambda values: last.append(values.flatten(0, 1)[predicting]))

    def _before_unembedding(self, batch: Batch) -> Tensor:
        last: list[Tensor] = []
        run_tapped(lambda: self._forward(batch), [self._last_tap(batch, last)])
        return last[0]

    def _forward(self, batch: Batch) -> None:
        positions = {"position_ids": batch.position_ids} if self._takes_positions else {}
        self.model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, **positions
        )

    def _logits(self, rows: Tensor) -> Tensor:
        logits: Tensor = self.bridge.adapter.apply_output_logits_transform(self._unembed(rows))
        return logits

    def _bits(self, batch: Batch, hidden: Tensor) -> np.ndarray:
        predicted, _ = batch.predicting()
        following = batch.input_ids.flatten()[batch.rows][torch.from_numpy(predicted).to(self._device)]
        bits = np.full(len(batch.rows), np.nan)
        bits[predicted] = token_bits(hidden, following, self._logits)
        return bits

    def _divergence(self, batch: Batch, intact: Tensor, edited: Tensor) -> np.ndarray:
        predicted, _ = batch.predicting()
        bits = np.full(len(batch.rows), np.nan)
        bits[predicted] = token_divergence(intact, edited, self._logits)
        return bits

    def _edit_taps(self, editing: Sequence[Editor]) -> list[Tap]:
        changes, bases = [], []
        for editor in editing:
            site, layer = editor.edit.site, editor.edit.layer
            if site == "resid_mid":
                bases.append(Tap(self._place("resid_pre", layer), editor.remember, is_needed=False))
                changes.append(Tap(self._place("attn_out", layer), editor.change_sum))
            else:
                changes.append(Tap(self._place(site, layer), editor.change))
        return [*changes, *bases]

    def _record_taps(
        self, batch: Batch, wanted: Mapping[str, Sequence[int]], kept: Mapping[str, Tensor]
    ) -> Iterator[Tap]:
        for site, layers in wanted.items():
            for slot, layer in enumerate(layers):
                yield Tap(self._place(site, layer), _keep_in(kept[site][:, slot], batch.rows))

    def _place(self, site: str, layer: int) -> Place:
        if (site, layer) not in self._places:
            self._places[site, layer] = find_place(self.bridge, self.model, site, layer)
        return self._places[site, layer]

    @property
    def _pad_id(self) -> int:
        pad_id = getattr(self.model.config, "pad_token_id", None)
        return pad_id if isinstance(pad_id, int) and pad_id >= 0 else 0

    def _check(self, wanted: Mapping[str, Sequence[int]], edits: Sequence[Change]) -> None:
        asked = [(site, layer) for site, layers in wanted.items() for layer in layers]
        for site, layer in [*asked, *((edit.site, edit.layer) for edit in edits)]:
            self.n_features(site)
            if not 0 <= layer < self.n_layers:
                raise SubjectError(
                    f"subject {self.name!r} has no layer {layer}; layers: 0 to {self.n_layers - 1}."
                )
        for edit in edits:
            check_edit(edit, self.n_features(edit.site))


def _keep_in(out: Tensor, rows: Tensor) -> Action:
    """Action that copies the real rows of a tensor into ``out`` at once, before the model reuses it."""

    def keep(values: Tensor) -> None:
        flat = values.flatten(0, 1)
        if flat.shape[1] != out.shape[1]:
            raise SubjectError(f"a site gave {flat.shape[1]} features where {out.shape[1]} were expected.")
        out.copy_(flat if len(rows) == len(flat) else flat[rows])

    return keep


@contextmanager
def _freeing_memory() -> Iterator[None]:
    """Give an accelerator's memory back when it ran out, so that a smaller batch can be tried."""
    try:
        yield
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        raise
