import pytest
import torch
from qmoe_fed.studies.ablation.efficiency import PAPER_CIRCUIT, rival, sweep
from qmoe_fed.studies.models import (
    ablation_model,
    all_parameters,
    nearest_width,
    router_parameters,
)

from qmoe_fed.errors import UserError


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
    model = ablation_model(name, experts).build(2, 2)
    assert router_parameters(model) == router
    assert all_parameters(model) == total


def test_no_width_comes_nearer_to_a_number_of_parameters():
    for experts, features, wanted in [(2, 2, 240), (4, 2, 240), (2, 8, 128), (16, 8, 128)]:
        width = nearest_width(wanted, features, experts)

        def count(h, experts=experts, features=features):
            return h * (features + 1) + (h + 1) * experts

        assert min(range(1, 100), key=lambda h: abs(count(h) - wanted)) == width


def test_without_cz_two_experts_are_chosen_by_a_cosine_of_one_feature():
    model = ablation_model("separable").build(2, 2)
    x = torch.rand(20, 2) * torch.pi
    with torch.no_grad():
        model.router.theta.uniform_(-3, 3)
        weights = model.router(x)
        angle = x[:, 0] + model.router.theta[:, 0].sum()
    torch.testing.assert_close(weights[:, 0], (angle / 2).cos() ** 2)


def test_a_single_classifier_is_one_linear_map():
    model = ablation_model("classifier").build(3, 4)
    x = torch.rand(5, 3)
    with torch.no_grad():
        model.experts.weight.uniform_()
        model.experts.bias.uniform_()
        torch.testing.assert_close(model(x), x @ model.experts.weight[0].T + model.experts.bias[0])


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="Did you mean 'quantum'"):
        ablation_model("quantun")


@pytest.mark.parametrize("dataset", ["moons", "mnist-0-1", "fashion-0-1", "mnist-10"])
def test_the_models_of_a_sweep_have_names_of_their_own_and_the_same_experts(dataset):
    models = sweep(dataset)
    names = [model.name for model in models]
    assert len(set(names)) == len(names)
    assert {rival(dataset), "linear", "classifier"} <= set(names)
    assert {m.name for m in sweep(dataset, quick=True)} < set(names)
    assert len({m.config.num_experts for m in models if m.config}) == 1


def test_the_papers_routers_on_images():
    built = {m.name: m.build(8, 2) for m in sweep("mnist-0-1")}
    assert router_parameters(built[PAPER_CIRCUIT]) == 32
    assert router_parameters(built[rival("mnist-0-1")]) == 123  # nearest to 128
