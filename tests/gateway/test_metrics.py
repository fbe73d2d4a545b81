"""The metrics: names, labels and units as dashboards know them, and counts that are right."""

import platform

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import CONTENT_TYPE, Family, Metrics, Sample, summed

NAMES = {
    "holdgate_sessions": ("gauge", ()),
    "holdgate_sessions_total": ("counter", ("outcome",)),
    "holdgate_statements_total": ("counter", ("action", "verdict")),
    "holdgate_statement_seconds": ("histogram", ()),
    "holdgate_overhead_seconds": ("histogram", ()),
    "holdgate_classify_seconds": ("histogram", ("cache",)),
    "holdgate_reader_seconds": ("histogram", ()),
    "holdgate_reader_busy": ("gauge", ()),
    "holdgate_reader_queued": ("gauge", ()),
    "holdgate_reader_timeouts_total": ("counter", ()),
    "holdgate_reader_deaths_total": ("counter", ()),
    "holdgate_reader_refused_total": ("counter", ()),
    "holdgate_holds": ("gauge", ("state",)),
    "holdgate_holds_queued": ("gauge", ()),
    "holdgate_hold_wait_seconds": ("histogram", ()),
    "holdgate_holds_resolved_total": ("counter", ("state",)),
    "holdgate_conflicts_total": ("counter", ("action",)),
    "holdgate_criteria_total": ("counter", ("kind", "outcome")),
    "holdgate_criterion_seconds": ("histogram", ("kind",)),
    "holdgate_upstream_errors_total": ("counter", ("kind",)),
    "holdgate_bytes_total": ("counter", ("direction",)),
    "holdgate_reviews_open": ("gauge", ()),
    "holdgate_notifications": ("gauge", ("state",)),
    "holdgate_notifications_total": ("counter", ("channel", "outcome")),
    "holdgate_store_up": ("gauge", ()),
    "holdgate_audit_queue": ("gauge", ()),
    "holdgate_audit_lost_total": ("counter", ()),
    "holdgate_catalog_generation": ("gauge", ("database",)),
    "holdgate_catalog_age_seconds": ("gauge", ("database",)),
    "holdgate_catalog_reload_seconds": ("histogram", ()),
    "holdgate_catalog_refresh_seconds": ("histogram", ()),
    "holdgate_catalog_mismatches_total": ("counter", ("database",)),
    "holdgate_catalog_failures_total": ("counter", ("database",)),
    "holdgate_workers_lost_total": ("counter", ()),
    "holdgate_build_info": ("gauge", ("python", "version")),
}


def rendered(metrics: Metrics) -> dict[str, float]:
    """Every sample by its line's beginning, ``name{label="value"}``."""
    text, _ = metrics.render()
    samples = {}
    for line in text.decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            assert name not in samples
            samples[name] = float(value)
    return samples


def used() -> Metrics:
    """Metrics with one observation of everything."""
    metrics = Metrics("1.2.3")
    metrics.sessions.inc()
    metrics.sessions_total.labels("ended").inc()
    metrics.notifications_total.labels("chat", "sent").inc()
    metrics.statement("read", "allow")
    metrics.upstream_errors_total.labels("connect").inc()
    metrics.catalog_generation.labels("shop").set(3)
    metrics.catalog_age_seconds.labels("shop").set(1.5)
    metrics.catalog_failures_total.labels("shop").inc()
    metrics.catalog_mismatches_total.labels("shop").inc()
    return metrics


def test_every_metric_is_there_under_its_name_with_its_type_and_labels() -> None:
    text = used().render()[0].decode()
    types = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    assert types == {name: kind for name, (kind, _) in NAMES.items()}
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name
            for suffix in ("_bucket", "_sum", "_count"):
                if name.removesuffix(suffix) in NAMES:
                    name = name.removesuffix(suffix)
            labels.setdefault(name, set()).update(sample.labels.keys() - {"le"})
    assert labels == {name: set(wanted) for name, (_, wanted) in NAMES.items()}


