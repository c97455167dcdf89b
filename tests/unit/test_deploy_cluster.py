"""deploy/cluster and deploy/kubernetes: they agree with each other, the Containerfile and our configuration."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from audio_pool.cli import main
from audio_pool.config import Config, load_config

DEPLOY = Path(__file__).parents[2] / "deploy"
CLUSTER = DEPLOY / "cluster"
EXTRAS = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
(RAY,) = (one.partition("==")[2] for one in EXTRAS["cluster"] if one.startswith("ray=="))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CLUSTER / "compose.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def objects() -> dict[tuple[str, str], dict[str, Any]]:
    """Those of Kubernetes, by kind and name."""
    found = yaml.safe_load_all((DEPLOY / "kubernetes" / "audio-pool.yaml").read_text())
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in re.findall(r"audio-pool ((?:serve|doctor|keys|generate)[^\n|&;`]*)", text)]


def check_command(words: list[str]) -> None:
    """The command is one of ours, and its options are the command's."""
    command: Any = main
    while hasattr(command, "get_command") and words:
        command, words = command.get_command(None, words[0]), words[1:]
        assert command is not None, words
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known, words


def check_config(config: Config) -> None:
    """What heads of one cluster need, whoever runs them; and no secret in it."""
    user = config.cache.store.partition("://")[2].partition("@")[0]
    assert user == "audio_pool", "no password: that is the environment's"
    assert config.cache.blobs and not config.cache.objects.credentials_file
    assert config.cluster.launcher == "ray" and config.server.keys_dir


def test_the_heads_of_compose_have_what_their_configuration_names(compose: dict[str, Any]) -> None:
    config = load_config(CLUSTER / "pool.toml", environment={})
    check_config(config)
    services = compose["services"]
    host, _, port = config.cache.store.rpartition("@")[2].partition("/")[0].partition(":")
    assert host in services and port == "5432"
    assert config.cache.store.endswith(f"/{services['database']['environment']['POSTGRES_DB']}")
    assert f"//{services['database']['environment']['POSTGRES_USER']}@" in config.cache.store
    endpoint = re.fullmatch(r"http://(\w+):(\d+)", config.cache.objects.endpoint)
    assert endpoint and f"-s3.port={endpoint[2]}" in services[endpoint[1]]["command"]
    assert f"-name {config.cache.blobs.split('/')[2]}" in services["bucket"]["command"][0]
    heads = {name: one for name, one in services.items() if name.startswith("head-")}
    assert len(heads) == 2
    for name, head in heads.items():
        mounts = dict(one.split(":")[:2] for one in head["volumes"])
        inside = {target: source for source, target in mounts.items()}
        assert inside["/var/lib/audio-pool"] == name, "a directory of its own"
        assert inside["/etc/audio-pool/keys"] == "keys", "the same keys for both"
        for place in (config.cache.dir, config.jobs.dir, config.http.keys_file, config.server.keys_dir):
            assert any(place.startswith(target) for target in inside), place
        for source in mounts:
            assert not source.startswith("./") or (CLUSTER / source).is_file(), source
        address = head["networks"]["ray"]["ipv4_address"]
        assert head["command"][-1] == address and set(head["networks"]) == {"front", "data", "ray"}
        ports = [one.split(":")[1] for one in head["ports"]]
        assert ports == [config.server.bind.rpartition(":")[2], config.http.bind.rpartition(":")[2]]
        assert config.server.metrics_bind.rpartition(":")[2] in head["healthcheck"]["test"][-1]
        assert (CLUSTER / head["command"][1].replace("/etc/audio-pool/", "")).is_file()


def test_ray_is_in_a_network_that_nothing_else_is_in(compose: dict[str, Any]) -> None:
    services, networks = compose["services"], compose["networks"]
    inside = {name for name, one in services.items() if "ray" in one["networks"]}
    assert inside == {"head-1", "head-2", "ray", "worker"}
    assert networks["ray"]["internal"] and networks["data"]["internal"]
    for name in ("ray", "worker", "database", "objects"):
        assert "ports" not in services[name] and "front" not in services[name]["networks"]
    addresses = {name: services[name]["networks"]["ray"]["ipv4_address"] for name in inside}
    assert len(set(addresses.values())) == len(addresses)
    ray, worker = (" ".join(services[name]["command"]) for name in ("ray", "worker"))
    assert f"--node-ip-address={addresses['ray']}" in ray and f"--node-ip-address={addresses['worker']}" in worker
    told = f"--address={addresses['ray']}:6379"
    assert load_config(CLUSTER / "pool.toml", environment={}).cluster.address == f"{addresses['ray']}:6379"
    assert told in worker and told in (CLUSTER / "head.sh").read_text() and "--port=6379" in ray
    devices = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert [one["capabilities"] for one in devices] == [["gpu"]] and "--num-gpus=1" in worker
    gpus = sum(one.gpus * one.count for one in load_config(CLUSTER / "pool.toml", environment={}).workers)
    assert 0 < 2 * gpus <= 1, "two heads share the card"


