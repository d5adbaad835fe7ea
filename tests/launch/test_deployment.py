"""SuperLink and SuperNodes in processes of their own, with TLS and keys, as docs/deployment.md."""

import pytest
from deployed import PATIENCE, Site

from qmoe_fed.launch.certificates import make_certificates
from qmoe_fed.launch.processes import scratch_directory
from qmoe_fed.results import load_run
from qmoe_fed.results.run_directory import read_json


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_only_nodes_with_a_key_take_part(tmp_path):
    with scratch_directory() as scratch:
        site = Site(tmp_path, scratch)
        site.link(0, 1)  # not 2
        make_certificates(tmp_path / "other", ["localhost"], 1)
        strangers = [site.node(2, 0), site.node(1, 1, "other/ca.crt")]
        nodes = [site.node(0, 0), site.node(1, 1)]
        assert all(process.wait(PATIENCE) for process in strangers)
        site.wait_for(2)
        assert site.submit("honest").wait(PATIENCE) == 0
        assert [process.poll() for process in nodes] == [None, None]
    assert all(process.wait(PATIENCE) is not None for process in site.started)
    honest = read_json(tmp_path / "honest" / "summary.json")
    assert (honest["status"], honest["supernodes"]) == ("completed", 2)
    assert honest["clients_scored"] == 6
    assert load_run(tmp_path / "honest").complete.tolist() == [*range(6)]
