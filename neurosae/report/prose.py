"""The sentences of a report: templates in ``prose.jinja``, filled with results."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from neurosae.report.findings import number


@cache
def _template() -> Template:
    environment = Environment(  # noqa: S701 - plain text; the page escapes it where it is set in HTML
        loader=PackageLoader("neurosae", "report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["num"] = lambda value: number(float(value))
    environment.filters["words"] = lambda value: str(value).replace("_", " ")
    return environment.get_template("prose.jinja")


def say(name: str, **values: object) -> str:
    """One paragraph or caption: the macro ``name`` filled with ``values``, white space collapsed.

    Examples
    --------
    >>> say("no_ceiling")
    'There is one deterministic model, so there is no noise ceiling.'
    """
    macro = getattr(_template().module, name)
    return " ".join(str(macro(**values)).split())
