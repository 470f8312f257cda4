"""Tests of core/suites/user.py: what is wrong is said in one line."""

import pathlib
import sys
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from core.errors import UserError
from tests.tasks import tasks_of

MODULE = """
def fails(num_envs, is_training):
  return undefined_name

def gives_text(num_envs, is_training):
  return 'no environment'

def gives_one(num_envs, is_training):
  from core.environments.catch import make_vector_env
  return make_vector_env(1 + num_envs, is_training)

def tells(num_envs, is_training):
  env = make_catch(num_envs, is_training)
  env.metadata = {**env.metadata, 'controls': [[0, i, 0] for i in (-1, 0, 1)]}
  return env

def tells_wrongly(num_envs, is_training):
  env = make_catch(num_envs, is_training)
  env.metadata = {**env.metadata, 'controls': [[0, i, 0] for i in (0, 1, 2)]}
  return env

from core.environments.catch import make_vector_env as make_catch
number = 3
"""


class UserFunctionsTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = cls.enter_context(tempfile.TemporaryDirectory())
    pathlib.Path(folder, 'users_module.py').write_text(MODULE)
    pathlib.Path(folder, 'users_exit.py').write_text('raise SystemExit(0)')
    pathlib.Path(folder, 'users_error.py').write_text('\n1 / 0\n')
    sys.path.insert(0, folder)
    cls.addClassCleanup(sys.path.remove, folder)

  @parameterized.named_parameters(
    ('nothing', ':', 'Empty module name'),
    ('no_module', 'nowhere.at_all:make', "No module named 'nowhere'"),
    ('relative', '.core:x', 'relative import'),
    ('no_function', 'users_module:nothing', "no attribute 'nothing'"),
    ('no_name', 'users_module:', 'no attribute'),
    ('not_callable', 'users_module:number', 'it is not a function'),
    ('exits', 'users_exit:make', 'SystemExit: 0 .*users_exit.py, line 1'),
    ('raises', 'users_error:make', 'ZeroDivision.*users_error.py, line 2'),
    (
      'function_raises',
      'users_module:fails',
      "users_module:fails failed: NameError: name 'undefined_name' is not "
      r'defined \(.*users_module.py, line 3\)',
    ),
    ('class', 'tests.user_environments:SleepingCatch', 'failed: TypeError'),
    ('builtin', 'os:getcwd', 'getcwd failed: TypeError'),
    ('text', 'users_module:gives_text', "must return .*not 'no environment'"),
    ('other_number', 'users_module:gives_one', 'VectorEnv of 1 environments'),
  )
  def test_one_line(self, name, message):
    with self.assertRaisesRegex(UserError, message) as context:
      tasks_of(name).env_spec  # noqa: B018 - asks the environment.
    self.assertNotIn('\n', str(context.exception))

  def test_controls_are_the_environments(self):
    found = tasks_of('users_module:tells').controls('users_module:tells')
    np.testing.assert_array_equal(found, [[0, -1, 0], [0, 0, 0], [0, 1, 0]])

  @parameterized.parameters('make_catch', 'tells_wrongly')
  def test_controls_that_are_not_told(self, name):
    task = f'users_module:{name}'
    with self.assertRaisesRegex(UserError, f'{name} .*must be 3 times fire'):
      tasks_of(task).controls(task)


if __name__ == '__main__':
  absltest.main()
