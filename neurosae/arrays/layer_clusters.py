"""Effects that extend over neighbouring layers: cluster mass and threshold-free cluster enhancement.

The lattice is one-dimensional: the layers of one feature. Where features of different layers are different
coordinates, as in dictionaries, neither means anything; the caller sees to that.
"""

import numpy as np

HEIGHT = 2
"""Exponent H of the height in threshold-free cluster enhancement; the exponent of the extent, E, is 1."""


def cluster_mass(stat: np.ndarray, threshold: float) -> np.ndarray:
    """Mass of the cluster that each layer belongs to: Σ (|t| - threshold) over neighbours of one sign.

    Parameters
    ----------
    stat : (layer, ...) statistics; 0 where a feature is not tested
    threshold : |t| that a member exceeds

    Returns
    -------
    (layer, ...) signed mass, 0 outside clusters

    Source
    ------
    Bullmore et al. 1999, IEEE Trans Med Imaging 18:32; Maris & Oostenveld 2007, J Neurosci Methods 164:177.

    Examples
    --------
    >>> cluster_mass(np.array([4.0, 5.0, 0.0, -4.0]), 3.0)
    array([ 3.,  3.,  0., -1.])
    """
    return _one_sign_mass(stat, threshold) - _one_sign_mass(-stat, threshold)


def tfce(stat: np.ndarray) -> np.ndarray:
    """Threshold-free cluster enhancement along layers: ∫ e(h) h² dh from 0 to |t|, with the sign of t.

    e(h) is the number of neighbouring layers of one sign that reach h. On a line, with extent exponent 1,
    the integral has a closed form and no step size: Σ_j m_ij³ / 3, m_ij the least |t| from layer i to j.

    Parameters
    ----------
    stat : (layer, ...) statistics; 0 where a feature is not tested

    Returns
    -------
    (layer, ...) enhanced statistics

    Source
    ------
    Smith & Nichols 2009, NeuroImage 44:83 (H = 2; E = 1 for one-dimensional data).

    Examples
    --------
    >>> tfce(np.array([0.0, 3.0, 3.0, -3.0]))
    array([ 0., 18., 18., -9.])
    """
    return _one_sign_tfce(np.maximum(stat, 0)) - _one_sign_tfce(np.maximum(-stat, 0))


def _one_sign_mass(stat: np.ndarray, threshold: float) -> np.ndarray:
    excess = np.maximum(stat - threshold, 0)
    forward = excess.copy()
    for layer in range(1, len(stat)):
        forward[layer] += np.where(excess[layer] > 0, forward[layer - 1], 0)
    for layer in range(len(stat) - 2, -1, -1):
        joined = (excess[layer] > 0) & (excess[layer + 1] > 0)
        forward[layer] = np.where(joined, forward[layer + 1], forward[layer])
    return forward


def _one_sign_tfce(height: np.ndarray) -> np.ndarray:
    total = height ** (HEIGHT + 1)
    least = height
    for distance in range(1, len(height)):
        least = np.minimum(least[:-1], height[distance:])
        if not least.any():
            break
        added = least * least * least
        total[:-distance] += added
        total[distance:] += added
    return total / (HEIGHT + 1)
