"""Who was served what he was entitled to: max-min shares and Jain's index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Shares = dict[str, float]


def water_filling(
    demands: Mapping[str, float], capacity: float, weights: Mapping[str, float] | None = None
) -> Shares:
    """Return the max-min fair share of each tenant.

    Nobody gets more than his demand; what he leaves is shared among the others by weight (default:
    equal), until the capacity or the demand ends (Bertsekas and Gallager, Data Networks, 6.5.2).
    """
    weights = weights or dict.fromkeys(demands, 1.0)
    shares: Shares = {}
    left = capacity
    waiting = sorted(demands, key=lambda tenant: demands[tenant] / weights[tenant])
    while waiting:
        level = left / sum(weights[tenant] for tenant in waiting)
        tenant = waiting.pop(0)
        shares[tenant] = min(demands[tenant], level * weights[tenant])
        left -= shares[tenant]
    return shares


def jain(values: Sequence[float]) -> float:
    """Return Jain's index: 1 if all are equal, 1/n if one has all (DEC-TR-301, 1984)."""
    if not values or not any(values):
        raise ValueError("nobody was served: there is nothing to compare")
    return sum(values) ** 2 / (len(values) * sum(value**2 for value in values))


def jain_of_entitled(served: Mapping[str, float], demands: Mapping[str, float]) -> float:
    """Return Jain's index of served over entitled tokens, equal weights.

    The capacity is what was served in all: how fast a server is, is another figure.
    """
    entitled = water_filling(demands, sum(served.values()))
    return jain([served.get(tenant, 0.0) / entitled[tenant] for tenant in demands])
