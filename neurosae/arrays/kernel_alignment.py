"""How similar are two representations of the same stimuli? Centred kernel alignment, linear.

With fewer stimuli than features the plain coefficient is close to 1 even for independent representations, so
the unbiased one is the default.
"""

import numpy as np


def linear_kernel(patterns: np.ndarray) -> np.ndarray:
    """Products of patterns after centring each feature: (n, F) -> (n, n) float64.

    Examples
    --------
    >>> linear_kernel(np.array([[0.0], [2.0]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    patterns = np.asarray(patterns, dtype=np.float64)
    # The mean of equal values is not always that value: what is left would pass for a representation.
    centred = np.where(np.ptp(patterns, axis=0) > 0, patterns - patterns.mean(axis=0), 0.0)
    return np.asarray(centred @ centred.T)


def biased_cka(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """|X'Y|^2 / (|X'X| |Y'Y|) of each pair of representations, from their linear kernels.

    Parameters
    ----------
    first : (A, n, n) kernels of centred patterns, see `linear_kernel`
    second : (B, n, n)

    Returns
    -------
    array (A, B) in [0, 1]; NaN where all patterns of a representation are equal. Large by chance if there are
    fewer stimuli than features: .95 for two independent ones of 50 stimuli and 1000 features.

    Source
    ------
    Kornblith et al. 2019, ICML, eq. 4.

    Examples
    --------
    >>> kernel = linear_kernel(np.array([[0.0], [1.0], [3.0]]))[None]
    >>> biased_cka(kernel, 4 * kernel).round(6)
    array([[1.]])
    """
    return _normalised(_products(first, second), _self(first), _self(second))


def unbiased_cka(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Centred kernel alignment without the bias of few stimuli.

    HSIC_u(K, L) = [sum(K~ L~) + (1'K~1)(1'L~1) / ((n - 1)(n - 2)) - 2 1'K~L~1 / (n - 2)] / (n (n - 3)), with
    K~ the kernel of zero diagonal; CKA_u = HSIC_u(K, L) / sqrt(HSIC_u(K, K) HSIC_u(L, L)).

    Parameters
    ----------
    first : (A, n, n) kernels, n >= 4
    second : (B, n, n)

    Returns
    -------
    array (A, B)
        At most 1 up to sampling; around 0 for independent representations; NaN where HSIC_u of a
        representation with itself is not positive.

    Source
    ------
    Song et al. 2012, J Mach Learn Res 13:1393; Nguyen, Raghu & Kornblith 2021, ICLR.

    Examples
    --------
    >>> kernel = linear_kernel(np.array([[0.0], [1.0], [3.0], [7.0]]))[None]
    >>> unbiased_cka(kernel, kernel).round(6)
    array([[1.]])
    """
    first, second = _hollow(first), _hollow(second)
    return _normalised(_hsic(first, second), _self_hsic(first), _self_hsic(second))


def _hollow(kernels: np.ndarray) -> np.ndarray:
    """Kernels of zero diagonal, made U-centred: their products are then HSIC_u without its corrections."""
    n = kernels.shape[1]
    hollow = kernels * (1 - np.eye(n))
    rows = hollow.sum(axis=2)
    shift = rows / (n - 2)
    total = rows.sum(axis=1) / ((n - 1) * (n - 2))
    centred = hollow - shift[:, :, None] - shift[:, None, :] + total[:, None, None]
    return np.asarray(centred * (1 - np.eye(n)))


def _hsic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    n = first.shape[1]
    return _products(first, second) / (n * (n - 3))


def _self_hsic(kernels: np.ndarray) -> np.ndarray:
    n = kernels.shape[1]
    return _self(kernels) / (n * (n - 3))


def _products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(first.reshape(len(first), -1) @ second.reshape(len(second), -1).T)


def _self(kernels: np.ndarray) -> np.ndarray:
    return np.einsum("aij,aij->a", kernels, kernels)


def _normalised(products: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    squares = first[:, None] * second[None, :]
    return np.asarray(products / np.sqrt(np.where(squares > 0, squares, np.nan)))
