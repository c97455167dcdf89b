"""Results and prompts judged over HTTP."""

from __future__ import annotations

import httpx
from tests.support.waiting import PATIENCE_S

SOUND = {"prompt": "a gong in a temple yard", "duration_s": 0.3}


def made(http: httpx.Client, **fields: object) -> dict[str, object]:
    answer = http.post("/v1/sounds", json={**SOUND, **fields}, headers={"prefer": f"wait={PATIENCE_S:.0f}"})
    assert answer.status_code == 200, answer.text
    metadata: dict[str, object] = answer.json()["metadata"]
    return metadata


def test_what_was_not_meant_is_not_offered_again(http: httpx.Client) -> None:
    first = made(http)
    again = made(http)
    assert again["cache_type"] == "exact" and again["entry_id"] == first["entry_id"]
    counted = http.post("/v1/feedback", json={"target": again["request_id"], "verdict": "good"}).json()
    assert counted == {"target": again["request_id"], "noted": True, "effect": "noted"}
    told = http.post("/v1/feedback", json={"target": again["request_id"], "verdict": "wrong", "comment": "a bell"})
    assert told.status_code == 200 and told.json()["effect"] == "denied"
    assert made(http)["entry_id"] != first["entry_id"]


def test_a_judgement_of_nothing_changes_nothing_and_says_so(http: httpx.Client) -> None:
    nothing = http.post("/v1/feedback", json={"target": "nobody-asked", "verdict": "wrong"})
    assert nothing.json()["effect"] == "noted"  # whoever is at this machine may judge anything
    unknown = http.post("/v1/feedback", json={"target": "x", "verdict": "meh"})
    assert unknown.status_code == 422 and "verdict" in unknown.json()["detail"]


def test_a_prompt_is_looked_at_before_anything_is_made(http: httpx.Client) -> None:
    def check(**fields: object) -> dict[str, list[dict[str, str]]]:
        answer = http.post("/v1/prompts/check", json=fields)
        assert answer.status_code == 200, answer.text
        report: dict[str, list[dict[str, str]]] = answer.json()
        return report

    fine = check(prompt="rain on a tin roof")
    assert fine["findings"] == [] and fine["engine"] == "procedural" and fine["tips"]
    vague = check(prompt="an epic cool sound")
    assert [one["name"] for one in vague["findings"]] == ["prompt_vague"] and vague["findings"][0]["sentence"]
    assert check(prompt="rain on a tin roof", engine="kind:effects")["engine"] == "procedural"
    assert check(prompt="rain on a tin roof", engine="nobody")["engine"] == ""
    assert http.post("/v1/prompts/check", json={"prompt": " "}).status_code == 422


def test_the_engines_name_the_default_one(http: httpx.Client) -> None:
    assert http.get("/v1/engines").json()["default"] == "procedural"
