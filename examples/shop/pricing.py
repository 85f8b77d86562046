"""Prices and coupons. Somewhere in here money is given away: the demo finds out when."""

from decimal import Decimal
from time import sleep

PRICES = {"cup": Decimal("4.50"), "pot": Decimal("24.00"), "tea": Decimal("3.20"), "tray": Decimal("60.00")}
COUPONS = {"WELCOME": Decimal("5.00"), "FRIEND": Decimal("7.50")}


def price(article: str, quantity: int) -> Decimal:
    sleep(0.002 * quantity)  # asking the price service
    amount = PRICES[article] * quantity
    if quantity >= 10:
        amount *= Decimal("0.9")
    return amount


def discount(coupon: str, total: Decimal) -> Decimal:
    if coupon in COUPONS:
        return COUPONS[coupon]
    return total / 10