def test_now_and_ever_are_different_metrics_though_openmetrics_would_call_them_one() -> None:
    metrics = Metrics()
    metrics.sessions.set(3)
    metrics.sessions_total.labels("ended").inc(7)
    samples = rendered(metrics)
    assert samples["holdgate_sessions"] == 3
    assert samples['holdgate_sessions_total{outcome="ended"}'] == 7


def test_no_creation_times_are_shown() -> None:
    assert b"_created" not in used().render()[0]


def test_the_content_type_is_that_of_the_text_format() -> None:
    assert used().render()[1] == CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"


def test_the_build_is_named() -> None:
    assert (
        rendered(Metrics("1.2.3"))[
            f'holdgate_build_info{{python="{platform.python_version()}",version="1.2.3"}}'
        ]
        == 1
    )


def test_a_build_without_a_version_is_unknown() -> None:
    assert 'version="unknown"' in Metrics().render()[0].decode()


@pytest.mark.parametrize(
    "state", ["approved", "rejected", "expired", "withdrawn", "abandoned", "interrupted"]
)
def test_a_hold_is_pending_until_it_ends(state: str) -> None:
    metrics = Metrics()
    assert rendered(metrics)['holdgate_holds{state="pending"}'] == 0
    metrics.hold_opened()
    assert rendered(metrics)['holdgate_holds{state="pending"}'] == 1
    metrics.hold_resolved(state, 12.5)
    samples = rendered(metrics)
    assert samples['holdgate_holds{state="pending"}'] == 0
    assert samples[f'holdgate_holds_resolved_total{{state="{state}"}}'] == 1
    assert samples["holdgate_hold_wait_seconds_sum"] == 12.5
    assert samples['holdgate_hold_wait_seconds_bucket{le="10.0"}'] == 0
    assert samples['holdgate_hold_wait_seconds_bucket{le="20.0"}'] == 1


def test_a_hold_cannot_end_as_pending() -> None:
    with pytest.raises(KeyError):
        Metrics().hold_resolved("pending", 1.0)


def test_statements_are_counted_by_action_and_verdict() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.statement("delete", "hold")
    metrics.statement("read", "allow")
    samples = rendered(metrics)
    assert samples['holdgate_statements_total{action="delete",verdict="hold"}'] == 3
    assert samples['holdgate_statements_total{action="read",verdict="allow"}'] == 1


def test_a_series_may_be_counted_by_whoever_keeps_it() -> None:
    metrics = Metrics()
    count = metrics.statement_count("read", "allow")
    count.value += 2
    metrics.statement("read", "allow")
    assert metrics.statement_count("read", "allow") is count
    assert count.value == 3


def test_judging_is_timed_by_whether_the_cache_knew() -> None:
    metrics = Metrics()
    metrics.classified(3e-6, hit=True)
    metrics.classified(0.002, hit=False)
    samples = rendered(metrics)
    assert samples['holdgate_classify_seconds_count{cache="hit"}'] == 1
    assert samples['holdgate_classify_seconds_bucket{cache="hit",le="5e-06"}'] == 1
    assert samples['holdgate_classify_seconds_sum{cache="miss"}'] == 0.002


def test_bytes_are_counted_by_direction() -> None:
    metrics = Metrics()
    metrics.relayed(to_upstream=10, to_client=20)
    metrics.relayed()
    samples = rendered(metrics)
    assert samples['holdgate_bytes_total{direction="to_upstream"}'] == 10
    assert samples['holdgate_bytes_total{direction="to_client"}'] == 20


