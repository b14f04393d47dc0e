"""A recording of codes: the dims and labels of any recording, its values read as they are asked for.

Silence is 0 and takes no room; a token that is not valid has no codes at all. Nothing becomes dense unless it
is asked for by name.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import xarray as xr

from neurosae.errors import DesignError
from neurosae.recording.codes import Codes
from neurosae.schema.names import FEATURE, LAYER, RECORDING_DIMS, STIMULUS, TOKEN
from neurosae.schema.spelling import listed

DENSE_BYTES = 2**31
"""Size up to which `SparseRecording.to_xarray` fills an array unless it is told otherwise."""

BLOCK_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class SparseRecording:
    """Codes (stimulus, token, layer, feature) of one dictionary, or of several at different layers of a site.

    ``codes["condition"]``, ``codes.sizes`` and ``codes.attrs`` are as of a DataArray; `sel` takes a part.

    labels : every coordinate, and the attributes
    sources : codes of each layer, over the tokens of all stimuli that were recorded
    first : (n_recorded + 1,) first row of each recorded stimulus in the sources
    picked : (stimulus,) place of each stimulus among those recorded
    unknown : (stimulus, token, layer) bool, where the subject gave NaN or infinite activations
    """

    labels: xr.Dataset
    sources: tuple[Codes, ...]
    first: np.ndarray
    picked: np.ndarray
    unknown: np.ndarray

    dims = RECORDING_DIMS
    ndim = 4
    dtype = np.dtype(np.float32)
    name = "activation"

    @property
    def sizes(self) -> Mapping[Hashable, int]:
        """Length of each dim."""
        return {dim: self.labels.sizes[dim] for dim in self.dims}

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the four dims."""
        return tuple(self.sizes.values())

    @property
    def coords(self) -> Any:
        """Coordinates by name."""
        return self.labels.coords

    @property
    def attrs(self) -> dict[Any, Any]:
        """Attributes: site, basis, provenance."""
        return self.labels.attrs

    def __getitem__(self, name: str) -> xr.DataArray:
        """The coordinate called ``name``."""
        return self.labels[name]

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim}: {size}" for dim, size in self.sizes.items())
        return f"<SparseRecording ({sizes}) of {self.attrs.get('basis', '')!r}, read when used>"

    def sel(self, **labels: object) -> "SparseRecording":
        """The part with these labels along ``stimulus``, ``layer`` or ``feature``; one label keeps its dim.

        A slice of labels takes both of its ends, as in xarray.

        Raises
        ------
        DesignError
            If a dim or a label does not exist.
        """
        wrong = [dim for dim in labels if dim not in (STIMULUS, LAYER, FEATURE)]
        if wrong:
            raise DesignError(f"codes are selected along stimulus, layer or feature, not {listed(wrong)}.")
        places = {dim: self._places(dim, wanted) for dim, wanted in labels.items()}
        stimuli = places.get(STIMULUS, np.arange(len(self.picked)))
        layers = places.get(LAYER, np.arange(len(self.sources)))
        return replace(
            self,
            labels=self.labels.isel(places),
            sources=tuple(self.sources[layer] for layer in layers),
            picked=self.picked[stimuli],
            unknown=self.unknown[stimuli][:, :, layers],
        )

    def _places(self, dim: str, wanted: object) -> np.ndarray:
        index = self.labels.indexes[dim]
        if isinstance(wanted, slice):
            return np.arange(len(index))[_within(index, wanted, dim)]
        asked = pd.Index(np.atleast_1d(np.asarray(wanted)))
        places = index.get_indexer(asked)
        if (places < 0).any():
            missing = asked[places < 0]
            raise DesignError(f"the codes have no {dim} {listed(map(str, missing[:5]))}.")
        return np.asarray(places)

    def csr(self, layer: int) -> sp.csr_array:
        """Codes (n_valid, feature) of a layer, the valid tokens in the order of ``np.argwhere(valid)``.

        Tokens whose codes are ``unknown`` have an empty row, as silent ones do.
        """
        parts = [codes for _, codes in self.blocks(layer)]
        empty = sp.csr_array((0, self.sizes[FEATURE]), dtype=np.float32)
        return sp.csr_array(sp.vstack(parts, format="csr")) if parts else empty

    def blocks(self, layer: int, *, rows: int = BLOCK_ROWS) -> Iterator[tuple[slice, sp.csr_array]]:
        """Codes of a layer, some stimuli at a time.

        Parameters
        ----------
        layer : label of the layer
        rows : most tokens in a block; a longer stimulus is a block of its own

        Yields
        ------
        (slice, csr_array)
            Which stimuli, and the codes (n_valid, feature) of their valid tokens, in the order of
            ``np.argwhere(valid[stimuli])``.
        """
        source = self.sources[int(self._places(LAYER, layer)[0])]
        valid = self.labels["valid"].values
        for stimuli in self._runs(rows):
            yield stimuli, self._of_features(self._rows(source, valid, stimuli))

    def _runs(self, rows: int) -> Iterator[slice]:
        """Neighbouring stimuli that are also neighbours on disk, in their order."""
        lengths = self.first[self.picked + 1] - self.first[self.picked]
        start, held = 0, 0
        for number, length in enumerate(lengths.tolist()):
            is_next = number == start or self.picked[number] == self.picked[number - 1] + 1
            if number > start and (held + length > rows or not is_next):
                yield slice(start, number)
                start, held = number, 0
            held += length
        if len(lengths):
            yield slice(start, len(lengths))

    def _rows(self, source: Codes, valid: np.ndarray, stimuli: slice) -> sp.csr_array:
        low, high = self.picked[stimuli][0], self.picked[stimuli][-1] + 1
        offset = int(self.first[low])
        codes = source.rows(offset, int(self.first[high]))
        which, token = np.nonzero(valid[stimuli])
        return sp.csr_array(codes[self.first[self.picked[stimuli][which]] - offset + token])

    def _of_features(self, codes: sp.csr_array) -> sp.csr_array:
        wanted = self.labels[FEATURE].values
        is_whole = len(wanted) == codes.shape[1] and (wanted == np.arange(codes.shape[1])).all()
        return codes if is_whole else sp.csr_array(codes[:, wanted])

    def feature(self, feature: int, *, layer: int | None = None) -> xr.DataArray:
        """One feature over all stimuli: quick where the codes are also stored by feature.

        Parameters
        ----------
        feature : its label
        layer : label of the layer; needed where there are several

        Returns
        -------
        DataArray (stimulus, token) float32
            0 where it is silent, NaN at tokens that are not valid.

        Raises
        ------
        DesignError
            If the layer is not given though there are several, or a label does not exist.
        """
        place = self._one_layer(layer)
        self._places(FEATURE, feature)
        column = self.sources[place].columns(feature, feature + 1)
        values = np.zeros(self.sources[place].n_rows, dtype=np.float32)
        values[column.indices] = column.data
        valid = self.labels["valid"].values & ~self.unknown[:, :, place]
        stimulus, token = np.nonzero(valid)
        out = np.full(valid.shape, np.nan, dtype=np.float32)
        out[stimulus, token] = values[self.first[self.picked[stimulus]] + token]
        labels = self.labels.isel({LAYER: place}).sel({FEATURE: feature})
        return xr.DataArray(
            out, dims=(STIMULUS, TOKEN), coords=labels.coords, name=self.name, attrs=dict(self.attrs)
        )

    def _one_layer(self, layer: int | None) -> int:
        if layer is None and len(self.sources) > 1:
            layers = listed(map(str, self.labels[LAYER].values))
            raise DesignError(f"the codes have layers {layers}. Say which: layer=...")
        return 0 if layer is None else int(self._places(LAYER, layer)[0])

    def stimulus(self, label: str) -> xr.Dataset:
        """What is active in one stimulus.

        Returns
        -------
        Dataset (entry)
            token, token_str, layer, feature and value of every code that is not 0, by layer, token and
            feature.

        Raises
        ------
        DesignError
            If there is no such stimulus.
        """
        part = self.sel(stimulus=label)
        positions = np.flatnonzero(part["valid"].values[0])
        found = [part.csr(int(layer)).tocoo() for layer in part[LAYER].values]
        rows = np.concatenate([codes.row for codes in found])
        layers = np.repeat(part[LAYER].values, [codes.nnz for codes in found])
        columns = np.concatenate([codes.col for codes in found])
        tokens = positions[rows]
        entry = {
            "token": tokens,
            "token_str": part["token_str"].values[0][tokens],
            "layer": layers,
            "feature": part[FEATURE].values[columns],
            "value": np.concatenate([codes.data for codes in found]),
        }
        labels = {"stimulus": label}
        return xr.Dataset({name: ("entry", its) for name, its in entry.items()}, labels, dict(self.attrs))

    def top(self, n: int = 10, *, layer: int | None = None) -> xr.Dataset:
        """The most active features of each token.

        Parameters
        ----------
        n : how many, at least 1
        layer : label of the layer; needed where there are several

        Returns
        -------
        Dataset (stimulus, token, rank_order)
            feature (int32, -1 where fewer are active) and value (float32, NaN there), largest first; features
            of equal value in the order of their labels.

        Raises
        ------
        DesignError
            If n is below 1, or the layer is not given though there are several.
        """
        if n < 1:
            raise DesignError(f"n is {n}; at least 1 feature a token is needed.")
        place = self._one_layer(layer)
        label = int(self.labels[LAYER].values[place])
        shape = (*self.labels["valid"].shape, n)
        feature, value = np.full(shape, -1, dtype=np.int32), np.full(shape, np.nan, dtype=np.float32)
        valid = self.labels["valid"].values
        for stimuli, codes in self.blocks(label):
            which, token = np.nonzero(valid[stimuli])
            row, rank, column, ranked = _ranked(codes, n)
            at = (which[row] + stimuli.start, token[row], rank)
            feature[at] = self.labels[FEATURE].values[column]
            value[at] = ranked
        dims = (STIMULUS, TOKEN, "rank_order")
        coords = {name: coord for name, coord in self.coords.items() if set(coord.dims) <= {STIMULUS, TOKEN}}
        variables = {
            "feature": (dims, feature, {"long_name": "feature", "units": "1"}),
            "value": (dims, value, {"long_name": "code", "units": "1"}),
        }
        ranks = {"rank_order": np.arange(1, n + 1), LAYER: label}
        return xr.Dataset(variables, {**coords, **ranks}, dict(self.attrs))

    def to_xarray(self, *, max_bytes: int = DENSE_BYTES) -> xr.DataArray:
        """The codes as an ordinary recording in memory, zeros filled in, NaN at tokens that are not valid.

        Raises
        ------
        DesignError
            If it would take more than ``max_bytes``, with the size.
        """
        size = 4 * int(np.prod(self.shape, dtype=np.float64))
        if size > max_bytes:
            raise DesignError(
                f"the dense recording takes {size / 1e9:,.1f} GB and {max_bytes / 1e9:,.1f} GB are allowed. "
                "Select fewer stimuli, layers or features, pool over tokens, or raise max_bytes."
            )
        values = np.full(self.shape, np.nan, dtype=np.float32)
        valid = self.labels["valid"].values
        for place, layer in enumerate(self.labels[LAYER].values):
            for stimuli, codes in self.blocks(int(layer)):
                which, token = np.nonzero(valid[stimuli])
                values[which + stimuli.start, token, place] = codes.toarray()
        values[self.unknown] = np.nan
        return xr.DataArray(
            values, dims=self.dims, coords=self.coords, name=self.name, attrs=dict(self.attrs)
        )


def _within(index: pd.Index, wanted: slice, dim: str) -> slice:
    """Positions of a slice of labels, both ends included."""
    try:
        return index.slice_indexer(wanted.start, wanted.stop, wanted.step)
    except (KeyError, TypeError):
        raise DesignError(
            f"there is no part of the codes along {dim} from {wanted.start!r} to {wanted.stop!r}. Name "
            "labels that they have."
        ) from None


def _ranked(codes: sp.csr_array, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, rank from 0, column and value of the ``n`` largest codes of each row."""
    row = np.repeat(np.arange(codes.shape[0]), np.diff(codes.indptr))
    order = np.lexsort((codes.indices, -codes.data, row))
    rank = np.arange(codes.nnz) - codes.indptr[row]
    is_top = rank < n
    return row[is_top], rank[is_top], codes.indices[order][is_top], codes.data[order][is_top]


def check_layers(layers: Sequence[int], names: Sequence[str]) -> None:
    """Raise `DesignError` unless the dictionaries ``names`` are of different layers."""
    if len(set(layers)) < len(layers):
        raise DesignError(
            f"{listed(names)} share a layer, and a recording has one dictionary a layer. Take each alone."
        )
