"""Trains, tests and measures PRL; see prl/README.md.

    python -m prl.experiment --preset=small --level_name=breakout \\
      --logdir=runs/breakout
"""

from core import flags, start
from prl.config import PRESETS, Config


def main(unused_argv: list[str]) -> None:
  """Runs the mode that the flags ask for."""
  config = flags.resolve(Config, PRESETS)
  flags.announce(config, PRESETS)
  with start.quiet_tensorflow():  # Here: a wrong flag should not wait for it.
    from core.device import Device
    from core.evaluation import evaluate
    from core.suites.tasks import Tasks, describe_spec
    from prl import benchmark, iterations
    from prl.agent import Agent
    from prl.evaluation import PlayedTasks
  tasks = Tasks.of(config)
  env_spec = tasks.env_spec
  print(f'{len(tasks.names)} tasks: {describe_spec(env_spec)}', flush=True)
  agent = Agent(
    config, env_spec, Device(config.strategy, config.xla, config.seed)
  )
  played = PlayedTasks(tasks.names, config, agent)
  if config.mode == 'train':
    iterations.train(config, agent, tasks)
  elif config.mode == 'test':
    evaluate.test(config, agent, played)
  elif config.mode == 'save_start_states':
    evaluate.save_states(config, agent, played)
  else:
    benchmark.benchmark(config, agent, tasks)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
