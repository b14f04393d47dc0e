"""Results for other programs: numpy, MATLAB, R, tables, safetensors, rsatoolbox, Brain-Score.

Each function takes a recording, responses or a result. Those that write a file take ``overwrite``, refuse a
path that exists without it, and leave either the whole file or none.
"""

from neurosae.export.assemblies import to_brainscore
from neurosae.export.folders import to_numpy
from neurosae.export.matlab import to_matlab
from neurosae.export.portable import to_r
from neurosae.export.rsa import to_rsatoolbox, to_rsatoolbox_rdms
from neurosae.export.tables import to_csv, to_parquet
from neurosae.export.tensors import to_safetensors

__all__ = [
    "to_brainscore",
    "to_csv",
    "to_matlab",
    "to_numpy",
    "to_parquet",
    "to_r",
    "to_rsatoolbox",
    "to_rsatoolbox_rdms",
    "to_safetensors",
]