def test_what_compose_builds_and_reads_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    declared = re.findall(r"^ARG (\w+)", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    for name in ("head-1", "head-2", "worker"):
        build = services[name]["build"]
        assert (CLUSTER / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Containerfile"
        assert set(build["args"]) <= set(declared)
        asked = set(build["args"]["EXTRAS"].split(","))
        assert {"cluster", "http", "metrics"} <= asked <= set(EXTRAS)
    assert services["ray"]["image"] == services["head-1"]["image"], "one Python, to its last number"
    volumes = {one.split(":")[0] for service in services.values() for one in service.get("volumes", ())}
    assert {one for one in volumes if not one.startswith("./")} == set(compose["volumes"])
    assert "/etc/audio-pool/keys" in (DEPLOY / "Containerfile").read_text(), "a new volume is its user's"
    assert "/deploy/cluster/*.env\n" in (DEPLOY.parent / ".gitignore").read_text(), "secrets are not kept"
    given = {}
    for service in services.values():
        for file in service.get("env_file", ()):
            lines = (CLUSTER / f"{file}.example").read_text().splitlines()
            given |= dict(line.split("=") for line in lines if not line.startswith("#"))
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or services[other]["healthcheck"], other
    assert set(given) == {"POSTGRES_PASSWORD", "PGPASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert given["POSTGRES_PASSWORD"] == given["PGPASSWORD"]
    for page in (CLUSTER / "README.md", CLUSTER / "head.sh"):
        found = commands(page.read_text())
        assert found
        for words in found:
            check_command(words)


def test_kubernetes_has_a_configuration_that_loads_and_heads_that_have_what_it_names(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    text = objects["ConfigMap", "audio-pool"]["data"]["pool.toml"]
    config = load_config(tomllib.loads(text), environment={})
    check_config(config)
    heads = objects["StatefulSet", "audio-pool"]["spec"]
    pod = heads["template"]["spec"]
    (head,) = pod["containers"]
    volumes = {one["name"] for one in (*pod["volumes"], *(one["metadata"] for one in heads["volumeClaimTemplates"]))}
    mounts = {one["mountPath"]: one["name"] for one in head["volumeMounts"]}
    assert set(mounts.values()) <= volumes
    assert mounts["/var/lib/audio-pool"] == heads["volumeClaimTemplates"][0]["metadata"]["name"]
    for place in (config.cache.dir, config.jobs.dir, config.http.keys_file, config.server.keys_dir,
                  str(config.engines["tangoflux"].settings["models_dir"])):  # fmt: skip
        assert any(place.startswith(mount) for mount in mounts), place
    ports = {one["name"]: one["containerPort"] for one in head["ports"]}
    binds = {"zmq": config.server.bind, "http": config.http.bind, "workers": config.cluster.bind}
    binds["metrics"] = config.server.metrics_bind
    assert ports == {name: int(bind.rpartition(":")[2]) for name, bind in binds.items()}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert head[probe]["httpGet"]["port"] in ports
    (allowed,) = (one["secret"]["items"] for one in pod["volumes"] if one["name"] == "keys")
    assert {one["path"] for one in allowed} >= {"server.key_secret", "allowed_clients/client.key", "http.keys"}
    assert "keys/allowed_clients/client.toml" in (DEPLOY / "kubernetes" / "README.md").read_text()
    for words in commands(head["args"][0] + "\n" + (DEPLOY / "kubernetes" / "README.md").read_text()):
        check_command(words)


def test_kubernetes_objects_name_each_other(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    heads = objects["StatefulSet", "audio-pool"]["spec"]
    labels = heads["template"]["metadata"]["labels"]
    ports = {one["name"] for one in heads["template"]["spec"]["containers"][0]["ports"]}
    assert heads["selector"]["matchLabels"] == labels and ("Service", heads["serviceName"]) in objects
    for name in ("audio-pool", "audio-pool-http"):
        service = objects["Service", name]["spec"]
        assert service["selector"] == labels and {one["targetPort"] for one in service["ports"]} <= ports
    budget = objects["PodDisruptionBudget", "audio-pool"]["spec"]
    assert budget["selector"]["matchLabels"] == labels and budget["maxUnavailable"] == 1 < heads["replicas"]
    ((_, ray_name),) = (one for one in objects if one[0] == "RayCluster")
    ray = objects["RayCluster", ray_name]["spec"]
    assert ray["rayVersion"] == RAY and f"ray[default]=={RAY}" in (DEPLOY / "kubernetes" / "README.md").read_text()
    config = load_config(tomllib.loads(objects["ConfigMap", "audio-pool"]["data"]["pool.toml"]), environment={})
    assert config.cluster.address == f"{ray_name}-head-svc:6379", "as the operator calls its service"
    assert f"--address={config.cluster.address}" in heads["template"]["spec"]["containers"][0]["args"][0]
    (group,) = ray["workerGroupSpecs"]
    (worker,) = group["template"]["spec"]["containers"]
    cards = int(worker["resources"]["limits"]["nvidia.com/gpu"])
    wanted = sum(one.count * one.gpus for one in config.workers)
    assert heads["replicas"] * wanted <= group["maxReplicas"] * cards, "the autoscaler may order what is asked for"
    parts = {one["template"]["metadata"]["labels"]["audio-pool/part"] for one in (ray["headGroupSpec"], group)}
    policy = objects["NetworkPolicy", "audio-pool-ray"]["spec"]
    assert policy["podSelector"]["matchLabels"] == {"audio-pool/part": parts.pop()} and not parts
    assert objects["NetworkPolicy", "audio-pool-head"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
