"""Which SuperNode hosts which client."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Hosts:
    """The SuperNodes of a federation; client c lives on the one with partition-id c mod S.

    Attributes:
        nodes: Flower's node id of each partition-id 0 … S-1.
    """

    nodes: tuple[int, ...]

    def node_of(self, client: int) -> int:
        """Return the node id of the SuperNode that hosts the client."""
        return self.nodes[client % len(self.nodes)]

    def group(self, clients: Iterable[int]) -> dict[int, list[int]]:
        """Return the clients by node id, in ascending order; nodes without any are left out."""
        groups: dict[int, list[int]] = {}
        for client in sorted(clients):
            groups.setdefault(self.node_of(client), []).append(client)
        return groups
