"""Lists of prompts: lines, CSV and JSONL; what is no request is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from audio_pool.errors import InvalidRequest
from audio_pool.packs.prompt_list import PromptLine, prompt_lines


def read(tmp_path: Path, name: str, text: str, **fields: object) -> list[PromptLine]:
    path = tmp_path / name
    path.write_text(text)
    return list(prompt_lines(path, fields))


def test_lines_are_prompts_but_for_empty_ones_and_remarks(tmp_path: Path) -> None:
    found = read(tmp_path, "a.txt", "rain\n\n# not this\n  wind in trees \r\n", duration_s=2)
    assert [(one.number, one.prompt) for one in found] == [(1, "rain"), (4, "wind in trees")]
    assert all(not isinstance(one.request, InvalidRequest) and one.request.duration_s == 2 for one in found)


def test_a_csv_has_fields_with_their_types(tmp_path: Path) -> None:
    text = 'prompt,duration_s,loop,tags,seed\n"rain, heavy",4,true,"[""wet""]",\nwind,,,,7\n'
    found = [one.request for one in read(tmp_path, "a.csv", text, duration_s=2)]
    first, second = found
    assert not isinstance(first, InvalidRequest) and not isinstance(second, InvalidRequest)
    assert (first.prompt, first.duration_s, first.loop, first.tags) == ("rain, heavy", 4.0, True, ["wet"])
    assert first.seed is None
    assert (second.duration_s, second.loop, second.seed) == (2.0, None, 7)


@pytest.mark.parametrize(
    ("heading", "told"), [("promt,loop\n", "did you mean 'prompt'"), ("loop\n", "no 'prompt'"), ("\n", "no 'prompt'")]
)
def test_a_wrong_heading_is_the_files_fault(tmp_path: Path, heading: str, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        read(tmp_path, "a.csv", heading + "rain\n")


def test_what_is_no_request_costs_its_own_line_only(tmp_path: Path) -> None:
    text = '{"prompt": "rain", "duration_s": 9999}\n"wind"\n{torn\n[1]\n\n{"duration_s": 1}\n'
    found = read(tmp_path, "a.jsonl", text)
    assert [isinstance(one.request, InvalidRequest) for one in found] == [True, False, True, True, True]
    assert [one.number for one in found] == [1, 2, 3, 4, 6]
    assert "duration_s" in str(found[0].request)
    rows = read(tmp_path, "a.csv", "prompt,duration_s\nrain,long\nwind,1,2\nhail,1\n")
    assert [isinstance(one.request, InvalidRequest) for one in rows] == [True, True, False]


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"rain\n\xff\xfe\n")
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        list(prompt_lines(tmp_path / "a.txt", {}))
