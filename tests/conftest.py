"""One thread for torch: on tensors as small as the tests', threads wait for each other more than they work."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported
