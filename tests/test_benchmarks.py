"""What is fast must stay fast: ratios with room for a busy machine, never times."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from qmoe_fed.circuits import kronecker, statevector, whole
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.circuits.schedule import pure
from qmoe_fed.config import Config
from qmoe_fed.federated.build import make_rules
from qmoe_fed.federated.flower.grid import LocalGrid, task_identity

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """Return a function that imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield importlib.import_module
    torch.set_num_threads(threads)


def slowdowns(row):
    return {name: spread["median"] for name, spread in row["ratios"].items()}


def test_the_router_is_many_times_faster_than_simulators_at_hand(benchmark):
    rows = list(benchmark("router").measure([(4, 32)], 0.2))
    assert [row["ansatz"] for row in rows] == [
        "RY-CZ",
        "re-uploading",
        "StronglyEntanglingLayers",
    ]
    for row, least in zip(rows, [(8, 60), (6, 50), (3, 30)], strict=True):
        assert slowdowns(row)["default.qubit"] > least[0], row
        assert slowdowns(row)["lightning.qubit"] > least[1], row


def test_noise_costs_much_less_than_density_matrices(benchmark):
    row = next(benchmark("router").under_noise([(6, 4)], 0.2))
    assert slowdowns(row)["default.mixed"] > 10


def test_seeds_train_together_faster_than_one_after_another(benchmark):
    (row,) = benchmark("study").seeds_together(16, 0.2)
    assert slowdowns(row)["one after another"] > 4


def test_experts_of_clients_run_together_faster_than_client_by_client(benchmark):
    (row,) = benchmark("experts").together(8, 2, 2, 0.1)
    assert slowdowns(row)["client by client"] > 2
    assert slowdowns(row)["default.qubit"] > 10


@pytest.mark.parametrize("reuploading", [False, True])
def test_phases_beat_kronecker_products_where_it_is_used(benchmark, reuploading):
    circuit = layered(6, 3, 6, reuploading=reuploading)
    x, theta = torch.rand(32, 6), torch.rand(circuit.parameters).requires_grad_()

    part = pure(circuit)
    few = whole.of_part(part)

    def gradient(method):
        return lambda: torch.autograd.grad(method(x, theta).sum(), theta)

    methods = {
        "fast": gradient(lambda x, theta: few(x, theta, x)),
        "general": gradient(lambda x, theta: kronecker.amplitudes(part, x, theta)),
    }
    assert slowdowns(benchmark("timing").compare(methods, 0.3))["general"] > 1.2


def test_a_client_in_a_large_cohort_costs_a_fraction_of_one_alone(benchmark):
    """Cost must come from arithmetic, not from calls: 500 clients take far less than 500 times."""
    circuit = layered(2, 3, 2, reuploading=True)
    x, theta = torch.rand(500, 32, 2), torch.rand(500, circuit.parameters).requires_grad_()

    def gradient(count):
        return lambda: torch.autograd.grad(
            statevector.run(circuit, x[:count], theta[:count]).square().sum(), theta
        )

    result = benchmark("timing").compare({"one": gradient(1), "many": gradient(500)}, 0.3)
    assert slowdowns(result)["many"] < 100


def test_rounds_grow_no_faster_than_the_number_of_clients(benchmark):
    few, many = benchmark("federation").scale([500, 4000], rounds=4)
    seconds = [row["seconds"]["processor"]["median"] for row in (few, many)]
    assert seconds[1] < 2 * 8 * seconds[0]


def test_a_secure_sum_costs_little_beside_the_keys(benchmark):
    (row,) = benchmark("secure_sum").measure([(50, 6, 0.1, True)])
    assert (row["members"], row["threshold"], row["bytes up"]) == (16, 11, 16 + 16 * (42 + 16))
    seconds = row["seconds"]
    assert seconds["round"]["median"] < seconds["keys, once"]["median"]


def test_an_encrypted_router_is_one_ciphertext(benchmark):
    cases = [("bfv", 10, 32), ("bfv", 10, 2047), ("bfv", 10, 2048), ("ckks-8192", 10, 32)]
    rows = list(benchmark("encrypted_sum").costs(cases, rounds=1))
    assert [row["ciphertexts"] for row in rows] == [1, 1, 2, 1]
    assert rows[1]["bytes up"] == pytest.approx(rows[0]["bytes up"], rel=1e-3)
    assert rows[3]["bytes up"] > 5 * rows[0]["bytes up"]


def test_the_federation_of_mqfl_fhe_is_one_ciphertext_a_client(benchmark):
    config = Config.from_toml(benchmark("encrypted_sum").CONFIG)
    (mechanism,) = make_rules(config).mechanisms
    cipher = mechanism.ciphers["train"]
    assert (cipher.clients, cipher.blocks[0].size, cipher.ciphertexts) == (10, 24 + 3, 1)


def test_stock_clients_train_as_ours_do(benchmark, tmp_path):
    ours, theirs = [], []
    contender = benchmark("contender")
    contender.ours(4, 3, tmp_path, lambda t: ours.append({"theta": t}))
    with task_identity():
        grid = LocalGrid(benchmark("stock_client").client, {}, supernodes=4)
        contender.stock(grid, 4, 3, tmp_path, lambda t: theirs.append({"theta": t}))
    assert len(ours) == len(theirs) == 3
    check_equal = benchmark("federation").check_equal
    check_equal(ours, theirs)
    theirs[2]["theta"] = theirs[2]["theta"] + 1e-3
    with pytest.raises(RuntimeError, match="round 3: the angles differ"):
        check_equal(ours, theirs)


def test_importing_the_package_costs_no_more_than_torch(benchmark):
    row = benchmark("startup").imports(1)
    assert slowdowns(row)["qmoe_fed"] < 1.2
    assert slowdowns(row)["qmoe_fed.circuits"] < 1.5


def test_a_quick_run_writes_numbers_and_tables(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--quick", "--output-dir", str(tmp_path)]
    command += ["--only", "solved fits", "--only", "seeds"]
    subprocess.run(command, check=True, capture_output=True)
    results = json.loads((tmp_path / "benchmarks.json").read_text())
    assert list(results["sections"]) == ["solved fits", "seeds"]
    assert results["machine"]["threads"] == 1
    table = (tmp_path / "benchmarks.md").read_text()
    assert "## seeds" in table
    assert "one after another, ratio" in table


def test_an_unknown_section_is_refused_with_those_there_are(
    benchmark, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", "--quick", "--only", "rooter"])
    with pytest.raises(SystemExit, match="2"):
        benchmark("run").main()
    told = capsys.readouterr().err
    assert "rooter" in told
    assert "router" in told.splitlines()[-1]
    assert not list(tmp_path.iterdir())
