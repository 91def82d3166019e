"""The blocks of the documents, as they stand, in one folder and one after the other."""
import os
import re
import shlex
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
MODEL = os.path.join(ROOT, "examples", "tiny-gpt2")


def has(*modules):
    done = subprocess.run([sys.executable, "-c", "import " + ", ".join(modules)], capture_output=True)
    return done.returncode == 0


def run(block, folder):
    done = subprocess.run([sys.executable, "-W", "error:::tt_embed", "-c", block], cwd=folder, capture_output=True,
                          text=True)
    assert done.returncode == 0, block + done.stderr


@pytest.mark.skipif(not os.path.isdir(MODEL), reason="no checkout here")
@pytest.mark.parametrize("document, least", [("README.md", 2), ("examples/README.md", 1), ("examples/python/README.md", 3)])
def test_blocks(document, least, tmp_path):
    with open(os.path.join(ROOT, document), encoding="utf-8") as file:
        blocks = re.findall(r"^```(python|sh)\n(.*?)^```", file.read(), re.M | re.S)
    blocks = [(kind, block) for kind, block in blocks if kind == "python" or "python -m tt_embed" in block]
    assert len(blocks) >= least
    os.symlink(os.path.join(ROOT, "examples"), tmp_path / "examples")
    there = has("torch", "transformers")
    for kind, block in blocks:
        if kind == "python" and (there or "torch" not in block):
            run(block, tmp_path)
        for line in block.splitlines() if kind == "sh" and there else []:
            words = shlex.split(line)
            assert words[:3] == ["python", "-m", "tt_embed"], line
            if words[3] == "calibrate":
                words += ["--tokens", "512"]   # fewer
            subprocess.run([sys.executable] + words[1:] + ["--quiet"], cwd=tmp_path, check=True)
