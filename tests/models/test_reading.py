import pytest
import torch

from lmlab.models.reading import by_length, read


def test_work_is_done_in_batches_of_similar_length_and_its_results_keep_their_order():
    lengths, batches = [5, 1, 9, 1, 3], []

    def work(numbers):
        batches.append([lengths[number] for number in numbers])
        return [10 * lengths[number] for number in numbers]

    assert by_length(lengths, 2, work) == [50, 10, 90, 10, 30]
    assert batches == [[1, 1], [3, 5], [9]]
    assert by_length([], 2, work) == []


def test_a_batch_that_does_not_fit_into_memory_is_divided():
    sizes = []

    def work(numbers, most=2):
        sizes.append(len(numbers))
        if len(numbers) > most:
            raise torch.OutOfMemoryError
        return numbers

    assert by_length([1] * 10, 8, work) == list(range(10))
    assert sizes == [8, 4, 2, 2, 2, 2, 2]
    with pytest.raises(torch.OutOfMemoryError):
        by_length([1], 8, lambda numbers: work(numbers, most=0))


@pytest.mark.parametrize("context", [5, 30])
@torch.no_grad()
def test_hidden_vectors_of_a_recurrence_are_those_of_one_pass_whatever_the_context(make_model, context):
    model = make_model("model=lstm", dtype=torch.float64)
    tokens = torch.randint(13, (3, 23))
    pieces = [hidden for hidden, _ in read(model, tokens, context)]
    assert max(piece.shape[1] for piece in pieces) <= context
    torch.testing.assert_close(torch.cat(pieces, 1), model(tokens).hidden, rtol=0, atol=1e-12)
