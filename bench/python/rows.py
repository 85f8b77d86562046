"""The rows of the report and their goals: what `run.py` measures and `report.py` judges."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One kind of hit. Goals are `None` where there is none."""

    name: str
    title: str
    # The function of targets.py, and the event whose bare cost is the floor.
    target: str
    event: str
    # At least so many times cheaper than the peer.
    ratio: float
    # At most so many nanoseconds over the floor.
    over_floor: float | None = None
    # At most so many nanoseconds per captured node, the floor included.
    per_node: float | None = None
    # At most so many nanoseconds on average.
    mean: float | None = None
    # "lifted": every hit must make an event. "kept": over its rate. "false": no hit makes one. "own": each of ours.
    rate: str = "lifted"
    keep_armed: bool = False
    # The tracer of the process, in one of whose spans all runs.
    tracer: str | None = None


hit_rows = [
    Row("condition_false", "condition false", "condition_false", "line", 120, over_floor=70, rate="false"),
    Row(
        "limited_armed",
        "unconditional, over its rate, armed",
        "limited",
        "line",
        300,
        over_floor=30,
        rate="kept",
        keep_armed=True,
    ),
    Row("limited_disarmed", "unconditional, over its rate, disarmed", "limited", "line", 5000, mean=2, rate="kept"),
    Row(
        "condition_limited",
        "conditional and true, gate empty",
        "condition_limited",
        "line",
        300,
        over_floor=30,
        rate="kept",
        keep_armed=True,
    ),
    Row("line_log", "line log, template of two values", "line_log", "line", 300, over_floor=150),
    Row("line_small", "snapshot small, line", "line_small", "line", 350, over_floor=220),
    Row("method_small", "snapshot small, method", "method_small", "return", 300, over_floor=320),
    Row("method_medium", "snapshot medium, method", "method_medium", "return", 260, per_node=15),
    Row("method_large", "snapshot large, limits hit, method", "method_large", "return", 180, per_node=18),
    Row("metric_line", "metric of a value, line, aggregated", "metric_line", "line", 500, over_floor=35, rate="false"),
    Row("span_method", "span, method; ours sent by ourselves", "span_method", "return", 500, rate="own"),
    Row(
        "decoration",
        "span decoration of two tags, method",
        "decoration",
        "return",
        20,
        rate="false",
        tracer="ddtrace",
    ),
    Row("metric_method", "metric, method, aggregated", "metric_method", "return", 1000, over_floor=35, rate="false"),
]

# Whole event, background rendering included: total CPU of the process.
event_targets = ["line_log", "line_small", "method_small", "method_medium", "method_large"]
event_ratio = 80
event_yardstick = 0.8

# What the ids of the active span add to a log, by the tracer of the process.
correlation_target = "line_log"
correlation_goals = {"ddtrace": 25, "opentelemetry": None}

other_lines_goal = 1.02
other_functions_goal = 1.01
unwind_goal_ns = 35

startup_ratio = 20
startup_goal_ms = 20
startup_goal_mib = 10

install_ratio = 50
install_goal_ms = 0.1
install_sizes = [10, 100, 1000]

memory_kinds = ["fresh_key", "fresh_attribute", "fresh_class"]
memory_modes = ["delivered", "dropped"]
memory_goal_mib = 2.0
