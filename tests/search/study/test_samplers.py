import pytest
import torch
from search_toys import problem_of, toy_space

from search.study.proposals import Proposals
from search.study.samplers import SAMPLERS, SamplerChoice, parse_sampler
from space import InputError

PROBLEM = problem_of(toy_space())


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_is_of_the_class_of_that_name(name):
    choice = parse_sampler(name)
    assert type(choice.make(PROBLEM, 3)).__name__ == name
    assert choice.spec.learns == (name not in ("RandomSampler", "QMCSampler"))


def test_arguments_pass_through_and_ours_are_only_defaults():
    assert SamplerChoice().make(PROBLEM, 0).population_size == 20
    chosen = parse_sampler({"name": "NSGAIISampler", "population_size": 7})
    assert chosen.make(PROBLEM, 0).population_size == 7
    assert parse_sampler(chosen) is chosen
    assert chosen.ahead == 7


def test_a_sampler_has_the_seed_of_its_search():
    with pytest.raises(InputError, match=r"the search's seed; give search\.seed"):
        parse_sampler({"name": "TPESampler", "seed": 1})
    with pytest.raises(InputError) as caught:
        parse_sampler({"name": "TPESampler", "sed": 1})
    assert "'seed'" not in str(caught.value)


def test_the_gp_thinks_on_one_thread_and_gives_the_others_back():
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with SamplerChoice("GPSampler").limit_threads():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        with SamplerChoice("TPESampler").limit_threads():
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", SAMPLERS)
def test_another_seed_gives_other_proposals(name):
    """A search that goes on has another seed too, and must not repeat its sequence."""

    def proposed(seed):
        asked = Proposals(PROBLEM, SamplerChoice(name), seed)
        trials = [asked.ask() for _ in range(6)]
        # The first of QMC's is drawn, not of its sequence.
        return [trial.params for trial in trials[1:]]

    assert proposed(1) == proposed(1)
    assert proposed(1) != proposed(2)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("CmaEsSampler", ["one of NSGAIISampler", "'CmaEsSampler'"]),
        ("tpe", ["one of NSGAIISampler", "TPESampler", "'tpe'"]),
        ("TPESample", ["did you mean 'TPESampler'"]),
        ("Annealing", ["one of NSGAIISampler", "'Annealing'"]),
        (3, ["a name, or a mapping", "3"]),
        ({"population_size": 3}, ["a name, or a mapping"]),
        ({"name": ["TPESampler"]}, ["one of", "['TPESampler']"]),
        ({"name": "NSGAIISampler", "population": 3}, ["'population'", "'population_size'"]),
        ({"name": "NSGAIISampler", "seed": 3}, ["seed", "search's"]),
        ("evolutionsampler", ["did you mean 'EvolutionSampler'"]),
        ({"name": "EvolutionSampler", "population_size": 3}, ["unknown", "'population_size'"]),
        ({"name": "EvolutionSampler", "seed": 3}, ["seed", "search's"]),
        ({"name": "NSGAIISampler", "population_size": 1}, ["greater than or equal to 2"]),
        ({"name": "NSGAIISampler", "population_size": "many"}, ["NSGAIISampler"]),
        ({"name": "QMCSampler", "qmc_type": "latin"}, ["latin"]),
    ],
)
def test_what_is_no_sampler_is_refused_in_a_line(value, words):
    with pytest.raises(InputError) as caught:
        parse_sampler(value)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
