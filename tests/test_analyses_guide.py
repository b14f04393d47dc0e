"""The guide to analyses: its examples print what it says, and it names every analysis."""

import re
from pathlib import Path

import pytest

import neurosae as ns

TEXT = (Path(__file__).parents[1] / "docs/analyses.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(("script", "printed"), EXAMPLES)
def test_an_example_prints_what_the_guide_says(script, printed, capsys):
    exec(compile(script, "docs/analyses.md", "exec"), {})
    assert capsys.readouterr().out == printed


def test_every_example_is_one_of_the_three_that_are_run():
    assert len(EXAMPLES) == TEXT.count("```python") == 3


def test_the_table_of_questions_names_every_analysis():
    table = TEXT.split("## Questions")[1].split("## Three examples")[0]
    analyses = {name for name, home in ns._HOMES.items() if home.startswith("neurosae.analysis.")}
    named = set(re.findall(r"`(\w+)`", table))
    assert not analyses - named
    assert not {name for name in named if name not in ns.__all__}
