"""The command line in a process of several that share the weights (FSDP2), on a CPU.

Importing it is enough. Accelerate shards on accelerators only; the processes here have a CPU each.
"""

import os
import sys

os.environ |= {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "LlamaDecoderLayer",
    "ACCELERATE_TORCH_DEVICE": "cpu",
}

import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import DistributedType

from safe_finetuning.cli import main

dist.init_process_group("gloo")
PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)

if __name__ == "__main__":
    sys.exit(main())
