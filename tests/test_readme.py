"""The script in the README runs as it is written, on the toy subject and a few stimuli."""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_readme_script_runs(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    script = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    assert 15 <= len([line for line in script.splitlines() if line.strip()]) <= 22
    for name in ("protocols", "stimuli"):
        shutil.copytree(ROOT / name, tmp_path / name)
    plan = tmp_path / "protocols/language_network.toml"
    plan.write_text(plan.read_text(encoding="utf-8").replace("layer = 14", "layer = 2"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    toy = script.replace('"smollm2-135m"', '"toy"').replace("[6, 14, 22]", "[0, 1, 2]")
    exec(compile(toy, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert re.search(r"held-out response: g = -?\d", printed)
    assert "against 19 shams" in printed
    assert (tmp_path / "results/first_study/lesion.nc").exists()
