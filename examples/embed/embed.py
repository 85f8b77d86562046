"""Probes without the command: the program starts the session itself."""

import json

import stroboscope


def area(width: float, height: float) -> float:
    return width * height


stroboscope.start(service="embed", terminal="always")
probe = stroboscope.add_probe(
    {
        "id": "large",
        "type": "LOG_PROBE",
        "where": {"typeName": "__main__", "methodName": "area"},
        "when": {"dsl": "@return > 10"},
        "template": "{width} x {height} is large",
    }
)
for side in range(6):
    area(side, side)
stroboscope.flush(1.0)
print(json.dumps(stroboscope.status(), indent=2, default=str))
stroboscope.remove_probe(probe)
stroboscope.stop()
