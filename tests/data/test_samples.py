import torch

from qmoe_fed.data import Samples


def samples():
    """Three clients with 2, 0 and 3 samples of one feature."""
    x = torch.tensor([[1.0, 2, 0], [0, 0, 0], [3, 4, 5]]).unsqueeze(-1)
    y = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 2]])
    return Samples(x, y, torch.tensor([2, 0, 3]))


def test_the_mask_marks_each_clients_own_samples():
    expected = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=torch.bool)
    assert torch.equal(samples().mask, expected)


def test_first_keeps_the_first_samples_of_each_client():
    few = samples().first(2)
    assert few.counts.tolist() == [2, 0, 2]
    assert few.x[..., 0].tolist() == [[1, 2], [0, 0], [3, 4]]
    assert few.y.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert torch.equal(few.mask, few.mask & samples().mask[:, :2])


def test_first_of_more_than_there_are_keeps_all():
    assert torch.equal(samples().first(10).x, samples().x)
    assert samples().first(10).counts.tolist() == [2, 0, 3]


def test_select_takes_rows_in_the_order_given():
    for rows in ([2, 0], torch.tensor([2, 0])):
        chosen = samples().select(rows)
        assert chosen.counts.tolist() == [3, 2]
        assert chosen.x[..., 0].tolist() == [[3, 4, 5], [1, 2, 0]]
        assert chosen.y.tolist() == [[0, 1, 2], [1, 1, 0]]
