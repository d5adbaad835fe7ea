"""What do entanglement and interference add that a classical gate with the same features does not?

Answered from the differences of accuracy between Model B and its controls, seed by seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qmoe_fed.studies.ablation.efficiency import PAPER_CIRCUIT, UNENTANGLED
from qmoe_fed.studies.ablation.plan import Results
from qmoe_fed.studies.ablation.settings import EXPERTS
from qmoe_fed.studies.ablation.summary import B, difference, find
from qmoe_fed.studies.ablation.tables import SETTINGS
from qmoe_fed.studies.datasets import MOONS
from qmoe_fed.studies.report import points
from qmoe_fed.studies.statistics import Interval, mean_interval
from qmoe_fed.studies.trials import CHOSEN, Outcome

QUESTION = "What do entanglement and interference add that a classical gate does not?"


@dataclass(frozen=True)
class Effect:
    """By how much one router is ahead of another that stands before the same experts.

    Attributes:
        where: Dataset, experts and learning rate.
        lead: Difference of accuracy.
    """

    where: str
    lead: Interval

    @property
    def sign(self) -> int:
        """1 or -1 if the whole interval lies above or below zero, else 0."""
        return (self.lead.low > 0) - (self.lead.high < 0)

    def __str__(self) -> str:
        return f"{points(self.lead, sign=True)} ({self.where})"


def answer(results: Results) -> list[str]:
    """Return the answer, paragraph by paragraph."""
    entangler = [*_moons(results.models, "separable"), *_images(results.sweeps)]
    chosen = {
        name: [e for e in _moons(results.models, name) if "rate chosen" in e.where]
        for name in ("separable", "trig", "linear", "deep", "reuploading")
    }
    b = find(results.models, B).chosen
    return [
        "Entanglement. Model B with its CZ gates minus the same circuit without them, in points: "
        f"{_list(entangler)}. {_conclusion(entangler)}",
        "Interference. Without CZ and with two experts the router is P(expert 0 | x) = "
        "cos²((x₁ + θ)/2), with θ the sum of the first qubit's angles: one number and one feature, "
        "an ordinary cosine that needs no quantum computer. With validated learning rates it is "
        f"{_behind(chosen['separable'][0])} Model B, which reaches "
        f"{points(mean_interval(b.accuracy))}%. The trigonometric gate, a softmax of all products "
        "of 1, cos xⱼ and sin xⱼ, which span every output of the circuit, has more parameters: B "
        f"minus it is {_list(chosen['trig'])}. {_gate(chosen)}",
        "What does matter. With validated learning rates, B minus A, the linear router: "
        f"{_list(chosen['linear'])}; B minus C, the MLP: {_list(chosen['deep'])}; B minus the same "
        f"circuit with re-uploading: {_list(chosen['reuploading'])}. "
        f"{_learning_rate(results.models)}",
    ]


def _moons(outcomes: Sequence[Outcome], control: str) -> Iterator[Effect]:
    """Yield the lead of B over a control, by learning rate and number of experts."""
    for number in EXPERTS:
        tail = "" if number == EXPERTS[0] else f"-{number}"
        for setting in SETTINGS:
            b = find(outcomes, B + tail).columns[setting]
            other = find(outcomes, control + tail).columns[setting]
            rate = "rate chosen" if setting == CHOSEN else f"rate {setting}"
            yield Effect(f"Two Moons, {number} experts, {rate}", difference(b, other))


def _images(sweeps: Mapping[str, Sequence[Outcome]]) -> Iterator[Effect]:
    for dataset, outcomes in sweeps.items():
        names = {outcome.trial.model.name for outcome in outcomes}
        if dataset != MOONS and UNENTANGLED in names:
            lead = difference(
                find(outcomes, PAPER_CIRCUIT).chosen, find(outcomes, UNENTANGLED).chosen
            )
            yield Effect(outcomes[0].trial.source.title, lead)


def _conclusion(effects: Sequence[Effect]) -> str:
    better = [effect.where for effect in effects if effect.sign > 0]
    worse = [effect.where for effect in effects if effect.sign < 0]
    if not better and not worse:
        return "No interval excludes zero: entanglement adds nothing that can be measured here."
    parts = []
    if better:
        parts.append(f"It helps in {len(better)} of {len(effects)}: {'; '.join(better)}.")
    if worse:
        parts.append(f"It harms in {len(worse)} of {len(effects)}: {'; '.join(worse)}.")
    if len(better) + len(worse) < len(effects):
        parts.append("Elsewhere the interval holds zero.")
    return " ".join(parts)


def _behind(effect: Effect) -> str:
    if effect.sign == 0:
        return f"not to be told apart ({points(effect.lead, sign=True)} points) from"
    side = "behind" if effect.sign > 0 else "ahead of"
    return f"{100 * abs(effect.lead.mean):.1f} ± {100 * effect.lead.half:.1f} points {side}"


def _gate(chosen: Mapping[str, Sequence[Effect]]) -> str:
    free = [effect.sign for effect in chosen["trig"]]
    separable = [effect.sign for effect in chosen["separable"]]
    if max(separable) > 0:
        return "So the entangled circuit has something that its classical counterparts lack."
    if max(free) > 0:
        return (
            "So where B is ahead of the free gate, the gate without entanglement is too: what "
            "helps is the form of the gate, and that form is classical."
        )
    return "So a classical gate with the same features does all that the circuit does."


def _learning_rate(outcomes: Sequence[Outcome]) -> str:
    b = find(outcomes, B).columns
    gain = mean_interval(b[CHOSEN].accuracy - b[SETTINGS[0]].accuracy)
    return (
        f"Choosing the learning rate ({b[CHOSEN].learning_rate:g} instead of {SETTINGS[0]}) alone "
        f"moves B by {points(gain, sign=True)} points."
    )


def _list(effects: Sequence[Effect]) -> str:
    return "; ".join(str(effect) for effect in effects)
