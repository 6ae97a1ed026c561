"""A short run of what `python -m tests.fuzz` does at length, and the same checks by hypothesis."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.h1 import Told, _agree
from tests.fuzz.mutate import MAX_INPUT_BYTES, Mutator
from tests.fuzz.targets import TARGETS

INPUTS = 4000
SEED = 20


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs_do_no_harm(name: str) -> None:
    target, random = TARGETS[name], Random(SEED)
    mutator = Mutator(target.seeds, target.words, random)
    for _ in range(INPUTS):
        data = mutator.next()
        mutator.learn(data, target.check(data, random.randrange(len(data) + 1)))
    assert len(mutator.seeds) > 2 * len(target.seeds), "the inputs show nothing of the codec"


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_words_in_any_order_do_no_harm(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    pieces = st.one_of(st.sampled_from(target.words + target.seeds), st.binary(max_size=20))
    whole = b"".join(data.draw(st.lists(pieces, max_size=12)))
    target.check(whole, data.draw(st.integers(0, len(whole))))


# --------------------------------------------------------------------------- the judge itself


def _told(*messages: tuple[bytes, bytes], stopped: bool = False) -> Told:
    told = Told()
    told.messages, told.stopped = list(messages), stopped
    return told


def test_two_readers_that_end_a_message_elsewhere_disagree() -> None:
    one, more = (b"GET", b""), (b"POST", b"x")
    _agree(_told(one), _told(one))
    _agree(_told(one, more), _told(one, stopped=True))
    with pytest.raises(AssertionError, match="h11"):
        _agree(_told(one), _told(more))
    with pytest.raises(AssertionError, match="h11 only"):
        _agree(_told(one, more), _told(one))
    with pytest.raises(AssertionError, match="Weft only"):
        _agree(_told(one), _told(one, more))


def test_a_mutator_repeats_itself_with_its_seed_and_learns_what_is_new() -> None:
    one, other = (Mutator([b"seed"], [b"word"], Random(1)) for _ in range(2))
    assert [one.next() for _ in range(50)] == [other.next() for _ in range(50)]
    one.learn(b"a", "kind")
    one.learn(b"b", "kind")
    assert one.seeds == [b"seed", b"a"]
    assert len(Mutator([b"x" * 9999], [b"w"], Random(1)).next()) <= MAX_INPUT_BYTES
