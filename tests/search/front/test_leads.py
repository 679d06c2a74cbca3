"""What a front's leads are worth: standard errors, paired over the images."""

import itertools

import numpy as np
import pytest
from dense_toys import dense_task
from search_toys import Evaluate, noise, toy_space

from search.front.front import Front
from search.problem.paired_error import (
    GROUPS,
    GroupedMetrics,
    Lead,
    group_means,
    read_groups,
    standard_error,
)
from search.run import run_search
from search.study.options import SearchOptions

SPACE = toy_space()
IMAGES = 500


class OfImages(Evaluate):
    """Made-up accuracies image by image: an image is as hard for one arch as for another."""

    def __init__(self, space, images=IMAGES):
        super().__init__(space)
        self._hardness = np.random.default_rng(0).random(images)
        self.values = {}

    def __call__(self, arch):
        level = super().__call__(arch)["top1"]
        identity = self.seen[-1]
        rng = np.random.default_rng(int(1e6 * noise(identity)))
        own = self._hardness + 0.2 * rng.random(len(self._hardness))
        self.values[identity] = (own < level).astype(float)
        return GroupedMetrics.of(means, {"top1": self.values[identity]})


def means(statistics):
    return {name: float(values.mean()) for name, values in statistics.items()}


def test_a_mean_has_the_means_of_its_groups():
    values = np.arange(5.0) ** 2
    exact = GroupedMetrics.of(means, {"mean": values})
    assert exact.groups == {"mean": group_means(values)}

    def rounded(statistics):  # as in float32
        return {"mean": float(statistics["mean"].mean()) * (1 + 1e-6)}

    assert GroupedMetrics.of(rounded, {"mean": values}).groups == exact.groups


@pytest.mark.parametrize("images", [2, 40, GROUPS, 1000])
def test_the_pseudo_values_of_a_mean_are_the_means_of_its_groups(images):
    """A statistic of another name is reduced like any metric that is no mean."""
    values = np.random.default_rng(images).random(images)
    metrics = GroupedMetrics.of(lambda each: {"mean": float(each["x"].mean())}, {"x": values})
    assert metrics.groups["mean"].images == images
    assert metrics.groups["mean"].means == pytest.approx(group_means(values).means, abs=2e-6)


def test_the_error_of_a_ratio_of_sums_is_that_of_many_draws():
    """As of mIoU: the sums of a split's images divided by each other."""

    def ratio(statistics):
        return {"iou": float(statistics["hit"].sum() / statistics["area"].sum())}

    def draw(rng, shift):
        area = rng.uniform(1, 9, 500)
        hits = {name: area * rng.beta(4 + add, 2, 500) for name, add in (("a", 0), ("b", shift))}
        return [GroupedMetrics.of(ratio, {"hit": hit, "area": area}) for hit in hits.values()]

    pairs = [draw(np.random.default_rng(seed), 0.3) for seed in range(300)]
    gaps = [one["iou"] - other["iou"] for one, other in pairs]
    errors = [standard_error(one.groups["iou"], other.groups["iou"]) for one, other in pairs]
    assert np.mean(errors) == pytest.approx(np.std(gaps), rel=0.1)


def test_metrics_without_a_value_for_a_group_have_no_error():
    def fragile(statistics):
        return {"x": float("nan") if len(statistics["v"]) < 5 else 1.0, "y": float("nan")}

    assert not GroupedMetrics.of(fragile, {"v": np.arange(5.0)}).groups

    def strict(statistics):  # as an area under a curve without one of the classes
        if len(statistics["v"]) < 5:
            raise ValueError("Only one class present")
        return {"x": 1.0}

    metrics = GroupedMetrics.of(strict, {"v": np.arange(5.0)})
    assert (metrics, metrics.groups) == ({"x": 1.0}, {})


@pytest.mark.parametrize("images", [2, 40, GROUPS, 1000, 10_007])
def test_the_error_is_that_of_the_differences_of_single_images(images):
    rng = np.random.default_rng(images)
    ratios = []
    for _ in range(200):
        hardness = rng.random(images)
        one, other = (hardness + 0.3 * rng.random(images) for _ in range(2))
        wanted = (one - other).std(ddof=1) / images**0.5
        ratios.append(standard_error(group_means(one), group_means(other)) / wanted)
    if images <= GROUPS:
        assert ratios == pytest.approx([1] * 200, rel=1e-2)
    else:
        assert np.mean(ratios) == pytest.approx(1, abs=0.03)
        assert np.std(ratios) < 0.12


