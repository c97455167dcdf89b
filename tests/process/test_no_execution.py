"""What the interpreters of a pool and its worker execute while a sound is made, as their audit hooks see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.waiting import PATIENCE_S

HOOK = '''
"""Loaded by every interpreter with this folder on its path: notes what it executes."""
import json, os, sys

def _watch(place):
    noted = set()
    def hook(event, arguments):
        if event == "pickle.find_class":
            told = list(map(str, arguments))
        elif event == "os.system":
            told = [str(arguments[0])[:200]]
        elif event == "subprocess.Popen" and os.path.basename(str(arguments[0])) in ("sh", "bash", "dash"):
            told = [str(arguments[1])[:200]]
        elif event == "exec":
            name = arguments[0].co_filename
            if os.path.exists(name) or name.startswith("<frozen"):
                return  # a module
            try:
                told = [sys._getframe(1).f_globals.get("__name__", "?")]
            except ValueError:  # the program that the interpreter was given with -c
                return
        elif event == "audio_pool.test":
            told = []
        else:
            return
        line = json.dumps([event, os.path.basename(sys.argv[0]) if sys.argv else "", *told])
        if line not in noted:
            noted.add(line)
            fd = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(fd, (line + "\\n").encode())
            os.close(fd)
    sys.addaudithook(hook)

if "NOTES_OF_AUDIT" in os.environ:
    _watch(os.environ["NOTES_OF_AUDIT"])
    sys.audit("audio_pool.test")
'''
PROGRAM = """
import sys
from audio_pool import AudioClient, AudioPool

place, hook = sys.argv[1:]
worker = {"name": "w", "engines": ["procedural"], "env": {"PYTHONPATH": hook}}
config = {
    "workers": [worker], "cache": {"dir": place + "/cache", "encoder": "off"}, "server": {"bind": f"ipc://{place}/s"},
}
with AudioPool.from_config(config, serve=True) as pool, AudioClient(pool.endpoint) as client:
    for format in ("wav", "flac", "ogg"):
        assert client.generate("rain on a tin roof", duration_s=1.0, format=format, loop=True).metadata.duration_s
    client.status(), client.cache_stats(), client.engines()
    assert client.feedback("x", "good").target == "x"
"""
ALLOWED = {"dataclasses", "collections", "typing", "numpy", "scipy"}
"""Those that write code to define a class or a function: what they execute is made of names in their sources."""


def test_neither_the_pool_nor_its_worker_executes_what_it_is_told(tmp_path: Path) -> None:
    hook, notes = tmp_path / "hook", tmp_path / "notes"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    environment = {**os.environ, "PYTHONPATH": str(hook), "NOTES_OF_AUDIT": str(notes)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(hook)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S * 2)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in notes.read_text().splitlines()]
    assert [one[0] for one in found].count("audio_pool.test") >= 2, "both interpreters are watched"
    assert {one[2].split(".")[0] for one in found if one[0] == "exec"} <= ALLOWED
    assert not [one for one in found if one[0] not in ("exec", "audio_pool.test")]