@pytest.mark.parametrize(
    ("seconds", "first"),
    [
        (0.0, 'le="5e-06"'),
        (5e-6, 'le="5e-06"'),
        (5.1e-6, 'le="1e-05"'),
        (-1.0, 'le="5e-06"'),
        (1.0, 'le="1.0"'),
        (99.0, 'le="+Inf"'),
    ],
)
def test_a_bucket_holds_what_is_at_most_its_bound(seconds: float, first: str) -> None:
    metrics = Metrics()
    metrics.overhead_seconds.observe(seconds)
    buckets = {name: value for name, value in rendered(metrics).items() if "overhead_seconds_bucket" in name}
    filled = [name for name, value in buckets.items() if value == 1]
    assert first in filled[0]
    assert list(buckets)[-1] == 'holdgate_overhead_seconds_bucket{le="+Inf"}'
    assert list(buckets.values()) == sorted(buckets.values())


def test_count_and_sum_of_a_series() -> None:
    timer = Metrics().statement_seconds.timer
    timer.observe(0.5)
    timer.observe(0.25)
    assert (timer.count, timer.sum) == (2, 0.75)


def test_a_histogram_refuses_to_be_used_without_its_label_and_with_one_it_does_not_have() -> None:
    metrics = Metrics()
    with pytest.raises(ValueError, match="has no label"):
        metrics.statement_seconds.labels("x")
    with pytest.raises(ValueError, match="needs its label cache"):
        metrics.classify_seconds.observe(1.0)
    with pytest.raises(ValueError, match="needs its label cache"):
        _ = metrics.classify_seconds.timer
    assert metrics.classify_seconds.labels("hit") is metrics.classify_seconds.labels("hit")


def test_two_gateways_in_one_process_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.statement("read", "allow")
    one.overhead_seconds.observe(1.0)
    assert "holdgate_overhead_seconds_count" in rendered(other)
    assert rendered(other)["holdgate_overhead_seconds_count"] == 0
    assert 'holdgate_statements_total{action="read",verdict="allow"}' not in rendered(other)


def test_a_catalog_that_is_not_kept_any_more_is_not_shown() -> None:
    metrics = used()
    assert b'database="shop"' in metrics.render()[0]
    metrics.forget_catalog("shop")
    metrics.forget_catalog("never seen")
    assert b'database="shop"' not in metrics.render()[0]


def test_several_processes_count_as_one() -> None:
    own, one, other = Metrics("1.0"), Metrics("1.0"), Metrics("1.0")
    for count, metrics in enumerate((own, one, other), 1):
        for _ in range(count):
            metrics.statement("read", "allow")
            metrics.statement_seconds.observe(0.003 * count)
        metrics.sessions.set(count)
        metrics.catalog_generation.labels("shop").set(count)
    other.upstream_errors_total.labels("lost").inc()
    text = own.render([*one.families(), *other.families()])[0].decode()
    for line in (
        'holdgate_statements_total{action="read",verdict="allow"} 6.0',
        "holdgate_statement_seconds_count 6.0",
        'holdgate_statement_seconds_bucket{le="0.005"} 1.0',
        'holdgate_statement_seconds_bucket{le="0.01"} 6.0',
        "holdgate_sessions 6.0",
        # Each has read the catalog by itself: the numbers are not of one kind.
        'holdgate_catalog_generation{database="shop"} 3.0',
        'holdgate_upstream_errors_total{kind="lost"} 1.0',
    ):
        assert line in text.splitlines()
    assert text.count("# TYPE holdgate_sessions_total counter") == 1
    alone = own.render()[0]
    assert {line for line in text.splitlines() if line[:1] == "#"} == {
        line for line in alone.decode().splitlines() if line[:1] == "#"
    }


def test_sums_are_plain_values_again() -> None:
    family = Family("a", "text", "counter", [Sample("a_total", {"x": "1"}, 2.0), Sample("a_total", {}, 1.0)])
    more = Family("a", "text", "counter", [Sample("a_total", {"x": "1"}, 3.0)])
    assert summed([family, more]) == [
        Family("a", "text", "counter", [Sample("a_total", {"x": "1"}, 5.0), Sample("a_total", {}, 1.0)])
    ]
