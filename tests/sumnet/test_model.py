"""The net: its size, its shape, and what it computes."""

import pytest
import torch

from sumnet.model import SumNet


def test_default_net_has_41_parameters() -> None:
    assert sum(parameter.numel() for parameter in SumNet().parameters()) == 41


@pytest.mark.parametrize("hidden", [1, 2, 10, 1000])
def test_net_has_four_parameters_per_hidden_unit_and_one(hidden: int) -> None:
    assert sum(parameter.numel() for parameter in SumNet(hidden).parameters()) == 4 * hidden + 1


@pytest.mark.parametrize("size", [1, 2, 7])
def test_net_predicts_one_number_per_pair(size: int) -> None:
    assert SumNet()(torch.zeros(size, 2)).shape == (size, 1)


def test_net_is_a_linear_map_then_relu_then_a_linear_map() -> None:
    net = SumNet(5).double()
    pairs = torch.randn(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w1, b1, w2, b2 = net.parameters()
    hidden = pairs @ w1.T + b1
    assert (hidden < 0).any() and (hidden > 0).any(), "the ReLU must have something to do"
    expected = torch.where(hidden > 0, hidden, 0) @ w2.T + b2
    torch.testing.assert_close(net(pairs), expected, rtol=1e-12, atol=1e-12)
