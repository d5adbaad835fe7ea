"""Which packages may know of which."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imports_of(folder):
    """Return (file, imported module) for all imports below a folder, also late ones."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield file, node.module or ""


def test_the_library_knows_the_strategies_by_name_only():
    wrong = [pair for pair in imports_of("qmoe_fed") if pair[1].split(".")[0] == "strategies"]
    assert not wrong


def test_flower_is_at_the_border():
    core = {"updates", "model", "training", "unseen", "host", "mechanism", "rules"}
    core |= {"build", "federation"}
    for file, module in imports_of("qmoe_fed/federated"):
        if file.stem in core and file.parent.name == "federated":
            assert module.split(".")[0] != "flwr", file
            assert "federated.flower" not in module, file


def test_flowers_private_parts_are_used_in_one_module():
    private = {file.name for file, module in imports_of("qmoe_fed") if "flwr.supercore" in module}
    assert private == {"grid.py"}
