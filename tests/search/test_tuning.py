"""What trials ask of Ray: their part of the machine, so that as many run at once as were promised."""

import pytest
from pydantic import ValidationError

from selfray.search import tuning
from selfray.search.space import Space


@pytest.mark.parametrize(
    ("gpus", "share", "fit"),
    [(1, 1.0, 1), (1, 0.25, 4), (1, 0.1, 10), (2, 0.5, 4), (4, 0.4, 8), (1, 0.6, 1), (8, 1.0, 8)],
)
def test_a_share_lies_on_one_gpu_so_what_is_left_of_each_is_not_promised(gpus, share, fit):
    assert tuning.room(gpus, share) == fit


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3, 0.1, 0.07])
def test_all_trials_that_are_to_run_at_once_fit_on_cpus_and_gpus(share):
    for cpus in (1, 2, 3, 7, 64):
        for gpus in (1, 2, 8):
            concurrent = tuning.room(gpus, share)
            asked = tuning.resources(cpus, concurrent, share)
            assert asked["gpu"] == share
            assert concurrent // gpus * asked["gpu"] <= 1 + 1e-9
            assert concurrent * asked["cpu"] <= cpus or asked["cpu"] == 0.01


def test_a_trial_without_gpu_asks_for_its_part_of_the_cpus_alone():
    assert tuning.resources(2.0, 2, 0.0) == {"cpu": 1.0}
    assert tuning.resources(2.0, 3, 0.0) == {"cpu": 0.66}
    assert tuning.resources(16.0, 4, 0.25) == {"cpu": 4.0, "gpu": 0.25}


def test_more_than_one_gpu_for_a_trial_is_refused():
    knobs = {"objective.temperature": {"choice": [0.1]}}
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Space.model_validate({"knobs": knobs, "gpu_share": 1.5})


@pytest.mark.filterwarnings("default")
def test_ray_reads_it_as_one_bundle_with_a_part_of_a_gpu():
    from ray.tune.execution.placement_groups import resource_dict_to_pg_factory

    asked = resource_dict_to_pg_factory(tuning.resources(3.0, 2, 0.25))
    assert asked.bundles == [{"CPU": 1.5, "GPU": 0.25}]
