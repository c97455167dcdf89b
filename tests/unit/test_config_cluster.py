"""Workers on other machines: what a configuration cannot mean is refused when it is read, with what to do."""

from __future__ import annotations

from typing import Any

import pytest

from audio_pool.config import load_config
from audio_pool.errors import InvalidConfig


def loaded(worker: dict[str, Any] | None = None, *, launcher: str = "ray", **cluster: Any) -> Any:
    workers = [{"name": "w", "engines": ["procedural"], **(worker or {})}]
    return load_config({"cluster": {"launcher": launcher, **cluster}, "workers": workers}, environment={})


@pytest.mark.parametrize(
    ("worker", "told"),
    [
        ({"gpus": 1.5}, "gpus = 1.5; allowed are whole cards"),
        ({"gpus": 0.00001}, "Ray counts in 0.0001"),
        ({"resources": {"near": 0.00001}}, "1e-05 of near; Ray counts in 0.0001"),
        ({"resources": {"GPU": 1}}, "has GPU in its resources; set its key 'gpus'"),
        ({"resources": {"CPU": 4}}, "has CPU in its resources; set its key 'threads'"),
        ({"resources": {"memory": 4}}, "has memory in its resources; set its key 'memory'"),
        ({"resources": {"two words": 1}}, "resources"),
        ({"memory": "lots"}, "memory = 'lots'; allowed is a size like '8GB'"),
        ({"memory": "0GB"}, "memory = '0GB'; allowed is a size"),
        ({"gpus": 1, "gpu": "0"}, "has gpu and gpus"),
        ({"thread": True}, "has thread, which is of this machine"),
        ({"gpus": 1, "local": True}, "has gpus, which Ray reads; it is local"),
    ],
)  # fmt: skip
def test_a_worker_that_ray_would_refuse_is_refused_when_it_is_read(worker: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        loaded(worker)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "worker",
    [{"gpus": 0.5}, {"gpus": 1}, {"gpus": 2.0}, {"resources": {"near": 1.5}}, {"memory": "6.5 GiB"},
     {"resources": {"accelerator_type:H100": 0.001}}],
)  # fmt: skip
def test_what_ray_takes_is_taken(worker: dict[str, Any]) -> None:
    assert loaded(worker).workers[0].name == "w"


@pytest.mark.parametrize("key", ["gpus", "resources", "memory"])
def test_what_ray_reads_is_refused_without_ray(key: str) -> None:
    with pytest.raises(InvalidConfig, match=r"which Ray reads; set cluster.launcher"):
        loaded({key: {"gpus": 1, "resources": {"near": 1}, "memory": "1GB"}[key]}, launcher="local")


@pytest.mark.parametrize("bind", ["0.0.0.0:5580", "ipc:///tmp/x", "tcp://0.0.0.0", "tcp://:5580", "udp://a:1"])
def test_an_address_that_no_worker_reaches_is_refused(bind: str) -> None:
    with pytest.raises(InvalidConfig, match=r"cluster\.bind: given"):
        loaded(bind=bind)


@pytest.mark.parametrize("bind", ["tcp://0.0.0.0:5580", "tcp://*:*", "tcp://[::]:5580", "tcp://eth0:5580"])
def test_an_address_with_a_port_is_taken(bind: str) -> None:
    assert loaded(bind=bind).cluster.bind == bind


@pytest.mark.parametrize("name", ["10.0.0.5:5580", "tcp://10.0.0.5", "head:5580", "two words", "[::1]"])
def test_what_is_advertised_is_a_name_alone(name: str) -> None:
    with pytest.raises(InvalidConfig, match=r"cluster\.advertise: given .* the port is that of cluster.bind"):
        loaded(advertise=name)


@pytest.mark.parametrize("name", ["10.0.0.5", "head.studio", "fe80::1", "::1"])
def test_a_name_or_an_address_is_advertised(name: str) -> None:
    assert loaded(advertise=name).cluster.advertise == name


def test_a_name_is_given_once_whoever_starts_the_worker() -> None:
    workers = [
        {"name": "w", "engines": ["procedural"], "count": 2},
        {"name": "w-2", "engines": ["procedural"], "local": True},
    ]
    with pytest.raises(InvalidConfig, match="'w-2' is given twice"):
        load_config({"cluster": {"launcher": "ray"}, "workers": workers}, environment={})
