"""The tracer of a worker, as its application would have it: one span is active from here on.

Before: `run.py` says by `BENCH_TRACER` which one. After: the debugger of the worker starts.
"""

import os


def begin(name):
    """Has a span active in this thread; answers how to read a tag of it, or None without a tracer."""
    if name == "ddtrace":
        os.environ["DD_TRACE_AGENT_URL"] = os.environ["BENCH_AGENT_URL"]
        os.environ["DD_INSTRUMENTATION_TELEMETRY_ENABLED"] = "false"
        from ddtrace.trace import tracer

        return tracer.trace("bench").get_tag
    if name == "opentelemetry":
        from opentelemetry import context, trace
        from opentelemetry.sdk.trace import TracerProvider

        trace.set_tracer_provider(TracerProvider())
        span = trace.get_tracer("bench").start_span("bench")
        context.attach(trace.set_span_in_context(span))
        return span.attributes.get
    return None
