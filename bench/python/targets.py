"""The functions under test: NAME_p gets the probe, NAME_b is its twin that never has one.

Before: `definitions.py` looks the `# probe: NAME` markers up, so that lines may move freely. After: `measure.py` calls
them.
"""

from itertools import repeat


class User:
    """What a condition looks at."""

    def __init__(self, id, name):
        self.id = id
        self.name = name
        self.email = name + "@example.com"
        self.active = True


class Customer:
    """An object inside an object."""

    def __init__(self):
        self.id = 42
        self.name = "Ada Lovelace"
        self.tier = "gold"
        self.balance = 1234.5
        self.tags = ["a", "b", "c"]


class Order:
    """About 200 nodes at the default depth."""

    def __init__(self):
        self.id = 1001
        self.customer = Customer()
        self.items = [{"sku": f"SKU-{i}", "qty": i, "price": i * 1.5, "gift": False} for i in range(20)]
        self.total = 99.95
        self.currency = "EUR"
        self.note = "leave at the door"


class Wide:
    """More attributes than the limit of fields."""

    def __init__(self):
        for i in range(50):
            setattr(self, f"f{i}", i)


class Deep:
    """Deeper than the limit of depth."""

    def __init__(self, n):
        self.n = n
        self.next = Deep(n - 1) if n else None


class Bag:
    """Takes any attribute."""


items = [1, 2, 3, 4, 5]
other_user = User(7, "bob")
wanted_user = User(42, "eve")
order = Order()
extra = {"region": "eu-west-1", "attempt": 3, "flags": (1, 2, 3)}
big_list = list(range(1000))
big_dict = {f"key{i}": f"value {i}" for i in range(500)}
big_text = "x" * 10000
objects = [User(i, f"user{i}") for i in range(150)]


# Line probes.


def condition_false_p(items, user):
    z = len(items)
    z = z + 1  # probe: condition_false
    return z


def condition_false_b(items, user):
    z = len(items)
    z = z + 1
    return z


def limited_p(x, y):
    z = x + 1
    z = z + y  # probe: limited
    return z


def limited_b(x, y):
    z = x + 1
    z = z + y
    return z


def condition_limited_p(items, user):
    z = len(items)
    z = z + 1  # probe: condition_limited
    return z


def condition_limited_b(items, user):
    z = len(items)
    z = z + 1
    return z


def line_log_p(x, y):
    z = x + 1
    z = z + y  # probe: line_log
    return z


def line_log_b(x, y):
    z = x + 1
    z = z + y
    return z


def line_small_p(a, b, c, d, e):
    z = a + 1
    z = z + 1  # probe: line_small
    return z


def line_small_b(a, b, c, d, e):
    z = a + 1
    z = z + 1
    return z


def metric_line_p(x, y):
    z = x + 1
    z = z + y  # probe: metric_line
    return z


def metric_line_b(x, y):
    z = x + 1
    z = z + y
    return z


# Method probes.


def method_small_p(a, b, c, d, e):
    z = a + 1
    return z


def method_small_b(a, b, c, d, e):
    z = a + 1
    return z


def method_medium_p(order, extra):
    z = order.id + 1
    return z


def method_medium_b(order, extra):
    z = order.id + 1
    return z


def method_large_p(big_list, big_dict, big_text, wide, deep, objects):
    z = deep.n + 1
    return z


def method_large_b(big_list, big_dict, big_text, wide, deep, objects):
    z = deep.n + 1
    return z


def metric_method_p(x, y):
    z = x + y
    return z


def metric_method_b(x, y):
    z = x + y
    return z


def span_method_p(x, y):
    z = x + y
    return z


def span_method_b(x, y):
    z = x + y
    return z


def decoration_p(x, y):
    z = x + y
    return z


def decoration_b(x, y):
    z = x + y
    return z


# The lines beside the probed one: the loop is what is timed, the probed line runs once. Here and below only small
# integers: what allocating costs depends on the state of the heap, even in instructions.


def other_lines_p(n):
    t = 0
    u = 1  # probe: other_lines
    for i in repeat(1, n):
        t = t + i
        u = u ^ t
        if t > 100:
            t = 0
        u = u & 0x3F
    return t + u


def other_lines_b(n):
    t = 0
    u = 1
    for i in repeat(1, n):
        t = t + i
        u = u ^ t
        if t > 100:
            t = 0
        u = u & 0x3F
    return t + u


# Code that nobody probes.


def calls(n):
    t = 0
    for i in repeat(1, n):
        t = _leaf(t, i)
    return t


def _leaf(a, b):
    return (a + b) & 0x7F


def generators(n):
    t = 0
    for i in _counting(n):
        t ^= i
    return t


def _counting(n):
    for i in repeat(1, n):  # noqa: UP028 (the loop is what is timed)
        yield i


frames_unwound = 2


def exceptions(n):
    """Each round unwinds two frames: `_between` and `_raising`."""
    t = 0
    for i in range(n):
        try:
            _between(i)
        except ValueError:
            t += 1
    return t


def _between(i):
    return _raising(i)


def _raising(i):
    raise ValueError


# Memory: every hit sees something that no hit saw before.


def memory_p(value):
    z = value  # probe: memory
    return z


def memory_b(value):
    z = value
    return z


def fresh_key(i):
    return {f"key{i}": i}


def fresh_attribute(i):
    bag = Bag()
    # Not setattr: that interns the name, and CPython 3.12 never frees an interned string.
    vars(bag)[f"attribute{i}"] = i
    return bag


def fresh_class(i):
    return type(f"Class{i}", (), {})()


arguments = {
    "condition_false": (items, other_user),
    "limited": (3, 4),
    "condition_limited": (items, wanted_user),
    "line_log": (3, 4),
    "line_small": (1, "two", 3.5, None, True),
    "metric_line": (3, 4),
    "metric_method": (3, 4),
    "span_method": (3, 4),
    "decoration": (3, 4),
    "method_small": (1, "two", 3.5, None, True),
    "method_medium": (order, extra),
    "method_large": (big_list, big_dict, big_text, Wide(), Deep(6), objects),
}
