"""A pool's numbers as Prometheus reads them, and that dashboard and alerts ask for nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.told_numbers import HEALTH, STATUS

from audio_pool.errors import InvalidConfig
from audio_pool.monitoring.exposition import exposition
from audio_pool.monitoring.process import parse_bind
from audio_pool.numbers import DoorNumbers, Histogram

ROOT = Path(__file__).parents[2]
OWN = DoorNumbers(
    requests={("openai", "tone", "result", "exact"): 5}, seconds={"openai": Histogram(counts=(1,) * 19, sum_s=2.0)}
)
TEXT = exposition("", STATUS, HEALTH, OWN)[0].decode()


def samples(text: str = TEXT) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(name: str, **labels: str) -> float:
    return samples()[f"audio_pool_{name}", tuple(sorted(labels.items()))]


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("up", {}, 1),
        ("ready", {}, 0),
        ("health", {"state": "degraded"}, 1),
        ("requests_total", {"dialect": "native", "engine": "tone", "status": "result", "cache": "exact"}, 7),
        ("requests_total", {"dialect": "openai", "engine": "tone", "status": "result", "cache": "exact"}, 5),
        ("http_request_seconds_sum", {"dialect": "openai"}, 2),
        ("requests_running", {"engine": "tone", "priority": "normal"}, 1),
        ("requests_waiting", {"engine": "tone", "priority": "normal"}, 2),
        ("queue_seconds_count", {}, 2),
        ("generate_seconds_sum", {"engine": "tone"}, 0.7),
        ("request_seconds_bucket", {"cache": "exact", "le": "0.000625"}, 1),
        ("request_seconds_bucket", {"cache": "exact", "le": "0.32"}, 1),
        ("request_seconds_bucket", {"cache": "exact", "le": "0.64"}, 2),
        ("request_seconds_bucket", {"cache": "exact", "le": "+Inf"}, 2),
        ("audio_seconds_total", {"engine": "tone"}, 12.5),
        ("cache_lookups_total", {"kind": "semantic"}, 3),
        ("cache_hits_total", {"kind": "exact"}, 7),
        ("cache_hits_total", {"kind": "join"}, 0),
        ("rerolls_total", {"reason": "gate"}, 2),
        ("loop_rejects_total", {}, 3),
        ("worker_up", {"worker": "w"}, 1),
        ("worker_up", {"worker": 'odd "name"\n'}, 0),
        ("worker_restarts_total", {"worker": "w"}, 2),
        ("worker_model_loads_total", {"worker": "w"}, 4),
        ("gpu_memory_bytes", {"gpu_uuid": "GPU-1", "kind": "free"}, 2),
        ("disk_bytes", {"kind": "total"}, 20),
        ("semantic_lookups_on", {}, 0),
    ],
)
def test_every_number_has_its_name_and_labels(name: str, labels: dict[str, str], expected: float) -> None:
    assert value(name, **labels) == expected


def test_a_pool_that_does_not_answer_is_told_as_that_and_a_gateways_own_counts_stay() -> None:
    body, _ = exposition("", None, None, OWN)
    told = samples(body.decode())
    assert told["audio_pool_up", ()] == 0
    names = {name for name, _ in told}
    assert {name for name in names if "http_request" not in name} == {"audio_pool_up", "audio_pool_requests_total"}


def test_a_scraper_gets_the_form_that_it_asks_for() -> None:
    body, content_type = exposition("application/openmetrics-text; version=1.0.0", STATUS, HEALTH)
    assert content_type.startswith("application/openmetrics-text") and body.endswith(b"# EOF\n")
    assert exposition("*/*", STATUS, HEALTH)[1].startswith("text/plain")


def known() -> set[str]:
    return {name for name, _ in samples()}


def asked_for(text: str) -> set[str]:
    return set(re.findall(r"\baudio_pool_[a-z0-9_]+", text))


def test_dashboard_and_alerts_ask_for_metrics_that_there_are() -> None:
    board = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    expressions += [one["expr"] for one in board["annotations"]["list"]]
    asked = asked_for("\n".join(expressions))
    assert len(expressions) > 25 and asked <= known(), asked - known()
    alerts = asked_for((ROOT / "deploy" / "alerts.yml").read_text())
    assert len(alerts) > 8 and alerts <= known(), alerts - known()
    used_labels = set(re.findall(r'(\w+)(?:=|!=|=~|!~)"', "\n".join(expressions)))
    labels = {label for _, pairs in samples() for label, _ in pairs} | {"job", "instance"}
    assert used_labels <= labels, used_labels - labels


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    rows = {name for row in page.splitlines() if row.startswith("| `audio_pool_") for name in asked_for(row)}
    series = {re.sub(r"_(bucket|count|sum)$", "", name) for name in known()}
    assert rows == series, rows ^ series


def test_every_alert_is_documented() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (ROOT / "deploy" / "alerts.yml").read_text()))
    told = set(re.findall(r"`(AudioPool\w+)`", (ROOT / "docs" / "monitoring.md").read_text()))
    assert len(alerts) == 12 and told == alerts, told ^ alerts


@pytest.mark.parametrize("given", ["9464", "localhost", "localhost:", ":80", "127.0.0.1:99999", "127.0.0.1:x"])
def test_an_address_that_is_none_is_told(given: Any) -> None:
    with pytest.raises(InvalidConfig, match="HOST:PORT"):
        parse_bind(given)


def test_addresses_are_read() -> None:
    assert parse_bind("127.0.0.1:0") == ("127.0.0.1", 0)
    assert parse_bind("[::1]:9464") == ("::1", 9464)