@pytest.mark.parametrize("images", [8, 40, GROUPS, 1000])
def test_an_image_without_a_target_takes_no_error_away(images):
    """The error is that of the others: its value is NaN, and the task leaves it out."""
    task, ratios = dense_task("depth"), []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        hardness, pixels = rng.random(images), np.full(images, 9.0)
        void = rng.integers(images)
        pixels[void], hardness[void] = 0, np.nan
        values = [hardness + 0.3 * rng.random(images) for _ in range(2)]
        one, other = (
            GroupedMetrics.of(task.reduce, {"pixels": pixels, "rmse": each}) for each in values
        )
        differences = np.delete(values[0] - values[1], void)
        assert one["rmse"] - other["rmse"] == pytest.approx(differences.mean())
        wanted = differences.std(ddof=1) / len(differences) ** 0.5
        ratios.append(standard_error(one.groups["rmse"], other.groups["rmse"]) / wanted)
    # Which images have a target counts as chance too.
    assert np.mean(ratios) == pytest.approx(1, abs=0.02)


def test_where_nobody_knows_there_is_no_error():
    values = np.random.default_rng(0).random(100)
    some = group_means(values)
    assert standard_error(some, None) is None
    assert standard_error(some, group_means(values[:99])) is None
    assert standard_error(group_means(values[:1]), group_means(values[1:2])) is None
    assert standard_error(some, some._replace(means=(float("nan"),) * GROUPS)) is None


def test_what_was_stored_of_groups_is_read_and_all_else_is_not_known():
    some = group_means(np.arange(3.0))
    assert read_groups({"a": [3, list(some.means)]}) == {"a": some}
    for bad in (3, [3], {"a": 3}, {"a": [3, 4]}, {"a": [0, []]}, {"a": [1 << 80, [1.0]]}):
        assert read_groups(bad) == {}
    assert read_groups({"a": [3, ["x"]], "b": [3, list(some.means)]}) == {"b": some}


def judged(front, evaluate):
    """The leads by the definition, from the values of single images."""
    ranked = sorted(front.entries, key=lambda entry: -entry.metrics["top1"])
    return {
        one.identity: evaluate.values[one.identity] - evaluate.values[other.identity]
        for one, other in itertools.pairwise(ranked)
    }


@pytest.mark.parametrize("objectives", [["top1", "macs"], ["macs", "top1"]])
def test_each_arch_of_a_front_has_its_lead_over_the_next_best(objectives, tmp_path):
    evaluate = OfImages(SPACE)
    front = run_search(
        space=SPACE, evaluate=evaluate, objectives=objectives, trials=60, folder=tmp_path
    )
    assert front.images == IMAGES
    wanted = judged(front, evaluate)
    leads = {e.identity: lead for e, lead in zip(front.entries, front.leads, strict=True) if lead}
    assert leads.keys() == wanted.keys()
    for identity, lead in leads.items():
        differences = wanted[identity]
        assert lead.ahead == pytest.approx(differences.mean())
        assert lead.error == pytest.approx(differences.std(ddof=1) / IMAGES**0.5, rel=0.4)
    assert Front.load(tmp_path / "front.yaml") == front


def test_a_search_that_goes_on_and_one_that_reuses_it_know_the_errors_too(tmp_path):
    evaluate = OfImages(SPACE)
    values = {"space": SPACE, "trials": 40, "seed": 1, "origin": {"made up": 1}}
    once = run_search(evaluate=evaluate, **values)
    run_search(evaluate=evaluate, folder=tmp_path / "a", **{**values, "trials": 25})
    again = run_search(evaluate=evaluate, folder=tmp_path / "a", **values)
    assert any(again.leads)
    assert again.entries == run_search(evaluate=evaluate, folder=tmp_path / "a", **values).entries
    reused = run_search(
        evaluate=evaluate,
        folder=tmp_path / "b",
        options=SearchOptions(reuse=[tmp_path / "a"]),
        **values,
    )
    known = {entry.identity: entry for entry in once.entries}
    assert all(entry == known[entry.identity] for entry in reused.entries)


def test_a_front_of_numbers_alone_has_no_leads(tmp_path):
    front = run_search(space=SPACE, evaluate=Evaluate(SPACE), trials=20, folder=tmp_path)
    assert front.images is None
    assert not any(front.leads)
    assert "error" not in (tmp_path / "front.yaml").read_text()


def test_leads_under_two_standard_errors_are_marked():
    assert str(Lead("top1", 0.021, 0.01)) == "2.10 ±1.00 points"
    assert str(Lead("top1", 0.02, 0.01)) == "≈ 2.00 ±1.00 points"
    assert not Lead("kl", 0.0, 0.0).is_significant
