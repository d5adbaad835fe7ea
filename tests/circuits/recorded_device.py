"""A device as a plugin has it: it only measures, never tells exact values, and keeps a record."""

from typing import ClassVar

import pennylane as qml


class Recorded(qml.devices.Device):
    """``default.qubit`` behind a counter of circuits and shots."""

    record: ClassVar[list[tuple[int, int]]] = []
    calibrations: ClassVar[list[str]] = []

    def __init__(self, wires=None, shots=None, seed=0, calibration="none"):
        super().__init__(wires=wires, shots=shots)
        if calibration == "broken":
            raise ValueError("no such calibration")
        self.calibrations.append(calibration)
        self._inner = qml.device("default.qubit", wires=wires, seed=seed)

    @property
    def name(self):
        return "recorded.device"

    def execute(self, circuits, execution_config=None):
        for tape in circuits:
            if not tape.shots:
                raise qml.exceptions.DeviceError("this device measures: it needs shots")
            if tape.batch_size:
                raise qml.exceptions.DeviceError("one circuit at a time")
        self.record.append((len(circuits), circuits[0].shots.total_shots))
        return self._inner.execute(circuits)
