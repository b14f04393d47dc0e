"""A small study on the toy subject, for tests of the runner, the report and the command line."""

from pathlib import Path

from neurosae.testing import planted_pairs

PROTOCOL = """
name     = "little"
question = "Do units prefer <b>words</b> & does the toy need them?"
stimuli  = "stimuli/words.tsv"
subject  = "toy"
seed     = 0

[[contrasts]]
name     = "words"
contrast = "word > string"
localize = { fraction = 0.05, folds = 2 }
n_permutations = 199

[[rsa]]
name      = "kind"
condition = "condition"
n_permutations = 199

[[selectivity]]
name      = "kind"
index     = "auroc"
n_permutations = 99

[[decoding]]
name      = "kind"
groups    = "item"
n_permutations = 49

[[causal]]
name     = "grammar"
lesion   = { roi = "words" }
stimuli  = "stimuli/pairs.tsv"
controls = 9

[[causal]]
name     = "facts"
lesion   = { roi = "words" }
stimuli  = "stimuli/facts.tsv"
controls = 9

[[causal]]
name        = "push"
stimulation = { contrast = "words", layer = 2, dose = [-1, 0, 1] }
stimuli     = "stimuli/pairs.tsv"
controls    = 5
"""
NOUNS = ("key", "dog", "cup", "tree", "lamp", "road", "boat", "coin", "door", "ring", "bird", "hand")


def write_study(folder: Path, protocol: str = PROTOCOL) -> Path:
    """Write a protocol and its two stimulus sets, and return the protocol's path."""
    (folder / "stimuli").mkdir(parents=True)
    words = ["stimulus\ttext\tcondition\titem"]
    pairs = ["stimulus\ttext\tcondition\tpair"]
    for index, noun in enumerate(NOUNS):
        string = "".join(chr(97 + (ord(letter) * 7 + index) % 26) for letter in noun) + "xq"
        words.append(f"w{index}\tThe {noun} is near the old house.\tword\tw{index}")
        words.append(f"n{index}\tFlb {string} zt nrxq tlk vrd hszq.\tstring\tn{index}")
        for number, (good, bad) in enumerate((("is", "are"), ("are", "is"))):
            ending = "s" * number
            for condition, verb in (("good", good), ("bad", bad)):
                name = f"p{index}{number}"
                pairs.append(f"{name}{condition}\tthe {noun}{ending} {verb} here\t{condition}\t{name}")
    (folder / "stimuli/words.tsv").write_text("\n".join(words) + "\n")
    (folder / "stimuli/pairs.tsv").write_text("\n".join(pairs) + "\n")
    facts = planted_pairs(12, task="fact")
    facts.to_csv(folder / "stimuli/facts.tsv", sep="\t", index=False)
    path = folder / "little.toml"
    path.write_text(protocol)
    return path
