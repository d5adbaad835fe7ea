"""What do entanglement and interference add that a classical gate with the same features does not?

Answered from the differences of accuracy between Model B and its controls, seed by seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qmoe_fed.studies.ablation.efficiency import PAPER_CIRCUIT, UNENTANGLED
from qmoe_fed.studies.ablation.plan import Results
from qmoe_fed.studies.ablation.settings import EXPERTS
from qmoe_fed.studies.ablation.summary import B, difference, find
from qmoe_fed.studies.ablation.tables import SETTINGS
from qmoe_fed.studies.datasets import MOONS
from qmoe_fed.studies.models import LABELS
from qmoe_fed.studies.report import Table, points
from qmoe_fed.studies.statistics import Interval, mean_interval
from qmoe_fed.studies.trials import CHOSEN, Outcome

QUESTION = "What do entanglement and interference add that a classical gate does not?"

CONTROLS = "separable", "trig", "linear", "deep", "reuploading"


@dataclass(frozen=True)
class Lead:
    """By how much the accuracy of Model B, or of its like on images, is above that of a control.

    Attributes:
        control: Name of the control.
        where: Dataset and number of experts.
        setting: ``validation`` or a learning rate, as in ``trials.Outcome``.
        value: The difference over seeds.
    """

    control: str
    where: str
    setting: str
    value: Interval

    @property
    def sign(self) -> int:
        """1 or -1 if the whole interval lies above or below zero, else 0."""
        return (self.value.low > 0) - (self.value.high < 0)

    def __str__(self) -> str:
        return f"{points(self.value, sign=True)} ({self.where})"


def leads(results: Results) -> list[Lead]:
    """Return the leads of B over its controls, by control, experts and learning rate."""
    on_moons = [
        Lead(control, f"Two Moons, {number} experts", setting, difference(b, other))
        for control in CONTROLS
        for number in EXPERTS
        for tail in ["" if number == EXPERTS[0] else f"-{number}"]
        for setting in SETTINGS
        for b in [find(results.models, B + tail).columns[setting]]
        for other in [find(results.models, control + tail).columns[setting]]
    ]
    return [*on_moons, *_on_images(results.sweeps)]


def _on_images(sweeps: Mapping[str, Sequence[Outcome]]) -> list[Lead]:
    names = {"separable": UNENTANGLED, "trig": "trig", "linear": "linear"}
    return [
        Lead(control, outcomes[0].trial.source.title, CHOSEN, difference(b.chosen, other.chosen))
        for control, name in names.items()
        for dataset, outcomes in sweeps.items()
        if dataset != MOONS
        for b in [find(outcomes, PAPER_CIRCUIT)]
        for other in outcomes
        if other.trial.model.name == name
    ]


def table(found: Sequence[Lead]) -> Table:
    """Return all leads."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for lead in found:
        rows.setdefault((lead.control, lead.where), {})[lead.setting] = points(lead.value, True)
    return Table(
        "Model B minus its controls: accuracy, points",
        ("control", "", *(f"rate {setting}" for setting in SETTINGS[:-1]), "rate chosen"),
        [
            (LABELS[control], where, *(texts.get(setting, "–") for setting in SETTINGS))
            for (control, where), texts in rows.items()
        ],
        "Paired over seeds. On images B is the paper's circuit with 8 qubits and 4 layers.",
        texts=(0, 1),
    )


def answer(results: Results) -> list[str]:
    """Return the answer, paragraph by paragraph."""
    by_control: dict[str, list[Lead]] = {}
    for lead in leads(results):
        by_control.setdefault(lead.control, []).append(lead)
    chosen = {
        control: [lead for lead in found if lead.setting == CHOSEN]
        for control, found in by_control.items()
    }
    b = find(results.models, B)
    return [
        f"Entanglement. {_entanglement(by_control['separable'])}",
        "Interference. Without CZ and with two experts the router is P(expert 0 | x) = "
        "cos²((x₁ + θ)/2), with θ the sum of the first qubit's angles: one number and one feature, "
        "an ordinary cosine, to be had without a quantum computer. With the learning rates that "
        f"validation chose, B, at {points(mean_interval(b.chosen.accuracy))}%, is "
        f"{_beside(chosen['separable'][0])}. The trigonometric gate is the softmax of a linear "
        "map of all products of 1, cos xⱼ and sin xⱼ, the functions that the circuit's outputs are "
        f"made of; B minus it: {_list(chosen['trig'])}. {_gate(chosen)}",
        f"What does matter, with the same learning rates. B minus A, the linear router: "
        f"{_list(chosen['linear'])}. B minus C, the MLP: {_list(chosen['deep'])}. B minus the same "
        f"circuit with re-uploading: {_list(chosen['reuploading'])}. {_learning_rate(b)}",
    ]


def _entanglement(found: Sequence[Lead]) -> str:
    for_it = [lead for lead in found if lead.sign > 0]
    against = [lead for lead in found if lead.sign < 0]
    start = f"Of {len(found)} comparisons of a circuit with the same circuit without CZ gates, "
    if not for_it and not against:
        return (
            f"{start}none differs from zero: entanglement adds nothing that can be measured here."
        )
    return (
        f"{start}{len(for_it)} speak for entanglement{_detail(for_it)}, {len(against)} against it"
        f"{_detail(against)}, and in the others the interval of the difference holds zero. Chance "
        "alone makes one in twenty speak."
    )


def _detail(found: Sequence[Lead]) -> str:
    texts = [f"{lead}, rate {lead.setting}" for lead in found]
    return f" [{'; '.join(texts)}]" if texts else ""


def _beside(lead: Lead) -> str:
    if lead.sign == 0:
        return f"not to be told from it ({points(lead.value, sign=True)} points)"
    side = "ahead of" if lead.sign > 0 else "behind"
    return f"{side} it ({points(lead.value, sign=True)} points)"


def _gate(chosen: Mapping[str, Sequence[Lead]]) -> str:
    if any(lead.sign > 0 for lead in chosen["separable"]):
        return "So the entangled circuit has something that its classical counterparts lack."
    if any(lead.sign > 0 for lead in chosen["trig"]):
        return (
            "Where B is ahead of this free gate, the circuit without entanglement does as well as "
            "B: what helps is the form of the gate, and that form is classical."
        )
    return "So the classical gates with the same features do all that the circuit does."


def _learning_rate(b: Outcome) -> str:
    usual = SETTINGS[0]
    gain = mean_interval(b.chosen.accuracy - b.columns[usual].accuracy)
    return (
        f"The learning rate alone, {b.chosen.learning_rate:g} instead of {usual}, moves B by "
        f"{points(gain, sign=True)} points."
    )


def _list(found: Sequence[Lead]) -> str:
    return "; ".join(str(lead) for lead in found)
