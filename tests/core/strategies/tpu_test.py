"""Tests of core/strategies/tpu.py where there is no TPU."""

import os
import time
from unittest import mock

from absl.testing import absltest, parameterized

from core.device import Device
from core.errors import UserError
from tests import workers


class TpuTest(parameterized.TestCase):
  def refusal(self, name):
    start = time.monotonic()
    with self.assertRaises(UserError) as raised:
      Device('tpu', tpu_name=name)
    self.assertLess(time.monotonic() - start, 10.0)
    self.assertNotIn('\n', str(raised.exception))
    return str(raised.exception)

  def test_this_machine_has_none(self):
    self.assertIn('sees no TPU on this machine', self.refusal('local'))

  def test_nobody_listens(self):
    (port,) = workers.free_ports(1)
    line = self.refusal(f'grpc://127.0.0.1:{port}')
    self.assertRegex(line, f'cannot be reached: 127.0.0.1:{port}: .*refused')

  @parameterized.parameters('grpc://host', 'grpc://:1', 'grpc://host:0')
  def test_no_address(self, name):
    self.assertIn('should be grpc://host:port', self.refusal(name))

  def test_no_cloud(self):
    with mock.patch.dict(os.environ, GCE_METADATA_IP='127.0.0.1'):
      line = self.refusal('my-tpu')
    self.assertIn('--tpu=my-tpu cannot be reached: 127.0.0.1:80', line)


if __name__ == '__main__':
  absltest.main()
