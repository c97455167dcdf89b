"""The dashboard, the alerts and an exposition, as Prometheus' own tool judges them. Skipped where there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.told_numbers import HEALTH, STATUS

from audio_pool.monitoring.exposition import exposition

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "alerts.yml"
TOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(TOOL is None, reason="promtool is not installed (Debian: prometheus)")


def promtool(*arguments: str, given: str = "") -> str:
    done = subprocess.run([str(TOOL), *arguments], input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_exposition_is_clean() -> None:
    assert promtool("check", "metrics", given=exposition("", STATUS, HEALTH)[0].decode()) == ""


def test_the_rules_are_right() -> None:
    assert "14 rules found" in promtool("check", "rules", str(ALERTS))


def test_every_expression_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    board = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    expressions += [one["expr"] for one in board["annotations"]["list"]]
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m").replace("$__range", "1h")}
        for number, text in enumerate(expressions)
    ]
    file = tmp_path / "panels.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(expressions)} rules found" in promtool("check", "rules", str(file))


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    target = 'instance="a", job="pool"'
    down, stuck = f"{{{target}}}", f'{{{target}, worker="w"}}'
    common = {"severity": "critical", "instance": "a", "job": "pool"}
    tests = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": f"audio_pool_up{down}", "values": "1x5 0x20"},
                    {"series": f"audio_pool_ready{down}", "values": "1x20"},
                    {"series": f"audio_pool_worker_up{stuck}", "values": "1x20"},
                ],
                "alert_rule_test": [
                    {"eval_time": "4m", "alertname": "AudioPoolDown", "exp_alerts": []},
                    {
                        "eval_time": "10m",
                        "alertname": "AudioPoolDown",
                        "exp_alerts": [{"exp_labels": common}],
                    },
                    {"eval_time": "15m", "alertname": "AudioPoolNotReady", "exp_alerts": []},
                    {"eval_time": "15m", "alertname": "AudioPoolWorkerDown", "exp_alerts": []},
                ],
            },
            {
                "interval": "1m",
                "input_series": [
                    {"series": f"audio_pool_up{down}", "values": "1x20"},
                    {"series": f"audio_pool_ready{down}", "values": "1x3 0x20"},
                ],
                "alert_rule_test": [
                    {"eval_time": "3m", "alertname": "AudioPoolNotReady", "exp_alerts": []},
                    {"eval_time": "12m", "alertname": "AudioPoolNotReady", "exp_alerts": [{"exp_labels": common}]},
                    {"eval_time": "12m", "alertname": "AudioPoolDown", "exp_alerts": []},
                ],
            },
        ],
    }
    for test in tests["tests"]:
        for rule in test["alert_rule_test"]:
            for expected in rule["exp_alerts"]:
                name = rule["alertname"]
                expected["exp_annotations"] = annotations()[name]
    file = tmp_path / "test.yml"
    file.write_text(json.dumps(tests))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def annotations() -> dict[str, dict[str, str]]:
    """Those of the alerts above, as the file has them."""
    found: dict[str, dict[str, str]] = {}
    name = ""
    for line in ALERTS.read_text().splitlines():
        text = line.strip()
        if text.startswith("- alert: "):
            name = text.removeprefix("- alert: ")
            found[name] = {}
        for key in ("summary", "description"):
            if text.startswith(f"{key}: "):
                found[name][key] = text.removeprefix(f"{key}: ").strip('"')
    return found
