"""What is said of products, looked up by product; `*` stands for every device, also one whose product is not known.

Rules: what it costs grows with what is said, not with its square: anybody may name a hundred products a thousand times.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

ANY_PRODUCT = "*"


class OfProducts(Protocol):
    """A rule or a formula."""

    @property
    def products(self) -> tuple[str, ...]: ...


T = TypeVar("T", bound=OfProducts)


def by_product(said: Sequence[T]) -> dict[str, tuple[T, ...]]:
    """For each product that is named, and for `*` if it is: all that is for it, in the order given."""
    found: dict[str, list[T]] = {name: [] for one in said for name in one.products}
    for one in said:
        names = dict.fromkeys(one.products)
        for name in found if ANY_PRODUCT in names else names:
            found[name].append(one)
    return {name: tuple(ones) for name, ones in found.items()}


def of_product(found: Mapping[str, tuple[T, ...]], product: str | None) -> tuple[T, ...]:
    """What is for a product."""
    of = found.get(product or ANY_PRODUCT)
    return found.get(ANY_PRODUCT, ()) if of is None else of
