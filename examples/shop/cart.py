"""What one visitor wants to buy."""

from dataclasses import dataclass, field
from decimal import Decimal

from shop.pricing import discount, price


@dataclass
class Line:
    article: str
    quantity: int
    amount: Decimal


@dataclass
class Cart:
    id: str
    lines: list[Line] = field(default_factory=list)
    coupons: list[str] = field(default_factory=list)

    def add(self, article: str, quantity: int) -> None:
        amount = price(article, quantity)
        self.lines.append(Line(article, quantity, amount))  # probe: line-added

    def total(self) -> Decimal:
        total = sum((line.amount for line in self.lines), Decimal(0))
        for coupon in self.coupons:
            total -= discount(coupon, total)
        return total  # probe: below-zero
