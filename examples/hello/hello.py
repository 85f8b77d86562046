"""Greets everybody, more or less."""

import sys


def greet(name: str, times: int) -> str:
    words = [f"hello {name}"] * times
    return ", ".join(words)


if __name__ == "__main__":
    for count, name in enumerate(sys.argv[1:], 1):
        print(greet(name, count))
