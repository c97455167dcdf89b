"""Folders beneath which callers may name files: whatever a path says, it leads there or nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_pool.errors import InvalidAudio, PathNotAllowed
from audio_pool.roots import ANYWHERE, NOWHERE, Roots

NAMES = st.lists(st.sampled_from(["a", "b", "link", "..", ".", "", "root", "x\u202e", " "]), max_size=6)


def listed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("root", "outside", "root/a"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "b").write_text("secret")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "a" / "link").symlink_to(tmp_path / "outside" / "b")
    (tmp_path / "root" / "b").write_text("open")
    return tmp_path


@given(names=NAMES, prefix=st.sampled_from(["root/", "root//", "root/./", "", "root", "outside/", "rootx/"]))
def test_no_spelling_leads_out(tmp_path_factory: pytest.TempPathFactory, names: list[str], prefix: str) -> None:
    place = tmp_path_factory.mktemp("p")
    for name in ("root", "outside", "root/a"):
        (place / name).mkdir()
    (place / "outside" / "b").write_text("secret")
    (place / "root" / "link").symlink_to(place / "outside")
    (place / "root" / "b").write_text("open")
    before = listed(place / "outside")
    roots, path = Roots((str(place / "root"),)), f"{place}/{prefix}{'/'.join(names)}"
    try:
        with roots.opened("f", path) as handle:
            assert os.read(handle, 10) == b"open"
    except (PathNotAllowed, InvalidAudio, OSError):
        pass
    try:
        with roots.folder_for("f", path) as (folder, name):
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=folder))
    except (PathNotAllowed, OSError):
        pass
    assert listed(place / "outside") == before and (place / "outside" / "b").read_text() == "secret"
    assert {path.name for path in place.iterdir()} == {"root", "outside"}


def test_a_link_is_refused_wherever_it_stands_and_leads_and_says_the_same(place: Path) -> None:
    roots, told = Roots((str(place / "root"),)), set()
    (place / "root" / "dangling").symlink_to(place / "nowhere")
    for path in ("link", "link/b", "link/absent", "a/link", "dangling", "dangling/x", "b/x", "../outside/b", ""):
        with pytest.raises(PathNotAllowed) as refused, roots.opened("f", f"{place}/root/{path}"):
            pass
        told.add((refused.value.message, refused.value.hint))
    for path in (str(place / "outside" / "b"), "/etc/passwd", "/nowhere", "b", ""):
        for ask in (roots, NOWHERE):
            with pytest.raises(PathNotAllowed) as refused:
                ask.check("f", path)
            told.add((refused.value.message, refused.value.hint))
    assert len(told) == 1
    with pytest.raises(FileNotFoundError), roots.opened("f", f"{place}/root/absent"):
        pass


def test_a_root_may_be_a_link_itself_and_one_may_lie_in_another(place: Path) -> None:
    (place / "by link").symlink_to(place / "root")
    (place / "root" / "a" / "x").write_text("inner")
    for roots in (Roots((f"{place}/by link/",)), Roots((f"{place}/root/a", f"{place}/by link"))):
        with roots.opened("f", f"{place}/by link/b") as handle:
            assert os.read(handle, 10) == b"open"
    with Roots((f"{place}/root", f"{place}/root/a")).opened("f", f"{place}/root/a/x") as handle:
        assert os.read(handle, 10) == b"inner"
    Roots(("/",)).check("f", "/anything")


def test_nothing_is_left_open(place: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    roots = Roots((str(place / "root"),))
    for path in ("b", "absent", "link/b", "a", "a/deep/er/x"):
        for ask in (roots, ANYWHERE):
            try:
                with ask.opened("f", f"{place}/root/{path}"):
                    pass
            except (PathNotAllowed, InvalidAudio, OSError):
                pass
            try:
                with ask.folder_for("f", f"{place}/root/{path}"):
                    pass
            except (PathNotAllowed, OSError):
                pass
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("roots", [ANYWHERE, None])
def test_what_would_never_end_is_not_opened(place: Path, roots: Roots | None) -> None:
    os.mkfifo(place / "root" / "fifo")
    ask = roots or Roots((str(place / "root"),))
    for name in ("fifo", "a"):
        with pytest.raises(InvalidAudio, match="is not a regular file"), ask.opened("f", f"{place}/root/{name}"):
            pass
