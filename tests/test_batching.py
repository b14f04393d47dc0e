"""Which texts run together, and what is kept when memory runs out."""

import numpy as np
import pytest

from neurosae.errors import SubjectError
from neurosae.subject.batching import batches, run_all
from neurosae.subject.interface import Tokens
from neurosae.subject.toy import ToySubject


def text_of(length):
    nothing = np.zeros(length, dtype=np.int64)
    return Tokens(nothing, nothing.astype(str), nothing, nothing, nothing.astype(bool))


def lengths_of(tokens):
    return np.array([len(text) for text in tokens])


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


class Cramped(ToySubject):
    """A toy that cannot hold more than a number of padded tokens at a time."""

    def __init__(self, most, error=OutOfMemoryError):
        super().__init__()
        self.most, self.error, self.ran = most, error, []

    def run(self, tokens, **kwargs):
        padded = len(tokens) * lengths_of(tokens).max()
        self.ran.append(padded)
        if padded > self.most:
            raise self.error("no memory left")
        return super().run(tokens, **kwargs)


@pytest.mark.parametrize("n", [3, 40, 400])
@pytest.mark.parametrize("longest", [16, 60, 500])
@pytest.mark.parametrize("budget", [64, 2048])
def test_every_text_runs_once_within_the_budget_and_with_little_padding(n, longest, budget):
    tokens = [text_of(length) for length in np.random.default_rng(n).integers(4, longest, n)]
    lengths = lengths_of(tokens)
    cut = batches(tokens, budget)
    assert sorted(np.concatenate(cut).tolist()) == list(range(n))
    padded = [len(batch) * lengths[batch].max() for batch in cut]
    assert all(cells <= budget or len(batch) == 1 for cells, batch in zip(padded, cut, strict=True))
    assert 1 - lengths.sum() / sum(padded) <= 0.05


def test_texts_of_one_length_fill_their_batches():
    cut = batches([text_of(8)] * 20, 64)
    assert [len(batch) for batch in cut] == [8, 8, 4]


def test_nothing_makes_no_batches_and_no_budget_is_refused():
    assert batches([], 64) == []
    with pytest.raises(SubjectError, match="batch_tokens is 0"):
        batches([text_of(3)], 0)


TEXTS = [" ".join(["the keys are here"] * n) for n in (1, 5, 2, 9, 3, 1, 1, 7)]


@pytest.mark.parametrize("error", [OutOfMemoryError, MemoryError])
def test_running_out_of_memory_halves_the_batch_and_keeps_what_is_done(error):
    toy, cramped = ToySubject(), Cramped(40, error)
    tokens = toy.tokenize([TEXTS[0]] * 40)
    counted = []
    parts = list(run_all(cramped, tokens, batch_tokens=200, progress=counted.append, surprisal=True))
    order = np.concatenate([numbers for numbers, _ in parts])
    assert sorted(order.tolist()) == list(range(40))
    assert counted == [len(numbers) for numbers, _ in parts]
    whole = toy.run(tokens, surprisal=True).surprisal.reshape(40, -1)
    ours = np.concatenate([readings.surprisal for _, readings in parts]).reshape(40, -1)
    np.testing.assert_array_equal(ours, whole[order])
    assert sum(cells > 40 for cells in cramped.ran) == 3  # 200, 100, 50: then it fits, and stays small


def test_readings_come_back_to_their_texts():
    toy = ToySubject()
    tokens = toy.tokenize(TEXTS)
    for numbers, readings in run_all(toy, tokens, batch_tokens=60, sites={"resid_post": [1]}):
        starts = np.cumsum([0, *lengths_of([tokens[number] for number in numbers])])
        for number, start, stop in zip(numbers, starts[:-1], starts[1:], strict=True):
            alone = toy.run([tokens[number]], sites={"resid_post": [1]}).activations["resid_post"]
            np.testing.assert_allclose(readings.activations["resid_post"][start:stop], alone, atol=1e-6)


def test_a_text_too_large_alone_is_refused_and_other_errors_pass():
    with pytest.raises(SubjectError, match="a text of 5 tokens alone does not fit"):
        list(run_all(Cramped(3), ToySubject().tokenize(TEXTS[:1]), batch_tokens=64, surprisal=True))
    with pytest.raises(RuntimeError, match="no memory left"):
        list(
            run_all(
                Cramped(3, RuntimeError), ToySubject().tokenize(TEXTS[:1]), batch_tokens=64, surprisal=True
            )
        )


def test_a_text_too_large_alone_is_left_out_on_request_and_the_others_are_run():
    cramped, left_out = Cramped(20), []
    tokens = ToySubject().tokenize(TEXTS)
    parts = list(run_all(cramped, tokens, batch_tokens=200, leave_out=left_out.append, surprisal=True))
    too_long = [number for number, text in enumerate(tokens) if len(text) > 20]
    assert sorted(error.position for error in left_out) == too_long
    assert len(too_long) == 3
    ran = np.concatenate([numbers for numbers, _ in parts])
    assert sorted([*ran, *too_long]) == list(range(len(TEXTS)))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="no memory left"):
        list(
            run_all(
                Cramped(3, RuntimeError),
                ToySubject().tokenize(TEXTS),
                batch_tokens=64,
                leave_out=print,
                surprisal=True,
            )
        )


class Quadratic(Cramped):
    """What a text takes grows with the square of its length, as attention does."""

    def run(self, tokens, **kwargs):
        longest = lengths_of(tokens).max()
        self.ran.append(len(tokens) * longest)
        if len(tokens) * longest**2 > self.most:
            raise self.error("no memory left")
        return ToySubject.run(self, tokens, **kwargs)


def test_after_a_lack_of_memory_shorter_texts_have_the_full_budget_again():
    long, short = "the key " * 40, "so be it"
    subject = Quadratic(2 * 81**2)
    tokens = subject.tokenize([long] * 8 + [short] * 160)
    list(run_all(subject, tokens, batch_tokens=640, surprisal=True))
    n_long = sum(cells > 160 and cells % 81 == 0 for cells in subject.ran)
    assert n_long <= 3  # 567, 283 and no more: then two at a time
    assert subject.ran.count(640) == 1  # all the short ones at once, which take little
