import pytest
import torch
from controllable_inference.core.agreement import Agreement
from controllable_inference.core.features import (
    RANK,
    STATISTICS,
    PathFeatures,
    RecordedPath,
    feature_dim,
    feature_names,
    features_of_recording,
    select,
    token_statistics,
)
from controllable_inference.errors import ControlConfigError
from hypothesis import given, settings
from hypothesis import strategies as st

HIDDEN = 6


def recording(lengths: list[int], boundary_every: int, seed: int) -> list[RecordedPath]:
    generator = torch.Generator().manual_seed(seed)
    return [
        RecordedPath(
            torch.randn(n, HIDDEN, generator=generator),
            torch.randn(n, 3, generator=generator),
            ends := [*range(boundary_every, n + 1, boundary_every)],
            [f"{at + (seed + path + at) % 2}\n" for at in range(len(ends))],
            str(n % 3) if n % 4 else None,
        )
        for path, n in enumerate(lengths)
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 99))
def test_token_by_token_among_strangers_gives_what_a_whole_recording_gives(lengths, every, seed):
    ours, strangers = recording(lengths, every, seed), recording([9, 4], 3, seed + 1)
    offline = features_of_recording(ours)
    slots = [7 * i % 11 for i in range(len(ours))]  # any distinct slots, in any order
    state = PathFeatures(12, HIDDEN)
    state.update(torch.tensor(slots), torch.ones(len(slots), HIDDEN), torch.ones(len(slots), 3))
    state.reset(slots)
    state.grow(14)
    agreement = Agreement()
    online: list[list[torch.Tensor]] = [[] for _ in ours]
    for n in range(1, max(lengths)):
        rows = [(slots[i], p) for i, p in enumerate(ours) if len(p.hidden) - 1 >= n]
        rows += [(12 + i, p) for i, p in enumerate(strangers) if len(p.hidden) - 1 >= n]
        state.update(
            torch.tensor([slot for slot, _ in rows]),
            torch.stack([p.hidden[n - 1] for _, p in rows]),
            torch.stack([p.statistics[n - 1] for _, p in rows]),
        )
        for path in ours:
            if len(path.hidden) == n and path.answer is not None:
                agreement.finish(path.answer)
        due = [i for i, p in enumerate(ours) if n in p.boundaries and n <= len(p.hidden) - 1]
        for i in due:
            agreement.enter(i, ours[i].steps[len(online[i])])
        for i in due:
            agreed = agreement.measure(i, len(ours) - 1)
            online[i] += state.boundary([slots[i]], ours[i].hidden[n - 1 : n], [slots], [agreed])
    for mine, replayed in zip(online, offline, strict=True):
        assert torch.equal(torch.stack(mine) if mine else torch.zeros(0, feature_dim(HIDDEN)), replayed)


def test_a_vector_is_boundary_state_step_mean_and_statistics():
    path = recording([6], 2, 0)[0]
    first, second = features_of_recording([path])[0]
    assert first.shape == (feature_dim(HIDDEN),)
    assert torch.equal(second[:HIDDEN], path.hidden[3])
    assert torch.allclose(second[HIDDEN : 2 * HIDDEN], path.hidden[2:4].mean(0))
    named = dict(zip(STATISTICS, second[2 * HIDDEN :].tolist(), strict=True))
    assert named["path_logprob"] == torch.tensor(path.statistics[:4, 0].double().mean().item()).item()
    assert named["step_confidence"] == torch.tensor(path.statistics[2:4, 2].double().mean().item()).item()


def test_rank_orders_a_requests_paths_and_a_lone_path_is_in_the_middle():
    paths = [
        RecordedPath(torch.zeros(3, HIDDEN), torch.full((3, 3), -float(i)), [2], ["1"], None)
        for i in range(4)
    ]
    ranks = [f[0, 2 * HIDDEN + RANK].item() for f in features_of_recording(paths)]
    assert ranks == [1.0, 2 / 3, 1 / 3, 0.0] or torch.allclose(
        torch.tensor(ranks), torch.tensor([1, 2 / 3, 1 / 3, 0])
    )
    assert features_of_recording(paths[:1])[0][0, 2 * HIDDEN + RANK] == 0.5


def test_paths_agree_with_those_that_ended_a_step_at_the_same_moment_and_with_answers_already_there():
    def path(tokens, boundaries, steps, answer):
        return RecordedPath(torch.zeros(tokens, HIDDEN), torch.zeros(tokens, 3), boundaries, steps, answer)

    paths = [
        path(9, [2, 6], ["1+1=2", "so 2"], "2"),
        path(9, [2, 7], ["1+1=2", "so 3"], "3"),
        path(6, [2, 5], ["1+1=3", "so 3"], "3.0"),
    ]
    named = [
        [dict(zip(STATISTICS, row[2 * HIDDEN :].tolist(), strict=True)) for row in vectors]
        for vectors in features_of_recording(paths)
    ]
    assert [steps[0]["step_agreement"] for steps in named] == [0.5, 0.5, 0.0]
    assert [steps[0]["siblings_seen"] for steps in named] == [1.0, 1.0, 1.0]
    # The third has ended with 3 when the others end their second steps, and its second step still counts.
    assert [steps[1]["answer_agreement"] for steps in named] == [0.0, 1.0, 0.5]
    assert [steps[1]["siblings_seen"] for steps in named] == [0.5, 1.0, 0.0]
    assert named[1][1]["step_agreement"] == 0.5


def test_columns_go_by_their_names():
    dim = feature_dim(HIDDEN)
    assert select([], HIDDEN) == select(feature_names(), HIDDEN) == list(range(dim))
    assert select(["step_mean_hidden[*]"], HIDDEN) == list(range(HIDDEN, 2 * HIDDEN))
    assert select(["rank", "path_logprob"], HIDDEN) == [2 * HIDDEN + RANK, 2 * HIDDEN]
    assert select(["siblings_seen"], HIDDEN) == [dim - 1]
    with pytest.raises(ControlConfigError, match=r"no features named mood, luck; it has .* rank.* Train the"):
        select(["rank", "mood", "luck"], HIDDEN)


def test_statistics_of_a_forbidden_token_are_numbers():
    log_probs = torch.log_softmax(torch.tensor([[0.0, 1.0, float("-inf"), 2.0]]), -1)
    statistics = token_statistics(log_probs, torch.tensor([3]))
    assert torch.isfinite(torch.stack(statistics)).all()


def test_confidence_is_high_where_the_model_is_sure():
    sure = torch.log_softmax(torch.tensor([[9.0, 0, 0, 0, 0, 0]]), -1)
    unsure = torch.log_softmax(torch.zeros(1, 6), -1)
    token = torch.tensor([0])
    assert token_statistics(sure, token).confidence > token_statistics(unsure, token).confidence
    assert token_statistics(sure, token).entropy < token_statistics(unsure, token).entropy
