import pytest
import torch
from study_models import model as settings_of
from study_models import swept

from qmoe_fed.errors import UserError
from qmoe_fed.experiments.models import all_parameters, build, router_parameters


@pytest.mark.parametrize(
    ("name", "experts", "router", "total"),
    [
        ("linear", 2, 6, 18),
        ("linear", 4, 12, 36),  # the paper's 12
        ("quantum", 2, 6, 18),  # L·n
        ("quantum", 4, 6, 30),
        ("deep", 2, 242, 254),  # nearest to the paper's 240
        ("deep", 4, 242, 266),
        ("mlp-16", 2, 82, 94),  # as in the notebooks' sweep
        ("separable", 2, 6, 18),
        ("trig", 2, 18, 30),
        ("reuploading", 2, 6, 18),
        ("notebook", 2, 24, 36),  # the paper's 24: 18 angles and an adapter of 6
        ("classifier", 2, 0, 6),
    ],
)
def test_numbers_of_parameters(name, experts, router, total):
    model = build(settings_of(name, experts), 2, 2)
    assert router_parameters(model) == router
    assert all_parameters(model) == total


WIDTHS = {(240, 2, 2): 48, (240, 2, 4): 34, (128, 8, 2): 11, (128, 8, 16): 4}
"""Of the MLPs that stand for the paper's, by its parameters, features and experts."""


def test_no_width_comes_nearer_to_a_number_of_parameters():
    for wanted, features, experts in WIDTHS:
        width = WIDTHS[wanted, features, experts]

        def count(h, experts=experts, features=features):
            return h * (features + 1) + (h + 1) * experts

        chosen = [settings_of("deep", 2), settings_of("deep", 4)]
        chosen += [swept("mnist-0-1")["mlp-11"], swept("mnist-10")["mlp-4"]]
        assert width in [model["hidden-width"] for model in chosen]
        assert min(range(1, 100), key=lambda h: abs(count(h) - wanted)) == width


def test_without_cz_two_experts_are_chosen_by_a_cosine_of_one_feature():
    model = build(settings_of("separable"), 2, 2)
    x = torch.rand(20, 2) * torch.pi
    with torch.no_grad():
        model.router.theta.uniform_(-3, 3)
        weights = model.router(x)
        angle = x[:, 0] + model.router.theta.view(3, 2)[:, 0].sum()
    torch.testing.assert_close(weights[:, 0], (angle / 2).cos() ** 2)


def test_a_single_classifier_is_one_linear_map():
    model = build({}, 3, 4)
    x = torch.rand(5, 3)
    with torch.no_grad():
        model.experts.weight.uniform_()
        model.experts.bias.uniform_()
        torch.testing.assert_close(model(x), x @ model.experts.weight[0].T + model.experts.bias[0])


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="Did you mean 'router'"):
        build({"rooter": "quantum"}, 2, 2)


@pytest.mark.parametrize(
    ("dataset", "rival"),
    [
        ("moons", "mlp-48"),
        ("mnist-0-1", "mlp-11"),
        ("fashion-0-1", "mlp-11"),
        ("mnist-10", "mlp-4"),
    ],
)
def test_the_models_of_a_sweep_have_names_of_their_own_and_the_same_experts(dataset, rival):
    models = swept(dataset)
    assert {rival, "linear", "classifier"} <= set(swept(dataset, quick=True)) < set(models)
    assert len({m["num-experts"] for m in models.values() if m}) == 1
    assert len({str(m) for m in models.values()}) == len(models)


def test_the_papers_routers_on_images():
    built = {name: build(model, 8, 2) for name, model in swept("mnist-0-1").items()}
    assert router_parameters(built["quantum n8 L4"]) == 32
    assert router_parameters(built["mlp-11"]) == 123  # nearest to 128
