"""What a run may say of its learners; every field is a flag."""

import dataclasses

from core.config import field


@dataclasses.dataclass(frozen=True)
class StrategyOptions:
  """Where a run learns."""

  strategy: str = field(
    'one_device',
    'tf.distribute strategy of the learner. mirrored: all GPUs of this '
    'machine; multi_worker: those of several, one process on each with '
    'TF_CONFIG in its environment; tpu: untested.',
    choices=('one_device', 'mirrored', 'multi_worker', 'tpu'),
    changes_learning=False,
  )
  collective_timeout: float = field(
    120.0,
    'Seconds after which a worker that is missing or silent ends all others '
    '(multi_worker), with exit status 75; they also bound the pauses of one '
    'that the others did not have, such as a checkpoint.',
    minimum=1,
    modes=('train',),
    may_change=True,
    changes_learning=False,
  )
  tpu: str = field(
    'local',
    'Where the TPU is (--strategy=tpu): local, grpc://host:port, or a name in '
    'Google Cloud. Untested.',
    may_change=True,
    changes_learning=False,
  )
