"""Operations put together in blocks on few wires, which engines apply at once."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from qmoe_fed.circuits.operations import Angle, Channel, Gate, Operation, Slot
from qmoe_fed.circuits.schedule import AXES


@dataclass(frozen=True)
class Block:
    """Operations, whose wires are positions in ``wires``."""

    wires: tuple[int, ...]
    operations: tuple[Operation, ...]

    @property
    def angles(self) -> list[Angle]:
        """What its rotations turn by, in order."""
        return [o.angles[0] for o in self.operations if isinstance(o, Gate) and o.name in AXES]

    @property
    def of_x(self) -> bool:
        """Whether it depends on features."""
        return any(angle.features for angle in self.angles)

    @property
    def kind(self) -> object:
        """All but the angles."""
        return (
            self.of_x,
            len(self.wires),
            tuple((o.name, o.wires) if o.name in AXES else o for o in self.operations),
        )


def gather(operations: Iterable[Operation], most: int, turns: int) -> list[Block]:
    """Return operations in few blocks, on at most ``most`` wires each, that do the same in order.

    A block has at most ``turns`` rotations, all of x or none, and channels of one slot at most.
    """
    found: list[tuple[set[int], list[Operation]]] = []
    for operation in operations:
        wires = set(operation.wires)
        # It commutes with all blocks after the last one that shares a wire with it.
        last = max((i for i, (taken, _) in enumerate(found) if taken & wires), default=0)
        for taken, members in found[last:]:
            if len(taken | wires) <= most and go_together([*members, operation], turns):
                taken |= wires
                members.append(operation)
                break
        else:
            found.append((wires, [operation]))
    return [block(sorted(taken), members) for taken, members in found]


def block(wires: Iterable[int], operations: Iterable[Operation]) -> Block:
    """Return a block of operations on a circuit's wires."""
    on = tuple(wires)
    return Block(on, tuple(replace(o, wires=tuple(map(on.index, o.wires))) for o in operations))


def go_together(operations: list[Operation], turns: int) -> bool:
    """Return whether one block may have these operations, with at most ``turns`` rotations."""
    angles = [o.angles[0] for o in operations if isinstance(o, Gate) and o.name in AXES]
    slots = {(o.name, o.strength) for o in operations if isinstance(o, Channel) and slotted(o)}
    return len(angles) <= turns and len({bool(a.features) for a in angles}) < 2 and len(slots) < 2


def slotted(operation: Operation) -> bool:
    """Return whether it is a channel whose strength is given when the circuit is run."""
    return isinstance(operation, Channel) and isinstance(operation.strength, Slot)
