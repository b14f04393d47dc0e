"""Codes as one NetCDF file a layer, which R, MATLAB and Octave make a sparse matrix of in ten lines."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.export.code_tables import code_tables, layers_of, parts_of
from neurosae.export.flat import new_folder
from neurosae.recording.by_feature import write_by_feature
from neurosae.recording.files import write_text
from neurosae.recording.netcdf import CONVENTIONS
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.names import FEATURE, LAYER, STIMULUS

SCHEMA = "neurosae-codes/1"
READ_R, READ_M = "read_layer.R", "read_layer.m"
_MOST_LEVELS = 20

RECIPES = {
    READ_R: """library(ncdf4)
library(Matrix)
read_layer <- function(path) {
  file <- nc_open(path)
  get <- function(name) as.vector(ncvar_get(file, name))
  n <- c(file$dim$row$len, file$dim$feature$len)
  p <- as.integer(c(0, cumsum(get("row_count"))))
  entries <- function(name) head(get(name), tail(p, 1))  # where nothing is active, a filler is in the file
  codes <- new("dgCMatrix", i = as.integer(entries("row_index")), p = p, x = entries("activation"), Dim = n)
  if (any(get("is_unknown") == 1)) codes[get("is_unknown") == 1, ] <- NA
  over <- function(dim) Filter(function(v) tail(v$dim, 1)[[1]]$name == dim, file$var)
  table <- function(dim) as.data.frame(lapply(over(dim), function(v) get(v$name)))
  found <- list(codes = codes, feature = get("feature"), stimuli = table("stimulus"), tokens = table("row"))
  nc_close(file)
  found
}
""",
    READ_M: """function [codes, feature, stimulus, text] = read_layer(path)
  % codes: tokens x features, sparse; feature: their labels; stimulus: of each token, from 1;
  % text(name): a variable of text as a cell array. In Octave first: pkg load netcdf
  feature = ncread(path, 'feature');
  stimulus = double(ncread(path, 'stimulus_index')) + 1;
  column = repelem((1:numel(feature))', double(ncread(path, 'row_count')));
  row = double(ncread(path, 'row_index')) + 1;
  value = double(ncread(path, 'activation'));
  used = 1:numel(column);  % where nothing is active, a filler is in the file
  codes = sparse(row(used), column, value(used), numel(stimulus), numel(feature));
  codes(ncread(path, 'is_unknown') == 1, :) = NaN;
  text = @(name) regexprep(cellstr(ncread(path, name)'), '\\0+$', '');
end
""",
}
"""What is written beside the layers, by name: how R, and MATLAB and Octave, read one."""


def write_layers(codes: SparseRecording, path: Path, *, overwrite: bool) -> Path:
    """A folder with one NetCDF file a layer, the stimuli as a table, and readers for R and MATLAB.

    Raises
    ------
    StorageError
        If ``path`` exists (with ``overwrite``: and is no such folder) or cannot be written.
    """
    tables = code_tables(codes)
    with new_folder(path, READ_R, overwrite=overwrite) as part:
        for layer in layers_of(codes):
            _write_layer(part / f"layer-{layer:02d}.nc", codes, tables, layer)
        _write_stimuli(tables, part)
        for name, text in RECIPES.items():
            write_text(part / name, text)
    return path


def _write_layer(path: Path, codes: SparseRecording, tables: xr.Dataset, layer: int) -> None:
    own = {
        "neurosae_schema": SCHEMA,
        "Conventions": CONVENTIONS,
        LAYER: layer,
        "n_features": tables.sizes[FEATURE],
    }
    one = tables.sel({LAYER: layer}).drop_vars([LAYER, FEATURE])
    write_by_feature(
        path, one.assign_attrs({**codes.attrs, **own}), parts_of(codes, layer), tables[FEATURE].values
    )


def _write_stimuli(tables: xr.Dataset, folder: Path) -> None:
    """The stimuli as text, and beside them what each column holds."""
    columns = {str(n): v.values for n, v in tables.variables.items() if v.dims == (STIMULUS,)}
    text = pd.DataFrame(columns).to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")
    write_text(folder / "stimuli.tsv", text)
    described = {name: _described(values) for name, values in columns.items()}
    write_text(folder / "stimuli.json", json.dumps(described, indent=1, ensure_ascii=False) + "\n")


def _described(values: np.ndarray) -> dict[str, object]:
    """Type of a column, and its values where these are few and come back, as those of a condition do."""
    kind = "string" if values.dtype.kind in "UTO" else "boolean" if values.dtype.kind == "b" else "number"
    levels = sorted(set(values.tolist())) if kind == "string" else []
    is_factor = 0 < len(levels) <= min(_MOST_LEVELS, len(values) - 1)
    return {"Type": kind, **({"Levels": levels} if is_factor else {})}
