import torch

from safe_finetuning.gpu_load import GpuLoad


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def load_of(*answers, device="cuda"):
    """A load whose readings are given, what it was asked for, and its clock."""
    clock, asked, left = Clock(), [], list(answers)

    def read(of):
        asked.append((clock.now, str(of)))
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return GpuLoad(torch.device(device), read, clock), asked, clock


def test_it_is_asked_at_most_once_a_second_and_said_in_between():
    load, asked, clock = load_of(87, 40, device="cuda:1")
    shares = []
    for tenth in range(15):
        clock.now = tenth / 10
        shares.append(load.latest())
    assert shares == [0.87] * 10 + [0.4] * 5
    assert asked == [(0.0, "cuda:1"), (1.0, "cuda:1")]


def test_without_cuda_nothing_is_asked():
    load, asked, _ = load_of(50, device="cpu")
    assert load.latest() is None
    assert asked == []


def test_what_cannot_be_read_is_not_asked_for_again():
    load, asked, clock = load_of(50, ModuleNotFoundError("nvidia-ml-py does not seem to be installed"), 70)
    shares = []
    for second in range(4):
        clock.now = float(second)
        shares.append(load.latest())
    assert shares == [0.5, None, None, None]
    assert len(asked) == 2


def test_pytorchs_own_reader_without_a_gpu_gives_nothing():
    assert GpuLoad(torch.device("cuda")).latest() is None or torch.cuda.is_available()
