"""What a page of figures is made of: goals judged, tables, cells. Used by `report.py` and `node_part.py`."""

not_measured = "not measured"


class Judge:
    """Collects goals, so that what is missed stands in the summary too."""

    def __init__(self):
        self.reached = 0
        self.missed = []
        self.void = []

    def verdict(self, title, goals, problem=None):
        """The cell of a row: `goals` are triples of a sentence, a value and whether it is reached."""
        if problem:
            self.void.append(f"{title}: {problem}")
            return f"**{problem}**"
        failed = [f"{sentence}: {value}" for sentence, value, good in goals if not good]
        self.reached += len(goals) - len(failed)
        self.missed += [f"{title}, {one}" for one in failed]
        return "**no** (" + "; ".join(failed) + ")" if failed else "yes"


def table(title, heads, lines):
    text = [f"### {title}", "", "| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(text + ["| " + " | ".join(line) + " |" for line in lines])


def part_of(result, name):
    """The part's figures, or why there are none."""
    part = result.get(name)
    if part is None:
        return {}, not_measured
    return part, part.get("error")


def scaled(value):
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:.2f} ms"
    if abs(value) >= 1000:
        return f"{value / 1000:.2f} µs"
    return f"{value:.1f} ns"


def ns(found, with_spread=True):
    low, middle, high = found
    if not with_spread:
        return scaled(middle)
    return f"{scaled(middle)} ({scaled(low)} – {scaled(high)})"


def spread(found, digits):
    low, middle, high = found
    return f"{middle:.{digits}f} ({low:.{digits}f} – {high:.{digits}f})"


def times(found):
    return f"{spread(found, 0)} ×" if found else "–"


def times_of(found):
    return f"{spread(found, 3)} ×" if found else "–"


def both(payload, key, unit=""):
    return ", ".join(f"{payload[side][key]:,}{unit}" if side in payload else "–" for side in ("peer", "ours"))
