"""What ran of some files, seen by a tool that is not ours, in a run without us: there probes must have been hit."""

import sys


class Watch:
    """Notes the lines that ran and the functions that returned."""

    TOOL = 5

    def __init__(self, file):
        monitoring = sys.monitoring
        with open(file, encoding="utf-8") as lines:
            self.files = set(lines.read().splitlines())
        self.lines, self.returned = {}, {}
        self.disable = monitoring.DISABLE
        monitoring.use_tool_id(self.TOOL, "exploration")
        events = monitoring.events
        monitoring.register_callback(self.TOOL, events.LINE, self.on_line)
        monitoring.register_callback(self.TOOL, events.PY_RETURN, self.on_return)
        monitoring.set_events(self.TOOL, events.LINE | events.PY_RETURN)

    def on_line(self, code, line):
        if code.co_filename in self.files:
            self.lines[code.co_filename, line] = True
        return self.disable

    def on_return(self, code, _offset, _value):
        if code.co_filename in self.files:
            self.returned[code.co_filename, code.co_qualname] = True
        return self.disable

    def told(self):
        return {"ran": list(self.lines), "returned": list(self.returned)}
