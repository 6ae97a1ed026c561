"""A full table of samples, in pieces that are bounded; each sample as it was at one time."""

from __future__ import annotations

from proxy.admin.prometheus import PIECE_CHARACTERS, exposition
from proxy.stats import Stats

ALL = 200


def full() -> Stats:
    stats = Stats()
    for at in range(ALL):
        labels = (("who", "w" * 600), ("number", str(at)))
        histogram = stats.labelled.histogram("istio_request_bytes", labels)
        counter = stats.labelled.counter("istio_requests_total", labels)
        assert histogram is not None and counter is not None
        histogram.record(7.0)
        counter.value = 1 + at
    return stats


def test_pieces_are_bounded_and_whole() -> None:
    pieces = list(exposition(full(), lambda name, used: used))
    assert max(map(len, pieces)) < PIECE_CHARACTERS + 25 * 700
    assert len(pieces) > 20
    text = "".join(pieces)
    assert text.count("istio_request_bytes_bucket{") == 20 * ALL
    assert text.count("# TYPE istio_request_bytes histogram\n") == 1
    for number in (0, ALL - 1):
        start = f'istio_requests_total{{who="{"w" * 600}",number="{number}"}}'
        assert f"\n{start} {number + 1}\n" in text


def test_a_sample_is_told_as_it_was_at_one_time() -> None:
    """What is counted between two pieces is in the sum, the count and the buckets, or in none."""
    stats = full()
    samples = list(stats.labelled.histograms["istio_request_bytes"].values())
    text = ""
    for piece in exposition(stats, lambda name, used: used):
        text += piece
        for histogram in samples:
            histogram.record(7.0)
    told: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("istio_request_bytes") and ('le="+Inf"' in line or "_count" in line):
            number = line.split('number="')[1].split('"')[0]
            told.setdefault(number, set()).add(line.rsplit(" ", 1)[1])
    assert len(told) == ALL
    assert {len(values) for values in told.values()} == {1}
    assert len(set().union(*told.values())) > 1


def test_nothing_is_said_of_a_metric_without_samples_to_show() -> None:
    stats = full()
    said = "".join(exposition(stats, lambda name, used: name == "istio_requests_total"))
    assert "istio_request_bytes" not in said
