"""Settings of all tests.

absltest's temporary folders work under pytest. TensorFlow runs an operation in
one thread: as many processes as there are cores test at the same time, and a
run in a process of its own is compared to the bit with one in the test's. It
says nothing of its own, so that what a run prints is the run's.

Ray reads once in a process how its clusters tell friends from strangers, and
tests of several files share one.

Where dm-control cannot be installed, its tests are not collected, nor are those
of the robots; what a user is told there is tested everywhere else.
"""

import os
import sys

from absl import flags
from absl.testing import absltest  # noqa: F401 - defines its flags.

flags.FLAGS.mark_as_parsed()
os.environ.setdefault('TF_NUM_INTRAOP_THREADS', '1')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ['RAY_AUTH_MODE'] = 'token'
os.environ['RAY_AUTH_TOKEN'] = 'of-a-test-' * 4

if sys.version_info >= (3, 13):
  collect_ignore_glob = [
    f'core/{room}/{name}*_test.py'
    for room in ('environments', 'suites')
    for name in ('control', 'rwrl', 'robots/')
  ]
