"""McNemar's test: whether one of two ways to answer the same images is right more often than chance explains."""

from scipy.stats import binomtest


def p_value(only_first: int, only_second: int) -> float:
    """How probable a split as uneven as this is, if both ways are equally good: exact, two-sided.

    The images on which both are right, or both wrong, say nothing about the difference.

    Source: Q. McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages",
    doi:10.1007/BF02295996, with the exact binomial probabilities.

    Args:
        only_first: how many images the first way alone has right.
        only_second: how many the second alone has right.

    Example:
        >>> p_value(6, 0), p_value(0, 0)
        (0.03125, 1.0)
    """
    different = only_first + only_second
    return float(binomtest(only_first, different).pvalue) if different else 1.0
