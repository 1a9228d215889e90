import pytest

from mooring.alloc.bands import cluster_ip_offset, node_port_offset


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param(16, 0, id="a range of 16 keeps nothing for static choices"),
        pytest.param(17, 16, id="a range of 17 keeps 16"),
        pytest.param(256, 16, id="a /24 keeps 16"),
        pytest.param(4096, 256, id="a /20 keeps 256"),
        pytest.param(65536, 256, id="a /112 keeps 256"),
    ],
)
def test_cluster_ip_band(size, expected):
    assert expected == cluster_ip_offset(size)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param(16, 0, id="16 ports keep nothing"),
        pytest.param(200, 16, id="200 ports keep 16"),
        pytest.param(2768, 86, id="the default 30000-32767 keeps 86"),
        pytest.param(65535, 128, id="never more than 128"),
    ],
)
def test_node_port_band(size, expected):
    assert expected == node_port_offset(size)
