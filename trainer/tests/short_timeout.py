"""The command line in a process of several whose collectives time out after ten seconds."""

import sys
from datetime import timedelta

import torch.distributed as dist

from safe_finetuning.cli import main

if __name__ == "__main__":
    dist.init_process_group("gloo", timeout=timedelta(seconds=10))
    sys.exit(main())
