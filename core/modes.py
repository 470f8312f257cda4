"""What `--mode` names: training, testing, benchmark, start states."""

from collections.abc import Callable
from typing import Any

from core.device import Device
from core.evaluation import evaluate
from core.experience import cluster
from core.run_config import ActorLearnerConfig, RunConfig
from core.suites.tasks import Tasks, describe_spec
from core.training import benchmark, run_info
from core.training import train as actor_learner

_TRAINS = ('train', 'benchmark')


def run(
  config: RunConfig,
  make_agent: Callable[..., Any],
  train: Callable[..., int] = actor_learner.train,
  measure: Callable[..., Any] = benchmark.benchmark,
) -> None:
  """Runs the mode that the config asks for.

  Args:
    config: a paper's Config.
    make_agent: the paper's Agent: a function of config, EnvSpec and Device.
    train: trains it; a function of config, agent and Tasks.
    measure: its benchmark; a function of the same.

  Raises:
    UserError: what the user can mend.
  """
  if isinstance(config, ActorLearnerConfig) and config.mode in _TRAINS:
    cluster.check(config)
  tasks = Tasks.of(config)
  env_spec = tasks.env_spec
  print(f'{len(tasks.names)} tasks: {describe_spec(env_spec)}', flush=True)
  for suite in dict.fromkeys(tasks.suites):
    if line := suite.protocol_line(suite.protocol(config)):
      print(line, flush=True)
  is_of_gang = config.strategy == 'multi_worker'
  commit = run_info.git_commit() if is_of_gang else None
  device = Device.from_config(config, commit)
  agent = make_agent(config, env_spec, device)
  if config.mode == 'train' and device.gang.count > 1:
    actor_learner.train(config, agent, tasks, device.gang)
  elif config.mode == 'train':
    train(config, agent, tasks)
  elif config.mode == 'test':
    evaluate.test(config, agent, tasks)
  elif config.mode == 'save_start_states':
    evaluate.save_states(config, agent, tasks)
  else:
    measure(config, agent, tasks)
