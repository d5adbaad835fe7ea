"""Differential privacy against the server too, with hardly more noise than if it were trusted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.hidden import Ask, Refused, Sum, Wire
from qmoe_fed.federated.mechanism import Mechanism, Memory
from qmoe_fed.federated.rules import sample_clients
from qmoe_fed.federated.updates import ClientTable, Cohort
from strategies import gaussian, noisy_sums, skellam
from strategies.noisy_sums import FEWEST_BITS, MOST_BITS, Part
from strategies.secure_sum import checks
from strategies.secure_sum.mechanism import SecureSum
from strategies.secure_sum.rows import Floats
from strategies.secure_sum.wire import entry


@dataclass(eq=False)
class DistributedDP(SecureSum):
    """A secure sum to which each client adds its share of Skellam noise before it shares its row.

    The fewest honest clients with which a sum is opened (all but the share that may drop out, less
    all corrupt ones) make noise of the deviation noise_multiplier · clip_norm on each coordinate.
    An adaptive norm works as in ``CentralDP``; hosts take it from the server, for whatever it is,
    noise is in proportion. Source: Agarwal, Kairouz & Liu 2021, see ``skellam``.

    Neighbouring federations differ in what one client has, against nothing: a row of noughts. Who
    takes part is known, so there is no credit for sampling: a client spends in its own rounds.

    Covered, in the sense of (ε, δ)-DP, against the server and corrupt clients together: the sums of
    updates, of who was clipped, and of scores, in one account. Rows that are not finite count as
    noughts; losses of training and numbers of samples are not told. Hosts refuse sums that their
    own settings do not have. Not covered: who takes part and who survives; clients on one host from
    each other; unseen clients; files of hosts; what a secure sum leaves open.

    Attributes:
        clip_norm: Of the next round, if it is adaptive.
        rounds: Rounds begun.
        spent: In how many rounds each client was asked to take part.
        parts: What is summed.
    """

    clip_norm: float = field(init=False)
    rounds: int = field(default=0, init=False)
    spent: Tensor = field(init=False)
    parts: Mapping[str, Part] = field(init=False)

    name: ClassVar[str] = "distributed-dp"
    tells_loss: ClassVar[bool] = False

    def __post_init__(self) -> None:
        given, federation = self.config.privacy, self.config.federation
        who = federation.num_clients, federation.fraction_train, federation.sampling
        self.sampling: gaussian.Sampling = (*who, federation.seed)
        self.adaptive, self.parts = given.clip == "adaptive", noisy_sums.parts(self.config)
        self.spent = torch.zeros(federation.num_clients, dtype=torch.int64)
        self.clip_norm = given.clip_norm

    @classmethod
    def from_config(cls, config: Config, options: dict[str, object]) -> Self:
        """Return the mechanism with the settings of the privacy section."""
        blocks = {kind: part.blocks for kind, part in noisy_sums.parts(config).items()}
        return cls(config, checks.protocol(config, blocks))

    def check(self, config: Config, chain: Sequence[Mechanism]) -> None:
        """Refuse settings under which the reported ε would not be true."""
        super().check(config, chain)
        given = config.privacy
        if config.strategy.weighting != "uniform":
            raise UserError(
                f"weighting = {config.strategy.weighting!r}: distributed-dp does not tell how many "
                "samples a client has; set weighting = 'uniform'"
            )
        bits, least = given.fixed_point_bits, min(part.variance for part in self.parts.values())
        if not FEWEST_BITS <= bits <= MOST_BITS or least < skellam.LEAST_VARIANCE:
            raise UserError(
                f"fixed-point-bits = {bits}: distributed-dp takes {FEWEST_BITS} to {MOST_BITS}, "
                f"and so many that a client's noise has a variance of {skellam.LEAST_VARIANCE:g} "
                f"at least (it has {least:.3g})"
            )
        first = partial(self._spent, rounds=1)
        gaussian.check_first_round(first, given.noise_multiplier, given.max_epsilon)

    # on the hosts

    def _integers(
        self, kind: str, number: int, table: Cohort | ClientTable, asked: Wire
    ) -> dict[int, NDArray[np.int64]]:
        """Return what clients share, with noise; noughts for those who have nothing finite."""
        ids, values = self._values(kind, table)
        everyone = range(self.spent.shape[0])
        due = sample_clients(*self.sampling, number) if kind == "train" else everyone
        if set(ids) - set(due) or (
            kind == "score" and not noisy_sums.is_scored(self.config, number - 1)
        ):
            raise Refused(f"{kind}, round {number}: a sum that this host's settings do not have")
        finite = np.isfinite(values).all(1, keepdims=True)
        rows = np.where(finite, self._rows(kind, np.where(finite, values, 0.0), asked), 0.0)
        part, seed, size = self.parts[kind], self.config.federation.seed, rows.shape[1]
        purpose = f"{self.name} {kind}"

        def rounding(attempt: int) -> Floats:
            return rng.uniform(seed, f"{purpose} {attempt}", ids, (size,), number)

        def noise(attempt: int) -> Floats:
            if self.config.privacy.noise_source == gaussian.SEED:
                return rng.uniform(seed, f"{purpose} noise {attempt}", ids, (4, size), number)
            return gaussian.system_uniform(len(ids), 4, size)

        whole = skellam.rounded(rows, part.blocks, part.release.norm, rounding)
        return dict(zip(ids, whole + skellam.noise(part.variance, noise), strict=True))

    def _rows(self, kind: str, values: Floats, asked: Wire) -> Floats:
        """Return rows as ``noisy_sums.parts`` says."""
        if kind == "score":
            ranges, middle = noisy_sums.score_ranges(self.config)
            return np.clip(values / ranges, 0.0, 1.0) - middle
        updates, norm = values[:, :-2], self.config.privacy.clip_norm
        if not self.adaptive:
            return updates / norm
        norm = float(entry(asked, "clip", 8).view("<f8")[0, 0])
        if not 0 < norm < math.inf:
            raise Refused(f"a clip norm of {norm}: expected a positive number")
        kept = np.linalg.norm(updates, axis=1, keepdims=True) <= norm
        half = self.parts["train"].blocks[1].clip
        return np.hstack([updates / norm, np.where(kept, half, -half)])

    # on the server

    def before_round(self, server_round: int) -> None:
        """Spend the round, and the scores after it, or end the run if a budget forbids it."""
        after, given = partial(self._spent, rounds=server_round), self.config.privacy
        budget = server_round, after, given.delta, given.max_epsilon
        self.spent = gaussian.after_round(self.spent, self.sampling, *budget)
        self.rounds = server_round

    def prepare(self, what: Sum, ask: Ask) -> Wire:
        """Return what is sent along, the norm too; as ``HiddenSum.prepare``."""
        clip: Wire = {"clip": np.array([self.clip_norm], "<f8").tobytes()} if self.adaptive else {}
        return super().prepare(what, ask) | clip

    def _mean(self, kind: str, sums: Floats, count: int) -> Floats:
        mean = sums / count
        if kind == "score":
            ranges, middle = noisy_sums.score_ranges(self.config)
            return np.clip(mean + middle, 0.0, 1.0) * ranges
        size, norm = self.parts["train"].blocks[0].size, self.clip_norm
        if self.adaptive:
            share = 0.5 + mean[size] / (2 * self.parts["train"].blocks[1].clip)
            quantile = self.config.privacy.clip_quantile
            self.clip_norm = gaussian.next_norm(norm, float(share), quantile)
        return np.append(mean[:size] * norm, 0.0)  # in place of the loss

    def metrics(self) -> dict[str, float]:
        """Return the ε spent, of the client asked most often and their mean, and of one round."""
        spent = gaussian.spent_metrics(self.spent, partial(self._spent, rounds=self.rounds))
        one = skellam.epsilon(((self.parts["train"].release, 1),), self.config.privacy.delta)
        norm = {"clip-norm": self.clip_norm} if self.adaptive else {}
        return {**spent, "epsilon-round": one, **norm}

    def _spent(self, times: int, rounds: int) -> float:
        return noisy_sums.spent(self.config, self.parts, times, rounds)

    def state_dict(self) -> Memory:
        """Return what has been spent, and the norm of the next round; no keys, no shares."""
        own: Memory = {"rounds": self.rounds, "spent": self.spent, "clip-norm": self.clip_norm}
        return super().state_dict() | own

    def load_state_dict(self, state: Memory) -> None:
        """Go on from a saved state, with new keys."""
        super().load_state_dict(state)
        self.rounds, self.clip_norm = int(state["rounds"]), float(state["clip-norm"])
        self.spent = torch.as_tensor(state["spent"]).clone()
