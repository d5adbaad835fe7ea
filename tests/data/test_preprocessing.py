import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA

from qmoe_fed.data.preprocessing import Projection, principal_components, scaling
from qmoe_fed.errors import UserError


def cloud(n=50, size=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, size)) * np.arange(size, 0, -1)


def test_bounds_become_zero_and_pi_and_the_outside_is_clipped_not_wrapped():
    projection = scaling(np.array([-1.0, 0.0]), np.array([1.0, 4.0]))
    x = np.array([[-1, 0], [1, 4], [0, 1], [-9, 9]])
    expected = np.pi * np.array([[0, 0], [1, 1], [0.5, 0.25], [0, 1]])
    assert_allclose(projection.angles(x), expected, atol=1e-6)


@given(st.integers(0, 100), st.integers(1, 5), st.integers(1, 4))
def test_angles_follow_the_formula_and_stay_in_range(seed, size, features):
    generator = np.random.default_rng(seed)
    mean, low = generator.normal(size=size), generator.normal(size=features)
    components, width = generator.normal(size=(size, features)), generator.random(features) + 0.1
    projection = Projection.from_dict(
        {"mean": mean, "components": components, "low": low, "high": low + width}
    )
    x = 3 * generator.normal(size=(4, 7, size))
    expected = np.clip(((x - mean) @ components - low) / width, 0, 1) * np.pi
    angles = projection.angles(x)
    assert angles.dtype == np.float32
    assert angles.min() >= 0
    assert angles.max() <= np.float32(np.pi)
    assert_allclose(angles, expected, atol=1e-3)


def test_principal_components_are_those_of_a_plain_fit_bounded_by_their_range():
    x = cloud()
    angles = principal_components(x, 3).angles(x)
    scores = PCA(3).fit_transform(x)
    expected = (scores - scores.min(0)) / (scores.max(0) - scores.min(0)) * np.pi
    assert_allclose(angles, expected, atol=1e-4)
    assert_allclose(angles.min(0), 0, atol=1e-5)
    assert_allclose(angles.max(0), np.pi, atol=1e-5)


def test_a_projection_survives_the_journey_and_is_known_by_its_numbers():
    projection = principal_components(cloud(), 2)
    back = Projection.from_dict({k: v.copy() for k, v in projection.to_dict().items()})
    assert back == projection
    assert hash(back) == hash(projection)
    assert_array_equal(back.angles(cloud(seed=1)), projection.angles(cloud(seed=1)))
    assert principal_components(cloud(seed=2), 2) != projection


@pytest.mark.parametrize(
    ("x", "features", "directions"),
    [(cloud(50, 6), 7, 6), (cloud(5, 6), 5, 4), (np.ones((9, 6)), 1, 0)],
)
def test_more_features_than_the_samples_have_directions_are_refused(x, features, directions):
    with pytest.raises(UserError, match=rf"features = {features}: .* only {directions} directions"):
        principal_components(x, features)
