"""Whether the stimuli can bear the analyses of a protocol; asked before a model is loaded."""

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.analysis.averaging import average_units
from neurosae.analysis.category_design import category_design, check_design
from neurosae.analysis.contrast_design import contrast_design
from neurosae.analysis.decoding_design import decoding_design, group_column
from neurosae.protocol.models import Protocol
from neurosae.schema.names import RESPONSE_DIMS
from neurosae.schema.recordings import stimulus_coords
from neurosae.schema.units import unit_column


def check_designs(protocol: Protocol, stimuli: pd.DataFrame) -> None:
    """Refuse analyses with too few units, classes or groups, as they would refuse themselves later.

    Parameters
    ----------
    protocol : whose contrasts, RSA and decoders are checked
    stimuli : the stimuli that are recorded

    Raises
    ------
    DesignError
        With what is missing.
    """
    empty = np.zeros((len(stimuli), 1, 1))
    blank = xr.DataArray(empty, dims=RESPONSE_DIMS, coords=stimulus_coords(stimuli), name="response")
    for contrast in protocol.contrasts:
        contrast_design(stimuli, contrast.contrast, unit=contrast.unit, nuisance=contrast.nuisance)
    for rsa in protocol.rsa:
        unit = unit_column(stimuli, rsa.unit)
        rows = average_units(blank, unit=unit, by=(rsa.condition,))
        check_design(category_design(rows, by=rsa.condition, unit=unit), by=rsa.condition, index=rsa.index)
    for decoder in protocol.decoding:
        decoding_design(blank, decoder.condition, group_column(blank, decoder.groups), protocol.seed)
