"""What is left on the shelves."""

from threading import Lock


class OutOfStock(Exception):
    """More is wanted than there is."""


class Stock:
    def __init__(self, left: dict[str, int]) -> None:
        self._left = left
        self._lock = Lock()

    def take(self, article: str, quantity: int) -> int:
        with self._lock:
            left = self._left.get(article, 0) - quantity
            if left < 0:
                raise OutOfStock(f"only {left + quantity} of {article} left")
            self._left[article] = left
            return left
