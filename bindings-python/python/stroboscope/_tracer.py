"""The application's tracer: the spans of span probes are made by it, and decorations go to its spans.

Called by the native module, in hits and by their thread, when all of ours is done: no probe hits in here. Only what
tracers promise to everybody is used, but for the ids of the active span: the native module reads them in their memory
once `samples` has shown it where they stand. Nothing is imported: a tracer that the application has not loaded is not
there.
"""

import sys

TYPE_CHECKING = False  # that of `typing`, which may not be there before the program
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    _Tags = Sequence[tuple[str, str]]

NAME = "dd.dynamic.span"


class Failed(Exception):
    """The tracer has failed; the program is told nothing of it."""


def _is_of_handler(error: BaseException) -> bool:
    """True for an exception that a handler of a signal has raised while the tracer ran: it is the program's."""
    signal = sys.modules.get("signal")
    if signal is None:
        return False
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = {getattr(handler, "__code__", None) for handler in handlers} - {None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


class Open:
    """A span that a call has opened. `before` is what was active before it, as the tracer wants it back; `active` is
    whether it was made active here and not given back yet."""

    __slots__ = ("active", "before", "span")

    def __init__(self, span: "Any") -> None:
        self.span = span
        self.before: Any = None
        self.active = False


class Datadog:
    """By ddtrace."""

    name = "ddtrace"

    def __init__(self, tracer: "Any") -> None:
        self.tracer = tracer
        self.provider = tracer.context_provider
        self.takes_all = False

    def usable(self) -> bool:
        return bool(self.tracer.enabled)

    def open(self, resource: str, tags: "_Tags") -> Open:
        span = self.tracer.start_span(NAME, child_of=self.provider.active(), resource=resource, activate=False)
        span.set_tag("_dd.origin", "di")
        for name, value in tags:
            span.set_tag(name, value)
        return Open(span)

    def enter(self, one: Open) -> None:
        one.before = self.provider.active()
        self.provider.activate(one.span)
        one.active = True

    def leave(self, one: Open) -> None:
        if one.active and self.provider.active() is one.span:
            self.provider.activate(one.before)
            one.active = False

    def close(self, one: Open, error: tuple[str, str] | None) -> None:
        if error is not None:
            one.span.error = 1
            one.span.set_tag("error.type", error[0])
            one.span.set_tag("error.message", error[1])
        one.span.finish()

    def tag(self, root: bool, tags: dict[str, str]) -> bool:
        span = self.tracer.current_root_span() if root else self.tracer.current_span()
        if span is None:
            return False
        if self.takes_all:
            span._set_attributes(tags)
            return True
        for name, value in tags.items():
            span.set_tag(name, value)
        return True

    def samples(self) -> "tuple[Any, Any, list[tuple[Any, int, int]]]":
        """The variable with the active span, the class of spans, and spans of which the ids are known."""
        trace = sys.modules["ddtrace.trace"]
        variable = sys.modules["ddtrace._trace.provider"]._DD_CONTEXTVAR
        ids = [
            (0x1F2E3D4C5B6A79880112233445566778, 0x0F1E2D3C4B5A6978),
            (0x2A3B4C5D6E7F80911223344556677889, 0x192A3B4C5D6E7F80),
            (0x0000000000000000334455667788990A, 0x2B3C4D5E6F708192),
        ]
        spans = [(trace.Span("stroboscope", trace_id=one, span_id=own), one, own) for one, own in ids]
        self.takes_all = _takes_all(spans[0][0])
        return variable, trace.Span, spans


def _takes_all(span: "Any") -> bool:
    """True if a span takes several tags at once, as none of its promised methods does in one step."""
    take = getattr(span, "_set_attributes", None)
    if take is None:
        return False
    take({"first": "1", "second": "two"})
    return (span.get_tag("first"), span.get_tag("second")) == ("1", "two")


class Roots:
    """Knows the local root of each trace that goes on: a span of OpenTelemetry knows only its parent."""

    MOST = 10_000

    def __init__(self) -> None:
        self.roots: dict[int, Any] = {}

    def on_start(self, span: "Any", parent_context: "Any" = None) -> None:
        context = span.get_span_context()
        parent = getattr(span, "parent", None)
        if parent is None or parent.is_remote or context.trace_id not in self.roots:
            while len(self.roots) >= self.MOST:
                self.roots.pop(next(iter(self.roots)), None)
            self.roots[context.trace_id] = span

    def on_end(self, span: "Any") -> None:
        context = span.get_span_context()
        root = self.roots.get(context.trace_id)
        if root is not None and root.get_span_context().span_id == context.span_id:
            self.roots.pop(context.trace_id, None)

    def _on_ending(self, span: "Any") -> None:
        """Newer SDKs ask for it."""

    def shutdown(self) -> None:
        self.roots.clear()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class OpenTelemetry:
    """By an SDK behind OpenTelemetry's API."""

    name = "opentelemetry"

    def __init__(self, trace: "Any", context: "Any", provider: "Any", version: str) -> None:
        self.trace = trace
        self.context = context
        self.provider = provider
        self.tracer = provider.get_tracer("stroboscope", version)
        self.roots: Roots | None = None
        if hasattr(provider, "add_span_processor"):
            self.roots = Roots()
            provider.add_span_processor(self.roots)

    def usable(self) -> bool:
        return True

    def open(self, resource: str, tags: "_Tags") -> Open:
        attributes = {"resource.name": resource, **dict(tags)}
        return Open(self.tracer.start_span(NAME, kind=self.trace.SpanKind.INTERNAL, attributes=attributes))

    def enter(self, one: Open) -> None:
        one.before = self.context.attach(self.trace.set_span_in_context(one.span))
        one.active = True

    def leave(self, one: Open) -> None:
        if one.active and self.trace.get_current_span() is one.span:
            self.context.detach(one.before)
            one.active = False

    def close(self, one: Open, error: tuple[str, str] | None) -> None:
        if error is not None:
            one.span.add_event("exception", {"exception.type": error[0], "exception.message": error[1]})
            one.span.set_status(self.trace.StatusCode.ERROR, error[1])
        one.span.end()

    def tag(self, root: bool, tags: dict[str, str]) -> bool:
        span = self.trace.get_current_span()
        if root and self.roots is not None:
            span = self.roots.roots.get(span.get_span_context().trace_id, span)
        if not span.is_recording():
            return False
        span.set_attributes(tags)
        return True

    def samples(self) -> "tuple[Any, Any, list[tuple[Any, int, int]]]":
        variable = self.context._RUNTIME_CONTEXT._current_context
        key = sys.modules["opentelemetry.trace.propagation"]._SPAN_KEY
        ids = [
            (0x1F2E3D4C5B6A79880112233445566778, 0x0F1E2D3C4B5A6978),
            (0x2A3B4C5D6E7F80911223344556677889, 0x192A3B4C5D6E7F80),
        ]
        spans = []
        for trace_id, span_id in ids:
            span = self.trace.NonRecordingSpan(self.trace.SpanContext(trace_id, span_id, is_remote=False))
            spans.append((self.trace.set_span_in_context(span), trace_id, span_id))
        return variable, key, spans


def _datadog() -> Datadog | None:
    trace: Any = sys.modules.get("ddtrace.trace")
    tracer = getattr(trace, "tracer", None)
    if tracer is None or not all(hasattr(tracer, name) for name in ("start_span", "context_provider", "enabled")):
        return None
    return Datadog(tracer) if tracer.enabled else None


def _opentelemetry(version: str) -> OpenTelemetry | None:
    trace: Any = sys.modules.get("opentelemetry.trace")
    context: Any = sys.modules.get("opentelemetry.context")
    if trace is None or context is None or not hasattr(trace, "get_tracer_provider"):
        return None
    # Asked only if the application has set one: else the first question would choose one for it.
    if getattr(trace, "_TRACER_PROVIDER", None) is None:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return OpenTelemetry(trace, context, provider, version)


def _guarded[Answer](act: "Callable[[], Answer]") -> "Answer":
    """Has the tracer do something. What the program must see goes on; what the tracer is to blame for is `Failed`."""
    try:
        return act()
    except Exception as error:
        if _is_of_handler(error):
            raise
        raise Failed from error


def find(version: str) -> Datadog | OpenTelemetry | None:
    """Looks for a tracer. Asked now and then until there is one, which then comes with each question."""
    try:
        return _guarded(lambda: _datadog() or _opentelemetry(version))
    except Failed:
        return None


def samples(found: Datadog | OpenTelemetry) -> "tuple[Any, Any, list[tuple[Any, int, int]]] | None":
    """What is needed to read the ids of the active span; None if this tracer is not built as is known."""
    try:
        return _guarded(found.samples)
    except Failed:
        return None


def begin(found: Datadog | OpenTelemetry, resource: str, tags: "_Tags") -> Open | None:
    """Opens a span and makes it active; None if the tracer failed."""
    one = None

    def act() -> None:
        nonlocal one
        if found.usable():
            one = found.open(resource, tags)
            found.enter(one)

    try:
        _guarded(act)
    except Failed:
        pass
    except BaseException:
        # The call does not begin: nobody will end its span.
        if one is not None:
            end(found, one, None)
        raise
    return one


def leave(found: Datadog | OpenTelemetry, one: Open) -> bool:
    """The call stands at a yield: what was active before it is active again. False if the tracer failed."""
    return _done(lambda: found.leave(one))


def enter(found: Datadog | OpenTelemetry, one: Open) -> bool:
    """The call goes on."""
    return _done(lambda: None if one.active else found.enter(one))


def end(found: Datadog | OpenTelemetry, one: Open, error: tuple[str, str] | None) -> bool:
    """Ends the span. False if the tracer failed."""

    def act() -> None:
        try:
            found.leave(one)
        finally:
            found.close(one, error)

    return _done(act)


def tag(found: Datadog | OpenTelemetry, root: bool, tags: dict[str, str]) -> bool | None:
    """Sets tags on the active span, or on the local root. True if there was one, None if the tracer failed."""
    # As `_guarded`, without its calls: this is part of a hit.
    try:
        return found.tag(root, tags)
    except Exception as error:
        if _is_of_handler(error):
            raise
        return None


def _done(act: "Callable[[], None]") -> bool:
    try:
        _guarded(act)
    except Failed:
        return False
    return True
