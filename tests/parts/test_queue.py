"""The ring buffer."""

import pytest
import torch

from selfray.parts.queue import Queue


@pytest.mark.parametrize(("size", "batch"), [(20, 16), (7, 3), (5, 5), (4, 11), (64, 32)])
def test_the_queue_is_a_true_ring_for_any_size_and_batch(size, batch):
    queue, expected, pointer = Queue(size, 2), [], 0
    expected = list(queue.rows.clone())
    for push in range(6):
        rows = torch.arange(batch * 2.0).reshape(batch, 2) + 100 * push
        queue.push(rows)
        for row in rows:
            expected[pointer] = row
            pointer = (pointer + 1) % size
    assert torch.equal(queue.rows, torch.stack(expected))
    assert queue.position == pointer


def test_a_new_queue_holds_unit_vectors():
    torch.testing.assert_close(Queue(10, 8).rows.norm(dim=1), torch.ones(10))


def test_rows_and_position_are_saved():
    assert set(Queue(4, 2).state_dict()) == {"rows", "position"}
