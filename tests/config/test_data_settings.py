"""Settings of the data that are refused, and how the others are read."""

import pytest

from qmoe_fed.config import Config
from qmoe_fed.data import Shape, shape_of
from qmoe_fed.errors import UserError


def config_of(**settings):
    return Config.from_flat({key.replace("_", "-"): value for key, value in settings.items()})


def test_classes_and_features_give_the_shape():
    assert shape_of(config_of(dataset="mnist", qubits=8)) == Shape(8, 10)
    assert shape_of(config_of(dataset="mnist", qubits=8, classes="0,1")) == Shape(8, 2)
    assert shape_of(config_of(dataset="mnist", qubits=8, features=5)) == Shape(5, 10)
    assert shape_of(config_of(dataset="digits", features=5, router="linear")) == Shape(5, 10)
    assert shape_of(config_of(qubits=6)) == Shape(2, 2)
    assert config_of(dataset="mnist", classes=" 3, 1").data.labels == (3, 1)


@pytest.mark.parametrize("classes", ["", "0", "0,0", "0,10", "-1,0", "a,b", "0;1"])
def test_classes_must_be_two_or_more_different_labels(classes):
    with pytest.raises(UserError, match=f"classes = '{classes}': expected 'all' or at least two"):
        config_of(dataset="mnist", classes=classes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partition": "shard"}, "partition = 'shard' is not for dataset = 'moons'"),
        ({"dataset": "mnist", "partition": "rotation"}, "is not for dataset = 'mnist'; allowed"),
        ({"dataset": "cifar"}, "unknown dataset 'cifar'"),
        ({"classes": "0,1"}, "classes and features are for images"),
        ({"features": 1}, "classes and features are for images"),
        ({"dataset": "mnist", "features": 3}, "features = 3: qubits = 2 can hold at most"),
        ({"dataset": "a.cvs"}, "unknown dataset 'a.cvs'.* Or files, an import path"),
        ({"dataset": "a.csv", "partition": "rotation"}, "is not for dataset = 'a.csv'"),
        (
            {"dataset": "a.csv", "partition": "dirichlett"},
            "unknown partition 'dirichlett'. Did you",
        ),
        ({"dataset": "a.csv", "classes": "cat"}, "classes = 'cat': expected 'all' or at least two"),
        ({"dataset": "a.csv", "classes": "cat,,dog"}, "classes = 'cat,,dog': expected"),
        (
            {"dataset": "a.csv", "angles": "bounds(1, nan)"},
            r"angles = 'bounds\(1, nan\)': expected",
        ),
        ({"dataset": "a.csv", "angles": "bounds(1, 1)"}, "angles = .*: expected 'auto', 'bounds'"),
        ({"dataset": "a.csv", "angles": "lda"}, "angles = 'lda': expected 'auto', 'bounds'"),
        ({"angles": "pca"}, "angles and label-column are for your own data, not 'moons'"),
        ({"partition_options": "a = 1"}, "partition-options need partition = 'flwr:<partitioner>'"),
        ({"partition": "flwr:LinearPartitioner"}, "is not for dataset = 'moons'"),
        ({"partition": "concept-shift", "concept_groups": 3}, "concept-groups = 3: 2 classes"),
        (
            {
                "dataset": "mnist",
                "classes": "0,1",
                "partition": "pathological",
                "classes_per_client": 3,
            },
            "classes-per-client = 3: there are only 2 classes",
        ),
    ],
)
def test_settings_that_cannot_go_together_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        config_of(**settings)
