"""`python -m shop.visitors PORT SECONDS`: fills carts and orders them, from a process of its own."""

import json
import random
import sys
import time
import urllib.error
import urllib.request


def post(port: str, path: str, body: object = None) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=json.dumps(body or {}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as answer:
        answer.close()  # a visitor who hears "no" goes on


def visit(port: str, number: int, dice: random.Random) -> None:
    cart = f"/carts/c{number}"
    for _ in range(dice.randint(1, 4)):
        article = dice.choice(["cup", "cup", "tea", "pot", "tray"])
        post(port, f"{cart}/lines", {"article": article, "quantity": dice.choice([1, 1, 2, 12])})
    for code in dice.sample(["WELCOME", "FRIEND", "TENTH"], dice.randint(0, 3)):
        post(port, f"{cart}/coupons", {"code": code})
    post(port, f"{cart}/order")


def main() -> None:
    port, seconds = sys.argv[1], float(sys.argv[2])
    dice = random.Random(20)  # the same visitors every day
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        visit(port, number, dice)
        time.sleep(0.1)
    print(f"{number} visitors have left", flush=True)


if __name__ == "__main__":
    main()
